//! The call of a modern client, and plain HTTP where it is forwarded.

use std::sync::{Arc, OnceLock};

use http::{HeaderValue, Method, Request, Response, Uri, Version, header, request};
use hyper::body::Incoming;

use super::{
    client_body::{Answered, Streamed},
    config::PlainHttp,
    destination::Destination,
    edge::Connection,
    error::{self, Failure},
    record::CallRecord,
    request_body::PassedBody,
};
use crate::{
    backend::{Answer, CallBody, Workers},
    facet::{Dialect, ErrorNumber, headers, legacy, modern},
    telemetry::CallOutcome,
};

/// A modern call: streamed to a modern backend, translated for a legacy one.
pub(super) async fn modern_call(
    connection: &Connection,
    mut head: request::Parts,
    body: Incoming,
    record: &mut CallRecord,
) -> Result<Response<Answered>, Failure> {
    let gateway = &*connection.thread.gateway;
    let may_be_used = gateway.deployment_for_modern().map(|env| &**env);
    let backend = gateway.backend_for(may_be_used, &head.headers);
    let backend = backend.map_err(Failure::with_unread_body)?;
    let dialect = backend.dialect;
    let env = match (dialect, &backend.workers) {
        (Dialect::Modern, Workers::Upstream(_)) => gateway.deployment_in_force(),
        (Dialect::Legacy, _) | (_, Workers::Process(_)) => {
            Some(gateway.deployment_for_modern().ok_or_else(no_env)?)
        }
    };
    let headers = &mut head.headers;
    let to = Destination::at(connection, backend, env, env.is_none(), headers, record);
    let to = to.map_err(Failure::with_unread_body)?;
    match dialect {
        Dialect::Modern => stream(connection, &to, head, body, record).await,
        Dialect::Legacy => translate(connection, &to, head, body, record).await,
    }
}

/// A request that is no facet call, streamed to a modern backend where the configuration says so.
pub(super) async fn plain_http(
    connection: &Connection,
    mut head: request::Parts,
    body: Incoming,
    record: &mut CallRecord,
) -> Result<Response<Answered>, Failure> {
    let gateway = &*connection.thread.gateway;
    let no_route = || {
        let message = "no such route: post an envelope to /, or send X-Unisave-Request with POST /{facet}/{method}";
        Failure::new(ErrorNumber::NoRoute, message).with_unread_body()
    };
    if gateway.config.plain_http == PlainHttp::Reject || head.method == Method::CONNECT {
        return Err(no_route());
    }
    let env = gateway.deployment_in_force();
    let backend = gateway.backend_for(env.map(|env| &**env), &head.headers);
    let backend = backend.map_err(Failure::with_unread_body)?;
    if backend.dialect == Dialect::Legacy {
        return Err(no_route());
    }
    let headers = &mut head.headers;
    let to = Destination::at(connection, backend, env, env.is_none(), headers, record);
    let to = to.map_err(Failure::with_unread_body)?;
    stream(connection, &to, head, body, record).await
}

