//! Members that can't be reached.

use std::collections::BTreeSet;

use crate::harness::{Backend, Call, Gateway, Refusing, ok};

#[test]
fn a_refusing_member_is_unreachable() {
    let refusing = Refusing::new();
    let gateway = Gateway::before(&[&refusing.url()], "");
    // The last member is never taken out: each call tries it, and each says the same.
    for _ in 0..3 {
        gateway.call(&Call::legacy("A=1\n")).assert_error(502, 4000);
        gateway.call(&Call::modern()).assert_error(502, 4000);
    }
}

#[test]
fn a_missing_socket_is_unreachable() {
    let directory = tempfile::tempdir().expect("a directory");
    let url = format!("unix:{}", directory.path().join("none.sock").display());
    let gateway = Gateway::before(&[&url], "");
    gateway.call(&Call::legacy("A=1\n")).assert_error(502, 4000);
}

#[test]
fn another_member_serves_what_one_refuses() {
    for balance in ["env_affinity", "least_requests"] {
        let refusing = Refusing::new();
        let backend = Backend::start(vec![vec![ok("1")]]);
        let urls = [refusing.url(), backend.url()];
        let gateway = Gateway::start(&format!(
            "[[backend]]\nname = \"b\"\nurls = {urls:?}\nbalance = \"{balance}\"\n"
        ));
        for n in 0..24 {
            let call = Call::legacy(&format!("A={n}\n")).method(&format!("M{n}"));
            gateway.call(&call).assert_returned("1");
        }
        let seen = backend.seen();
        let paths: BTreeSet<_> = seen.iter().map(|seen| seen.message.path()).collect();
        assert_eq!(
            (seen.len(), paths.len()),
            (24, 24),
            "each call is sent once"
        );
    }
}
