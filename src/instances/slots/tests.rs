use super::{
    runs::{FIRST_BACK_OFF, LONGEST_BACK_OFF},
    *,
};
use crate::instances::{AdmissionConfig, Recipe};

type Tested = Slots<&'static str, u32, &'static str>;

struct Bench {
    slots: Tested,
    now: Instant,
    began: Instant,
}

impl Bench {
    fn new(config: Config) -> Self {
        let now = Instant::now();
        Self {
            slots: Slots::new(config, 1000),
            now,
            began: now,
        }
    }

    fn instance(&mut self, backend: u64) -> Arc<Instance> {
        let key = InstanceKey {
            backend,
            env: None,
            code: None,
        };
        if let Some(known) = self.slots.get(&key) {
            return Arc::clone(known);
        }
        let recipe = Recipe {
            limits: AdmissionConfig::default().limits_without_env(),
            process: None,
            rev: None,
        };
        let id = self.slots.next_instance_id();
        let instance = Arc::new(Instance::new(id, key, None, recipe, self.began));
        assert!(self.slots.put(&instance, 100, usize::MAX));
        instance
    }

    fn acquire(
        &mut self,
        instance: &Arc<Instance>,
        waiter: u32,
    ) -> Acquired<&'static str, &'static str> {
        self.slots.acquire(instance, 100, self.now, || waiter)
    }

    /// Asks, and expects to wait; the run.
    fn waits(&mut self, instance: &Arc<Instance>, waiter: u32) -> (RunId, u64) {
        match self.acquire(instance, waiter) {
            Acquired::Wait(run, ticket) => (run, ticket),
            other => panic!("not to wait: {other:?}"),
        }
    }

    /// Asks, and expects to be refused.
    fn refused(&mut self, instance: &Arc<Instance>) -> Refusal<&'static str> {
        match self.acquire(instance, 0) {
            Acquired::Now(Err(refusal)) => refusal,
            other => panic!("not refused: {other:?}"),
        }
    }

    /// The orders since the last time, in words.
    fn orders(&mut self) -> Vec<String> {
        let shown = |order| match order {
            Order::Start(_, run) => format!("start {}.{}", run.instance, run.generation),
            Order::Stop(handle) => format!("stop {handle}"),
            Order::Tell(waiter, Ok((handle, _))) => format!("tell {waiter} {handle}"),
            Order::Tell(waiter, Err(_)) => format!("tell {waiter} no"),
        };
        self.slots.take_orders().into_iter().map(shown).collect()
    }

    /// An instance that is ready, with one lease.
    fn ready(&mut self, backend: u64, handle: &'static str) -> (Arc<Instance>, RunId) {
        let instance = self.instance(backend);
        let (run, _) = self.waits(&instance, 0);
        self.slots.started(&instance, run, handle, self.now);
        self.orders();
        (instance, run)
    }

    fn idle(&mut self, backend: u64, handle: &'static str) -> (Arc<Instance>, RunId) {
        let (instance, run) = self.ready(backend, handle);
        self.slots.release(&instance, run, true, self.now);
        (instance, run)
    }
}

fn config(max: usize) -> Config {
    Config {
        max: max.try_into().unwrap(),
        ..Config::default()
    }
}

#[test]
fn all_who_ask_meanwhile_share_one_start_and_its_outcome() {
    let mut bench = Bench::new(config(4));
    let instance = bench.instance(1);
    let (run, _) = bench.waits(&instance, 1);
    let (_, leaver) = bench.waits(&instance, 2);
    bench.waits(&instance, 3);
    assert_eq!(bench.orders(), ["start 1.1"]);
    bench.slots.leave(&instance, run, leaver);
    bench.slots.started(&instance, run, "a", bench.now);
    assert_eq!(bench.orders(), ["tell 1 a", "tell 3 a"]);
    let (other, other_run) = (bench.instance(2), bench.instance(2));
    assert!(Arc::ptr_eq(&other, &other_run));
    let (run, _) = bench.waits(&other, 4);
    bench.waits(&other, 5);
    bench.slots.start_failed(&other, run, "no", bench.now);
    assert_eq!(bench.orders(), ["start 2.2", "tell 4 no", "tell 5 no"]);
    assert_eq!(bench.slots.waiting(), 0);
}

