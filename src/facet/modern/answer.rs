//! The modern answer: `status`, and the session in a cookie beside it (CONTRACT 4).

use bytes::Bytes;

use crate::facet::{
    answer::{Answer, AnswerError, Outcome, parse},
    pieces::{Pieces, PiecesBuilder},
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
    let logs = answer.logs_or_empty();
    let mut body = PiecesBuilder::with_capacity(answer.copied() + 64);
    match answer.outcome {
        Outcome::Ok => {
            body.text("{\"status\":\"ok\",\"returned\":")
                .value(&answer.returned_or_null(), source);
        }
        Outcome::Exception => {
            body.text("{\"status\":\"exception\",\"exception\":")
                .value(&answer.exception_or_null(), source)
                .text(",\"isKnownException\":")
                .text(if answer.known { "true" } else { "false" });
        }
        Outcome::Other => {
            body.text("{\"status\":").value(&answer.status, source);
        }
    }
    body.text(",\"logs\":").value(&logs, source).text("}");
    body.finish()
}
