//! How many calls run and wait, per env and per member (CONTRACT 6), and what leaving frees.

use std::time::{Duration, Instant};

use crate::harness::{
    Backend, Broken, Call, Client, DEADLINE, Gateway, Message, Setup, Step, burst, eventually, ok,
};

/// A backend that holds each call until it is told to answer.
fn holding() -> Backend {
    Backend::start(vec![vec![Step::Hold, ok("1")]])
}

fn calls(count: usize, env: &str) -> Vec<Call> {
    vec![Call::legacy(env); count]
}

/// Sends a burst to a backend that holds its answers: so many run, so many wait, and all others
/// are refused while those are still held.
#[track_caller]
fn assert_burst(
    gateway: &Gateway,
    backend: &Backend,
    calls: &[Call],
    running: usize,
    waiting: usize,
) {
    let answers = burst(gateway, calls);
    let next = || answers.recv_timeout(DEADLINE).expect("an answer").1;
    let refused = calls.len() - running - waiting;
    for _ in 0..refused {
        next().assert_error(429, 2000);
    }
    backend.wait_in_flight(running);
    backend.release_all();
    for _ in 0..running + waiting {
        next().assert_returned("1");
    }
    assert_eq!(backend.most_in_flight(), running);
    assert_eq!(
        backend.seen().len(),
        running + waiting,
        "what was refused reached the backend"
    );
}

#[test]
fn of_50_calls_at_once_30_are_served_and_20_refused_at_once() {
    let backend = holding();
    let gateway = Gateway::before(&[&backend.url()], "");
    assert_burst(&gateway, &backend, &calls(50, "A=1\n"), 10, 20);
}

#[test]
fn null_lets_50_calls_run_together() {
    let backend = holding();
    let gateway = Gateway::before(&[&backend.url()], "");
    assert_burst(
        &gateway,
        &backend,
        &calls(50, "WORKER_REQUEST_CONCURRENCY=null\n"),
        50,
        0,
    );
}

#[test]
fn an_env_sets_its_own_limits() {
    let backend = holding();
    let gateway = Gateway::before(&[&backend.url()], "");
    let env = "WORKER_REQUEST_CONCURRENCY= +3 \nWORKER_MAX_QUEUE_LENGTH=4\n";
    assert_burst(&gateway, &backend, &calls(12, env), 3, 4);
}

#[test]
fn no_env_lifts_the_ceilings() {
    let backend = holding();
    let ceilings = "[admission]\nmax_concurrency = 2\nmax_queue = 1\n";
    let gateway = Gateway::before(&[&backend.url()], ceilings);
    let env = "WORKER_REQUEST_CONCURRENCY=null\nWORKER_MAX_QUEUE_LENGTH=1000\n";
    assert_burst(&gateway, &backend, &calls(8, env), 2, 1);
}

#[test]
fn configured_limits_hold() {
    let backend = holding();
    let limits = "[admission]\nconcurrency = 2\nqueue = 3\n";
    let gateway = Gateway::before(&[&backend.url()], limits);
    assert_burst(&gateway, &backend, &calls(9, "A=1\n"), 2, 3);
}

#[test]
fn the_workers_variables_are_defaults() {
    let backend = holding();
    let gateway = Setup::new(&format!(
        "[[backend]]\nname = \"b\"\nurls = [{:?}]",
        backend.url()
    ))
    .variable("WORKER_DEFAULT_REQUEST_CONCURRENCY", "2")
    .variable("WORKER_DEFAULT_MAX_QUEUE_LENGTH", "1")
    .start();
    assert_burst(&gateway, &backend, &calls(6, "A=1\n"), 2, 1);
}

#[test]
fn the_configuration_beats_the_workers_variables() {
    let backend = holding();
    let config = format!(
        "[admission]\nconcurrency = 1\nqueue = 2\n[[backend]]\nname = \"b\"\nurls = [{:?}]",
        backend.url()
    );
    let gateway = Setup::new(&config)
        .variable("WORKER_DEFAULT_REQUEST_CONCURRENCY", "5")
        .variable("WORKER_DEFAULT_MAX_QUEUE_LENGTH", "7")
        .start();
    assert_burst(&gateway, &backend, &calls(6, "A=1\n"), 1, 2);
}

