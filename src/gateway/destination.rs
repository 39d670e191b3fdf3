//! Where a call goes: its backend and instance, the place it waits for there, and one exchange.

use std::{
    io::{self, ErrorKind},
    sync::Arc,
    time::Instant,
};

use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header, response};

use super::{
    budget::Held,
    edge::Connection,
    error::{self, Failure},
    forwarded,
    record::CallRecord,
    whole_answer::WholeAnswer,
};
use crate::{
    backend::{
        self, Answer, AnswerBody, Backend, CallBody, Deadline, Elapsed, SendError, Sent,
        Undelivered, Workers,
    },
    facet::{ErrorNumber, Pieces},
    instances::{HotEnv, Instance, Lease, RunLease},
};

/// A backend that takes a call, and the instance that serves its env there.
pub(super) struct Destination<'a> {
    connection: &'a Connection,
    pub(super) backend: Arc<Backend>,
    instance: Arc<Instance>,
    /// The env that the call runs under, where it has one.
    pub(super) env: Option<&'a Arc<HotEnv>>,
}

impl<'a> Destination<'a> {
    /// The instance for `env` at a backend. `env_is_the_clients`:
    /// whether the code is the client's own affair too.
    pub(super) fn at(
        connection: &'a Connection,
        backend: Arc<Backend>,
        env: Option<&'a Arc<HotEnv>>,
        env_is_the_clients: bool,
        headers: &mut HeaderMap,
        record: &mut CallRecord,
    ) -> Result<Self, Failure> {
        let gateway = &connection.thread.gateway;
        record.backend = Some(Arc::clone(&backend));
        record.digest = env.map(|env| env.digest);
        let code = gateway.code(headers, connection.peer, env_is_the_clients);
        let instance = gateway.instance(&backend, env, code)?;
        Ok(Self {
            connection,
            backend,
            instance,
            env,
        })
    }

    /// Whether its answers are pruned.
    pub(super) fn prunes(&self) -> bool {
        self.connection
            .thread
            .gateway
            .prunes(self.env.map(|env| &**env))
    }

    /// Waits for the instance to be ready, and then for a place there. `bytes`: what the call holds
    /// in memory meanwhile.
    pub(super) async fn admit(
        &self,
        bytes: usize,
        deadline: &Deadline,
        record: &mut CallRecord,
    ) -> Result<Lease, Failure> {
        let gateway = &self.connection.thread.gateway;
        let metrics = &gateway.metrics;
        let mut waited_from = deadline.began();
        let run = match self.instance.process() {
            None => None,
            Some(_) => {
                let run = gateway
                    .table
                    .run(&self.instance, bytes as u64, deadline.at());
                let run = run.await;
                let began = std::mem::replace(&mut waited_from, Instant::now());
                record.starting = waited_from.saturating_duration_since(began);
                let run = run.map_err(error::not_started)?;
                if run.waited() {
                    let waits = &metrics.instances.start_wait_seconds;
                    waits.observe(record.starting.as_secs_f64());
                }
                Some(run)
            }
        };
        let lease = match Lease::of_free_place(&self.instance, run, waited_from) {
            Ok(lease) => Ok(lease),
            Err(run) => {
                let _queued = Queued::begin(&metrics.queued_calls);
                Lease::acquire(Arc::clone(&self.instance), run, deadline.at()).await
            }
        };
        let until = match &lease {
            Ok(lease) => lease.admitted(),
            Err(_) => Instant::now(),
        };
        record.queued = Some(until.saturating_duration_since(waited_from));
        lease.map_err(error::not_admitted)
    }

    /// Sends a request and waits for the head of its answer.
    pub(super) async fn send(
        &self,
        lease: &mut Lease,
        mut request: Box<Request<CallBody>>,
        deadline: &Deadline,
        record: &mut CallRecord,
    ) -> Result<Sent, Failure> {
        let peer = self.connection.peer_value.as_ref();
        forwarded::add(request.headers_mut(), &record.ids, peer);
        self.connection.thread.gather().await;
        let pool = &self.connection.thread.pool;
        let admitted = lease.admitted();
        let sent = match (&self.backend.workers, &mut lease.run) {
            (Workers::Upstream(upstream), _) => {
                let affinity = self.instance.affinity();
                let member = &mut record.member;
                let time = (admitted, deadline);
                let sent = upstream.send(pool, affinity, request, time, member);
                sent.await.map_err(error::not_sent)?
            }
            (Workers::Process(_), Some(run)) => {
                self.send_to_process(run, request, deadline, record).await?
            }
            (Workers::Process(_), None) => {
                let message = "a call was let in without a process";
                return Err(Failure::new(ErrorNumber::Internal, message));
            }
        };
        record.sent_to_backend(&sent);
        Ok(sent)
    }

