//! From configured URLs to the addresses of members.
//!
//! A name that stands for several addresses stands for as many members: behind a headless service
//! each worker is told apart, which affinity needs.

use std::{collections::HashSet, net::IpAddr, sync::Arc, time::Duration};

use tokio::{net::lookup_host, time::timeout};

use super::{host_of, member::Found, members::Members};
use crate::backend::{Address, UpstreamUrl};

/// How long a name may take; then its members stay what they were.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

/// The members whose address is known without asking.
pub(super) fn without_names(urls: &[UpstreamUrl]) -> Vec<Found> {
    urls.iter().filter_map(literal).collect()
}

fn literal(url: &UpstreamUrl) -> Option<Found> {
    let address = match url {
        UpstreamUrl::Tcp { host, port } => {
            Address::Tcp((host.parse::<IpAddr>().ok()?, *port).into())
        }
        UpstreamUrl::Unix(path) => Address::Unix(path.clone()),
    };
    Some(Found {
        address,
        host: host_of(url),
    })
}

/// Asks for every name again. A name that can't be resolved keeps the members it had: workers
/// outlive a name server's bad minute.
pub(super) async fn refresh(backend: &str, urls: &[UpstreamUrl], members: &Arc<Members>) {
    if urls.iter().all(|url| literal(url).is_some()) {
        return;
    }
    let mut found = Vec::new();
    for url in urls {
        match (literal(url), url) {
            (Some(literal), _) => found.push(literal),
            (None, UpstreamUrl::Tcp { host, port }) => {
                found.extend(look_up(backend, host, *port, url, members).await);
            }
            (None, UpstreamUrl::Unix(_)) => {}
        }
    }
    // Two names of one worker must not make it two members: it would run calls for both.
    let mut seen = HashSet::new();
    found.retain(|found| seen.insert(found.address.clone()));
    let before = members.all();
    let same = before.len() == found.len()
        && found.iter().all(|found| {
            before
                .iter()
                .any(|old| old.endpoint.address == found.address)
        });
    if !same {
        tracing::info!(
            backend,
            before = before.len(),
            now = found.len(),
            "the members changed"
        );
        members.replace(&found);
    }
}

async fn look_up(
    backend: &str,
    host: &str,
    port: u16,
    url: &UpstreamUrl,
    members: &Arc<Members>,
) -> Vec<Found> {
    let host_header = host_of(url);
    let failure = match timeout(LOOKUP_TIMEOUT, lookup_host((host, port))).await {
        Ok(Ok(addresses)) => {
            let found = |address| Found {
                address: Address::Tcp(address),
                host: host_header.clone(),
            };
            let mut found: Vec<_> = addresses.map(found).collect();
            found.sort_by_key(|found| found.address.to_string());
            found.dedup_by(|a, b| a.address == b.address);
            if !found.is_empty() {
                return found;
            }
            "no address".to_owned()
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => "no answer in time".to_owned(),
    };
    tracing::warn!(backend, %url, failure, "a member's name can't be resolved; it keeps the addresses it had");
    let all = members.all();
    let kept = all
        .iter()
        .filter(|member| member.endpoint.host == host_header);
    kept.map(|member| Found {
        address: member.endpoint.address.clone(),
        host: member.endpoint.host.clone(),
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Balance;

    #[tokio::test]
    async fn two_names_of_one_address_are_one_member() {
        let urls = ["http://localhost:1", "http://127.0.0.1:1"];
        let urls: Vec<UpstreamUrl> = urls.iter().map(|url| url.parse().unwrap()).collect();
        let members = Arc::new(Members::new(Balance::LeastRequests, Some(1), None));
        refresh("b", &urls, &members).await;
        let all = members.all();
        let addresses: HashSet<_> = all.iter().map(|member| &member.endpoint.address).collect();
        assert_eq!((addresses.len(), all.is_empty()), (all.len(), false));
    }
}
