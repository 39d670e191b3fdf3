//! Where one worker is reached.

use std::{
    fmt,
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use http::HeaderValue;

/// An address that can be connected to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// Over TCP.
    Tcp(SocketAddr),
    /// The path of a Unix socket.
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// One worker as connections know it.
#[derive(Debug)]
pub struct Endpoint {
    /// Unlike any other's of this process, also one at the same address before it: no connection
    /// to the one is ever taken for one to the other.
    pub(super) id: u64,
    pub(super) address: Address,
    /// What `Host` says to it.
    pub(super) host: HeaderValue,
    /// Its address, as logs show it.
    pub(super) name: Arc<str>,
}

impl Endpoint {
    /// The worker at an address, and what `Host` says to it.
    #[must_use]
    pub fn new(address: Address, host: HeaderValue) -> Self {
        Self {
            id: NEXT_ID.fetch_add(1, Relaxed),
            name: address.to_string().into(),
            address,
            host,
        }
    }

    /// Its address, as logs show it.
    #[must_use]
    pub const fn name(&self) -> &Arc<str> {
        &self.name
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}
