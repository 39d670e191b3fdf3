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
pub(super) async fn all(members: &Members) {
    let mut probes = JoinSet::new();
    for member in members.all().iter().map(Arc::clone) {
        probes.spawn(async move {
            let well = is_well(&member).await;
            if member.unwell.swap(!well, Relaxed) == well {
                tracing::warn!(%member, well, "a member's health changed");
            }
        });
    }
    while probes.join_next().await.is_some() {}
}

async fn is_well(member: &Member) -> bool {
    let deadline = Instant::now() + PROBE_TIMEOUT;
    let Ok(mut link) = connect(member, deadline).await else {
        return false;
    };
    let mut request = Request::new(CallBody::whole(Pieces::default()));
    *request.method_mut() = Method::GET;
    *request.uri_mut() = http::Uri::from_static("/health");
    request
        .headers_mut()
        .insert(header::HOST, member.host.clone());
    request
        .headers_mut()
        .insert(header::CONNECTION, HeaderValue::from_static("close"));
    let answer = timeout_at(deadline, exchange::send(&mut link, request)).await;
    matches!(answer, Ok(Ok(answer)) if answer.status() == StatusCode::OK)
}
