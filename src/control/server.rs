//! The admin listener: its thread, its acceptor, its end.

use std::{
    io,
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use axum::Router;
use tokio::{
    sync::{Semaphore, watch},
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{
    Config,
    connection::serve_one,
    guard::{Guard, WayIn},
    routes::{Source, routes},
    token::{Token, TokenError},
};
use crate::{
    instances::Table,
    listen::{ListenAddr, ListenError, Listener},
    telemetry::Limiter,
};

/// Connections at once; further ones wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 64;
/// How long requests under way may go on when the listener ends.
const CLOSING: Duration = Duration::from_secs(1);
/// How long the acceptor rests when the process has no descriptors left.
const ACCEPT_BACK_OFF: Duration = Duration::from_millis(50);

/// Why there is no admin listener.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// Its token can't be read.
    #[error("wrong value for admin.token_file: {0}")]
    Token(TokenError),
    /// Others than this machine's users would reach it without a token.
    #[error(
        "admin.listen is {0}, which others can reach: set admin.token_file, or listen at a \
         loopback address or a Unix socket"
    )]
    Open(ListenAddr),
    /// Its address can't be bound.
    #[error("the admin API can't be started")]
    Listen(#[source] ListenError),
    /// The system gives it no thread or no runtime.
    #[error("the system doesn't let the admin API start")]
    System(#[source] io::Error),
}

/// How far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
enum Phase {
    Bound,
    Serving,
    Closing,
}

/// A bound admin listener that answers nobody yet. Dropped, it is closed.
#[derive(Debug)]
pub struct Admin {
    address: ListenAddr,
    handle: AdminHandle,
}

/// A running admin listener. Dropped, it ends without being waited for.
#[derive(Debug)]
pub struct AdminHandle {
    phase: watch::Sender<Phase>,
    thread: JoinHandle<()>,
}

impl Admin {
    /// Binds the listener, on a thread of its own; `None` where none is configured. `names` tells a
    /// backend's name by its number.
    ///
    /// # Errors
    /// [`AdminError`]; nothing is left behind then.
    pub fn bind(
        config: &Config,
        table: Arc<Table>,
        names: impl Fn(u64) -> Option<String> + Send + Sync + 'static,
    ) -> Result<Option<Self>, AdminError> {
        let Some(listen) = config.listen.clone() else {
            return Ok(None);
        };
        if config.is_open_to_others() {
            return Err(AdminError::Open(listen));
        }
        let token = config.token_file.as_deref().map(Token::read).transpose();
        let way_in = match (token.map_err(AdminError::Token)?, &listen) {
            (Some(token), _) => WayIn::Token(token),
            (None, ListenAddr::Tcp(_)) => WayIn::NoPage,
            (None, ListenAddr::Unix(_)) => WayIn::Open,
        };
        let names = Box::new(names);
        let router = routes(Source { table, names }, Guard::new(way_in));
        let (phase, phases) = watch::channel(Phase::Bound);
        let (tell, told) = mpsc::sync_channel(1);
        let thread = thread::Builder::new()
            .name("admin".to_owned())
            .spawn(move || run(&listen, router, phases, &tell))
            .map_err(AdminError::System)?;
        let died = || Err(AdminError::System(io::ErrorKind::BrokenPipe.into()));
        let address = told.recv().unwrap_or_else(|_| died())?;
        let handle = AdminHandle { phase, thread };
        Ok(Some(Self { address, handle }))
    }

    /// The address as it turned out, where port 0 took a free one.
    #[must_use]
    pub const fn address(&self) -> &ListenAddr {
        &self.address
    }

    /// The address as the commands' `--admin` takes it.
    #[must_use]
    pub fn url(&self) -> String {
        match &self.address {
            ListenAddr::Tcp(address) => format!("http://{address}"),
            ListenAddr::Unix(_) => self.address.to_string(),
        }
    }

    /// Begins to answer.
    #[must_use]
    pub fn start(self) -> AdminHandle {
        self.handle.phase.send_replace(Phase::Serving);
        self.handle
    }
}

impl AdminHandle {
    /// Closes the listener, lets requests under way end, for at most a second, and waits for it.
    pub async fn stop(self) {
        self.phase.send_replace(Phase::Closing);
        while !self.thread.is_finished() {
            sleep(Duration::from_millis(2)).await;
        }
        if self.thread.join().is_err() {
            tracing::error!("the admin API's thread panicked; this is a fault of the program");
        }
    }
}

fn run(
    listen: &ListenAddr,
    router: Router,
    phase: watch::Receiver<Phase>,
    tell: &mpsc::SyncSender<Result<ListenAddr, AdminError>>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return drop(tell.send(Err(AdminError::System(error)))),
    };
    runtime.block_on(async {
        let bound = Listener::bind_private(listen).map_err(AdminError::Listen);
        let bound = bound.and_then(|listener| {
            let address = listener.address().map_err(AdminError::System)?;
            Ok((listener, address))
        });
        match bound {
            // Who bound it waits for the word.
            Ok((listener, address)) => {
                drop(tell.send(Ok(address)));
                serve(listener, router, phase).await;
            }
            Err(error) => drop(tell.send(Err(error))),
        }
    });
}

