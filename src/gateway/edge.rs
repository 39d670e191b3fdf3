//! The first to see a request and the last to see its answer: what holds for every call, whatever
//! it is.
//!
//! The order matters. A request for the gateway itself is answered always, also while it drains;
//! then it is decided whether there is room at all; only then is the call looked at.

use std::{convert::Infallible, net::IpAddr, sync::Arc, time::Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Version, header};
use http_body::Body as _;
use hyper::body::Incoming;

use super::{
    SERVER,
    budget::Held,
    call::legacy_call,
    client_body::{Answered, ClientBody},
    drain::Phase,
    error::{self, Failure},
    forwarded,
    modern_call::{modern_call, plain_http},
    record::CallRecord,
    request_body::{BodyFault, read_whole},
    route::{Route, route},
    socket::Stage,
    state::Gateway,
    thread::Thread,
};
use crate::{
    backend::{Alarm, Deadline},
    facet::{ErrorNumber, Pieces},
    telemetry::{CallOutcome, Client},
};

/// Asks the gateway to say which env an answer came of.
const X_ENVGATE_DEBUG: HeaderName = HeaderName::from_static("x-envgate-debug");

/// A client's connection, as its requests see it.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) thread: Arc<Thread>,
    /// `None` behind a Unix socket.
    pub(super) peer: Option<IpAddr>,
    /// The same, as backends are told.
    pub(super) peer_value: Option<HeaderValue>,
    pub(super) stage: Arc<Stage>,
    /// It is one connection too many: its first request is told so.
    pub(super) is_surplus: bool,
    /// For one call after another.
    pub(super) call_alarm: Arc<Alarm>,
    /// For bodies that are passed on: whoever passes them isn't woken as the call is.
    pub(super) body_alarm: Arc<Alarm>,
}

impl Connection {
    /// Until when a call may take that begins now.
    pub(super) fn deadline(&self) -> Deadline {
        let time = self.thread.gateway.config.request_timeout;
        Deadline::new(Instant::now(), time, &self.call_alarm)
    }

    /// Until when a call's body must have come that is passed on.
    pub(super) fn body_deadline(&self, record: &CallRecord) -> Deadline {
        let time = self.thread.gateway.config.body_timeout;
        Deadline::new(record.began, time, &self.body_alarm)
    }

    /// Reads a call's body.
    pub(super) async fn read_whole(
        &self,
        body: Incoming,
        held: &mut Held,
        record: &CallRecord,
    ) -> Result<Bytes, BodyFault> {
        let config = &self.thread.gateway.config;
        let deadline = Deadline::new(record.began, config.body_timeout, &self.call_alarm);
        read_whole(body, config.max_request_body.as_u64(), &deadline, held).await
    }
}

/// Answers a request. Never fails: every failure is an answer.
pub(super) async fn serve(
    connection: Arc<Connection>,
    request: Request<Incoming>,
) -> Result<Response<ClientBody>, Infallible> {
    connection.stage.call_begins();
    let gateway = &connection.thread.gateway;
    let (head, body) = request.into_parts();
    if head_bytes(&head) > gateway.config.max_header_bytes.as_u64() {
        let stage = Arc::clone(&connection.stage);
        let mut answer = Response::new(ClientBody::new(
            Answered::Whole(Pieces::default()),
            None,
            stage,
        ));
        *answer.status_mut() = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        connection.stage.linger();
        close(&mut answer);
        return Ok(answer);
    }
    let route = route(&head);
    let own = match route {
        Route::Health => Some(health(gateway)),
        Route::Metrics => Some(metrics(gateway)),
        Route::LegacyCall | Route::ModernCall | Route::PlainHttp => None,
    };
    if let Some(answer) = own {
        let stage = Arc::clone(&connection.stage);
        return Ok(answer.map(|pieces| ClientBody::new(Answered::Whole(pieces), None, stage)));
    }

    let client = match route {
        Route::LegacyCall => Client::Legacy,
        Route::ModernCall => Client::Modern,
        _ => Client::Plain,
    };
    let is_debugged = gateway.config.debug
        && head
            .headers
            .get(X_ENVGATE_DEBUG)
            .is_some_and(|value| value == "1")
        && gateway.trusts(connection.peer);
    let has_body = !body.is_end_stream();
    let mut record = CallRecord::begin(&connection.thread, client, &head, connection.peer);
    let answer = match room(&connection) {
        Err(failure) => Err(failure),
        Ok(()) => match route {
            Route::LegacyCall => legacy_call(&connection, head, body, &mut record).await,
            Route::ModernCall => modern_call(&connection, head, body, &mut record).await,
            _ => plain_http(&connection, head, body, &mut record).await,
        },
    };
    let mut answer = answer.unwrap_or_else(|failure| {
        let unread = failure.body_unread && has_body;
        let mut answer = refuse(gateway, &failure, &mut record);
        if unread {
            connection.stage.linger();
            close(&mut answer);
        }
        answer
    });
    if gateway.drain.phase() != Phase::Serving || connection.is_surplus {
        close(&mut answer);
    }
    // What the backend speaks says nothing of what this connection does.
    *answer.version_mut() = Version::HTTP_11;
    if is_debugged {
        tell(answer.headers_mut(), &record);
    }
    record.status = Some(answer.status());
    let stage = Arc::clone(&connection.stage);
    Ok(answer.map(|answered| ClientBody::new(answered, Some(record), stage)))
}

