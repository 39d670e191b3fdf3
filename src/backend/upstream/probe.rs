//! Active probes: `GET /health` of every member.
//!
//! A member that answers something other than 200 wants no calls (a C# worker that needs a restart
//! says 503), so it is out until a probe is answered with 200 again. One that doesn't answer in time
//! is busy, and to take it out would only move its load.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use http::{HeaderValue, Method, Request, StatusCode, header};
use tokio::{
    task::JoinSet,
    time::{Instant, timeout_at},
};

use super::{member::Member, members::Members};
use crate::{
    backend::{
        CallBody,
        connect::{ConnectError, connect},
        exchange,
    },
    facet::Pieces,
};

/// How long a member may take to say how it is.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// Probes all members at once and waits for the last answer.
pub(super) async fn all(backend: &str, members: &Members) {
    let mut probes = JoinSet::new();
    for member in members.all().iter().map(Arc::clone) {
        probes.spawn(async move {
            let health = ask(&member).await;
            (member, health)
        });
    }
    while let Some(probe) = probes.join_next().await {
        let Ok((member, health)) = probe else {
            continue;
        };
        match health {
            Health::Well => {
                if member.unwell.swap(false, Relaxed) {
                    // It was restarted. Before, it held what it held; and what it was given
                    // meanwhile, as all were out, it may hold now.
                    if !member.asked_since.load(Relaxed) {
                        member.outage.was_down();
                    }
                    tracing::info!(backend, %member, "a member is well again");
                }
            }
            Health::Unwell(reason) => {
                if !member.unwell.swap(true, Relaxed) {
                    member.asked_since.store(false, Relaxed);
                    tracing::warn!(backend, %member, reason, "a member is unwell and is taken out");
                }
            }
            Health::Busy => tracing::debug!(backend, %member, "a member is too busy to say"),
        }
    }
}

/// What a probe tells of a member.
enum Health {
    Well,
    Unwell(String),
    /// It didn't answer in time: it stays what it was.
    Busy,
}

async fn ask(member: &Member) -> Health {
    let deadline = Instant::now() + PROBE_TIMEOUT;
    let mut link = match connect(&member.endpoint.address, deadline).await {
        Ok(link) => link,
        Err(ConnectError::Unreachable(error)) => return Health::Unwell(error.to_string()),
        Err(ConnectError::Busy(_) | ConnectError::Exhausted(_)) => return Health::Busy,
    };
    let mut request = Box::new(Request::new(CallBody::whole(Pieces::default())));
    *request.method_mut() = Method::GET;
    *request.uri_mut() = http::Uri::from_static("/health");
    let headers = request.headers_mut();
    headers.insert(header::HOST, member.endpoint.host.clone());
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    match timeout_at(deadline, exchange::send(&mut link, request)).await {
        Ok(Ok(answer)) if answer.status() == StatusCode::OK => Health::Well,
        Ok(Ok(answer)) => Health::Unwell(format!("status {}", answer.status().as_u16())),
        Ok(Err(_)) => Health::Unwell("no answer".to_owned()),
        Err(_) => Health::Busy,
    }
}
