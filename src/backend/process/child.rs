//! One running child: noticed when it exits, killed with its group, collected.
//!
//! A child that has exited stays a zombie until its whole group has been killed; only then is it
//! collected. So its number is its own, and its group's, whenever a signal is sent to it: no number
//! is used after its child was collected.

use std::{
    fs, io,
    os::{fd::OwnedFd, unix::process::ExitStatusExt},
    path::PathBuf,
    process::{ChildStderr, ChildStdout, ExitStatus},
    time::Duration,
};

use rustix::{
    io::Errno,
    process::{
        Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, kill_process_group, pidfd_open, waitid,
    },
};
use tokio::{
    io::{Interest, unix::AsyncFd},
    task::{JoinHandle, spawn_blocking},
    time::{sleep, timeout},
};

use super::{identity::IdentityLease, listen::Place, reaper::Reaper};

/// How often a child is looked at where the kernel can't tell of its exit (before Linux 5.3, or
/// where a sandbox forbids to ask).
const POLL: Duration = Duration::from_millis(20);

/// How long a killed child is waited for. One that the kernel holds in a call for longer is left to
/// the reaper.
const KILL_PATIENCE: Duration = Duration::from_secs(2);

/// What nobody else may be given while a child isn't collected.
#[derive(Debug)]
pub(super) struct Holdings {
    /// It may be made only when it is known who listens there.
    pub(super) place: Option<Place>,
    pub(super) identity: IdentityLease,
}

/// A child in a process group of its own. Dropped, its group is killed at once.
#[derive(Debug)]
pub(super) struct Child {
    /// Until it is collected.
    process: Option<(std::process::Child, Holdings)>,
    pid: Pid,
    exit: ExitWatch,
    /// What puts it into a cgroup, by its number: it isn't collected before that is done.
    entering: Option<JoinHandle<()>>,
    reaper: Reaper,
}

#[derive(Debug)]
enum ExitWatch {
    /// Readable once the child has exited.
    Pidfd(AsyncFd<OwnedFd>),
    /// The kernel has no such thing.
    Poll,
}

impl Child {
    /// Takes over a child that was just started and leads a group. It is killed where it can't be
    /// watched.
    pub(super) fn watch(
        process: std::process::Child,
        holdings: Holdings,
        reaper: &Reaper,
    ) -> io::Result<Self> {
        let pid = i32::try_from(process.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or(io::ErrorKind::InvalidInput)?;
        let mut child = Self {
            process: Some((process, holdings)),
            pid,
            exit: ExitWatch::Poll,
            entering: None,
            reaper: reaper.clone(),
        };
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => child.exit = ExitWatch::Pidfd(watch_pidfd(pidfd)?),
            Err(Errno::NOSYS | Errno::PERM | Errno::INVAL) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(child)
    }

    /// Puts it into a cgroup, beside its start: the kernel takes 10 to 20 ms to move a process, as
    /// it waits until no processor is in the middle of a fork, and most of a quick start would be
    /// that. What it forks before is in no cgroup, as where there are none.
    pub(super) fn enter(&mut self, cgroup: PathBuf) {
        let pid = self.pid.as_raw_pid();
        self.entering = Some(spawn_blocking(move || {
            let entered = fs::write(cgroup.join("cgroup.procs"), pid.to_string());
            if let Err(error) = entered
                && !has_ended(&error)
            {
                tracing::warn!(pid, %error, "an instance can't enter its cgroup");
            }
        }));
    }

    /// As whom it runs.
    pub(super) fn identity(&self) -> Option<&IdentityLease> {
        let (_, holdings) = self.process.as_ref()?;
        Some(&holdings.identity)
    }

    /// Keeps a place for it until it is collected.
    pub(super) fn hold(&mut self, place: Place) {
        if let Some((_, holdings)) = &mut self.process {
            holdings.place = Some(place);
        }
    }

    /// What it writes; once.
    pub(super) fn take_output(&mut self) -> (Option<ChildStdout>, Option<ChildStderr>) {
        let process = self.process.as_mut().map(|(process, _)| process);
        process.map_or((None, None), |process| {
            (process.stdout.take(), process.stderr.take())
        })
    }

    /// Its number, and its group's.
    pub(super) const fn pid(&self) -> Pid {
        self.pid
    }

    /// Waits for its exit. It isn't collected by that, and may be asked again; cancelling it does
    /// nothing.
    pub(super) async fn exited(&self) -> ExitStatus {
        loop {
            if let ExitWatch::Pidfd(pidfd) = &self.exit
                && let Err(error) = pidfd.readable().await
            {
                // The runtime ends; the status below is all that can still be told.
                tracing::debug!(%error, "a child can't be waited for");
            }
            if let Some(status) = self.status() {
                return status;
            }
            sleep(POLL).await;
        }
    }

    pub(super) fn has_exited(&self) -> bool {
        self.status().is_some()
    }

    /// The status of a child that has exited.
    fn status(&self) -> Option<ExitStatus> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        match waitid(WaitId::Pid(self.pid), options) {
            Ok(status) => {
                let status = status?;
                let code = status.exit_status().map(|code| code << 8);
                let raw = code.or(status.terminating_signal()).unwrap_or_default();
                Some(ExitStatus::from_raw(raw))
            }
            Err(Errno::INTR) => None,
            Err(error) => {
                tracing::error!(pid = self.pid.as_raw_pid(), %error, "a child is lost");
                Some(ExitStatus::from_raw(Signal::KILL.as_raw()))
            }
        }
    }

