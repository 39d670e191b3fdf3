//! What the system doesn't give: descriptors, processes.

use std::{
    fs,
    process::Command,
    time::{Duration, Instant},
};

use super::*;
use crate::harness::burst;

/// Waits until a call of this env is served.
#[track_caller]
fn recovers(bench: &Bench, env: &str) {
    eventually("it recovers", || {
        let answer = bench.gateway.call(&pid_call(env));
        (answer.status() == 200).then_some(())
    });
}

/// A gateway that soon has no descriptors left, and a connection to it.
fn with_few_descriptors(backend: &str) -> (Bench, Client) {
    let config = format!("[gateway]\nfirst_byte_timeout = \"60s\"\nthreads = 1\n{backend}");
    let setup = Setup::new(&config);
    let bench = Bench::with(setup.under(&["/bin/sh", "-c", "ulimit -n 64; exec \"$@\"", "sh"]));
    let mut first = Client::connect(&bench.gateway);
    first.send("GET /health HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(first.read().status(), 200);
    (bench, first)
}

/// Takes all descriptors that the gateway has left, by connections that rest.
fn exhaust(bench: &Bench) -> Vec<Client> {
    let idle = (0..100).map(|_| Client::connect(&bench.gateway)).collect();
    bench
        .gateway
        .wait_stderr("connections can't be accepted", |log| {
            log.contains("a connection can't be accepted")
        });
    idle
}

/// That the gateway can't ask an instance how it is says nothing of the instance.
#[test]
fn without_descriptors_what_runs_is_kept() {
    let (bench, mut first) = with_few_descriptors(&sample("health_interval = \"100ms\""));
    let pid = returned_pid(&first.call(&pid_call("A=1\n")));
    let idle = exhaust(&bench);
    // It would be asked twice meanwhile.
    let until = Instant::now() + Duration::from_millis(2200);
    while Instant::now() < until {
        assert_eq!(returned_pid(&first.call(&pid_call("A=1\n"))), pid);
        std::thread::sleep(Duration::from_millis(20));
    }
    drop(idle);
    bench.finish();
}

#[test]
fn without_descriptors_a_start_is_refused_and_works_again_with_them() {
    let (bench, mut first) = with_few_descriptors(&sample(""));
    let idle = exhaust(&bench);
    let refused = first.call(&pid_call("A=1\n"));
    refused.assert_error(503, 2003);
    drop(idle);
    recovers(&bench, "A=1\n");
    bench.finish();
}

/// Its queue of connections is full: it is busy, not gone.
#[test]
fn one_that_takes_few_connections_at_once_is_waited_for() {
    let script = "s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen(1)\n\
                  def answer(c, body):\n  \
                  c.sendall(b'HTTP/1.1 200 OK\\r\\nConnection: close\\r\\nContent-Length: %d\\r\\n\\r\\n%s' % (len(body), body))\n\
                  while True:\n  \
                  c, _ = s.accept(); path = c.recv(1 << 16).split()[1]\n  \
                  if path == b'/health': answer(c, b'OK'); c.close(); continue\n  \
                  time.sleep(0.05); answer(c, b'{\"status\":\"ok\",\"returned\":%d,\"logs\":[]}' % os.getpid()); c.close()";
    let python = Program::interpreter();
    let command = [&python, "-c", &format!("{PYTHON}{script}"), "{socket}"];
    let bench = Bench::start(&backend(&command, ""));
    let first = bench.pid("A=1\n");
    let answers = burst(&bench.gateway, &vec![pid_call("A=1\n"); 10]);
    let pids: Vec<_> = answers
        .iter()
        .map(|(_, answer)| returned_pid(&answer))
        .collect();
    assert_eq!(pids, [first; 10]);
    assert_eq!(bench.starts("ready"), 1);
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
