//! What a call can do to the worker itself: for trying out what the gateway does about it.

use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

pub(super) const MOST_MIB: usize = 1_024;

/// How the worker is.
#[derive(Debug, Default)]
pub(super) struct Condition {
    ails: AtomicBool,
    held: Mutex<Vec<u8>>,
}

impl Condition {
    /// From now on it wants to be restarted.
    pub(super) fn ail(&self) {
        self.ails.store(true, Ordering::Relaxed);
    }

    pub(super) fn ails(&self) -> bool {
        self.ails.load(Ordering::Relaxed)
    }

    /// Holds so much from now on, and what it held before no more. Where the system hasn't that
    /// much for it the process ends, as one does that runs into its limit.
    pub(super) fn hold(&self, mib: usize) {
        let mut held = self.held.lock();
        *held = Vec::new();
        // Anything but zeros: pages that are only reserved aren't held.
        *held = vec![1; mib << 20];
    }
}
