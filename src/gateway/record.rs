//! What is remembered of a call until it has ended: for the metrics and the access log.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use http::{Method, StatusCode, Uri, request};
use percent_encoding::{CONTROLS, PercentEncode, utf8_percent_encode};

use super::{
    access_log, budget::Held, client_body::StreamError, drain::Phase, forwarded::Ids,
    thread::Thread,
};
use crate::{
    backend::{Backend, Sent},
    env::EnvDigest,
    facet::ErrorNumber,
    telemetry::{CallOutcome, Client, EndedCall},
};

/// nginx's status for a client that left before its answer.
const CLIENT_CLOSED_REQUEST: u16 = 499;

/// A call, from its head to the last byte of its answer. Dropping it ends the call, whatever has
/// become of it.
#[derive(Debug)]
pub(super) struct CallRecord {
    thread: Arc<Thread>,
    pub(super) index: u64,
    pub(super) began: Instant,
    pub(super) client: Client,
    pub(super) method: Method,
    /// Where the facet is; where no facet is known yet, what the request is for.
    pub(super) target: Uri,
    pub(super) peer: Option<std::net::IpAddr>,
    pub(super) ids: Ids,
    pub(super) digest: Option<EnvDigest>,
    pub(super) backend: Option<Arc<Backend>>,
    /// The address of the member that it was sent to, or failed at.
    pub(super) member: Option<Arc<str>>,
    /// Whether the call could be read: the reference counts only those.
    pub(super) decoded: bool,
    /// Whether its raw env text was known.
    pub(super) env_was_known: Option<bool>,
    /// What it waited for its instance to start.
    pub(super) starting: Duration,
    pub(super) queued: Option<Duration>,
    pub(super) connecting: Option<Duration>,
    /// From sending the call until its whole answer was there.
    pub(super) execution: Option<Duration>,
    pub(super) answer_bytes: u64,
    pub(super) sent_bytes: u64,
    pub(super) status: Option<StatusCode>,
    pub(super) outcome: CallOutcome,
    pub(super) error: Option<ErrorNumber>,
    pub(super) under_way: Option<UnderWay>,
    sent_at: Option<Instant>,
    completed: bool,
}

/// What lasts until a call's answer has left the gateway, not only been handed to the connection: a
/// slow reader's answer takes memory, and holds up the end.
#[derive(Debug)]
pub(super) struct UnderWay {
    thread: Arc<Thread>,
    held: Option<Held>,
}

impl UnderWay {
    fn begin(thread: &Arc<Thread>) -> Self {
        thread.gateway.drain.call_began();
        Self {
            thread: Arc::clone(thread),
            held: None,
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        // Given back before the call has ended: then nothing of it is left.
        self.held = None;
        self.thread.gateway.drain.call_ended();
    }
}

impl CallRecord {
    pub(super) fn begin(
        thread: &Arc<Thread>,
        client: Client,
        head: &request::Parts,
        peer: Option<std::net::IpAddr>,
    ) -> Box<Self> {
        let gateway = &thread.gateway;
        gateway.metrics.calls_in_flight.inc();
        thread.calls.fetch_add(1, Relaxed);
        Box::new(Self {
            index: gateway.next_request_index(),
            thread: Arc::clone(thread),
            began: Instant::now(),
            client,
            method: head.method.clone(),
            target: head.uri.clone(),
            peer,
            ids: Ids::of(&head.headers),
            digest: None,
            backend: None,
            member: None,
            decoded: false,
            env_was_known: None,
            starting: Duration::ZERO,
            queued: None,
            connecting: None,
            execution: None,
            answer_bytes: 0,
            sent_bytes: 0,
            status: None,
            outcome: CallOutcome::ClientGone,
            error: None,
            under_way: Some(UnderWay::begin(thread)),
            sent_at: None,
            completed: false,
        })
    }

    /// The call was written to a member.
    pub(super) fn sent_to_backend(&mut self, sent: &Sent) {
        self.sent_at = Some(sent.sent_at);
        self.connecting = Some(sent.connect_wait);
    }

    /// The whole answer is there.
    pub(super) fn answered(&mut self, bytes: usize) -> Duration {
        let execution = self
            .sent_at
            .map_or(Duration::ZERO, |sent_at| sent_at.elapsed());
        self.execution = Some(execution);
        self.answer_bytes = bytes as u64;
        execution
    }

    /// These bytes are in memory until the answer has left.
    pub(super) fn keep(&mut self, held: Held) {
        if let Some(under_way) = &mut self.under_way {
            under_way.held = Some(held);
        }
    }

    /// Bytes of the answer's body were handed to the client's connection.
    pub(super) fn sent(&mut self, bytes: usize) {
        self.sent_bytes += bytes as u64;
    }

    /// The answer was streamed, and broke off.
    pub(super) fn cut_short(&mut self, error: &StreamError) {
        self.outcome = CallOutcome::Error;
        self.error = Some(match error {
            StreamError::CutShort(_) => ErrorNumber::InvalidAnswer,
            StreamError::TimedOut => ErrorNumber::BackendTimeout,
        });
        self.thread
            .gateway
            .metrics
            .error(self.error.unwrap_or(ErrorNumber::Internal));
        self.completed = true;
        tracing::debug!(%error, "a streamed answer broke off");
    }

    /// The client has been handed all of its answer.
    pub(super) fn complete(&mut self) {
        if self.outcome == CallOutcome::Streamed && !self.completed {
            let bytes = usize::try_from(self.sent_bytes).unwrap_or(usize::MAX);
            self.answered(bytes);
        }
        self.completed = true;
    }

    /// The path that the log shows: raw bytes beyond ASCII could steer the terminal of whoever reads
    /// it.
    pub(super) fn shown_path(&self) -> PercentEncode<'_> {
        utf8_percent_encode(self.target.path(), CONTROLS)
    }

    /// The status that the log shows.
    pub(super) fn shown_status(&self) -> u16 {
        match self.status {
            Some(status) if self.completed => status.as_u16(),
            _ => CLIENT_CLOSED_REQUEST,
        }
    }
}

impl Drop for CallRecord {
    fn drop(&mut self) {
        let gateway = &self.thread.gateway;
        if !self.completed {
            self.outcome = match gateway.drain.phase() {
                Phase::Closing => CallOutcome::CutOff,
                Phase::Serving | Phase::Draining => CallOutcome::ClientGone,
            };
        }
        gateway.metrics.calls_in_flight.dec();
        self.thread.calls.fetch_sub(1, Relaxed);
        self.thread.tally.call_ended(&EndedCall {
            client: self.client,
            backend: self.backend.as_ref().map(|backend| backend.dialect),
            outcome: self.outcome,
            queued: self.queued,
            connecting: self.connecting,
            execution: self.execution,
            answer_bytes: self.answer_bytes,
            decoded: self.decoded,
            env_was_known: self.env_was_known,
        });
        if let Some(log) = &gateway.access_log {
            access_log::write(log, self);
        }
    }
}
