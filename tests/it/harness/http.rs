//! HTTP/1.1 messages read off a socket, without leniency beyond what is written here.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use super::Json;

/// Where something listens.
#[derive(Debug, Clone)]
pub(crate) enum Address {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl Address {
    /// Reads `127.0.0.1:80` or `unix:/path`.
    pub(crate) fn parse(text: &str) -> Self {
        match text.strip_prefix("unix:") {
            Some(path) => Self::Unix(path.into()),
            None => Self::Tcp(
                text.parse()
                    .unwrap_or_else(|_| panic!("no address: {text:?}")),
            ),
        }
    }
}

/// A connection, of either kind.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    pub(crate) fn connect(address: &Address) -> io::Result<Self> {
        match address {
            Address::Tcp(address) => {
                let stream = TcpStream::connect(address)?;
                stream.set_nodelay(true)?;
                Ok(Self::Tcp(stream))
            }
            Address::Unix(path) => UnixStream::connect(path).map(Self::Unix),
        }
    }

    pub(crate) fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.set_read_timeout(timeout),
            Self::Unix(stream) => stream.set_read_timeout(timeout),
        }
    }

    pub(crate) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.shutdown(how),
            Self::Unix(stream) => stream.shutdown(how),
        }
    }

    /// Makes the coming close an RST instead of a FIN.
    pub(crate) fn reset_on_close(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO)),
            Self::Unix(_) => Ok(()),
        }
    }

    pub(crate) fn send(&self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => (&mut &*stream).write_all(bytes),
            Self::Unix(stream) => (&mut &*stream).write_all(bytes),
        }
    }

    fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => (&mut &*stream).read(buffer),
            Self::Unix(stream) => (&mut &*stream).read(buffer),
        }
    }
}

/// Why no whole message came; with what had come until then.
#[derive(Debug)]
pub(crate) enum Broken {
    /// The connection ended cleanly, perhaps inside a message.
    End(Vec<u8>),
    Reset(Vec<u8>),
    TimedOut(Vec<u8>),
    Malformed(#[expect(dead_code, reason = "Debug shows it")] String),
}

impl Broken {
    /// Whether the connection is over.
    pub(crate) fn is_over(&self) -> bool {
        matches!(self, Self::End(_) | Self::Reset(_))
    }
}

/// One message: header names as sent, texts as Latin-1.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    pub(crate) start: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Message {
    /// All values of a header, in order.
    pub(crate) fn all(&self, name: &str) -> Vec<&str> {
        let named = self
            .headers
            .iter()
            .filter(|(key, _)| key.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_str()).collect()
    }

    /// The first value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.all(name).first().copied()
    }

    /// An answer's status.
    pub(crate) fn status(&self) -> u16 {
        let status = self
            .start
            .split(' ')
            .nth(1)
            .and_then(|text| text.parse().ok());
        status.unwrap_or_else(|| panic!("no status line: {:?}", self.start))
    }

    /// A request's target.
    pub(crate) fn path(&self) -> &str {
        self.start.split(' ').nth(1).unwrap_or_default()
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Json {
        match Json::parse(&self.body) {
            Ok(json) => json,
            Err(why) => panic!("{}: body isn't JSON ({why}): {:?}", self.start, self.text()),
        }
    }

    /// Status and error number, 0 where it isn't an error of the worker's form.
    pub(crate) fn outcome(&self) -> (u16, u32) {
        let number = (self.header("x-unisave-worker-error") == Some("true"))
            .then(|| Json::parse(&self.body).ok())
            .flatten()
            .and_then(|json| json.at("errorNumber")?.number()?.parse().ok());
        (self.status(), number.unwrap_or(0))
    }

    /// Fails unless this is the gateway's own error with this status and number, in its full form.
    #[track_caller]
    pub(crate) fn assert_error(&self, status: u16, number: u32) {
        assert_eq!(
            self.outcome(),
            (status, number),
            "{} {:?} {:?}",
            self.start,
            self.headers,
            self.text()
        );
        let json = self.json();
        assert_eq!(json.at("error"), Some(&Json::Bool(true)));
        assert_eq!(
            json.at("statusCode").and_then(Json::number),
            Some(status.to_string().as_str())
        );
        assert!(
            json.at("errorMessage").and_then(Json::text).is_some(),
            "{}",
            self.text()
        );
        let kind = self.header("content-type").unwrap_or_default();
        assert!(
            kind.starts_with("application/json"),
            "content-type {kind:?}"
        );
        if matches!(status, 429 | 503) {
            let wait = self.header("retry-after").unwrap_or_default();
            assert!(wait.parse::<u32>().is_ok(), "retry-after {wait:?}");
        }
    }

    /// Fails unless this is a 200 whose legacy answer returned this JSON text.
    #[track_caller]
    pub(crate) fn assert_returned(&self, want: &str) {
        assert_eq!(self.status(), 200, "{} {:?}", self.start, self.text());
        let want = Json::parse(want.as_bytes()).expect("the wanted text is JSON");
        let json = self.json();
        assert_eq!(
            json.at("result").and_then(Json::text),
            Some("ok"),
            "{}",
            self.text()
        );
        assert_eq!(json.at("returned"), Some(&want), "{}", self.text());
    }
}

