//! The legacy answer: `result` and `special` (CONTRACT 4).

use std::time::Duration;

use bytes::Bytes;

use crate::facet::{
    answer::{Answer, AnswerError, Outcome, parse},
    json::{JsonError, RawValue, Scanner},
    pieces::{Pieces, PiecesBuilder},
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
    let session_len = session.map_or(0, str::len);
    let mut body = PiecesBuilder::with_capacity(answer.copied() + session_len + 128);
    match answer.outcome {
        Outcome::Ok => body
            .text("{\"result\":\"ok\",\"returned\":")
            .value(&answer.returned_or_null(), source),
        Outcome::Exception => body
            .text("{\"result\":\"exception\",\"exception\":")
            .value(&answer.exception_or_null(), source),
        Outcome::Other => body.text("{\"result\":").value(&answer.status, source),
    };
    body.text(",\"special\":{\"sessionId\":");
    match session {
        None => body.text("null"),
        Some(session) => body.string(session),
    };
    body.text(",\"logs\":")
        .value(&answer.logs_or_empty(), source)
        .text(",\"executionDuration\":");
    match answer.execution_duration {
        Some(own) => {
            body.value(&own, source);
        }
        None => push_seconds(&mut body, duration),
    }
    body.text("}}").finish()
}

/// The whole answer for a legacy client, without its byte order mark and with raw control
/// characters escaped.
#[must_use]
pub fn pass_answer(answer: &Answer<'_>, source: &Bytes) -> Pieces {
    answer.whole.to_bytes(source).into()
}

/// Seconds to the microsecond, without zeros at the end.
fn push_seconds(body: &mut PiecesBuilder, duration: Duration) {
    match duration.as_secs() {
        0 => body.text("0"),
        seconds => body.text(&seconds.to_string()),
    };
    let mut micros = duration.subsec_micros();
    let mut fraction = *b".000000";
    for digit in fraction.iter_mut().rev().take(6) {
        *digit += (micros % 10) as u8;
        micros /= 10;
    }
    let fraction = str::from_utf8(&fraction).unwrap_or_default();
    body.text(fraction.trim_end_matches('0').trim_end_matches('.'));
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
