//! The modern answer: `status`, and the session in a cookie beside it (CONTRACT 4).

use bytes::Bytes;

use crate::facet::{
    answer::{Answer, AnswerError, Outcome, parse},
    pieces::Pieces,
};

/// Reads a modern answer. Of equal keys the last counts.
///
/// # Errors
/// Where it isn't JSON, or has no string `status`.
pub fn decode_answer(body: &[u8]) -> Result<Answer<'_>, AnswerError> {
    let (mut status, mut returned, mut exception, mut known, mut logs) = Default::default();
    let whole = parse(body, |scanner, key| {
        let value = Some(scanner.value()?);
        match key {
            b"status" => status = value,
            b"returned" => returned = value,
            b"exception" => exception = value,
            b"isKnownException" => known = value,
            b"logs" => logs = value,
            _ => {}
        }
        Ok(())
    })?;
    Ok(Answer {
        returned,
        exception,
        known: known.is_some_and(|known| known.is_true()),
        logs,
        ..Answer::new(whole, status, "status")?
    })
}

/// Writes the modern form of an answer. `source` is the buffer that the answer was read from. The
/// session isn't in it: it goes into a cookie (`session::set_cookie`).
#[must_use]
pub fn encode_answer(answer: &Answer<'_>, source: &Bytes) -> Pieces {
    let mut pieces = Pieces::default();
    match answer.outcome {
        Outcome::Ok => {
            pieces.push(Bytes::from_static(b"{\"status\":\"ok\",\"returned\":"));
            pieces.push(answer.returned_or_null().to_bytes(source));
            pieces.push(Bytes::from_static(b",\"logs\":"));
        }
        Outcome::Exception => {
            pieces.push(Bytes::from_static(
                b"{\"status\":\"exception\",\"exception\":",
            ));
            pieces.push(answer.exception_or_null().to_bytes(source));
            pieces.push(Bytes::from_static(if answer.known {
                b",\"isKnownException\":true,\"logs\":"
            } else {
                b",\"isKnownException\":false,\"logs\":"
            }));
        }
        Outcome::Other => {
            pieces.push(Bytes::from_static(b"{\"status\":"));
            pieces.push(answer.status.to_bytes(source));
            pieces.push(Bytes::from_static(b",\"logs\":"));
        }
    }
    pieces.push(answer.logs_or_empty().to_bytes(source));
    pieces.push(Bytes::from_static(b"}"));
    pieces
}
