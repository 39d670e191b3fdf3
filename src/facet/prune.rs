//! What a player must not see: the inside of a game's backend (CONTRACT 4).

use bytes::Bytes;

use super::{
    answer::{Answer, NO_LOGS, Outcome, parse},
    json::RawValue,
};

/// What stands for any exception that isn't meant for players.
const PRUNED_EXCEPTION: RawValue<'static> = RawValue::constant(
    "{\"ClassName\":\"System.Exception\",\"Message\":\"Internal Server Error\"}",
);

const PRUNED_ERROR: &[u8] =
    br#"{"exception":{"ClassName":"System.Exception","Message":"Internal Server Error"}}"#;

const PRUNED_ERROR_WITH_LOGS: &[u8] =
    br#"{"exception":{"ClassName":"System.Exception","Message":"Internal Server Error"},"logs":[]}"#;

/// An answer without its logs and without what an unknown exception says. It must be encoded anew:
/// `legacy::pass_answer` passes all of what came.
#[must_use]
pub fn prune_answer<'a>(answer: &Answer<'a>) -> Answer<'a> {
    let exception = match answer.outcome {
        Outcome::Exception if !answer.known => Some(PRUNED_EXCEPTION),
        _ => answer.exception,
    };
    Answer {
        exception,
        logs: Some(NO_LOGS),
        ..*answer
    }
}

/// The body of an error response (`X-Unisave-Error-Response`) without what happened: nothing of the
/// backend's body is left in it, whether it can be read or not.
#[must_use]
pub fn prune_error_body(body: &[u8]) -> Bytes {
    let mut has_logs = false;
    let parsed = parse(body, |scanner, key| {
        has_logs |= key == b"logs";
        scanner.value().map(drop)
    });
    Bytes::from_static(if parsed.is_ok() && has_logs {
        PRUNED_ERROR_WITH_LOGS
    } else {
        PRUNED_ERROR
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Buf;

    use super::*;
    use crate::facet::{legacy, modern};

    const FIXED: &str = r#"{"ClassName":"System.Exception","Message":"Internal Server Error"}"#;

    fn modern_form(body: &str) -> String {
        let answer = prune_answer(&modern::decode_answer(body.as_bytes()).unwrap());
        let mut pieces = modern::encode_answer(&answer, &Bytes::copy_from_slice(body.as_bytes()));
        String::from_utf8(pieces.copy_to_bytes(pieces.len()).into()).unwrap()
    }

    #[test]
    fn an_unknown_exception_tells_nothing() {
        for unknown in [
            "",
            r#","isKnownException":false"#,
            r#","isKnownException":1"#,
        ] {
            let body = format!(
                r#"{{"status":"exception","exception":{{"Message":"x"}}{unknown},"logs":[1]}}"#
            );
            assert_eq!(
                modern_form(&body),
                format!(
                    r#"{{"status":"exception","exception":{FIXED},"isKnownException":false,"logs":[]}}"#
                )
            );
            let answer = prune_answer(&modern::decode_answer(body.as_bytes()).unwrap());
            let mut pieces =
                legacy::encode_answer(&answer, &Bytes::new(), None, Duration::from_secs(1));
            assert_eq!(
                pieces.copy_to_bytes(pieces.len()),
                format!(
                    r#"{{"result":"exception","exception":{FIXED},"special":{{"sessionId":null,"logs":[],"executionDuration":1}}}}"#
                )
            );
        }
    }

    #[test]
    fn a_known_exception_and_a_result_stay_and_logs_go() {
        assert_eq!(
            modern_form(
                r#"{"status":"exception","exception":{"Message":"x"},"isKnownException":true,"logs":[1]}"#
            ),
            r#"{"status":"exception","exception":{"Message":"x"},"isKnownException":true,"logs":[]}"#
        );
        assert_eq!(
            modern_form(r#"{"status":"ok","returned":1.0,"logs":null}"#),
            r#"{"status":"ok","returned":1.0,"logs":[]}"#
        );
    }

    #[test]
    fn a_legacy_exception_counts_as_known_and_keeps_its_duration() {
        let body = Bytes::from_static(
            br#"{"result":"exception","exception":{"M":1},"special":{"sessionId":"s","logs":[1],"executionDuration":0.5}}"#,
        );
        let answer = prune_answer(&legacy::decode_answer(&body).unwrap());
        let session = answer.session().unwrap();
        let mut pieces =
            legacy::encode_answer(&answer, &body, session.as_deref(), Duration::from_secs(9));
        assert_eq!(
            pieces.copy_to_bytes(pieces.len()),
            r#"{"result":"exception","exception":{"M":1},"special":{"sessionId":"s","logs":[],"executionDuration":0.5}}"#
        );
    }

    #[test]
    fn an_error_body_keeps_nothing() {
        for body in [
            &b""[..],
            b"<html>",
            b"[]",
            br#"{"exception":{"a":1}}"#,
            b"{\"logs\":[1]",
        ] {
            assert_eq!(
                prune_error_body(body),
                format!(r#"{{"exception":{FIXED}}}"#)
            );
        }
        assert_eq!(
            prune_error_body(br#"{"exception":{},"logs":["secret"]}"#),
            format!(r#"{{"exception":{FIXED},"logs":[]}}"#)
        );
    }
}
