//! Workers that end, hang or ail while they serve.

use std::time::Duration;

use super::*;
use crate::harness::{Client, signal};

#[test]
fn one_that_dies_between_calls_is_replaced_by_the_next() {
    let bench = Bench::start(&sample(""));
    let first = bench.pid("A=1\n");
    signal(first, "KILL");
    bench.wait_gone(first);
    let second = bench.pid("A=1\n");
    assert_ne!(first, second);
    assert_eq!((bench.starts("ready"), bench.starts("failed")), (2, 0));
    let log = bench.finish();
    assert!(log.contains("an instance ended by itself"), "{log}");
}

#[test]
fn one_that_dies_before_it_ever_served_counts_as_a_failed_start() {
    // It answers its health and ends on the first call, without a byte.
    let script = "def call(c, path, body): os._exit(3)\nrun(inherited())";
    let bench = Bench::start(&python(script, ""));
    bench
        .gateway
        .call(&pid_call("A=1\n"))
        .assert_error(502, 4000);
    // Who is refused first may not know yet how it ended.
    let refused = eventually("its end is told", || {
        let answer = bench.gateway.call(&pid_call("A=1\n"));
        answer.text().contains("exit status: 3").then_some(answer)
    });
    refused.assert_error(503, 3001);
    let text = refused.text();
    assert!(text.contains("before it ever served"), "{text}");
    bench.finish();
}

#[test]
fn one_that_dies_idle_before_it_ever_served_counts_as_a_failed_start_too() {
    let files = Files::new();
    let bench = Bench::start(&files.late());
    let client = Client::connect(&bench.gateway);
    client.send(pid_call("A=1\n").bytes());
    files.wait("begun");
    drop(client);
    eventually("its client is gone", || {
        let calls = bench.gateway.metrics().sum("envgate_calls_in_flight");
        (calls == Some(0.0)).then_some(())
    });
    files.touch("may");
    let pid = bench
        .gateway
        .wait_stderr("it is ready", |log| log.contains("an instance is ready"));
    let pid = pid
        .split("pid=")
        .nth(1)
        .and_then(|rest| rest.split(' ').next());
    let pid = pid.and_then(|pid| pid.parse().ok()).expect("its PID");
    signal(pid, "KILL");
    bench.wait_gone(pid);
    let refused = bench.gateway.call(&pid_call("A=1\n"));
    refused.assert_error(503, 3001);
    assert!(
        refused.text().contains("before it ever served"),
        "{}",
        refused.text()
    );
    eventually("it is started again", || {
        let answer = bench.gateway.call(&pid_call("A=1\n"));
        (answer.status() == 200).then_some(())
    });
    bench.finish();
}

#[test]
fn one_that_dies_in_a_call_fails_that_call_and_no_other() {
    let bench = Bench::start(&sample(""));
    let first = bench.pid("A=1\n");
    bench
        .call("A=1\n", "ProcessFacet/Exit", "[9]")
        .assert_error(502, 4000);
    let second = bench.pid("A=1\n");
    assert_ne!(first, second);
    eventually("its end is counted", || {
        (bench.count("envgate_instance_exits_total", "b") == 1).then_some(())
    });
    bench.finish();
}

/// Calls that wait in the queue of one that dies had nothing sent yet.
#[test]
fn calls_in_the_queue_of_one_that_dies_go_to_its_successor() {
    let bench = Bench::start(&sample(""));
    let env = "A=1\nWORKER_REQUEST_CONCURRENCY=1\n";
    let first = bench.pid(env);
    let mut sleeping = Client::connect(&bench.gateway);
    sleeping.send(call(env, "TimeFacet/Sleep", "[60000]").bytes());
    eventually("it is called", || {
        (bench.gateway.metrics().sum("envgate_calls_in_flight") == Some(1.0)).then_some(())
    });
    let waiting: Vec<_> = (0..5)
        .map(|_| {
            let client = Client::connect(&bench.gateway);
            client.send(pid_call(env).bytes());
            client
        })
        .collect();
    eventually("they wait", || {
        (bench.gateway.metrics().sum("envgate_queued_calls") == Some(5.0)).then_some(())
    });
    signal(first, "KILL");
    sleeping.read().assert_error(502, 4000);
    for mut client in waiting {
        assert_ne!(returned_pid(&client.read()), first);
    }
    assert_eq!(bench.starts("ready"), 2);
    bench.finish();
}

