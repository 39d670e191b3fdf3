//! A backend that answers badly, to a translated call. Whatever it does, the call is sent once, the
//! connection is dropped, and the next call is served on a new one.

use std::time::Duration;

use crate::harness::{Backend, Call, Client, Gateway, Message, Step, answer, ok, ok_modern};

fn call() -> Call {
    Call::legacy("A=1\n").method("First")
}

/// The answer to a call whose backend plays this script, under these settings.
#[track_caller]
fn played(script: Vec<Step>, settings: &str) -> Message {
    let backend = Backend::start(vec![script, vec![ok("\"next\"")]]);
    let gateway = Gateway::before(&[&backend.url()], settings);
    let mut client = Client::connect(&gateway);
    let first = client.call(&call());
    client
        .call(&call().method("Next"))
        .assert_returned("\"next\"");
    let seen = backend.seen();
    let paths: Vec<_> = seen.iter().map(|seen| seen.message.path()).collect();
    assert_eq!(paths, ["/EchoFacet/First", "/EchoFacet/Next"]);
    if first.status() != 200 {
        let connections: Vec<_> = seen.iter().map(|seen| seen.connection).collect();
        assert_eq!(
            connections,
            [0, 1],
            "the connection of the bad answer was used again"
        );
        backend.wait_closed(0);
    }
    first
}

#[track_caller]
fn assert_fails(script: Vec<Step>, status: u16, number: u32) {
    played(script, "[gateway]\nrequest_timeout = \"10s\"").assert_error(status, number);
}

/// With a deadline that the script outlasts.
#[track_caller]
fn assert_takes_too_long(script: Vec<Step>) {
    played(script, "[gateway]\nrequest_timeout = \"300ms\"").assert_error(504, 4002);
}

#[track_caller]
fn assert_served(script: Vec<Step>) {
    played(script, "").assert_returned("1");
}

fn raw(text: &str) -> Step {
    Step::Raw(text.as_bytes().to_vec())
}

