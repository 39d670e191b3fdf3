//! The rules, one by one.

mod many;
mod pool;
mod properties;
mod turns;

use std::collections::BTreeSet;

use self::pool::{Pool, env};
use super::*;

#[test]
fn an_envs_calls_run_together_and_another_env_waits_until_they_end() {
    let mut pool = Pool::of(1, None);
    assert_eq!([pool.served(env(1, 0)), pool.served(env(1, 0))], [1, 1]);
    let other = pool.waits(env(2, 0));
    assert_eq!(pool.served(env(1, 0)), 1, "its slice isn't over");
    pool.end(1);
    pool.end(1);
    assert!(pool.served.is_empty());
    pool.end(1);
    assert_eq!(pool.served, [(other, 1)]);
}

#[test]
fn the_longest_wait_comes_first_and_brings_its_likes() {
    let mut pool = Pool::of(1, None);
    pool.served(env(1, 0));
    let tickets = [2, 3, 2, 4].map(|number| pool.waits(env(number, 0)));
    pool.end(1);
    assert_eq!(pool.served, [(tickets[0], 1), (tickets[2], 1)]);
    pool.end(1);
    pool.end(1);
    assert_eq!(pool.served[2..], [(tickets[1], 1)]);
}

#[test]
fn a_busy_env_takes_further_members_that_nobody_waits_for() {
    let mut pool = Pool::of(2, None);
    let first = pool.served(env(1, 0));
    for _ in 1..10 {
        assert_eq!(pool.served(env(1, 0)), first);
    }
    let second = pool.served(env(1, 0));
    assert_ne!(second, first);
    pool.waits(env(2, 0));
    // Another env waits: of its own members the idlest takes what comes, up to a worker's limit.
    for _ in 0..49 {
        pool.served(env(1, 0));
    }
    pool.waits(env(1, 0));
    assert_eq!(
        [pool.under_way[&1].len(), pool.under_way[&2].len()],
        [30, 30]
    );
}

#[test]
fn an_env_comes_back_to_the_member_that_still_has_it() {
    let mut pool = Pool::of(4, None);
    let homes: Vec<_> = (0..4).map(|number| pool.served(env(number, 0))).collect();
    assert_eq!(BTreeSet::from_iter(&homes).len(), 4);
    homes.iter().for_each(|home| pool.end(*home));
    pool.pass(1000);
    for (number, home) in homes.iter().enumerate().rev() {
        assert_eq!(pool.served(env(number as u64, 0)), *home);
    }
}

#[test]
fn a_member_takes_one_code_until_it_has_been_down() {
    let mut pool = Pool::of(1, None);
    pool.served(env(1, 0));
    pool.end(1);
    pool.served(env(1, 7));
    pool.end(1);
    for code in [0, 8] {
        let Arrival::Refused(error) = pool.arrive(env(1, code)) else {
            panic!("a second code");
        };
        assert_eq!(error, AcquireError::OtherCode);
    }
    assert_eq!(pool.served(env(2, 7)), 1);
    pool.end(1);
    pool.down(0);
    assert_eq!(pool.served(env(1, 8)), 1);
}

#[test]
fn who_waits_for_a_member_that_takes_another_code_waits_no_longer() {
    let mut pool = Pool::of(1, None);
    pool.served(env(1, 0));
    let [first, second] = [pool.waits(env(2, 7)), pool.waits(env(2, 8))];
    pool.end(1);
    assert_eq!(pool.served, [(first, 1)]);
    assert_eq!(pool.refused, [second]);
}

#[test]
fn a_code_goes_to_members_that_have_it_before_those_that_have_none() {
    let mut pool = Pool::of(3, None);
    let home = pool.served(env(1, 7));
    pool.end(home);
    assert_eq!(pool.served(env(2, 7)), home);
    assert_ne!(pool.served(env(3, 0)), home);
}

#[test]
fn a_code_outlasts_a_name_server_that_loses_the_member() {
    let mut pool = Pool::of(1, None);
    pool.served(env(1, 7));
    pool.end(1);
    let mut back = pool.members.split_off(0);
    pool.see();
    back[0].id = 2;
    pool.members = back;
    pool.see();
    let (other_code, _) = pool.slots.arrive(env(1, 8), &Tried::default(), pool.now);
    assert!(matches!(
        other_code,
        Arrival::Refused(AcquireError::OtherCode)
    ));
    assert_eq!(pool.served(env(1, 7)), 2);
}

#[test]
fn who_brings_many_leaves_the_next_member_to_others() {
    let mut pool = Pool::of(3, None);
    let (home, away) = (pool.members[0], [1, 2]);
    away.iter()
        .for_each(|&index: &usize| pool.members[index].is_out = true);
    pool.see();
    assert_eq!(pool.served(env(1, 0)), home.id);
    let many: Vec<_> = (0..20).map(|_| pool.waits(env(2, 0))).collect();
    let one = pool.waits(env(3, 0));
    away.iter()
        .for_each(|&index: &usize| pool.members[index].is_out = false);
    pool.see();
    let of = |ticket| pool.served.iter().find(|(served, _)| *served == ticket);
    let member = of(one).unwrap().1;
    assert!(many.iter().all(|ticket| of(*ticket).unwrap().1 != member));
}

#[test]
fn who_leaves_gives_up_its_place_and_the_holder_goes_on() {
    let mut pool = Pool::of(1, None);
    pool.served(env(1, 0));
    let other = pool.waits(env(2, 0));
    pool.answered(1);
    pool.pass(100);
    let own = pool.waits(env(1, 0));
    pool.leave(other);
    assert_eq!(pool.served, [(own, 1)]);
}

#[test]
fn members_that_are_out_serve_only_where_all_are() {
    let mut pool = Pool::of(2, None);
    pool.members[0].is_out = true;
    pool.see();
    assert_eq!(pool.served(env(1, 0)), 2);
    let waits = pool.waits(env(2, 0));
    pool.members[0].is_out = false;
    pool.see();
    assert_eq!(pool.served, [(waits, 1)]);
    pool.members
        .iter_mut()
        .for_each(|member| member.is_out = true);
    pool.end(1);
    pool.see();
    assert_eq!(pool.served(env(3, 0)), 1);
    let mut tried = Tried::default();
    tried.add(1);
    tried.add(2);
    let Arrival::Refused(error) = pool.arrive_after(env(3, 0), &tried) else {
        panic!("sent where it was in vain");
    };
    assert_eq!(error, AcquireError::NoneLeft);
}

#[test]
fn no_more_wait_than_may() {
    let mut pool = Pool::of(1, None);
    pool.served(env(0, 0));
    for number in 1..=MAX_WAITING as u64 {
        pool.slots
            .arrive(env(number, 0), &Tried::default(), pool.now);
    }
    let (crowded, _) = pool.slots.arrive(env(1, 0), &Tried::default(), pool.now);
    assert!(matches!(crowded, Arrival::Refused(AcquireError::Crowded)));
}