#[test]
fn one_that_dies_in_its_answer_gives_no_answer() {
    let script = "def call(c, path, body):\n  \
                  if path != '/Die/Now': return returned(c, os.getpid())\n  \
                  c.sendall(b'HTTP/1.1 200 OK\\r\\nContent-Length: 99\\r\\n\\r\\n{\"status\":'); os._exit(3)\n\
                  run(inherited())";
    let bench = Bench::start(&python(script, ""));
    let first = bench.pid("A=1\n");
    bench.call("A=1\n", "Die/Now", "[]").assert_error(502, 4001);
    assert_ne!(bench.pid("A=1\n"), first);
    bench.finish();
}

#[test]
fn one_that_hangs_costs_calls_their_time_and_is_replaced_when_its_health_hangs_too() {
    let script = "hung = False\n\
                  def call(c, path, body):\n  \
                  global hung; hung = hung or path == '/Hang/Now'\n  \
                  while hung: time.sleep(1000)\n  \
                  returned(c, os.getpid())\n\
                  def health(c):\n  \
                  while hung: time.sleep(1000)\n  \
                  answer(c, 'OK')\n\
                  run(inherited())";
    let bench = Bench::start(&format!(
        "[gateway]\nrequest_timeout = \"700ms\"\n{}",
        python(script, "stop_grace = \"100ms\"")
    ));
    let first = bench.pid("A=1\n");
    bench
        .call("A=1\n", "Hang/Now", "[]")
        .assert_error(504, 4002);
    assert!(is_there(first), "one slow call is no reason to end it");
    let other = eventually("another serves", || {
        let answer = bench.gateway.call(&pid_call("A=1\n"));
        if answer.status() == 200 {
            return Some(returned_pid(&answer));
        }
        answer.assert_error(504, 4002);
        None
    });
    assert_ne!(first, other);
    bench.wait_gone(first);
    let log = bench.finish();
    assert!(
        log.contains("calls time out and its /health doesn't answer"),
        "{log}"
    );
}

/// Slow calls alone are no reason: who answers its health is only busy.
#[test]
fn one_whose_calls_time_out_but_whose_health_answers_is_kept() {
    let bench = Bench::start(&format!(
        "[gateway]\nrequest_timeout = \"150ms\"\n{}",
        sample("health_interval = \"1s\"")
    ));
    let first = eventually("it is ready", || {
        let answer = bench.gateway.call(&pid_call("A=1\n"));
        (answer.status() == 200).then(|| returned_pid(&answer))
    });
    for _ in 0..4 {
        let slow = bench.call("A=1\n", "TimeFacet/Sleep", "[60000]");
        slow.assert_error(504, 4002);
    }
    // Its health is asked within the second; calls go on meanwhile.
    let until = std::time::Instant::now() + Duration::from_millis(2500);
    while std::time::Instant::now() < until {
        assert_eq!(bench.pid("A=1\n"), first);
        let slow = bench.call("A=1\n", "TimeFacet/Sleep", "[60000]");
        slow.assert_error(504, 4002);
    }
    bench.finish();
}

#[test]
fn one_that_says_that_it_ails_is_replaced_without_a_failed_call() {
    let bench = Bench::start(&sample("health_interval = \"100ms\""));
    let first = bench.pid("A=1\n");
    let pids = bench.under_load("A=1\n", |seen| {
        bench
            .call("A=1\n", "HealthFacet/Ail", "[]")
            .assert_returned("null");
        eventually("another serves", || {
            seen.has_other_than(first).then_some(())
        });
    });
    assert!(pids.contains(&first) && pids.len() == 2, "{pids:?}");
    bench.wait_gone(first);
    let log = bench.finish();
    assert!(
        log.contains("its /health says that it wants to be replaced"),
        "{log}"
    );
}

#[test]
fn one_over_its_memory_limit_dies_and_is_replaced() {
    let bench = Bench::start(&sample("limits = { memory = \"1GiB\" }"));
    let first = bench.pid("A=1\n");
    bench
        .call("A=1\n", "MemoryFacet/Hold", "[64]")
        .assert_returned("null");
    bench
        .call("A=1\n", "MemoryFacet/Hold", "[1024]")
        .assert_error(502, 4000);
    assert_ne!(bench.pid("A=1\n"), first);
    bench.finish();
}
