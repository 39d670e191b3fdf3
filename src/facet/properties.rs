//! Calls and answers that go through both dialects and come out as they went in.

use std::time::Duration;

use bytes::{Buf, Bytes};
use proptest::prelude::*;

use super::{
    Answer, FacetCall, FacetName, MethodName, Outcome, Pieces,
    json::{RawValue, Scanner, json_string},
    legacy::{self, EnvField},
    modern, session,
};

fn whole(mut pieces: Pieces) -> Bytes {
    pieces.copy_to_bytes(pieces.len())
}

fn text(value: Option<RawValue<'_>>) -> Option<&str> {
    value.map(|value| str::from_utf8(value.as_bytes()).unwrap())
}

fn name() -> impl Strategy<Value = String> {
    "[!-.0-\\[\\]-~ žéč😀]{1,20}".prop_filter("a relative path", |name| name != "." && name != "..")
}

fn value() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("null".to_owned()),
        Just("[ 1.0, 1e400, -0, 18446744073709551616,\n\"\\u0041\\/\\ud800\" ]".to_owned()),
        Just("{\"a\":{},\"a\":[[]]}".to_owned()),
        "\\PC{0,20}".prop_map(|text| json_string(&text)),
    ]
}

proptest! {
    #[test]
    fn a_call_comes_through_both_dialects(
        facet in name(),
        method in name(),
        arguments in prop::collection::vec(value(), 0..4),
        id in prop::option::of("[ -~žéč😀\u{0}-\u{1f}]{1,20}"),
        env in "\\PC{0,20}",
    ) {
        let source = Bytes::from(format!("[{}]", arguments.join(" ,")));
        let call = FacetCall {
            facet: FacetName::new(facet).unwrap(),
            method: MethodName::new(method).unwrap(),
            arguments: Scanner::request(&source).value().unwrap(),
            session: id.map(Into::into),
        };
        let env_json = Bytes::from(json_string(&env));

        let body = whole(legacy::encode_envelope(&call, &source, &env_json));
        let envelope = legacy::decode(&body, EnvField::Required).unwrap();
        prop_assert_eq!(&envelope.env_text().unwrap(), &env);
        prop_assert_eq!(envelope.env.unwrap().as_bytes(), &env_json);
        prop_assert_eq!(whole(envelope.pass(&body, None)), &body);
        prop_assert_eq!(whole(envelope.pass(&body, Some(&env_json))), &body);

        let path = modern::request_path(&envelope.call).to_string();
        prop_assert!(path.bytes().all(|byte| byte.is_ascii_graphic()), "{path}");
        let cookie = envelope.call.session.as_deref().map(session::cookie_header);
        let cookies = cookie.iter().map(|value| value.as_bytes());
        let body = whole(modern::request_body(&envelope.call, &body));
        let back = modern::decode(&path, cookies, &body).unwrap();
        prop_assert_eq!(&back.facet, &call.facet);
        prop_assert_eq!(&back.method, &call.method);
        prop_assert_eq!(back.arguments.as_bytes(), &source);
        prop_assert_eq!(back.session, call.session);
    }

    #[test]
    fn an_answer_comes_through_both_dialects(
        status in prop::sample::select(vec!["\"ok\"", "\"exception\"", "\"\\u006fk\"", "\"new\"", "\"\\ud800\""]),
        members in prop::collection::vec((0..4usize, value()), 0..5),
        id in prop::option::of("\\PC{1,9}"),
    ) {
        let names = ["returned", "exception", "logs", "other"];
        let members: String = members
            .iter()
            .map(|(name, value)| format!(",{}:{value}", json_string(names[*name])))
            .collect();
        let body = Bytes::from(format!("{{\"status\":{status}{members}}}"));
        let first = modern::decode_answer(&body).unwrap();

        let legacy_body =
            whole(legacy::encode_answer(&first, &body, id.as_deref(), Duration::from_millis(21)));
        let second = legacy::decode_answer(&legacy_body).unwrap();
        same_answer(&first, &second)?;
        prop_assert_eq!(second.session().unwrap(), id.map(Into::into));
        prop_assert_eq!(text(second.execution_duration), Some("0.021"));
        prop_assert_eq!(whole(legacy::pass_answer(&second, &legacy_body)), &legacy_body);

        let modern_body = whole(modern::encode_answer(&second, &legacy_body));
        let third = modern::decode_answer(&modern_body).unwrap();
        same_answer(&second, &third)?;
        prop_assert_eq!(third.known, third.outcome == Outcome::Exception);
    }

    #[test]
    fn nothing_panics(body: Vec<u8>, path in "\\PC*") {
        for body in [&body[..], &[b"{\"method\":".as_slice(), &body].concat()] {
            let _ = legacy::decode(body, EnvField::Required);
            let _ = legacy::decode_answer(body);
            let _ = modern::decode_answer(body);
            let _ = modern::decode(&path, [body].into_iter(), b"{\"arguments\":[]}");
        }
    }
}

/// What a translation keeps: all that belongs to the outcome, with what was absent made plain.
fn same_answer(first: &Answer<'_>, second: &Answer<'_>) -> Result<(), TestCaseError> {
    prop_assert_eq!(first.outcome, second.outcome);
    let (ok, exception) = (Outcome::Ok, Outcome::Exception);
    let only_with = |outcome, value: RawValue<'static>| (first.outcome == outcome).then_some(value);
    let null = RawValue::constant("null");
    let returned = text(only_with(ok, null)).map(|null| text(first.returned).unwrap_or(null));
    prop_assert_eq!(text(second.returned), returned);
    let thrown = text(only_with(exception, null)).map(|null| text(first.exception).unwrap_or(null));
    prop_assert_eq!(text(second.exception), thrown);
    prop_assert_eq!(text(second.logs), Some(text(first.logs).unwrap_or("[]")));
    Ok(())
}
