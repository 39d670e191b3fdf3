//! Instances by key, and the way to their processes.

use std::{
    num::NonZeroUsize,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::{sync::mpsc, sync::oneshot, time::timeout_at};

use super::{
    Config, HotEnv, Instance, InstanceKey, Recipe, RunError, RunLease, Running,
    slots::{Acquired, Order, Outcome, Refusal, RunId, SlotView, Slots},
};

/// Bytes of envs and codes that the table holds, for each instance that it may hold. An env is a
/// few hundred bytes, so this is not the bound that usually counts; a client could send a different
/// one of a megabyte with each call.
const INSTANCE_BYTES: usize = 4096;

/// The same for all together, where few instances may be held: each may be a large one.
const LEAST_MAX_BYTES: usize = 256 << 20;

/// How long an instance that nobody calls and that has no process is kept, with its env in memory.
const IDLE: Duration = Duration::from_secs(600);

/// Every instance is in use, and the table holds no more.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many envs are in use at once")]
pub struct TableFull;

/// Why there is no process to be had for an instance.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StartRefused {
    /// Its start failed, just now or lately (3001, 3003; the error says which).
    #[error("the instance can't be started")]
    Failed {
        /// Why.
        #[source]
        error: Arc<RunError>,
        /// When it is tried again.
        retry_after: Duration,
    },
    /// As many processes run as may, and none is idle (2002).
    #[error("as many instances run as may, and all are in use")]
    NoRoom,
    /// Too many calls wait for starts (2003).
    #[error("too many calls wait for instances to start")]
    Crowded,
    /// The gateway is ending (3002).
    #[error("the gateway is ending")]
    Ending,
    /// The caller's deadline passed (3003).
    #[error("the instance wasn't ready for as long as the call may take")]
    WaitedTooLong,
}

impl From<Refusal<Arc<RunError>>> for StartRefused {
    fn from(refusal: Refusal<Arc<RunError>>) -> Self {
        match refusal {
            Refusal::Failed { error, retry_after } => Self::Failed { error, retry_after },
            Refusal::NoRoom => Self::NoRoom,
            Refusal::Crowded => Self::Crowded,
            Refusal::Ending => Self::Ending,
        }
    }
}

/// A start that the supervisor is to make.
#[derive(Debug)]
pub(super) struct StartOrder {
    pub(super) instance: Arc<Instance>,
    pub(super) run: RunId,
}

/// One who waits for a start.
#[derive(Debug)]
pub(super) struct Waiter {
    instance: Arc<Instance>,
    tell: oneshot::Sender<Result<RunLease, StartRefused>>,
}

type TableSlots = Slots<Arc<Running>, Waiter, Arc<RunError>>;
type TableOrder = Order<Arc<Running>, Waiter, Arc<RunError>>;

/// Instances by key; those that nobody has called the longest make room.
#[derive(Debug)]
pub struct Table {
    began: Instant,
    slots: Mutex<TableSlots>,
    max_instances: usize,
    max_bytes: usize,
    starts: mpsc::UnboundedSender<StartOrder>,
}

impl Table {
    /// An empty table for so many instances. `waiting_bytes`: what the bodies of those who wait for
    /// one start may take. Each order to start is sent to the supervisor at the other end.
    pub(super) fn new(
        config: Config,
        max_instances: NonZeroUsize,
        waiting_bytes: u64,
        starts: mpsc::UnboundedSender<StartOrder>,
    ) -> Self {
        let max_instances = max_instances.get();
        let max_bytes = max_instances.saturating_mul(INSTANCE_BYTES);
        Self {
            began: Instant::now(),
            slots: Mutex::new(Slots::new(config, waiting_bytes)),
            max_instances,
            max_bytes: max_bytes.max(LEAST_MAX_BYTES),
            starts,
        }
    }

    /// The instance for this key, made where there is none. `recipe` is asked only then.
    ///
    /// Two envs with one key (a collision of the hash) never share an instance: the second gets
    /// one of its own that isn't kept.
    ///
    /// # Errors
    /// [`TableFull`].
    pub fn instance(
        &self,
        key: &InstanceKey,
        env: Option<&Arc<HotEnv>>,
        recipe: impl FnOnce() -> Recipe,
    ) -> Result<Arc<Instance>, TableFull> {
        let mut slots = self.slots.lock();
        let collides = match slots.get(key) {
            Some(instance) if instance.has_env(env) => return Ok(Arc::clone(instance)),
            found => found.is_some(),
        };
        let id = slots.next_instance_id();
        let instance = Instance::new(id, key.clone(), env, recipe(), self.began);
        let instance = Arc::new(instance);
        if !collides && !slots.put(&instance, self.max_instances, self.max_bytes) {
            return Err(TableFull);
        }
        Ok(instance)
    }

