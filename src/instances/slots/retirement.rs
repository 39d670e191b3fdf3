//! Which runs get no further calls: asked for, idle, old, in the way of another, at the end.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Draining, Order, Ready, Refusal, RunId, Slot, Slots};
use crate::instances::{DrainError, Instance};

impl<H: Clone, W, E: Clone> Slots<H, W, E> {
    /// The run gets no further call, and is stopped when its last one has ended. False where it
    /// isn't in its slot any more.
    pub(in crate::instances) fn retire(&mut self, instance: &Arc<Instance>, run: RunId) -> bool {
        let Some(entry) = self.entry(instance).filter(|entry| entry.run() == run) else {
            return false;
        };
        match std::mem::replace(&mut entry.slot, Slot::Absent) {
            Slot::Ready(ready) => {
                self.drain(instance, run, ready, false);
                true
            }
            Slot::Starting(mut starting) => {
                starting.retired = true;
                entry.slot = Slot::Starting(starting);
                true
            }
            other => {
                entry.slot = other;
                false
            }
        }
    }

    /// Retires the run of the instance with this number.
    pub(in crate::instances) fn retire_by_id(&mut self, id: u64) -> Result<(), DrainError> {
        let mut entries = self.by_key.iter();
        let found = entries.find(|(_, entry)| entry.instance.id() == id);
        let (_, entry) = found.ok_or(DrainError::Unknown(id))?;
        let (instance, run) = (Arc::clone(&entry.instance), entry.run());
        match self.retire(&instance, run) {
            true => Ok(()),
            false => Err(DrainError::NoProcess(id)),
        }
    }

    pub(super) fn drain(
        &mut self,
        instance: &Arc<Instance>,
        run: RunId,
        ready: Ready<H>,
        exited: bool,
    ) {
        if ready.leases == 0 && !exited {
            self.orders.push(Order::Stop(ready.handle.clone()));
        }
        let draining = Draining {
            handle: ready.handle,
            leases: ready.leases,
            exited,
        };
        self.draining.insert(run, (Arc::clone(instance), draining));
    }

    /// Retires the run that has been idle the longest.
    pub(super) fn evict(&mut self) -> bool {
        let mut oldest = self.by_key.iter().rev();
        let idle = oldest
            .find(|(_, entry)| matches!(&entry.slot, Slot::Ready(ready) if ready.leases == 0));
        let Some((_, entry)) = idle else { return false };
        let (instance, run) = (Arc::clone(&entry.instance), entry.run());
        self.retire(&instance, run)
    }

    /// Retires what has been idle for too long, or is too old.
    pub(in crate::instances) fn tick(&mut self, now: Instant) {
        let config = self.config.clone();
        let mut ready_at: HashMap<u64, usize> = HashMap::new();
        for (key, entry) in &self.by_key {
            if matches!(entry.slot, Slot::Ready(_)) {
                *ready_at.entry(key.backend).or_default() += 1;
            }
        }
        let mut retired = Vec::new();
        // The least recently used first, so that `min` keeps the others.
        for (key, entry) in self.by_key.iter().rev() {
            let Slot::Ready(ready) = &entry.slot else {
                continue;
            };
            let is_older =
                |limit: Duration, since: Instant| now.saturating_duration_since(since) >= limit;
            let too_old = config.max_age.is_some_and(|age| is_older(age, ready.since));
            let idle = ready.leases == 0 && is_older(config.idle_timeout, ready.last_used);
            let left = ready_at.entry(key.backend).or_default();
            if too_old || idle && *left > config.min {
                *left -= 1;
                retired.push((Arc::clone(&entry.instance), entry.run()));
            }
        }
        for (instance, run) in retired {
            self.retire(&instance, run);
        }
    }

    /// Retires every run of a backend; what is started for it from now on serves those who wait
    /// for it and no one else.
    pub(in crate::instances) fn retire_backend(&mut self, backend: u64) {
        self.gone.insert(backend);
        let of_backend = self.by_key.iter().filter(|(key, _)| key.backend == backend);
        let runs = of_backend.map(|(_, entry)| (Arc::clone(&entry.instance), entry.run()));
        let runs: Vec<_> = runs.collect();
        for (instance, run) in runs {
            self.retire(&instance, run);
        }
    }

    /// Ends it all: nothing is started any more, who waits is told so, and each run is stopped when
    /// its last lease ends.
    pub(in crate::instances) fn end(&mut self) {
        self.ending = true;
        self.queue.clear();
        let runs: Vec<_> = self
            .by_key
            .iter()
            .map(|(_, entry)| (Arc::clone(&entry.instance), entry.run()))
            .collect();
        for (instance, run) in runs {
            let told = match self.entry(&instance).map(|entry| &mut entry.slot) {
                Some(Slot::Starting(starting)) => std::mem::take(&mut starting.waiting),
                _ => BTreeMap::new(),
            };
            self.waiting -= told.len();
            for waiter in told.into_values() {
                let outcome = Err(Refusal::Ending);
                self.orders.push(Order::Tell(waiter.tell, outcome));
            }
            self.retire(&instance, run);
        }
    }
}