#[test]
fn a_failed_start_is_answered_at_once_and_tried_again_ever_later() {
    let mut bench = Bench::new(config(4));
    let instance = bench.instance(1);
    let mut before = Duration::ZERO;
    for attempt in 1..=9 {
        let (run, _) = bench.waits(&instance, 0);
        assert_eq!(run.generation, attempt);
        bench.slots.start_failed(&instance, run, "no", bench.now);
        bench.slots.ended(run);
        let Refusal::Failed { retry_after, .. } = bench.refused(&instance) else {
            panic!("refused for another reason");
        };
        assert!(retry_after >= before.mul_f64(0.8) && retry_after <= LONGEST_BACK_OFF);
        assert!(retry_after >= FIRST_BACK_OFF.mul_f64(0.8));
        before = retry_after;
        bench.now += retry_after;
    }
    assert!(before >= LONGEST_BACK_OFF.mul_f64(0.8));
    // Who serves once starts afresh.
    let (run, _) = bench.waits(&instance, 0);
    bench.slots.started(&instance, run, "a", bench.now);
    bench.slots.release(&instance, run, true, bench.now);
    bench.slots.exited(&instance, run, "gone", bench.now);
    bench.waits(&instance, 0);
}

#[test]
fn who_exits_before_it_served_has_failed_and_who_served_is_started_again() {
    let mut bench = Bench::new(config(4));
    let (instance, run) = bench.ready(1, "a");
    bench.slots.exited(&instance, run, "gone", bench.now);
    assert!(matches!(
        bench.refused(&instance),
        Refusal::Failed { error: "gone", .. }
    ));
    bench.slots.release(&instance, run, false, bench.now);
    bench.slots.ended(run);
    assert_eq!(bench.orders(), [""; 0]);
    let (instance, run) = bench.idle(2, "b");
    bench.slots.exited(&instance, run, "gone", bench.now);
    assert_eq!(bench.waits(&instance, 0).0.generation, 3);
}

#[test]
fn news_of_an_old_run_never_touches_its_successor() {
    let mut bench = Bench::new(config(4));
    let (instance, old) = bench.idle(1, "a");
    assert!(bench.slots.retire(&instance, old));
    let (new, _) = bench.waits(&instance, 0);
    bench.slots.started(&instance, new, "b", bench.now);
    bench.slots.exited(&instance, old, "gone", bench.now);
    assert!(!bench.slots.retire(&instance, old));
    bench.slots.release(&instance, new, true, bench.now);
    bench.slots.ended(old);
    assert_eq!(bench.orders(), ["stop a", "start 1.2", "tell 0 b"]);
    assert!(matches!(
        bench.acquire(&instance, 0),
        Acquired::Now(Ok(("b", _)))
    ));
    assert_eq!(bench.slots.alive(), 1);
}

#[test]
fn the_outcome_of_an_old_start_never_touches_the_one_under_way() {
    let mut bench = Bench::new(config(9));
    let (instance, old) = bench.idle(1, "a");
    bench.slots.exited(&instance, old, "gone", bench.now);
    bench.slots.ended(old);
    let (new, _) = bench.waits(&instance, 7);
    // Each outcome counts as the end of a start.
    for other in 2..4 {
        let other = bench.instance(other);
        bench.waits(&other, 0);
    }
    bench.orders();
    bench.slots.start_failed(&instance, old, "no", bench.now);
    assert_eq!(bench.orders(), [""; 0]);
    bench.slots.started(&instance, old, "late", bench.now);
    assert_eq!(bench.orders(), ["stop late"]);
    bench.slots.started(&instance, new, "b", bench.now);
    assert_eq!(bench.orders(), ["tell 7 b"]);
}

#[test]
fn a_retired_run_finishes_its_calls_and_is_then_stopped() {
    let mut bench = Bench::new(config(4));
    let (instance, run) = bench.ready(1, "a");
    assert!(bench.slots.retire(&instance, run));
    assert_eq!(bench.orders(), [""; 0]);
    bench.waits(&instance, 7);
    bench.slots.release(&instance, run, true, bench.now);
    assert_eq!(bench.orders(), ["start 1.2", "stop a"]);
}

