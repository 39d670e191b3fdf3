//! Measurements of instances that have processes.

use prometheus::{Histogram, HistogramOpts, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

/// What is measured of the processes that the gateway runs.
#[derive(Debug)]
pub struct InstanceMetrics {
    /// Instances by backend and state (`starting`, `ready`, `failed`, `draining`).
    pub by_state: IntGaugeVec,
    /// Starts by backend and outcome (`ready`, `failed`, `cancelled`).
    pub starts_total: IntCounterVec,
    /// Processes that ended by themselves after they were ready, by backend.
    pub exits_total: IntCounterVec,
    /// Time from the order to start a process until it was ready.
    pub start_seconds: Histogram,
    /// Time calls waited for their instance to start; those that found it ready aren't counted.
    pub start_wait_seconds: Histogram,
    /// Calls that wait for starts now.
    pub waiting_calls: IntGauge,
}

impl InstanceMetrics {
    /// Shows a backend's counters from the start, at 0: who watches a rate misses the first event
    /// of a counter that begins with it.
    pub fn begin(&self, backend: &str) {
        for outcome in ["ready", "failed", "cancelled"] {
            self.starts_total.with_label_values(&[backend, outcome]);
        }
        self.exits_total.with_label_values(&[backend]);
    }

    pub(super) fn new(registry: &Registry, buckets: &[f64]) -> Result<Self, prometheus::Error> {
        let by_state = Opts::new(
            "envgate_instances",
            "Instances with a process of their own, by state",
        );
        let starts = Opts::new("envgate_instance_starts_total", "Starts of processes");
        let exits = Opts::new(
            "envgate_instance_exits_total",
            "Processes that ended by themselves after they were ready",
        );
        let start = HistogramOpts::new(
            "envgate_instance_start_seconds",
            "Time from the order to start a process until it was ready",
        );
        let wait = HistogramOpts::new(
            "envgate_start_wait_seconds",
            "Time calls waited for their instance to start",
        );
        let metrics = Self {
            by_state: IntGaugeVec::new(by_state, &["backend", "state"])?,
            starts_total: IntCounterVec::new(starts, &["backend", "outcome"])?,
            exits_total: IntCounterVec::new(exits, &["backend"])?,
            start_seconds: Histogram::with_opts(start.buckets(buckets.to_vec()))?,
            start_wait_seconds: Histogram::with_opts(wait.buckets(buckets.to_vec()))?,
            waiting_calls: IntGauge::new(
                "envgate_calls_waiting_for_start",
                "Calls that wait for an instance to start",
            )?,
        };
        registry.register(Box::new(metrics.by_state.clone()))?;
        registry.register(Box::new(metrics.starts_total.clone()))?;
        registry.register(Box::new(metrics.exits_total.clone()))?;
        registry.register(Box::new(metrics.start_seconds.clone()))?;
        registry.register(Box::new(metrics.start_wait_seconds.clone()))?;
        registry.register(Box::new(metrics.waiting_calls.clone()))?;
        Ok(metrics)
    }
}
