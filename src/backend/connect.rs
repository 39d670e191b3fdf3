//! Opening a connection to a worker.

use std::{io, path::Path, time::Duration};

use tokio::{
    net::{TcpStream, UnixStream},
    time::{Instant, sleep, timeout_at},
};

use super::{Address, Stream, link::Link};

/// How long a worker may take to accept: two retransmissions of a lost SYN (after 1 s and 3 s)
/// fit in, on a loaded network.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(4);

/// How soon a full queue of a Unix socket is tried again, and how long it takes at most until the
/// next time: many may wait for one worker, and each try is a system call.
const TRY_AGAIN: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(32));

/// Why there is no connection. Nothing was sent in any case.
#[derive(Debug)]
pub(super) enum ConnectError {
    /// Nobody listens there, or no way leads there.
    Unreachable(io::Error),
    /// It didn't answer in time, or its queue of connections stayed full: it counts as busy.
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

/// Opens a connection, for as long as the caller lets it try.
pub(super) async fn open(address: &Address) -> io::Result<Stream> {
    match address {
        Address::Tcp(address) => {
            let stream = TcpStream::connect(address).await?;
            // A call is written in one piece; waiting for more to send would only delay it.
            stream.set_nodelay(true)?;
            Ok(Stream::Tcp(stream))
        }
        Address::Unix(path) => open_unix(path).await.map(Stream::Unix),
    }
}

/// Of a TCP socket whose queue is full the kernel itself asks again, of a Unix socket it refuses at
/// once. Such a worker is alive: a crowd has come to it.
async fn open_unix(path: &Path) -> io::Result<UnixStream> {
    let (mut pause, longest) = TRY_AGAIN;
    loop {
        match UnixStream::connect(path).await {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => sleep(pause).await,
            opened => return opened,
        }
        pause = (pause * 2).min(longest);
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
        io::ErrorKind::TimedOut => ConnectError::Busy(error),
        _ => ConnectError::Unreachable(error),
    }
}

#[cfg(test)]
mod tests {
    use std::{os::unix::net::UnixListener, path::PathBuf};

    use socket2::{Domain, SockAddr, Socket, Type};

    use super::*;

    /// A socket whose queue has room for one connection, and that one.
    fn full_queue(path: PathBuf) -> (UnixListener, std::os::unix::net::UnixStream) {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        socket.bind(&SockAddr::unix(&path).unwrap()).unwrap();
        socket.listen(0).unwrap();
        let first = std::os::unix::net::UnixStream::connect(path).unwrap();
        (socket.into(), first)
    }

    #[tokio::test]
    async fn a_full_queue_of_a_unix_socket_is_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        let (listener, _first) = full_queue(path.clone());
        let address = Address::Unix(path);
        let refused = connect(&address, Instant::now() + Duration::from_millis(100)).await;
        assert!(
            matches!(refused, Err(ConnectError::Busy(error)) if error.kind() == io::ErrorKind::TimedOut)
        );
        let waiting = tokio::spawn(async move {
            let deadline = Instant::now() + Duration::from_secs(20);
            connect(&address, deadline).await.is_ok()
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        listener.accept().unwrap();
        assert!(waiting.await.unwrap());
    }

    #[tokio::test]
    async fn a_socket_that_nobody_listens_at_is_told_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("s");
        drop(UnixListener::bind(&path).unwrap());
        let began = Instant::now();
        let refused = connect(&Address::Unix(path), began + Duration::from_secs(20)).await;
        assert!(matches!(refused, Err(ConnectError::Unreachable(_))));
        assert!(began.elapsed() < CONNECT_TIMEOUT / 2);
    }
}
