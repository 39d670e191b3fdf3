//! The call of a modern client, and plain HTTP where it is forwarded.

use std::{
    sync::{Arc, OnceLock},
    time::Instant,
};

use http::{HeaderValue, Method, Request, Response, Uri, Version, header, request};
use hyper::body::Incoming;
use tokio::time::timeout_at;

use super::{
    call::{Outgoing, WholeAnswer, admit, refuse_encoding},
    client_body::{Answered, Streamed},
    config::PlainHttp,
    edge::Connection,
    error::{self, Failure},
    forwarded,
    record::CallRecord,
    request_body::{PassedBody, read_whole},
};
use crate::{
    backend::{Answer, Backend, CallBody},
    facet::{Dialect, ErrorNumber, headers, legacy, modern},
    instances::{HotEnv, Instance},
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
    let (index, backend) = gateway
        .backend_for(
            gateway.deployment_for_modern().map(|env| &**env),
            &head.headers,
        )
        .map_err(Failure::with_unread_body)?;
    record.backend = Some(Arc::clone(backend));
    let env = match backend.dialect {
        Dialect::Modern => gateway.deployment_in_force(),
        Dialect::Legacy => gateway.deployment_for_modern(),
    };
    record.digest = env.map(|env| env.digest);
    let code = gateway.code(&mut head.headers, connection.peer, env.is_none());
    let instance = gateway
        .instance(index, env, code)
        .map_err(Failure::with_unread_body)?;
    let call = Place {
        connection,
        backend,
        instance: &instance,
        env: env.map(|env| &**env),
    };
    match backend.dialect {
        Dialect::Modern => call
            .stream(head, body, record)
            .await
            .map_err(Failure::with_unread_body),
        Dialect::Legacy => call.translate(head, body, record).await,
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
    let (index, backend) = backend.map_err(Failure::with_unread_body)?;
    if backend.dialect == Dialect::Legacy {
        return Err(no_route());
    }
    record.backend = Some(Arc::clone(backend));
    let code = gateway.code(&mut head.headers, connection.peer, env.is_none());
    let instance = gateway
        .instance(index, env, code)
        .map_err(Failure::with_unread_body)?;
    let call = Place {
        connection,
        backend,
        instance: &instance,
        env: env.map(|env| &**env),
    };
    call.stream(head, body, record)
        .await
        .map_err(Failure::with_unread_body)
}

/// Where a call is going.
struct Place<'a> {
    connection: &'a Connection,
    backend: &'a Backend,
    instance: &'a Arc<Instance>,
    env: Option<&'a HotEnv>,
}

