//! Every metric of the gateway, as handles that are plain atomics.
//!
//! Two families: the C# worker's own names (`worker_*`, counted as the reference counts them, so
//! that an existing dashboard keeps working: CONTRACT 8) and `envgate_*`. Labels come from small
//! closed sets; no label grows with the number of envs.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use prometheus::{
    Encoder, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

use super::{
    instance_metrics::InstanceMetrics,
    system,
    tally::{Tally, call_labels},
    worker_metrics::{Labels, SystemMetrics, WorkerMetrics},
};
use crate::facet::ErrorNumber;

/// Who called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Client {
    /// With an envelope.
    Legacy,
    /// With a modern request.
    Modern,
    /// With a request that is no facet call.
    Plain,
}

impl Client {
    pub(super) const ALL: [Self; 3] = [Self::Legacy, Self::Modern, Self::Plain];

    /// Its name in metrics and the access log.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Legacy => "legacy",
            Self::Modern => "modern",
            Self::Plain => "plain",
        }
    }
}

/// How a call ended, as far as it can be told from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallOutcome {
    /// The facet returned.
    Ok,
    /// The facet threw.
    Exception,
    /// The backend answered with another status, passed on as it was.
    Passed,
    /// The answer was streamed, unread.
    Streamed,
    /// The gateway answered with an error of its own.
    Error,
    /// The client left before its answer was there.
    ClientGone,
    /// The gateway ended before the answer was there.
    CutOff,
}

impl CallOutcome {
    pub(super) const ALL: [Self; 7] = [
        Self::Ok,
        Self::Exception,
        Self::Passed,
        Self::Streamed,
        Self::Error,
        Self::ClientGone,
        Self::CutOff,
    ];

    /// Its name in metrics and the access log.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Exception => "exception",
            Self::Passed => "passed",
            Self::Streamed => "streamed",
            Self::Error => "error",
            Self::ClientGone => "client_gone",
            Self::CutOff => "cut_off",
        }
    }
}

/// Upper bounds in seconds: from a hot loopback call to the default time-out.
const SECONDS: [f64; 14] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0, 60.0,
];

/// All handles. Cheap to read and to add to from any thread.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    pub(super) worker: WorkerMetrics,
    system: SystemMetrics,
    tallies: Mutex<Vec<Arc<Tally>>>,
    /// Of instances that have processes.
    pub instances: InstanceMetrics,
    pub(super) calls: Vec<IntCounter>,
    errors: Vec<IntCounter>,
    /// Time calls spent in their env's queue.
    pub(super) queue_seconds: Histogram,
    /// Time calls waited for a member and a connection to it.
    pub(super) connect_seconds: Histogram,
    /// Time from sending a call to the backend until its whole answer was there.
    pub(super) upstream_seconds: Histogram,
    /// Calls waiting in the queues of their envs.
    pub queued_calls: IntGauge,
    /// Calls that have been taken and not yet answered.
    pub calls_in_flight: IntGauge,
    /// Entries in the table of instances.
    pub hot_envs: IntGauge,
    /// Raw env texts found without parsing.
    pub(super) env_lookup_hits: IntCounter,
    /// Raw env texts that had to be parsed.
    pub(super) env_lookup_misses: IntCounter,
    /// Client connections open now.
    pub connections: IntGauge,
    /// Client connections accepted.
    pub connections_total: IntCounter,
    /// Client connections turned away for want of room.
    pub connections_refused_total: IntCounter,
    /// Bytes of bodies held in memory now.
    pub body_bytes_held: IntGauge,
    /// Connections opened to backends.
    pub upstream_connects_total: IntCounterVec,
    /// Attempts to reach a member that failed.
    pub upstream_connect_failures_total: IntCounterVec,
    /// Members by backend and state (`in`, `out`).
    pub members: IntGaugeVec,
    /// Headers of untrusted peers that were dropped.
    pub dropped_headers_total: IntCounter,
    /// Variables of the deployment's env that the text form can't carry.
    pub unrepresentable_variables: IntGauge,
    /// Access-log lines that found no room.
    pub access_log_dropped_total: IntCounter,
    /// Lines of the gateway's own log dropped because their reader was behind.
    pub log_dropped_total: IntCounter,
}

