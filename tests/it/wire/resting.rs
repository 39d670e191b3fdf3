//! Connections that rest between calls, for longer than hyper keeps its part of them.

use std::{
    io::{Read, Write},
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use crate::harness::{Address, Backend, Call, Client, DEADLINE, Gateway, ok};

/// How long the gateway waits until a connection is only a socket.
const REST: Duration = Duration::from_secs(1);

/// Surely longer than that.
const LONG: Duration = Duration::from_millis(1300);

const HEALTH: &str = "GET /health HTTP/1.1\r\nHost: x\r\n\r\n";

fn backend() -> Backend {
    Backend::start(vec![vec![ok("1")]])
}

fn call() -> Call {
    Call::legacy("A=1\n")
}

/// Sends a request in two pieces and reads its answer.
fn call_in_pieces(client: &mut Client, first: usize) {
    let bytes = call().bytes();
    let (begin, end) = bytes.split_at(first);
    client.send(begin);
    client.assert_silent(Duration::from_millis(100));
    client.send(end);
    client.read().assert_returned("1");
}

#[test]
fn a_connection_that_has_rested_serves_its_next_calls() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("gate.sock");
    let listen = format!("unix:{}", path.display());
    let backend = backend();
    let settings = format!("[gateway]\nlisten = [\"127.0.0.1:0\", {listen:?}]");
    let gateway = Gateway::before(&[&backend.url()], &settings);
    let addresses = gateway.addresses();
    assert_eq!(addresses.len(), 2);
    thread::scope(|scope| {
        for address in addresses {
            scope.spawn(move || {
                let mut client = Client::connect_to(address);
                client.assert_silent(LONG);
                client.call(&call()).assert_returned("1");
                client.assert_silent(LONG);
                client.call(&call()).assert_returned("1");
                assert_eq!(client.call(&Call::modern()).status(), 200);
                for first in [1, 40, 300] {
                    client.assert_silent(LONG);
                    call_in_pieces(&mut client, first);
                }
            });
        }
    });
    assert_eq!(backend.seen().len(), 12);
}

/// Whether the next request comes just before a connection has rested, just after it or right then.
#[test]
fn no_call_is_lost_at_the_moment_when_a_rest_begins() {
    const CLIENTS: u32 = 60;
    const ROUNDS: usize = 4;
    let around = Duration::from_millis(10);
    let backend = backend();
    let gateway = &Gateway::before(&[&backend.url()], "");
    thread::scope(|scope| {
        for number in 0..CLIENTS {
            scope.spawn(move || {
                // Each has an env of its own, so that none waits for another.
                let call = Call::legacy(&format!("A={number}\n"));
                let mut client = Client::connect(gateway);
                for _ in 0..ROUNDS {
                    client.call(&call).assert_returned("1");
                    thread::sleep(REST - around / 2 + around * number / CLIENTS);
                }
                client.call(&call).assert_returned("1");
            });
        }
    });
    assert_eq!(backend.seen().len(), CLIENTS as usize * (ROUNDS + 1));
}

#[test]
fn the_begin_of_a_request_that_came_with_another_is_kept() {
    let backend = backend();
    let gateway = Gateway::before(&[&backend.url()], "");
    let both = [call().bytes(), call().bytes()].concat();
    let first = call().bytes().len();
    for more in [1, 30, 100] {
        let mut client = Client::connect(&gateway);
        let (now, later) = both.split_at(first + more);
        client.send(now);
        client.read().assert_returned("1");
        client.assert_silent(LONG);
        client.send(later);
        client.read().assert_returned("1");
        client.call(&call()).assert_returned("1");
    }
}

/// Empty lines after a request are none, nor the begin of one: its head's time doesn't run.
#[test]
fn empty_lines_after_a_request_begin_none() {
    let backend = backend();
    let gateway = Gateway::before(&[&backend.url()], "[gateway]\nheader_timeout = \"200ms\"");
    let mut client = Client::connect(&gateway);
    client.send([&call().bytes()[..], b"\r\n"].concat());
    client.read().assert_returned("1");
    client.assert_silent(LONG + Duration::from_millis(500));
    client.call(&call()).assert_returned("1");
}