    /// SIGTERM to the group, after the grace SIGKILL; then it is collected. `None` where even that
    /// doesn't end it soon: the reaper has it then.
    ///
    /// Cancelling it kills the group at once.
    pub(super) async fn stop(mut self, grace: Duration) -> Option<ExitStatus> {
        if !grace.is_zero() {
            self.signal(Signal::TERM);
            // Whether it ended in time is for what follows to see.
            let _ = timeout(grace, self.exited()).await;
        }
        self.kill(KILL_PATIENCE).await
    }

    /// Kills the group and collects the child, whether it has exited or not.
    async fn kill(&mut self, patience: Duration) -> Option<ExitStatus> {
        self.signal(Signal::KILL);
        let status = timeout(patience, self.exited()).await.ok()?;
        if let Some(entering) = &mut self.entering {
            // Where it takes too long, the reaper waits for it.
            let _ = timeout(patience, entering).await;
        }
        self.collect();
        Some(status)
    }

    /// To the whole group; there may be nobody left to get it.
    fn signal(&self, signal: Signal) {
        if self.process.is_none() {
            return;
        }
        if let Err(error) = kill_process_group(self.pid, signal)
            && error != Errno::SRCH
        {
            tracing::error!(pid = self.pid.as_raw_pid(), %error, "a process can't be signalled");
        }
    }

    /// Collects a child that has exited, and frees what it held; hands it to the reaper where it
    /// hasn't, or where its number is still in use.
    fn collect(&mut self) {
        let Some((mut process, holdings)) = self.process.take() else {
            return;
        };
        let entering = self.entering.take();
        let entering = entering.filter(|entering| !entering.is_finished());
        if entering.is_some() || matches!(process.try_wait(), Ok(None)) {
            self.reaper.take(process, holdings, entering);
        }
    }

    /// Bytes of memory that it has; `None` once it is gone.
    pub(super) fn rss(&self) -> Option<u64> {
        let statm = fs::read_to_string(format!("/proc/{}/statm", self.pid.as_raw_pid())).ok()?;
        let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
        Some(pages * rustix::param::page_size() as u64)
    }
}

/// Whether a process can't be put into its cgroup because one of them is gone by now.
fn has_ended(error: &io::Error) -> bool {
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::SRCH | Errno::NOENT | Errno::NODEV))
}

#[expect(
    deprecated,
    reason = "the other way is unsafe, and `OwnedFd` keeps what it asks for"
)]
fn watch_pidfd(pidfd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(pidfd, Interest::READABLE)
}

impl Drop for Child {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        self.collect();
    }
}

#[cfg(test)]
mod tests {
    use std::{os::unix::process::CommandExt, path::Path, process::Command};

    use super::*;
    use crate::backend::process::{Host, Listen, identity::Identity};

    fn child(host: &Host, script: &str) -> Child {
        let identity = Identity::resolve(None, None).unwrap();
        let identity = identity.lease(&host.users).unwrap();
        let place = Place::make(Listen::Unix, &identity, host);
        let (place, _) = place.unwrap();
        let mut command = Command::new("sh");
        let process = command.args(["-c", script]).process_group(0).spawn();
        let place = Some(place);
        let holdings = Holdings { place, identity };
        Child::watch(process.unwrap(), holdings, &host.reaper).unwrap()
    }

    fn is_there(pid: Pid) -> bool {
        Path::new(&format!("/proc/{}", pid.as_raw_pid())).exists()
    }

    #[tokio::test]
    async fn an_exit_is_noticed_with_and_without_a_pidfd() {
        let host = Host::new().unwrap();
        for polls in [false, true] {
            let mut child = child(&host, "exit 7");
            if polls {
                child.exit = ExitWatch::Poll;
            }
            assert_eq!(child.exited().await.code(), Some(7));
            let pid = child.pid();
            assert!(is_there(pid));
            let status = child.stop(Duration::from_secs(20)).await.unwrap();
            assert_eq!(status.code(), Some(7));
            assert!(!is_there(pid));
        }
    }

    #[tokio::test]
    async fn a_dropped_child_is_collected_and_only_then_its_place_is_free() {
        let host = Host::new().unwrap();
        let child = child(&host, "sleep 1000; :");
        let pid = child.pid();
        let holdings = child.process.as_ref().map(|(_, holdings)| holdings);
        let socket = holdings
            .unwrap()
            .place
            .as_ref()
            .unwrap()
            .socket()
            .unwrap()
            .to_owned();
        let dir = Path::new(&socket).parent().unwrap().to_owned();
        assert!(dir.exists() && is_there(pid));
        drop(child);
        let collected = async {
            while dir.exists() {
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(Duration::from_secs(20), collected).await.unwrap();
        assert!(!is_there(pid));
    }
}
