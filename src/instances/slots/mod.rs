//! Which instance has a running process, and who waits for one. Pure: a state machine without
//! clocks, locks or tasks; time is passed in, and what is to be done comes out as [`Order`]s.
//!
//! ```text
//!            acquire                started
//!   Absent ----------> Starting ---------------> Ready ---> (draining) ---> ended
//!     ^                   | failed                 | exited
//!     |                   v                        v
//!     +--- back-off --- Failed <--- before it ever served
//! ```
//!
//! A start belongs to the slot: whoever calls meanwhile waits for its outcome, and all get the
//! same. A run that is retired leaves its slot at once, so that no call gets it any more, and is
//! stopped when its last lease ends. News of a run names its generation and counts only for that.

mod retirement;
mod runs;
mod view;

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use lru::LruCache;

use super::{Config, Instance, InstanceKey};
pub(super) use view::SlotView;
pub use view::State;

/// One run of an instance's process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct RunId {
    /// The instance.
    pub(super) instance: u64,
    /// Which run of all that the gateway ever began: a later one has a greater number.
    pub(super) generation: u64,
}

/// What is to be done once the lock is released. `H` is a running process, `W` one who waits, `E`
/// why a start failed.
#[derive(Debug)]
pub(super) enum Order<H, W, E> {
    /// Start this run.
    Start(Arc<Instance>, RunId),
    /// Stop it: no lease is left, and none will come.
    Stop(H),
    /// Tell one who waits what came of it.
    Tell(W, Outcome<H, E>),
}

/// What comes of asking for a run: a lease that is counted already, or why not.
pub(super) type Outcome<H, E> = Result<(H, RunId), Refusal<E>>;

/// Why there is no run to be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal<E> {
    /// Its start failed lately.
    Failed {
        /// Why.
        error: E,
        /// When it is tried again.
        retry_after: Duration,
    },
    /// As many processes run as may, and none is idle.
    NoRoom,
    /// Too many wait already.
    Crowded,
    /// The gateway is ending.
    Ending,
}

/// The answer to [`Slots::acquire`].
#[derive(Debug)]
pub(super) enum Acquired<H, E> {
    /// Now.
    Now(Outcome<H, E>),
    /// Once the start has come to an end; the ticket is for [`Slots::leave`].
    Wait(RunId, u64),
}

/// What an instance's process is up to.
#[derive(Debug)]
enum Slot<H, W, E> {
    Absent,
    Starting(Starting<W>),
    Ready(Ready<H>),
    Failed { error: E, until: Instant },
}

#[derive(Debug)]
struct Starting<W> {
    waiting: BTreeMap<u64, Waiter<W>>,
    bytes: u64,
    /// It serves those who wait for it and no one else.
    retired: bool,
}

#[derive(Debug)]
struct Waiter<W> {
    tell: W,
    bytes: u64,
}

#[derive(Debug)]
struct Ready<H> {
    handle: H,
    leases: usize,
    /// Calls that were answered.
    calls: u64,
    since: Instant,
    last_used: Instant,
}

/// A run that has left its slot.
#[derive(Debug)]
struct Draining<H> {
    handle: H,
    leases: usize,
    /// Its process has ended by itself: there is nothing to stop.
    exited: bool,
}

/// One instance and its slot.
#[derive(Debug)]
struct Entry<H, W, E> {
    instance: Arc<Instance>,
    slot: Slot<H, W, E>,
    generation: u64,
    /// Starts in a row that came to nothing.
    failures: u32,
    last_error: Option<E>,
}

impl<H, W, E> Entry<H, W, E> {
    fn run(&self) -> RunId {
        RunId {
            instance: self.instance.id(),
            generation: self.generation,
        }
    }

    /// Whether it may leave the table: nobody holds it or uses it. Under the table's lock nobody
    /// can begin to.
    fn is_idle(&self) -> bool {
        matches!(self.slot, Slot::Absent | Slot::Failed { .. })
            && Arc::strong_count(&self.instance) == 1
            && !self.instance.admission.is_busy()
    }
}

