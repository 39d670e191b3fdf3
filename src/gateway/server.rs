//! The gateway as a whole: bound, run, drained.

use std::{
    io,
    sync::{Arc, atomic::Ordering::Relaxed},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{
    AccessLog,
    access_log::Log,
    drain::Phase,
    reload::{Backends, Reload},
    state::{Gateway, Setup, SetupError},
    threads::{Assigned, Worker},
};
use crate::{
    instances::{Supervisor, Table},
    listen::{ListenAddr, ListenError, Listener},
    telemetry::{Limiter, LineWriter, Metrics},
};

/// Connections over the limit that are still told so; further ones are closed without a word.
const SURPLUS: usize = 64;

/// How long the acceptor rests when the process has no descriptors left: the ones in use come back
/// only as connections end.
const ACCEPT_BACK_OFF: Duration = Duration::from_millis(50);

/// Of the memory for bodies, the share (one of so many) that the calls may take that wait for one
/// instance to start.
const WAITING_SHARE: u64 = 4;

/// How long the reader of the access log may take for the last lines.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Why a gateway doesn't run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// It can't be set up.
    #[error(transparent)]
    Setup(#[from] SetupError),
    /// An address can't be bound.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The system gives it no threads, runtimes or signals.
    #[error("the system doesn't let the gateway start")]
    System(#[from] io::Error),
}

/// A gateway that has its addresses but takes no connections yet.
#[derive(Debug)]
pub struct Server {
    gateway: Arc<Gateway>,
    listeners: Vec<Listener>,
    supervisor: Supervisor,
    routes: Reload,
}

impl Server {
    /// Binds every address. Must be called on a runtime.
    ///
    /// # Errors
    /// [`ServeError`]; nothing is left behind then.
    pub fn bind(mut setup: Setup) -> Result<Self, ServeError> {
        let access_log = match setup.config.access_log {
            AccessLog::Off => None,
            form => {
                let dropped = setup.metrics.access_log_dropped_total.clone();
                let lines = LineWriter::start(io::stdout(), dropped);
                Some(Log {
                    form,
                    lines: lines.map_err(SetupError::AccessLog)?,
                })
            }
        };
        let listeners = setup.config.listen.iter().map(Listener::bind);
        let listeners = listeners.collect::<Result<Vec<_>, _>>()?;
        let supervisor = Supervisor::start(
            setup.routes.instances.clone(),
            setup.env.max_hot,
            setup.config.max_body_memory.as_u64() / WAITING_SHARE,
            setup.custody.take(),
            Arc::clone(&setup.metrics),
        );
        let supervisor = supervisor?;
        let routes = setup.routes.clone();
        let table = Arc::clone(supervisor.table());
        let gateway = Arc::new(Gateway::new(setup, table, access_log)?);
        Ok(Self {
            gateway,
            listeners,
            supervisor,
            routes,
        })
    }

    /// The addresses as they turned out, where port 0 took free ones.
    ///
    /// # Errors
    /// Where the system doesn't tell.
    pub fn addresses(&self) -> io::Result<Vec<ListenAddr>> {
        self.listeners.iter().map(Listener::address).collect()
    }

    /// The table of instances, for who looks after it beside the calls.
    #[must_use]
    pub const fn table(&self) -> &Arc<Table> {
        self.supervisor.table()
    }

    /// Tells a backend's name by its number, as long as it is configured.
    pub fn backend_names(&self) -> impl Fn(u64) -> Option<String> + use<> {
        let gateway = Arc::clone(&self.gateway);
        move |id| {
            let routes = gateway.routes();
            let mut backends = routes.backends.iter();
            let found = backends.find(|backend| backend.id == id);
            found.map(|backend| backend.name.clone())
        }
    }

    /// Serves until SIGTERM or SIGINT and then drains: goes on accepting, refuses new calls,
    /// finishes what runs, at most for the grace; then every instance is stopped. A second signal
    /// ends it at once (CONTRACT 8). SIGHUP asks `reload` for what has changed; it sees to it that
    /// people learn of a configuration that is wrong.
    ///
    /// # Errors
    /// Where threads or signals can't be had.
    pub async fn run(
        self,
        on_ready: impl FnOnce() -> io::Result<()>,
        reload: impl Fn() -> Option<Reload>,
    ) -> Result<(), ServeError> {
        let Self {
            gateway,
            listeners,
            supervisor,
            routes,
        } = self;
        let mut signals = Signals::new()?;
        let mut hang_up = signal(SignalKind::hangup())?;
        let count = gateway
            .config
            .threads
            .map_or_else(thread_per_core, Into::into);
        let started = (0..count).map(|index| Worker::start(&gateway, index));
        let (workers, threads): (Vec<_>, Vec<_>) =
            started.collect::<io::Result<Vec<_>>>()?.into_iter().unzip();
        let workers: Arc<[Worker]> = workers.into();
        let mut tasks = JoinSet::new();
        let mut backends = Backends::default();
        backends
            .follow(&gateway, routes, &mut tasks)
            .await
            .map_err(SetupError::Backend)?;
        tasks.spawn(housekeeping(Arc::clone(&gateway)));
        for listener in listeners {
            tasks.spawn(accept(listener, Arc::clone(&gateway), Arc::clone(&workers)));
        }
        on_ready()?;

        loop {
            tokio::select! {
                () = signals.next() => break,
                _ = hang_up.recv() => {
                    if let Some(routes) = reload()
                        && let Err(error) = backends.follow(&gateway, routes, &mut tasks).await
                    {
                        tracing::error!("the configuration stays as it was: {error}");
                    }
                }
            }
        }
        let grace = gateway.config.shutdown_grace;
        tracing::info!(grace = %humantime::format_duration(grace), "draining; a second signal ends it at once");
        gateway.drain.enter(Phase::Draining);
        supervisor.drain();
        let mut ended_at_once = tokio::select! {
            ended = timeout(grace, gateway.drain.calls_ended()) => {
                if ended.is_err() {
                    tracing::warn!("the grace is over; calls that still run are cut off");
                }
                false
            }
            () = signals.next() => true,
        };
        gateway.drain.enter(Phase::Closing);
        tasks.shutdown().await;
        ended_at_once |= end_instances(supervisor, ended_at_once, &mut signals).await;
        if !ended_at_once {
            join(threads).await;
        }
        if let Some(log) = &gateway.access_log {
            log.lines.close(LAST_LINES);
        }
        tracing::info!("ended");
        Ok(())
    }
}

/// Stops every instance, or kills it: at once, or when a second signal comes. Whether one did.
async fn end_instances(supervisor: Supervisor, at_once: bool, signals: &mut Signals) -> bool {
    if at_once {
        supervisor.kill().await;
        return false;
    }
    let kill = supervisor.killer();
    let mut ended = std::pin::pin!(supervisor.stop());
    tokio::select! {
        () = &mut ended => return false,
        () = signals.next() => kill(),
    }
    ended.await;
    true
}

/// Waits until every worker thread has ended; they see to it themselves within a second.
async fn join(threads: Vec<JoinHandle<()>>) {
    for thread in threads {
        while !thread.is_finished() {
            sleep(Duration::from_millis(2)).await;
        }
        if thread.join().is_err() {
            tracing::error!("a worker thread panicked; this is a fault of the program");
        }
    }
}

/// The signals that end the gateway.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        let terminate = signal(SignalKind::terminate())?;
        Ok(Self {
            terminate,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

fn thread_per_core() -> usize {
    thread::available_parallelism().map_or(1, Into::into)
}

/// What is done every so often, whatever happens.
async fn housekeeping(gateway: Arc<Gateway>) {
    let mut tick = tokio::time::interval(Metrics::SAMPLE_EVERY);
    loop {
        tick.tick().await;
        gateway.metrics.sample();
        gateway.table.sweep();
    }
}

/// Hands each connection to the worker thread with the fewest.
async fn accept(listener: Listener, gateway: Arc<Gateway>, workers: Arc<[Worker]>) {
    let failures = Limiter::new(Duration::from_secs(1));
    let limit = usize::try_from(gateway.config.max_connections.get()).unwrap_or(usize::MAX);
    loop {
        let accepted = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                if let Some(held_back) = failures.pass(Instant::now()) {
                    tracing::warn!(%error, held_back, "a connection can't be accepted; raise the limit on open files (ulimit -n) if it is that");
                }
                sleep(ACCEPT_BACK_OFF).await;
                continue;
            }
        };
        let open: usize = workers
            .iter()
            .map(|worker| worker.connections.load(Relaxed))
            .sum();
        let is_surplus = open >= limit;
        if is_surplus {
            gateway.metrics.connections_refused_total.inc();
            if open >= limit.saturating_add(SURPLUS) {
                continue;
            }
        }
        let idlest = workers
            .iter()
            .min_by_key(|worker| worker.connections.load(Relaxed));
        let Some(worker) = idlest else { return };
        gateway.metrics.connections_total.inc();
        worker.connections.fetch_add(1, Relaxed);
        if worker
            .assign
            .send(Assigned {
                accepted,
                is_surplus,
            })
            .is_err()
        {
            // The thread has ended: the gateway is closing.
            return;
        }
    }
}
