//! Who refused connections, and for how long nobody asks again.

use std::{
    sync::{
        LazyLock,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use super::member::Member;

const FIRST_BACK_OFF: Duration = Duration::from_secs(1);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(30);

/// When this process began: atomics hold milliseconds since.
static EPOCH: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Milliseconds on the monotonic clock, from 1.
pub(super) fn now_millis() -> u64 {
    u64::try_from(EPOCH.elapsed().as_millis())
        .unwrap_or(u64::MAX)
        .saturating_add(1)
}

/// Whether a member is out, and until when.
#[derive(Debug, Default)]
pub(super) struct Outage {
    refusals: AtomicU32,
    out_until: AtomicU64,
    downs: AtomicU64,
}

impl Outage {
    /// Whether nobody should ask it now.
    pub(super) fn is_out(&self, now: u64) -> bool {
        self.out_until.load(Relaxed) > now
    }

    /// How often it has been down: whatever it held before is gone since.
    pub(super) fn downs(&self) -> u64 {
        self.downs.load(Relaxed)
    }

    /// It has been down.
    pub(super) fn was_down(&self) {
        self.downs.fetch_add(1, Relaxed);
    }

    /// A connection was refused: it is out for twice as long as the last time, give or take a
    /// fifth, so that gateways don't come back in step.
    pub(super) fn refused(&self, backend: &str, member: &Member, error: &std::io::Error) {
        self.was_down();
        let now = now_millis();
        if self.is_out(now) {
            return;
        }
        let refusals = self.refusals.fetch_add(1, Relaxed);
        let back_off = FIRST_BACK_OFF
            .saturating_mul(1 << refusals.min(5))
            .min(LONGEST_BACK_OFF);
        let back_off = back_off.mul_f64(0.8 + 0.4 * fastrand::f64());
        let millis = u64::try_from(back_off.as_millis()).unwrap_or(u64::MAX);
        self.out_until.store(now.saturating_add(millis), Relaxed);
        if refusals == 0 {
            tracing::warn!(backend, %member, %error, "a member can't be reached and is taken out");
        } else {
            tracing::debug!(backend, %member, %error, refusals, "a member still can't be reached");
        }
    }

    /// A connection came about.
    pub(super) fn reached(&self, backend: &str, member: &Member) {
        if self.refusals.load(Relaxed) != 0 && self.refusals.swap(0, Relaxed) != 0 {
            self.out_until.store(0, Relaxed);
            tracing::info!(backend, %member, "a member can be reached again");
        }
    }
}
