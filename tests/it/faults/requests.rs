//! Requests over a limit, and what isn't one.

use crate::harness::{Backend, Broken, Call, Client, DEADLINE, Gateway, Message, Seen, ok};

use std::time::Instant;

fn backend() -> Backend {
    Backend::start(vec![vec![ok("1")]])
}

/// Sends these pieces as a client does that reads only when it has written all; its answer.
#[track_caller]
fn written_whole(gateway: &Gateway, pieces: &[&[u8]]) -> Message {
    let mut client = Client::connect(gateway);
    for piece in pieces {
        client.send(piece);
    }
    client.read()
}

const LIMIT: &str = "[gateway]\nmax_request_body = \"64KiB\"";

#[test]
fn a_body_over_the_limit_is_refused_readably() {
    let backend = backend();
    let gateway = Gateway::before(&[&backend.url()], LIMIT);
    // One byte too many, and so many that no socket buffer holds them.
    for length in [64 * 1024 + 1, 1 << 20] {
        let head = Call::legacy("").head(&format!("Content-Length: {length}\r\n"));
        let body = vec![b' '; length];
        let answer = written_whole(&gateway, &[head.as_bytes(), &body]);
        answer.assert_error(413, 1103);
    }
    assert!(backend.seen().is_empty());
}

#[test]
fn a_chunked_body_over_the_limit_is_refused_readably() {
    let backend = backend();
    let gateway = Gateway::before(&[&backend.url()], LIMIT);
    let head = Call::legacy("").head("Transfer-Encoding: chunked\r\n");
    let chunk = [b"4000\r\n".as_slice(), &[b' '; 0x4000], b"\r\n"].concat();
    let mut pieces = vec![head.as_bytes()];
    pieces.extend(std::iter::repeat_n(chunk.as_slice(), 64));
    pieces.push(b"0\r\n\r\n");
    written_whole(&gateway, &pieces).assert_error(413, 1103);
    assert!(backend.seen().is_empty());
}

#[test]
fn a_body_within_the_limit_may_come_in_chunks() {
    let backend = backend();
    let gateway = Gateway::before(&[&backend.url()], LIMIT);
    let body = Call::legacy("A=1\n").body();
    let (one, other) = body.split_at(100);
    let head = Call::legacy("").head("Transfer-Encoding: chunked\r\n");
    let chunks = format!("64\r\n{one}\r\n{:x}\r\n{other}\r\n0\r\n\r\n", other.len());
    let answer = written_whole(&gateway, &[head.as_bytes(), chunks.as_bytes()]);
    answer.assert_returned("1");
}

#[test]
fn a_body_over_the_limit_isnt_asked_for() {
    let backend = backend();
    let gateway = Gateway::before(&[&backend.url()], LIMIT);
    let mut client = Client::connect(&gateway);
    client.send(Call::legacy("").head("Expect: 100-continue\r\nContent-Length: 999999\r\n"));
    let first = client.wire.message(Some(Instant::now() + DEADLINE));
    let first = first.ok().flatten().expect("an answer");
    first.assert_error(413, 1103);
}

#[test]
fn a_body_is_asked_for_where_the_client_waits() {
    let backend = backend();
    let gateway = Gateway::before(&[&backend.url()], "");
    let mut client = Client::connect(&gateway);
    let call = Call::legacy("A=1\n");
    let length = call.body().len();
    client.send(call.head(&format!(
        "Expect: 100-continue\r\nContent-Length: {length}\r\n"
    )));
    let first = client.wire.message(Some(Instant::now() + DEADLINE));
    assert_eq!(
        first.ok().flatten().expect("an interim answer").status(),
        100
    );
    client.send(call.body());
    client.read().assert_returned("1");
    assert_eq!(backend.seen()[0].message.header("expect"), None);
}

fn with_headers(count: usize) -> Vec<u8> {
    // Host, Content-Type and Content-Length are three of them.
    let more: String = (3..count).map(|n| format!("X-{n}: 1\r\n")).collect();
    let call = Call::legacy("A=1\n");
    let length = call.body().len();
    (call.head(&format!("{more}Content-Length: {length}\r\n")) + &call.body()).into_bytes()
}

/// An answer of the 4xx class, and the end of the connection, whatever the form.
#[track_caller]
fn assert_bare_refusal(gateway: &Gateway, bytes: &[u8]) {
    let mut client = Client::connect(gateway);
    // The gateway may have seen enough before all is written.
    client.try_send(bytes);
    match client.try_read(Instant::now() + DEADLINE) {
        Ok(Some(answer)) => {
            assert!((400..500).contains(&answer.status()), "{}", answer.start);
            client.read_to_the_end();
        }
        other => panic!("no refusal: {other:?}"),
    }
}

#[test]
fn a_hundred_headers_pass_and_one_more_doesnt() {
    let backend = backend();
    let gateway = Gateway::before(&[&backend.url()], "");
    written_whole(&gateway, &[&with_headers(100)]).assert_returned("1");
    assert_bare_refusal(&gateway, &with_headers(101));
    assert_eq!(backend.seen().len(), 1);
}

#[test]
fn a_long_head_passes_and_one_over_the_limit_doesnt() {
    let backend = backend();
    let gateway = Gateway::before(&[&backend.url()], "");
    let call = |length: usize| {
        Call::legacy("A=1\n")
            .header("X-Long", &"x".repeat(length))
            .bytes()
    };
    written_whole(&gateway, &[&call(60 * 1024)]).assert_returned("1");
    assert_bare_refusal(&gateway, &call(66 * 1024));
    assert_eq!(backend.seen().len(), 1);
}

#[test]
fn what_isnt_http_gets_a_bare_refusal() {
    let backend = backend();
    let gateway = Gateway::before(&[&backend.url()], "");
    let garbage: [&[u8]; 4] = [
        b"this is no HTTP\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: many\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS hello\r\n\r\n",
    ];
    for bytes in garbage {
        assert_bare_refusal(&gateway, bytes);
    }
    gateway.call(&Call::legacy("A=1\n")).assert_returned("1");
    assert_eq!(backend.seen().len(), 1);
}

/// A backend that is told two lengths could take the rest of a body for another request.
#[test]
fn no_backend_is_told_two_lengths() {
    let backend = backend();
    let gateway = Gateway::before(&[&backend.url()], "");
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n";
    let lengths = format!(
        "Content-Length: {}\r\nTransfer-Encoding: chunked\r\n",
        smuggled.len() + 5
    );
    for head in [
        Call::modern().head(&lengths),
        Call::legacy("").head(&lengths),
    ] {
        let mut client = Client::connect(&gateway);
        client.try_send(format!("{head}0\r\n\r\n{smuggled}"));
        match client.try_read(Instant::now() + DEADLINE) {
            Ok(_) | Err(Broken::End(_) | Broken::Reset(_)) => {}
            Err(broken) => panic!("{broken:?}"),
        }
    }
    for Seen { message, .. } in backend.seen() {
        let lengths = [
            message.header("content-length"),
            message.header("transfer-encoding"),
        ];
        assert!(lengths.contains(&None), "{lengths:?}");
        assert_eq!(message.text(), "");
    }
}