#[test]
fn the_one_idle_the_longest_makes_room_and_the_start_waits_for_its_end() {
    let mut bench = Bench::new(config(2));
    let (first, first_run) = bench.idle(1, "a");
    let (_second, _) = bench.idle(2, "b");
    // Called last, the first isn't the oldest any more.
    bench.slots.get(first.key());
    let third = bench.instance(3);
    bench.waits(&third, 0);
    assert_eq!(bench.orders(), ["stop b"]);
    let second_run = RunId {
        instance: 2,
        generation: 2,
    };
    bench.slots.ended(second_run);
    assert_eq!(bench.orders(), ["start 3.3"]);
    assert!(matches!(bench.acquire(&first, 0), Acquired::Now(Ok(("a", run))) if run == first_run));
    let fourth = bench.instance(4);
    assert_eq!(bench.refused(&fourth), Refusal::NoRoom);
    assert_eq!(bench.orders(), [""; 0]);
}

#[test]
fn starts_take_turns_and_those_who_wait_are_bounded() {
    let mut bench = Bench::new(Config {
        max_starting: 1.try_into().unwrap(),
        max_waiting: 3.try_into().unwrap(),
        ..config(9)
    });
    let (one, two) = (bench.instance(1), bench.instance(2));
    let (run, _) = bench.waits(&one, 1);
    bench.waits(&two, 2);
    bench.waits(&two, 3);
    assert_eq!(bench.orders(), ["start 1.1"]);
    assert_eq!(bench.refused(&one), Refusal::Crowded);
    let three = bench.instance(3);
    assert_eq!(bench.refused(&three), Refusal::Crowded);
    bench.slots.started(&one, run, "a", bench.now);
    assert_eq!(bench.orders(), ["tell 1 a", "start 2.2"]);
}

#[test]
fn bytes_that_wait_for_one_start_are_bounded() {
    let mut bench = Bench::new(config(4));
    let instance = bench.instance(1);
    for waiter in 0..10 {
        bench.waits(&instance, waiter);
    }
    assert_eq!(bench.refused(&instance), Refusal::Crowded);
}

#[test]
fn idle_old_and_much_used_runs_are_retired_but_for_the_least_number() {
    let mut bench = Bench::new(Config {
        min: 1,
        idle_timeout: Duration::from_secs(10),
        max_age: Some(Duration::from_secs(100)),
        max_calls: Some(2.try_into().unwrap()),
        ..config(9)
    });
    let (one, _) = bench.idle(1, "a");
    bench.now += Duration::from_secs(11);
    bench.slots.tick(bench.now);
    assert_eq!(bench.orders(), [""; 0], "the only one of its backend stays");
    let Acquired::Now(Ok((_, run))) = bench.acquire(&one, 0) else {
        panic!("it isn't ready");
    };
    bench.slots.release(&one, run, true, bench.now);
    assert_eq!(bench.orders(), ["stop a"], "it had its two calls");
    let (_two, _) = bench.idle(2, "b");
    bench.now += Duration::from_secs(100);
    bench.slots.tick(bench.now);
    assert_eq!(bench.orders(), ["stop b"], "age counts whatever the number");
}

#[test]
fn the_end_tells_who_waits_and_starts_nothing() {
    let mut bench = Bench::new(config(4));
    let (instance, run) = bench.ready(1, "a");
    let starting = bench.instance(2);
    let (start, _) = bench.waits(&starting, 5);
    bench.slots.end();
    assert_eq!(bench.orders(), ["start 2.2", "tell 5 no"]);
    assert_eq!(bench.refused(&instance), Refusal::Ending);
    bench.slots.release(&instance, run, true, bench.now);
    bench.slots.started(&starting, start, "b", bench.now);
    assert_eq!(bench.orders(), ["stop a", "stop b"]);
}

#[test]
fn what_is_started_for_a_backend_that_is_gone_serves_who_waits_and_ends() {
    let mut bench = Bench::new(config(4));
    let (instance, run) = bench.idle(1, "a");
    bench.slots.retire_backend(1);
    bench.slots.ended(run);
    bench.orders();
    // Routed just before.
    let (run, _) = bench.waits(&instance, 7);
    bench.slots.started(&instance, run, "b", bench.now);
    assert_eq!(bench.orders(), ["start 1.2", "tell 7 b"]);
    bench.slots.release(&instance, run, true, bench.now);
    assert_eq!(bench.orders(), ["stop b"]);
}
