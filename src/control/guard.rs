//! Who may ask: whoever brings the token, or, where none is configured, whoever reaches the
//! listener without being a web page.
//!
//! Without a token the listener is a loopback address or a Unix socket, so that reaching it takes
//! an account on this machine. A browser on this machine has that and runs pages that don't: a page
//! can have its own name resolve to 127.0.0.1 (DNS rebinding) and then read what it gets from
//! there, or send a form to it. The former shows in `Host`, which is the page's name and no
//! loopback name; the latter in `Origin`, which commands don't send.

use std::{
    net::IpAddr,
    time::{Duration, Instant},
};

use http::{
    HeaderMap, HeaderValue, StatusCode, Uri,
    header::{AUTHORIZATION, HOST, ORIGIN, WWW_AUTHENTICATE},
    uri::Authority,
};

use axum::response::{IntoResponse, Response};

use super::{problem::Problem, token::Token};
use crate::telemetry::Limiter;

const CHALLENGE: HeaderValue = HeaderValue::from_static("Bearer realm=\"envgate\"");
const WRONG_TOKEN: HeaderValue =
    HeaderValue::from_static("Bearer realm=\"envgate\", error=\"invalid_token\"");

/// Lets requests in or refuses them.
#[derive(Debug)]
pub(super) struct Guard {
    way_in: WayIn,
    refusals: Limiter,
}

/// What a request must show.
#[derive(Debug)]
pub(super) enum WayIn {
    /// The token.
    Token(Token),
    /// That no web page sent it.
    NoPage,
    /// Nothing: no browser speaks over a Unix socket.
    Open,
}

impl Guard {
    pub(super) const fn new(way_in: WayIn) -> Self {
        Self {
            way_in,
            refusals: Limiter::new(Duration::from_secs(1)),
        }
    }

    /// The refusal of a request, where it is refused.
    pub(super) fn refuse(&self, uri: &Uri, headers: &HeaderMap) -> Option<Response> {
        let refusal = match &self.way_in {
            WayIn::Token(token) => refuse_token(token, headers),
            WayIn::NoPage => refuse_page(uri, headers).map(IntoResponse::into_response),
            WayIn::Open => None,
        }?;
        if let Some(held_back) = self.refusals.pass(Instant::now()) {
            let status = refusal.status().as_u16();
            tracing::warn!(status, held_back, "an admin request isn't let in");
        }
        Some(refusal)
    }
}

fn refuse_token(token: &Token, headers: &HeaderMap) -> Option<Response> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (challenge, detail) = match (values.next(), values.next()) {
        (Some(value), None) if bearer(value).is_some_and(|brought| token.is(brought)) => {
            return None;
        }
        (None, _) => (
            CHALLENGE,
            "bring the token in the gateway's admin.token_file: Authorization: Bearer TOKEN",
        ),
        (Some(_), _) => (
            WRONG_TOKEN,
            "that isn't the token that was in the gateway's admin.token_file when it started",
        ),
    };
    let mut response = Problem::new(StatusCode::UNAUTHORIZED, detail).into_response();
    response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    Some(response)
}

/// The token of a `Bearer` credential.
fn bearer(value: &HeaderValue) -> Option<&[u8]> {
    let (scheme, token) = value.as_bytes().split_at_checked(7)?;
    scheme
        .eq_ignore_ascii_case(b"bearer ")
        .then(|| token.trim_ascii())
}

fn refuse_page(uri: &Uri, headers: &HeaderMap) -> Option<Problem> {
    let hosts = headers.get_all(HOST).iter();
    let hosts = hosts.map(|host| Authority::try_from(host.as_bytes()).ok());
    // A request target of absolute form counts above `Host` (RFC 9112 3.2.2): both must be ours.
    let mut hosts = hosts.chain(uri.authority().cloned().map(Some)).peekable();
    let is_named = hosts.peek().is_some();
    if !is_named || !hosts.all(|host| host.is_some_and(|host| is_loopback(host.host()))) {
        return Some(Problem::new(
            StatusCode::MISDIRECTED_REQUEST,
            "Host must be localhost or a loopback address; \
             to use another name set admin.token_file",
        ));
    }
    headers.contains_key(ORIGIN).then(|| {
        Problem::new(
            StatusCode::FORBIDDEN,
            "web pages may not use the admin API; to let one that has a token set admin.token_file",
        )
    })
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    match address.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(way_in: WayIn, uri: &str, headers: &[(&'static str, &'static str)]) -> Option<u16> {
        let headers = headers.iter().map(|&(name, value)| {
            let name = http::HeaderName::from_static(name);
            (name, HeaderValue::from_static(value))
        });
        let mut all = HeaderMap::new();
        for (name, value) in headers {
            all.append(name, value);
        }
        let refusal = Guard::new(way_in).refuse(&uri.parse().unwrap(), &all);
        refusal.map(|refusal| {
            let is_challenged = refusal.headers().contains_key(WWW_AUTHENTICATE);
            assert_eq!(is_challenged, refusal.status() == 401);
            refusal.status().as_u16()
        })
    }

    #[test]
    fn without_a_token_only_loopback_names_are_let_in() {
        let with_host = |host| refused(WayIn::NoPage, "/", &[("host", host)]);
        for ours in [
            "localhost",
            "LocalHost:9180",
            "127.0.0.1:1",
            "127.9.9.9",
            "[::1]:9180",
        ] {
            assert_eq!(with_host(ours), None, "{ours}");
        }
        for other in [
            "",
            "evil.test",
            "localhost.evil.test",
            "127.0.0.1.nip.io:9180",
            "10.0.0.1",
            "0.0.0.0:9180",
            "localhost@evil.test",
            "a b",
        ] {
            assert_eq!(with_host(other), Some(421), "{other}");
        }
        assert_eq!(refused(WayIn::NoPage, "/", &[]), Some(421));
        let two = [("host", "localhost"), ("host", "evil.test")];
        assert_eq!(refused(WayIn::NoPage, "/", &two), Some(421));
        let absolute = "http://evil.test/api";
        let host = [("host", "localhost")];
        assert_eq!(refused(WayIn::NoPage, absolute, &host), Some(421));
        assert_eq!(refused(WayIn::NoPage, "http://localhost/api", &host), None);
    }

    #[test]
    fn without_a_token_no_page_is_let_in() {
        let page = [("host", "localhost"), ("origin", "http://evil.test")];
        assert_eq!(refused(WayIn::NoPage, "/", &page), Some(403));
        assert_eq!(refused(WayIn::Open, "/", &page), None);
        assert_eq!(refused(WayIn::Open, "/", &[]), None);
    }

    #[test]
    fn a_token_must_be_brought_once_and_right() {
        let token = || WayIn::Token(Token::new(b"0123456789abcdef"));
        let with = |value| refused(token(), "/", &[("authorization", value)]);
        assert_eq!(with("Bearer 0123456789abcdef"), None);
        assert_eq!(with("bearer  0123456789abcdef"), None);
        for wrong in [
            "",
            "Bearer",
            "Bearer ",
            "0123456789abcdef",
            "Basic 0123456789abcdef",
            "Bearer 0123456789abcdeF",
            "Bearer 0123456789abcdef, Bearer x",
        ] {
            assert_eq!(with(wrong), Some(401), "{wrong}");
        }
        assert_eq!(refused(token(), "/", &[("host", "evil.test")]), Some(401));
        let right = ("authorization", "Bearer 0123456789abcdef");
        assert_eq!(refused(token(), "/", &[right, right]), Some(401));
        assert_eq!(refused(token(), "/", &[right, ("host", "evil.test")]), None);
    }
}
