//! The one thread that starts, watches and stops processes.
//!
//! It lives as long as the program: a parent-death signal follows the thread that made the child.
//! Each run is a task of its own here ([`super::watch`]).

use std::{
    io,
    num::NonZeroUsize,
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{MissedTickBehavior, interval},
};

use super::{Config, Table, table::StartOrder};
use crate::{backend::process::Custody, telemetry::Metrics, thread};

/// How often the table is looked through for what is idle or old.
pub(super) const TICK: Duration = Duration::from_secs(1);

/// How far the end has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
pub(super) enum Phase {
    Running,
    /// Nothing is started any more; a process is stopped when its last call has ended.
    Draining,
    /// Every process is stopped, whatever calls it has.
    Stopping,
    /// Every process is killed.
    Killing,
}

/// The supervisor's thread, as the gateway sees it.
#[derive(Debug)]
pub struct Supervisor {
    phase: watch::Sender<Phase>,
    table: Arc<Table>,
    thread: JoinHandle<()>,
}

impl Supervisor {
    /// Starts the thread, and makes the table that it serves, for so many instances.
    /// `waiting_bytes`: what the bodies of those who wait for one start may take.
    ///
    /// # Errors
    /// The system gives it no thread.
    pub fn start(
        config: Config,
        max_instances: NonZeroUsize,
        waiting_bytes: u64,
        custody: Option<Custody>,
        metrics: Arc<Metrics>,
    ) -> io::Result<Self> {
        let (starts, ordered) = mpsc::unbounded_channel();
        let table = Arc::new(Table::new(config, max_instances, waiting_bytes, starts));
        let (phase, phases) = watch::channel(Phase::Running);
        let watcher = Watcher {
            table: Arc::clone(&table),
            custody: custody.map(Arc::new),
            metrics,
            phase: phases,
            killing: phase.clone(),
        };
        let thread = thread::start("supervisor", move || supervise(watcher, ordered))?;
        Ok(Self {
            phase,
            table,
            thread,
        })
    }

    /// The table whose processes it runs.
    #[must_use]
    pub const fn table(&self) -> &Arc<Table> {
        &self.table
    }

    /// Begins the end: starts are cancelled and who waits for one is told so; a process is stopped
    /// when its last call has ended.
    pub fn drain(&self) {
        self.phase.send_replace(Phase::Draining);
    }

    /// Stops every process, also those that still have calls, and waits until all are gone.
    pub async fn stop(self) {
        self.phase.send_replace(Phase::Stopping);
        self.join().await;
    }

    /// Kills every process and waits until all are gone.
    pub async fn kill(self) {
        self.phase.send_replace(Phase::Killing);
        self.join().await;
    }

    /// Makes [`stop`](Self::stop), under way elsewhere, a kill.
    pub fn killer(&self) -> impl Fn() + use<> {
        let phase = self.phase.clone();
        move || {
            phase.send_replace(Phase::Killing);
        }
    }

    async fn join(self) {
        while !self.thread.is_finished() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        if self.thread.join().is_err() {
            tracing::error!("the supervisor panicked; this is a fault of the program");
        }
    }
}

/// What every run's task needs.
#[derive(Debug, Clone)]
pub(super) struct Watcher {
    pub(super) table: Arc<Table>,
    pub(super) custody: Option<Arc<Custody>>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) phase: watch::Receiver<Phase>,
    /// The sender of the same.
    killing: watch::Sender<Phase>,
}

async fn supervise(mut watcher: Watcher, mut ordered: mpsc::UnboundedReceiver<StartOrder>) {
    let mut runs = JoinSet::new();
    let custody = watcher.custody.clone();
    let ending = tokio::select! {
        () = watcher.serve(&mut ordered, &mut runs) => Ending::Asked,
        () = watchdog_gone(custody.as_deref()) => Ending::Orphaned,
    };
    watcher.table.change(super::slots::Slots::end);
    // Nothing is started any more, so nobody is to wait for it.
    drop(ordered);
    let all_ended = async {
        while let Some(ended) = runs.join_next().await {
            report(Some(ended));
        }
    };
    let ending = tokio::select! {
        () = all_ended => ending,
        () = watchdog_gone(custody.as_deref()) => Ending::Orphaned,
    };
    if ending == Ending::Orphaned {
        tracing::error!("the watchdog is gone: every instance is killed, and the gateway ends");
        watcher.killing.send_replace(Phase::Killing);
        while let Some(ended) = runs.join_next().await {
            report(Some(ended));
        }
        // Nobody would look after what the gateway starts from here on.
        crate::telemetry::close_log();
        std::process::exit(1);
    }
    watcher.count();
}

/// Why the supervisor ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// The gateway drains.
    Asked,
    /// The watchdog is gone.
    Orphaned,
}

async fn watchdog_gone(custody: Option<&Custody>) {
    match custody {
        Some(custody) => custody.watchdog_gone().await,
        None => std::future::pending().await,
    }
}

fn report(ended: Option<Result<(), tokio::task::JoinError>>) {
    if let Some(Err(error)) = ended {
        tracing::error!(%error, "an instance's task failed; this is a fault of the program");
    }
}

/// Ready once the end has come so far.
pub(super) async fn reached(phase: &mut watch::Receiver<Phase>, least: Phase) {
    // Where the gateway is gone without a word, it is the end, too.
    drop(phase.wait_for(|&phase| phase >= least).await);
}

impl Watcher {
    /// Starts what is ordered and keeps the table up to date, until the gateway drains.
    async fn serve(
        &mut self,
        ordered: &mut mpsc::UnboundedReceiver<StartOrder>,
        runs: &mut JoinSet<()>,
    ) {
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut phase = self.phase.clone();
        loop {
            tokio::select! {
                Some(order) = ordered.recv() => {
                    runs.spawn(self.clone().run(order.instance, order.run));
                }
                ended = runs.join_next(), if !runs.is_empty() => report(ended),
                _ = tick.tick() => {
                    // Without it there is no process, and the table may be large.
                    if let Some(custody) = &self.custody {
                        self.table.change(|slots| slots.tick(Instant::now()));
                        custody.sweep();
                        self.count();
                    }
                }
                () = reached(&mut phase, Phase::Draining) => return,
            }
        }
    }

    fn count(&self) {
        super::view::count(&self.table, &self.metrics);
    }
}