    /// Sends a request to the instance's process. Where that turns out to be gone before a byte was
    /// written, the call is sent to its successor, once.
    async fn send_to_process(
        &self,
        run: &mut RunLease,
        mut request: Box<Request<CallBody>>,
        deadline: &Deadline,
        record: &mut CallRecord,
    ) -> Result<Sent, Failure> {
        let pool = &self.connection.thread.pool;
        let mut is_second = false;
        loop {
            let running = Arc::clone(run.running());
            record.member = Some(Arc::clone(running.endpoint.name()));
            let mut error = None;
            if running.lives().await {
                match backend::send_to(pool, &running.endpoint, request, deadline).await {
                    Ok(sent) => {
                        run.served();
                        return Ok(sent);
                    }
                    Err(Undelivered::Failed(error)) => {
                        match error {
                            SendError::TimedOut => running.timed_out(),
                            SendError::NoAnswer(_) | SendError::BadAnswer(_, Some(_)) => {
                                running.broke_off();
                            }
                            _ => {}
                        }
                        return Err(error::not_sent(error));
                    }
                    Err(Undelivered::Unsent {
                        request: unsent,
                        error: why,
                    }) => (request, error) = (unsent, why),
                }
            }
            if error.as_ref().map(io::Error::kind) == Some(ErrorKind::TimedOut) {
                if !deadline.has_passed() {
                    // It is alive, and its queue of connections full.
                    continue;
                }
                running.timed_out();
                return Err(error::not_sent(SendError::TimedOut));
            }
            run.unreachable();
            if is_second {
                return Err(error::not_sent(SendError::Unreachable(error)));
            }
            is_second = true;
            let table = &self.connection.thread.gateway.table;
            let successor = table.run(&self.instance, 0, deadline.at()).await;
            *run = successor.map_err(error::not_started)?;
        }
    }

    /// Posts JSON and waits for the whole answer.
    pub(super) async fn post(
        &self,
        path: Uri,
        headers: HeaderMap,
        body: Pieces,
        deadline: &Deadline,
        lease: &mut Lease,
        (held, record): (&mut Held, &mut CallRecord),
    ) -> Result<WholeAnswer, Failure> {
        let mut request = Box::new(Request::new(CallBody::whole(body)));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = path;
        *request.headers_mut() = headers;
        let json = HeaderValue::from_static("application/json");
        request.headers_mut().insert(header::CONTENT_TYPE, json);
        let sent = self.send(lease, request, deadline, record).await?;
        let Answer { head, body } = sent.answer;
        let whole = self.whole(head, body, deadline, (held, record)).await;
        if let (Err(failure), Some(run)) = (&whole, &lease.run)
            && failure.error.number() == ErrorNumber::InvalidAnswer
        {
            run.running().broke_off();
        }
        whole
    }

    /// Waits for the rest of an answer.
    pub(super) async fn whole(
        &self,
        head: response::Parts,
        body: AnswerBody,
        deadline: &Deadline,
        (held, record): (&mut Held, &mut CallRecord),
    ) -> Result<WholeAnswer, Failure> {
        refuse_encoding(&head)?;
        let limit = self
            .connection
            .thread
            .gateway
            .config
            .max_response_body
            .as_u64();
        let body = body.collect(limit, |bytes| held.grow(bytes).is_ok());
        let body = deadline.limit(body).await;
        let body = body
            .map_err(|Elapsed| error::answer_timed_out())?
            .map_err(error::bad_answer)?;
        let execution = record.answered(body.len());
        Ok(WholeAnswer {
            head,
            body,
            execution,
        })
    }
}

/// A call that is counted as queued, also when its client leaves.
struct Queued<'a>(&'a prometheus::IntGauge);

impl<'a> Queued<'a> {
    fn begin(gauge: &'a prometheus::IntGauge) -> Self {
        gauge.inc();
        Self(gauge)
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// No encoding was asked for, so an encoded answer is none (CONTRACT 4). Dropped unread, it takes
/// its connection with it.
fn refuse_encoding(head: &response::Parts) -> Result<(), Failure> {
    if head.status == StatusCode::OK && head.headers.contains_key(header::CONTENT_ENCODING) {
        let message = "the backend's answer comes with a Content-Encoding that nobody asked for";
        return Err(Failure::new(ErrorNumber::InvalidAnswer, message));
    }
    Ok(())
}
