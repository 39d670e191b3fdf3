//! Processes as `/proc` shows them, and the one way to kill them.
//!
//! A PID alone names nobody for long: it is used again once its process is reaped. A [`Process`]
//! therefore holds the time at which it started, too, and is compared whole.

use std::{fs, io, os::fd::BorrowedFd};

use rustix::{
    io::Errno,
    process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal},
};
use tokio::io::{Interest, unix::AsyncFd};

/// One process, never another one that has its PID later.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Process {
    /// Its PID.
    pub pid: Pid,
    /// When it started, in ticks since the machine did.
    started: u64,
}

impl Process {
    /// The process that has this PID now. None where it has ended, reaped or not.
    #[must_use]
    pub fn at(pid: Pid) -> Option<Self> {
        let stat = Stat::of(pid)?;
        stat.lives.then_some(Self {
            pid,
            started: stat.started,
        })
    }

    /// Whether it hasn't ended.
    #[must_use]
    pub fn lives(self) -> bool {
        Self::at(self.pid) == Some(self)
    }

    #[cfg(test)]
    pub(super) fn example(pid: i32, started: u64) -> Self {
        let pid = Pid::from_raw(pid).expect("not 0");
        Self { pid, started }
    }

    /// Everything below it: its children, theirs, and so on. What falls to another parent while
    /// this is read may be missed.
    #[must_use]
    pub fn below(self) -> Vec<Self> {
        let mut found = Vec::new();
        let mut parents = vec![self];
        while let Some(parent) = parents.pop() {
            // Between two processes that don't know each other a PID may have changed its owner.
            if !parent.lives() {
                continue;
            }
            let children = children(parent.pid).into_iter().filter_map(Self::at);
            let children: Vec<_> = children.filter(|child| !found.contains(child)).collect();
            found.extend(&children);
            parents.extend(children);
        }
        found
    }

    /// Sends it SIGKILL. The descriptor holds on to whatever has the PID now, so that what is
    /// compared is what is killed.
    pub(super) fn kill(self) -> Result<(), Errno> {
        match pidfd_open(self.pid, PidfdFlags::empty()) {
            Ok(descriptor) if self.lives() => {
                gone_is_fine(pidfd_send_signal(descriptor, Signal::KILL))
            }
            Ok(_) | Err(Errno::SRCH) => Ok(()),
            // Linux before 5.3, or a sandbox that knows no pidfd.
            Err(Errno::NOSYS | Errno::PERM) if self.lives() => {
                gone_is_fine(kill_process(self.pid, Signal::KILL))
            }
            Err(Errno::NOSYS | Errno::PERM) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn gone_is_fine(killed: Result<(), Errno>) -> Result<(), Errno> {
    match killed {
        Err(Errno::SRCH) => Ok(()),
        killed => killed,
    }
}

/// Waits until the process of a pidfd has ended, reaped or not. May be dropped at any time.
#[expect(
    deprecated,
    reason = "what borrows a descriptor keeps it from being closed; its sound successor is unsafe"
)]
pub(super) async fn ended(pidfd: BorrowedFd<'_>) -> io::Result<()> {
    let pidfd = AsyncFd::with_interest(pidfd, Interest::READABLE)?;
    pidfd.readable().await.map(drop)
}

/// What a process's environment says of where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Marker {
    /// The nonce of the start that it descends from.
    Nonce(String),
    /// It has none, or it can't be read.
    None,
}

impl Marker {
    /// The name of the variable.
    pub(super) const VARIABLE: &str = "ENVGATE_PROOF";

    pub(super) fn of(pid: Pid) -> Self {
        let environment = fs::read(format!("/proc/{}/environ", pid.as_raw_pid()));
        environment.map_or(Self::None, |environment| Self::within(&environment))
    }

    fn within(environment: &[u8]) -> Self {
        let nonce = environment.split(|byte| *byte == 0).find_map(|variable| {
            let value = variable.strip_prefix(Self::VARIABLE.as_bytes())?;
            value.strip_prefix(b"=")
        });
        nonce.map_or(Self::None, |nonce| {
            Self::Nonce(String::from_utf8_lossy(nonce).into_owned())
        })
    }
}

