//! What a request is, told from its head alone (CONTRACT 2, 3, 8).

use http::{Method, header::HeaderMap, request};

use crate::facet::headers;

/// What a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
    /// `GET /health`.
    Health,
    /// `GET /metrics`.
    Metrics,
    /// An envelope in `POST /`.
    LegacyCall,
    /// A request that says it is modern, of whatever kind.
    ModernCall,
    /// Anything else.
    PlainHttp,
}

pub(super) fn route(head: &request::Parts) -> Route {
    // A tunnel is nothing that a gateway of calls opens, whatever its headers say.
    if head.method == Method::CONNECT {
        return Route::PlainHttp;
    }
    if is_modern(&head.headers) {
        return Route::ModernCall;
    }
    let reads = matches!(head.method, Method::GET | Method::HEAD);
    match head.uri.path() {
        "/" if head.method == Method::POST => Route::LegacyCall,
        "/health" if reads => Route::Health,
        "/metrics" if reads => Route::Metrics,
        _ => Route::PlainHttp,
    }
}

/// Any value of the header marks a modern request.
fn is_modern(headers: &HeaderMap) -> bool {
    headers.contains_key(headers::X_UNISAVE_REQUEST)
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn of(method: &str, uri: &str, modern: bool) -> Route {
        let mut request = Request::builder().method(method).uri(uri);
        if modern {
            request = request.header("x-unisave-request", "");
        }
        route(&request.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn requests_are_told_apart_by_head() {
        assert_eq!(of("POST", "/", false), Route::LegacyCall);
        assert_eq!(of("POST", "/?x=1", false), Route::LegacyCall);
        assert_eq!(of("POST", "http://game.test/", false), Route::LegacyCall);
        assert_eq!(of("POST", "/", true), Route::ModernCall);
        assert_eq!(of("POST", "/F/M", true), Route::ModernCall);
        assert_eq!(of("CONNECT", "game.test:80", true), Route::PlainHttp);
        assert_eq!(of("GET", "/health", false), Route::Health);
        assert_eq!(of("GET", "/health", true), Route::ModernCall);
        assert_eq!(of("HEAD", "/metrics", false), Route::Metrics);
        for (method, uri) in [
            ("GET", "/"),
            ("POST", "/F/M"),
            ("POST", "/health"),
            ("PUT", "/"),
            ("CONNECT", "game.test:80"),
        ] {
            assert_eq!(of(method, uri, false), Route::PlainHttp, "{method} {uri}");
        }
    }
}