/// A whole good answer as text.
fn good() -> String {
    let body = ok_modern("1");
    format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Long enough for what was sent to arrive before what follows.
const ARRIVES: Step = Step::Delay(Duration::from_millis(100));

#[test]
fn hangs_before_the_head() {
    assert_takes_too_long(vec![Step::Hang]);
}

#[test]
fn hangs_inside_the_head() {
    assert_takes_too_long(vec![raw("HTTP/1.1 200 OK\r\nContent-"), Step::Hang]);
}

#[test]
fn hangs_inside_the_body() {
    assert_takes_too_long(vec![
        raw("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{\"st"),
        Step::Hang,
    ]);
}

#[test]
fn drips_within_the_deadline() {
    let every = Duration::from_millis(3);
    assert_served(vec![Step::Drip {
        bytes: good().into_bytes(),
        every,
    }]);
}

#[test]
fn drips_beyond_the_deadline() {
    let every = Duration::from_millis(20);
    assert_takes_too_long(vec![
        Step::Drip {
            bytes: good().into_bytes(),
            every,
        },
        Step::Hang,
    ]);
}

#[test]
fn closes_without_an_answer() {
    assert_fails(vec![Step::Close], 502, 4000);
}

#[test]
fn resets_before_the_answer() {
    let backend = Backend::start(vec![vec![Step::Reset], vec![ok("1")]]);
    let gateway = Gateway::before(&[&backend.url()], "");
    gateway.call(&call()).assert_error(502, 4000);
    gateway.call(&call()).assert_returned("1");
    assert_eq!(backend.seen().len(), 2);
}

#[test]
fn resets_inside_the_answer() {
    let begun = raw("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{\"st");
    let backend = Backend::start(vec![vec![begun, ARRIVES, Step::Reset], vec![ok("1")]]);
    let gateway = Gateway::before(&[&backend.url()], "");
    gateway.call(&call()).assert_error(502, 4001);
    gateway.call(&call()).assert_returned("1");
    assert_eq!(backend.seen().len(), 2);
}

#[test]
fn stops_inside_the_head() {
    assert_fails(vec![raw("HTTP/1.1 200 O"), Step::Close], 502, 4001);
}

#[test]
fn stops_inside_the_body() {
    let begun = raw("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{\"status\":\"ok\"}");
    assert_fails(vec![begun, Step::Close], 502, 4001);
}

#[test]
fn stops_inside_the_body_of_an_error() {
    let begun = raw("HTTP/1.1 500 Oh\r\nContent-Length: 99\r\n\r\n{\"exception\":{}}");
    assert_fails(vec![begun, Step::Close], 502, 4001);
}

#[test]
fn stops_inside_a_chunk() {
    let begun = raw("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1e\r\n{\"status\":");
    assert_fails(vec![begun, Step::Close], 502, 4001);
}

#[test]
fn stops_before_the_last_chunk() {
    let body = ok_modern("1");
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let begun = raw(&format!("{head}{:x}\r\n{body}\r\n", body.len()));
    assert_fails(vec![begun, Step::Close], 502, 4001);
}

#[test]
fn answers_in_chunks() {
    let body = ok_modern("1");
    let (one, other) = body.split_at(7);
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    assert_served(vec![
        raw(&format!("{head}7\r\n{one}\r\n")),
        raw(&format!("{:x};x=y\r\n{other}\r\n0\r\n\r\n", other.len())),
    ]);
}

#[test]
fn sends_garbage() {
    assert_fails(
        vec![raw("\u{16}\u{3}\u{1} this is no HTTP\r\n\r\n"), Step::Hang],
        502,
        4001,
    );
}

#[test]
fn sends_two_lengths() {
    let body = ok_modern("1");
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n", body.len());
    let chunk = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let both = raw(&format!("{head}Transfer-Encoding: chunked\r\n\r\n{chunk}"));
    assert_fails(vec![both, Step::Hang], 502, 4001);
}

#[test]
fn switches_protocols_unasked() {
    let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";
    assert_fails(vec![raw(switch), Step::Hang], 502, 4001);
}

fn interim(count: usize) -> String {
    "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n".repeat(count)
}

#[test]
fn sends_17_interim_answers() {
    assert_fails(vec![raw(&(interim(17) + &good())), Step::Hang], 502, 4001);
}

#[test]
fn sends_17_interim_answers_one_by_one() {
    let mut script = Vec::new();
    for _ in 0..17 {
        script.extend([raw(&interim(1)), Step::Delay(Duration::from_millis(5))]);
    }
    script.push(Step::Hang);
    assert_fails(script, 502, 4001);
}

#[test]
fn sends_3_interim_answers() {
    assert_served(vec![raw(&(interim(3) + &good()))]);
}

#[test]
fn sends_16_interim_answers() {
    assert_served(vec![raw(&(interim(16) + &good()))]);
}

#[test]
fn compresses_unasked() {
    let headers = [
        ("Content-Type", "application/json"),
        ("Content-Encoding", "gzip"),
    ];
    assert_fails(vec![answer(200, &headers, &ok_modern("1"))], 502, 4001);
}

#[test]
fn answers_until_the_end() {
    let body = ok_modern("1");
    assert_served(vec![
        raw(&format!("HTTP/1.1 200 OK\r\n\r\n{body}")),
        Step::Close,
    ]);
}

#[test]
fn answers_until_an_early_end() {
    let body = ok_modern("1");
    let cut = &body[..body.len() - 1];
    let begun = raw(&format!("HTTP/1.1 200 OK\r\n\r\n{cut}"));
    assert_fails(vec![begun, Step::Close], 502, 4001);
}

fn over(limit: usize) -> String {
    ok_modern(&format!("\"{}\"", "x".repeat(limit)))
}

const SMALL_ANSWERS: &str = "[gateway]\nmax_response_body = \"64KiB\"";

#[test]
fn answers_over_the_limit_with_a_length() {
    let script = vec![answer(200, &[], &over(64 * 1024))];
    played(script, SMALL_ANSWERS).assert_error(502, 4003);
}

#[test]
fn answers_over_the_limit_in_chunks() {
    let body = over(64 * 1024);
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let script = vec![raw(&format!(
        "{head}{:x}\r\n{body}\r\n0\r\n\r\n",
        body.len()
    ))];
    played(script, SMALL_ANSWERS).assert_error(502, 4003);
}

#[test]
fn answers_over_the_limit_without_end() {
    let head = format!("HTTP/1.1 200 OK\r\n\r\n{}", over(64 * 1024));
    played(vec![raw(&head), Step::Hang], SMALL_ANSWERS).assert_error(502, 4003);
}

#[test]
fn a_large_answer_within_the_limit_is_whole() {
    let returned = format!("\"{}\"", "x".repeat(3 << 20));
    let backend = Backend::start(vec![vec![answer(200, &[], &ok_modern(&returned))]]);
    let gateway = Gateway::before(&[&backend.url()], "");
    gateway.call(&call()).assert_returned(&returned);
}
