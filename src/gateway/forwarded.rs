//! What the gateway says of a call to the backend: who asked, under which id and trace (CONTRACT 3).

use std::net::IpAddr;

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{self, Entry},
};

use crate::facet::trace::{TraceParent, made_request_id, request_id_is_valid};

pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// The ids that a call goes by: the client's, or made where it sent none that are valid.
#[derive(Debug, Clone)]
pub(super) struct Ids {
    pub(super) request: HeaderValue,
    /// The gateway's own span: a child of the client's, or the root of a trace.
    span: TraceParent,
    is_child: bool,
}

impl Ids {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let kept = headers
            .get(X_REQUEST_ID)
            .filter(|id| request_id_is_valid(id.as_bytes()));
        let request = kept
            .cloned()
            .unwrap_or_else(|| made_request_id(fastrand::u128(..)));
        let mut parents = headers.get_all(TRACEPARENT).iter();
        let parent = match (parents.next(), parents.next()) {
            (Some(only), None) => TraceParent::parse(only.as_bytes()),
            _ => None,
        };
        let span = fastrand::u64(1..);
        let is_child = parent.is_some();
        let span = match parent {
            Some(parent) => parent.child(span),
            None => TraceParent::new(fastrand::u128(1..), span),
        };
        Self {
            request,
            span,
            is_child,
        }
    }

    /// The id of the trace, as 32 hex digits.
    pub(super) fn trace_id(&self) -> String {
        format!("{:032x}", self.span.trace_id())
    }
}

/// Adds the gateway's headers to those that pass. `peer` is `None` behind a Unix socket.
pub(super) fn add(headers: &mut HeaderMap, ids: &Ids, peer: Option<&HeaderValue>) {
    headers.insert(X_REQUEST_ID, ids.request.clone());
    headers.insert(TRACEPARENT, ids.span.to_header());
    if !ids.is_child {
        // The state belongs to a parent that isn't there.
        headers.remove(TRACESTATE);
    }
    if let Some(peer) = peer {
        match headers.entry(X_FORWARDED_FOR) {
            Entry::Vacant(entry) => {
                entry.insert(peer.clone());
            }
            Entry::Occupied(mut entry) => {
                if let Some(chain) = behind(entry.iter(), peer) {
                    entry.insert(chain);
                }
            }
        }
    }
    if let Entry::Vacant(entry) = headers.entry(X_FORWARDED_PROTO) {
        entry.insert(HeaderValue::from_static("http"));
    }
    if let Some(host) = headers.get(header::HOST).cloned()
        && let Entry::Vacant(entry) = headers.entry(X_FORWARDED_HOST)
    {
        entry.insert(host);
    }
}

/// How a client's address is told to backends; written once a connection.
pub(super) fn peer_value(peer: IpAddr) -> Option<HeaderValue> {
    HeaderValue::try_from(peer.to_canonical().to_string()).ok()
}

/// The peer behind those that the call came through before.
fn behind<'a>(
    earlier: impl Iterator<Item = &'a HeaderValue>,
    peer: &HeaderValue,
) -> Option<HeaderValue> {
    let mut chain = Vec::new();
    for earlier in earlier {
        chain.extend_from_slice(earlier.as_bytes());
        chain.extend_from_slice(b", ");
    }
    chain.extend_from_slice(peer.as_bytes());
    HeaderValue::from_maybe_shared(bytes::Bytes::from(chain)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pair = |&(name, value)| {
            (
                HeaderName::from_static(name),
                HeaderValue::from_static(value),
            )
        };
        pairs.iter().map(pair).collect()
    }

    #[test]
    fn the_peer_is_appended_and_what_was_sent_is_kept() {
        let mut headers = map(&[
            ("host", "game.test"),
            ("x-forwarded-for", "10.0.0.1"),
            ("x-forwarded-proto", "https"),
            ("x-request-id", "req-42"),
        ]);
        headers.append("x-forwarded-for", HeaderValue::from_static("10.0.0.2"));
        let ids = Ids::of(&headers);
        let peer = peer_value("::ffff:127.0.0.1".parse().unwrap());
        add(&mut headers, &ids, peer.as_ref());
        assert_eq!(headers.get_all("x-forwarded-for").iter().count(), 1);
        assert_eq!(headers["x-forwarded-for"], "10.0.0.1, 10.0.0.2, 127.0.0.1");
        assert_eq!(headers["x-forwarded-proto"], "https");
        assert_eq!(headers["x-forwarded-host"], "game.test");
        assert_eq!(ids.request, "req-42");
    }

    #[test]
    fn a_bad_id_and_a_bad_trace_are_made_anew() {
        let mut headers = map(&[
            ("x-request-id", "no spaces please"),
            ("traceparent", "00-zz"),
            ("tracestate", "a=1"),
        ]);
        let ids = Ids::of(&headers);
        add(&mut headers, &ids, None);
        assert_eq!(ids.request.len(), 32);
        assert!(!headers.contains_key("tracestate"));
        assert!(!headers.contains_key("x-forwarded-for"));
        let trace = headers["traceparent"].to_str().unwrap();
        assert!(
            trace.starts_with(&format!("00-{}-", ids.trace_id())),
            "{trace}"
        );
    }
}
