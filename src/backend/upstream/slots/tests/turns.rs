//! How long a turn lasts.

use super::*;

#[test]
fn who_has_had_its_slice_gets_no_more_while_others_wait() {
    let mut pool = Pool::of(1, None);
    pool.served(env(1, 0));
    pool.answered(1);
    pool.pass(100);
    pool.served(env(1, 0));
    let other = pool.waits(env(2, 0));
    let late = pool.waits(env(1, 0));
    pool.end(1);
    pool.end(1);
    assert_eq!(pool.served, [(other, 1)]);
    // Its own slice begins with its first answer.
    pool.pass(200);
    pool.answered(1);
    pool.pass(99);
    pool.served(env(2, 0));
    pool.pass(1);
    pool.waits(env(2, 0));
    pool.end(1);
    pool.end(1);
    assert_eq!(pool.served[1], (late, 1));
}

#[test]
fn an_env_with_a_long_queue_takes_turns_with_others() {
    let mut pool = Pool::of(1, Some(1));
    pool.served(env(1, 0));
    let many: Vec<_> = (0..20).map(|_| pool.waits(env(1, 0))).collect();
    let others = [pool.waits(env(2, 0)), pool.waits(env(3, 0))];
    pool.answered(1);
    pool.pass(100);
    let mut turns = Vec::new();
    for _ in 0..5 {
        pool.end(1);
        pool.answered(1);
        pool.pass(100);
        turns.push(pool.served.last().unwrap().0);
    }
    assert_eq!(turns, [others[0], many[0], others[1], many[1], many[2]]);
}

#[test]
fn within_its_slice_a_holder_comes_before_others_even_one_by_one() {
    let mut pool = Pool::of(1, Some(1));
    pool.served(env(1, 0));
    let other = pool.waits(env(2, 0));
    let own = pool.waits(env(1, 0));
    pool.end(1);
    assert_eq!(pool.served, [(own, 1)]);
    pool.pass(100);
    pool.end(1);
    assert_eq!(pool.served[1..], [(other, 1)]);
}

#[test]
fn a_slice_begins_with_the_first_answer() {
    let mut pool = Pool::of(1, None);
    pool.served(env(1, 0));
    let other = pool.waits(env(2, 0));
    // Its worker loads it, for longer than a slice.
    pool.pass(1000);
    pool.served(env(1, 0));
    pool.answered(1);
    pool.pass(99);
    pool.served(env(1, 0));
    pool.pass(1);
    let late = pool.waits(env(1, 0));
    for _ in 0..3 {
        assert!(pool.served.is_empty());
        pool.end(1);
    }
    assert_eq!(pool.served, [(other, 1)]);
    pool.end(1);
    assert_eq!(pool.served[1..], [(late, 1)]);
}

#[test]
fn a_turn_ends_with_the_calls_that_it_began_with_where_none_is_answered() {
    let mut pool = Pool::of(1, None);
    pool.served(env(1, 0));
    pool.served(env(1, 0));
    pool.pass(1);
    pool.served(env(1, 0));
    let other = pool.waits(env(2, 0));
    pool.end_at(1, 0);
    pool.served(env(1, 0));
    pool.end_at(1, 0);
    // What came later may still be answered, and no more comes.
    pool.waits(env(1, 0));
    pool.end(1);
    pool.waits(env(1, 0));
    pool.end(1);
    assert_eq!(pool.served, [(other, 1)]);
}

#[test]
fn one_answer_is_enough_for_a_slice() {
    let mut pool = Pool::of(1, None);
    let first = pool.served(env(1, 0));
    pool.served(env(1, 0));
    pool.waits(env(2, 0));
    pool.answered_at(first, 0);
    pool.end_at(first, 1);
    pool.end_at(first, 0);
    assert_eq!(pool.served.len(), 1);
    let mut pool = Pool::of(1, None);
    let first = pool.served(env(1, 0));
    pool.served(env(1, 0));
    pool.waits(env(2, 0));
    pool.end_at(first, 1);
    pool.answered_at(first, 0);
    pool.served(env(1, 0));
}

#[test]
fn a_holder_that_was_never_answered_loads_anew() {
    let mut pool = Pool::of(1, None);
    pool.served(env(1, 0));
    pool.end_at(1, 0);
    pool.served(env(1, 0));
    let other = pool.waits(env(2, 0));
    pool.pass(1000);
    pool.served(env(1, 0));
    pool.end(1);
    pool.pass(100);
    pool.end(1);
    assert_eq!(pool.served, [(other, 1)]);
}
