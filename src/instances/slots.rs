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

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use lru::LruCache;

use super::{Config, DrainError, Instance, InstanceKey};

/// Calls that may wait for one start: as many as the default ceiling of calls of one env.
const WAITING_PER_INSTANCE: usize = 1024;
const FIRST_BACK_OFF: Duration = Duration::from_secs(1);
const LONGEST_BACK_OFF: Duration = Duration::from_secs(60);

/// One run of an instance's process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct RunId {
    /// The instance.
    pub(super) instance: u64,
    /// Which of its runs, from 1.
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
    calls: u64,
    /// Whether a call has been answered.
    served: bool,
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

/// What is known of an instance, for people.
#[derive(Debug, Clone)]
pub(super) struct SlotView<H, E> {
    pub(super) instance: Arc<Instance>,
    pub(super) generation: u64,
    pub(super) state: State,
    pub(super) handle: Option<H>,
    pub(super) waiting: usize,
    pub(super) leases: usize,
    pub(super) calls: u64,
    pub(super) last_error: Option<E>,
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
    pub(super) const ALL: [Self; 4] = [Self::Starting, Self::Ready, Self::Failed, Self::Draining];

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
    ending: bool,
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
            ending: false,
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

    /// Drops the idle ones that `is_stale` tells.
    pub(super) fn sweep(&mut self, is_stale: impl Fn(&Instance) -> bool) {
        let stale = self.by_key.iter();
        let stale = stale.filter(|(_, entry)| entry.is_idle() && is_stale(&entry.instance));
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

    // Runs

    /// A lease on the instance's run. Where there is none it is started, once, and `waiter` is told
    /// of the outcome; `bytes` are held meanwhile.
    pub(super) fn acquire(
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
                ready.calls += 1;
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
        if let Some(entry) = self.entry(instance) {
            entry.generation += 1;
            entry.slot = Slot::Starting(Starting {
                waiting: BTreeMap::new(),
                bytes: 0,
                retired: false,
            });
        }
        self.queue.push_back(Arc::clone(instance));
        self.start_queued();
        Ok(())
    }

    /// Retires the run that has been idle the longest.
    fn evict(&mut self) -> bool {
        let mut oldest = self.by_key.iter().rev();
        let idle = oldest
            .find(|(_, entry)| matches!(&entry.slot, Slot::Ready(ready) if ready.leases == 0));
        let Some((_, entry)) = idle else { return false };
        let (instance, run) = (Arc::clone(&entry.instance), entry.run());
        self.retire(&instance, run)
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
    pub(super) fn leave(&mut self, instance: &Instance, run: RunId, ticket: u64) {
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
    pub(super) fn started(
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
                        calls: told.len() as u64,
                        served: false,
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
    pub(super) fn start_failed(&mut self, instance: &Instance, run: RunId, error: E, now: Instant) {
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
    pub(super) fn release(
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
        ready.served |= served;
        if served {
            entry.failures = 0;
        }
        if max_calls.is_some_and(|most| ready.calls >= most.get()) {
            self.retire(instance, run);
        }
    }

    /// The run gets no further call, and is stopped when its last one has ended. False where it
    /// isn't in its slot any more.
    pub(super) fn retire(&mut self, instance: &Arc<Instance>, run: RunId) -> bool {
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
    pub(super) fn retire_by_id(&mut self, id: u64) -> Result<(), DrainError> {
        let mut entries = self.by_key.iter();
        let found = entries.find(|(_, entry)| entry.instance.id() == id);
        let (_, entry) = found.ok_or(DrainError::Unknown(id))?;
        let (instance, run) = (Arc::clone(&entry.instance), entry.run());
        match self.retire(&instance, run) {
            true => Ok(()),
            false => Err(DrainError::NoProcess(id)),
        }
    }

    fn drain(&mut self, instance: &Arc<Instance>, run: RunId, ready: Ready<H>, exited: bool) {
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

    /// The run's process has ended unasked. One that never served counts as a failed start; one
    /// that did is started again by the next call. Its [`Slots::ended`] follows.
    pub(super) fn exited(&mut self, instance: &Arc<Instance>, run: RunId, error: E, now: Instant) {
        if let Some((_, draining)) = self.draining.get_mut(&run) {
            draining.exited = true;
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
        if ready.served {
            entry.last_error = Some(error);
        } else {
            fail(entry, error, now);
        }
        self.drain(instance, run, ready, true);
    }

    /// The run's process is gone for good, and all that it left: there is room for another.
    pub(super) fn ended(&mut self, run: RunId) {
        self.alive -= 1;
        self.draining.remove(&run);
        self.start_queued();
    }

    /// Retires what has been idle for too long, or is too old.
    pub(super) fn tick(&mut self, now: Instant) {
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

    /// Retires every run of a backend.
    pub(super) fn retire_backend(&mut self, backend: u64) {
        let of_backend = self.by_key.iter().filter(|(key, _)| key.backend == backend);
        let runs = of_backend.map(|(_, entry)| (Arc::clone(&entry.instance), entry.run()));
        let runs: Vec<_> = runs.collect();
        for (instance, run) in runs {
            self.retire(&instance, run);
        }
    }

    /// Ends it all: nothing is started any more, who waits is told so, and each run is stopped when
    /// its last lease ends.
    pub(super) fn end(&mut self) {
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

    // For people

    /// How many processes there are, between the order to start them and their end.
    pub(super) fn alive(&self) -> usize {
        self.alive
    }

    /// How many calls wait for starts.
    pub(super) fn waiting(&self) -> usize {
        self.waiting
    }

    /// What is known of each instance; runs that are draining come by themselves.
    pub(super) fn views(&self) -> Vec<SlotView<H, E>> {
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