/// What a trusted peer asked to be told of a call: the digest of its env, the backend, and the
/// worker's address.
fn tell(headers: &mut HeaderMap, record: &CallRecord) {
    let digest = record.digest.as_ref().map(|digest| digest.as_str());
    let backend = record.backend.as_ref().map(|backend| backend.name.as_str());
    let told = [
        ("x-envgate-digest", digest),
        ("x-envgate-backend", backend),
        ("x-envgate-member", record.member.as_deref()),
    ];
    for (name, value) in told {
        if let Some(Ok(value)) = value.map(HeaderValue::from_str) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
}

/// The size of a request's head as it was sent, give or take a few spaces. hyper stops reading at
/// the limit, but lets a head pass that comes whole in the read that goes over it.
fn head_bytes(head: &http::request::Parts) -> u64 {
    let fields = head
        .headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 4);
    let target = head
        .uri
        .path_and_query()
        .map_or(0, |target| target.as_str().len());
    (target + fields.sum::<usize>()) as u64
}

/// Whether a call may be looked at.
fn room(connection: &Connection) -> Result<(), Failure> {
    if connection.is_surplus {
        let message = "the gateway holds as many connections as it may";
        return Err(Failure::new(ErrorNumber::Overloaded, message).with_unread_body());
    }
    if connection.thread.gateway.drain.phase() != Phase::Serving {
        let message = "the gateway is shutting down; send the call elsewhere";
        return Err(Failure::new(ErrorNumber::ShuttingDown, message).with_unread_body());
    }
    Ok(())
}

fn refuse(gateway: &Gateway, failure: &Failure, record: &mut CallRecord) -> Response<Answered> {
    let number = failure.error.number();
    error::log(failure, record);
    gateway.metrics.error(number);
    record.outcome = CallOutcome::Error;
    record.error = Some(number);
    let mut answer = error::response(&failure.error).map(Answered::Whole);
    // What a player reports leads to the line in the log.
    answer
        .headers_mut()
        .insert(forwarded::X_REQUEST_ID, record.ids.request.clone());
    answer
}

fn close<T>(answer: &mut Response<T>) {
    answer
        .headers_mut()
        .insert(header::CONNECTION, HeaderValue::from_static("close"));
}

/// `GET /health`: 200 while calls are taken (CONTRACT 8).
fn health(gateway: &Gateway) -> Response<Pieces> {
    match gateway.drain.phase() {
        Phase::Serving => plain_text(StatusCode::OK, "OK\n"),
        Phase::Draining | Phase::Closing => {
            plain_text(StatusCode::SERVICE_UNAVAILABLE, "shutting down\n")
        }
    }
}

fn metrics(gateway: &Gateway) -> Response<Pieces> {
    let instances = i64::try_from(gateway.table.len()).unwrap_or(i64::MAX);
    gateway.metrics.hot_envs.set(instances);
    let held = i64::try_from(gateway.budget.held()).unwrap_or(i64::MAX);
    gateway.metrics.body_bytes_held.set(held);
    match gateway.metrics.render() {
        Ok((text, content_type)) => {
            let mut answer = plain_text(StatusCode::OK, "");
            *answer.body_mut() = Pieces::from(bytes::Bytes::from(text));
            let content_type = HeaderValue::from_static(content_type);
            answer
                .headers_mut()
                .insert(header::CONTENT_TYPE, content_type);
            answer
        }
        Err(error) => {
            tracing::error!(%error, "the metrics can't be written");
            plain_text(
                StatusCode::INTERNAL_SERVER_ERROR,
                "the metrics can't be written\n",
            )
        }
    }
}

fn plain_text(status: StatusCode, text: &'static str) -> Response<Pieces> {
    let mut answer = Response::new(Pieces::from(bytes::Bytes::from_static(text.as_bytes())));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    headers.insert(header::SERVER, SERVER);
    answer
}
