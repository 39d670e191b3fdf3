//! How many bytes of bodies are held in memory at once, in all (2003).

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

/// What all calls together may hold.
#[derive(Debug)]
pub(super) struct Budget {
    limit: u64,
    held: AtomicU64,
}

/// Bytes that one call holds, given back on drop.
#[derive(Debug)]
pub(super) struct Held {
    budget: Arc<Budget>,
    bytes: u64,
}

/// The gateway holds as many bytes as it may.
#[derive(Debug)]
pub(super) struct OverBudget;

impl Budget {
    pub(super) const fn new(limit: u64) -> Self {
        Self {
            limit,
            held: AtomicU64::new(0),
        }
    }

    /// What all calls hold now.
    pub(super) fn held(&self) -> u64 {
        self.held.load(Relaxed)
    }

    /// Nothing yet; see [`Held::grow`].
    pub(super) fn begin(self: &Arc<Self>) -> Held {
        Held {
            budget: Arc::clone(self),
            bytes: 0,
        }
    }
}

impl Held {
    /// Takes `bytes` more, or none where that is over the limit.
    pub(super) fn grow(&mut self, bytes: u64) -> Result<(), OverBudget> {
        let within = |held: u64| {
            held.checked_add(bytes)
                .filter(|&sum| sum <= self.budget.limit)
        };
        self.budget
            .held
            .fetch_update(Relaxed, Relaxed, within)
            .map_err(|_| OverBudget)?;
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.budget.held.fetch_sub(self.bytes, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_never_passes_the_limit_and_comes_back() {
        let budget = Arc::new(Budget::new(10));
        let mut one = budget.begin();
        one.grow(6).unwrap();
        let mut two = budget.begin();
        assert!(two.grow(5).is_err());
        two.grow(4).unwrap();
        assert_eq!(budget.held(), 10);
        drop(one);
        two.grow(6).unwrap();
        drop(two);
        assert_eq!(budget.held(), 0);
    }
}
