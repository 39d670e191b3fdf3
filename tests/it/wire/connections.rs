//! Keep-alive, pipelining, Unix sockets, plain HTTP.

use crate::harness::{Backend, Call, Client, Gateway, Setup, Step, answer, ok, ok_modern};

fn backend() -> Backend {
    Backend::start(vec![vec![ok("1")]])
}

#[test]
fn connections_are_used_again_on_both_sides() {
    let backend = backend();
    let gateway = Gateway::before(&[&backend.url()], "");
    let mut client = Client::connect(&gateway);
    for env in ["A=1", "A=2", "A=1"] {
        client.call(&Call::legacy(env)).assert_returned("1");
        assert_eq!(client.call(&Call::modern()).status(), 200);
    }
    let connections: Vec<_> = backend.seen().iter().map(|seen| seen.connection).collect();
    assert_eq!(connections, [0; 6]);
}

#[test]
fn pipelined_calls_are_answered_in_order() {
    let each = |n: usize| {
        let body = ok_modern(&n.to_string());
        vec![
            Step::Delay(std::time::Duration::from_millis(30 - 10 * n as u64)),
            answer(200, &[], &body),
        ]
    };
    let backend = Backend::start((0..3).map(each).collect());
    let gateway = Gateway::before(&[&backend.url()], "");
    let mut client = Client::connect(&gateway);
    let calls: Vec<u8> = (0..3)
        .flat_map(|n| Call::legacy("A=1\n").method(&format!("M{n}")).bytes())
        .collect();
    client.send(calls);
    for n in 0..3 {
        client.read().assert_returned(&n.to_string());
    }
    let paths: Vec<_> = backend
        .seen()
        .iter()
        .map(|s| s.message.path().to_owned())
        .collect();
    assert_eq!(paths, ["/EchoFacet/M0", "/EchoFacet/M1", "/EchoFacet/M2"]);
}

#[test]
fn an_error_leaves_the_connection_to_its_client() {
    let backend = backend();
    let gateway = Gateway::before(&[&backend.url()], "");
    let mut client = Client::connect(&gateway);
    client.call(&Call::legacy("A=1\0")).assert_error(400, 1104);
    client
        .call(&Call::legacy("").without_env())
        .assert_error(400, 1102);
    client.call(&Call::legacy("A=1")).assert_returned("1");
}

#[test]
fn both_sides_may_be_unix_sockets() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = |name: &str| directory.path().join(name);
    let backend = Backend::start_unix(path("worker.sock"), vec![vec![ok("1")]]);
    let listen = format!("unix:{}", path("gate.sock").display());
    let gateway = Gateway::before(
        &[&backend.url()],
        &format!("[gateway]\nlisten = [{listen:?}]"),
    );
    gateway.call(&Call::legacy("A=1\n")).assert_returned("1");
    assert_eq!(gateway.call(&Call::modern()).status(), 200);
    assert_eq!(gateway.get("/health").text(), "OK\n");
    assert_eq!(backend.seen().len(), 2);
}

#[test]
fn it_listens_at_several_addresses() {
    let backend = backend();
    let listen = "[gateway]\nlisten = [\"127.0.0.1:0\", \"127.0.0.1:0\"]";
    let gateway = Gateway::before(&[&backend.url()], listen);
    let addresses = gateway.addresses();
    assert_eq!(addresses.len(), 2, "{addresses:?}");
    for address in addresses {
        Client::connect_to(address)
            .call(&Call::legacy("A=1\n"))
            .assert_returned("1");
    }
}

fn get(gateway: &Gateway, path: &str) -> crate::harness::Message {
    let mut client = Client::connect(gateway);
    client.send(format!(
        "GET {path} HTTP/1.1\r\nHost: x\r\nCookie: a=1\r\nX-Envgate-Env: a/b\r\n\r\n"
    ));
    client.read()
}

#[test]
fn plain_http_is_rejected() {
    let backend = backend();
    let gateway = Gateway::before(&[&backend.url()], "");
    get(&gateway, "/a/page?x=1").assert_error(404, 1106);
    assert!(backend.seen().is_empty());
}

#[test]
fn plain_http_is_forwarded_where_configured() {
    let page = answer(
        404,
        &[("Content-Type", "text/html"), ("Set-Cookie", "a=2")],
        "<p>none</p>",
    );
    let backend = Backend::start(vec![vec![page]]);
    let gateway = Gateway::before(&[&backend.url()], "[gateway]\nplain_http = \"forward\"");
    let answer = get(&gateway, "/a/page?x=1%20y&z");
    assert_eq!(
        (answer.status(), answer.text().as_str()),
        (404, "<p>none</p>")
    );
    assert_eq!(answer.all("set-cookie"), ["a=2"]);
    assert_eq!(answer.header("x-unisave-worker-error"), None);
    let seen = &backend.seen()[0].message;
    assert!(
        seen.start.starts_with("GET /a/page?x=1%20y&z HTTP/1.1"),
        "{}",
        seen.start
    );
    assert_eq!(
        (seen.header("cookie"), seen.header("x-envgate-env")),
        (Some("a=1"), None)
    );
    // The gateway's own pages stay its own, and so does the envelope's place.
    assert_eq!(gateway.get("/health").text(), "OK\n");
    assert!(gateway.metrics().names().count() > 0);
    let mut client = Client::connect(&gateway);
    client.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi");
    client.read().assert_error(400, 1100);
    assert_eq!(backend.seen().len(), 1);
}

#[test]
fn plain_http_isnt_forwarded_to_a_legacy_backend() {
    let backend = backend();
    let config = format!(
        "[gateway]\nplain_http = \"forward\"\n[env]\nfallback = \"deployment\"\n\
         [[backend]]\nname = \"b\"\nurls = [{:?}]\ndialect = \"legacy\"",
        backend.url()
    );
    let gateway = Setup::new(&config).start();
    get(&gateway, "/a/page").assert_error(404, 1106);
    assert!(backend.seen().is_empty());
}

#[test]
fn a_backend_of_http_1_0_is_none_of_the_clients_business() {
    let old = |body: &str| {
        let length = body.len();
        Step::Raw(format!("HTTP/1.0 200 OK\r\nContent-Length: {length}\r\n\r\n{body}").into())
    };
    let backend = Backend::start(vec![vec![old(&ok_modern("1")), Step::Close]]);
    let gateway = Gateway::before(&[&backend.url()], "");
    let mut client = Client::connect(&gateway);
    for call in [Call::legacy("A=1"), Call::modern(), Call::legacy("A=1")] {
        let answer = client.call(&call);
        assert!(
            answer.start.starts_with("HTTP/1.1 200 "),
            "{}",
            answer.start
        );
    }
}
