//! Where a call goes: its backend and instance, the place it waits for there, and one exchange.

use std::{sync::Arc, time::Instant};

use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header, response};
use tokio::time::timeout_at;

use super::{
    budget::Held,
    edge::Connection,
    error::{self, Failure},
    forwarded,
    record::CallRecord,
    whole_answer::WholeAnswer,
};
use crate::{
    backend::{Answer, AnswerBody, Backend, CallBody, SendError, Sent},
    facet::{ErrorNumber, Pieces},
    instances::{HotEnv, Instance, Lease},
};

/// A backend that takes a call, and the instance that serves its env there.
pub(super) struct Destination<'a> {
    connection: &'a Connection,
    pub(super) backend: &'a Arc<Backend>,
    instance: Arc<Instance>,
    /// The env that the call runs under, where it has one.
    pub(super) env: Option<&'a Arc<HotEnv>>,
}

impl<'a> Destination<'a> {
    /// The instance for `env` at a backend that was chosen by its index. `env_is_the_clients`:
    /// whether the code is the client's own affair too.
    pub(super) fn at(
        connection: &'a Connection,
        (index, backend): (usize, &'a Arc<Backend>),
        env: Option<&'a Arc<HotEnv>>,
        env_is_the_clients: bool,
        headers: &mut HeaderMap,
        record: &mut CallRecord,
    ) -> Result<Self, Failure> {
        let gateway = &connection.thread.gateway;
        record.backend = Some(Arc::clone(backend));
        record.digest = env.map(|env| env.digest);
        let code = gateway.code(headers, connection.peer, env_is_the_clients);
        let instance = gateway.instance(index, env, code)?;
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

    /// Waits for a place at the instance.
    pub(super) async fn admit(
        &self,
        deadline: Instant,
        record: &mut CallRecord,
    ) -> Result<Lease, Failure> {
        let metrics = &self.connection.thread.gateway.metrics;
        let waited_from = Instant::now();
        let queued = Queued::begin(&metrics.queued_calls);
        let lease = Lease::acquire(Arc::clone(&self.instance), deadline).await;
        drop(queued);
        record.queued = waited_from.elapsed();
        metrics.queue_seconds.observe(record.queued.as_secs_f64());
        lease.map_err(error::not_admitted)
    }

    /// Sends a request and waits for the head of its answer. What it failed with is the caller's to
    /// judge.
    pub(super) async fn send(
        &self,
        mut request: Request<CallBody>,
        deadline: Instant,
        record: &mut CallRecord,
    ) -> Result<Sent, SendError> {
        let peer = self.connection.peer_value.as_ref();
        forwarded::add(request.headers_mut(), &record.ids, peer);
        let pool = &self.connection.thread.pool;
        let affinity = self.instance.affinity();
        let upstream = &self.backend.upstream;
        let sent = upstream
            .send(pool, affinity, request, deadline, &mut record.member)
            .await?;
        record.sent_to_backend(&sent);
        Ok(sent)
    }

    /// Posts JSON and waits for the whole answer.
    pub(super) async fn post(
        &self,
        path: &str,
        headers: HeaderMap,
        body: Pieces,
        deadline: Instant,
        (held, record): (&mut Held, &mut CallRecord),
    ) -> Result<WholeAnswer, Failure> {
        let mut request = Request::new(CallBody::whole(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = Uri::try_from(path).map_err(|_| {
            Failure::new(
                ErrorNumber::InvalidField,
                "facetName and methodName make no path",
            )
        })?;
        *request.headers_mut() = headers;
        let json = HeaderValue::from_static("application/json");
        request.headers_mut().insert(header::CONTENT_TYPE, json);
        let sent = self.send(request, deadline, record).await;
        let Answer { head, body } = sent.map_err(error::not_sent)?.answer;
        self.whole(head, body, deadline, (held, record)).await
    }

    /// Waits for the rest of an answer.
    pub(super) async fn whole(
        &self,
        head: response::Parts,
        body: AnswerBody,
        deadline: Instant,
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
        let body = timeout_at(deadline.into(), body).await;
        let body = body
            .map_err(|_| error::answer_timed_out())?
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
