//! Where a worker listens: at an address of its own, or on a socket that whoever started it made
//! and passed on, as systemd does (`sd_listen_fds(3)`).

use std::{
    env, fmt, fs, io, net, net::SocketAddr, os::fd::OwnedFd, os::unix, path::PathBuf, process,
};

use thiserror::Error;
use tokio::net::{TcpListener, UnixListener};

use super::serve::Stream;

/// Where the kernel shows what is passed on.
const DESCRIPTOR: &str = "/proc/self/fd/3";

/// Where a worker listens. Shown as the URL of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// An address and port; port 0 takes a free one.
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "http://{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Why there is no listening socket to take over.
#[derive(Debug, Error)]
pub enum InheritError {
    /// Nobody passed a socket on.
    #[error("{name} isn't set: no listening socket was passed on")]
    Unset {
        /// The variable that would say so.
        name: &'static str,
    },
    /// The sockets are meant for another process.
    #[error(
        "LISTEN_PID isn't {own}, the own process: the sockets that were passed on are another's"
    )]
    AnothersPid {
        /// The id of this process.
        own: u32,
    },
    /// None or several, and a worker has use for one.
    #[error("LISTEN_FDS isn't 1: exactly one listening socket is to be passed on")]
    NotOne,
    /// It can't be listened on.
    #[error("descriptor 3 is no TCP or Unix socket with an address")]
    NoSocket(#[source] io::Error),
}

/// A listening socket that was passed on as descriptor 3.
#[derive(Debug)]
pub struct Inherited {
    socket: Socket,
    address: Address,
}

#[derive(Debug)]
enum Socket {
    Tcp(net::TcpListener),
    Unix(unix::net::UnixListener),
}

impl Inherited {
    /// Takes the socket over. To be called once, and before anything is opened: what is at
    /// descriptor 3 is believed to be what was passed on.
    ///
    /// # Errors
    ///
    /// `LISTEN_PID` and `LISTEN_FDS` don't name exactly one socket for this process, or it can't be
    /// listened on.
    pub fn take() -> Result<Self, InheritError> {
        let own = process::id();
        if variable("LISTEN_PID")? != own.to_string() {
            return Err(InheritError::AnothersPid { own });
        }
        if variable("LISTEN_FDS")? != "1" {
            return Err(InheritError::NotOne);
        }
        // What isn't open mustn't be taken: its number is soon something else's.
        fs::read_link(DESCRIPTOR).map_err(InheritError::NoSocket)?;
        let mut passed = sd_listen_fds::get().map_err(|_| InheritError::NotOne)?;
        let (_, descriptor) = passed.pop().ok_or(InheritError::NotOne)?;
        Self::new(descriptor.into_std()).map_err(InheritError::NoSocket)
    }

    fn new(descriptor: OwnedFd) -> io::Result<Self> {
        let tcp = net::TcpListener::from(descriptor);
        if let Ok(address) = tcp.local_addr() {
            tcp.set_nonblocking(true)?;
            return Ok(Self {
                socket: Socket::Tcp(tcp),
                address: Address::Tcp(address),
            });
        }
        let unix = unix::net::UnixListener::from(OwnedFd::from(tcp));
        let address = unix.local_addr()?;
        let path = address
            .as_pathname()
            .ok_or(io::ErrorKind::AddrNotAvailable)?;
        unix.set_nonblocking(true)?;
        Ok(Self {
            address: Address::Unix(path.to_owned()),
            socket: Socket::Unix(unix),
        })
    }
}

fn variable(name: &'static str) -> Result<String, InheritError> {
    env::var(name).map_err(|_| InheritError::Unset { name })
}

/// A listening socket, and the file to be removed with it.
#[derive(Debug)]
pub(super) struct Listener {
    socket: TokioSocket,
    pub(super) address: Address,
    file: Option<PathBuf>,
}

#[derive(Debug)]
enum TokioSocket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    pub(super) async fn bind(address: &Address) -> io::Result<Self> {
        Ok(match address {
            Address::Tcp(address) => {
                let listener = TcpListener::bind(address).await?;
                Self {
                    address: Address::Tcp(listener.local_addr()?),
                    socket: TokioSocket::Tcp(listener),
                    file: None,
                }
            }
            Address::Unix(path) => Self {
                socket: TokioSocket::Unix(UnixListener::bind(path)?),
                address: address.clone(),
                file: Some(path.clone()),
            },
        })
    }

    /// The file of an inherited Unix socket stays: it is its maker's to remove.
    pub(super) fn inherit(inherited: Inherited) -> io::Result<Self> {
        Ok(Self {
            socket: match inherited.socket {
                Socket::Tcp(socket) => TokioSocket::Tcp(TcpListener::from_std(socket)?),
                Socket::Unix(socket) => TokioSocket::Unix(UnixListener::from_std(socket)?),
            },
            address: inherited.address,
            file: None,
        })
    }

    pub(super) async fn accept(&self) -> io::Result<Stream> {
        match &self.socket {
            TokioSocket::Tcp(socket) => {
                let (stream, _) = socket.accept().await?;
                stream.set_nodelay(true)?;
                Ok(Stream::Tcp(stream))
            }
            TokioSocket::Unix(socket) => {
                let (stream, _) = socket.accept().await?;
                Ok(Stream::Unix(stream))
            }
        }
    }

    /// Ends listening; the file to be removed once the worker has run.
    pub(super) fn close(self) -> Option<PathBuf> {
        self.file
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_is_known_by_its_family() {
        let tcp = net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = tcp.local_addr().unwrap();
        let inherited = Inherited::new(tcp.into()).unwrap();
        assert_eq!(inherited.address, Address::Tcp(address));

        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("worker.sock");
        let unix = unix::net::UnixListener::bind(&path).unwrap();
        let inherited = Inherited::new(unix.into()).unwrap();
        assert_eq!(inherited.address, Address::Unix(path));

        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(Inherited::new(file.into()).is_err());
        let (nameless, _) = unix::net::UnixStream::pair().unwrap();
        assert!(Inherited::new(nameless.into()).is_err());
    }
}
