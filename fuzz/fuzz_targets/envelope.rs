//! Legacy requests: what is accepted, why the rest is refused, what passes on.

#![no_main]

use bytes::Bytes;
use envgate::facet::{
    DecodeError, FacetCall, json::json_string, legacy, legacy::EnvField, modern, session,
};
use envgate_fuzz::{
    envelope::{Call, read},
    oracle::{self, written},
};
use libfuzzer_sys::fuzz_target;

const MAX_NESTING: usize = 128;

fuzz_target!(|data: &[u8]| {
    let body = Bytes::copy_from_slice(data);
    for env in [EnvField::Required, EnvField::Ignored] {
        check(&body, env);
    }
});

fn check(body: &Bytes, env: EnvField) {
    let found = legacy::decode(body, env);
    let json = oracle::json(body).filter(|json| oracle::depth(json) <= MAX_NESTING);
    let Some(json) = json else {
        assert!(matches!(found, Err(DecodeError::Json(_))), "{found:?}");
        return;
    };
    match (&found, read(&json, env == EnvField::Required)) {
        (Err(found), Err(expected)) => assert_eq!(*found, expected),
        (Ok(found), Ok(expected)) => {
            same_call(&found.call, &expected);
            same_env(found, &expected);
            passes(found, &expected, body, &json);
        }
        (found, expected) => panic!("{found:?}, but {:?}", expected.err()),
    }
}

fn same_call(found: &FacetCall<'_>, expected: &Call<'_>) {
    assert_eq!(found.facet.as_str(), expected.facet);
    assert_eq!(found.method.as_str(), expected.method);
    assert_eq!(found.session.as_deref(), expected.session.as_deref());
}

fn same_env(found: &legacy::Envelope<'_>, expected: &Call<'_>) {
    let text = found.env_text().map(|text| text.into_owned());
    match expected.env.map(oracle::text) {
        Some(None) => assert_eq!(text, Err(DecodeError::LoneSurrogate { field: "env" })),
        expected => assert_eq!(text, Ok(expected.flatten().unwrap_or_default())),
    }
}

/// To a modern backend, and to a legacy one with the env as it came and with another.
fn passes(found: &legacy::Envelope<'_>, expected: &Call<'_>, body: &Bytes, json: &str) {
    let arguments = found.call.arguments;
    oracle::assert_slice_of(arguments.as_bytes(), body);
    let passed = arguments.to_bytes(body);
    assert_eq!(passed, expected.arguments);
    if arguments.has_raw_control() {
        assert_ne!(arguments.as_bytes(), expected.arguments.as_bytes());
    } else {
        oracle::assert_slice_of(&passed, body);
    }
    if let (Some(found), Some(expected)) = (found.env, expected.env) {
        oracle::assert_slice_of(found.as_bytes(), body);
        assert_eq!(found.to_bytes(body), expected);
    }

    let modern_body = written(modern::request_body(&found.call, body));
    assert_eq!(
        modern_body,
        format!("{{\"arguments\":{}}}", expected.arguments)
    );
    let path = modern::request_path(&found.call).to_string();
    assert!(path.bytes().all(|byte| byte.is_ascii_graphic()), "{path}");
    let cookie = found.call.session.as_deref().map(session::cookie_header);
    let cookies = cookie.iter().map(|cookie| cookie.as_bytes());
    let back = modern::decode(&path, cookies, modern_body.as_bytes()).expect("it is a call");
    same_call(&back, expected);

    assert_eq!(written(found.pass(body, None)), json);
    let env = Bytes::from(json_string("OTHER=\"1\"\n"));
    let replaced = written(found.pass(body, Some(&env)));
    let anew = written(legacy::encode_envelope(&found.call, body, &env));
    for passed in [&replaced, &anew] {
        let passed = read(passed, true).expect("it is an envelope still");
        assert_eq!(passed.env.map(str::as_bytes), Some(&env[..]));
        assert_eq!(passed.arguments, expected.arguments);
        same_call(&found.call, &passed);
    }
}
