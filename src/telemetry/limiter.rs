//! Keeps a repeated log line from flooding the log.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use parking_lot::Mutex;

/// Lets one line through per interval and counts the ones it held back.
#[derive(Debug)]
pub struct Limiter {
    interval: Duration,
    last: Mutex<Option<Instant>>,
    held_back: AtomicU64,
}

impl Limiter {
    /// At most one line per `interval`.
    #[must_use]
    pub const fn new(interval: Duration) -> Self {
        Self {
            interval,
            last: Mutex::new(None),
            held_back: AtomicU64::new(0),
        }
    }

    /// `Some(n)` where a line may be written now, with the number of lines held back since the
    /// last one; `None` where this one is held back.
    pub fn pass(&self, now: Instant) -> Option<u64> {
        let mut last = self.last.lock();
        let due = last.is_none_or(|last| now.saturating_duration_since(last) >= self.interval);
        if due {
            *last = Some(now);
            Some(self.held_back.swap(0, Ordering::Relaxed))
        } else {
            self.held_back.fetch_add(1, Ordering::Relaxed);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_per_interval_and_the_rest_counted() {
        let limiter = Limiter::new(Duration::from_secs(1));
        let start = Instant::now();
        assert_eq!(limiter.pass(start), Some(0));
        assert_eq!(limiter.pass(start), None);
        assert_eq!(limiter.pass(start + Duration::from_millis(999)), None);
        assert_eq!(limiter.pass(start + Duration::from_secs(1)), Some(2));
    }
}
