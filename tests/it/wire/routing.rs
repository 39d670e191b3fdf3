//! Which backend a call goes to, and what no backend can do.

use crate::harness::{Backend, Call, Client, Gateway, Setup, ok};

#[test]
fn the_first_backend_whose_conditions_hold_serves() {
    let [prod, eu, rest] =
        ["\"prod\"", "\"eu\"", "\"rest\""].map(|n| Backend::start(vec![vec![ok(n)]]));
    let gateway = Gateway::start(&format!(
        "[[backend]]\nname = \"prod\"\nurls = [{:?}]\n\
         when = {{ env = {{ ENV_TYPE = \"prod*\" }}, header = {{ \"x-region\" = \"eu\" }} }}\n\
         [[backend]]\nname = \"eu\"\nurls = [{:?}]\nwhen = {{ header = {{ \"x-region\" = \"eu\" }} }}\n\
         [[backend]]\nname = \"rest\"\nurls = [{:?}]\n",
        prod.url(),
        eu.url(),
        rest.url()
    ));
    let asked = |env: &str, region: &str, want: &str| {
        gateway
            .call(&Call::legacy(env).header("X-Region", region))
            .assert_returned(want);
    };
    asked("ENV_TYPE=production\n", "eu", "\"prod\"");
    asked("ENV_TYPE=prod", "eu", "\"prod\"");
    asked("ENV_TYPE=development\n", "eu", "\"eu\"");
    asked("ENV_TYPE=xprod\n", "eu", "\"eu\"");
    asked("A=1\n", "eu", "\"eu\"");
    asked("ENV_TYPE=production\n", "us", "\"rest\"");
    asked("ENV_TYPE=production\n", "eu-west", "\"rest\"");
    gateway
        .call(&Call::legacy("ENV_TYPE=production\n"))
        .assert_returned("\"rest\"");
    let modern = gateway.call(&Call::modern().header("X-Region", "eu"));
    assert!(modern.text().contains("\"eu\""), "{}", modern.text());
}

#[test]
fn no_backend_may_serve_an_env() {
    let backend = Backend::start(vec![vec![ok("1")]]);
    let gateway = Gateway::start(&format!(
        "[[backend]]\nname = \"prod\"\nurls = [{:?}]\nwhen = {{ env = {{ ENV_TYPE = \"prod*\" }} }}\n",
        backend.url()
    ));
    gateway
        .call(&Call::legacy("ENV_TYPE=dev\n"))
        .assert_error(502, 4004);
    gateway
        .call(&Call::legacy("ENV_TYPE=prod\n"))
        .assert_returned("1");
    assert_eq!(backend.seen().len(), 1);
}

/// Before a backend that speaks the legacy dialect.
fn before_legacy(backend: &Backend, env: &str) -> Gateway {
    let url = backend.url();
    Setup::new(&format!(
        "{env}\n[[backend]]\nname = \"b\"\nurls = [{url:?}]\ndialect = \"legacy\"\n"
    ))
    .variable("GAME", "1")
    .start()
}

#[test]
fn a_modern_call_needs_an_env_for_a_legacy_backend() {
    let backend = Backend::start(vec![vec![ok("1")]]);
    let gateway = before_legacy(&backend, "");
    gateway.call(&Call::modern()).assert_error(400, 1102);
    assert!(backend.seen().is_empty());
    gateway.call(&Call::legacy("A=1\n")).assert_returned("1");
}

#[test]
fn a_legacy_backend_has_no_other_kind_of_request() {
    let backend = Backend::start(vec![vec![ok("1")]]);
    let gateway = before_legacy(&backend, "[env]\nfallback = \"deployment\"");
    let call = Call::modern().header("X-Unisave-Request", "Scheduler");
    gateway.call(&call).assert_error(422, 1108);
    assert!(backend.seen().is_empty());
    assert_eq!(gateway.call(&Call::modern()).status(), 200);
}

#[test]
fn another_kind_of_request_is_a_modern_backends_to_answer() {
    let backend = Backend::start(vec![vec![crate::harness::answer(422, &[], "unknown")]]);
    let gateway = Gateway::before(&[&backend.url()], "");
    let answer = gateway.call(&Call::modern().header("X-Unisave-Request", "Scheduler"));
    assert_eq!((answer.status(), answer.text().as_str()), (422, "unknown"));
    assert_eq!(
        backend.seen()[0].message.all("x-unisave-request"),
        ["Scheduler"]
    );
}

#[test]
fn no_header_makes_a_tunnel_a_call() {
    let backend = Backend::start(vec![vec![ok("1")]]);
    let gateway = Gateway::before(&[&backend.url()], "[gateway]\nplain_http = \"forward\"");
    for marked in ["X-Unisave-Request: Facet\r\n", ""] {
        let mut client = Client::connect(&gateway);
        client.send(format!(
            "CONNECT game.test:80 HTTP/1.1\r\nHost: game.test:80\r\n{marked}\r\n"
        ));
        client.read().assert_error(404, 1106);
    }
    assert!(backend.seen().is_empty());
}
