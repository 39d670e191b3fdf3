//! Clients that leave, dawdle, or are many.

use std::{
    io::{Read, Write},
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use crate::harness::{Address, Backend, Call, Client, DEADLINE, Gateway, Step, eventually, ok};

fn backend() -> Backend {
    Backend::start(vec![vec![ok("1")]])
}

fn legacy() -> Call {
    Call::legacy("A=1\n")
}

#[track_caller]
fn assert_leaving_cancels(
    call: &Call,
    settings: &str,
    leave: impl FnOnce(Client) -> Option<Client>,
) {
    let backend = Backend::start(vec![vec![Step::Hang], vec![ok("1")]]);
    let gateway = Gateway::before(&[&backend.url()], settings);
    let client = Client::connect(&gateway);
    client.send(call.bytes());
    backend.wait_seen(1);
    let kept = leave(client);
    backend.wait_closed(0);
    // Its place is free again: with one call at a time the next one gets through.
    gateway.call(&legacy()).assert_returned("1");
    drop(kept);
}

const ONE_AT_A_TIME: &str = "[admission]\nconcurrency = 1\nqueue = 1";

#[test]
fn a_client_that_leaves_cancels_its_call() {
    assert_leaving_cancels(&legacy(), ONE_AT_A_TIME, |client| {
        drop(client);
        None
    });
}

#[test]
fn a_half_close_cancels_a_call() {
    assert_leaving_cancels(&legacy(), ONE_AT_A_TIME, |client| {
        client.half_close();
        Some(client)
    });
}

#[test]
fn a_modern_client_that_leaves_cancels_its_call() {
    assert_leaving_cancels(&Call::modern(), "", |client| {
        drop(client);
        None
    });
}

#[test]
fn a_half_close_cancels_a_streamed_call() {
    assert_leaving_cancels(&Call::modern(), "", |client| {
        client.half_close();
        Some(client)
    });
}

/// Sends a byte every so often until the gateway has ended the connection; how long that took.
#[track_caller]
fn dripped_until_the_end(client: &mut Client, byte: &str) -> Duration {
    let begun = Instant::now();
    eventually("the gateway ends the connection", || {
        let over = match client.try_read(Instant::now() + Duration::from_millis(20)) {
            Ok(None) => true,
            Ok(Some(_)) => false,
            Err(broken) => broken.is_over(),
        };
        (over || !client.try_send(byte)).then_some(())
    });
    begun.elapsed()
}

#[test]
fn a_header_without_end_is_cut_off() {
    let backend = backend();
    let gateway = Gateway::before(&[&backend.url()], "[gateway]\nheader_timeout = \"400ms\"");
    let mut client = Client::connect(&gateway);
    client.send("POST / HTTP/1.1\r\nHost: x\r\nX-Long: ");
    let took = dripped_until_the_end(&mut client, "x");
    assert!(took >= Duration::from_millis(300), "after {took:?}");

    // The second request of a connection has no more time than the first.
    let mut client = Client::connect(&gateway);
    client.call(&legacy()).assert_returned("1");
    client.send("POST / HTTP/1.1\r\nHost: x\r\nX-Long: ");
    let took = dripped_until_the_end(&mut client, "x");
    assert!(took >= Duration::from_millis(300), "after {took:?}");
    assert_eq!(backend.seen().len(), 1);
}

#[test]
fn a_connection_without_a_first_byte_is_cut_off() {
    let backend = backend();
    let settings = "[gateway]\nfirst_byte_timeout = \"400ms\"";
    let gateway = Gateway::before(&[&backend.url()], settings);
    let begun = Instant::now();
    Client::connect(&gateway).read_to_the_end();
    assert!(
        begun.elapsed() >= Duration::from_millis(300),
        "after {:?}",
        begun.elapsed()
    );
}

#[test]
fn an_idle_connection_is_cut_off_in_its_own_time() {
    let backend = backend();
    let settings = "[gateway]\nidle_timeout = \"400ms\"\nfirst_byte_timeout = \"60s\"";
    let gateway = Gateway::before(&[&backend.url()], settings);
    let mut client = Client::connect(&gateway);
    client.call(&legacy()).assert_returned("1");
    let begun = Instant::now();
    client.read_to_the_end();
    assert!(
        begun.elapsed() >= Duration::from_millis(300),
        "after {:?}",
        begun.elapsed()
    );
}

/// The time for a header runs from its first byte: neither a new connection nor a resting one has
/// begun one.
#[test]
fn the_time_for_a_header_doesnt_run_before_its_first_byte() {
    let backend = backend();
    let gateway = Gateway::before(&[&backend.url()], "[gateway]\nheader_timeout = \"200ms\"");
    let mut client = Client::connect(&gateway);
    for _ in 0..2 {
        client.assert_silent(Duration::from_millis(500));
        client.call(&legacy()).assert_returned("1");
    }
}

#[test]
fn the_time_for_a_header_doesnt_run_while_a_call_does() {
    let slow = vec![Step::Delay(Duration::from_millis(500)), ok("1")];
    let backend = Backend::start(vec![slow]);
    let settings = "[gateway]\nheader_timeout = \"200ms\"\nbody_timeout = \"200ms\"\n\
                    idle_timeout = \"200ms\"\nfirst_byte_timeout = \"200ms\"";
    let gateway = Gateway::before(&[&backend.url()], settings);
    gateway.call(&legacy()).assert_returned("1");
    assert_eq!(gateway.call(&Call::modern()).status(), 200);
}

#[test]
fn a_body_without_end_is_cut_off() {
    let backend = backend();
    let gateway = Gateway::before(&[&backend.url()], "[gateway]\nbody_timeout = \"400ms\"");
    for (length, piece) in [
        ("Content-Length: 1000\r\n", " "),
        ("Transfer-Encoding: chunked\r\n", "1\r\n \r\n"),
    ] {
        let mut client = Client::connect(&gateway);
        client.send(legacy().head(length));
        let until = Instant::now() + DEADLINE;
        let answer = loop {
            match client.try_read(Instant::now() + Duration::from_millis(20)) {
                Ok(Some(answer)) => break answer,
                Ok(None) => panic!("the connection ended without an answer"),
                Err(broken) if broken.is_over() => panic!("no answer: {broken:?}"),
                Err(_) => assert!(Instant::now() < until, "no answer"),
            }
            client.try_send(piece);
        };
        answer.assert_error(408, 1105);
        client.read_to_the_end();
    }
    assert!(backend.seen().is_empty());
}

/// How many files this process, and with it the gateway, may have open.
fn open_files_limit() -> usize {
    let limits = std::fs::read_to_string("/proc/self/limits").expect("Linux shows the limits");
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"))
        .unwrap_or_default();
    line.split_whitespace()
        .nth(3)
        .and_then(|text| text.parse().ok())
        .unwrap_or(usize::MAX)
}

#[test]
fn calls_are_served_beside_2000_idle_connections() {
    let idle = 2000;
    let limit = open_files_limit();
    assert!(
        limit >= idle + 500,
        "open files are limited to {limit}: raise `ulimit -n` to 4096"
    );
    let backend = backend();
    let settings = "[gateway]\nfirst_byte_timeout = \"120s\"\nidle_timeout = \"120s\"";
    let gateway = Gateway::before(&[&backend.url()], settings);
    let mut resting = Vec::with_capacity(idle);
    for n in 0..idle {
        let mut client = Client::connect(&gateway);
        // Half of them have been served once, half have never said a word.
        if n % 2 == 0 {
            client.send("GET /health HTTP/1.1\r\nHost: x\r\n\r\n");
            assert_eq!(client.read().status(), 200);
        }
        resting.push(client);
    }
    for n in 0..50 {
        gateway
            .call(&Call::legacy(&format!("A={n}\n")))
            .assert_returned("1");
    }
    for client in resting.iter_mut().step_by(97) {
        client.call(&legacy()).assert_returned("1");
    }
}

#[test]
fn a_connection_too_many_is_told_so() {
    let backend = backend();
    let gateway = Gateway::before(&[&backend.url()], "[gateway]\nmax_connections = 4");
    let mut open: Vec<_> = (0..4).map(|_| Client::connect(&gateway)).collect();
    for client in &mut open {
        client.call(&legacy()).assert_returned("1");
    }
    let mut fifth = Client::connect(&gateway);
    fifth.try_send(legacy().bytes());
    fifth.read().assert_error(503, 2003);
    fifth.read_to_the_end();

    open.pop();
    eventually("a freed connection is another's", || {
        let mut client = Client::connect(&gateway);
        client.try_send(legacy().bytes());
        let answer = client.read();
        (answer.status() == 200).then_some(())
    });
    for client in &mut open {
        client.call(&legacy()).assert_returned("1");
    }
}

/// An answer that no socket's buffers hold.
fn large() -> Vec<Step> {
    vec![ok(&format!("\"{}\"", "x".repeat(9 << 20)))]
}

#[test]
fn an_answer_counts_as_held_until_its_client_has_taken_it() {
    let backend = Backend::start(vec![large()]);
    let gateway = Gateway::before(&[&backend.url()], "");
    let held = || gateway.metrics().sum("envgate_body_bytes_held");
    let mut client = Client::connect(&gateway);
    client.send(legacy().bytes());
    client
        .wire
        .find(b"HTTP/1.1 200", Some(Instant::now() + DEADLINE))
        .unwrap_or_else(|_| panic!("no answer begins"));
    assert!(held() > Some(9e6), "{:?}", held());
    client.read();
    eventually("nothing is held", || (held() == Some(0.0)).then_some(()));
    client.send(legacy().bytes());
    client
        .wire
        .find(b"HTTP/1.1 200", Some(Instant::now() + DEADLINE))
        .unwrap_or_else(|_| panic!("no answer begins"));
    drop(client);
    eventually("nothing is held", || (held() == Some(0.0)).then_some(()));
}

/// Asks for an answer that no buffers hold, and takes so many bytes of it every 20 ms. The gateway
/// ends the connection before the client has it all.
fn assert_slow_reader_is_cut_off(bytes: usize) {
    let backend = Backend::start(vec![large()]);
    let gateway = Gateway::before(&[&backend.url()], "[gateway]\nsend_timeout = \"400ms\"\n");
    let Address::Tcp(address) = gateway.address() else {
        panic!("not at a TCP address");
    };
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    // So small that the kernel tells the gateway of every little that is taken.
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&(*address).into()).unwrap();
    let mut client = TcpStream::from(socket);
    client.write_all(&legacy().bytes()).unwrap();
    let mut room = vec![0; bytes];
    let one_is_left = || {
        // The one that asks is the other.
        (gateway.metrics().sum("envgate_connections") == Some(1.0)).then_some(())
    };
    let until = Instant::now() + DEADLINE;
    while one_is_left().is_none() {
        assert!(Instant::now() < until, "the slow reader is still served");
        if bytes > 0 && client.read(&mut room).is_err() {
            return;
        }
        thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn who_takes_no_byte_of_an_answer_is_cut_off() {
    assert_slow_reader_is_cut_off(0);
}

#[test]
fn who_trickles_an_answer_is_cut_off() {
    assert_slow_reader_is_cut_off(256);
}
