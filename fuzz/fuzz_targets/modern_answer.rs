//! Backends' answers of either dialect: what is accepted, and what becomes of it in both.

#![no_main]

use std::time::Duration;

use bytes::Bytes;
use envgate::facet::{
    self, AnswerError, RawValue, json::json_string, legacy, modern, prune_answer, prune_error_body,
};
use envgate_fuzz::{
    answer::{Answer, read_legacy, read_modern},
    oracle::{self, written},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let body = Bytes::copy_from_slice(data);
    let json = oracle::json(&body);

    let found = modern::decode_answer(&body);
    same_verdict(&found, json.is_some());
    check(found.ok(), json.as_deref().and_then(read_modern), &body);

    let found = legacy::decode_answer(&body);
    same_verdict(&found, json.is_some());
    let found = found.ok();
    let expected = json.as_deref().and_then(read_legacy);
    if let (Some(found), Some(expected), Some(json)) = (&found, &expected, &json) {
        same_session(found, expected);
        assert_eq!(written(legacy::pass_answer(found, &body)), *json);
    }
    check(found, expected, &body);

    oracle::json(&prune_error_body(&body)).expect("it is JSON");
    let text = String::from_utf8_lossy(data);
    assert_eq!(oracle::text(&json_string(&text)).as_deref(), Some(&*text));
});

/// What isn't JSON is refused as that, and nothing else is.
fn same_verdict(found: &Result<facet::Answer<'_>, AnswerError>, is_json: bool) {
    assert_eq!(
        !matches!(found, Err(AnswerError::Json(_))),
        is_json,
        "{found:?}"
    );
}

fn check(found: Option<facet::Answer<'_>>, expected: Option<Answer<'_>>, body: &Bytes) {
    let (Some(found), Some(expected)) = (found, &expected) else {
        assert_eq!(found.is_some(), expected.is_some(), "{expected:?}");
        return;
    };
    assert_eq!(found.outcome, expected.outcome);
    assert_eq!(found.known, expected.known);
    kept(Some(found.status), Some(expected.status), body);
    kept(found.returned, expected.returned, body);
    kept(found.exception, expected.exception, body);
    kept(found.logs, expected.logs, body);
    forms(&found, expected, body);
    forms(&prune_answer(&found), &expected.pruned(), body);
}

/// A value is where it was, and passes as it was but for raw control characters.
fn kept(found: Option<RawValue<'_>>, expected: Option<&str>, body: &Bytes) {
    let (Some(found), Some(expected)) = (found, expected) else {
        assert_eq!(found.is_some(), expected.is_some());
        return;
    };
    oracle::assert_slice_of(found.as_bytes(), body);
    let passed = found.to_bytes(body);
    assert_eq!(passed, expected);
    if !found.has_raw_control() {
        oracle::assert_slice_of(&passed, body);
    }
}

fn forms(answer: &facet::Answer<'_>, expected: &Answer<'_>, body: &Bytes) {
    expected.assert_modern(&written(modern::encode_answer(answer, body)));
    let text = String::from_utf8_lossy(body);
    let millis = u64::try_from(body.len()).unwrap_or(0) * 21;
    for (session, duration) in [
        (None, Duration::ZERO),
        (Some(&*text), Duration::from_millis(millis)),
        (Some("é😀"), Duration::from_nanos(2_999_999_999)),
    ] {
        let legacy = written(legacy::encode_answer(answer, body, session, duration));
        expected.assert_legacy(&legacy, session, duration);
    }
}

fn same_session(found: &facet::Answer<'_>, expected: &Answer<'_>) {
    let id = expected.session.filter(|id| oracle::is_string(id));
    match (found.session(), id.map(oracle::text)) {
        (Err(_), Some(None)) => {}
        (Ok(found), id) => {
            assert_ne!(id, Some(None));
            let id = id.flatten().filter(|id| !id.is_empty());
            assert_eq!(found.as_deref(), id.as_deref());
        }
        (found, id) => panic!("{found:?}, but {id:?}"),
    }
}
