//! The end of what left its instance's group, with real processes below real watchdogs.

use std::{
    os::unix::process::CommandExt,
    process::{Child, Command},
    time::{Duration, Instant},
};

use envgate::backend::process::custody::{Cgroups, Descendants, Process, runtime_parent};
use rustix::process::{Pid, Signal, getppid, kill_process, kill_process_group};

use super::{
    SOON, finish, may_unshare, part, sleepers, soon, stat, token, wait_sleepers, watchdog_over,
};
use crate::harness::{DEADLINE, eventually, unique};

/// Starts what leaves its group in every way, all of it asleep for one token, and then `rest`.
fn leaving(token: &str, rest: &str) -> String {
    format!(
        "(setsid sleep {token} &); (env -i setsid sleep {token} &); setsid sleep {token} & \
         (setsid sh -c 'trap \"\" TERM HUP; (setsid sleep {token} &); sleep {token}; true' &); \
         sh -c 'sleep {token} & sleep 0.1; kill -STOP $!' & {rest}"
    )
}

/// How many of those there are.
const LEAVING: usize = 6;

#[test]
fn what_a_killed_gateway_leaves_is_killed() {
    let token = token();
    let mut watchdog = watchdog_over(&leaving(&token, "sleep 60"));
    let mut watchdog = watchdog.spawn().unwrap();
    wait_sleepers(&token, LEAVING);
    let gateway = eventually("the shell", || {
        let mut shells = super::pids().into_iter();
        shells.find(|pid| stat(*pid, 1) == Some(watchdog.id().to_string()) && is_the_shell(*pid))
    });
    crate::harness::signal(gateway, "KILL");
    soon("nothing is left", || sleepers(&token).is_empty());
    soon("the watchdog ends", || !super::lives(watchdog.id()));
    assert_eq!(watchdog.wait().unwrap().code(), Some(128 + 9));
}

/// It alone of the watchdog's children runs the whole script.
fn is_the_shell(pid: u32) -> bool {
    let command = std::fs::read(format!("/proc/{pid}/cmdline"));
    command.is_ok_and(|command| command.starts_with(b"sh\0-c\0(setsid sleep"))
}

#[test]
fn what_goes_on_forking_is_killed_too() {
    let token = token();
    // It ends by itself some day, should nothing else end it.
    let forking = format!(
        "i=0; while [ $i -lt 500 ]; do (setsid sleep {token} &); sleep 0.005; i=$((i+1)); done"
    );
    let script = format!("(setsid sh -c '{forking}' &) ; (setsid sh -c '{forking}' &); sleep 0.3");
    let begun = Instant::now();
    let status = finish(&mut watchdog_over(&format!("{script}; kill -9 $$")));
    assert_eq!(status.code(), Some(128 + 9));
    assert!(begun.elapsed() < Duration::from_millis(300) + SOON + SOON);
    assert_eq!(sleepers(&token), [0; 0]);
}

#[test]
fn a_gateway_that_ends_by_itself_leaves_nothing_either() {
    let token = token();
    let script = leaving(&token, "sleep 0.2; exit 3");
    assert_eq!(finish(&mut watchdog_over(&script)).code(), Some(3));
    assert_eq!(sleepers(&token), [0; 0]);
}

#[test]
fn pid_1_reaps_what_falls_to_it_and_ends_all() {
    if !may_unshare() {
        return;
    }
    let token = token();
    let script = format!(
        "i=0; while [ $i -lt 30 ]; do (sleep 0.0$i &); i=$((i+1)); done; (setsid sleep {token} &); \
         sleep 1; [ -e /proc/2 ] || exit 8; grep -l '^State:.Z' /proc/[0-9]*/status && exit 9; exit 7"
    );
    let watchdog = watchdog_over(&script);
    let mut unshare = Command::new("unshare");
    unshare
        .args(["--pid", "--fork", "--mount-proc", "--kill-child"])
        .arg(watchdog.get_program())
        .args(watchdog.get_args())
        .env(super::SCRIPT, &script);
    assert_eq!(finish(&mut unshare).code(), Some(7));
    assert_eq!(sleepers(&token), [0; 0]);
}

#[test]
fn what_left_its_instances_group_ends_with_the_instance() {
    let gateway = part("watchdog::descendants::as_a_gateway");
    let mut watchdog = watchdog_over(&exec(&gateway));
    assert!(finish(&mut watchdog).success());
}

/// A shell's line that becomes a command.
fn exec(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words = words.map(|word| format!(" '{}'", word.to_str().unwrap()));
    format!("exec{}", words.collect::<String>())
}

/// The main process of an instance, with all that it started.
struct Instance {
    id: u64,
    token: String,
    main: Child,
}

impl Instance {
    fn start(descendants: &Descendants, id: u64) -> Self {
        let (nonce, token) = (unique("nonce"), token());
        descendants.begin(id, &nonce);
        let main = Command::new("sh")
            .args(["-c", &leaving(&token, "wait")])
            .env("ENVGATE_PROOF", nonce)
            .process_group(0)
            .spawn()
            .unwrap();
        wait_sleepers(&token, LEAVING);
        Self { id, token, main }
    }

    fn main(&self) -> Process {
        Process::at(Pid::from_child(&self.main)).unwrap()
    }

