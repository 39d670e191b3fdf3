//! The gateway's own variables as env, and who may name code then (CONTRACT 6).

use crate::harness::{Backend, Call, Gateway, Json, Setup, ok};

const RECIPE: &str = "X-Unisave-Initialization-Recipe-Url";

fn setup(backend: &Backend, gateway: &str, dialect: &str) -> Setup {
    let url = backend.url();
    Setup::new(&format!(
        "{gateway}\n[env]\nsource = \"deployment\"\n\
         [[backend]]\nname = \"b\"\nurls = [{url:?}]\ndialect = \"{dialect}\"\n"
    ))
}

fn backend() -> Backend {
    Backend::start(vec![vec![ok("1")]])
}

#[test]
fn a_legacy_backend_gets_the_gateways_variables() {
    let backend = backend();
    let gateway = setup(&backend, "", "legacy")
        .variable("ZED", "last=1")
        .variable("ALPHA", "1")
        .variable("ENVGATE_SECRET", "no")
        .variable("MULTI", "one\ntwo")
        .variable("OUTER", " space ")
        .variable("EMPTY", "")
        .start();
    gateway.call(&Call::legacy("EVIL=1\n")).assert_returned("1");
    gateway
        .call(&Call::legacy("").without_env())
        .assert_returned("1");
    assert_eq!(gateway.call(&Call::modern()).status(), 200);
    for seen in backend.seen() {
        let body = seen.message.json();
        let env = body.at("env").and_then(Json::text);
        assert_eq!(env, Some("ALPHA=1\nEMPTY=\nZED=last=1\n"));
    }
    assert_eq!(backend.seen().len(), 3);
    for name in ["MULTI", "OUTER"] {
        gateway.wait_stderr(&format!("{name} is left out"), |text| text.contains(name));
    }
}

#[test]
fn the_fallback_is_for_modern_calls_only() {
    let backend = backend();
    let url = backend.url();
    let gateway = Setup::new(&format!(
        "[env]\nfallback = \"deployment\"\n\
         [[backend]]\nname = \"b\"\nurls = [{url:?}]\ndialect = \"legacy\"\n"
    ))
    .variable("GAME", "chess")
    .start();
    assert_eq!(gateway.call(&Call::modern()).status(), 200);
    gateway.call(&Call::legacy("A=1\n")).assert_returned("1");
    gateway
        .call(&Call::legacy("").without_env())
        .assert_error(400, 1102);
    let envs: Vec<_> = backend
        .seen()
        .iter()
        .map(|seen| seen.message.json())
        .collect();
    let envs: Vec<_> = envs
        .iter()
        .map(|body| body.at("env").and_then(Json::text))
        .collect();
    assert_eq!(envs, [Some("GAME=chess\n"), Some("A=1\n")]);
}

/// What the backend sees of the recipe header in a legacy and in a modern call.
fn recipes(gateway: &Gateway, backend: &Backend) -> Vec<Option<String>> {
    for call in [Call::legacy(""), Call::modern()] {
        let call = call
            .header(RECIPE, "http://evil.test/code")
            .header("X-Envgate-Env", "a/b");
        assert_eq!(gateway.call(&call).status(), 200);
    }
    let seen = backend.seen();
    assert!(
        seen.iter()
            .all(|seen| seen.message.header("x-envgate-env").is_none())
    );
    seen.iter()
        .map(|seen| seen.message.header(RECIPE).map(str::to_owned))
        .collect()
}

#[test]
fn an_untrusted_peer_names_no_code() {
    let backend = backend();
    let gateway = setup(&backend, "[gateway]\ntrusted_peers = []", "modern").start();
    assert_eq!(recipes(&gateway, &backend), [None, None]);
}

#[test]
fn a_trusted_peer_names_code() {
    let backend = backend();
    let gateway = setup(&backend, "", "modern").start();
    let named = Some("http://evil.test/code".to_owned());
    assert_eq!(recipes(&gateway, &backend), [named.clone(), named]);
}

#[test]
fn a_client_that_brings_its_env_brings_its_code() {
    let backend = backend();
    let gateway = Gateway::before(&[&backend.url()], "[gateway]\ntrusted_peers = []");
    let call = Call::legacy("A=1\n").header(RECIPE, "http://own.test/code");
    gateway.call(&call).assert_returned("1");
    assert_eq!(
        backend.seen()[0].message.all(RECIPE),
        ["http://own.test/code"]
    );
}
