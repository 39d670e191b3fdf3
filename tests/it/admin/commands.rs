//! The commands that ask it, and what they say where it doesn't answer.

use std::process::Command;

use super::gateway;
use crate::harness::{Address, Backend, PROGRAM, Step, answer, ok, run};

#[test]
fn the_commands_say_what_to_do_where_there_is_no_admin_api() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let closed_at = closed.local_addr().expect("its address").to_string();
    drop(closed);
    let nobody = run(&["instances", "--admin", &closed_at], "");
    assert_eq!(nobody.code, Some(1));
    assert!(
        nobody.stderr.contains("--set admin.listen=127.0.0.1:9180"),
        "{}",
        nobody.stderr
    );
    assert!(nobody.stderr.contains("refused"), "{}", nobody.stderr);
    let foreign = Backend::start(vec![vec![ok("1")]]);
    let foreign = run(&["drain", "1", "--admin", &foreign.url()], "");
    assert_eq!(foreign.code, Some(1));
    assert!(
        foreign.stderr.contains("isn't the admin API"),
        "{}",
        foreign.stderr
    );
    let gateway = gateway("");
    let Address::Tcp(data) = gateway.address() else {
        panic!("not over TCP")
    };
    let data = run(
        &[
            "explain",
            "--nearest",
            "2913c3455e08",
            "--admin",
            &data.to_string(),
        ],
        "",
    );
    assert!(
        data.stderr.contains("is where an envgate takes calls"),
        "{}",
        data.stderr
    );
    for (arguments, hint) in [
        (
            &["instances", "--admin", "https://x:1"][..],
            "not an address",
        ),
        (
            &["instances", "--token-file", "/nowhere"],
            "--token-file: /nowhere",
        ),
        (&["explain", "--nearest", "xyz"], "not a digest"),
        (&["explain", "--admin", "x:1"], "go with --nearest"),
        (&["drain"], "<ID>"),
    ] {
        let refused = run(arguments, "");
        assert_eq!(refused.code, Some(2), "{arguments:?}: {}", refused.stderr);
        assert!(
            refused.stderr.contains(hint),
            "{arguments:?}: {}",
            refused.stderr
        );
    }
}

/// An instance as the API lists it.
fn row(generation: u64, state: &str, calls: u64) -> String {
    format!(
        r#"{{"id":3,"digest":"2913c3455e08","backend":"b","state":"{state}","generation":{generation},
            "pid":4711,"age_seconds":9,"calls":9,"in_flight":{calls},"queue":0,"rss_bytes":1024,
            "last_error":null}}"#
    )
}

fn says(status: u16, body: &str) -> Vec<Step> {
    let headers = [("Server", "envgate"), ("Connection", "close")];
    vec![answer(status, &headers, body), Step::Close]
}

#[test]
fn draining_waits_until_that_very_process_is_gone() {
    let (draining, next) = (row(1, "draining", 1), row(2, "ready", 1));
    let far = Backend::start(vec![
        says(202, &draining),
        says(200, &format!("[{draining},{next}]")),
        says(200, &format!("[{next}]")),
    ]);
    let drained = run(&["drain", "3", "--admin", &far.url()], "");
    assert_eq!(drained.code, Some(0), "{}", drained.stderr);
    let said = "process 4711 of instance 3 (generation 1) is gone after ";
    assert!(drained.stdout.starts_with(said), "{}", drained.stdout);
    assert_eq!(drained.stderr, "", "no progress where there is no terminal");
    let asked = far.wait_seen(3);
    let asked: Vec<_> = asked
        .iter()
        .map(|seen| seen.message.start.as_str())
        .collect();
    let list = "GET /api/v1/instances HTTP/1.1";
    assert_eq!(
        asked,
        ["POST /api/v1/instances/3/drain HTTP/1.1", list, list]
    );
}

#[test]
fn draining_waits_no_longer_than_it_is_told() {
    let draining = row(1, "draining", 2);
    let far = || {
        let list = says(200, &format!("[{draining}]"));
        Backend::start(vec![says(202, &draining), list])
    };
    let late = run(
        &["drain", "3", "--timeout", "300ms", "--admin", &far().url()],
        "",
    );
    assert_eq!(late.code, Some(1));
    assert!(
        late.stderr
            .contains("still drains after 300ms: 2 calls are left"),
        "{}",
        late.stderr
    );
    let far = far();
    let at_once = run(&["drain", "3", "--no-wait", "--admin", &far.url()], "");
    assert_eq!(
        at_once.stdout,
        "process 4711 of instance 3 (generation 1) drains\n"
    );
    assert_eq!(far.wait_seen(1).len(), 1);
}

#[test]
fn the_variable_names_the_gateway_where_no_flag_does() {
    let gateway = gateway("");
    let list = |address: &str, more: &[&str]| {
        let mut command = Command::new(PROGRAM);
        command.arg("instances").args(more).env_clear();
        command
            .env("ENVGATE_ADMIN", address)
            .output()
            .expect("running envgate")
    };
    assert!(list(gateway.admin(), &[]).status.success());
    assert!(
        list("127.0.0.1:1", &["--admin", gateway.admin()])
            .status
            .success()
    );
    let wrong = list("https://x", &[]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&wrong.stderr).contains("ENVGATE_ADMIN: not an address"));
}