/// Instances by key, and their slots.
#[derive(Debug)]
pub(super) struct Slots<H, W, E> {
    config: Config,
    /// What the bodies of those who wait for one start may take, in bytes.
    waiting_bytes: u64,
    by_key: LruCache<InstanceKey, Entry<H, W, E>>,
    /// What the table holds of envs and codes, in bytes.
    bytes: usize,
    draining: HashMap<RunId, (Arc<Instance>, Draining<H>)>,
    /// Starts that wait for room, the longest first.
    queue: VecDeque<Arc<Instance>>,
    /// Processes between the order to start them and their end.
    alive: usize,
    /// Of these, how many are neither ready nor failed yet.
    starting: usize,
    waiting: usize,
    next_ticket: u64,
    next_instance: u64,
    next_generation: u64,
    ending: bool,
    /// Backends that are no more. A call that was routed just before may still come for one.
    gone: HashSet<u64>,
    orders: Vec<Order<H, W, E>>,
}

impl<H: Clone, W, E: Clone> Slots<H, W, E> {
    pub(super) fn new(config: Config, waiting_bytes: u64) -> Self {
        Self {
            config,
            waiting_bytes,
            by_key: LruCache::unbounded(),
            bytes: 0,
            draining: HashMap::new(),
            queue: VecDeque::new(),
            alive: 0,
            starting: 0,
            waiting: 0,
            next_ticket: 0,
            next_instance: 0,
            next_generation: 0,
            ending: false,
            gone: HashSet::new(),
            orders: Vec::new(),
        }
    }

    pub(super) const fn config(&self) -> &Config {
        &self.config
    }

    pub(super) fn configure(&mut self, config: Config) {
        self.config = config;
    }

    /// What is to be done about the changes since the last time.
    pub(super) fn take_orders(&mut self) -> Vec<Order<H, W, E>> {
        std::mem::take(&mut self.orders)
    }

    // Instances

    pub(super) fn get(&mut self, key: &InstanceKey) -> Option<&Arc<Instance>> {
        self.by_key.get(key).map(|entry| &entry.instance)
    }

    /// A number that no other instance has.
    pub(super) fn next_instance_id(&mut self) -> u64 {
        self.next_instance += 1;
        self.next_instance
    }

    /// Adds an instance, whose key must be new; idle ones make room for it. False where none is.
    pub(super) fn put(&mut self, instance: &Arc<Instance>, most: usize, most_bytes: usize) -> bool {
        while self.by_key.len() >= most
            || self.bytes.saturating_add(instance.bytes()) > most_bytes && !self.by_key.is_empty()
        {
            let mut oldest = self.by_key.iter().rev().take(64);
            let Some((key, _)) = oldest.find(|(_, entry)| entry.is_idle()) else {
                return false;
            };
            let key = key.clone();
            self.forget(&key);
        }
        self.bytes += instance.bytes();
        let entry = Entry {
            instance: Arc::clone(instance),
            slot: Slot::Absent,
            generation: 0,
            failures: 0,
            last_error: None,
        };
        self.by_key.put(instance.key().clone(), entry);
        true
    }

    fn forget(&mut self, key: &InstanceKey) {
        if let Some(entry) = self.by_key.pop(key) {
            self.bytes -= entry.instance.bytes();
        }
    }

    /// Drops the idle ones that `is_stale` tells, the least recently asked for first, up to the first
    /// that isn't stale: there may be very many.
    pub(super) fn sweep(&mut self, is_stale: impl Fn(&Instance) -> bool) {
        let stale = self.by_key.iter().rev();
        let stale = stale.take_while(|(_, entry)| is_stale(&entry.instance));
        let stale = stale.filter(|(_, entry)| entry.is_idle());
        let stale: Vec<_> = stale.map(|(key, _)| key.clone()).collect();
        for key in stale {
            self.forget(&key);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.by_key.len()
    }

    fn entry(&mut self, instance: &Instance) -> Option<&mut Entry<H, W, E>> {
        self.by_key
            .peek_mut(instance.key())
            .filter(|entry| entry.instance.id() == instance.id())
    }
}

#[cfg(test)]
mod tests;
