//! How many calls of one instance run and wait (CONTRACT 6).
//!
//! Of a burst exactly concurrency + queue calls are taken; the rest is refused at once. Waiting is
//! first come, first served; who leaves gives up the place at once.

use std::{
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout_at,
};

use super::{CallLimits, Instance, RunLease};

/// Why a call isn't let in.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdmissionError {
    /// The queue is full (2000).
    #[error("the queue of this env is full (concurrency {concurrency}, queue {queue})")]
    QueueFull {
        /// Calls that run.
        concurrency: NonZeroU32,
        /// Calls that wait.
        queue: NonZeroU32,
        /// When a place should be free, by how long calls took lately.
        retry_after: Duration,
    },
    /// The deadline passed in the queue (2001).
    #[error("the call waited in the queue of its env for as long as it may take in all")]
    WaitedTooLong {
        /// When the queue should have moved on, by how long calls took lately.
        retry_after: Duration,
    },
}

/// The gate before one instance.
#[derive(Debug)]
pub(super) struct Admission {
    limits: CallLimits,
    running: Arc<Semaphore>,
    waiting: AtomicU32,
    /// How long calls took lately, in microseconds: an exponential average.
    service_micros: AtomicU64,
}

impl Admission {
    pub(super) fn new(limits: CallLimits) -> Self {
        let concurrency = usize::try_from(limits.concurrency.get()).unwrap_or(usize::MAX);
        Self {
            limits,
            running: Arc::new(Semaphore::new(concurrency.min(Semaphore::MAX_PERMITS))),
            waiting: AtomicU32::new(0),
            service_micros: AtomicU64::new(0),
        }
    }

    /// Whether a call runs or waits.
    pub(super) fn is_busy(&self) -> bool {
        let all = usize::try_from(self.limits.concurrency.get()).unwrap_or(usize::MAX);
        self.waiting.load(Relaxed) > 0 || self.running.available_permits() < all
    }

    /// How many calls run.
    pub(super) fn running(&self) -> usize {
        let all = usize::try_from(self.limits.concurrency.get()).unwrap_or(usize::MAX);
        let all = all.min(Semaphore::MAX_PERMITS);
        all.saturating_sub(self.running.available_permits())
    }

    /// How many calls wait.
    pub(super) fn queued(&self) -> usize {
        usize::try_from(self.waiting.load(Relaxed)).unwrap_or(usize::MAX)
    }

    /// A permit that is free now.
    fn free_permit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.running).try_acquire_owned().ok()
    }

    async fn permit(&self, deadline: Instant) -> Result<OwnedSemaphorePermit, AdmissionError> {
        if let Some(permit) = self.free_permit() {
            return Ok(permit);
        }
        let Some(_place) = Place::take(&self.waiting, self.limits.queue) else {
            return Err(AdmissionError::QueueFull {
                concurrency: self.limits.concurrency,
                queue: self.limits.queue,
                retry_after: self.time_to_drain(1),
            });
        };
        let permit = Arc::clone(&self.running).acquire_owned();
        match timeout_at(tokio::time::Instant::from_std(deadline), permit).await {
            // Timers are coarser than clocks: a turn that comes after the deadline comes too late.
            Ok(Ok(permit)) if Instant::now() < deadline => Ok(permit),
            // The semaphore is never closed; a wait that ends without a permit is a wait in vain.
            Ok(_) | Err(_) => Err(AdmissionError::WaitedTooLong {
                retry_after: self.time_to_drain(self.waiting.load(Relaxed)),
            }),
        }
    }

    /// How long until `calls` calls have ended, at the pace of late.
    fn time_to_drain(&self, calls: u32) -> Duration {
        const LONGEST: Duration = Duration::from_secs(60);
        let service = Duration::from_micros(self.service_micros.load(Relaxed));
        let rounds = f64::from(calls.max(1)) / f64::from(self.limits.concurrency.get());
        service
            .mul_f64(rounds)
            .clamp(Duration::from_secs(1), LONGEST)
    }

    fn took(&self, duration: Duration) {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let before = self.service_micros.load(Relaxed);
        // Two threads may overwrite each other's sample: it is an estimate.
        let average = if before == 0 {
            micros
        } else {
            before - before / 8 + micros / 8
        };
        self.service_micros.store(average, Relaxed);
    }
}

/// A place in the queue, given up on drop.
struct Place<'a>(&'a AtomicU32);

