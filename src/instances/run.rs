//! A running process, and the right to call it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tokio::{sync::Notify, time::sleep};

use super::{Instance, Table, slots::RunId};
use crate::backend::{Endpoint, process::StartError};

/// Calls in a row that may time out before the process is asked how it is.
const TIME_OUTS_BEFORE_PROBE: u32 = 3;

/// How long a process that broke a connection off may take to turn out to be dead: the kernel closes
/// its sockets one by one before it tells of its end.
const DOUBT: Duration = Duration::from_millis(50);
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// Why a run came to nothing, or to its end.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It didn't get ready.
    #[error(transparent)]
    Start(StartError),
    /// It was ready and then ended by itself.
    #[error("it ended by itself: {0}")]
    Exited(String),
    /// Nobody listened at its address any more.
    #[error("it can't be reached any more")]
    Unreachable,
    /// The gateway ended.
    #[error("its start was cancelled")]
    Cancelled,
}

/// A process that serves.
#[derive(Debug)]
pub struct Running {
    /// Where it is reached.
    pub endpoint: Endpoint,
    /// Its process id.
    pub pid: i32,
    /// When it was ready.
    pub ready_at: Instant,
    stopping: AtomicBool,
    unreachable: AtomicBool,
    ended: AtomicBool,
    /// When a connection to it last broke off, in milliseconds since it was ready; 0 for never.
    broke_off: AtomicU64,
    stop: Notify,
    time_outs: AtomicU32,
    rss: AtomicU64,
}

impl Running {
    pub(super) fn new(endpoint: Endpoint, pid: i32) -> Self {
        Self {
            endpoint,
            pid,
            ready_at: Instant::now(),
            stopping: AtomicBool::new(false),
            unreachable: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            broke_off: AtomicU64::new(0),
            stop: Notify::new(),
            time_outs: AtomicU32::new(0),
            rss: AtomicU64::new(0),
        }
    }

    /// Tells the one who watches it to stop it.
    pub(super) fn stop(&self) {
        self.stopping.store(true, Relaxed);
        self.stop.notify_one();
    }

    /// Ready once it is to be stopped.
    pub(super) async fn stopped(&self) {
        while !self.stopping.load(Relaxed) {
            self.stop.notified().await;
        }
    }

    /// Whether a call found nobody at its address.
    pub(super) fn is_unreachable(&self) -> bool {
        self.unreachable.load(Relaxed)
    }

    /// It has ended by itself, and the table knows.
    pub(super) fn note_end(&self) {
        self.ended.store(true, Relaxed);
    }

    /// A connection to it broke off under a call: it may be dying.
    pub fn broke_off(&self) {
        let now = u64::try_from(self.ready_at.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.broke_off.store(now.max(1), Relaxed);
    }

    /// Waits while it may be dying, so that no call is sent on one of its connections that aren't
    /// closed yet; whether it lives.
    pub async fn lives(&self) -> bool {
        while self.may_be_dying() && !self.ended.load(Relaxed) {
            sleep(LOOK_EVERY).await;
        }
        !self.ended.load(Relaxed)
    }

    fn may_be_dying(&self) -> bool {
        match self.broke_off.load(Relaxed) {
            0 => false,
            then => self.ready_at.elapsed() < Duration::from_millis(then) + DOUBT,
        }
    }

    /// A call got an answer.
    pub fn answered(&self) {
        if self.time_outs.load(Relaxed) != 0 {
            self.time_outs.store(0, Relaxed);
        }
    }

    /// A call got none in time.
    pub fn timed_out(&self) {
        self.time_outs.fetch_add(1, Relaxed);
    }

    /// Whether so many calls timed out that it should be asked how it is.
    pub(super) fn is_suspect(&self) -> bool {
        self.time_outs.load(Relaxed) >= TIME_OUTS_BEFORE_PROBE
    }

    /// Its resident memory in bytes, as of the last look.
    #[must_use]
    pub fn rss(&self) -> u64 {
        self.rss.load(Relaxed)
    }

    pub(super) fn set_rss(&self, bytes: u64) {
        self.rss.store(bytes, Relaxed);
    }
}

/// The right to send one call to one process; while it lasts, the process isn't retired under it.
#[derive(Debug)]
pub struct RunLease {
    table: Arc<Table>,
    instance: Arc<Instance>,
    run: RunId,
    running: Arc<Running>,
    served: bool,
    waited: bool,
}

impl RunLease {
    pub(super) const fn new(
        table: Arc<Table>,
        instance: Arc<Instance>,
        run: RunId,
        running: Arc<Running>,
        waited: bool,
    ) -> Self {
        Self {
            table,
            instance,
            run,
            running,
            served: false,
            waited,
        }
    }

    /// The process.
    #[must_use]
    pub const fn running(&self) -> &Arc<Running> {
        &self.running
    }

    /// Whether it came of a start that the caller waited for.
    #[must_use]
    pub const fn waited(&self) -> bool {
        self.waited
    }

    /// Which run it is on.
    #[cfg(test)]
    pub(super) const fn id(&self) -> RunId {
        self.run
    }

    /// The call was answered.
    pub fn served(&mut self) {
        self.served = true;
        self.running.answered();
    }

    /// Nobody listens there any more: the process is done with, and no further call goes to it.
    pub fn unreachable(&self) {
        if self.running.ended.load(Relaxed) {
            return;
        }
        let error = Arc::new(RunError::Unreachable);
        self.table.change(|slots| {
            slots.exited(&self.instance, self.run, error, Instant::now());
        });
        self.running.unreachable.store(true, Relaxed);
        self.running.stop();
    }
}

impl Drop for RunLease {
    fn drop(&mut self) {
        self.table.change(|slots| {
            slots.release(&self.instance, self.run, self.served, Instant::now());
        });
    }
}
