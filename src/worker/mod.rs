//! The sample worker: a small real game backend that speaks either dialect.
//!
//! It stands where a worker pool would: `serve` runs it where no backend is configured, `envgate
//! worker` runs it alone, tests put it behind the gateway. It reads both dialects by itself, with
//! none of the gateway's code, so that it also notices when the gateway writes nonsense.
//!
//! | facet and method | does |
//! |---|---|
//! | `EchoFacet/Echo(x)` | returns `x`, byte for byte |
//! | `EnvFacet/Digest(name)` | returns `{"name","set","digest"}` of a variable: the first 12 hex digits of BLAKE3 of its value, null where it isn't set. Modern: of its own environment; legacy: of the envelope's env |
//! | `TimeFacet/Sleep(ms)` | returns null after so many milliseconds, at most 60,000 |
//! | `FailFacet/Throw(message)` | throws an unknown exception |
//! | `FailFacet/ThrowKnown(message)` | throws a known one |
//! | `FailFacet/Crash()` | answers 500 with `X-Unisave-Error-Response: 1.0` |
//! | `LogFacet/Write(message, count)` | writes so many log entries, at most 1,000 |
//! | `SessionFacet/Count()` | returns how many such calls the session has seen; starts one where there is none |
//!
//! `GET /health` answers `OK`. Frameworks up to 0.11.0 serve one call at a time; later ones as many
//! as come. Everything is bounded: connections, bodies, heads, sessions, waits.
//!
//! Deliberately absent: TLS, HTTP/2, lasting sessions, limits by env. A worker pool has the latter
//! in front.

mod dialect;
mod facets;
mod serve;
mod sessions;
#[cfg(test)]
mod tests;

use std::{fmt, future::Future, io, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use tokio::{
    net::{TcpListener, UnixListener},
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::facet::{Dialect, Framework};
use serve::State;

/// Connections at once; more wait in the listener's backlog.
const MAX_CONNECTIONS: usize = 1024;
/// How long calls under way may go on after shutdown.
const GRACE: Duration = Duration::from_secs(5);
/// A failed accept is tried again after this: it is mostly a lack of file descriptors, which time
/// mends.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A sample worker that listens, and serves once it [runs](Self::run).
#[derive(Debug)]
pub struct Worker {
    listener: Listener,
    address: Address,
    state: Arc<State>,
}

/// What a worker claims to be.
#[derive(Debug, Clone)]
pub struct Options {
    /// The framework inside it.
    pub framework: Framework,
    /// What it speaks; by the framework where it isn't said.
    pub dialect: Option<Dialect>,
}

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

#[derive(Debug)]
enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Worker {
    /// Starts to listen. The file of a Unix socket must not exist; it goes when the worker has run.
    ///
    /// # Errors
    ///
    /// The address can't be listened at.
    pub async fn bind(address: &Address, options: Options) -> io::Result<Self> {
        let (listener, address) = match address {
            Address::Tcp(address) => {
                let listener = TcpListener::bind(address).await?;
                let address = Address::Tcp(listener.local_addr()?);
                (Listener::Tcp(listener), address)
            }
            Address::Unix(path) => {
                let listener = UnixListener::bind(path)?;
                (Listener::Unix(listener), Address::Unix(path.clone()))
            }
        };
        Ok(Self {
            listener,
            address,
            state: Arc::new(State::new(&options)),
        })
    }

    /// Where it listens, with the port that it was given.
    #[must_use]
    pub const fn local_addr(&self) -> &Address {
        &self.address
    }

    /// Serves until `shutdown` is ready, and then for at most 5 s until the calls under way have
    /// ended. Cancelling it ends all calls at once.
    pub async fn run(self, shutdown: impl Future) {
        let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let (draining, drain) = watch::channel(false);
        let mut connections = JoinSet::new();
        let mut shutdown = std::pin::pin!(shutdown);
        loop {
            tokio::select! {
                _ = &mut shutdown => break,
                Some(_) = connections.join_next() => {}
                // Cancelled, it gives its slot back and takes no connection.
                (slot, accepted) = self.accept(&slots) => match accepted {
                    Ok(stream) => {
                        let connection = stream.serve(Arc::clone(&self.state), drain.clone());
                        connections.spawn(async move {
                            connection.await;
                            drop(slot);
                        });
                    }
                    Err(_) => sleep(ACCEPT_PAUSE).await,
                },
            }
        }
        drop(self.listener);
        draining.send_replace(true);
        let ended = async { while connections.join_next().await.is_some() {} };
        if timeout(GRACE, ended).await.is_err() {
            connections.shutdown().await;
        }
        if let Address::Unix(path) = &self.address
            && let Err(error) = std::fs::remove_file(path)
        {
            tracing::warn!(path = %path.display(), %error, "the sample worker's socket stays");
        }
    }

    async fn accept(
        &self,
        slots: &Arc<Semaphore>,
    ) -> (Option<OwnedSemaphorePermit>, io::Result<serve::Stream>) {
        // The semaphore is never closed, so there is always a slot in the end.
        let slot = Arc::clone(slots).acquire_owned().await.ok();
        let stream = match &self.listener {
            Listener::Tcp(listener) => listener.accept().await.and_then(|(stream, _)| {
                stream.set_nodelay(true)?;
                Ok(serve::Stream::Tcp(stream))
            }),
            Listener::Unix(listener) => {
                let accepted = listener.accept().await;
                accepted.map(|(stream, _)| serve::Stream::Unix(stream))
            }
        };
        (slot, stream)
    }
}
