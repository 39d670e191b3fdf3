//! The table under every order of events that chance finds: callers that come, wait, leave and end,
//! processes that start, fail, exit and are retired, all at once.
//!
//! The table's own lock makes each of its operations one step; shuttle chooses between the steps.

use std::{
    collections::{HashMap, HashSet},
    num::NonZeroUsize,
    sync::Arc,
};

use http::HeaderValue;
use parking_lot::Mutex;
use shuttle::{future::block_on, rand::Rng, thread};
use tokio::sync::mpsc;

use super::{
    Config, Instance, InstanceKey, Recipe, RunError, RunLease, Running, Table,
    slots::RunId,
    table::{Asked, StartOrder},
};
use crate::backend::{Address, Endpoint};

const SCHEDULES: usize = 10_000;
const MAX_PROCESSES: usize = 2;

/// What must hold, told by everyone who acts.
#[derive(Default)]
struct Truth {
    /// Processes between the order to start them and their end.
    alive: usize,
    /// Runs that are starting or serve, by instance: never two.
    current: HashMap<u64, RunId>,
    /// Leases that callers hold.
    leases: HashMap<RunId, usize>,
    /// Runs that a caller found dead: they are stopped at once.
    unreachable: HashSet<RunId>,
    /// Runs that were told to stop.
    stopped: HashSet<RunId>,
    done: bool,
}

type Shared = Arc<Mutex<Truth>>;

fn chance(one_in: u32) -> bool {
    shuttle::rand::thread_rng().gen_range(0..one_in) == 0
}

fn instance(table: &Table, number: u64) -> Arc<Instance> {
    let key = InstanceKey {
        backend: number,
        env: None,
        code: None,
    };
    let recipe = || Recipe {
        limits: super::AdmissionConfig::default().limits_without_env(),
        process: None,
        rev: None,
    };
    table.instance(&key, None, recipe).unwrap()
}

/// Calls an instance: gets a lease, is refused, or leaves before either.
fn call(table: &Arc<Table>, truth: &Shared) {
    let number = u64::from(chance(2));
    let instance = instance(table, number);
    let lease = match table.ask(&instance, 100) {
        Asked::Told(outcome) => outcome,
        Asked::Waiting(waiting) => {
            if chance(4) {
                thread::yield_now();
                drop(waiting);
                return;
            }
            block_on(waiting.told())
        }
    };
    let Ok(lease) = lease else { return };
    hold(lease, truth);
}

fn hold(mut lease: RunLease, truth: &Shared) {
    let run = lease.id();
    {
        let mut truth = truth.lock();
        // One that another caller found dead may be stopped before its lease is told of.
        let is_stopped = truth.stopped.contains(&run) && !truth.unreachable.contains(&run);
        assert!(!is_stopped, "a lease on a stopped run");
        *truth.leases.entry(run).or_default() += 1;
    }
    thread::yield_now();
    if chance(3) {
        truth.lock().unreachable.insert(run);
        lease.unreachable();
    } else if chance(2) {
        lease.served();
    }
    thread::yield_now();
    *truth.lock().leases.entry(run).or_default() -= 1;
    drop(lease);
}

/// One process, from the order to start it to its end.
fn process(table: &Arc<Table>, truth: &Shared, order: StartOrder) {
    let StartOrder { instance, run } = order;
    {
        let mut truth = truth.lock();
        truth.alive += 1;
        assert!(truth.alive <= MAX_PROCESSES, "too many processes");
        let other = truth.current.insert(run.instance, run);
        assert_eq!(other, None, "started twice");
    }
    thread::yield_now();
    let leave_slot = || truth.lock().current.remove(&run.instance);
    if chance(4) {
        leave_slot();
        let error = Arc::new(RunError::Cancelled);
        table.change(|slots| slots.start_failed(&instance, run, error, std::time::Instant::now()));
    } else {
        let host = HeaderValue::from_static("h");
        let endpoint = Endpoint::new(Address::Unix("/s".into()), host);
        let running = Arc::new(Running::new(endpoint, 1));
        // From here on it may be retired at any time, and another started.
        let watched = Arc::clone(&running);
        leave_slot();
        table.change(|slots| slots.started(&instance, run, running, std::time::Instant::now()));
        thread::yield_now();
        if chance(4) {
            let error = Arc::new(RunError::Exited("status 1".to_owned()));
            table.change(|slots| slots.exited(&instance, run, error, std::time::Instant::now()));
        } else {
            block_on(watched.stopped());
            let mut truth = truth.lock();
            let leases = truth.leases.get(&run).copied().unwrap_or(0);
            assert!(
                leases == 0 || truth.unreachable.contains(&run),
                "stopped under {leases} leases"
            );
            truth.stopped.insert(run);
        }
    }
    truth.lock().alive -= 1;
    table.change(|slots| slots.ended(run));
}

fn supervise(table: &Arc<Table>, truth: &Shared, mut orders: mpsc::UnboundedReceiver<StartOrder>) {
    let mut processes = Vec::new();
    loop {
        match orders.try_recv() {
            Ok(order) => {
                let (table, truth) = (Arc::clone(table), Arc::clone(truth));
                processes.push(thread::spawn(move || process(&table, &truth, order)));
            }
            Err(_) if truth.lock().done => break,
            Err(_) => thread::yield_now(),
        }
    }
    for process in processes {
        process.join().unwrap();
    }
}

fn schedule() {
    let (starts, orders) = mpsc::unbounded_channel();
    let config = Config {
        max: MAX_PROCESSES.try_into().unwrap(),
        max_starting: 1.try_into().unwrap(),
        max_calls: Some(3.try_into().unwrap()),
        ..Config::default()
    };
    let table = Arc::new(Table::new(config, NonZeroUsize::MAX, 1000, starts));
    let truth = Shared::default();
    let supervisor = {
        let (table, truth) = (Arc::clone(&table), Arc::clone(&truth));
        thread::spawn(move || supervise(&table, &truth, orders))
    };
    let callers: Vec<_> = (0..4)
        .map(|_| {
            let (table, truth) = (Arc::clone(&table), Arc::clone(&truth));
            thread::spawn(move || {
                for _ in 0..2 {
                    call(&table, &truth);
                }
            })
        })
        .collect();
    let drainer = {
        let table = Arc::clone(&table);
        thread::spawn(move || {
            for id in 1..=2 {
                thread::yield_now();
                // Whether there is something to drain is for the schedule to say.
                let _ = table.drain(id);
            }
        })
    };
    for caller in callers {
        caller.join().unwrap();
    }
    drainer.join().unwrap();
    table.change(super::slots::Slots::end);
    truth.lock().done = true;
    supervisor.join().unwrap();
    assert_eq!(truth.lock().alive, 0);
    assert_eq!(table.alive_and_waiting(), (0, 0));
}

#[test]
fn no_schedule_starts_twice_loses_a_waiter_or_leases_what_is_retired() {
    shuttle::check_random(schedule, SCHEDULES);
}
