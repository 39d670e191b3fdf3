//! What the launcher sets up, and how it tells what it can't.

use super::*;

#[tokio::test]
async fn a_process_leads_a_group_with_default_signals_and_no_stray_descriptors() {
    let bench = Bench::python("inherit", IN_FILES, "");
    let first = bench.start().await.unwrap();
    assert_is_set_up(&first);
    let spare = bench.prepare();
    let second = bench.start().await.unwrap();
    assert_eq!(second.pid(), spare);
    assert_is_set_up(&second);
}

fn assert_is_set_up(process: &Process) {
    let proc = PathBuf::from(format!("/proc/{}", process.pid()));
    let stat = fs::read_to_string(proc.join("stat")).unwrap();
    let fields: Vec<_> = stat
        .rsplit_once(')')
        .unwrap()
        .1
        .split_whitespace()
        .collect();
    assert_eq!(fields[2], process.pid().to_string());
    let status = fs::read_to_string(proc.join("status")).unwrap();
    assert!(status.contains("SigBlk:\t0000000000000000"), "{status}");
    let stdin = fs::read_link(proc.join("fd/0")).unwrap();
    assert_eq!(stdin, Path::new("/dev/null"));
    eventually("the probe's connection is closed", || {
        let descriptors = fs::read_dir(proc.join("fd")).unwrap().flatten();
        let mut names: Vec<_> = descriptors.map(|entry| entry.file_name()).collect();
        names.sort();
        (names == ["0", "1", "2", "3"]).then_some(())
    });
}

#[tokio::test]
async fn sigpipe_ends_a_worker_as_it_should() {
    let bench = Bench::shell("kill -PIPE $$\nsleep 1000", "", LONG);
    let error = bench.start().await.unwrap_err();
    assert!(
        error.to_string().contains("signal: 13 (SIGPIPE)"),
        "{error}"
    );
}

#[tokio::test]
async fn what_the_launcher_can_not_do_is_told() {
    for (command, config, expected) in [
        (
            "/no/such/program",
            "",
            "can't run the command: No such file or directory (os error 2) (exit status 127)",
        ),
        (
            "/",
            "",
            "can't run the command: Permission denied (os error 13) (exit status 126)",
        ),
        (
            "true",
            "cwd = \"/no/such\"",
            "can't enter its directory: No such file or directory (os error 2) (exit status 125)",
        ),
    ] {
        let bench = Bench::new(&[command], "", config, "", LONG);
        let error = bench.start().await.unwrap_err();
        assert!(matches!(error, StartError::Launch(_)), "{error}");
        let error = error.to_string();
        assert!(error.contains(expected), "{error}");
    }
}

/// Its descendants are still known by their marker, as where there are no cgroups.
#[tokio::test]
async fn a_worker_that_cant_enter_its_cgroup_is_started() {
    let bench = Bench::python("inherit", "", "");
    let process = bench.start_with(Some("/no/such".into())).await.unwrap();
    process.stop(LONG).await.unwrap();
}

#[tokio::test]
async fn limits_hold_in_the_worker() {
    let config = "limits = { memory = \"1 GiB\", open_files = 50 }";
    let bench = Bench::python("inherit", config, "");
    let process = bench.start().await.unwrap();
    let limits = fs::read_to_string(format!("/proc/{}/limits", process.pid())).unwrap();
    let line = |name: &str| {
        let line = limits
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap();
        line.split_whitespace()
            .take(2)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(line("Max address space"), ["1073741824", "1073741824"]);
    assert_eq!(line("Max open files"), ["50", "50"]);
}

/// Needs the right to change the user, as in the containers that CI runs in.
#[tokio::test]
async fn each_instance_of_a_range_has_a_user_of_its_own() {
    if fs::read_to_string("/proc/self/status")
        .unwrap()
        .contains("CapEff:\t0000000000000000")
    {
        return;
    }
    let config = "user = \"range:23450-23451\"\ninherit = [\"PATH\"]";
    for way in ["inherit", "{socket}", "{port}"] {
        // The script's directory is the test's alone.
        let listen = if way == "inherit" {
            "\nlisten = \"inherit\""
        } else {
            ""
        };
        let config = format!("{config}{listen}\ncwd = \"/\"");
        let bench = Bench::new(&["python3", "-c", WORKER, way], "", &config, "", LONG);
        let first = bench.start().await.unwrap();
        let second = bench.start().await.unwrap();
        for (process, user) in [(&first, "23450"), (&second, "23451")] {
            let status = fs::read_to_string(format!("/proc/{}/status", process.pid())).unwrap();
            for name in ["Uid", "Gid"] {
                let expected = format!("{name}:\t{user}\t{user}\t{user}\t{user}\n");
                assert!(status.contains(&expected), "{status}");
            }
            assert!(status.contains(&format!("Groups:\t{user} \n")), "{status}");
        }
        let error = bench.start().await.unwrap_err();
        assert!(matches!(error, StartError::NoUser), "{error}");
    }
}

#[test]
fn a_launcher_alone_is_refused() {
    for (arguments, code, expected) in [
        (
            &["launch"][..],
            125,
            "envgate launch: can't read its arguments\n",
        ),
        (
            &["launch", "--parent", "1", "--", "true"],
            125,
            "envgate launch: can't tie its life to the gateway's\n",
        ),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_envgate"))
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(code));
        assert_eq!(String::from_utf8_lossy(&output.stderr), expected);
    }
}