impl Metrics {
    /// Registers everything.
    ///
    /// # Errors
    /// Only where two metrics have one name: a fault of the program.
    pub fn new(labels: &Labels) -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let r = &registry;
        let calls = IntCounterVec::new(
            Opts::new(
                "envgate_calls_total",
                "Calls by client (legacy, modern, plain HTTP), backend's dialect and outcome",
            ),
            &["client", "backend_dialect", "outcome"],
        )?;
        r.register(Box::new(calls.clone()))?;
        let call_handles = call_labels().map(|labels| calls.with_label_values(&labels));
        let call_handles = call_handles.collect();
        let errors = IntCounterVec::new(
            Opts::new(
                "envgate_errors_total",
                "Answers that the gateway made itself, by error number",
            ),
            &["number"],
        )?;
        r.register(Box::new(errors.clone()))?;
        let error_handles = ErrorNumber::ALL
            .iter()
            .map(|number| errors.with_label_values(&[&number.number().to_string()]))
            .collect();
        Ok(Self {
            worker: WorkerMetrics::new(r, labels)?,
            system: SystemMetrics::new(r, labels)?,
            instances: InstanceMetrics::new(r, &SECONDS)?,
            tallies: Mutex::default(),
            calls: call_handles,
            errors: error_handles,
            queue_seconds: histogram(
                r,
                "envgate_queue_seconds",
                "Time calls spent in the queue of their env",
            )?,
            connect_seconds: histogram(
                r,
                "envgate_connect_seconds",
                "Time calls waited for a member and a connection to it",
            )?,
            upstream_seconds: histogram(
                r,
                "envgate_upstream_seconds",
                "Time from sending a call until its whole answer was there",
            )?,
            queued_calls: gauge(
                r,
                "envgate_queued_calls",
                "Calls waiting in the queues of their envs",
            )?,
            calls_in_flight: gauge(
                r,
                "envgate_calls_in_flight",
                "Calls taken and not yet answered",
            )?,
            hot_envs: gauge(
                r,
                "envgate_hot_envs",
                "Instances in the table: an env with its code at a backend",
            )?,
            env_lookup_hits: counter(
                r,
                "envgate_env_lookup_hits_total",
                "Env texts recognised without parsing",
            )?,
            env_lookup_misses: counter(
                r,
                "envgate_env_lookup_misses_total",
                "Env texts that were parsed",
            )?,
            connections: gauge(r, "envgate_connections", "Client connections open")?,
            connections_total: counter(
                r,
                "envgate_connections_total",
                "Client connections accepted",
            )?,
            connections_refused_total: counter(
                r,
                "envgate_connections_refused_total",
                "Client connections turned away for want of room",
            )?,
            body_bytes_held: gauge(
                r,
                "envgate_body_bytes_held",
                "Bytes of request bodies and answers held in memory",
            )?,
            upstream_connects_total: counters(
                r,
                "envgate_upstream_connects_total",
                "Connections opened to members",
            )?,
            upstream_connect_failures_total: counters(
                r,
                "envgate_upstream_connect_failures_total",
                "Attempts to reach a member that failed",
            )?,
            members: members(r)?,
            dropped_headers_total: counter(
                r,
                "envgate_dropped_headers_total",
                "Routing headers dropped because their peer isn't trusted",
            )?,
            unrepresentable_variables: gauge(
                r,
                "envgate_unrepresentable_variables",
                "Variables of the deployment's env that an env text can't carry",
            )?,
            access_log_dropped_total: counter(
                r,
                "envgate_access_log_dropped_total",
                "Access-log lines dropped because the reader of the log was behind",
            )?,
            log_dropped_total: counter(
                r,
                "envgate_log_dropped_total",
                "Lines of the gateway's own log dropped because their reader was behind",
            )?,
            registry,
        })
    }

    /// What a thread counts its calls with.
    pub fn tally(&self) -> Arc<Tally> {
        let tally = Arc::new(Tally::new(self));
        self.tallies.lock().push(Arc::clone(&tally));
        tally
    }

    /// Counts an answer that the gateway made itself.
    pub fn error(&self, number: ErrorNumber) {
        let index = ErrorNumber::ALL.iter().position(|&known| known == number);
        if let Some(handle) = index.and_then(|index| self.errors.get(index)) {
            handle.inc();
        }
    }

    /// Takes a CPU sample; to be called every [`Metrics::SAMPLE_EVERY`].
    pub fn sample(&self) {
        self.system.samples.lock().push(system::cpu_seconds());
    }

    /// How often [`Metrics::sample`] wants to be called.
    pub const SAMPLE_EVERY: Duration = system::SAMPLE_EVERY;

    /// Everything in the Prometheus text format, and the content type that names it.
    ///
    /// # Errors
    /// Only where a metric is malformed: a fault of the program.
    pub fn render(&self) -> Result<(Vec<u8>, &'static str), prometheus::Error> {
        self.system.read();
        for tally in &*self.tallies.lock() {
            tally.collect(self);
        }
        let mut text = Vec::with_capacity(16 * 1024);
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok((text, prometheus::TEXT_FORMAT))
    }
}

fn counter(r: &Registry, name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
    let counter = IntCounter::new(name, help)?;
    r.register(Box::new(counter.clone()))?;
    Ok(counter)
}

fn counters(r: &Registry, name: &str, help: &str) -> Result<IntCounterVec, prometheus::Error> {
    let counters = IntCounterVec::new(Opts::new(name, help), &["backend"])?;
    r.register(Box::new(counters.clone()))?;
    Ok(counters)
}

fn gauge(r: &Registry, name: &str, help: &str) -> Result<IntGauge, prometheus::Error> {
    let gauge = IntGauge::new(name, help)?;
    r.register(Box::new(gauge.clone()))?;
    Ok(gauge)
}

fn members(r: &Registry) -> Result<IntGaugeVec, prometheus::Error> {
    let opts = Opts::new("envgate_members", "Members of a backend by state");
    let members = IntGaugeVec::new(opts, &["backend", "state"])?;
    r.register(Box::new(members.clone()))?;
    Ok(members)
}

fn histogram(r: &Registry, name: &str, help: &str) -> Result<Histogram, prometheus::Error> {
    let histogram = Histogram::with_opts(HistogramOpts::new(name, help).buckets(SECONDS.to_vec()))?;
    r.register(Box::new(histogram.clone()))?;
    Ok(histogram)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(metrics: &Metrics) -> String {
        String::from_utf8(metrics.render().unwrap().0).unwrap()
    }

    #[test]
    fn an_error_is_counted_under_its_number() {
        let metrics = Metrics::new(&Labels::default()).unwrap();
        metrics.error(ErrorNumber::QueueFull);
        let text = rendered(&metrics);
        assert!(
            text.contains("envgate_errors_total{number=\"2000\"} 1\n"),
            "{text}"
        );
    }
}
