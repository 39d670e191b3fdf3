//! Active probes: `GET /health` of every member.
//!
//! A member that answers something other than 200 wants no calls (a C# worker that needs a restart
//! says 503), so it is out until a probe is answered with 200 again.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use http::{HeaderValue, Method, Request, StatusCode, header};
use tokio::{
    task::JoinSet,
    time::{Instant, timeout_at},
};

use super::{connect::connect, member::Member, members::Members};
use crate::{backend::CallBody, backend::exchange, facet::Pieces};

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
        let was_unwell = member.unwell.swap(health.is_err(), Relaxed);
        match health {
            Ok(()) if was_unwell => tracing::info!(backend, %member, "a member is well again"),
            Err(reason) if !was_unwell => {
                tracing::warn!(backend, %member, reason, "a member is unwell and is taken out");
            }
            _ => {}
        }
    }
}

/// Whether a member says that it is well; else why not.
async fn ask(member: &Member) -> Result<(), String> {
    let deadline = Instant::now() + PROBE_TIMEOUT;
    let mut link = connect(member, deadline)
        .await
        .map_err(|_| "no connection".to_owned())?;
    let mut request = Request::new(CallBody::whole(Pieces::default()));
    *request.method_mut() = Method::GET;
    *request.uri_mut() = http::Uri::from_static("/health");
    let headers = request.headers_mut();
    headers.insert(header::HOST, member.host.clone());
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    match timeout_at(deadline, exchange::send(&mut link, request)).await {
        Ok(Ok(answer)) if answer.status() == StatusCode::OK => Ok(()),
        Ok(Ok(answer)) => Err(format!("status {}", answer.status().as_u16())),
        Ok(Err(_)) => Err("no answer".to_owned()),
        Err(_) => Err("no answer in time".to_owned()),
    }
}
