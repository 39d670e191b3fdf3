//! What becomes of runs: asked for, started, failed, called, retired, ended.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    Acquired, Draining, Entry, Order, Ready, Refusal, RunId, Slot, Slots, Starting, Waiter,
};
use crate::instances::Instance;

/// Calls that may wait for one start: as many as the default ceiling of calls of one env.
const WAITING_PER_INSTANCE: usize = 1024;
pub(super) const FIRST_BACK_OFF: Duration = Duration::from_secs(1);
pub(super) const LONGEST_BACK_OFF: Duration = Duration::from_secs(60);

impl<H: Clone, W, E: Clone> Slots<H, W, E> {
    /// A lease on the instance's run. Where there is none it is started, once, and `waiter` is told
    /// of the outcome; `bytes` are held meanwhile.
    pub(in crate::instances) fn acquire(
        &mut self,
        instance: &Arc<Instance>,
        bytes: u64,
        now: Instant,
        waiter: impl FnOnce() -> W,
    ) -> Acquired<H, E> {
        if self.ending {
            return Acquired::Now(Err(Refusal::Ending));
        }
        let Some(entry) = self.entry(instance) else {
            // A collision of keys: the table has another instance there.
            return Acquired::Now(Err(Refusal::NoRoom));
        };
        let run = entry.run();
        match &mut entry.slot {
            Slot::Ready(ready) => {
                ready.leases += 1;
                ready.last_used = now;
                return Acquired::Now(Ok((ready.handle.clone(), run)));
            }
            Slot::Failed { error, until } if *until > now => {
                return Acquired::Now(Err(Refusal::Failed {
                    error: error.clone(),
                    retry_after: until.saturating_duration_since(now),
                }));
            }
            Slot::Starting(_) => {}
            Slot::Absent | Slot::Failed { .. } => {
                if let Err(refusal) = self.begin_start(instance) {
                    return Acquired::Now(Err(refusal));
                }
            }
        }
        let (most, most_bytes) = (self.config.max_waiting.get(), self.waiting_bytes);
        let (all, ticket) = (self.waiting, self.next_ticket);
        let Some(entry) = self.entry(instance) else {
            return Acquired::Now(Err(Refusal::NoRoom));
        };
        let run = entry.run();
        let Slot::Starting(starting) = &mut entry.slot else {
            return Acquired::Now(Err(Refusal::NoRoom));
        };
        let is_first = starting.waiting.is_empty();
        if all >= most
            || starting.waiting.len() >= WAITING_PER_INSTANCE
            || !is_first && starting.bytes.saturating_add(bytes) > most_bytes
        {
            return Acquired::Now(Err(Refusal::Crowded));
        }
        let tell = waiter();
        starting.bytes += bytes;
        starting.waiting.insert(ticket, Waiter { tell, bytes });
        self.waiting += 1;
        self.next_ticket += 1;
        Acquired::Wait(run, ticket)
    }

    /// Queues a start, for which there is room or is made.
    fn begin_start(&mut self, instance: &Arc<Instance>) -> Result<(), Refusal<E>> {
        if self.waiting >= self.config.max_waiting.get() {
            return Err(Refusal::Crowded);
        }
        let staying = self.alive - self.draining.len();
        if staying + self.queue.len() >= self.config.max.get() && !self.evict() {
            return Err(Refusal::NoRoom);
        }
        self.next_generation += 1;
        let generation = self.next_generation;
        let retired = self.gone.contains(&instance.key().backend);
        if let Some(entry) = self.entry(instance) {
            entry.generation = generation;
            entry.slot = Slot::Starting(Starting {
                waiting: BTreeMap::new(),
                bytes: 0,
                retired,
            });
        }
        self.queue.push_back(Arc::clone(instance));
        self.start_queued();
        Ok(())
    }

    fn start_queued(&mut self) {
        while self.alive < self.config.max.get() && self.starting < self.config.max_starting.get() {
            let Some(instance) = self.queue.pop_front() else {
                return;
            };
            let Some(entry) = self.entry(&instance) else {
                continue;
            };
            let run = entry.run();
            self.alive += 1;
            self.starting += 1;
            self.orders.push(Order::Start(instance, run));
        }
    }

    /// One who waited has left.
    pub(in crate::instances) fn leave(&mut self, instance: &Instance, run: RunId, ticket: u64) {
        let Some(entry) = self.entry(instance).filter(|entry| entry.run() == run) else {
            return;
        };
        if let Slot::Starting(starting) = &mut entry.slot
            && let Some(waiter) = starting.waiting.remove(&ticket)
        {
            starting.bytes -= waiter.bytes;
            self.waiting -= 1;
        }
    }

