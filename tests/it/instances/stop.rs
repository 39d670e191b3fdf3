//! How instances end: those that don't want to, and what they leave behind.

use std::{
    fs,
    os::unix::fs::OpenOptionsExt,
    time::{Duration, Instant},
};

use super::*;

#[test]
fn one_that_ignores_sigterm_is_killed_after_its_grace() {
    let script = "signal.signal(signal.SIGTERM, signal.SIG_IGN); run(inherited())";
    let bench = Bench::start(&python(script, "stop_grace = \"500ms\""));
    let pid = bench.pid("A=1\n");
    let began = Instant::now();
    bench.finish();
    assert!(!is_there(pid));
    assert!(
        began.elapsed() >= Duration::from_millis(500),
        "{:?}",
        began.elapsed()
    );
}

/// Asked how it is, it says nothing; that must hold up nobody who wants it to end.
#[test]
fn one_that_is_being_asked_how_it_is_ends_at_once() {
    let script = "asked = []\n\
                  def health(c):\n  \
                  if asked: print('asked again', flush=True); time.sleep(1000)\n  \
                  asked.append(1); answer(c, 'OK')\n\
                  run(inherited())";
    let bench = Bench::start(&python(script, "health_interval = \"100ms\""));
    let pid = bench.pid("A=1\n");
    bench
        .gateway
        .wait_stderr("it is asked", |log| log.contains("asked again"));
    let began = Instant::now();
    bench.finish();
    assert!(!is_there(pid));
    // A question waits for its answer for 2 s.
    assert!(
        began.elapsed() < Duration::from_millis(1500),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn one_that_heeds_sigterm_gets_its_grace_for_its_last_words() {
    let script = "def last(*_):\n  time.sleep(0.2); open(sys.argv[1], 'w').close(); os._exit(0)\n\
                  signal.signal(signal.SIGTERM, last); run(inherited())";
    let files = tempfile::tempdir().expect("a directory");
    let words = files.path().join("words");
    let python = Program::interpreter();
    let command = [
        &python,
        "-c",
        &format!("{PYTHON}{script}"),
        words.to_str().expect("a path"),
    ];
    let bench = Bench::start(&backend(&command, "stop_grace = \"10s\""));
    bench.pid("A=1\n");
    bench.finish();
    assert!(words.exists());
}

/// Each instance leaves two processes in sessions of their own behind: one with its environment,
/// one without. They go with their instance, not with the gateway.
#[test]
fn what_left_the_group_goes_with_its_instance() {
    for environment in ["os.environ", "{}"] {
        // Its argument is a text that no other process has.
        let token = unique("daemon-");
        let script = format!(
            "def daemon():\n  \
             if os.fork(): os.wait(); return\n  \
             os.setsid()\n  \
             if os.fork(): os._exit(0)\n  \
             os.execve(sys.executable, [sys.executable, '-S', '-c', 'import time; time.sleep(1000)', '{token}'], {environment})\n\
             daemon(); run(inherited())"
        );
        let bench = Bench::start(&format!(
            "[instances]\nidle_timeout = \"1s\"\n{}",
            python(&script, "")
                .replace(&token, "TOKEN")
                .replace("'TOKEN'", &format!("'{token}'"))
        ));
        let pid = bench.pid("A=1\n");
        let daemon = eventually("the daemon runs", || {
            marked(&format!("time.sleep(1000)\0{token}"))
                .first()
                .copied()
        });
        assert_ne!(daemon, pid);
        bench.wait_gone(pid);
        bench.wait_gone(daemon);
        // A new one has a new daemon, which goes with the gateway.
        bench.pid("A=1\n");
        let daemon = eventually("the daemon runs", || {
            marked(&format!("time.sleep(1000)\0{token}"))
                .first()
                .copied()
        });
        bench.finish();
        assert!(!is_there(daemon), "{environment}");
    }
}

/// Nobody reads the gateway's stderr, where the workers' output goes: neither they nor the calls
/// wait for that.
#[test]
fn a_flood_of_output_that_nobody_reads_stops_nothing() {
    let script = "def call(c, path, body):\n  \
                  for i in range(2000): print('x' * 1000)\n  \
                  sys.stdout.flush(); returned(c, os.getpid())\n\
                  run(inherited())";
    let setup = Setup::new(&python(script, ""));
    let pipe = setup.directory().join("stderr");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.is_ok_and(|status| status.success()), "mkfifo");
    // Opened for both, so that a writer finds a reader, who never reads.
    let held = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .mode(0o600)
        .open(&pipe);
    let held = held.expect("a pipe");
    let pipe = pipe.to_str().expect("a path").to_owned();
    let bench = Bench::with(setup.under(&["/bin/sh", "-c", "exec \"$@\" 2> \"$0\"", &pipe]));
    let pids: BTreeSet<_> = (0..10).map(|_| bench.pid("A=1\n")).collect();
    assert_eq!(pids.len(), 1);
    let pids: BTreeSet<_> = (0..10).map(|i| bench.pid(&format!("A={i}\n"))).collect();
    assert_eq!(pids.len(), 10);
    // Nor does the end wait, whoever brings it.
    crate::harness::signal(bench.gateway.pid(), "KILL");
    eventually("gateway and workers are gone", || {
        marked(&bench.mark).is_empty().then_some(())
    });
    drop(held);
}
