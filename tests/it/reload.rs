//! `envgate reload`: a running gateway follows its changed configuration, and nobody else is
//! signalled.

use std::{fs, path::PathBuf, process::Command};

use crate::harness::{Backend, Call, Gateway, PROGRAM, Setup, TempFile, eventually, ok, run};

fn backend(name: &str, url: &str) -> String {
    format!("[[backend]]\nname = {name:?}\nurls = [{url:?}]\n")
}

/// The file that a gateway was started with.
fn config_of(gateway: &Gateway) -> PathBuf {
    let arguments = fs::read_to_string(format!("/proc/{}/cmdline", gateway.pid())).unwrap();
    let mut arguments = arguments.split('\0').skip_while(|word| *word != "--config");
    arguments.nth(1).expect("it was told a file").into()
}

#[track_caller]
fn reload(gateway: &Gateway) {
    let reloaded = run(&["reload", &gateway.pid().to_string()], "");
    assert_eq!(reloaded.code, Some(0), "{}", reloaded.stderr);
    assert_eq!((reloaded.stdout, reloaded.stderr), Default::default());
}

#[test]
fn a_running_gateway_follows_its_file() {
    let (before, after) = (
        Backend::start(vec![vec![ok("1")]]),
        Backend::start(vec![vec![ok("2")]]),
    );
    let gateway = Gateway::start(&backend("before", &before.url()));
    gateway.call(&Call::legacy("A=1\n")).assert_returned("1");
    fs::write(config_of(&gateway), backend("after", &after.url())).unwrap();
    reload(&gateway);
    gateway.wait_stderr("it says what is new", |log| {
        log.contains("reading the configuration anew")
            && log.contains("new=\"after\" gone=\"before\"")
    });
    gateway.call(&Call::legacy("A=1\n")).assert_returned("2");
}

#[test]
fn under_a_watchdog_either_process_may_be_named() {
    let gateway = Setup::new("").start();
    let children = format!("/proc/{0}/task/{0}/children", gateway.pid());
    let inner = fs::read_to_string(children).unwrap();
    let far = Backend::start(vec![vec![ok("1")]]);
    fs::write(config_of(&gateway), backend("own", &far.url())).unwrap();
    let times = |log: &str| log.matches("the new configuration is in force").count();
    reload(&gateway);
    gateway.wait_stderr("it follows", |log| times(log) == 1);
    let reloaded = run(&["reload", inner.trim()], "");
    assert_eq!(reloaded.code, Some(0), "{}", reloaded.stderr);
    gateway.wait_stderr("it follows again", |log| times(log) == 2);
    gateway.call(&Call::legacy("A=1\n")).assert_returned("1");
}

#[test]
fn a_wrong_configuration_is_told_and_nothing_is_sent() {
    let far = Backend::start(vec![vec![ok("1")]]);
    let gateway = Gateway::start(&backend("b", &far.url()));
    let wrong = TempFile::new("wrong.toml", "[gateway]\nlisteen = 1\n");
    let pid = gateway.pid().to_string();
    let refused = run(&["reload", "--config", wrong.path(), &pid], "");
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("wrong.toml:2"),
        "{}",
        refused.stderr
    );
    let right = config_of(&gateway);
    let sent = run(&["reload", "--config", right.to_str().unwrap(), &pid], "");
    assert_eq!(sent.code, Some(0), "{}", sent.stderr);
    // The second one's news would come after the first one's.
    let log = gateway.wait_stderr("it was told", |log| log.contains("anew"));
    assert_eq!(log.matches("anew").count(), 1, "{log}");
}

#[test]
fn who_is_no_gateway_is_refused_and_lives_on() {
    let mut sleep = Command::new("sleep").arg("1000").spawn().unwrap();
    let mut worker = Command::new(PROGRAM)
        .args(["worker", "--listen", "127.0.0.1:0", "--framework", "0.12.0"])
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    for child in [&mut sleep, &mut worker] {
        let refused = run(&["reload", &child.id().to_string()], "");
        assert_eq!(refused.code, Some(1), "{}", refused.stderr);
        let told = refused.stderr.contains("is no gateway");
        assert!(told, "{}", refused.stderr);
        assert!(child.try_wait().unwrap().is_none(), "it was signalled");
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let gone = run(&["reload", &sleep.id().to_string()], "");
    assert_eq!(gone.code, Some(1));
    assert!(
        gone.stderr.contains("there is no process"),
        "{}",
        gone.stderr
    );
    for wrong in ["0", "-1", "all"] {
        assert_eq!(run(&["reload", "--", wrong], "").code, Some(2), "{wrong}");
    }
}

#[test]
fn a_gateway_that_ignores_the_signal_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let ready = directory.path().join("ready.json");
    let script = "trap '' HUP; exec \"$0\" serve --listen 127.0.0.1:0 --ready-file \"$1\"";
    let mut gateway = Command::new("sh")
        .args(["-c", script, PROGRAM, ready.to_str().unwrap()])
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    eventually("it listens", || ready.exists().then_some(()));
    let refused = run(&["reload", &gateway.id().to_string()], "");
    gateway.kill().unwrap();
    gateway.wait().unwrap();
    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("ignores SIGHUP"),
        "{}",
        refused.stderr
    );
}
