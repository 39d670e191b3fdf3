//! The legacy answer: `result` and `special` (CONTRACT 4).

use std::time::Duration;

use bytes::Bytes;

use crate::facet::{
    answer::{Answer, AnswerError, Outcome, parse},
    json::{JsonError, RawValue, Scanner, push_json_string},
    pieces::Pieces,
};

/// Reads a legacy answer. Of equal keys the last counts; `special` may be missing or null.
///
/// # Errors
/// Where it isn't JSON, or has no string `result`.
pub fn decode_answer(body: &[u8]) -> Result<Answer<'_>, AnswerError> {
    let mut members = Members::default();
    let whole = parse(body, |scanner, key| members.member(scanner, key))?;
    let special = members.special;
    Ok(Answer {
        session_id: special.session_id,
        execution_duration: special.execution_duration,
        logs: special.logs,
        returned: members.returned,
        exception: members.exception,
        // The dialect has no unknown exceptions: what it shows was always shown.
        known: true,
        ..Answer::new(whole, members.result, "result")?
    })
}

/// Writes the legacy form of an answer. `source` is the buffer that the answer was read from;
/// `session` and `duration` are what `special` says beside the logs, but where the backend gave a
/// duration of its own, that stays.
#[must_use]
pub fn encode_answer(
    answer: &Answer<'_>,
    source: &Bytes,
    session: Option<&str>,
    duration: Duration,
) -> Pieces {
    let mut pieces = Pieces::default();
    match answer.outcome {
        Outcome::Ok => {
            pieces.push(Bytes::from_static(b"{\"result\":\"ok\",\"returned\":"));
            pieces.push(answer.returned_or_null().to_bytes(source));
        }
        Outcome::Exception => {
            pieces.push(Bytes::from_static(
                b"{\"result\":\"exception\",\"exception\":",
            ));
            pieces.push(answer.exception_or_null().to_bytes(source));
        }
        Outcome::Other => {
            pieces.push(Bytes::from_static(b"{\"result\":"));
            pieces.push(answer.status.to_bytes(source));
        }
    }
    match session {
        None => pieces.push(Bytes::from_static(
            b",\"special\":{\"sessionId\":null,\"logs\":",
        )),
        Some(session) => {
            let mut special = String::with_capacity(40 + session.len());
            special.push_str(",\"special\":{\"sessionId\":");
            push_json_string(&mut special, session);
            special.push_str(",\"logs\":");
            pieces.push(special);
        }
    }
    pieces.push(answer.logs_or_empty().to_bytes(source));
    if let Some(own) = answer.execution_duration {
        pieces.push(Bytes::from_static(b",\"executionDuration\":"));
        pieces.push(own.to_bytes(source));
        pieces.push(Bytes::from_static(b"}}"));
    } else {
        pieces.push(duration_end(duration));
    }
    pieces
}

/// The whole answer for a legacy client, without its byte order mark and with raw control
/// characters escaped.
#[must_use]
pub fn pass_answer(answer: &Answer<'_>, source: &Bytes) -> Pieces {
    answer.whole.to_bytes(source).into()
}

/// The end of an answer: seconds as a JSON number, to the microsecond, without an exponent.
fn duration_end(duration: Duration) -> String {
    let (secs, micros) = (duration.as_secs(), duration.subsec_micros());
    let mut end = format!(",\"executionDuration\":{secs}.{micros:06}");
    let shortest = end.trim_end_matches('0').trim_end_matches('.');
    end.truncate(shortest.len());
    end.push_str("}}");
    end
}

#[derive(Default)]
struct Members<'a> {
    result: Option<RawValue<'a>>,
    returned: Option<RawValue<'a>>,
    exception: Option<RawValue<'a>>,
    special: Special<'a>,
}

#[derive(Default)]
struct Special<'a> {
    session_id: Option<RawValue<'a>>,
    logs: Option<RawValue<'a>>,
    execution_duration: Option<RawValue<'a>>,
}

impl<'a> Members<'a> {
    fn member(&mut self, scanner: &mut Scanner<'a>, key: &[u8]) -> Result<(), JsonError> {
        if key == b"special" {
            // Of two the last counts, whole.
            self.special = Special::default();
            scanner.members(|scanner, key| self.special.member(scanner, key))?;
            return Ok(());
        }
        let value = Some(scanner.value()?);
        match key {
            b"result" => self.result = value,
            b"returned" => self.returned = value,
            b"exception" => self.exception = value,
            _ => {}
        }
        Ok(())
    }
}

impl<'a> Special<'a> {
    fn member(&mut self, scanner: &mut Scanner<'a>, key: &[u8]) -> Result<(), JsonError> {
        let value = Some(scanner.value()?);
        match key {
            b"sessionId" => self.session_id = value,
            b"logs" => self.logs = value,
            b"executionDuration" => self.execution_duration = value,
            _ => {}
        }
        Ok(())
    }
}