/// Request and answer pass as they come.
async fn stream(
    connection: &Connection,
    to: &Destination<'_>,
    mut head: request::Parts,
    body: Incoming,
    record: &mut CallRecord,
) -> Result<Response<Answered>, Failure> {
    let gateway = &*connection.thread.gateway;
    let deadline = connection.deadline();
    record.decoded = head.headers.contains_key(headers::X_UNISAVE_REQUEST);
    let fault = Arc::new(OnceLock::new());
    let stage = Arc::clone(&connection.stage);
    let limit = gateway.config.max_request_body.as_u64();
    let body = PassedBody::new(
        body,
        limit,
        connection.body_deadline(record),
        Arc::clone(&fault),
        stage,
    );
    let body = body.map_err(error::unread_body)?;
    let mut lease = to
        .admit(0, &deadline, record)
        .await
        .map_err(Failure::with_unread_body)?;

    headers::streamed_request(&mut head.headers);
    let mut request = Box::new(Request::new(CallBody::stream(body)));
    *request.method_mut() = head.method;
    *request.uri_mut() = origin_form(&head.uri);
    *request.headers_mut() = head.headers;
    *request.version_mut() = Version::HTTP_11;
    let sent = to.send(&mut lease, request, &deadline, record).await;
    let sent = sent.map_err(|failure| {
        let failure = match fault.get() {
            Some(fault) => Failure::from(*fault),
            None => failure,
        };
        failure.with_unread_body()
    })?;

    let Answer { mut head, body } = sent.answer;
    if to.prunes() {
        let mut held = gateway.budget.begin();
        let answer = to.whole(head, body, &deadline, (&mut held, record)).await;
        let answer = answer.map_err(Failure::with_unread_body)?;
        record.keep(held);
        return if answer.is_facet_answer() && record.decoded {
            answer.modern_pruned(record)
        } else {
            Ok(answer.pass(true, record))
        };
    }
    record.outcome = CallOutcome::Streamed;
    headers::streamed_answer(&mut head.headers);
    let streamed = Streamed::new(body, deadline, lease);
    Ok(Response::from_parts(head, Answered::Stream(streamed)))
}

/// The call in an envelope, with the env that is in force.
async fn translate(
    connection: &Connection,
    to: &Destination<'_>,
    head: request::Parts,
    body: Incoming,
    record: &mut CallRecord,
) -> Result<Response<Answered>, Failure> {
    let gateway = &*connection.thread.gateway;
    refuse_untranslatable(&head)?;
    let env_text = gateway.deployment_text().ok_or_else(no_env)?;
    let mut held = gateway.budget.begin();
    let body = connection.read_whole(body, &mut held, record).await;
    let body = body.map_err(error::unread_body)?;
    let deadline = connection.deadline();
    let mut headers = head.headers;
    let cookies: Vec<HeaderValue> = headers.get_all(header::COOKIE).iter().cloned().collect();
    let cookies = cookies.iter().map(HeaderValue::as_bytes);
    let call = modern::decode(head.uri.path(), cookies, &body)?;
    record.decoded = true;
    record.target = modern::request_path(&call);
    let mut lease = to.admit(body.len(), &deadline, record).await?;

    headers::translated_request(&mut headers);
    let envelope = legacy::encode_envelope(&call, &body, env_text);
    let answer = to
        .post(
            Uri::default(),
            headers,
            envelope,
            &deadline,
            &mut lease,
            (&mut held, record),
        )
        .await?;
    drop(lease);
    record.keep(held);
    if answer.is_facet_answer() {
        answer.legacy_to_modern(to.prunes(), record)
    } else {
        Ok(answer.pass(to.prunes(), record))
    }
}

/// A modern call comes without an env (CONTRACT 6).
fn no_env() -> Failure {
    let message = "a modern call carries no env, and this backend needs one: send the legacy \
                   envelope, or set [env] fallback = \"deployment\"";
    Failure::new(ErrorNumber::InvalidField, message).with_unread_body()
}

/// What no envelope can say.
fn refuse_untranslatable(head: &request::Parts) -> Result<(), Failure> {
    let kind = head
        .headers
        .get(headers::X_UNISAVE_REQUEST)
        .map(HeaderValue::as_bytes);
    if kind != Some(b"Facet") {
        let message = "the backend's workers speak the legacy dialect, which has facet calls only";
        return Err(Failure::new(ErrorNumber::UnknownKind, message).with_unread_body());
    }
    if head.method != Method::POST {
        let message = "a facet call is a POST to /{facet}/{method}";
        return Err(Failure::new(ErrorNumber::NoRoute, message).with_unread_body());
    }
    Ok(())
}

/// A proxy's absolute form names the gateway; the backend wants path and query.
fn origin_form(uri: &Uri) -> Uri {
    match uri.path_and_query() {
        Some(path) => Uri::from(path.clone()),
        None => Uri::from_static("/"),
    }
}