    /// A lease on the instance's process, which is started where there is none. Dropping the future
    /// gives up the wait; a start goes on.
    ///
    /// `bytes`: what the caller holds in memory meanwhile.
    ///
    /// # Errors
    /// [`StartRefused`].
    pub async fn run(
        self: &Arc<Self>,
        instance: &Arc<Instance>,
        bytes: u64,
        deadline: Instant,
    ) -> Result<RunLease, StartRefused> {
        match self.ask(instance, bytes) {
            Asked::Told(outcome) => outcome,
            Asked::Waiting(waiting) => timeout_at(deadline.into(), waiting.told())
                .await
                .unwrap_or(Err(StartRefused::WaitedTooLong)),
        }
    }

    /// Asks for a lease, and begins a start where there must be one.
    pub(super) fn ask(self: &Arc<Self>, instance: &Arc<Instance>, bytes: u64) -> Asked {
        let mut receiver = None;
        let acquired = self.change(|slots| {
            // Nothing of it is made for a call that finds its process ready.
            let waiter = || {
                let (tell, told) = oneshot::channel();
                receiver = Some(told);
                let instance = Arc::clone(instance);
                Waiter { instance, tell }
            };
            slots.acquire(instance, bytes, Instant::now(), waiter)
        });
        match (acquired, receiver) {
            (Acquired::Now(outcome), _) => Asked::Told(self.lease(instance, outcome, false)),
            (Acquired::Wait(run, ticket), Some(told)) => Asked::Waiting(Waiting {
                told,
                _place: Place {
                    table: Arc::clone(self),
                    instance: Arc::clone(instance),
                    run,
                    ticket,
                },
            }),
            // Who is to wait was made a waiter.
            (Acquired::Wait(..), None) => Asked::Told(Err(StartRefused::Ending)),
        }
    }

    fn lease(
        self: &Arc<Self>,
        instance: &Arc<Instance>,
        outcome: Outcome<Arc<Running>, Arc<RunError>>,
        waited: bool,
    ) -> Result<RunLease, StartRefused> {
        let (running, run) = outcome?;
        Ok(RunLease::new(
            Arc::clone(self),
            Arc::clone(instance),
            run,
            running,
            waited,
        ))
    }

    /// Changes the slots and then does what follows from it, without the lock.
    pub(super) fn change<T>(self: &Arc<Self>, change: impl FnOnce(&mut TableSlots) -> T) -> T {
        let (result, orders) = {
            let mut slots = self.slots.lock();
            let result = change(&mut slots);
            (result, slots.take_orders())
        };
        for order in orders {
            self.carry_out(order);
        }
        result
    }

    fn carry_out(self: &Arc<Self>, order: TableOrder) {
        match order {
            Order::Start(instance, run) => {
                // Where the supervisor is gone, the gateway is ending and nobody waits any more.
                drop(self.starts.send(StartOrder { instance, run }));
            }
            Order::Stop(running) => running.stop(),
            Order::Tell(waiter, outcome) => {
                let outcome = self.lease(&waiter.instance, outcome, true);
                // Who has left in between lets go of the lease by not taking it.
                drop(waiter.tell.send(outcome));
            }
        }
    }

    /// Follows a new configuration.
    pub fn configure(self: &Arc<Self>, config: Config) {
        self.change(|slots| slots.configure(config));
    }

    /// Retires every process of a backend: calls under way are finished, new ones start anew.
    pub fn retire_backend(self: &Arc<Self>, backend: u64) {
        self.change(|slots| slots.retire_backend(backend));
    }

    /// Drops what nobody has called for ten minutes; to be called every so often.
    pub fn sweep(&self) {
        let now = self.began.elapsed().as_secs();
        let is_stale =
            |instance: &Instance| now.saturating_sub(instance.last_used()) > IDLE.as_secs();
        self.slots.lock().sweep(is_stale);
    }

    /// How many instances there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.lock().len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The configuration in force.
    pub(super) fn config(&self) -> Config {
        self.slots.lock().config().clone()
    }

    pub(super) fn views(&self) -> Vec<SlotView<Arc<Running>, Arc<RunError>>> {
        self.slots.lock().views()
    }

    /// Processes between the order to start them and their end, and calls that wait for starts.
    pub(super) fn alive_and_waiting(&self) -> (usize, usize) {
        let slots = self.slots.lock();
        (slots.alive(), slots.waiting())
    }
}

/// What comes of asking for a lease.
pub(super) enum Asked {
    /// It, or why there is none.
    Told(Result<RunLease, StartRefused>),
    /// It takes a start.
    Waiting(Waiting),
}

/// A wait for a start; dropped, it is given up.
pub(super) struct Waiting {
    told: oneshot::Receiver<Result<RunLease, StartRefused>>,
    _place: Place,
}

impl Waiting {
    pub(super) async fn told(self) -> Result<RunLease, StartRefused> {
        // Who isn't told anything was in a table that is no more.
        self.told.await.unwrap_or(Err(StartRefused::Ending))
    }
}

/// A place among those who wait.
struct Place {
    table: Arc<Table>,
    instance: Arc<Instance>,
    run: RunId,
    ticket: u64,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut slots = self.table.slots.lock();
        slots.leave(&self.instance, self.run, self.ticket);
    }
}
