//! What the system doesn't give: descriptors, processes.

use std::{fs, process::Command};

use super::*;

/// Waits until a call of this env is served.
#[track_caller]
fn recovers(bench: &Bench, env: &str) {
    eventually("it recovers", || {
        let answer = bench.gateway.call(&pid_call(env));
        (answer.status() == 200).then_some(())
    });
}

#[test]
fn without_descriptors_a_start_is_refused_and_works_again_with_them() {
    let config = format!("[gateway]\nfirst_byte_timeout = \"60s\"\n{}", sample(""));
    let setup = Setup::new(&config);
    let setup = setup.under(&["/bin/sh", "-c", "ulimit -n 64; exec \"$@\"", "sh"]);
    let bench = Bench::with(setup);
    let mut first = Client::connect(&bench.gateway);
    first.send("GET /health HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(first.read().status(), 200);
    let idle: Vec<_> = (0..100).map(|_| Client::connect(&bench.gateway)).collect();
    bench
        .gateway
        .wait_stderr("connections can't be accepted", |log| {
            log.contains("a connection can't be accepted")
        });
    let refused = first.call(&pid_call("A=1\n"));
    refused.assert_error(503, 2003);
    drop(idle);
    recovers(&bench, "A=1\n");
    bench.finish();
}

/// The gateway as a user of its own, whose processes are then counted and bounded. Needs root's
/// rights.
#[test]
fn without_processes_a_start_is_refused_and_works_again_with_them() {
    let user = fastrand::u32(100_000..1_000_000).to_string();
    let setpriv = [
        "setpriv",
        "--reuid",
        &user,
        "--regid",
        &user,
        "--clear-groups",
    ];
    let tried = Command::new(setpriv[0])
        .args(&setpriv[1..])
        .args([PROGRAM, "--version"])
        .output();
    if !tried.is_ok_and(|tried| tried.status.success()) {
        eprintln!("skipped: no gateway can be run as another user here");
        return;
    }
    let setup = Setup::new(&sample(""));
    let id = user.parse().ok();
    std::os::unix::fs::chown(setup.directory(), id, id)
        .expect("the right to give a directory away");
    let bench = Bench::with(setup.under(&setpriv));
    let gateway = marked(&bench.mark)
        .into_iter()
        .find(|pid| *pid != bench.gateway.pid());
    let gateway = gateway.expect("a gateway below its watchdog");
    bound(&setpriv, gateway, "--nproc=1:");
    bench
        .gateway
        .call(&pid_call("A=1\n"))
        .assert_error(503, 2003);
    assert!(fs::exists(format!("/proc/{gateway}")).expect("/proc"));
    bound(&setpriv, gateway, "--nproc=10000:");
    recovers(&bench, "A=1\n");
    bench.finish();
}

/// Sets a limit of a process, as its own user.
#[track_caller]
fn bound(setpriv: &[&str], pid: u32, limit: &str) {
    let bounded = Command::new(setpriv[0])
        .args(&setpriv[1..])
        .args(["prlimit", "--pid", &pid.to_string(), limit])
        .status();
    assert!(bounded.is_ok_and(|status| status.success()), "prlimit");
}
