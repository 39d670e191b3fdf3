//! The watchdog: signals and statuses pass, nothing is left when either it or the gateway is gone.

mod descendants;
mod gateway;
mod terminal;

use std::{
    fs,
    process::{Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use crate::harness::eventually;

/// How long anything may live that is to die with another.
const SOON: Duration = Duration::from_secs(1);

/// What tells a test binary in a process of its own which part it plays.
const SCRIPT: &str = "ENVGATE_TEST_SCRIPT";

/// A command that runs one ignored test of this binary: a part that needs a process of its own.
fn part(name: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this test's own program"));
    command
        .args(["--exact", name, "--ignored", "--nocapture"])
        .args(["--test-threads", "1"])
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    command
}

/// A watchdog over a shell in the place of the gateway.
fn watchdog_over(script: &str) -> Command {
    let mut command = part("watchdog::as_a_watchdog");
    command.env(SCRIPT, script);
    command
}

#[test]
#[ignore = "a part that other tests have played in a process of its own"]
fn as_a_watchdog() {
    use envgate::backend::process::watchdog;

    let Ok(script) = std::env::var(SCRIPT) else {
        return;
    };
    let mut gateway = Command::new("sh");
    gateway.args(["-c", &script]);
    let status = watchdog::run_supervised(gateway).expect("a watchdog");
    std::process::exit(status.into());
}

/// A backend that makes the gateway one with processes, and gets no call.
const NEVER_STARTED: &str =
    "[[backend]]\nname = \"p\"\ncommand = [\"true\"]\nwhen = { env = { NEVER = \"?\" } }\n";

/// An argument for `sleep`, of five minutes, that no other process has.
fn token() -> String {
    format!("300.{}", fastrand::u64(1_000_000_000..))
}

/// The PIDs of the processes that sleep for this token.
fn sleepers(token: &str) -> Vec<u32> {
    let wanted = format!("sleep\0{token}\0");
    let is_sleeper = |pid: &u32| {
        let command = fs::read(format!("/proc/{pid}/cmdline"));
        command.is_ok_and(|command| command == wanted.as_bytes())
    };
    pids().into_iter().filter(is_sleeper).collect()
}

fn pids() -> Vec<u32> {
    let entries = fs::read_dir("/proc").expect("/proc").flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter_map(|name| name.parse().ok()).collect()
}

/// Waits until so many processes sleep for this token.
#[track_caller]
fn wait_sleepers(token: &str, count: usize) {
    eventually(&format!("{count} processes sleep {token}"), || {
        (sleepers(token).len() == count).then_some(())
    });
}

/// A field of `/proc/PID/stat`, counted from the state as 0; None where there is no such process.
fn stat(pid: u32, field: usize) -> Option<String> {
    let line = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields = line.rsplit_once(')')?.1;
    fields
        .split_ascii_whitespace()
        .nth(field)
        .map(str::to_owned)
}

/// The one child of a process.
#[track_caller]
fn child_of(parent: u32) -> u32 {
    eventually("a child", || {
        let mut all = pids().into_iter();
        all.find(|pid| stat(*pid, 1) == Some(parent.to_string()))
    })
}

/// Whether a process hasn't ended.
fn lives(pid: u32) -> bool {
    stat(pid, 0).is_some_and(|state| state != "Z" && state != "X")
}

/// Waits until something holds, at most as long as what is to die may live.
#[track_caller]
fn soon(what: &str, holds: impl Fn() -> bool) {
    let until = Instant::now() + SOON;
    while !holds() {
        assert!(Instant::now() < until, "not within {SOON:?}: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[track_caller]
fn finish(command: &mut Command) -> ExitStatus {
    command.status().expect("starting a part")
}

/// Whether this machine lets us have a PID namespace of our own, as root may.
fn may_unshare() -> bool {
    let tried = Command::new("unshare")
        .args(["--pid", "--fork", "--mount-proc", "true"])
        .stderr(Stdio::null())
        .status();
    tried.is_ok_and(|status| status.success())
}
