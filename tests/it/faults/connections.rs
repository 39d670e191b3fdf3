//! Pooled connections that aren't what they seem.

use std::time::Duration;

use crate::harness::{Backend, Call, Client, Gateway, Step, ok, ok_modern};

fn call(method: &str) -> Call {
    Call::legacy("A=1\n").method(method)
}

/// The late answer to one call must never become the answer to another.
#[test]
fn a_late_answer_reaches_nobody() {
    let backend = Backend::start(vec![vec![Step::Hold, ok("\"late\"")], vec![ok("\"own\"")]]);
    let gateway = Gateway::before(
        &[&backend.url()],
        "[gateway]\nrequest_timeout = \"500ms\"\nthreads = 1",
    );
    let mut client = Client::connect(&gateway);
    client.call(&call("First")).assert_error(504, 4002);
    backend.release(1);
    backend.wait_scripts_done(1);
    for _ in 0..3 {
        client.call(&call("Second")).assert_returned("\"own\"");
    }
    let connections: Vec<_> = backend.seen().iter().map(|seen| seen.connection).collect();
    assert!(
        !connections[1..].contains(&0),
        "used again: {connections:?}"
    );
}

/// The same while the answer comes just at the deadline, again and again.
#[test]
fn answers_around_the_deadline_are_never_mixed_up() {
    let late = |n: usize| {
        let body = ok_modern(&format!("\"{n}\""));
        let bytes = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        vec![
            Step::Delay(Duration::from_millis(198 + n as u64 % 5)),
            Step::Raw(bytes.into_bytes()),
        ]
    };
    let backend = Backend::start((0..20).map(late).collect());
    let gateway = Gateway::before(
        &[&backend.url()],
        "[gateway]\nrequest_timeout = \"200ms\"\nthreads = 1",
    );
    let mut client = Client::connect(&gateway);
    for n in 0..20 {
        let answer = client.call(&call(&format!("N{n}")));
        if answer.status() == 200 {
            answer.assert_returned(&format!("\"{n}\""));
        } else {
            answer.assert_error(504, 4002);
        }
    }
    assert_eq!(backend.seen().len(), 20, "each call is sent once");
}

#[test]
fn a_connection_closed_while_idle_costs_the_next_call_nothing() {
    let backend = Backend::start(vec![vec![ok("1"), Step::Close], vec![ok("2")]]);
    let gateway = Gateway::before(&[&backend.url()], "[gateway]\nthreads = 1");
    let mut client = Client::connect(&gateway);
    client.call(&call("First")).assert_returned("1");
    backend.wait_scripts_done(1);
    // A gateway that looks only when it takes the connection again is right too.
    backend.closed_within(0, Duration::from_millis(300));
    client.call(&call("Second")).assert_returned("2");
    let paths: Vec<_> = backend
        .seen()
        .iter()
        .map(|seen| seen.message.path().to_owned())
        .collect();
    assert_eq!(paths, ["/EchoFacet/First", "/EchoFacet/Second"]);
}

/// Whatever follows an answer unasked is nobody's answer.
#[test]
fn bytes_after_an_answer_poison_nothing() {
    let one = |returned: &str| {
        let body = ok_modern(returned);
        format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    let both = (one("1") + &one("\"poison\"")).into_bytes();
    let backend = Backend::start(vec![vec![Step::Raw(both)], vec![ok("2")]]);
    let gateway = Gateway::before(&[&backend.url()], "[gateway]\nthreads = 1");
    let mut client = Client::connect(&gateway);
    client.call(&call("First")).assert_returned("1");
    client.call(&call("Second")).assert_returned("2");
    assert_eq!(
        backend.seen()[1].connection,
        1,
        "the connection was used again"
    );
}

/// The same where they come while the connection rests.
#[test]
fn bytes_on_an_idle_connection_poison_nothing() {
    let body = ok_modern("\"poison\"");
    let late = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let backend = Backend::start(vec![
        vec![ok("1"), Step::Hold, Step::Raw(late.into_bytes())],
        vec![ok("2")],
    ]);
    let gateway = Gateway::before(&[&backend.url()], "[gateway]\nthreads = 1");
    let mut client = Client::connect(&gateway);
    client.call(&call("First")).assert_returned("1");
    backend.release(1);
    backend.wait_scripts_done(1);
    backend.closed_within(0, Duration::from_millis(300));
    client.call(&call("Second")).assert_returned("2");
    assert_eq!(
        backend.seen()[1].connection,
        1,
        "the connection was used again"
    );
}

#[test]
fn an_answer_that_says_close_ends_its_connection() {
    let body = ok_modern("1");
    let bytes = format!(
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let backend = Backend::start(vec![vec![Step::Raw(bytes.into_bytes())], vec![ok("2")]]);
    let gateway = Gateway::before(&[&backend.url()], "[gateway]\nthreads = 1");
    let mut client = Client::connect(&gateway);
    client.call(&call("First")).assert_returned("1");
    client.call(&call("Second")).assert_returned("2");
    assert_eq!(
        backend.seen()[1].connection,
        1,
        "the connection was used again"
    );
}