/// Accepts until it is told to close, or its handle is gone.
async fn serve(listener: Listener, router: Router, mut phase: watch::Receiver<Phase>) {
    if phase
        .wait_for(|&phase| phase >= Phase::Serving)
        .await
        .is_err()
    {
        return;
    }
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let failures = Limiter::new(Duration::from_secs(1));
    let mut connections = JoinSet::new();
    loop {
        let accept = async {
            // The semaphore is never closed.
            let place = Arc::clone(&places).acquire_owned().await;
            (place, listener.accept().await)
        };
        tokio::select! {
            (place, accepted) = accept => match accepted {
                Ok(accepted) => {
                    let router = router.clone();
                    connections.spawn(async move {
                        serve_one(accepted, router).await;
                        drop(place);
                    });
                }
                Err(error) => {
                    if let Some(held_back) = failures.pass(Instant::now()) {
                        tracing::warn!(%error, held_back, "an admin connection can't be accepted");
                    }
                    sleep(ACCEPT_BACK_OFF).await;
                }
            },
            Some(ended) = connections.join_next() => report(ended),
            _ = phase.wait_for(|&phase| phase == Phase::Closing) => break,
        }
    }
    drop(listener);
    let all = async {
        while let Some(ended) = connections.join_next().await {
            report(ended);
        }
    };
    // What is still there then is dropped with its runtime.
    if timeout(CLOSING, all).await.is_err() {
        tracing::debug!("admin connections were still open when the listener ended");
    }
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "an admin connection's task failed; this is a fault of the program");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instances::Stage;

    fn bind(config: &Config) -> Result<Option<Admin>, AdminError> {
        Admin::bind(config, Stage::new().table, |_| None)
    }

    fn at(listen: &str) -> Config {
        Config {
            listen: Some(listen.parse().unwrap()),
            token_file: None,
        }
    }

    #[tokio::test]
    async fn a_listener_leaves_nothing_behind() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("admin.sock");
        let config = at(&format!("unix:{}", path.display()));
        let started = bind(&config).unwrap().unwrap().start();
        assert!(path.exists());
        assert!(matches!(bind(&config), Err(AdminError::Listen(_))));
        started.stop().await;
        assert!(!path.exists());
        // One that was never started goes without being waited for.
        drop(bind(&config).unwrap());
        while path.exists() {
            sleep(Duration::from_millis(1)).await;
        }
    }

    #[test]
    fn what_others_reach_is_not_bound_without_a_token() {
        assert!(matches!(bind(&at("0.0.0.0:0")), Err(AdminError::Open(_))));
        let token_file = Some("/nowhere/token".into());
        let without_token = bind(&Config {
            token_file,
            ..at("127.0.0.1:0")
        });
        assert!(matches!(without_token, Err(AdminError::Token(_))));
        assert!(bind(&Config::default()).unwrap().is_none());
    }
}
