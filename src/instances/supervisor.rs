//! The one thread that starts, watches and stops processes.
//!
//! It lives as long as the program: a parent-death signal follows the thread that made the child.
//! Each run is a task of its own here, from the order to start it until its process is reaped and
//! whatever it left behind is gone.

use std::{
    io,
    process::ExitStatus,
    sync::Arc,
    thread::JoinHandle,
    time::{Duration, Instant},
};

use http::HeaderValue;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::{MissedTickBehavior, interval, sleep_until, timeout},
};

use super::{
    Config, HotEnv, Instance, RunError, Running, Table, nonce::nonce, slots::RunId,
    table::StartOrder,
};
use crate::{
    backend::Endpoint,
    backend::process::custody::{Process as Descendant, Ward},
    backend::process::{Custody, Health, Order, Process, ProcessBackend},
    telemetry::Metrics,
    thread,
};

/// How often the table is looked through for what is idle or old.
const TICK: Duration = Duration::from_secs(1);

/// How long the exit of a process at whose address nobody listens any more is waited for: it closes
/// its sockets on its way out.
const EXIT_PATIENCE: Duration = Duration::from_millis(100);

/// How long after a start the launcher for the next one is started: the call that waited for this one
/// comes first.
const SPARE_AFTER: Duration = Duration::from_millis(2);

