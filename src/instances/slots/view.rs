//! What is known of the instances, for people.

use std::sync::Arc;

use super::{Entry, Slot, Slots};
use crate::instances::Instance;

/// What is known of an instance, for people.
#[derive(Debug, Clone)]
pub(in crate::instances) struct SlotView<H, E> {
    pub(in crate::instances) instance: Arc<Instance>,
    pub(in crate::instances) generation: u64,
    pub(in crate::instances) state: State,
    pub(in crate::instances) handle: Option<H>,
    pub(in crate::instances) waiting: usize,
    pub(in crate::instances) leases: usize,
    pub(in crate::instances) calls: u64,
    pub(in crate::instances) last_error: Option<E>,
}

/// What an instance's process is up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// There is none.
    Absent,
    /// It is being started.
    Starting,
    /// It serves.
    Ready,
    /// Its start failed, and isn't tried again for a while.
    Failed,
    /// It finishes its calls and is then stopped.
    Draining,
}

impl State {
    /// Those of processes: all but absence.
    pub(in crate::instances) const ALL: [Self; 4] =
        [Self::Starting, Self::Ready, Self::Failed, Self::Draining];

    /// Its name in metrics and answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Failed => "failed",
            Self::Draining => "draining",
        }
    }
}

impl<H: Clone, W, E: Clone> Slots<H, W, E> {
    /// How many processes there are, between the order to start them and their end.
    pub(in crate::instances) fn alive(&self) -> usize {
        self.alive
    }

    /// How many calls wait for starts.
    pub(in crate::instances) fn waiting(&self) -> usize {
        self.waiting
    }

    /// What is known of each instance; runs that are draining come by themselves.
    pub(in crate::instances) fn views(&self) -> Vec<SlotView<H, E>> {
        let of_entry = |entry: &Entry<H, W, E>| {
            let mut view = SlotView {
                instance: Arc::clone(&entry.instance),
                generation: entry.generation,
                state: State::Absent,
                handle: None,
                waiting: 0,
                leases: 0,
                calls: 0,
                last_error: entry.last_error.clone(),
            };
            match &entry.slot {
                Slot::Absent => {}
                Slot::Failed { .. } => view.state = State::Failed,
                Slot::Starting(starting) => {
                    view.state = State::Starting;
                    view.waiting = starting.waiting.len();
                }
                Slot::Ready(ready) => {
                    view.state = State::Ready;
                    view.handle = Some(ready.handle.clone());
                    view.leases = ready.leases;
                    view.calls = ready.calls;
                }
            }
            view
        };
        let entries = self.by_key.iter().map(|(_, entry)| of_entry(entry));
        let draining = self
            .draining
            .iter()
            .map(|(run, (instance, draining))| SlotView {
                instance: Arc::clone(instance),
                generation: run.generation,
                state: State::Draining,
                handle: Some(draining.handle.clone()),
                waiting: 0,
                leases: draining.leases,
                calls: 0,
                last_error: None,
            });
        entries.chain(draining).collect()
    }
}
