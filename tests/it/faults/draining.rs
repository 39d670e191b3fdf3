//! SIGTERM: what runs is finished, what is new is refused, and the end comes in time.

use std::time::{Duration, Instant};

use crate::harness::{Backend, Call, Client, DEADLINE, Gateway, Setup, Step, ok};

fn call() -> Call {
    Call::legacy("A=1\n")
}

/// A gateway with one call that its backend holds.
fn with_a_call_running(
    backend: &Backend,
    settings: &str,
    variable: (&str, &str),
) -> (Gateway, Client) {
    let url = backend.url();
    let config = format!("{settings}\n[[backend]]\nname = \"b\"\nurls = [{url:?}]");
    let gateway = Setup::new(&config).variable(variable.0, variable.1).start();
    let client = Client::connect(&gateway);
    client.send(call().bytes());
    backend.wait_seen(1);
    (gateway, client)
}

fn holding() -> Backend {
    Backend::start(vec![vec![Step::Hold, ok("1")]])
}

#[test]
fn what_runs_is_finished_and_what_is_new_refused() {
    let backend = holding();
    let patient = "[gateway]\nshutdown_grace = \"60s\"";
    let (mut gateway, mut running) = with_a_call_running(&backend, patient, ("A", "1"));
    let mut resting = Client::connect(&gateway);
    resting.send("GET /health HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(resting.read().status(), 200);

    gateway.drain();
    for new in [call(), Call::modern()] {
        let refused = gateway.call(&new);
        refused.assert_error(503, 1000);
        let connection = refused.header("connection").unwrap_or_default();
        assert!(
            connection.eq_ignore_ascii_case("close"),
            "connection: {connection:?}"
        );
    }
    backend.release_all();
    running.read().assert_returned("1");
    // A resting connection holds nothing up.
    let status = gateway.wait_exit(DEADLINE);
    assert_eq!(status.code(), Some(0));
    resting.read_to_the_end();
    assert_eq!(backend.seen().len(), 1);
}

#[test]
fn what_waits_in_the_queue_is_finished_too() {
    let backend = holding();
    let settings = "[gateway]\nshutdown_grace = \"60s\"\n[admission]\nconcurrency = 1\nqueue = 1";
    let (mut gateway, mut running) = with_a_call_running(&backend, settings, ("A", "1"));
    let mut waiting = Client::connect(&gateway);
    waiting.send(call().bytes());
    waiting.assert_silent(Duration::from_millis(300));
    gateway.drain();
    backend.release_all();
    running.read().assert_returned("1");
    waiting.read().assert_returned("1");
    assert_eq!(gateway.wait_exit(DEADLINE).code(), Some(0));
}

#[test]
fn nothing_running_ends_at_once() {
    let backend = holding();
    let gateway = &mut Gateway::before(&[&backend.url()], "[gateway]\nshutdown_grace = \"60s\"");
    gateway.terminate();
    assert_eq!(gateway.wait_exit(DEADLINE).code(), Some(0));
}

#[track_caller]
fn assert_ends_with_the_grace(settings: &str, variable: (&str, &str)) {
    let backend = holding();
    let (mut gateway, mut running) = with_a_call_running(&backend, settings, variable);
    let begun = Instant::now();
    gateway.terminate();
    assert_eq!(gateway.wait_exit(DEADLINE).code(), Some(0));
    let took = begun.elapsed();
    assert!(
        took >= Duration::from_millis(900) && took < Duration::from_secs(8),
        "{took:?}"
    );
    // The call that was cut off gets an error or the end, never a 200.
    if let Ok(Some(answer)) = running.try_read(Instant::now() + DEADLINE) {
        assert!(answer.status() >= 500, "{}", answer.start);
    }
    backend.wait_closed(0);
}

#[test]
fn the_grace_ends() {
    assert_ends_with_the_grace("[gateway]\nshutdown_grace = \"1s\"", ("A", "1"));
}

#[test]
fn the_workers_variable_is_the_grace() {
    assert_ends_with_the_grace("", ("WORKER_GRACEFUL_SHUTDOWN_SECONDS", "1"));
}

#[test]
fn a_second_sigterm_ends_at_once() {
    let backend = holding();
    let patient = "[gateway]\nshutdown_grace = \"120s\"";
    let (mut gateway, _running) = with_a_call_running(&backend, patient, ("A", "1"));
    gateway.drain();
    gateway.terminate();
    gateway.wait_exit(Duration::from_secs(10));
}

#[test]
fn an_answer_that_its_client_still_reads_is_finished() {
    let large = format!("\"{}\"", "x".repeat(9 << 20));
    let backend = Backend::start(vec![vec![ok(&large)]]);
    let patient = "[gateway]\nshutdown_grace = \"60s\"";
    let mut gateway = Gateway::before(&[&backend.url()], patient);
    let mut client = Client::connect(&gateway);
    client.send(call().bytes());
    let begun = client
        .wire
        .find(b"HTTP/1.1 200", Some(Instant::now() + DEADLINE));
    assert!(begun.is_ok(), "no answer begins");
    gateway.terminate();
    // Longer than connections get to write out what is left once the gateway closes.
    std::thread::sleep(Duration::from_secs(3));
    client.read().assert_returned(&large);
    assert_eq!(gateway.wait_exit(DEADLINE).code(), Some(0));
}
