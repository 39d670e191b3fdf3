//! The two ends of a call: the client, and the worker behind the gateway.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    thread,
};

use crate::{
    scenario::{Expected, Scenario},
    worker::Worker,
};

/// What is sent at once: less than a socket holds that nobody reads.
const CHUNK: usize = 32 << 10;

/// One that sends calls and looks at their answers.
pub(crate) struct Client {
    link: Link,
    requests: Vec<Vec<u8>>,
    expected: Expected,
}

impl Client {
    pub(crate) fn connect(gateway: SocketAddr, scenario: &Scenario) -> Self {
        let stream = TcpStream::connect(gateway).expect("the gateway listens");
        Self {
            link: Link::new(stream),
            requests: scenario.requests(),
            expected: scenario.expected(),
        }
    }

    /// Sends so many calls, one after another; the envs take turns.
    pub(crate) fn call(mut self, calls: usize) {
        for request in self.requests.iter().cycle().take(calls) {
            self.link.send(request);
            let answer = self.link.receive().expect("the connection is kept");
            let is_right = answer.starts_with(self.expected.start.as_bytes())
                && answer.ends_with(self.expected.end.as_bytes());
            assert!(
                is_right,
                "another answer than expected: {}",
                String::from_utf8_lossy(answer)
            );
        }
        self.link.worker.wait_until_it_rests();
    }
}

/// Starts a worker that reads each request whole and answers a constant; where it listens.
pub(crate) fn start_upstream(answer: Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    let address = listener.local_addr().expect("it is bound");
    let answer = Arc::new(answer);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut link = Link::new(stream.expect("a connection can be accepted"));
            let answer = Arc::clone(&answer);
            thread::spawn(move || {
                while link.receive().is_some() {
                    link.send(&answer);
                }
            });
        }
    });
    address
}

/// A connection with the gateway.
struct Link {
    stream: TcpStream,
    worker: Worker,
    received: Vec<u8>,
}

impl Link {
    fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).expect("it is a TCP connection");
        Self {
            stream,
            worker: Worker::find(),
            received: Vec::new(),
        }
    }

    /// Sends a message, each piece of it to a thread that waits for it.
    fn send(&mut self, message: &[u8]) {
        for chunk in message.chunks(CHUNK) {
            self.worker.wait_until_it_rests();
            self.stream.write_all(chunk).expect("the gateway reads");
        }
    }

    /// The next message whole; `None` where the gateway has closed instead.
    fn receive(&mut self) -> Option<&[u8]> {
        self.received.clear();
        let mut missing = None;
        while missing != Some(0) {
            let mut piece = [0; 64 << 10];
            let read = self.stream.read(&mut piece).expect("the gateway writes");
            if read == 0 {
                return None;
            }
            self.received.extend(piece.iter().take(read));
            missing = missing_bytes(&self.received);
        }
        Some(&self.received)
    }
}

/// How much of a message is to come; `None` before the end of its head.
fn missing_bytes(received: &[u8]) -> Option<usize> {
    let head_bytes = received.windows(4).position(|end| end == b"\r\n\r\n")? + 4;
    let head = received.split_at(head_bytes).0;
    let head = str::from_utf8(head).expect("a head is text");
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        let is_length = name.eq_ignore_ascii_case("content-length");
        is_length.then(|| value.parse::<usize>().expect("a length is a number"))
    });
    let whole = head_bytes + length.expect("a message has a length");
    let missing = whole.checked_sub(received.len());
    Some(missing.expect("nothing comes unasked"))
}
