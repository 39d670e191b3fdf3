//! Where clients come in.

use std::{fs, io, net::IpAddr, os::unix::fs::FileTypeExt, path::PathBuf};

use tokio::net::{TcpListener, TcpSocket, UnixListener};

use super::ListenAddr;

/// Connections that the kernel keeps for a busy acceptor; it may cap this (`net.core.somaxconn`).
const BACKLOG: u32 = 4096;

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
pub(super) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, SocketFile),
}

/// A Unix socket's file, removed on drop.
#[derive(Debug)]
pub(super) struct SocketFile(PathBuf);

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
pub(super) enum Accepted {
    Tcp(std::net::TcpStream, IpAddr),
    Unix(std::os::unix::net::UnixStream),
}

impl Listener {
    pub(super) fn bind(address: &ListenAddr) -> Result<Self, ListenError> {
        let bound = match address {
            ListenAddr::Tcp(socket) => bind_tcp(*socket).map(Self::Tcp),
            ListenAddr::Unix(path) => bind_unix(path.clone()),
        };
        bound.map_err(|error| ListenError {
            address: address.clone(),
            fix: fix(&error),
            error,
        })
    }

    /// The address as it turned out, where port 0 took a free one.
    pub(super) fn address(&self) -> io::Result<ListenAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(ListenAddr::Tcp),
            Self::Unix(_, file) => Ok(ListenAddr::Unix(file.0.clone())),
        }
    }

    pub(super) async fn accept(&self) -> io::Result<Accepted> {
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
fn bind_unix(path: PathBuf) -> io::Result<Listener> {
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
    let listener = UnixListener::bind(&path)?;
    Ok(Listener::Unix(listener, SocketFile(path)))
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