#[test]
fn the_gateway_doesnt_read_whether_a_worker_has_one_thread() {
    let backend = Backend::start(vec![vec![ok("1")]]);
    let gateway = Gateway::before(&[&backend.url()], "");
    let answer = gateway.call(&Call::legacy("WORKER_USE_SINGLE_THREAD=banana\n"));
    answer.assert_returned("1");
}

#[test]
fn order_comments_and_line_ends_make_no_other_env() {
    let backend = holding();
    let gateway = Gateway::before(&[&backend.url()], "");
    let env = |text| Call::legacy(text);
    let same = [
        env("WORKER_REQUEST_CONCURRENCY=1\nWORKER_MAX_QUEUE_LENGTH=1\nB=x y\n"),
        env("B=x y\r\nWORKER_MAX_QUEUE_LENGTH=1\r\nWORKER_REQUEST_CONCURRENCY=1"),
        env(
            "# B=z\n\n  B = x y \rWORKER_REQUEST_CONCURRENCY=9\nnothing\nWORKER_MAX_QUEUE_LENGTH=1\nWORKER_REQUEST_CONCURRENCY=1\n",
        ),
    ];
    assert_burst(&gateway, &backend, &same, 1, 1);
}

#[test]
fn envs_dont_share_their_limits() {
    let backend = holding();
    let gateway = Gateway::before(
        &[&backend.url()],
        "[admission]\nconcurrency = 1\nqueue = 1\n",
    );
    let calls: Vec<_> = (0..5).map(|n| Call::legacy(&format!("A={n}\n"))).collect();
    assert_burst(&gateway, &backend, &calls, 5, 0);
}

const FRAMEWORK_0_10_2: &str = "framework = \"0.10.2\"";

fn before_old_framework(backend: &Backend) -> Gateway {
    let url = backend.url();
    Gateway::start(&format!(
        "[[backend]]\nname = \"b\"\nurls = [{url:?}]\n{FRAMEWORK_0_10_2}\n"
    ))
}

#[test]
fn an_old_framework_runs_one_call_and_30_wait() {
    let backend = holding();
    let gateway = before_old_framework(&backend);
    assert_burst(&gateway, &backend, &calls(50, "A=1\n"), 1, 30);
}

#[test]
fn two_envs_on_one_member_of_an_old_framework_never_overlap() {
    let backend = holding();
    let gateway = before_old_framework(&backend);
    let calls: Vec<_> = (0..8)
        .map(|n| Call::legacy(&format!("A={}\n", n % 2)))
        .collect();
    let answers = burst(&gateway, &calls);
    for call in 1..=calls.len() {
        backend.wait_seen(call);
        backend.assert_stays_at_most(1, Duration::from_millis(50));
        backend.release(1);
        let (_, answer) = answers.recv_timeout(DEADLINE).expect("an answer");
        answer.assert_returned("1");
    }
    assert_eq!(backend.most_in_flight(), 1);
}

/// A call that waits gets its turn only when one before it ends; where all come at the same moment
/// and none before them ever answers, their deadlines are over before their turn.
#[test]
fn who_waits_over_the_deadline_is_told_so() {
    let backend = Backend::start(vec![vec![Step::Hang]]);
    let config = "[gateway]\nrequest_timeout = \"400ms\"\n[admission]\nconcurrency = 1\n";
    let gateway = Gateway::before(&[&backend.url()], config);
    let answers = burst(&gateway, &calls(21, "A=1\n"));
    let all: Vec<Message> = (0..21)
        .map(|_| answers.recv_timeout(DEADLINE).expect("an answer").1)
        .collect();
    let (waited, sent): (Vec<_>, Vec<_>) = all.iter().partition(|a| a.outcome().1 == 2001);
    for answer in &sent {
        answer.assert_error(504, 4002);
    }
    for answer in &waited {
        answer.assert_error(503, 2001);
    }
    assert!(!waited.is_empty(), "all 21 calls got their turn");
    assert_eq!(
        backend.seen().len(),
        sent.len(),
        "2001 is for calls that were never sent"
    );
}

