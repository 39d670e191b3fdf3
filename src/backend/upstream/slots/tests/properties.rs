//! All the rules at once, whatever happens.

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Event {
    Arrive { env: u64, code: u64, tried: u8 },
    End(prop::sample::Index),
    Leave(prop::sample::Index),
    Pass(u64),
    Out(usize),
    Down(usize),
}

fn event() -> impl Strategy<Value = Event> {
    let arrive = (0..6_u64, 0..3_u64, prop_oneof![9 => Just(0), 1 => 0..8_u8]);
    prop_oneof![
        8 => arrive.prop_map(|(env, code, tried)| Event::Arrive { env, code: code.saturating_sub(1), tried }),
        6 => any::<prop::sample::Index>().prop_map(Event::End),
        1 => any::<prop::sample::Index>().prop_map(Event::Leave),
        3 => (1..80_u64).prop_map(Event::Pass),
        1 => (0..4_usize).prop_map(Event::Out),
        1 => (0..4_usize).prop_map(Event::Down),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_the_rules_hold(
        members in 1..4_u64,
        limit in prop_oneof![Just(None), (1..4_usize).prop_map(Some)],
        events in prop::collection::vec(event(), 1..200),
    ) {
        let mut pool = Pool::of(members, limit);
        for event in events {
            match event {
                Event::Arrive { env: number, code, tried: which } => {
                    let mut tried = Tried::default();
                    (1..=members).filter(|id| which & (1 << id) != 0).for_each(|id| tried.add(id));
                    pool.arrive_after(env(number, code), &tried);
                }
                Event::End(which) => {
                    let busy = pool.under_way.iter();
                    let busy: Vec<_> = busy.filter(|(_, calls)| !calls.is_empty()).collect();
                    if !busy.is_empty() {
                        let member = *which.get(&busy).0;
                        pool.end(member);
                    }
                }
                Event::Leave(which) => {
                    let tickets: Vec<_> = pool.waiting.keys().copied().collect();
                    if !tickets.is_empty() {
                        pool.leave(*which.get(&tickets));
                    }
                }
                Event::Pass(millis) => pool.pass(millis),
                Event::Out(index) => {
                    if let Some(member) = pool.members.get_mut(index) {
                        member.is_out = !member.is_out;
                        pool.see();
                    }
                }
                Event::Down(index) if index < pool.members.len() => {
                    pool.under_way.entry(index as u64 + 1).or_default();
                    pool.down(index);
                }
                Event::Down(_) => {}
            }
        }
        // Once calls end, everyone is served.
        while let Some((&member, _)) = pool.under_way.iter().find(|(_, calls)| !calls.is_empty()) {
            pool.end(member);
        }
        prop_assert!(pool.waiting.is_empty());
    }

}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Envs that never stop calling: none is kept waiting for longer than each of the others takes
    /// for a slice and its longest call.
    #[test]
    fn nobody_starves(
        members in 1..4_u64,
        limit in 1..5_usize,
        envs in 2..7_u64,
        every in prop::collection::vec(1..12_u64, 7),
        lasts in prop::collection::vec(1..60_u64, 7),
    ) {
        let mut pool = Pool::of(members, Some(limit));
        let mut ends: Vec<(u64, u64)> = Vec::new();
        let mut last_served = BTreeMap::new();
        let bound = envs * (100 + 60);
        for millis in 0..2000_u64 {
            pool.pass(1);
            let (over, still) = ends.into_iter().partition(|(end, _)| *end <= millis);
            ends = still;
            let over: Vec<(u64, u64)> = over;
            let mut begun = Vec::new();
            for (_, member) in over {
                let before: BTreeMap<_, _> = pool.waiting.clone();
                let served = pool.served.len();
                pool.end(member);
                begun.extend(pool.served[served..].iter().map(|(ticket, member)| (before[ticket].0, *member)));
            }
            for number in (0..envs).filter(|number| millis % every[*number as usize] == 0) {
                match pool.arrive(env(number, 0)) {
                    Arrival::Served(member) => begun.push((env(number, 0), member)),
                    Arrival::Waits(ticket) => {
                        let waiting = pool.waiting.values();
                        if waiting.filter(|(who, _)| *who == env(number, 0)).count() > 30 {
                            pool.leave(ticket);
                        }
                    }
                    Arrival::Refused(error) => panic!("refused: {error:?}"),
                }
            }
            for (who, member) in begun {
                let number = who.env_and_code.unwrap() / 16;
                ends.push((millis + lasts[number as usize], member));
                last_served.insert(number, millis);
            }
            for number in 0..envs {
                let last = last_served.get(&number).copied().unwrap_or(0);
                prop_assert!(millis - last <= bound + every[number as usize], "env {number} starves");
            }
        }
    }
}
