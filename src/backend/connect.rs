//! Opening a connection to a worker.

use std::{io, time::Duration};

use tokio::{
    net::{TcpStream, UnixStream},
    time::{Instant, timeout_at},
};

use super::{Address, Stream, link::Link};

/// How long a worker may take to accept: two retransmissions of a lost SYN (after 1 s and 3 s)
/// fit in, on a loaded network.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(4);

/// Why there is no connection. Nothing was sent in any case.
#[derive(Debug)]
pub(super) enum ConnectError {
    /// Nobody listens there, or no way leads there.
    Unreachable(io::Error),
    /// It didn't answer in time, or its queue of connections is full: it counts as busy.
    Busy(io::Error),
    /// The gateway itself has no descriptors, ports or memory left.
    Exhausted(io::Error),
}

pub(super) async fn connect(address: &Address, deadline: Instant) -> Result<Link, ConnectError> {
    let deadline = deadline.min(Instant::now() + CONNECT_TIMEOUT);
    let stream = match timeout_at(deadline, open(address)).await {
        Ok(stream) => stream.map_err(classify)?,
        Err(_) => return Err(ConnectError::Busy(io::ErrorKind::TimedOut.into())),
    };
    Link::begin(stream)
        .await
        .map_err(|error| ConnectError::Busy(io::Error::other(error)))
}

async fn open(address: &Address) -> io::Result<Stream> {
    match address {
        Address::Tcp(address) => {
            let stream = TcpStream::connect(address).await?;
            // A call is written in one piece; waiting for more to send would only delay it.
            stream.set_nodelay(true)?;
            Ok(Stream::Tcp(stream))
        }
        Address::Unix(path) => UnixStream::connect(path).await.map(Stream::Unix),
    }
}

fn classify(error: io::Error) -> ConnectError {
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    const ENOBUFS: i32 = 105;
    if let Some(ENFILE | EMFILE | ENOBUFS) = error.raw_os_error() {
        return ConnectError::Exhausted(error);
    }
    match error.kind() {
        io::ErrorKind::OutOfMemory | io::ErrorKind::AddrNotAvailable => {
            ConnectError::Exhausted(error)
        }
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => ConnectError::Busy(error),
        _ => ConnectError::Unreachable(error),
    }
}