    /// The run is ready: all who wait get it.
    pub(in crate::instances) fn started(
        &mut self,
        instance: &Arc<Instance>,
        run: RunId,
        handle: H,
        now: Instant,
    ) {
        self.starting -= 1;
        let told = match self.entry(instance) {
            Some(entry) if entry.run() == run => match &mut entry.slot {
                Slot::Starting(starting) => {
                    let told = std::mem::take(&mut starting.waiting);
                    let retired = starting.retired;
                    entry.slot = Slot::Ready(Ready {
                        handle: handle.clone(),
                        leases: told.len(),
                        calls: 0,
                        since: now,
                        last_used: now,
                    });
                    Some((told, retired))
                }
                _ => None,
            },
            _ => None,
        };
        match told {
            Some((told, retired)) => {
                self.waiting -= told.len();
                for waiter in told.into_values() {
                    let outcome = Ok((handle.clone(), run));
                    self.orders.push(Order::Tell(waiter.tell, outcome));
                }
                if retired {
                    self.retire(instance, run);
                }
            }
            // Nobody wants it any more.
            None => {
                let draining = Draining {
                    handle: handle.clone(),
                    leases: 0,
                    exited: false,
                };
                self.draining.insert(run, (Arc::clone(instance), draining));
                self.orders.push(Order::Stop(handle));
            }
        }
        self.start_queued();
    }

    /// The run came to nothing: all who wait are told, and it isn't tried again for a while. Its
    /// [`Slots::ended`] follows.
    pub(in crate::instances) fn start_failed(
        &mut self,
        instance: &Instance,
        run: RunId,
        error: E,
        now: Instant,
    ) {
        self.starting -= 1;
        let Some(entry) = self.entry(instance).filter(|entry| entry.run() == run) else {
            return;
        };
        let Slot::Starting(starting) = &mut entry.slot else {
            return;
        };
        let told = std::mem::take(&mut starting.waiting);
        let retry_after = fail(entry, error.clone(), now);
        self.waiting -= told.len();
        for waiter in told.into_values() {
            let error = error.clone();
            let outcome = Err(Refusal::Failed { error, retry_after });
            self.orders.push(Order::Tell(waiter.tell, outcome));
        }
        self.start_queued();
    }

    /// A lease has ended; `served`: with an answer.
    pub(in crate::instances) fn release(
        &mut self,
        instance: &Arc<Instance>,
        run: RunId,
        served: bool,
        now: Instant,
    ) {
        if let Some((_, draining)) = self.draining.get_mut(&run) {
            draining.leases -= 1;
            if draining.leases == 0 && !draining.exited {
                self.orders.push(Order::Stop(draining.handle.clone()));
            }
            return;
        }
        let max_calls = self.config.max_calls;
        let Some(entry) = self.entry(instance).filter(|entry| entry.run() == run) else {
            return;
        };
        let Slot::Ready(ready) = &mut entry.slot else {
            return;
        };
        ready.leases -= 1;
        ready.last_used = now;
        if served {
            ready.calls += 1;
            entry.failures = 0;
        }
        if max_calls.is_some_and(|most| ready.calls >= most.get()) {
            self.retire(instance, run);
        }
    }

    /// The run's process has ended unasked. One that never served counts as a failed start; one
    /// that did is started again by the next call. Its [`Slots::ended`] follows.
    pub(in crate::instances) fn exited(
        &mut self,
        instance: &Arc<Instance>,
        run: RunId,
        error: E,
        now: Instant,
    ) {
        if let Some((_, draining)) = self.draining.get_mut(&run) {
            draining.exited = true;
            // Where a call was refused first, this says more of the same end.
            if let Some(entry) = self.entry(instance).filter(|entry| entry.run() == run) {
                if let Slot::Failed { error: known, .. } = &mut entry.slot {
                    known.clone_from(&error);
                }
                entry.last_error = Some(error);
            }
            return;
        }
        let Some(entry) = self.entry(instance).filter(|entry| entry.run() == run) else {
            return;
        };
        if !matches!(entry.slot, Slot::Ready(_)) {
            return;
        }
        let Slot::Ready(ready) = std::mem::replace(&mut entry.slot, Slot::Absent) else {
            return;
        };
        if ready.calls > 0 {
            entry.last_error = Some(error);
        } else {
            fail(entry, error, now);
        }
        self.drain(instance, run, ready, true);
    }

    /// The run's process is gone for good, and all that it left: there is room for another.
    pub(in crate::instances) fn ended(&mut self, run: RunId) {
        self.alive -= 1;
        self.draining.remove(&run);
        self.start_queued();
    }
}

/// Notes a failed start; how long until the next.
fn fail<H, W, E: Clone>(entry: &mut Entry<H, W, E>, error: E, now: Instant) -> Duration {
    let back_off = FIRST_BACK_OFF
        .saturating_mul(1 << entry.failures.min(6))
        .min(LONGEST_BACK_OFF)
        .mul_f64(0.8 + 0.2 * fastrand::f64());
    entry.failures = entry.failures.saturating_add(1);
    entry.last_error = Some(error.clone());
    entry.slot = Slot::Failed {
        error,
        until: now + back_off,
    };
    back_off
}
