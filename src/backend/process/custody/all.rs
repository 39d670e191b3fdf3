//! All that the gateway has to keep its processes, and to end what they leave behind.

use rustix::process::Pid;

use super::{Cgroup, Cgroups, Descendants, Guard, Process};
use crate::backend::process::Host;

/// What processes are started with, and what sees to it that nothing of them stays.
#[derive(Debug)]
pub struct Custody {
    pub(super) guard: Option<Guard>,
    host: Host,
    descendants: Descendants,
    cgroups: Option<Cgroups>,
}

/// One process and all that comes of it, from before its start.
#[derive(Debug)]
pub struct Ward<'a> {
    custody: &'a Custody,
    number: u64,
    cgroup: Option<Cgroup>,
}

impl Custody {
    /// That of this gateway, under its watchdog where it has one.
    #[must_use]
    pub fn new(host: Host, guard: Option<Guard>) -> Self {
        Self {
            descendants: Descendants::new(guard.as_ref().map(Guard::watchdog)),
            cgroups: Cgroups::create(),
            host,
            guard,
        }
    }

    /// What processes are started with.
    #[must_use]
    pub const fn host(&self) -> &Host {
        &self.host
    }

    /// Takes what is about to be started into custody. Numbers grow; no two are the same.
    #[must_use]
    pub fn take(&self, number: u64, nonce: &str) -> Ward<'_> {
        self.descendants.begin(number, nonce);
        let cgroups = self.cgroups.as_ref();
        Ward {
            custody: self,
            number,
            cgroup: cgroups.and_then(|cgroups| cgroups.for_instance(number)),
        }
    }

    /// Kills what fell to the watchdog from instances that are gone; to be called every so often.
    pub fn sweep(&self) {
        self.descendants.sweep();
    }

    /// Waits until the watchdog is gone; never, where there is none.
    pub async fn watchdog_gone(&self) {
        match &self.guard {
            Some(guard) => guard.watchdog_gone().await,
            None => std::future::pending().await,
        }
    }
}

impl Ward<'_> {
    /// What it is started with.
    #[must_use]
    pub const fn host(&self) -> &Host {
        self.custody.host()
    }

    /// Its cgroup, where it has one.
    #[must_use]
    pub const fn cgroup(&self) -> Option<&Cgroup> {
        self.cgroup.as_ref()
    }

    /// What is below its main process now, to be told to [`Ward::end`].
    #[must_use]
    pub fn below(&self, pid: i32) -> Vec<Process> {
        let main = Pid::from_raw(pid).and_then(Process::at);
        main.map(Process::below).unwrap_or_default()
    }

    /// Ends what is left of it once its main process and group have ended.
    pub async fn end(self, below: &[Process]) {
        if let Some(cgroup) = &self.cgroup
            && let Err(error) = cgroup.end().await
        {
            tracing::warn!(%error, "what is left in an instance's cgroup can't be ended");
        }
        self.custody.descendants.end_of(self.number, below).await;
    }
}
