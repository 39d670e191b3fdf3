//! Launchers that are started ahead.

use std::{
    io::Write,
    os::{fd::OwnedFd, unix::net::UnixStream},
};

use super::*;

#[tokio::test]
async fn a_spare_comes_after_the_first_process_and_goes_with_the_last() {
    let bench = Bench::python("inherit", IN_FILES, "");
    bench.backend.prepare(&bench.host);
    assert_eq!(bench.spare(), None);
    let first = bench.start().await.unwrap();
    let spare = bench.prepare();
    assert_eq!(bench.prepare(), spare);
    let second = bench.start().await.unwrap();
    assert_eq!(second.pid(), spare);
    let spare = bench.prepare();
    first.stop(LONG).await.unwrap();
    assert_eq!(bench.spare(), Some(spare));
    second.stop(LONG).await.unwrap();
    gone(spare);
}

#[tokio::test]
async fn each_way_of_listening_works_by_a_spare() {
    for way in ["inherit", "{socket}", "{port}"] {
        let bench = Bench::python(way, IN_FILES, "");
        let _first = bench.start().await.unwrap();
        let spare = bench.prepare();
        let second = bench.start().await.unwrap();
        assert_eq!(second.pid(), spare);
        assert!(matches!(second.probe_health().await, Health::Well));
        let ended = second.stop(LONG).await;
        assert!(ended.is_some());
        gone(spare);
    }
}

#[tokio::test]
async fn a_spare_that_was_killed_fails_no_start() {
    let bench = Bench::python("inherit", IN_FILES, "");
    let _first = bench.start().await.unwrap();
    for restarts in [false, true] {
        let spare = bench.prepare();
        crate::harness::signal(spare.try_into().unwrap(), "KILL");
        eventually("it is dead", || {
            let stat = fs::read_to_string(format!("/proc/{spare}/stat")).unwrap();
            stat.contains(") Z ").then_some(())
        });
        if restarts {
            assert_ne!(bench.prepare(), spare);
        }
        let second = bench.start().await.unwrap();
        assert_ne!(second.pid(), spare);
        gone(spare);
    }
}

#[tokio::test]
async fn what_a_spare_can_not_execute_is_told() {
    let script = "rm -- \"$0\"; exec PYTHON -c \"$CODE\" inherit";
    let script = script.replace("PYTHON", &python());
    let config = format!("{IN_FILES}\nlisten = \"inherit\"\nenv = {{ CODE = {WORKER:?} }}");
    let bench = Bench::new(
        &["WORKER"],
        &format!("#!/bin/sh\n{script}"),
        &config,
        "",
        LONG,
    );
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    fs::set_permissions(bench.files.path().join("worker"), mode).unwrap();
    let _first = bench.start().await.unwrap();
    bench.prepare();
    let error = bench.start().await.unwrap_err();
    let error = error.to_string();
    assert!(
        error.contains("can't run the command: No such file"),
        "{error}"
    );
}

/// Needs the right to change the user.
#[tokio::test]
async fn a_spare_has_a_user_of_its_own_and_leaves_it_to_who_needs_it() {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    if status.contains("CapEff:\t0000000000000000") {
        return;
    }
    // The script's directory is the test's alone.
    let config = "user = \"range:23460-23461\"\ncwd = \"/\"\nlisten = \"inherit\"";
    let command = ["python3", "-c", WORKER, "inherit"];
    let [bench, other] = [(); 2].map(|()| Bench::new(&command, "", config, "", LONG));
    let user = |process: &Process| {
        let status = fs::read_to_string(format!("/proc/{}/status", process.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("Uid:\t"));
        line.unwrap()[..5].to_owned()
    };
    let first = bench.start().await.unwrap();
    bench.backend.prepare(&bench.host);
    let second = bench.start().await.unwrap();
    assert_eq!([user(&first), user(&second)], ["23460", "23461"]);
    second.stop(LONG).await.unwrap();
    bench.backend.prepare(&bench.host);
    let third = other.start_on(&bench.host, None).await.unwrap();
    assert_eq!(user(&third), "23461");
    let error = bench.start().await.unwrap_err();
    assert!(matches!(error, StartError::NoUser), "{error}");
}

#[test]
fn no_order_is_no_worker() {
    for (told, code, said) in [
        (&b""[..], 0, ""),
        (
            b"\x08\0\0\0\x01",
            125,
            "envgate launch: can't read its order\n",
        ),
    ] {
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        ours.write_all(told).unwrap();
        drop(ours);
        let parent = std::process::id().to_string();
        let output = Command::new(env!("CARGO_BIN_EXE_envgate"))
            .args(["launch", "--parent", &parent, "--waits", "0", "--"])
            .stdin(OwnedFd::from(theirs))
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(code));
        assert!(output.stdout.is_empty());
        assert_eq!(String::from_utf8_lossy(&output.stderr), said);
    }
}
