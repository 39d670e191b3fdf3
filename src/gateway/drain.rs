//! How the gateway ends: calls under way are finished, new ones are told to go elsewhere.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tokio::sync::{Notify, watch};

/// Where the gateway is on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
pub(super) enum Phase {
    /// It serves.
    Serving,
    /// It finishes what runs; connections are still accepted, calls refused (1000).
    Draining,
    /// What is left is closed.
    Closing,
}

/// The phase, and the calls that hold up the next one.
#[derive(Debug)]
pub(super) struct Drain {
    phase: watch::Sender<Phase>,
    calls: AtomicUsize,
    last_call_ended: Notify,
}

impl Default for Drain {
    fn default() -> Self {
        Self {
            phase: watch::Sender::new(Phase::Serving),
            calls: AtomicUsize::new(0),
            last_call_ended: Notify::new(),
        }
    }
}

impl Drain {
    pub(super) fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    pub(super) fn enter(&self, phase: Phase) {
        self.phase.send_replace(phase);
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    /// A call begins; it must be followed by [`Drain::call_ended`] once its answer has left.
    pub(super) fn call_began(&self) {
        self.calls.fetch_add(1, Relaxed);
    }

    pub(super) fn call_ended(&self) {
        if self.calls.fetch_sub(1, Relaxed) == 1 {
            self.last_call_ended.notify_waiters();
        }
    }

    /// Waits until no call is under way.
    pub(super) async fn calls_ended(&self) {
        loop {
            let ended = self.last_call_ended.notified();
            if self.calls.load(Relaxed) == 0 {
                return;
            }
            ended.await;
        }
    }
}