    /// What the supervisor does.
    fn end(&mut self, runtime: &tokio::runtime::Runtime, descendants: &Descendants) {
        let below = self.main().below();
        kill_process_group(Pid::from_child(&self.main), Signal::KILL).unwrap();
        self.main.wait().unwrap();
        let ended = runtime.block_on(async {
            tokio::time::timeout(DEADLINE, descendants.end_of(self.id, &below)).await
        });
        ended.expect("an end");
    }

    fn left(&self) -> usize {
        sleepers(&self.token).len()
    }
}

/// How many there are whose environment says nothing.
const UNMARKED: usize = 1;

#[test]
#[ignore = "a part that another test has played in a process of its own"]
fn as_a_gateway() {
    if std::env::var_os(super::SCRIPT).is_none() {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let descendants = Descendants::new(getppid());
    let mut first = Instance::start(&descendants, 1);
    let mut second = Instance::start(&descendants, 2);

    // The unmarked one of the first was seen when the first was the only one; the second's wasn't.
    first.end(&runtime, &descendants);
    assert_eq!((first.left(), second.left()), (0, LEAVING));
    descendants.sweep();
    let mut third = Instance::start(&descendants, 3);
    let mut fourth = Instance::start(&descendants, 4);
    third.end(&runtime, &descendants);
    // As old as the second, for all that can be known.
    assert_eq!(
        (third.left(), second.left(), fourth.left()),
        (UNMARKED, LEAVING, LEAVING)
    );
    second.end(&runtime, &descendants);
    assert_eq!(
        (third.left(), second.left(), fourth.left()),
        (0, 0, LEAVING)
    );

    // One that leaves after its instance has ended is found all the same.
    let late = token();
    let script = format!("(setsid sh -c 'sleep 0.3; exec sleep {late}' &)");
    let mut straggler = Command::new("sh");
    let straggler = straggler
        .args(["-c", &script])
        .env("ENVGATE_PROOF", "of one that is gone");
    assert!(straggler.status().unwrap().success());
    assert_eq!(descendants.sweep(), 1);
    soon("it is killed", || descendants.sweep() == 0);
    assert_eq!(fourth.left(), LEAVING);
    fourth.end(&runtime, &descendants);
    assert_eq!(fourth.left(), 0);
    std::thread::sleep(Duration::from_millis(400));
    assert_eq!(sleepers(&late), [0; 0]);
}

#[test]
fn directories_and_cgroups_of_a_killed_gateway_are_removed() {
    let gateway = part("watchdog::descendants::as_a_gateway_that_leaves_something");
    let runtime = tempfile::tempdir().unwrap();
    let token = token();
    let mut watchdog = watchdog_over(&exec(&gateway));
    watchdog
        .env("XDG_RUNTIME_DIR", runtime.path())
        .env("TOKEN", &token);
    assert_eq!(finish(&mut watchdog).code(), Some(128 + 9));
    assert_eq!(sleepers(&token), [0; 0]);
    let left: Vec<_> = std::fs::read_dir(runtime.path())
        .unwrap()
        .flatten()
        .collect();
    // Beside the gateway's directory it was told of a cgroup, where it had one.
    let [told] = left.as_slice() else {
        panic!("{left:?}")
    };
    let cgroup = std::fs::read_to_string(told.path()).unwrap();
    assert!(
        cgroup.is_empty() || !std::path::Path::new(&cgroup).exists(),
        "{cgroup}"
    );
}

#[test]
#[ignore = "a part that another test has played in a process of its own"]
fn as_a_gateway_that_leaves_something() {
    let Ok(token) = std::env::var("TOKEN") else {
        return;
    };
    let own = rustix::process::getpid();
    let runtime = runtime_parent();
    let sockets = runtime.join(format!("envgate-{}-x", own.as_raw_pid()));
    std::fs::create_dir(&sockets).unwrap();
    std::fs::write(sockets.join("socket"), "").unwrap();
    let cgroups = Cgroups::create();
    let cgroup = cgroups.as_ref().and_then(|cgroups| cgroups.for_instance(1));
    let path = cgroup
        .as_ref()
        .map_or("", |cgroup| cgroup.path().to_str().unwrap());
    std::fs::write(runtime.join("cgroup"), path).unwrap();
    let enter = "[ -z \"$1\" ] || echo 0 > \"$1/cgroup.procs\"; setsid sleep \"$2\" & sleep \"$2\"";
    let mut shell = Command::new("sh");
    let shell = shell.args(["-c", enter, "sh", path, &token]).spawn();
    wait_sleepers(&token, 2);
    kill_process(own, Signal::KILL).unwrap();
    drop((shell, cgroup));
}

#[test]
fn without_a_watchdog_the_marker_tells() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let descendants = Descendants::new(None);
    let marked = |id: u64| {
        let (nonce, token) = (unique("nonce"), token());
        descendants.begin(id, &nonce);
        let script = format!("(setsid sleep {token} &); (setsid sleep {token} &)");
        let mut shell = Command::new("sh");
        let shell = shell.args(["-c", &script]).env("ENVGATE_PROOF", nonce);
        assert!(shell.status().unwrap().success());
        wait_sleepers(&token, 2);
        token
    };
    let (first, second) = (marked(1), marked(2));
    runtime.block_on(descendants.end_of(1, &[]));
    assert_eq!((sleepers(&first).len(), sleepers(&second).len()), (0, 2));
    assert_eq!(descendants.sweep(), 0);
    assert_eq!(sleepers(&second).len(), 2);
    runtime.block_on(descendants.end_of(2, &[]));
    assert_eq!(sleepers(&second), [0; 0]);
}
