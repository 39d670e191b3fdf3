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
//! | `HealthFacet/Ail()` | returns null; from now on `/health` answers 503, as a C# worker's does that wants to be restarted |
//! | `ProcessFacet/Pid()` | returns its process id |
//! | `ProcessFacet/Exit(code)` | ends the process at once, in the middle of this call and all others |
//! | `MemoryFacet/Hold(mib)` | returns null; holds so many MiB from now on, at most 1,024, and those of the call before no more. Dies where it can't have them |
//!
//! The last three are about its process, which it has to itself. So is the proof of its environment:
//! started with a nonce in `ENVGATE_PROOF`, its `/health` carries
//! `X-Envgate-Env-Proof`, by which whoever started it sees that it runs with the variables that it
//! was meant to have, and with no others.
//!
//! `GET /health` answers `OK`. Frameworks up to 0.11.0 serve one call at a time; later ones as many
//! as come. Everything is bounded: connections, bodies, heads, sessions, waits, held memory.
//!
//! Deliberately absent: TLS, HTTP/2, lasting sessions, limits by env. A worker pool has the latter
//! in front.

mod condition;
mod dialect;
mod facets;
mod listen;
mod proof;
mod serve;
mod sessions;
#[cfg(test)]
mod tests;

use std::{future::Future, io, sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::facet::{Dialect, Framework};
use listen::Listener;
pub use listen::{Address, InheritError, Inherited};
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

impl Worker {
    /// Starts to listen. The file of a Unix socket must not exist; it goes when the worker has run.
    ///
    /// # Errors
    ///
    /// The address can't be listened at, or the environment can't be read.
    pub async fn bind(address: &Address, options: Options) -> io::Result<Self> {
        let listener = Listener::bind(address).await?;
        Self::new(listener, &options)
    }

    /// Listens on a socket that was passed on.
    ///
    /// # Errors
    ///
    /// The runtime can't wait for it, or the environment can't be read.
    pub fn inherit(inherited: Inherited, options: Options) -> io::Result<Self> {
        Self::new(Listener::inherit(inherited)?, &options)
    }

    fn new(listener: Listener, options: &Options) -> io::Result<Self> {
        Ok(Self {
            listener,
            state: Arc::new(State::new(options)?),
        })
    }

    /// Where it listens, with the port that it was given.
    #[must_use]
    pub const fn local_addr(&self) -> &Address {
        &self.listener.address
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
        let file = self.listener.close();
        draining.send_replace(true);
        let ended = async { while connections.join_next().await.is_some() {} };
        if timeout(GRACE, ended).await.is_err() {
            connections.shutdown().await;
        }
        if let Some(path) = file
            && let Err(error) = std::fs::remove_file(&path)
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
        (slot, self.listener.accept().await)
    }
}
