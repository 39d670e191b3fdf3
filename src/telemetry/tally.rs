//! What one thread has counted and nobody has asked for yet.
//!
//! A counter that all threads add to wanders from core to core with every call. So each thread adds
//! up for itself, and whoever renders the metrics collects.

use std::time::Duration;

use parking_lot::Mutex;
use prometheus::local::LocalHistogram;

use super::{
    Metrics,
    metrics::{CallOutcome, Client},
};
use crate::facet::Dialect;

const BACKENDS: [Option<Dialect>; 3] = [None, Some(Dialect::Legacy), Some(Dialect::Modern)];

/// Counters by client, backend's dialect and outcome.
pub(super) const CALLS: usize = Client::ALL.len() * BACKENDS.len() * CallOutcome::ALL.len();

/// What is counted of a call when it has ended. `None` where it didn't come so far.
#[derive(Debug, Clone, Copy)]
pub struct EndedCall {
    /// Who called.
    pub client: Client,
    /// What the backend speaks.
    pub backend: Option<Dialect>,
    /// How it ended.
    pub outcome: CallOutcome,
    /// Time in the queue of its env.
    pub queued: Option<Duration>,
    /// Time it waited for a member and a connection.
    pub connecting: Option<Duration>,
    /// Time from sending it until its whole answer was there.
    pub execution: Option<Duration>,
    /// Bytes of the backend's answer.
    pub answer_bytes: u64,
    /// Whether it could be read: the reference counts only those.
    pub decoded: bool,
    /// Whether its raw env text was found without parsing.
    pub env_was_known: Option<bool>,
}

/// What one thread has counted. Its lock is free but for the moment in which the metrics are
/// rendered.
#[derive(Debug)]
pub struct Tally(Mutex<Counts>);

#[derive(Debug)]
struct Counts {
    calls: [u64; CALLS],
    requests: u64,
    request_seconds: f64,
    response_bytes: u64,
    known_texts: u64,
    new_texts: u64,
    queue_seconds: LocalHistogram,
    connect_seconds: LocalHistogram,
    upstream_seconds: LocalHistogram,
}

impl Tally {
    pub(super) fn new(metrics: &Metrics) -> Self {
        Self(Mutex::new(Counts {
            calls: [0; CALLS],
            requests: 0,
            request_seconds: 0.0,
            response_bytes: 0,
            known_texts: 0,
            new_texts: 0,
            queue_seconds: metrics.queue_seconds.local(),
            connect_seconds: metrics.connect_seconds.local(),
            upstream_seconds: metrics.upstream_seconds.local(),
        }))
    }

    /// Counts a call that has ended; a decoded one in the reference's way too: execution time only
    /// (0 for a refused one), bytes of the backend's answer.
    pub fn call_ended(&self, call: &EndedCall) {
        let mut counts = self.0.lock();
        let backend = BACKENDS
            .iter()
            .position(|&known| known == call.backend)
            .unwrap_or(0);
        let index = (call.client as usize * BACKENDS.len() + backend) * CallOutcome::ALL.len()
            + call.outcome as usize;
        if let Some(count) = counts.calls.get_mut(index) {
            *count += 1;
        }
        if call.decoded {
            counts.requests += 1;
            counts.request_seconds += call.execution.unwrap_or_default().as_secs_f64();
            counts.response_bytes += call.answer_bytes;
        }
        match call.env_was_known {
            Some(true) => counts.known_texts += 1,
            Some(false) => counts.new_texts += 1,
            None => {}
        }
        let times = [
            (&counts.queue_seconds, call.queued),
            (&counts.connect_seconds, call.connecting),
            (&counts.upstream_seconds, call.execution),
        ];
        for (histogram, time) in times {
            if let Some(time) = time {
                histogram.observe(time.as_secs_f64());
            }
        }
    }

