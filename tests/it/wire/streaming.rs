//! A modern client's call to a modern backend streams both ways: neither side waits for the whole
//! of the other.

use std::{
    net::TcpListener,
    sync::Arc,
    time::{Duration, Instant},
};

use crate::harness::{Backend, Call, Client, DEADLINE, Gateway, Step, Stream, Wire, ok};

/// A backend whose every byte is this test's: accepted when the gateway calls.
struct Far {
    stream: Arc<Stream>,
    wire: Wire,
}

impl Far {
    fn accept(listener: &TcpListener) -> Self {
        listener
            .set_nonblocking(true)
            .expect("a listener that can be polled");
        let stream = crate::harness::eventually("the gateway connects", || {
            listener.accept().ok().map(|(stream, _)| stream)
        });
        stream
            .set_nonblocking(false)
            .expect("a blocking connection");
        let stream = Arc::new(Stream::Tcp(stream));
        Self {
            wire: Wire::new(Arc::clone(&stream)),
            stream,
        }
    }

    #[track_caller]
    fn expect(&mut self, bytes: &str) {
        let found = self
            .wire
            .find(bytes.as_bytes(), Some(Instant::now() + DEADLINE));
        assert!(found.is_ok(), "the backend waited for {bytes:?}: {found:?}");
    }

    fn send(&self, text: &str) {
        self.stream
            .send(text.as_bytes())
            .expect("a connection to the gateway");
    }
}

#[track_caller]
fn expect(client: &mut Client, bytes: &str) {
    let found = client
        .wire
        .find(bytes.as_bytes(), Some(Instant::now() + DEADLINE));
    assert!(found.is_ok(), "the client waited for {bytes:?}: {found:?}");
}

fn listening() -> (TcpListener, String) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("binding port 0");
    let url = format!("http://{}", listener.local_addr().expect("a bound address"));
    (listener, url)
}

#[test]
fn each_side_gets_bytes_before_the_other_has_sent_its_last() {
    let (listener, url) = listening();
    let gateway = Gateway::before(&[&url], "");
    let mut client = Client::connect(&gateway);
    client.send(Call::modern().head("Transfer-Encoding: chunked\r\n"));
    client.send("5\r\nfirst\r\n");
    let mut far = Far::accept(&listener);
    far.expect("POST /EchoFacet/Echo HTTP/1.1\r\n");
    far.expect("first");
    client.send("6\r\nsecond\r\n");
    far.expect("second");
    client.send("4\r\nlast\r\n0\r\n\r\n");
    far.expect("last");

    far.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nalpha\r\n");
    expect(&mut client, "HTTP/1.1 200");
    expect(&mut client, "alpha");
    far.send("4\r\nbeta\r\n");
    expect(&mut client, "beta");
    far.send("5\r\nomega\r\n0\r\n\r\n");
    let answer = client.read();
    assert_eq!(answer.text(), "alphabetaomega");
}

#[test]
fn a_large_body_arrives_whole() {
    let backend = Backend::start(vec![vec![ok("1")]]);
    let gateway = Gateway::before(&[&backend.url()], "");
    let arguments = format!("[\"{}\"]", "x".repeat(900 * 1024));
    let call = Call::modern().arguments(&arguments);
    assert_eq!(gateway.call(&call).status(), 200);
    assert!(backend.seen()[0].message.text() == call.body());
}

#[test]
fn an_idle_stream_within_the_deadline_is_left_alone() {
    let (listener, url) = listening();
    let gateway = Gateway::before(&[&url], "[gateway]\nrequest_timeout = \"30s\"");
    let mut client = Client::connect(&gateway);
    client.send(Call::modern().bytes());
    let mut far = Far::accept(&listener);
    far.expect("\"Hello world!\"");
    far.send("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nhalf");
    expect(&mut client, "half");
    client.assert_still_open(Duration::from_millis(300));
    far.send("half");
    assert_eq!(client.read().text(), "halfhalf");
}

#[test]
fn an_answer_without_a_body_is_no_client_that_left() {
    let no_content = Step::Raw(b"HTTP/1.1 204 No Content\r\n\r\n".to_vec());
    let trailers = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
                    1\r\n1\r\n0\r\nX-Sum: 1\r\n\r\n";
    let trailers = Step::Raw(trailers.into());
    let head = Step::Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n".to_vec());
    let backend = Backend::start(vec![vec![no_content], vec![trailers], vec![head]]);
    let gateway = Gateway::before(&[&backend.url()], "");
    assert_eq!(gateway.call(&Call::modern()).status(), 204);
    assert_eq!(gateway.call(&Call::modern()).text(), "1");
    for marked in ["X-Unisave-Request: Facet\r\n", ""] {
        let mut client = Client::connect(&gateway);
        client.send(format!(
            "HEAD /F/M HTTP/1.1\r\nHost: x\r\n{marked}Connection: close\r\n\r\n"
        ));
        client.read_to_the_end();
    }
    let log = gateway.wait_stdout("four lines", |log| log.lines().count() == 4);
    for (line, status) in log.lines().zip(["204 0B", "200 1B", "200 0B", "404 0B"]) {
        assert!(line.contains(&format!(" {status} ")), "{line}");
    }
}

#[test]
fn an_answer_without_a_body_leaves_its_connection_for_the_next_call() {
    let answers = [
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\n\r\n",
        "HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    ];
    let scripts = answers.map(|answer| vec![Step::Raw(answer.into())]);
    let backend = Backend::start(scripts.into());
    let gateway = Gateway::before(&[&backend.url()], "[gateway]\nthreads = 1");
    let mut client = Client::connect(&gateway);
    for answer in answers {
        let status = client.call(&Call::modern()).status();
        assert!(
            answer.contains(&status.to_string()),
            "{status} for {answer}"
        );
    }
    let seen = backend.wait_seen(answers.len());
    assert!(seen.iter().all(|seen| seen.connection == 0), "{seen:?}");
}

#[test]
fn an_answer_before_the_end_of_the_request_reaches_who_still_sends() {
    let (listener, url) = listening();
    let gateway = Gateway::before(&[&url], "");
    let client = Client::connect(&gateway);
    let body = 600 * 1024;
    client.send(Call::modern().head(&format!("Content-Length: {body}\r\n")));
    let mut far = Far::accept(&listener);
    far.expect("POST /EchoFacet/Echo HTTP/1.1\r\n");
    far.send("HTTP/1.1 401 Unauthorized\r\nContent-Length: 4\r\n\r\nnope");
    let mut client = client;
    expect(&mut client, "nope");
    for _ in 0..body / 1024 {
        assert!(client.try_send([b'x'; 1024]), "the gateway has hung up");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_slow_reader_doesnt_outlast_the_deadline() {
    let (listener, url) = listening();
    let gateway = Gateway::before(&[&url], "[gateway]\nrequest_timeout = \"1s\"");
    let mut client = Client::connect(&gateway);
    client.send(Call::modern().bytes());
    let mut far = Far::accept(&listener);
    far.expect("\"Hello world!\"");
    far.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000000\r\n\r\n");
    let piece = "x".repeat(1 << 16);
    let endless = std::thread::spawn(move || while far.stream.send(piece.as_bytes()).is_ok() {});
    // As slow as it likes: what counts is when the gateway takes no more from the backend.
    let until = Instant::now() + DEADLINE;
    while !endless.is_finished() {
        assert!(Instant::now() < until, "the stream goes on");
        drop(
            client
                .wire
                .rest(Some(Instant::now() + Duration::from_millis(5))),
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    endless.join().expect("the backend's thread ends");
}
