//! How the gateway ends: calls under way are finished, new ones are told to go elsewhere.

use std::{
    future::{Future, poll_fn},
    mem,
    pin::pin,
    sync::atomic::{
        AtomicU8, AtomicUsize,
        Ordering::{Relaxed, SeqCst},
    },
    task::Poll,
};

use tokio::sync::Notify;

/// Where the gateway is on its way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// It serves.
    Serving = 0,
    /// It finishes what runs; connections are still accepted, calls refused (1000).
    Draining = 1,
    /// What is left is closed.
    Closing = 2,
}

/// The phase, and the calls that hold up the next one.
#[derive(Debug, Default)]
pub(super) struct Drain {
    /// A [`Phase`].
    phase: AtomicU8,
    closes: Notify,
    calls: AtomicUsize,
    last_call_ended: Notify,
}

impl Drain {
    pub(super) fn phase(&self) -> Phase {
        match self.phase.load(SeqCst) {
            0 => Phase::Serving,
            1 => Phase::Draining,
            _ => Phase::Closing,
        }
    }

    pub(super) fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, SeqCst);
        if phase == Phase::Closing {
            self.closes.notify_waiters();
        }
    }

    /// Waits until what is left is to be closed. Each connection asks for it whenever it is woken, so
    /// only the first time costs more than a look: it enters the task, which must stay the same.
    pub(super) async fn closing(&self) {
        let mut closes = pin!(self.closes.notified());
        let mut is_entered = false;
        poll_fn(|cx| {
            if self.phase() == Phase::Closing {
                return Poll::Ready(());
            }
            if mem::replace(&mut is_entered, true) {
                return Poll::Pending;
            }
            closes.as_mut().poll(cx)
        })
        .await;
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
