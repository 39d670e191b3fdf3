//! A worker that serves.

use std::{process::ExitStatus, sync::Arc, time::Duration};

use tokio::time::Instant;

use super::{
    child::Child,
    output::Output,
    ready::{Health, Probe},
    spare::Slot,
};
use crate::backend::Address;

/// How long the last output of a dead worker is waited for.
const OUTPUT_PATIENCE: Duration = Duration::from_millis(200);

/// A worker that serves. Dropped, it is killed with its group at once.
#[derive(Debug)]
pub struct Process {
    pub(super) child: Child,
    pub(super) output: Output,
    pub(super) probe: Probe,
    pub(super) started_at: Instant,
    /// The backend has a spare only as long as it has a process.
    pub(super) _spare: Arc<Slot>,
}

impl Process {
    /// Where it is reached.
    #[must_use]
    pub const fn address(&self) -> &Address {
        &self.probe.endpoint
    }

    /// Its number, which is its group's too. It is its own as long as this value lives.
    #[must_use]
    pub const fn pid(&self) -> i32 {
        self.child.pid().as_raw_pid()
    }

    /// When its start began.
    #[must_use]
    pub const fn started_at(&self) -> Instant {
        self.started_at
    }

    /// Waits for its exit. It is to be [stopped](Self::stop) or dropped then, as its group may live
    /// on. Cancelling it does nothing, and it may be asked again.
    pub async fn exited(&self) -> ExitStatus {
        self.child.exited().await
    }

    /// Bytes of memory that it has, without those of its children; `None` once it has exited.
    #[must_use]
    pub fn rss(&self) -> Option<u64> {
        self.child.rss().filter(|bytes| *bytes > 0)
    }

    /// Asks it how it is, for 2 s at most.
    pub async fn probe_health(&self) -> Health {
        self.probe.health().await
    }

    /// SIGTERM to its group, SIGKILL to what is left of it when it has exited or the grace is over;
    /// then it is collected. `None` where the kernel can't end it within 2 s more: it is collected
    /// later.
    ///
    /// Cancelling it kills the group at once.
    pub async fn stop(mut self, grace: Duration) -> Option<ExitStatus> {
        let status = self.child.stop(grace).await;
        self.output.finish(OUTPUT_PATIENCE).await;
        status
    }

    /// Kills it, for a start that failed, and gives the last lines that it wrote.
    pub(super) async fn give_up(mut self) -> Vec<String> {
        self.child.stop(Duration::ZERO).await;
        self.output.finish(OUTPUT_PATIENCE).await;
        self.output.tail()
    }
}