/// Neither a rest nor the idle time begins before a slow client has taken the whole answer.
#[test]
fn a_connection_isnt_at_rest_while_its_client_takes_an_answer() {
    const PART: usize = 4 << 20;
    let large = "x".repeat(5 * PART);
    let backend = Backend::start(vec![vec![ok(&format!("{large:?}"))]]);
    let settings = "[gateway]\nidle_timeout = \"1500ms\"\nmax_response_body = \"64MiB\"";
    let gateway = Gateway::before(&[&backend.url()], settings);
    let Address::Tcp(address) = gateway.address() else {
        panic!("it listens over TCP");
    };
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream.write_all(&call().bytes()).expect("sent");
    let mut answers = vec![0; large.len()];
    for part in answers.chunks_mut(PART) {
        thread::sleep(Duration::from_millis(600));
        stream.read_exact(part).expect("the next part");
    }
    stream
        .write_all(b"GET /health HTTP/1.0\r\n\r\n")
        .expect("sent");
    stream.read_to_end(&mut answers).expect("the rest");
    let taken = answers.iter().filter(|&&byte| byte == b'x').count();
    assert!(taken >= large.len(), "{taken} bytes");
    assert!(answers.ends_with(b"OK\n"));
}

#[test]
fn an_old_client_may_keep_its_connection_too() {
    let backend = backend();
    let gateway = Gateway::before(&[&backend.url()], "");
    let mut client = Client::connect(&gateway);
    for _ in 0..2 {
        client.send("GET /health HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        assert_eq!(client.read().status(), 200);
        client.assert_silent(LONG);
    }
    client.send("GET /health HTTP/1.0\r\n\r\n");
    assert_eq!(client.read().status(), 200);
    client.read_to_the_end();
}

#[test]
fn a_client_that_leaves_is_noticed_while_it_rests() {
    let backend = backend();
    let gateway = Gateway::before(&[&backend.url()], "");
    let mut client = Client::connect(&gateway);
    client.call(&call()).assert_returned("1");
    client.assert_silent(LONG);
    client.half_close();
    client.read_to_the_end();
}

#[test]
fn a_rest_ends_with_the_idle_time() {
    let backend = backend();
    for idle in [1500, 2500] {
        let idle = Duration::from_millis(idle);
        let settings = format!(
            "[gateway]\nidle_timeout = \"{}ms\"\nfirst_byte_timeout = \"60s\"",
            idle.as_millis()
        );
        let gateway = Gateway::before(&[&backend.url()], &settings);
        let mut client = Client::connect(&gateway);
        for _ in 0..2 {
            client.call(&call()).assert_returned("1");
        }
        let begun = Instant::now();
        client.read_to_the_end();
        let took = begun.elapsed();
        assert!(took >= idle - Duration::from_millis(50), "{took:?}");
        assert!(took < idle + Duration::from_millis(900), "{took:?}");
    }
}

#[test]
fn draining_ends_rests_at_once() {
    let backend = backend();
    let settings = "[gateway]\nshutdown_grace = \"60s\"";
    let mut gateway = Gateway::before(&[&backend.url()], settings);
    let mut clients: Vec<_> = (0..4).map(|_| Client::connect(&gateway)).collect();
    for client in &mut clients[..3] {
        client.send(HEALTH);
        assert_eq!(client.read().status(), 200);
    }
    thread::sleep(LONG);
    // One that has rested and serves again, and one that never said a word.
    clients[0].call(&call()).assert_returned("1");
    let begun = Instant::now();
    gateway.terminate();
    for client in &mut clients {
        client.read_to_the_end();
    }
    // Whoever doesn't notice is cut off after a second.
    assert!(
        begun.elapsed() < Duration::from_millis(900),
        "{:?}",
        begun.elapsed()
    );
    assert_eq!(gateway.wait_exit(DEADLINE).code(), Some(0));
}