/// One call runs, one waits, and the waiting one leaves: its place is another's.
fn assert_leaving_frees_the_place(leave: impl FnOnce(Client) -> Option<Client>) {
    let backend = holding();
    let gateway = Gateway::before(
        &[&backend.url()],
        "[admission]\nconcurrency = 1\nqueue = 1\n",
    );
    let call = |method: &str| Call::legacy("A=1\n").method(method).bytes();
    let mut running = Client::connect(&gateway);
    running.send(call("Runs"));
    backend.wait_seen(1);

    // The queue has one place: what comes after its owner is refused.
    let mut waiting = queued(&gateway, &call("Waits"));
    let mut refused = Client::connect(&gateway);
    refused.send(call("Refused"));
    refused.read().assert_error(429, 2000);
    waiting.assert_silent(Duration::from_millis(1));

    let kept = leave(waiting);
    let mut successor = queued(&gateway, &call("Succeeds"));
    backend.release_all();
    running.read().assert_returned("1");
    successor.read().assert_returned("1");
    let paths: Vec<_> = backend
        .seen()
        .iter()
        .map(|seen| seen.message.path().to_owned())
        .collect();
    assert_eq!(paths, ["/EchoFacet/Runs", "/EchoFacet/Succeeds"]);
    drop(kept);
}

/// Sends a call until one isn't refused.
#[track_caller]
fn queued(gateway: &Gateway, bytes: &[u8]) -> Client {
    eventually("a call gets a place in the queue", || {
        let mut client = Client::connect(gateway);
        client.send(bytes);
        match client.try_read(Instant::now() + Duration::from_millis(300)) {
            Err(Broken::TimedOut(_)) => Some(client),
            Ok(Some(refusal)) => {
                refusal.assert_error(429, 2000);
                None
            }
            other => panic!("neither waiting nor refused: {other:?}"),
        }
    })
}

#[test]
fn a_client_that_leaves_the_queue_frees_its_place() {
    assert_leaving_frees_the_place(|client| {
        drop(client);
        None
    });
}

#[test]
fn a_half_close_in_the_queue_counts_as_leaving() {
    assert_leaving_frees_the_place(|client| {
        client.half_close();
        Some(client)
    });
}

#[test]
fn least_requests_spreads_one_envs_calls() {
    let (one, other) = (holding(), holding());
    let urls = [one.url(), other.url()];
    let gateway = Gateway::start(&format!(
        "[[backend]]\nname = \"b\"\nurls = {urls:?}\nbalance = \"least_requests\"\n"
    ));
    // One after the other: each must find the one before it counted.
    let mut clients = Vec::new();
    for call in 1..=6 {
        let client = Client::connect(&gateway);
        client.send(Call::legacy("A=1\n").bytes());
        eventually("the call is in flight", || {
            (one.seen().len() + other.seen().len() == call).then_some(())
        });
        clients.push(client);
    }
    one.wait_in_flight(3);
    other.wait_in_flight(3);
    one.release_all();
    other.release_all();
    for mut client in clients {
        client.read().assert_returned("1");
    }
}

#[test]
fn affinity_keeps_an_env_on_its_member() {
    let members: Vec<_> = (0..4)
        .map(|_| Backend::start(vec![vec![ok("1")]]))
        .collect();
    let urls: Vec<_> = members.iter().map(Backend::url).collect();
    let urls: Vec<_> = urls.iter().map(String::as_str).collect();
    let gateway = Gateway::before(&urls, "");
    let mut used = std::collections::BTreeSet::new();
    for env in 0..16 {
        for text in [format!("A={env}\nB=1\n"), format!("B=1\r\n#c\r\nA={env}")] {
            for member in &members {
                member.rewrite(vec![vec![ok("1")]]);
            }
            for _ in 0..3 {
                gateway.call(&Call::legacy(&text)).assert_returned("1");
            }
            let counts: Vec<_> = members.iter().map(|member| member.seen().len()).collect();
            let home = counts.iter().position(|count| *count == 3);
            used.insert((
                env,
                home.unwrap_or_else(|| panic!("env {env} wandered: {counts:?}")),
            ));
        }
    }
    assert_eq!(
        used.len(),
        16,
        "an env's text form decides its member: {used:?}"
    );
    let homes: std::collections::BTreeSet<_> = used.iter().map(|(_, home)| home).collect();
    assert!(homes.len() > 1, "16 envs all live on one of 4 members");
}
