//! The call of a legacy client.

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, header, request, response,
};
use hyper::body::Incoming;
use tokio::time::timeout_at;

use super::{
    SERVER,
    budget::Held,
    client_body::Answered,
    error::{self, Failure},
    forwarded,
    record::CallRecord,
    request_body::read_whole,
    state::Gateway,
    thread::Thread,
};
use crate::{
    backend::{Answer, Backend, CallBody},
    facet::{
        self, Dialect, ErrorNumber, Outcome, Pieces, headers, legacy, modern, prune_answer,
        prune_error_body, session,
    },
    instances::{Instance, Lease},
    telemetry::CallOutcome,
};

/// An envelope in, a legacy answer out.
///
/// Dropping the future, as happens when the client leaves, gives up the place in the queue and
/// closes the connection to the backend.
pub(super) async fn legacy_call(
    thread: &Thread,
    head: request::Parts,
    body: Incoming,
    peer: Option<IpAddr>,
    record: &mut CallRecord,
) -> Result<Response<Answered>, Failure> {
    let gateway = &*thread.gateway;
    let mut held = gateway.budget.begin();
    let body = read_whole(body, gateway.body_limits(), &mut held)
        .await
        .map_err(error::unread_body)?;
    let deadline = Instant::now() + gateway.config.request_timeout;
    let envelope = legacy::decode(&body, gateway.env_field())?;
    record.decoded = true;
    record.path = modern::request_path(&envelope.call);

    let env = thread.env_of(&envelope, record.began)?;
    record.digest = Some(env.digest);
    let mut headers = head.headers;
    let code = gateway.code(&mut headers, peer, envelope.env.is_some());
    let (index, backend) = gateway.backend_for(Some(&env), &headers)?;
    record.backend = Some(Arc::clone(backend));
    let instance = gateway.instance(index, Some(&env), code)?;
    let lease = admit(gateway, &instance, deadline, record).await?;

    headers::translated_request(&mut headers);
    let call = match backend.dialect {
        Dialect::Modern => {
            headers.insert(
                headers::X_UNISAVE_REQUEST,
                HeaderValue::from_static("Facet"),
            );
            if let Some(session) = &envelope.call.session {
                headers.insert(header::COOKIE, session::cookie_header(session));
            }
            Outgoing::post(
                &record.path,
                headers,
                modern::request_body(&envelope.call, &body),
            )?
        }
        Dialect::Legacy => {
            let replaced = gateway.deployment_text().filter(|_| envelope.env.is_none());
            Outgoing::post("/", headers, envelope.pass(&body, replaced))?
        }
    };
    let whole = call
        .exchange(
            thread, backend, &instance, peer, deadline, &mut held, record,
        )
        .await?;
    drop(lease);
    record.keep(held);
    let prune = gateway.prunes(Some(&env));
    match (whole.is_facet_answer(), backend.dialect) {
        (false, _) => Ok(whole.pass(prune, record)),
        (true, Dialect::Modern) => whole.modern_to_legacy(prune, record),
        (true, Dialect::Legacy) => whole.legacy_to_legacy(prune, record),
    }
}

/// Waits for a place at the instance.
pub(super) async fn admit(
    gateway: &Gateway,
    instance: &Arc<Instance>,
    deadline: Instant,
    record: &mut CallRecord,
) -> Result<Lease, Failure> {
    let waited_from = Instant::now();
    gateway.metrics.queued_calls.inc();
    let queued = Queued(&gateway.metrics.queued_calls);
    let lease = Lease::acquire(Arc::clone(instance), deadline).await;
    drop(queued);
    record.queued = waited_from.elapsed();
    gateway
        .metrics
        .queue_seconds
        .observe(record.queued.as_secs_f64());
    lease.map_err(error::not_admitted)
}

/// A call that is counted as queued, also when its client leaves.
struct Queued<'a>(&'a prometheus::IntGauge);

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// A call as it is written to a backend, whole.
pub(super) struct Outgoing(Request<CallBody>);

impl Outgoing {
    /// A JSON body, posted.
    pub(super) fn post(path: &str, headers: HeaderMap, body: Pieces) -> Result<Self, Failure> {
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
        Ok(Self(request))
    }