/// The PIDs of a process's children, those that wait to be reaped among them.
pub(super) fn children(parent: Pid) -> Vec<Pid> {
    told_children(parent).unwrap_or_else(|_| {
        // A kernel without that list, or one that hides this process from us.
        let parents = all().into_iter().filter_map(|pid| {
            let stat = Stat::of(pid)?;
            Some((pid, stat.parent))
        });
        parents
            .filter(|(_, its_parent)| *its_parent == Some(parent))
            .map(|(pid, _)| pid)
            .collect()
    })
}

/// The kernel keeps a list of children for each thread.
fn told_children(parent: Pid) -> io::Result<Vec<Pid>> {
    let tasks = format!("/proc/{}/task", parent.as_raw_pid());
    let mut found = Vec::new();
    let mut told = Err(io::ErrorKind::NotFound.into());
    for task in fs::read_dir(tasks)?.flatten() {
        // A thread may have ended meanwhile; its children have gone over to another.
        match fs::read_to_string(task.path().join("children")) {
            Ok(list) => {
                found.extend(list.split_ascii_whitespace().filter_map(parse));
                told = Ok(());
            }
            Err(error) if told.is_err() => told = Err(error),
            Err(_) => {}
        }
    }
    told.map(|()| found)
}

/// Every process that can be seen.
pub(super) fn all() -> Vec<Pid> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    let names = entries.flatten().map(|entry| entry.file_name());
    names.filter_map(|name| parse(name.to_str()?)).collect()
}

fn parse(pid: &str) -> Option<Pid> {
    pid.parse().ok().and_then(Pid::from_raw)
}

/// What is needed of `/proc/PID/stat`.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    lives: bool,
    parent: Option<Pid>,
    started: u64,
}

impl Stat {
    fn of(pid: Pid) -> Option<Self> {
        // A process's name need not be UTF-8.
        let line = fs::read(format!("/proc/{}/stat", pid.as_raw_pid())).ok()?;
        Self::parse(&String::from_utf8_lossy(&line))
    }

    /// The name in brackets may hold anything, brackets and blanks too: fields count from its end.
    fn parse(line: &str) -> Option<Self> {
        let mut fields = line.rsplit_once(')')?.1.split_ascii_whitespace();
        let state = fields.next()?;
        let parent = fields.next()?.parse().ok().and_then(Pid::from_raw);
        let started = fields.nth(17)?.parse().ok()?;
        Some(Self {
            lives: !matches!(state, "Z" | "X" | "x"),
            parent,
            started,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_is_read_whatever_the_name() {
        let line = "42 (a) Z 1 (b) S 7 42 42 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 98765 1 2";
        let stat = Stat::parse(line).unwrap();
        assert!(stat.lives);
        assert_eq!(stat.parent, Pid::from_raw(7));
        assert_eq!(stat.started, 98765);
        assert!(!Stat::parse(&line.replace(") S ", ") Z ")).unwrap().lives);
        assert_eq!(Stat::parse("42 (cut short) S 7"), None);
    }

    #[test]
    fn a_marker_is_a_whole_variable() {
        let nonce = |text: &str| Marker::within(text.as_bytes());
        assert_eq!(
            nonce("A=1\0ENVGATE_PROOF=ab\0B=2\0"),
            Marker::Nonce("ab".to_owned())
        );
        assert_eq!(
            nonce("A=ENVGATE_PROOF=ab\0XENVGATE_PROOF=ab\0"),
            Marker::None
        );
        assert_eq!(nonce("ENVGATE_PROOFS=ab\0"), Marker::None);
        assert_eq!(nonce(""), Marker::None);
    }

    #[test]
    fn a_process_is_known_by_its_start_too() {
        let own = Process::at(rustix::process::getpid()).unwrap();
        assert!(own.lives());
        let earlier = Process {
            started: own.started - 1,
            ..own
        };
        assert!(!earlier.lives());
        // It would be this process that dies.
        assert_eq!(earlier.kill(), Ok(()));
    }

    #[test]
    fn children_are_found_with_and_without_the_kernels_list() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .unwrap();
        let pid = Pid::from_child(&child);
        let own = rustix::process::getpid();
        assert!(
            told_children(own)
                .unwrap_or_else(|_| vec![pid])
                .contains(&pid)
        );
        assert!(all().contains(&pid));
        assert_eq!(Stat::of(pid).unwrap().parent, Some(own));
        let process = Process::at(pid).unwrap();
        assert!(Process::at(own).unwrap().below().contains(&process));
        process.kill().unwrap();
        child.wait().unwrap();
        assert!(!process.lives());
    }
}
