//! Headers that the gateway sets, keeps, extends or makes (CONTRACT 3).

use crate::harness::{Backend, Call, Client, Gateway, Message, matches, ok};

/// What the backend sees of a legacy call and of a modern one with these headers.
#[track_caller]
fn seen_with(headers: &[(&str, &str)]) -> [Message; 2] {
    let backend = Backend::start(vec![vec![ok("1")]]);
    let gateway = Gateway::before(&[&backend.url()], "");
    [Call::legacy("A=1\n"), Call::modern()].map(|call| {
        backend.rewrite(vec![vec![ok("1")]]);
        let call = headers
            .iter()
            .fold(call, |call, (name, value)| call.header(name, value));
        assert_eq!(gateway.call(&call).status(), 200);
        let message = backend.wait_seen(1).remove(0).message;
        assert_eq!(message.all("host"), [backend.authority()]);
        message
    })
}

fn forwarded_for(message: &Message) -> String {
    message.all("x-forwarded-for").join(",").replace(' ', "")
}

#[test]
fn forwarding_headers_are_set() {
    for seen in seen_with(&[]) {
        assert_eq!(forwarded_for(&seen), "127.0.0.1");
        assert_eq!(seen.all("x-forwarded-proto"), ["http"]);
        assert_eq!(seen.all("x-forwarded-host"), ["gate.test"]);
    }
}

#[test]
fn forwarding_headers_are_kept_or_extended() {
    for seen in seen_with(&[
        ("X-Forwarded-For", "192.0.2.7, 198.51.100.1"),
        ("X-Forwarded-Proto", "https"),
        ("X-Forwarded-Host", "game.test"),
    ]) {
        assert_eq!(forwarded_for(&seen), "192.0.2.7,198.51.100.1,127.0.0.1");
        assert_eq!(seen.all("x-forwarded-proto"), ["https"]);
        assert_eq!(seen.all("x-forwarded-host"), ["game.test"]);
    }
}

#[test]
fn a_good_request_id_is_kept() {
    let longest = "a".repeat(128);
    for id in ["A.b_c-9", &longest] {
        for seen in seen_with(&[("X-Request-Id", id)]) {
            assert_eq!(seen.all("x-request-id"), [id]);
        }
    }
}

#[test]
fn a_bad_request_id_is_replaced() {
    let too_long = "a".repeat(129);
    let bad = [
        vec![],
        vec![("X-Request-Id", "two words")],
        vec![("X-Request-Id", too_long.as_str())],
    ];
    for headers in bad {
        let [one, other] = seen_with(&headers).map(|seen| {
            let ids = seen.all("x-request-id").join("|");
            assert!(
                matches("[A-Za-z0-9._-]{1,128}", &ids) && ids != too_long,
                "{ids:?}"
            );
            ids
        });
        assert_ne!(one, other, "two requests have one id");
    }
}

const TRACE: &str = "[0-9a-f]{32}";
const SPAN: &str = "[0-9a-f]{16}";

#[test]
fn a_good_trace_goes_on_in_a_child_span() {
    let (trace, span) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
    for flags in ["00", "01"] {
        for seen in seen_with(&[("traceparent", &format!("00-{trace}-{span}-{flags}"))]) {
            let made = seen.all("traceparent").join("|");
            let child = format!("00-{trace}-(?!{span}){SPAN}-[0-9a-f]{{2}}");
            assert!(matches(&child, &made), "{made:?}");
        }
    }
}

#[test]
fn a_bad_trace_is_replaced() {
    let zeros = "0".repeat(32);
    for bad in [
        "nonsense",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        &format!("00-{zeros}-00f067aa0ba902b7-01"),
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    ] {
        for seen in seen_with(&[("traceparent", bad)]) {
            let made = seen.all("traceparent").join("|");
            let old = "(?!4bf92f3577b34da6a3ce929d0e0e4736)(?!00000000000000000000000000000000)";
            let fresh = format!("00-{old}{TRACE}-(?!0000000000000000){SPAN}-[0-9a-f]{{2}}");
            assert!(matches(&fresh, &made), "{bad:?} became {made:?}");
        }
    }
    for seen in seen_with(&[]) {
        let made = seen.all("traceparent").join("|");
        assert!(
            matches(&format!("00-{TRACE}-{SPAN}-[0-9a-f]{{2}}"), &made),
            "{made:?}"
        );
    }
}

#[test]
fn hop_by_hop_and_proxy_headers_end_here() {
    for seen in seen_with(&[
        ("Connection", "keep-alive, X-Hop"),
        ("X-Hop", "1"),
        ("Keep-Alive", "timeout=5"),
        ("Proxy-Authorization", "Basic x"),
        ("Proxy-Connection", "keep-alive"),
        ("TE", "trailers"),
        ("X-Envgate-Whatever", "1"),
        ("Authorization", "Bearer x"),
    ]) {
        for gone in [
            "x-hop",
            "keep-alive",
            "proxy-authorization",
            "proxy-connection",
            "te",
            "x-envgate-whatever",
        ] {
            assert!(seen.all(gone).is_empty(), "{gone}: {:?}", seen.headers);
        }
        assert_eq!(seen.all("authorization"), ["Bearer x"]);
    }
}

#[test]
fn a_translated_call_loses_what_its_new_body_makes_untrue() {
    let [legacy, modern] = seen_with(&[
        ("Range", "bytes=0-1"),
        ("If-None-Match", "\"x\""),
        ("Accept-Encoding", "gzip"),
        ("Content-Language", "cs"),
    ]);
    for name in [
        "range",
        "if-none-match",
        "accept-encoding",
        "content-language",
    ] {
        assert!(legacy.all(name).is_empty(), "{name}: {:?}", legacy.headers);
        assert_eq!(modern.all(name).len(), 1, "{name}: {:?}", modern.headers);
    }
}

#[test]
fn one_recipe_is_forwarded_the_one_that_the_instance_is_known_by() {
    let backend = Backend::start(vec![vec![ok("1")]]);
    let gateway = Gateway::before(&[&backend.url()], "");
    for call in [Call::legacy("A=1\n"), Call::modern()] {
        let mut client = Client::connect(&gateway);
        let name = "X-Unisave-Initialization-Recipe-Url";
        let recipes = format!("{name}: http://code/1\r\n{name}: http://code/2\r\n");
        let body = call.body();
        client.send(call.head(&format!("{recipes}Content-Length: {}\r\n", body.len())) + &body);
        assert_eq!(client.read().status(), 200);
    }
    for seen in backend.seen() {
        let recipes = seen.message.all("x-unisave-initialization-recipe-url");
        assert_eq!(recipes, ["http://code/1"]);
    }
}
