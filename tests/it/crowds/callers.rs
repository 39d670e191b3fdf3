//! Clients as tasks.

use std::io::{self, ErrorKind};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::harness::{Address, Message};

/// A connection to the gateway, kept from call to call.
pub(super) struct Caller {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Caller {
    pub(super) async fn connect(address: &Address) -> io::Result<Self> {
        let Address::Tcp(address) = address else {
            return Err(ErrorKind::Unsupported.into());
        };
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream,
            buffer: Vec::new(),
        })
    }

    /// Sends a request and reads its answer, which has a length.
    pub(super) async fn call(&mut self, request: &[u8]) -> io::Result<Message> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        loop {
            if let Some(message) = parse(&self.buffer) {
                return Ok(message);
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
    }
}

/// A whole answer; none where more is to come.
fn parse(bytes: &[u8]) -> Option<Message> {
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = String::from_utf8_lossy(&bytes[..end]);
    let mut lines = head.split("\r\n");
    let start = lines.next().unwrap_or_default().to_owned();
    let headers = lines.filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_owned(), value.trim().to_owned()))
    });
    let mut message = Message {
        start,
        headers: headers.collect(),
        body: Vec::new(),
    };
    let length = message.header("content-length")?.parse().ok()?;
    let body = &bytes[end + 4..];
    if body.len() < length {
        return None;
    }
    message.body = body[..length].to_vec();
    Some(message)
}
