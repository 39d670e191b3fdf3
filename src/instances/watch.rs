//! One run of an instance, from the order to start it until its process is reaped and whatever it
//! left behind is gone.

use std::{
    process::ExitStatus,
    sync::Arc,
    time::{Duration, Instant},
};

use http::HeaderValue;
use tokio::time::{MissedTickBehavior, interval, sleep_until, timeout};

use super::{
    HotEnv, Instance, RunError, Running,
    nonce::nonce,
    slots::RunId,
    supervisor::{Phase, TICK, Watcher, reached},
};
use crate::backend::{
    Endpoint,
    process::{
        Custody, Health, Order, Process, ProcessBackend, StartError,
        custody::{Process as Descendant, Ward},
    },
};

/// How long the exit of a process at whose address nobody listens any more is waited for: it closes
/// its sockets on its way out.
const EXIT_PATIENCE: Duration = Duration::from_millis(100);

/// How long after a start the launcher for the next one is started: the call that waited for this one
/// comes first.
const SPARE_AFTER: Duration = Duration::from_millis(2);

impl Watcher {
    /// One run, from its start until nothing of it is left.
    pub(super) async fn run(mut self, instance: Arc<Instance>, run: RunId) {
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
        let nonce = match nonce() {
            Ok(nonce) => nonce,
            Err(error) => {
                let error = Arc::new(RunError::Start(StartError::Spawn(error)));
                self.table
                    .change(|slots| slots.start_failed(instance, run, error, Instant::now()));
                return;
            }
        };
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
                    // With it there are never more processes than there may be instances.
                    match self.is_full() {
                        true => ward.host().end_spares(),
                        false => backend.prepare(ward.host()),
                    }
                }
                _ = tick.tick() => {
                    let mut phase = self.phase.clone();
                    // Who doesn't answer must not keep its own end from being seen.
                    let looked = tokio::select! {
                        looked = self.look(&running, backend, &process, &mut asked) => looked,
                        _ = process.exited() => None,
                        () = running.stopped() => None,
                        () = reached(&mut phase, Phase::Stopping) => None,
                    };
                    if let Some(reason) = looked {
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

    /// Whether as many processes run as may.
    fn is_full(&self) -> bool {
        let (alive, _) = self.table.alive_and_waiting();
        alive >= self.table.config().max.get()
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
}
