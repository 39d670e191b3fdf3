//! The call of a legacy client.

use http::{HeaderValue, Response, Uri, header, request};
use hyper::body::Incoming;

use super::{
    client_body::Answered,
    destination::Destination,
    edge::Connection,
    error::{self, Failure},
    record::CallRecord,
};
use crate::facet::{Dialect, headers, legacy, modern, session};

/// An envelope in, a legacy answer out.
///
/// Dropping the future, as happens when the client leaves, gives up the place in the queue and
/// closes the connection to the backend.
pub(super) async fn legacy_call(
    connection: &Connection,
    head: request::Parts,
    body: Incoming,
    record: &mut CallRecord,
) -> Result<Response<Answered>, Failure> {
    let gateway = &*connection.thread.gateway;
    let mut held = gateway.budget.begin();
    let body = connection.read_whole(body, &mut held, record).await;
    let body = body.map_err(error::unread_body)?;
    let deadline = connection.deadline();
    let envelope = legacy::decode(&body, gateway.env_field())?;
    record.decoded = true;
    record.target = modern::request_path(&envelope.call);

    let env = connection.thread.env_of(&envelope, record)?;
    record.digest = Some(env.digest);
    let mut headers = head.headers;
    let backend = gateway.backend_for(Some(&env), &headers)?;
    let env_is_the_clients = envelope.env.is_some();
    let to = Destination::at(
        connection,
        backend,
        Some(&env),
        env_is_the_clients,
        &mut headers,
        record,
    )?;
    let mut lease = to.admit(body.len(), &deadline, record).await?;

    headers::translated_request(&mut headers);
    let (path, body) = match to.backend.dialect {
        Dialect::Modern => {
            let kind = HeaderValue::from_static("Facet");
            headers.insert(headers::X_UNISAVE_REQUEST, kind);
            if let Some(session) = &envelope.call.session {
                headers.insert(header::COOKIE, session::cookie_header(session));
            }
            (
                record.target.clone(),
                modern::request_body(&envelope.call, &body),
            )
        }
        Dialect::Legacy => {
            let replaced = gateway.deployment_text().filter(|_| !env_is_the_clients);
            (Uri::default(), envelope.pass(&body, replaced))
        }
    };
    let answer = to
        .post(
            path,
            headers,
            body,
            &deadline,
            &mut lease,
            (&mut held, record),
        )
        .await?;
    drop(lease);
    record.keep(held);
    match (answer.is_facet_answer(), to.backend.dialect) {
        (false, _) => Ok(answer.pass(to.prunes(), record)),
        (true, Dialect::Modern) => answer.modern_to_legacy(to.prunes(), record),
        (true, Dialect::Legacy) => answer.legacy_to_legacy(to.prunes(), record),
    }
}
