//! The C# worker's own metrics, counted and read as it counts and reads them (CONTRACT 8), so that
//! an existing dashboard keeps working.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use prometheus::{Counter, Gauge, IntCounter, Opts, Registry};

use super::system::{self, CpuSamples};

/// What the reference's labels say of this gateway; empty ones are left out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Labels {
    /// `WORKER_ENVIRONMENT_ID`.
    pub environment: Option<String>,
    /// `WORKER_BACKEND_ID`.
    pub backend: Option<String>,
}

#[derive(Debug)]
pub(super) struct WorkerMetrics {
    pub(super) requests: IntCounter,
    pub(super) duration_seconds: Counter,
    pub(super) response_bytes: IntCounter,
}

#[derive(Debug)]
pub(super) struct SystemMetrics {
    started: Instant,
    cpu_seconds: Counter,
    cpu_utilization: [(Gauge, Duration); 2],
    memory_bytes: Gauge,
    network_rx: Counter,
    network_tx: Counter,
    uptime: Counter,
    pub(super) samples: Mutex<CpuSamples>,
}

impl WorkerMetrics {
    pub(super) fn new(r: &Registry, labels: &Labels) -> Result<Self, prometheus::Error> {
        let opts = |name, help| labels.on(Opts::new(name, help));
        let this = Self {
            requests: IntCounter::with_opts(opts(
                "worker_requests_total",
                "Total number of performed execution requests",
            ))?,
            duration_seconds: Counter::with_opts(opts(
                "worker_request_duration_seconds_total",
                "Total number of seconds spent running execution requests",
            ))?,
            response_bytes: IntCounter::with_opts(opts(
                "worker_request_response_bytes_total",
                "Size of all execution responses in bytes",
            ))?,
        };
        r.register(Box::new(this.requests.clone()))?;
        r.register(Box::new(this.duration_seconds.clone()))?;
        r.register(Box::new(this.response_bytes.clone()))?;
        Ok(this)
    }
}

impl SystemMetrics {
    pub(super) fn new(r: &Registry, labels: &Labels) -> Result<Self, prometheus::Error> {
        let gauge = |opts: Opts| -> Result<Gauge, prometheus::Error> {
            let gauge = Gauge::with_opts(labels.on(opts))?;
            r.register(Box::new(gauge.clone()))?;
            Ok(gauge)
        };
        let counter = |name, help| -> Result<Counter, prometheus::Error> {
            let counter = Counter::with_opts(labels.on(Opts::new(name, help)))?;
            r.register(Box::new(counter.clone()))?;
            Ok(counter)
        };
        let window = |name| {
            let help = "CPU utilization over a window, in cores";
            gauge(Opts::new("worker_cpu_utilization", help).const_label("window", name))
        };
        Ok(Self {
            started: Instant::now(),
            cpu_seconds: counter(
                "worker_cpu_usage_seconds_total",
                "CPU time used, in seconds",
            )?,
            cpu_utilization: [
                (window("1m")?, Duration::from_secs(60)),
                (window("5m")?, Duration::from_secs(300)),
            ],
            memory_bytes: gauge(Opts::new(
                "worker_memory_usage_bytes",
                "Memory in use, in bytes",
            ))?,
            network_rx: counter("worker_network_rx_bytes_total", "Bytes received over IP")?,
            network_tx: counter("worker_network_tx_bytes_total", "Bytes sent over IP")?,
            uptime: counter("worker_uptime_seconds", "Seconds since the start")?,
            samples: Mutex::new(CpuSamples::new(system::cpu_seconds())),
        })
    }

    pub(super) fn read(&self) {
        advance(&self.cpu_seconds, system::cpu_seconds());
        let samples = self.samples.lock();
        for (gauge, window) in &self.cpu_utilization {
            gauge.set(samples.utilization(*window));
        }
        drop(samples);
        self.memory_bytes.set(system::memory_bytes());
        let (received, sent) = system::network_octets();
        advance(&self.network_rx, received);
        advance(&self.network_tx, sent);
        advance(&self.uptime, self.started.elapsed().as_secs_f64());
    }
}

/// Brings a counter up to a total that something else counts.
fn advance(counter: &Counter, total: f64) {
    counter.inc_by((total - counter.get()).max(0.0));
}

impl Labels {
    fn on(&self, mut opts: Opts) -> Opts {
        let labels = [
            ("environment", &self.environment),
            ("backend", &self.backend),
        ];
        for (name, value) in labels {
            if let Some(value) = value.as_deref().filter(|value| !value.is_empty()) {
                opts = opts.const_label(name, value);
            }
        }
        opts
    }
}