    /// Sends it and waits for the whole answer.
    #[expect(
        clippy::too_many_arguments,
        reason = "what a call is made of, named where it is used"
    )]
    pub(super) async fn exchange(
        self,
        thread: &Thread,
        backend: &Backend,
        instance: &Instance,
        peer: Option<IpAddr>,
        deadline: Instant,
        held: &mut Held,
        record: &mut CallRecord,
    ) -> Result<WholeAnswer, Failure> {
        let Self(mut request) = self;
        forwarded::add(request.headers_mut(), &record.ids, peer);
        let affinity = instance.affinity();
        let sent = backend
            .upstream
            .send(&thread.pool, affinity, request, deadline)
            .await;
        let sent = sent.map_err(|failure| {
            record.member.clone_from(&failure.member);
            error::not_sent(failure.error)
        })?;
        record.sent_to_backend(&sent);
        let limit = thread.gateway.config.max_response_body.as_u64();
        let Answer { head, body } = sent.answer;
        refuse_encoding(&head)?;
        let body = timeout_at(
            deadline.into(),
            body.collect(limit, |bytes| held.grow(bytes).is_ok()),
        )
        .await;
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

/// A backend's answer, all of it.
pub(super) struct WholeAnswer {
    head: response::Parts,
    body: Bytes,
    execution: Duration,
}

impl WholeAnswer {
    /// Whether the facet itself answered; everything but a 200 passes as it is.
    pub(super) fn is_facet_answer(&self) -> bool {
        self.head.status == StatusCode::OK
    }

    /// The answer as it came; a crash answer loses what happened where answers are pruned.
    pub(super) fn pass(mut self, prune: bool, record: &mut CallRecord) -> Response<Answered> {
        record.outcome = CallOutcome::Passed;
        headers::streamed_answer(&mut self.head.headers);
        self.head.headers.remove(header::CONTENT_LENGTH);
        let is_crash = self
            .head
            .headers
            .contains_key(headers::X_UNISAVE_ERROR_RESPONSE);
        let body = if prune && is_crash {
            prune_error_body(&self.body)
        } else {
            self.body
        };
        Response::from_parts(self.head, Answered::Whole(Pieces::from(body)))
    }

    fn modern_to_legacy(
        mut self,
        prune: bool,
        record: &mut CallRecord,
    ) -> Result<Response<Answered>, Failure> {
        let mut answer = modern::decode_answer(&self.body)?;
        record.outcome = outcome(&answer);
        if prune {
            answer = prune_answer(&answer);
        }
        let cookies = self.head.headers.get_all(header::SET_COOKIE).iter();
        let session = session::from_set_cookie(cookies.map(HeaderValue::as_bytes));
        let pieces = legacy::encode_answer(&answer, &self.body, session.as_deref(), self.execution);
        headers::translated_answer(&mut self.head.headers);
        Ok(rewritten(self.head, pieces))
    }

    fn legacy_to_legacy(
        mut self,
        prune: bool,
        record: &mut CallRecord,
    ) -> Result<Response<Answered>, Failure> {
        let answer = legacy::decode_answer(&self.body)?;
        record.outcome = outcome(&answer);
        if !prune {
            let pieces = legacy::pass_answer(&answer, &self.body);
            headers::streamed_answer(&mut self.head.headers);
            self.head.headers.remove(header::CONTENT_LENGTH);
            return Ok(Response::from_parts(self.head, Answered::Whole(pieces)));
        }
        let session = answer.session()?;
        let pruned = prune_answer(&answer);
        let pieces = legacy::encode_answer(&pruned, &self.body, session.as_deref(), self.execution);
        headers::translated_answer(&mut self.head.headers);
        Ok(rewritten(self.head, pieces))
    }

    pub(super) fn legacy_to_modern(
        mut self,
        prune: bool,
        record: &mut CallRecord,
    ) -> Result<Response<Answered>, Failure> {
        let mut answer = legacy::decode_answer(&self.body)?;
        record.outcome = outcome(&answer);
        let session = answer.session()?;
        if prune {
            answer = prune_answer(&answer);
        }
        let pieces = modern::encode_answer(&answer, &self.body);
        headers::translated_answer(&mut self.head.headers);
        if let Some(session) = session {
            let cookie = session::set_cookie(&session, std::time::SystemTime::now());
            self.head.headers.insert(header::SET_COOKIE, cookie);
        }
        Ok(rewritten(self.head, pieces))
    }

    pub(super) fn modern_pruned(
        mut self,
        record: &mut CallRecord,
    ) -> Result<Response<Answered>, Failure> {
        let answer = modern::decode_answer(&self.body)?;
        record.outcome = outcome(&answer);
        let pieces = modern::encode_answer(&prune_answer(&answer), &self.body);
        let cookies: Vec<_> = self
            .head
            .headers
            .get_all(header::SET_COOKIE)
            .iter()
            .cloned()
            .collect();
        headers::translated_answer(&mut self.head.headers);
        for cookie in cookies {
            self.head.headers.append(header::SET_COOKIE, cookie);
        }
        Ok(rewritten(self.head, pieces))
    }

    pub(super) fn new(head: response::Parts, body: Bytes, execution: Duration) -> Self {
        Self {
            head,
            body,
            execution,
        }
    }
}

/// No encoding was asked for, so an encoded answer is none (CONTRACT 4). Dropped unread, it takes
/// its connection with it.
pub(super) fn refuse_encoding(head: &response::Parts) -> Result<(), Failure> {
    if head.status == StatusCode::OK && head.headers.contains_key(header::CONTENT_ENCODING) {
        let message = "the backend's answer comes with a Content-Encoding that nobody asked for";
        return Err(Failure::new(ErrorNumber::InvalidAnswer, message));
    }
    Ok(())
}

/// An answer with a body of ours.
fn rewritten(mut head: response::Parts, pieces: Pieces) -> Response<Answered> {
    head.headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    head.headers.insert(header::SERVER, SERVER);
    Response::from_parts(head, Answered::Whole(pieces))
}

fn outcome(answer: &facet::Answer<'_>) -> CallOutcome {
    match answer.outcome {
        Outcome::Ok => CallOutcome::Ok,
        Outcome::Exception => CallOutcome::Exception,
        Outcome::Other => CallOutcome::Passed,
    }
}
