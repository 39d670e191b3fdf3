//! Where clients come in: bound sockets.

use std::{
    fs, io,
    net::IpAddr,
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::PathBuf,
};

use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener, UnixSocket, UnixStream};

use super::ListenAddr;
use crate::backend::Stream;

/// Connections that the kernel keeps for a busy acceptor; it may cap this (`net.core.somaxconn`).
const BACKLOG: u32 = 4096;

/// Owner and group may connect to such a socket, whatever the umask says.
const PRIVATE: u32 = 0o660;

/// Why an address can't be listened at.
#[derive(Debug, thiserror::Error)]
#[error("can't listen at {address}: {fix}")]
pub struct ListenError {
    address: ListenAddr,
    fix: &'static str,
    #[source]
    error: io::Error,
}

/// A bound address.
#[derive(Debug)]
pub(crate) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, SocketFile),
}

/// A Unix socket's file, removed on drop.
#[derive(Debug)]
pub(crate) struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.0)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %self.0.display(), %error, "a socket's file can't be removed");
        }
    }
}

/// An accepted connection, on no runtime yet.
#[derive(Debug)]
pub(crate) enum Accepted {
    Tcp(std::net::TcpStream, IpAddr),
    Unix(std::os::unix::net::UnixStream),
}

impl Accepted {
    /// Makes it a connection of the runtime that this is called on; with its peer's address.
    pub(crate) fn register(self) -> io::Result<(Stream, Option<IpAddr>)> {
        Ok(match self {
            Self::Tcp(stream, peer) => (Stream::Tcp(TcpStream::from_std(stream)?), Some(peer)),
            Self::Unix(stream) => (Stream::Unix(UnixStream::from_std(stream)?), None),
        })
    }
}

impl Listener {
    /// Binds an address; a Unix socket with the permissions that the umask leaves.
    pub(crate) fn bind(address: &ListenAddr) -> Result<Self, ListenError> {
        Self::bind_with(address, None)
    }

    /// The same, but to a Unix socket only its owner and group may connect.
    pub(crate) fn bind_private(address: &ListenAddr) -> Result<Self, ListenError> {
        Self::bind_with(address, Some(PRIVATE))
    }

    fn bind_with(address: &ListenAddr, mode: Option<u32>) -> Result<Self, ListenError> {
        let bound = match address {
            ListenAddr::Tcp(socket) => bind_tcp(*socket).map(Self::Tcp),
            ListenAddr::Unix(path) => bind_unix(path.clone(), mode),
        };
        bound.map_err(|error| ListenError {
            address: address.clone(),
            fix: fix(&error),
            error,
        })
    }

    /// The address as it turned out, where port 0 took a free one.
    pub(crate) fn address(&self) -> io::Result<ListenAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(ListenAddr::Tcp),
            Self::Unix(_, file) => Ok(ListenAddr::Unix(file.0.clone())),
        }
    }

    pub(crate) async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok(Accepted::Tcp(stream.into_std()?, peer.ip()))
            }
            Self::Unix(listener, _) => {
                let (stream, _) = listener.accept().await?;
                Ok(Accepted::Unix(stream.into_std()?))
            }
        }
    }
}

fn bind_tcp(address: std::net::SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()
    } else {
        TcpSocket::new_v6()
    }?;
    // A restart must not wait for the connections of the run before it.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// A file that a killed run left behind is replaced; one that somebody listens at is not.
fn bind_unix(path: PathBuf, mode: Option<u32>) -> io::Result<Listener> {
    if let Ok(metadata) = fs::symlink_metadata(&path) {
        if !metadata.file_type().is_socket() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        match std::os::unix::net::UnixStream::connect(&path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                fs::remove_file(&path)?
            }
            _ => return Err(io::ErrorKind::AddrInUse.into()),
        }
    }
    let socket = UnixSocket::new_stream()?;
    socket.bind(&path)?;
    let file = SocketFile(path);
    // Nobody can connect before it listens.
    if let Some(mode) = mode {
        fs::set_permissions(&file.0, fs::Permissions::from_mode(mode))?;
    }
    Ok(Listener::Unix(socket.listen(BACKLOG)?, file))
}

fn fix(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            "something else listens there; end it, or choose another address"
        }
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 and foreign directories need rights; choose another address"
        }
        io::ErrorKind::AddrNotAvailable => "this machine has no such address",
        io::ErrorKind::AlreadyExists => {
            "there is a file there that is no socket; remove it, or choose another path"
        }
        io::ErrorKind::NotFound => "the socket's directory doesn't exist; make it",
        _ => "the system refuses",
    }
}
