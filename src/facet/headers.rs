//! Which headers pass (CONTRACT 3 and 4).
//!
//! Each function takes away from a map in place, in one walk and without an allocation: most calls
//! lose a few fixed names. What the gateway sets, it sets behind them, so that a `Connection` header
//! that names something essential does no harm.

use http::{HeaderMap, HeaderName, HeaderValue, header};

/// Marks a modern request, and names its kind.
pub const X_UNISAVE_REQUEST: HeaderName = HeaderName::from_static("x-unisave-request");
/// Marks an answer that the gateway or a worker made itself.
pub const X_UNISAVE_WORKER_ERROR: HeaderName = HeaderName::from_static("x-unisave-worker-error");
/// Marks a framework's crash answer.
pub const X_UNISAVE_ERROR_RESPONSE: HeaderName =
    HeaderName::from_static("x-unisave-error-response");
/// Names the code that a lazily initialised worker downloads.
pub const X_UNISAVE_INITIALIZATION_RECIPE_URL: HeaderName =
    HeaderName::from_static("x-unisave-initialization-recipe-url");
/// Names a registered env.
pub const X_ENVGATE_ENV: HeaderName = HeaderName::from_static("x-envgate-env");

/// What of a client's headers goes with a call that is written anew. `X-Unisave-Request` goes too:
/// it belongs to the dialect. `Content-Type` stays, to be replaced.
pub fn translated_request(headers: &mut HeaderMap) {
    remove(headers, |name| {
        matches!(
            name,
            "accept-encoding" | "cookie" | "expect" | "range" | "x-unisave-request"
        ) || (name.starts_with("content-") && name != "content-type")
            || name.starts_with("if-")
            || is_for_gateways(name)
    });
}

/// What of a client's headers goes with a request that is streamed.
pub fn streamed_request(headers: &mut HeaderMap) {
    remove(headers, |name| name == "expect" || is_for_gateways(name));
}

/// What of a backend's headers goes with an answer that is written anew. `Content-Type` and `Server`
/// stay, to be replaced.
pub fn translated_answer(headers: &mut HeaderMap) {
    remove(headers, |name| {
        matches!(
            name,
            "accept-ranges"
                | "content-digest"
                | "content-length"
                | "content-md5"
                | "digest"
                | "etag"
                | "last-modified"
                | "repr-digest"
                | "set-cookie"
        )
    });
}

/// What of a backend's headers goes with an answer that passes as it is.
pub fn streamed_answer(headers: &mut HeaderMap) {
    remove(headers, |_| false);
}

/// A header value of text that the gateway writes: ASCII without controls.
pub(super) fn visible_ascii(text: String) -> HeaderValue {
    // Every writer here percent-encodes or prints digits, so the text is always a value.
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""))
}

fn is_for_gateways(name: &str) -> bool {
    name.starts_with("proxy-") || name.starts_with("x-envgate-")
}

fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// Removes the hop-by-hop headers, those that `Connection` names, and those that `also` says.
fn remove(headers: &mut HeaderMap, also: impl Fn(&str) -> bool) {
    for name in named_by_connection(headers) {
        headers.remove(name);
    }
    loop {
        // A map can't change while it is walked, so names are set aside, a handful at a time.
        let mut unwanted = [const { None }; 8];
        let names = headers.keys().filter(|name| {
            let name = name.as_str();
            is_hop_by_hop(name) || also(name)
        });
        for (place, name) in unwanted.iter_mut().zip(names) {
            *place = Some(name.clone());
        }
        let more = unwanted.last().is_some_and(Option::is_some);
        for name in unwanted.into_iter().flatten() {
            headers.remove(name);
        }
        if !more {
            return;
        }
    }
}

/// The headers that belong to the connection because it says so. Empty, and not allocated, for the
/// options that everybody sends.
fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    headers
        .get_all(header::CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|option| {
            !option.eq_ignore_ascii_case(b"keep-alive") && !option.eq_ignore_ascii_case(b"close")
        })
        .filter_map(|option| HeaderName::from_bytes(option).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(of: &str, by: fn(&mut HeaderMap)) -> String {
        let mut headers = HeaderMap::new();
        for line in of.split(" | ") {
            let (name, value) = line.split_once(": ").unwrap_or((line, "x"));
            headers.append(
                HeaderName::from_bytes(name.as_bytes()).unwrap(),
                HeaderValue::from_str(value).unwrap(),
            );
        }
        by(&mut headers);
        let mut left: Vec<_> = headers
            .iter()
            .map(|(name, value)| match value.to_str().unwrap() {
                "x" => name.to_string(),
                value => format!("{name}: {value}"),
            })
            .collect();
        left.sort_by_key(|line| line.split(':').next().map(str::to_owned));
        left.join(" | ")
    }

    const HOP_BY_HOP: &str = "Keep-Alive | Proxy-Connection | TE | Trailer | Transfer-Encoding | Upgrade | \
         Connection: keep-alive, X-Hop | X-Hop | Connection: close ,, @, Host | Host";

    #[test]
    fn a_translated_call_loses_what_was_about_its_old_form() {
        let dropped = "Cookie | Content-Length | Content-Encoding | Content-Anything | \
             Accept-Encoding | Expect | Range | If-Match | If-None-Match | If-Modified-Since | \
             If-Range | Proxy-Authorization | X-Envgate-Env | X-Envgate-Other | X-Unisave-Request";
        assert_eq!(left(dropped, translated_request), "");
        let kept = "accept | authorization | content-type | host | origin | traceparent | user-agent | \
             x-custom: 1 | x-custom: 2 | x-custom: 1 | x-request-id | \
             x-unisave-initialization-recipe-url";
        assert_eq!(
            left(&format!("{kept} | {dropped}"), translated_request),
            kept
        );
    }

    #[test]
    fn a_streamed_call_keeps_all_but_its_hop() {
        assert_eq!(
            left(
                "Cookie | Content-Type | If-Match | Range | Accept-Encoding | Proxy-Authorization | \
                 X-Envgate-Env | Expect | X-Unisave-Request",
                streamed_request
            ),
            "accept-encoding | content-type | cookie | if-match | range | x-unisave-request"
        );
    }

    #[test]
    fn a_translated_answer_loses_what_the_new_body_makes_untrue() {
        assert_eq!(
            left(
                "Set-Cookie: a | Set-Cookie: b | Content-Type | Content-Length | Content-MD5 | Digest | \
                 Repr-Digest | Content-Digest | ETag | Last-Modified | Accept-Ranges | Server | Date | \
                 X-Game: 1 | Cache-Control",
                translated_answer
            ),
            "cache-control | content-type | date | server | x-game: 1"
        );
    }

    #[test]
    fn a_streamed_answer_keeps_all_but_its_hop() {
        let kept = "content-length | content-type | etag | server | set-cookie: a | set-cookie: b";
        assert_eq!(left(kept, streamed_answer), kept);
    }

    #[test]
    fn no_way_passes_hop_by_hop_headers_or_those_that_connection_names() {
        for way in [
            translated_request,
            streamed_request,
            translated_answer,
            streamed_answer,
        ] {
            assert_eq!(left(&format!("{HOP_BY_HOP} | X-Custom"), way), "x-custom");
        }
    }
}