impl<'a> Place<'a> {
    fn take(waiting: &'a AtomicU32, queue: NonZeroU32) -> Option<Self> {
        let next = |count: u32| (count < queue.get()).then_some(count + 1);
        waiting
            .fetch_update(Relaxed, Relaxed, next)
            .ok()
            .map(|_| Self(waiting))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

/// The right to send one call to one instance; dropping it frees the place and starts the idle
/// clock.
#[derive(Debug)]
pub struct Lease {
    instance: Arc<Instance>,
    admitted: Instant,
    _permit: OwnedSemaphorePermit,
    /// The process that gets the call, where the instance has one of its own.
    pub run: Option<RunLease>,
}

impl Lease {
    /// A place that is free `now`. Else gives `run` back.
    ///
    /// # Errors
    /// All places are taken.
    pub fn of_free_place(
        instance: &Arc<Instance>,
        run: Option<RunLease>,
        now: Instant,
    ) -> Result<Self, Option<RunLease>> {
        match instance.admission.free_permit() {
            Some(permit) => Ok(Self {
                instance: Arc::clone(instance),
                admitted: now,
                _permit: permit,
                run,
            }),
            None => Err(run),
        }
    }

    /// Waits until the instance takes another call, at most until `deadline`. Its process isn't
    /// retired meanwhile. Dropping the future gives up the place in the queue.
    ///
    /// # Errors
    /// [`AdmissionError`].
    pub async fn acquire(
        instance: Arc<Instance>,
        run: Option<RunLease>,
        deadline: Instant,
    ) -> Result<Self, AdmissionError> {
        let permit = instance.admission.permit(deadline).await?;
        Ok(Self {
            instance,
            admitted: Instant::now(),
            _permit: permit,
            run,
        })
    }

    /// When the call was let in.
    #[must_use]
    pub const fn admitted(&self) -> Instant {
        self.admitted
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let now = Instant::now();
        let took = now.saturating_duration_since(self.admitted);
        self.instance.admission.took(took);
        self.instance.touch(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(concurrency: u32, queue: u32) -> Arc<Admission> {
        let number = |number| NonZeroU32::new(number).unwrap();
        let limits = CallLimits {
            concurrency: number(concurrency),
            queue: number(queue),
        };
        Arc::new(Admission::new(limits))
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_is_served_up_to_concurrency_and_queue() {
        let gate = gate(10, 20);
        let deadline = Instant::now() + Duration::from_secs(3600);
        let mut running = Vec::new();
        for _ in 0..10 {
            running.push(gate.permit(deadline).await.unwrap());
        }
        let mut waiting = tokio::task::JoinSet::new();
        for _ in 0..20 {
            let gate = Arc::clone(&gate);
            waiting.spawn(async move { gate.permit(deadline).await.map(drop) });
        }
        tokio::task::yield_now().await;
        let refused = gate.permit(deadline).await.unwrap_err();
        assert!(matches!(refused, AdmissionError::QueueFull { .. }));
        drop(running);
        while let Some(served) = waiting.join_next().await {
            served.unwrap().unwrap();
        }
        assert!(!gate.is_busy());
    }

    #[tokio::test(start_paused = true)]
    async fn who_leaves_frees_the_place_and_who_waits_too_long_is_told_so() {
        let gate = gate(1, 1);
        let deadline = Instant::now() + Duration::from_secs(3600);
        let running = gate.permit(deadline).await.unwrap();
        let left = Arc::clone(&gate);
        let left = tokio::spawn(async move { left.permit(deadline).await.map(drop) });
        tokio::task::yield_now().await;
        left.abort();
        assert!(left.await.unwrap_err().is_cancelled());
        let soon = Instant::now() + Duration::from_millis(20);
        let late = gate.permit(soon).await.unwrap_err();
        assert!(matches!(late, AdmissionError::WaitedTooLong { .. }));
        drop(running);
        assert!(!gate.is_busy());
    }

    #[test]
    fn retry_after_follows_how_long_calls_take() {
        let gate = gate(2, 10);
        assert_eq!(gate.time_to_drain(10), Duration::from_secs(1));
        gate.took(Duration::from_secs(4));
        assert_eq!(gate.time_to_drain(10), Duration::from_secs(20));
        assert_eq!(gate.time_to_drain(1000), Duration::from_secs(60));
    }
}
