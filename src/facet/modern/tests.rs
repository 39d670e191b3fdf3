use bytes::{Buf, Bytes};

use super::*;
use crate::facet::{
    AnswerError, CallError, FacetCall, FacetName, MethodName, Outcome, Pieces, RawValue, legacy,
};

fn whole(mut pieces: Pieces) -> String {
    String::from_utf8(pieces.copy_to_bytes(pieces.len()).into()).unwrap()
}

fn refused(path: &str, body: &str) -> u16 {
    let error = decode(path, [].into_iter(), body.as_bytes()).unwrap_err();
    CallError::from(error).number().number()
}

#[test]
fn the_path_keeps_pchar_and_encodes_all_else() {
    let path = |facet: &str, method: &str| {
        request_path(&FacetCall {
            facet: FacetName::new(facet).unwrap(),
            method: MethodName::new(method).unwrap(),
            arguments: RawValue::constant("[]"),
            session: None,
        })
    };
    assert_eq!(path("EchoFacet", "Echo"), "/EchoFacet/Echo");
    assert_eq!(path("A.Outer+Inner`1", "Do"), "/A.Outer+Inner%601/Do");
    let pchar = "azAZ09-._~!$&'()*+,;=:@";
    assert_eq!(path(pchar, pchar), &*format!("/{pchar}/{pchar}"));
    assert_eq!(
        path("a b%ž?#[]", "<>c^{|}\""),
        "/a%20b%25%C5%BE%3F%23%5B%5D/%3C%3Ec%5E%7B%7C%7D%22"
    );
}

#[test]
fn a_modern_call_is_read() {
    let body = Bytes::from_static(b"\xEF\xBB\xBF{\"x\":1,\"x\":2,\"argum\\u0065nts\":[ 1.0 ]}");
    let cookies = [&b"a=1; unisave_session_id=DpVN%3D; b=2"[..]];
    let call = decode("/A.B+C%601/M%c5%be", cookies.into_iter(), &body).unwrap();
    assert_eq!(call.facet.as_str(), "A.B+C`1");
    assert_eq!(call.method.as_str(), "Mž");
    assert_eq!(call.arguments.as_bytes(), b"[ 1.0 ]");
    assert_eq!(call.session.as_deref(), Some("DpVN="));
    assert_eq!(
        whole(request_body(&call, &body)),
        r#"{"arguments":[ 1.0 ]}"#
    );
}

#[test]
fn a_modern_call_is_refused_with_the_contracts_numbers() {
    let body = r#"{"arguments":[]}"#;
    for path in ["", "/", "/F", "F/M", "/F/M/", "/F/M/x", "*"] {
        assert_eq!(refused(path, body), 1106, "{path}");
    }
    for path in [
        "//M", "/F/", "/F/%", "/F/%4", "/%zz/M", "/%C3/M", "/F/..", "/%2e/M", "/a%2Fb/M", "/F/a%00",
    ] {
        assert_eq!(refused(path, body), 1102, "{path}");
    }
    for body in ["", "{", r#"{"arguments":[]}x"#] {
        assert_eq!(refused("/F/M", body), 1100, "{body}");
    }
    for body in [
        "[]",
        "{}",
        r#"{"arguments":{}}"#,
        r#"{"arguments":[],"arguments":[]}"#,
        r#"{"Arguments":[]}"#,
    ] {
        assert_eq!(refused("/F/M", body), 1102, "{body}");
    }
}

#[test]
fn only_an_object_with_a_string_status_is_an_answer() {
    let status = AnswerError::Status { field: "status" };
    assert_eq!(decode_answer(b"{\"returned\":1}").unwrap_err(), status);
    assert_eq!(decode_answer(b"{\"status\":1}").unwrap_err(), status);
    assert_eq!(
        decode_answer(b"{\"status\":\"ok\",\"status\":1}").unwrap_err(),
        status
    );
    assert_eq!(decode_answer(b"[]").unwrap_err(), AnswerError::Type);
    for cut in [
        &b""[..],
        b"<html>",
        b"{\"status\":\"ok\"",
        b"{\"status\":\"ok\"}{",
    ] {
        let error = decode_answer(cut).unwrap_err();
        assert!(matches!(error, AnswerError::Json(_)));
        assert_eq!(CallError::from(error).number().number(), 4001);
    }
    let answer = decode_answer(b"\xEF\xBB\xBF {\"status\":\"o\\u006b\"}\n").unwrap();
    assert_eq!(answer.outcome, Outcome::Ok);
}

#[test]
fn an_answer_may_be_nested_deeper_than_a_request() {
    let body = format!(
        "{{\"status\":\"ok\",\"returned\":{}{}}}",
        "[".repeat(999),
        "]".repeat(999)
    );
    assert!(decode_answer(body.as_bytes()).is_ok());
}

#[test]
fn the_modern_form_of_a_legacy_answer() {
    for (legacy_body, modern_body) in [
        (
            r#"{"result":"ok","returned":{"v":1.0},"special":{"sessionId":"s-2","logs":[1],"executionDuration":0.021}}"#,
            r#"{"status":"ok","returned":{"v":1.0},"logs":[1]}"#,
        ),
        (
            r#"{"result":"ok"}"#,
            r#"{"status":"ok","returned":null,"logs":[]}"#,
        ),
        (
            r#"{"result":"exception","exception":{"M":1},"special":{"logs":null}}"#,
            r#"{"status":"exception","exception":{"M":1},"isKnownException":true,"logs":null}"#,
        ),
        (
            r#"{"result":"other","returned":1}"#,
            r#"{"status":"other","logs":[]}"#,
        ),
    ] {
        let source = Bytes::copy_from_slice(legacy_body.as_bytes());
        let answer = legacy::decode_answer(&source).unwrap();
        assert_eq!(whole(encode_answer(&answer, &source)), modern_body);
    }
}
