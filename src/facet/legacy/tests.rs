use std::{borrow::Cow, time::Duration};

use bytes::{Buf, Bytes};

use super::*;
use crate::facet::{AnswerError, CallError, Outcome, Pieces, modern};

const CALL: &str = r#"{"facetName":"F","methodName":"M","arguments":[1.0],"sessionId":"s"}"#;

fn whole(mut pieces: Pieces) -> String {
    String::from_utf8(pieces.copy_to_bytes(pieces.len()).into()).unwrap()
}

/// The number and message that a body is refused with.
fn refused(body: &str, env: EnvField) -> (u16, String) {
    let error = CallError::from(decode(body.as_bytes(), env).unwrap_err());
    (error.number().number(), error.message().to_owned())
}

fn with_parameters(parameters: &str) -> String {
    format!(r#"{{"method":"facet-call","env":"","methodParameters":{parameters}}}"#)
}

#[test]
fn reads_the_call_and_the_env_as_written() {
    let body = format!(
        "\u{feff} {{\"x\":{{\"env\":1}},\"methodParameters\":{CALL},\"m\\u0065thod\":\"facet\\u002dcall\",\"env\":\"A=1\\nB=\u{1}\"}}"
    );
    let envelope = decode(body.as_bytes(), EnvField::Required).unwrap();
    assert_eq!(envelope.call.facet.as_str(), "F");
    assert_eq!(envelope.call.method.as_str(), "M");
    assert_eq!(envelope.call.arguments.as_bytes(), b"[1.0]");
    assert!(matches!(envelope.call.session, Some(Cow::Borrowed("s"))));
    assert_eq!(envelope.env.unwrap().as_bytes(), b"\"A=1\\nB=\x01\"");
    assert_eq!(envelope.env_text().unwrap(), "A=1\nB=\u{1}");
    let ignored = decode(body.as_bytes(), EnvField::Ignored).unwrap();
    assert!(ignored.env.is_none());
}

#[test]
fn no_session_has_three_forms() {
    for none in ["", ",\"sessionId\":null", ",\"sessionId\":\"\""] {
        let body = with_parameters(&format!(
            r#"{{"facetName":"F","methodName":"M","arguments":[]{none}}}"#
        ));
        let envelope = decode(body.as_bytes(), EnvField::Required).unwrap();
        assert_eq!(envelope.call.session, None);
    }
}

#[test]
fn refuses_with_the_contracts_numbers() {
    let number = |body: &str| refused(body, EnvField::Required).0;
    // JSON first, whatever else is wrong.
    assert_eq!(number(r#"{"method":"x","method":"y","env":1} x"#), 1100);
    assert_eq!(number(r#"[{"method":"facet-call"}"#), 1100);
    assert_eq!(number("[]"), 1102);
    assert_eq!(number("null"), 1102);
    // Doubled before another method.
    assert_eq!(number(r#"{"method":"x","method":"facet-call"}"#), 1102);
    assert_eq!(number(r#"{"env":"","method":"x","\u0065nv":""}"#), 1102);
    assert_eq!(number("{}"), 1102);
    assert_eq!(number(r#"{"method":null}"#), 1102);
    assert_eq!(number(r#"{"method":"x"}"#), 1101);
    assert_eq!(number(r#"{"method":"Facet-Call"}"#), 1101);
    assert_eq!(number(r#"{"method":"\ud800"}"#), 1100);
    assert_eq!(number(r#"{"method":"facet-call"}"#), 1102);
    assert_eq!(number(&with_parameters("[]")), 1102);
    for parameters in [
        r#"{"methodName":"M","arguments":[]}"#,
        r#"{"facetName":"F","arguments":[]}"#,
        r#"{"facetName":"F","methodName":"M"}"#,
        r#"{"facetName":1,"methodName":"M","arguments":[]}"#,
        r#"{"facetName":"F","methodName":null,"arguments":[]}"#,
        r#"{"facetName":"F","methodName":"M","arguments":{}}"#,
        r#"{"facetName":"F","methodName":"M","arguments":[],"sessionId":5}"#,
        r#"{"facetName":"F","methodName":"M","arguments":[],"sessionId":false}"#,
        r#"{"facetName":"","methodName":"M","arguments":[]}"#,
        r#"{"facetName":"F","methodName":"..","arguments":[]}"#,
        r#"{"facetName":"a\u002fb","methodName":"M","arguments":[]}"#,
        "{\"facetName\":\"a\nb\",\"methodName\":\"M\",\"arguments\":[]}",
    ] {
        assert_eq!(number(&with_parameters(parameters)), 1102, "{parameters}");
    }
    for lone in ["facetName", "methodName", "sessionId"] {
        let call = r#"{"facetName":"F","methodName":"M","sessionId":"S","arguments":[]}"#;
        let initial = lone[..1].to_uppercase();
        let call = call.replace(&format!("\"{initial}\""), r#""\udfff""#);
        assert_eq!(number(&with_parameters(&call)), 1100, "{call}");
    }
}

#[test]
fn each_of_the_seven_fields_is_refused_doubled_read_or_not() {
    let body = format!(r#"{{"method":"facet-call","env":"","methodParameters":{CALL}}}"#);
    for (field, there) in [
        ("method", r#""method":"facet-call""#),
        ("env", r#""env":"""#),
        ("methodParameters", r#""methodParameters":"#),
        ("facetName", r#""facetName":"F""#),
        ("methodName", r#""methodName":"M""#),
        ("arguments", r#""arguments":[1.0]"#),
        ("sessionId", r#""sessionId":"s""#),
    ] {
        let doubled = body.replacen(there, &format!("\"{field}\":null,{there}"), 1);
        let (number, message) = refused(&doubled, EnvField::Ignored);
        assert_eq!(number, 1102, "{doubled}");
        assert_eq!(message, format!("`{field}` is there more than once"));
    }
    // At another level they are nobody's.
    let elsewhere = format!(
        r#"{{"facetName":1,"facetName":2,"x":{{"env":1,"env":2}},"\ud800":1,"\ud800":2,{}"#,
        body.replace("{\"facetName\"", "{\"method\":1,\"method\":2,\"facetName\"")
            .trim_start_matches('{')
    );
    assert!(decode(elsewhere.as_bytes(), EnvField::Required).is_ok());
}

#[test]
fn env_counts_only_where_it_is_the_source() {
    let body = |env: &str| format!(r#"{{{env}"method":"facet-call","methodParameters":{CALL}}}"#);
    for env in ["", "\"env\":null,", "\"env\":[],"] {
        assert_eq!(refused(&body(env), EnvField::Required).0, 1102);
        assert!(decode(body(env).as_bytes(), EnvField::Ignored).is_ok());
    }
    let lone = body(r#""env":"\ud800","#);
    let envelope = decode(lone.as_bytes(), EnvField::Required).unwrap();
    let error = CallError::from(envelope.env_text().unwrap_err());
    assert_eq!(error.number().number(), 1100);
}

#[test]
fn the_message_names_the_field_and_never_a_value() {
    let body = with_parameters(
        r#"{"facetName":"s3cret/","methodName":"M","arguments":[],"sessionId":"s3cret"}"#,
    );
    let (_, message) = refused(&body, EnvField::Required);
    assert!(
        message.contains("facetName") && !message.contains("s3cret"),
        "{message}"
    );
}

#[test]
fn lone_surrogates_and_128_levels_pass_in_arguments() {
    let arguments = format!("{}\"\\ud800\"{}", "[".repeat(126), "]".repeat(126));
    let body = |arguments: &str| {
        with_parameters(&format!(
            r#"{{"facetName":"F","methodName":"M","arguments":{arguments}}}"#
        ))
    };
    assert!(decode(body(&arguments).as_bytes(), EnvField::Required).is_ok());
    let deeper = body(&format!("[{arguments}]"));
    assert_eq!(refused(&deeper, EnvField::Required).0, 1100);
}

#[test]
fn an_envelope_passes_as_it_came() {
    let clean =
        format!(r#" {{ "env" : "A" ,"method":"facet-call","methodParameters":{CALL},"z":1.0 }} "#);
    let source = Bytes::from(format!("\u{feff}{clean}"));
    let envelope = decode(&source, EnvField::Ignored).unwrap();
    let passed = envelope.pass(&source, None);
    assert_eq!(passed.chunk().as_ptr(), source[3..].as_ptr(), "no copy");
    assert_eq!(whole(passed), clean);
    let env = Bytes::from_static(b"\"B\"");
    assert_eq!(
        whole(envelope.pass(&source, Some(&env))),
        clean.replace("\"A\"", "\"B\"")
    );
}

#[test]
fn raw_controls_of_a_passing_envelope_are_escaped() {
    let source = Bytes::from(format!(
        "{{\"a\":\"\u{1}\",\n\"env\":\"\u{2}\",\"method\":\"facet-call\",\"methodParameters\":{CALL},\"z\":\"\t\"}}"
    ));
    let escaped = |env: &str| {
        format!(
            "{{\"a\":\"\\u0001\",\n\"env\":\"{env}\",\"method\":\"facet-call\",\"methodParameters\":{CALL},\"z\":\"\\u0009\"}}"
        )
    };
    let envelope = decode(&source, EnvField::Required).unwrap();
    assert_eq!(whole(envelope.pass(&source, None)), escaped("\\u0002"));
    let env = Bytes::from_static(b"\"B\"");
    assert_eq!(whole(envelope.pass(&source, Some(&env))), escaped("B"));
}

#[test]
fn a_missing_env_becomes_the_first_member() {
    let source = Bytes::from(format!(
        "\n{{ \"method\":\"facet-call\",\"methodParameters\":{CALL}}}"
    ));
    let envelope = decode(&source, EnvField::Ignored).unwrap();
    let env = Bytes::from_static(b"\"B\"");
    assert_eq!(
        whole(envelope.pass(&source, Some(&env))),
        format!("\n{{\"env\":\"B\", \"method\":\"facet-call\",\"methodParameters\":{CALL}}}")
    );
}

#[test]
fn a_modern_call_becomes_an_envelope() {
    let body = Bytes::from_static(b"{\"arguments\":[ 1.0 ]}");
    let cookies = [&b"unisave_session_id=%22"[..]];
    let call = modern::decode("/F%22/M", cookies.into_iter(), &body).unwrap();
    let env = Bytes::from_static(b"\"A=1\\n\"");
    assert_eq!(
        whole(encode_envelope(&call, &body, &env)),
        r#"{"method":"facet-call","env":"A=1\n","methodParameters":{"facetName":"F\"","methodName":"M","arguments":[ 1.0 ],"sessionId":"\""}}"#
    );
    let call = modern::decode("/F/M", [].into_iter(), &body).unwrap();
    assert!(whole(encode_envelope(&call, &body, &env)).ends_with(r#""sessionId":null}}"#));
}

#[test]
fn the_legacy_form_of_an_answer() {
    let special = r#""special":{"sessionId":null,"logs":[],"executionDuration":0.021}}"#;
    for (modern_body, start) in [
        (
            r#"{"status":"ok","returned":{"n":1.0}}"#,
            r#"{"result":"ok","returned":{"n":1.0}"#,
        ),
        (
            r#"{"status":"ok","exception":1}"#,
            r#"{"result":"ok","returned":null"#,
        ),
        (
            r#"{"status":"exception","returned":1}"#,
            r#"{"result":"exception","exception":null"#,
        ),
        (
            r#"{"status":"\u006fk","returned":1}"#,
            r#"{"result":"ok","returned":1"#,
        ),
        (
            r#"{"status":"n\u0065w","returned":1,"exception":2}"#,
            r#"{"result":"n\u0065w""#,
        ),
        (
            "{\"status\":\"ok\",\"returned\":\"\u{1f}\"}",
            r#"{"result":"ok","returned":"\u001f""#,
        ),
        (
            r#"{"status":1,"returned":1,"status":"ok","returned":2}"#,
            r#"{"result":"ok","returned":2"#,
        ),
    ] {
        let source = Bytes::copy_from_slice(modern_body.as_bytes());
        let answer = modern::decode_answer(&source).unwrap();
        let legacy = encode_answer(&answer, &source, None, Duration::from_millis(21));
        assert_eq!(whole(legacy), format!("{start},{special}"));
    }
    let source = Bytes::from_static(br#"{"status":"ok","logs":null}"#);
    let answer = modern::decode_answer(&source).unwrap();
    assert_eq!(
        whole(encode_answer(
            &answer,
            &source,
            Some("a\"b"),
            Duration::ZERO
        )),
        r#"{"result":"ok","returned":null,"special":{"sessionId":"a\"b","logs":null,"executionDuration":0}}"#
    );
}

#[test]
fn durations_are_json_numbers() {
    let source = Bytes::from_static(b"{\"status\":\"ok\"}");
    let answer = modern::decode_answer(&source).unwrap();
    for (duration, number) in [
        (Duration::ZERO, "0"),
        (Duration::from_nanos(999), "0"),
        (Duration::from_micros(1), "0.000001"),
        (Duration::from_micros(100_000), "0.1"),
        (Duration::from_secs(10), "10"),
        (Duration::from_micros(10_000_010), "10.00001"),
        (Duration::MAX, "18446744073709551615.999999"),
    ] {
        let legacy = whole(encode_answer(&answer, &source, None, duration));
        assert!(
            legacy.ends_with(&format!("\"executionDuration\":{number}}}}}")),
            "{legacy}"
        );
    }
}

#[test]
fn a_legacy_answer_is_read() {
    let body =
        br#"{"result":"ok","returned":1,"special":{"logs":[1]},"special":{"sessionId":"s"}}"#;
    let answer = decode_answer(body).unwrap();
    assert_eq!(answer.session().unwrap().unwrap(), "s");
    assert!(
        answer.logs.is_none(),
        "of two `special` the last counts, whole"
    );
    for none in [
        "",
        r#","special":null"#,
        r#","special":{"sessionId":""}"#,
        r#","special":{"sessionId":5}"#,
    ] {
        let body = format!("\u{feff}{{\"result\":\"exception\"{none}}}");
        let answer = decode_answer(body.as_bytes()).unwrap();
        assert_eq!(answer.outcome, Outcome::Exception);
        assert_eq!(answer.session(), Ok(None));
    }
    let lone = decode_answer(br#"{"result":"ok","special":{"sessionId":"\ud800"}}"#).unwrap();
    assert_eq!(lone.session(), Err(AnswerError::Session));
    let status = AnswerError::Status { field: "result" };
    assert_eq!(decode_answer(br#"{"status":"ok"}"#).unwrap_err(), status);
    assert_eq!(
        decode_answer(br#"{"result":"ok","result":null}"#).unwrap_err(),
        status
    );
}

#[test]
fn a_legacy_answer_passes_whole() {
    let source = Bytes::from("\u{feff}{\"result\":\"ok\",\"x\":\"\t\",\n\"special\":null}");
    let answer = decode_answer(&source).unwrap();
    assert_eq!(
        whole(pass_answer(&answer, &source)),
        "{\"result\":\"ok\",\"x\":\"\\u0009\",\n\"special\":null}"
    );
}
