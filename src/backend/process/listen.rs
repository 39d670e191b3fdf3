//! Where an instance listens: a port, the path of a socket, or a socket that we made.

use std::{
    collections::HashSet,
    io,
    net::{Ipv4Addr, TcpListener},
    os::{fd::OwnedFd, unix::net::UnixListener},
    sync::Arc,
};

use parking_lot::Mutex;

use super::{
    config::Listen,
    host::Host,
    identity::IdentityLease,
    runtime_dir::{DirError, InstanceDir},
};
use crate::backend::Address;

/// Tries for a port that no living instance has been given. The system hands them out at random, so
/// the first try is nearly always good.
const PORT_TRIES: usize = 64;

/// Why an instance has no place to listen.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// No port could be had.
    #[error("can't get a free port")]
    Port(#[source] io::Error),
    /// Its directory can't be made, or its socket's path is too long.
    #[error(transparent)]
    Dir(#[from] DirError),
    /// The socket for it to inherit can't be made.
    #[error("can't listen at its socket")]
    Socket(#[source] io::Error),
}

/// A place where one instance listens; nobody else is given it before this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) endpoint: Address,
    _port: Option<PortLease>,
    _dir: Option<InstanceDir>,
}

impl Place {
    /// Makes a place, and with `inherit` the socket that is to be passed to the worker.
    pub(super) fn make(
        listen: Listen,
        identity: &IdentityLease,
        host: &Host,
    ) -> Result<(Self, Option<OwnedFd>), PlaceError> {
        if listen == Listen::Tcp {
            let port = host.ports.take().map_err(PlaceError::Port)?;
            let place = Self {
                endpoint: Address::Tcp((Ipv4Addr::LOCALHOST, port.port).into()),
                _port: Some(port),
                _dir: None,
            };
            return Ok((place, None));
        }
        let dir = host.dir.instance(identity)?;
        let path = dir.socket()?;
        let socket = match listen {
            Listen::Inherit => Some(UnixListener::bind(&path).map_err(PlaceError::Socket)?),
            Listen::Unix | Listen::Tcp => None,
        };
        let place = Self {
            endpoint: Address::Unix(path),
            _port: None,
            _dir: Some(dir),
        };
        Ok((place, socket.map(OwnedFd::from)))
    }

    /// What `{port}` stands for.
    pub(super) fn port(&self) -> Option<u16> {
        match &self.endpoint {
            Address::Tcp(address) => Some(address.port()),
            Address::Unix(_) => None,
        }
    }

    /// What `{socket}` stands for.
    pub(super) fn socket(&self) -> Option<&str> {
        match &self.endpoint {
            Address::Tcp(_) => None,
            Address::Unix(path) => path.to_str(),
        }
    }
}

/// The ports that living instances have been given, for all backends.
#[derive(Debug, Clone, Default)]
pub(super) struct Ports(Arc<Mutex<HashSet<u16>>>);

impl Ports {
    /// A loopback port that is free now. It can't be kept for the worker: that it is really the
    /// worker who listens there is seen before it is spoken to.
    fn take(&self) -> io::Result<PortLease> {
        for _ in 0..PORT_TRIES {
            let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
                .local_addr()?
                .port();
            if self.0.lock().insert(port) {
                let ports = self.clone();
                return Ok(PortLease { port, ports });
            }
        }
        Err(io::ErrorKind::AddrInUse.into())
    }
}

#[derive(Debug)]
struct PortLease {
    port: u16,
    ports: Ports,
}

impl Drop for PortLease {
    fn drop(&mut self) {
        self.ports.0.lock().remove(&self.port);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_nobody_elses_while_it_is_held() {
        let ports = Ports::default();
        let held: Vec<_> = (0..50).map(|_| ports.take().unwrap()).collect();
        let distinct: HashSet<_> = held.iter().map(|lease| lease.port).collect();
        assert_eq!(distinct.len(), 50);
        assert_eq!(ports.0.lock().len(), 50);
        drop(held);
        assert!(ports.0.lock().is_empty());
    }
}
