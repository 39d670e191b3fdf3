//! The real program under its watchdog.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::process::ExitStatusExt,
    process::{Child, Command, Stdio},
};

use super::{NEVER_STARTED, child_of, finish, lives, may_unshare, soon, watchdog_over};
use crate::harness::{Backend, Call, Client, DEADLINE, Gateway, PROGRAM, Setup, Step, ok, signal};

fn watched(settings: &str) -> Gateway {
    Setup::new(settings).start()
}

/// A watched gateway with one call that its backend holds.
fn with_a_call_running() -> (Backend, Gateway, Client) {
    let backend = Backend::start(vec![vec![Step::Hold, ok("1")]]);
    let url = backend.url();
    let gateway = watched(&format!(
        "[gateway]\nshutdown_grace = \"60s\"\n{NEVER_STARTED}[[backend]]\nname = \"b\"\nurls = [{url:?}]"
    ));
    let client = Client::connect(&gateway);
    client.send(Call::legacy("A=1\n").bytes());
    backend.wait_seen(1);
    (backend, gateway, client)
}

#[test]
fn one_sigterm_drains_once() {
    for name in ["TERM", "INT"] {
        let (backend, mut gateway, mut running) = with_a_call_running();
        signal(gateway.pid(), name);
        gateway.wait_stderr("draining", |text| text.contains("draining;"));
        gateway.call(&Call::legacy("A=1\n")).assert_error(503, 1000);
        backend.release_all();
        running.read().assert_returned("1");
        assert_eq!(gateway.wait_exit(DEADLINE).code(), Some(0));
    }
}

#[test]
fn a_second_sigterm_ends_at_once() {
    let (_backend, mut gateway, _running) = with_a_call_running();
    gateway.drain();
    gateway.terminate();
    assert_eq!(gateway.wait_exit(DEADLINE).code(), Some(0));
}

#[test]
fn a_killed_gateway_is_told_by_the_status() {
    for (name, number) in [("KILL", 9), ("QUIT", 3), ("USR1", 10)] {
        let mut gateway = watched("");
        signal(child_of(gateway.pid()), name);
        assert_eq!(
            gateway.wait_exit(DEADLINE).code(),
            Some(128 + number),
            "{name}"
        );
    }
}

#[test]
fn other_signals_are_passed_on() {
    for (name, number) in [("USR1", 10), ("USR2", 12), ("QUIT", 3)] {
        let mut gateway = watched("");
        // Nothing takes them in the gateway, so it dies of them; the watchdog tells, and doesn't.
        signal(gateway.pid(), name);
        let status = gateway.wait_exit(DEADLINE);
        assert_eq!(
            (status.code(), status.signal()),
            (Some(128 + number), None),
            "{name}"
        );
    }
}

#[test]
fn the_gateways_own_failure_is_told_by_the_status() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let status = Command::new(PROGRAM)
        .args(["serve", "--listen", &address])
        .env_clear()
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(1));
    for code in [0, 7, 255] {
        assert_eq!(
            finish(&mut watchdog_over(&format!("exit {code}"))).code(),
            Some(code)
        );
    }
}

#[test]
fn a_gateway_without_its_watchdog_ends() {
    let (_backend, mut gateway, _running) = with_a_call_running();
    let inner = child_of(gateway.pid());
    signal(gateway.pid(), "KILL");
    soon("the gateway ends", || !lives(inner));
    assert_eq!(gateway.wait_exit(DEADLINE).signal(), Some(9));
    gateway.wait_stderr("why", |text| text.contains("the watchdog is gone"));
}

#[test]
fn a_gateway_that_another_claims_to_watch_doesnt_start() {
    let ended = Command::new(PROGRAM)
        .args(["serve", "--listen", "127.0.0.1:0"])
        .env_clear()
        .env("ENVGATE_WATCHDOG", "1")
        .output()
        .unwrap();
    assert_eq!(ended.status.code(), Some(1));
    let said = String::from_utf8(ended.stderr).unwrap();
    assert!(said.contains("ENVGATE_WATCHDOG"), "{said}");
}

#[test]
fn a_configuration_that_can_be_read_only_once_is_refused() {
    let script = "echo '[gateway]' | \"$0\" serve --config /dev/stdin";
    let ended = Command::new("sh")
        .args(["-c", script, PROGRAM])
        .output()
        .unwrap();
    assert_eq!(ended.status.code(), Some(2));
    let said = String::from_utf8(ended.stderr).unwrap();
    assert!(said.contains("/dev/stdin"), "{said}");
}

#[test]
fn a_hangup_that_nohup_ignores_stays_ignored() {
    let script = "trap '' HUP; exec \"$0\" serve --listen 127.0.0.1:0";
    let mut started = started(Command::new("sh").args(["-c", script, PROGRAM]));
    signal(started.id(), "HUP");
    signal(child_of(started.id()), "HUP");
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert!(started.try_wait().unwrap().is_none());
    signal(started.id(), "TERM");
    assert_eq!(started.wait().unwrap().code(), Some(0));
}

/// Starts a watched gateway in some other way, and waits until it listens.
#[track_caller]
fn started(command: &mut Command) -> Child {
    let mut child = command
        .stderr(Stdio::piped())
        .spawn()
        .expect("starting a gateway");
    let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
    let listens = lines.find(|line| line.as_ref().is_ok_and(|line| line.contains("listening")));
    assert!(listens.is_some(), "it ended before it listened");
    // What it says from now on is taken, so that it needn't wait or fail.
    std::thread::spawn(move || lines.for_each(drop));
    child
}

#[test]
fn it_serves_as_pid_1() {
    if !may_unshare() {
        return;
    }
    let mut unshare = Command::new("unshare");
    let unshare = unshare
        .args(["--pid", "--fork", "--mount-proc", "--kill-child", PROGRAM])
        .args(["serve", "--listen", "127.0.0.1:0"]);
    let mut started = started(unshare);
    signal(child_of(started.id()), "TERM");
    assert_eq!(started.wait().unwrap().code(), Some(0));
}

#[test]
fn no_other_process_of_the_same_user_reads_its_variables() {
    let is_root = rustix::process::geteuid().is_root();
    let as_nobody = || {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
        command
    };
    // Where nobody else may look, a copy is needed; root itself may read anything.
    let place = tempfile::Builder::new()
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .tempdir()
        .unwrap();
    let program = place.path().join("envgate");
    fs::copy(PROGRAM, &program).unwrap();
    let by_user = |program: &std::ffi::OsStr| match is_root {
        true => {
            let mut command = as_nobody();
            command.arg(program);
            command
        }
        false => Command::new(program),
    };
    let mut serve = by_user(program.as_os_str());
    serve.args(["serve", "--listen", "127.0.0.1:0"]);
    let mut started = started(&mut serve);
    let reads = |pid: u32| {
        let mut cat = by_user("cat".as_ref());
        let cat = cat
            .arg(format!("/proc/{pid}/environ"))
            .stderr(Stdio::null());
        cat.stdout(Stdio::null()).status().unwrap().success()
    };
    // What isn't hidden can be read in the very same way.
    let mut plain = by_user("sleep".as_ref()).arg("60").spawn().unwrap();
    soon("an environment can be read", || reads(plain.id()));
    plain.kill().unwrap();
    plain.wait().unwrap();
    assert!(!reads(started.id()), "the watchdog's");
    assert!(!reads(child_of(started.id())), "the gateway's");
    signal(started.id(), "TERM");
    assert_eq!(started.wait().unwrap().code(), Some(0));
}
