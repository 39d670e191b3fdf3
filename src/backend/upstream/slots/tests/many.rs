//! Ten thousand calls that wait.

use super::*;

const WAITING: u64 = 10_000;

/// What it costs on average that a call comes, one leaves and one ends, while all members are busy and
/// the others wait: of this many envs, half of them with the second code.
fn cost(envs: u64, codes: u64) -> Duration {
    let mut pool = Pool::of(8, Some(10));
    let who = |number: u64| env(number % envs, number % codes);
    for number in 0..8 * 10 {
        pool.slots
            .arrive(who(number % 8), &Tried::default(), pool.now);
    }
    let mut tickets = VecDeque::new();
    let mut served = BTreeSet::new();
    let arrive =
        |slots: &mut Slots, number, now| match slots.arrive(who(number), &Tried::default(), now) {
            (Arrival::Waits(ticket), _) => Some((who(number), ticket)),
            (Arrival::Served(_) | Arrival::Refused(_), _) => None,
        };
    for number in 0..WAITING {
        tickets.extend(arrive(&mut pool.slots, number, pool.now));
    }
    let rounds = 5_000;
    let began = Instant::now();
    for number in 0..rounds {
        pool.pass(1);
        tickets.extend(arrive(&mut pool.slots, number, pool.now));
        while let Some((who, ticket)) = tickets.pop_front() {
            if !served.contains(&ticket) {
                let outcomes = pool.slots.leave(who, ticket, pool.now);
                served.extend(outcomes.iter().map(|outcome| outcome.ticket));
                break;
            }
        }
        let member = pool.members[usize::try_from(number % 8).unwrap()].id;
        let outcomes = pool.slots.end(member, Stage::Loaded, pool.now);
        served.extend(outcomes.iter().map(|outcome| outcome.ticket));
    }
    assert!(pool.slots.queues.len() > 4_000, "they don't wait");
    began.elapsed() / u32::try_from(rounds).unwrap()
}

#[test]
fn what_one_call_costs_doesnt_grow_with_those_that_wait() {
    for (envs, codes) in [(100, 1), (WAITING, 1), (WAITING, 2)] {
        let cost = cost(envs, codes);
        println!("{envs} envs, {codes} codes: {cost:?} for three events");
        // A look at each of them takes longer in a build without optimisation.
        assert!(cost < Duration::from_micros(500), "{cost:?}");
    }
}
