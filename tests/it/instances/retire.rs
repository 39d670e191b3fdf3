//! Which instances there are: how many, how old, and which make room.

use std::time::{Duration, Instant};

use super::*;
use crate::harness::burst;

/// Replaces its process over and over without a failed call, though it ends at once on SIGTERM.
#[track_caller]
fn assert_replaced_under_load(limit: &str) {
    let abrupt = python("run(inherited())", "");
    let bench = Bench::start(&format!("[instances]\n{limit}\n{abrupt}"));
    let first = bench.pid("A=1\n");
    let pids = bench.under_load("A=1\n", |seen| {
        eventually("another serves", || {
            seen.has_other_than(first).then_some(())
        });
        bench.wait_gone(first);
    });
    assert!(pids.len() >= 2);
    assert_eq!((bench.starts("failed"), bench.starts("cancelled")), (0, 0));
    bench.finish();
}

#[test]
fn one_of_max_age_is_replaced_without_a_failed_call() {
    assert_replaced_under_load("max_age = \"1s\"");
}

#[test]
fn one_that_served_max_calls_is_replaced_without_a_failed_call() {
    assert_replaced_under_load("max_calls = 100");
}

#[test]
fn one_over_max_memory_is_replaced_without_a_failed_call() {
    let bench = Bench::start(&format!(
        "[instances]\nmax_memory = \"200MiB\"\n{}",
        sample("")
    ));
    let first = bench.pid("A=1\n");
    let pids = bench.under_load("A=1\n", |seen| {
        bench
            .call("A=1\n", "MemoryFacet/Hold", "[300]")
            .assert_returned("null");
        eventually("another serves", || {
            seen.has_other_than(first).then_some(())
        });
        bench.wait_gone(first);
    });
    assert_eq!(pids.len(), 2);
    let log = bench.finish();
    assert!(
        log.contains("it takes more memory than instances.max_memory"),
        "{log}"
    );
}

#[test]
fn max_calls_counts_each_call() {
    let bench = Bench::start(&format!("[instances]\nmax_calls = 3\n{}", sample("")));
    let mut runs = vec![(bench.pid("A=1\n"), 1)];
    for _ in 1..9 {
        let pid = bench.pid("A=1\n");
        match runs.last_mut() {
            Some((last, calls)) if *last == pid => *calls += 1,
            _ => runs.push((pid, 1)),
        }
    }
    let calls: Vec<_> = runs.iter().map(|(_, calls)| *calls).collect();
    assert_eq!(calls, [3, 3, 3]);
    bench.finish();
}

#[test]
fn the_one_idle_for_longest_makes_room() {
    let bench = Bench::start(&format!("[instances]\nmax = 2\n{}", sample("")));
    let first = bench.pid("A=1\n");
    let second = bench.pid("A=2\n");
    assert_eq!(bench.pid("A=1\n"), first);
    bench.pid("A=3\n");
    bench.wait_gone(second);
    assert_eq!(bench.pid("A=1\n"), first);
    assert_eq!((bench.starts("ready"), bench.starts("failed")), (3, 0));
    bench.finish();
}

#[test]
fn where_none_is_idle_there_is_no_room() {
    let bench = Bench::start(&format!("[instances]\nmax = 1\n{}", sample("")));
    bench.pid("A=1\n");
    let mut busy = Client::connect(&bench.gateway);
    busy.send(call("A=1\n", "TimeFacet/Sleep", "[1500]").bytes());
    eventually("it is busy", || {
        let in_flight = bench.gateway.metrics().sum("envgate_calls_in_flight");
        (in_flight == Some(1.0)).then_some(())
    });
    bench
        .gateway
        .call(&pid_call("A=2\n"))
        .assert_error(503, 2002);
    busy.read().assert_returned("null");
    bench.pid("A=2\n");
    assert_eq!(bench.starts("ready"), 2);
    bench.finish();
}

#[test]
fn of_many_who_wait_for_starts_only_so_many_may() {
    let files = Files::new();
    let bench = Bench::start(&format!("[instances]\nmax_waiting = 5\n{}", files.late()));
    let answers = burst(&bench.gateway, &vec![pid_call("A=1\n"); 12]);
    files.wait("begun");
    for _ in 0..7 {
        let (_, refused) = answers.recv_timeout(DEADLINE).expect("an answer");
        refused.assert_error(503, 2003);
    }
    files.touch("may");
    let served: Vec<_> = answers
        .iter()
        .map(|(_, answer)| returned_pid(&answer))
        .collect();
    assert_eq!(served, [served[0]; 5]);
    bench.finish();
}

#[test]
fn idle_ones_end_but_the_last_few() {
    let bench = Bench::start(&format!(
        "[instances]\nidle_timeout = \"1s\"\nmin = 1\n{}",
        sample("")
    ));
    let first = bench.pid("A=1\n");
    let second = bench.pid("A=2\n");
    bench.wait_gone(first);
    // The table is looked through every second: watched for longer than that, the last one stays.
    let until = Instant::now() + Duration::from_millis(1200);
    while Instant::now() < until {
        assert!(is_there(second));
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(bench.pid("A=2\n"), second);
    bench.finish();
}
