//! Members that go on with a call when its caller has left, as an unmodified C# worker does, and
//! that count what none may see: two envs at once.

use std::{
    net::TcpListener,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
    time::{Duration, Instant},
};

use super::{before, call, env_of, holding};
use crate::harness::{Backend, Client, DEADLINE, Gateway, Step, Stream, Wire, eventually, ok};

const RELOAD: Duration = Duration::from_millis(15);

#[derive(Debug)]
struct Held {
    env: String,
    calls: usize,
    is_loaded_at: Instant,
}

#[derive(Debug, Default)]
struct Worker {
    held: Mutex<Option<Held>>,
    calls: AtomicUsize,
    overlaps: AtomicUsize,
}

impl Worker {
    /// Its URL, and what it sees.
    fn start() -> (String, Arc<Self>) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("binding port 0");
        let url = format!("http://{}", listener.local_addr().expect("a bound address"));
        let worker = Arc::new(Self::default());
        let started = Arc::clone(&worker);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                stream.set_nodelay(true).expect("a connected socket");
                let worker = Arc::clone(&started);
                thread::spawn(move || worker.serve(&Arc::new(Stream::Tcp(stream))));
            }
        });
        (url, worker)
    }

    fn serve(&self, stream: &Arc<Stream>) {
        let Step::Raw(answer) = ok("1") else {
            panic!("an answer is bytes");
        };
        let mut wire = Wire::new(Arc::clone(stream));
        while let Ok(Some(message)) = wire.message(None) {
            let until = self.begin(env_of(&message)) + Duration::from_micros(fastrand::u64(..4000));
            thread::sleep(until.saturating_duration_since(Instant::now()));
            if let Some(held) = &mut *self.held.lock().expect("nobody panics") {
                held.calls -= 1;
            }
            if stream.send(&answer).is_err() {
                return;
            }
        }
    }

    /// When its env is loaded.
    fn begin(&self, env: String) -> Instant {
        self.calls.fetch_add(1, SeqCst);
        let now = Instant::now();
        let mut held = self.held.lock().expect("nobody panics");
        if let Some(held) = held.as_mut().filter(|held| held.env == env) {
            held.calls += 1;
            return held.is_loaded_at.max(now);
        }
        let others = held.as_ref().map_or(0, |held| held.calls);
        self.overlaps.fetch_add(usize::from(others > 0), SeqCst);
        let is_loaded_at = now + RELOAD;
        let calls = others + 1;
        *held = Some(Held {
            env,
            calls,
            is_loaded_at,
        });
        is_loaded_at
    }
}

/// Calls random envs; of four calls one is left before it can have been answered.
fn caller(gateway: &Gateway) -> usize {
    let mut answered = 0;
    for _ in 0..60 {
        let mut client = call(gateway, &fastrand::u8(..5).to_string());
        if fastrand::u8(..4) == 0 {
            thread::sleep(Duration::from_millis(fastrand::u64(
                ..RELOAD.as_millis() as u64,
            )));
            continue;
        }
        client.read().assert_returned("1");
        answered += 1;
    }
    answered
}

#[test]
fn whoever_leaves_when_two_envs_never_meet() {
    let (urls, workers): (Vec<_>, Vec<_>) = (0..3).map(|_| Worker::start()).unzip();
    let gateway = before(&urls, "5ms", "[admission]\nconcurrency = 20\n");
    let answered: usize = thread::scope(|scope| {
        let callers: Vec<_> = (0..16).map(|_| scope.spawn(|| caller(&gateway))).collect();
        let answered = callers.into_iter().map(|caller| caller.join());
        answered
            .map(|answered| answered.expect("right answers"))
            .sum()
    });
    let sum = |count: fn(&Worker) -> &AtomicUsize| -> usize {
        workers
            .iter()
            .map(|worker| count(worker).load(SeqCst))
            .sum()
    };
    assert_eq!(sum(|worker| &worker.overlaps), 0);
    assert!(
        sum(|worker| &worker.calls) > answered,
        "nobody left in time"
    );
}

#[test]
fn a_member_is_busy_until_it_has_answered_a_call_whose_caller_left() {
    let backend = holding();
    let gateway = before(&[backend.url()], "1ms", "");
    let leaves = call(&gateway, "a");
    backend.wait_seen(1);
    let mut other = call(&gateway, "b");
    drop(leaves);
    // It is told nevertheless.
    backend.wait_closed(0);
    backend.assert_seen_stays(1, super::WATCHED);
    backend.release(1);
    backend.wait_seen(2);
    backend.release_all();
    other.read().assert_returned("1");
}

#[test]
fn a_member_that_hangs_up_on_who_has_left_is_free() {
    let backend = Backend::start(vec![vec![Step::Hang], vec![ok("1")]]);
    let gateway = before(&[backend.url()], "10s", "");
    let leaves = call(&gateway, "a");
    backend.wait_seen(1);
    drop(leaves);
    let began = Instant::now();
    call(&gateway, "b").read().assert_returned("1");
    assert!(began.elapsed() < DEADLINE);
}

#[test]
fn a_call_that_is_left_counts_no_longer_than_it_may_take() {
    let backend = holding();
    let timeout = "[gateway]\nrequest_timeout = \"400ms\"\n";
    let gateway = before(&[backend.url()], "10s", timeout);
    let leaves: Client = call(&gateway, "a");
    backend.wait_seen(1);
    drop(leaves);
    eventually("the member is free again", || {
        drop(call(&gateway, "b").read());
        (backend.seen().len() > 1).then_some(())
    });
    backend.release_all();
}