    /// Hands over all of it.
    pub(super) fn collect(&self, metrics: &Metrics) {
        let mut counts = self.0.lock();
        for (count, counter) in counts.calls.iter_mut().zip(&metrics.calls) {
            counter.inc_by(std::mem::take(count));
        }
        let worker = &metrics.worker;
        worker.requests.inc_by(std::mem::take(&mut counts.requests));
        worker
            .duration_seconds
            .inc_by(std::mem::take(&mut counts.request_seconds));
        worker
            .response_bytes
            .inc_by(std::mem::take(&mut counts.response_bytes));
        metrics
            .env_lookup_hits
            .inc_by(std::mem::take(&mut counts.known_texts));
        metrics
            .env_lookup_misses
            .inc_by(std::mem::take(&mut counts.new_texts));
        counts.queue_seconds.flush();
        counts.connect_seconds.flush();
        counts.upstream_seconds.flush();
    }
}

/// The labels of a counter of calls, in the order of their counts.
pub(super) fn call_labels() -> impl Iterator<Item = [&'static str; 3]> {
    Client::ALL.iter().flat_map(|client| {
        BACKENDS.iter().flat_map(move |backend| {
            let backend = backend.map_or("none", Dialect::name);
            let labels = move |outcome: &CallOutcome| [client.name(), backend, outcome.name()];
            CallOutcome::ALL.iter().map(labels)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::Labels;

    fn rendered(metrics: &Metrics) -> String {
        String::from_utf8(metrics.render().unwrap().0).unwrap()
    }

    fn call() -> EndedCall {
        EndedCall {
            client: Client::Modern,
            backend: Some(Dialect::Legacy),
            outcome: CallOutcome::Exception,
            queued: Some(Duration::ZERO),
            connecting: None,
            execution: Some(Duration::from_millis(500)),
            answer_bytes: 138,
            decoded: true,
            env_was_known: Some(true),
        }
    }

    #[test]
    fn the_references_names_carry_its_labels() {
        let labels = Labels {
            environment: Some("e-1".into()),
            backend: Some(String::new()),
        };
        let metrics = Metrics::new(&labels).unwrap();
        let tally = metrics.tally();
        tally.call_ended(&call());
        tally.call_ended(&EndedCall {
            execution: None,
            answer_bytes: 0,
            ..call()
        });
        tally.call_ended(&EndedCall {
            decoded: false,
            ..call()
        });
        let text = rendered(&metrics);
        assert!(
            text.contains("worker_requests_total{environment=\"e-1\"} 2\n"),
            "{text}"
        );
        assert!(text.contains("worker_request_duration_seconds_total{environment=\"e-1\"} 0.5\n"));
        assert!(text.contains("worker_request_response_bytes_total{environment=\"e-1\"} 138\n"));
        assert!(text.contains("worker_cpu_utilization{environment=\"e-1\",window=\"5m\"} 0\n"));
    }

    #[test]
    fn a_call_is_counted_once_under_its_own_labels_whatever_thread_it_ran_on() {
        let metrics = Metrics::new(&Labels::default()).unwrap();
        for _ in 0..2 {
            let tally = metrics.tally();
            tally.call_ended(&call());
        }
        for _ in 0..2 {
            let text = rendered(&metrics);
            let call = "envgate_calls_total{backend_dialect=\"legacy\",client=\"modern\",outcome=\"exception\"} 2\n";
            assert!(text.contains(call), "{text}");
            assert!(text.contains("envgate_queue_seconds_count 2\n"));
            assert!(text.contains("envgate_connect_seconds_count 0\n"));
            assert!(text.contains("envgate_upstream_seconds_sum 1\n"));
            assert!(text.contains("envgate_env_lookup_hits_total 2\n"));
            assert!(text.contains("envgate_env_lookup_misses_total 0\n"));
            let calls = text
                .lines()
                .filter(|line| line.starts_with("envgate_calls_total"));
            assert_eq!(calls.clone().count(), CALLS);
            assert_eq!(calls.filter(|line| line.ends_with(" 2")).count(), 1);
        }
    }
}