/// How far the end has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
enum Phase {
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
    /// Starts the thread, and makes the table that it serves. `waiting_bytes`: what the bodies of
    /// those who wait for one start may take.
    ///
    /// # Errors
    /// The system gives it no thread.
    pub fn start(
        config: Config,
        waiting_bytes: u64,
        custody: Option<Custody>,
        metrics: Arc<Metrics>,
    ) -> io::Result<Self> {
        let (starts, ordered) = mpsc::unbounded_channel();
        let table = Arc::new(Table::new(config, waiting_bytes, starts));
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
struct Watcher {
    table: Arc<Table>,
    custody: Option<Arc<Custody>>,
    metrics: Arc<Metrics>,
    phase: watch::Receiver<Phase>,
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
async fn reached(phase: &mut watch::Receiver<Phase>, least: Phase) {
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
                    self.table.change(|slots| slots.tick(Instant::now()));
                    if let Some(custody) = &self.custody {
                        custody.sweep();
                    }
                    self.count();
                }
                () = reached(&mut phase, Phase::Draining) => return,
            }
        }
    }

    /// One run, from its start until nothing of it is left.
    async fn run(mut self, instance: Arc<Instance>, run: RunId) {
        let custody = self.custody.clone();
        if let (Some(custody), Some(backend), Some(env)) =
            (&custody, instance.process(), instance.env())
        {
            self.run_in(custody, &instance, run, backend, env).await;
        } else {
            let error = Arc::new(RunError::Cancelled);
            self.table
                .change(|slots| slots.start_failed(&instance, run, error, Instant::now()));
        }
        self.table.change(|slots| slots.ended(run));
    }

    async fn run_in(
        &mut self,
        custody: &Custody,
        instance: &Arc<Instance>,
        run: RunId,
        backend: &ProcessBackend,
        env: &HotEnv,
    ) {
        let began = Instant::now();
        let nonce = nonce();
        let ward = custody.take(run.generation, &nonce);
        let order = Order {
            generation: run.generation,
            nonce: &nonce,
            env: &env.env,
            digest: env.digest,
            rev: instance.rev(),
            start_timeout: self.table.config().start_timeout,
            cgroup: ward.cgroup().map(|cgroup| cgroup.path().to_owned()),
        };
        let mut phase = self.phase.clone();
        let started = tokio::select! {
            started = backend.start(custody.host(), order) => started.map_err(RunError::Start),
            () = reached(&mut phase, Phase::Draining) => Err(RunError::Cancelled),
        };
        let outcome = match &started {
            Ok(_) => "ready",
            Err(RunError::Cancelled) => "cancelled",
            Err(_) => "failed",
        };
        let metrics = Arc::clone(&self.metrics);
        let metrics = &metrics.instances;
        metrics
            .starts_total
            .with_label_values(&[backend.name(), outcome])
            .inc();
        let mut below = Vec::new();
        match started {
            Ok(process) => {
                let took = began.elapsed();
                metrics.start_seconds.observe(took.as_secs_f64());
                tracing::info!(
                    backend = backend.name(),
                    digest = %env.digest,
                    generation = run.generation,
                    pid = process.pid(),
                    took_ms = took.as_millis(),
                    "an instance is ready"
                );
                below = self.watch(instance, run, backend, process, &ward).await;
            }
            Err(error) => {
                let error = Arc::new(error);
                self.table
                    .change(|slots| slots.start_failed(instance, run, error, Instant::now()));
            }
        }
        // What an instance left is searched for among all processes where there is no watchdog any
        // more. Where many end at once, that must not keep the others alive.
        tokio::task::yield_now().await;
        ward.end(&below).await;
    }

    /// Watches a process until it is gone.
    async fn watch(
        &mut self,
        instance: &Arc<Instance>,
        run: RunId,
        backend: &ProcessBackend,
        process: Process,
        ward: &Ward<'_>,
    ) -> Vec<Descendant> {
        let host = HeaderValue::from_static("localhost");
        let endpoint = Endpoint::new(process.address().clone(), host);
        let running = Arc::new(Running::new(endpoint, process.pid()));
        self.table.change(|slots| {
            slots.started(instance, run, Arc::clone(&running), Instant::now());
        });
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut asked = Instant::now();
        let (spare_is_due, mut is_prepared) = (Instant::now() + SPARE_AFTER, false);
        loop {
            tokio::select! {
                status = process.exited() => {
                    self.note_exit(instance, run, backend, status);
                        running.note_end();
                    break;
                }
                () = running.stopped() => {
                    // A call may learn of the end by being refused, before the kernel tells here.
                    if running.is_unreachable()
                        && let Ok(status) = timeout(EXIT_PATIENCE, process.exited()).await
                    {
                        self.note_exit(instance, run, backend, status);
                        running.note_end();
                    }
                    break;
                }
                () = reached(&mut self.phase, Phase::Stopping) => break,
                () = sleep_until(spare_is_due.into()), if !is_prepared => {
                    is_prepared = true;
                    backend.prepare(ward.host());
                }
                _ = tick.tick() => {
                    if let Some(reason) = self.look(&running, backend, &process, &mut asked).await {
                        tracing::info!(
                            backend = backend.name(),
                            generation = run.generation,
                            pid = running.pid,
                            reason,
                            "an instance is replaced"
                        );
                        self.table.change(|slots| slots.retire(instance, run));
                    }
                }
            }
        }
        let below = ward.below(running.pid);
        let mut phase = self.phase.clone();
        let stopping = process.stop(backend.config().stop_grace);
        tokio::select! {
            _ = stopping => {}
            // Dropped, it is killed with its group.
            () = reached(&mut phase, Phase::Killing) => {}
        }
        tracing::info!(
            backend = backend.name(),
            digest = instance.env().map(|env| env.digest.as_str()),
            generation = run.generation,
            pid = running.pid,
            "an instance has ended"
        );
        below
    }

    fn note_exit(
        &self,
        instance: &Arc<Instance>,
        run: RunId,
        backend: &ProcessBackend,
        status: ExitStatus,
    ) {
        let exits = &self.metrics.instances.exits_total;
        exits.with_label_values(&[backend.name()]).inc();
        tracing::warn!(
            backend = backend.name(),
            generation = run.generation,
            "an instance ended by itself: {status}"
        );
        let error = Arc::new(RunError::Exited(status.to_string()));
        self.table
            .change(|slots| slots.exited(instance, run, error, Instant::now()));
    }

    /// Why a process should be replaced, where it should.
    async fn look(
        &self,
        running: &Running,
        backend: &ProcessBackend,
        process: &Process,
        asked: &mut Instant,
    ) -> Option<&'static str> {
        let rss = process.rss().unwrap_or(0);
        running.set_rss(rss);
        if self
            .table
            .config()
            .max_memory
            .is_some_and(|most| rss > most.as_u64())
        {
            return Some("it takes more memory than instances.max_memory");
        }
        let is_suspect = running.is_suspect();
        let interval = backend.health_interval();
        if !is_suspect && interval.is_none_or(|interval| asked.elapsed() < interval) {
            return None;
        }
        *asked = Instant::now();
        match process.probe_health().await {
            Health::Well => {
                running.answered();
                None
            }
            Health::Unwell(_) => Some("its /health says that it wants to be replaced"),
            Health::Gone => Some("it can't be reached any more"),
            Health::Busy if is_suspect => Some("calls time out and its /health doesn't answer"),
            Health::Busy => None,
        }
    }

    fn count(&self) {
        super::view::count(&self.table, &self.metrics);
    }
}