/// The reading side of a connection.
#[derive(Debug)]
pub(crate) struct Wire {
    stream: Arc<Stream>,
    buffer: Vec<u8>,
}

impl Wire {
    pub(crate) fn new(stream: Arc<Stream>) -> Self {
        Self {
            stream,
            buffer: Vec::new(),
        }
    }

    /// The next message, without regard to which side sends it; `None` where the connection ended
    /// cleanly before its first byte. Interim answers (1xx but 101) are messages of their own.
    pub(crate) fn message(&mut self, until: Option<Instant>) -> Result<Option<Message>, Broken> {
        let mut message = match self.head(until) {
            Ok(message) => message,
            Err(Broken::End(so_far)) if so_far.is_empty() => return Ok(None),
            Err(broken) => return Err(broken),
        };
        let is_answer = message.start.starts_with("HTTP/");
        let bodiless = is_answer && matches!(message.status(), 100..=199 | 204 | 304);
        let chunked = message.header("transfer-encoding").is_some_and(|coding| {
            coding
                .rsplit(',')
                .next()
                .is_some_and(|last| last.trim().eq_ignore_ascii_case("chunked"))
        });
        message.body = if bodiless {
            Vec::new()
        } else if chunked {
            self.chunked(until)?
        } else if let Some(length) = message.header("content-length") {
            let length = length
                .parse()
                .map_err(|_| Broken::Malformed(length.to_owned()))?;
            self.exactly(length, until)?
        } else if is_answer {
            self.rest(until)?
        } else {
            Vec::new()
        };
        Ok(Some(message))
    }

    /// The next head, with an empty body.
    pub(crate) fn head(&mut self, until: Option<Instant>) -> Result<Message, Broken> {
        let end = self.find(b"\r\n\r\n", until)?;
        let head: Vec<u8> = self.buffer.drain(..end + 4).take(end).collect();
        let text: String = head.into_iter().map(char::from).collect();
        let mut lines = text.split("\r\n");
        let start = lines.next().unwrap_or_default().to_owned();
        let headers = lines.map(|line| match line.split_once(':') {
            Some((name, value)) => Ok((name.to_owned(), value.trim().to_owned())),
            None => Err(Broken::Malformed(line.to_owned())),
        });
        Ok(Message {
            start,
            headers: headers.collect::<Result<_, _>>()?,
            body: Vec::new(),
        })
    }

    /// Reads until what is unread holds these bytes; where they begin.
    pub(crate) fn find(&mut self, bytes: &[u8], until: Option<Instant>) -> Result<usize, Broken> {
        loop {
            let place = self
                .buffer
                .windows(bytes.len())
                .position(|window| window == bytes);
            if let Some(place) = place {
                return Ok(place);
            }
            self.more(until)?;
        }
    }

    /// Reads until the connection is over; what came until then.
    pub(crate) fn rest(&mut self, until: Option<Instant>) -> Result<Vec<u8>, Broken> {
        loop {
            match self.more(until) {
                Ok(()) => {}
                Err(Broken::End(bytes)) => {
                    self.buffer.clear();
                    return Ok(bytes);
                }
                Err(broken) => return Err(broken),
            }
        }
    }

    fn exactly(&mut self, length: usize, until: Option<Instant>) -> Result<Vec<u8>, Broken> {
        while self.buffer.len() < length {
            self.more(until)?;
        }
        Ok(self.buffer.drain(..length).collect())
    }

    fn chunked(&mut self, until: Option<Instant>) -> Result<Vec<u8>, Broken> {
        let mut body = Vec::new();
        loop {
            let line = self.line(until)?;
            let size = line.split(';').next().unwrap_or_default().trim();
            let size = usize::from_str_radix(size, 16)
                .map_err(|_| Broken::Malformed(format!("chunk size {line:?}")))?;
            if size == 0 {
                while !self.line(until)?.is_empty() {}
                return Ok(body);
            }
            body.extend(self.exactly(size, until)?);
            if !self.line(until)?.is_empty() {
                return Err(Broken::Malformed("no line end after a chunk".to_owned()));
            }
        }
    }

    fn line(&mut self, until: Option<Instant>) -> Result<String, Broken> {
        let end = self.find(b"\r\n", until)?;
        Ok(self
            .buffer
            .drain(..end + 2)
            .take(end)
            .map(char::from)
            .collect())
    }

    fn more(&mut self, until: Option<Instant>) -> Result<(), Broken> {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        if left.is_some_and(|left| left.is_zero()) {
            return Err(Broken::TimedOut(self.buffer.clone()));
        }
        if self.stream.set_read_timeout(left).is_err() {
            return Err(Broken::Reset(self.buffer.clone()));
        }
        let mut piece = [0; 64 * 1024];
        match self.stream.receive(&mut piece) {
            Ok(0) => Err(Broken::End(self.buffer.clone())),
            Ok(length) => {
                self.buffer.extend_from_slice(&piece[..length]);
                Ok(())
            }
            Err(error) => match error.kind() {
                ErrorKind::Interrupted => Ok(()),
                ErrorKind::WouldBlock | ErrorKind::TimedOut => {
                    Err(Broken::TimedOut(self.buffer.clone()))
                }
                _ => Err(Broken::Reset(self.buffer.clone())),
            },
        }
    }
}