impl Place<'_> {
    /// Request and answer pass as they come.
    async fn stream(
        &self,
        mut head: request::Parts,
        body: Incoming,
        record: &mut CallRecord,
    ) -> Result<Response<Answered>, Failure> {
        let gateway = &*self.connection.thread.gateway;
        let deadline = Instant::now() + gateway.config.request_timeout;
        record.decoded = head.headers.contains_key(headers::X_UNISAVE_REQUEST);
        let fault = Arc::new(OnceLock::new());
        let stage = Arc::clone(&self.connection.stage);
        let body = PassedBody::new(body, gateway.body_limits(), Arc::clone(&fault), stage)?;
        let lease = admit(gateway, self.instance, deadline, record).await?;

        headers::streamed_request(&mut head.headers);
        let mut request = Request::new(CallBody::stream(body));
        *request.method_mut() = head.method;
        *request.uri_mut() = origin_form(&head.uri);
        *request.headers_mut() = head.headers;
        *request.version_mut() = Version::HTTP_11;
        forwarded::add(request.headers_mut(), &record.ids, self.connection.peer);
        let affinity = self.instance.affinity();
        let upstream = &self.backend.upstream;
        let sent = upstream
            .send(&self.connection.thread.pool, affinity, request, deadline)
            .await;
        let sent = sent.map_err(|failure| {
            record.member.clone_from(&failure.member);
            match fault.get() {
                Some(fault) => Failure::from(*fault),
                None => error::not_sent(failure.error),
            }
        })?;
        record.sent_to_backend(&sent);

        let Answer { mut head, body } = sent.answer;
        if gateway.prunes(self.env) {
            refuse_encoding(&head)?;
            let limit = gateway.config.max_response_body.as_u64();
            let mut held = gateway.budget.begin();
            let body = timeout_at(
                deadline.into(),
                body.collect(limit, |bytes| held.grow(bytes).is_ok()),
            )
            .await;
            let body = body
                .map_err(|_| error::answer_timed_out())?
                .map_err(error::bad_answer)?;
            let execution = record.answered(body.len());
            record.keep(held);
            let whole = WholeAnswer::new(head, body, execution);
            return if whole.is_facet_answer() && record.decoded {
                whole.modern_pruned(record)
            } else {
                Ok(whole.pass(true, record))
            };
        }
        record.outcome = CallOutcome::Streamed;
        headers::streamed_answer(&mut head.headers);
        let streamed = Streamed::new(body, deadline, lease);
        Ok(Response::from_parts(head, Answered::Stream(streamed)))
    }

    /// The call in an envelope, with the env that is in force.
    async fn translate(
        &self,
        head: request::Parts,
        body: Incoming,
        record: &mut CallRecord,
    ) -> Result<Response<Answered>, Failure> {
        let gateway = &*self.connection.thread.gateway;
        let kind = head
            .headers
            .get(headers::X_UNISAVE_REQUEST)
            .map(HeaderValue::as_bytes);
        if kind != Some(b"Facet") {
            let message =
                "the backend's workers speak the legacy dialect, which has facet calls only";
            return Err(Failure::new(ErrorNumber::UnknownKind, message).with_unread_body());
        }
        if head.method != Method::POST {
            let message = "a facet call is a POST to /{facet}/{method}";
            return Err(Failure::new(ErrorNumber::NoRoute, message).with_unread_body());
        }
        let (Some(_), Some(env_text)) = (self.env, gateway.deployment_text()) else {
            let message = "a modern call carries no env, and this backend needs one: send the legacy \
                           envelope, or set [env] fallback = \"deployment\"";
            return Err(Failure::new(ErrorNumber::InvalidField, message).with_unread_body());
        };
        let mut held = gateway.budget.begin();
        let body = read_whole(body, gateway.body_limits(), &mut held).await;
        let body = body.map_err(error::unread_body)?;
        let deadline = Instant::now() + gateway.config.request_timeout;
        let mut headers = head.headers;
        let cookies: Vec<HeaderValue> = headers.get_all(header::COOKIE).iter().cloned().collect();
        let cookies = cookies.iter().map(HeaderValue::as_bytes);
        let call = modern::decode(head.uri.path(), cookies, &body)?;
        record.decoded = true;
        record.path = modern::request_path(&call);
        let lease = admit(gateway, self.instance, deadline, record).await?;

        headers::translated_request(&mut headers);
        headers.remove(headers::X_UNISAVE_REQUEST);
        let envelope = legacy::encode_envelope(&call, &body, env_text);
        let call = Outgoing::post("/", headers, envelope)?;
        let whole = call
            .exchange(
                &self.connection.thread,
                self.backend,
                self.instance,
                self.connection.peer,
                deadline,
                &mut held,
                record,
            )
            .await?;
        drop(lease);
        record.keep(held);
        let prune = gateway.prunes(self.env);
        if whole.is_facet_answer() {
            whole.legacy_to_modern(prune, record)
        } else {
            Ok(whole.pass(prune, record))
        }
    }
}

/// A proxy's absolute form names the gateway; the backend wants path and query.
fn origin_form(uri: &Uri) -> Uri {
    match uri.path_and_query() {
        Some(path) => Uri::from(path.clone()),
        None => Uri::from_static("/"),
    }
}
