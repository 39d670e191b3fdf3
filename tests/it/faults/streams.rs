//! A backend that answers badly while its answer streams through to a modern client: once the
//! client has its first bytes, only a broken message can tell it.

use crate::harness::{Backend, Broken, Call, Client, DEADLINE, Gateway, Step, answer, ok};

fn raw(text: &str) -> Step {
    Step::Raw(text.as_bytes().to_vec())
}

#[track_caller]
fn assert_fails(script: Vec<Step>, settings: &str, status: u16, number: u32) {
    let backend = Backend::start(vec![script, vec![ok("1")]]);
    let gateway = Gateway::before(&[&backend.url()], settings);
    gateway.call(&Call::modern()).assert_error(status, number);
    assert_eq!(gateway.call(&Call::modern()).status(), 200);
    assert_eq!(backend.seen().len(), 2);
}

/// The client must not take what it gets for a whole answer.
#[track_caller]
fn assert_broken(script: Vec<Step>, settings: &str) {
    let backend = Backend::start(vec![script, vec![ok("1")]]);
    let gateway = Gateway::before(&[&backend.url()], settings);
    let mut client = Client::connect(&gateway);
    client.send(Call::modern().bytes());
    match client.try_read(std::time::Instant::now() + DEADLINE) {
        Err(broken) => assert!(broken.is_over(), "{broken:?}"),
        Ok(Some(answer)) => assert_ne!(answer.status(), 200, "a truncated 200"),
        Ok(None) => {}
    }
    assert_eq!(gateway.call(&Call::modern()).status(), 200);
    assert_eq!(backend.seen().len(), 2);
}

const BEGUN: &str = "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{\"status\":";
const BEGUN_CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"sta\r\n";
const IMPATIENT: &str = "[gateway]\nrequest_timeout = \"300ms\"";

#[test]
fn closes_without_an_answer() {
    assert_fails(vec![Step::Close], "", 502, 4000);
}

#[test]
fn hangs_before_the_head() {
    assert_fails(vec![Step::Hang], IMPATIENT, 504, 4002);
}

#[test]
fn sends_garbage() {
    assert_fails(
        vec![raw("no HTTP at all\r\n\r\n"), Step::Hang],
        "",
        502,
        4001,
    );
}

#[test]
fn switches_protocols_unasked() {
    let switch = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";
    assert_fails(vec![raw(switch), Step::Hang], "", 502, 4001);
}

#[test]
fn stops_inside_the_body() {
    assert_broken(vec![raw(BEGUN), Step::Close], "");
}

#[test]
fn stops_between_chunks() {
    assert_broken(vec![raw(BEGUN_CHUNKED), Step::Close], "");
}

#[test]
fn hangs_inside_the_body() {
    assert_broken(vec![raw(BEGUN), Step::Hang], IMPATIENT);
}

#[test]
fn hangs_between_chunks() {
    assert_broken(vec![raw(BEGUN_CHUNKED), Step::Hang], IMPATIENT);
}

#[test]
fn a_client_that_leaves_inside_the_answer_ends_the_call() {
    let backend = Backend::start(vec![vec![raw(BEGUN), Step::Hang]]);
    let gateway = Gateway::before(&[&backend.url()], "");
    let mut client = Client::connect(&gateway);
    client.send(Call::modern().bytes());
    let begun = client
        .wire
        .find(b"{\"status\":", Some(std::time::Instant::now() + DEADLINE));
    assert!(begun.is_ok(), "{begun:?}");
    drop(client);
    backend.wait_closed(0);
}

#[test]
fn a_client_that_leaves_inside_its_body_ends_the_call() {
    let backend = Backend::start(vec![vec![ok("1")]]);
    let gateway = Gateway::before(&[&backend.url()], "");
    let client = Client::connect(&gateway);
    client.send(Call::modern().head("Content-Length: 1000\r\n") + "{\"argu");
    client.half_close();
    backend.assert_seen_stays(0, std::time::Duration::from_millis(100));
    assert_eq!(gateway.call(&Call::modern()).status(), 200);
}

/// What a client can't be given as gzip in a translated call passes where it can.
#[test]
fn compression_is_the_modern_clients_affair() {
    let script = vec![answer(200, &[("Content-Encoding", "gzip")], "not really")];
    let backend = Backend::start(vec![script]);
    let gateway = Gateway::before(&[&backend.url()], "");
    let got = gateway.call(&Call::modern().header("Accept-Encoding", "gzip"));
    assert_eq!(
        (got.header("content-encoding"), got.text().as_str()),
        (Some("gzip"), "not really")
    );
    let seen = backend.seen();
    assert_eq!(seen[0].message.header("accept-encoding"), Some("gzip"));
}

#[test]
fn an_answer_of_any_size_streams() {
    let body = "x".repeat(1 << 20);
    let backend = Backend::start(vec![vec![answer(200, &[], &body)]]);
    let gateway = Gateway::before(
        &[&backend.url()],
        "[gateway]\nmax_response_body = \"64KiB\"",
    );
    let mut client = Client::connect(&gateway);
    client.send(Call::modern().bytes());
    match client.try_read(std::time::Instant::now() + DEADLINE) {
        Ok(Some(answer)) => assert!(answer.text() == body, "{} bytes", answer.body.len()),
        Ok(None) | Err(Broken::End(_) | Broken::Reset(_)) => panic!("the answer was cut"),
        Err(broken) => panic!("{broken:?}"),
    }
}
