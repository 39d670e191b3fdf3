//! All the rules at once, whatever happens.

use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Event {
    Arrive { env: u64, code: u64, tried: u8 },
    Answered(prop::sample::Index),
    End(prop::sample::Index, prop::sample::Index),
    Leave(prop::sample::Index),
    Pass(u64),
    Out(usize),
    Down(usize),
}

impl Pool {
    /// One of the members with calls under way, and how many.
    fn busy(&self, which: prop::sample::Index) -> Option<(u64, usize)> {
        let busy = self
            .under_way
            .iter()
            .map(|(member, calls)| (*member, calls.len()));
        let busy: Vec<_> = busy.filter(|(_, calls)| *calls > 0).collect();
        (!busy.is_empty()).then(|| *which.get(&busy))
    }
}

fn event() -> impl Strategy<Value = Event> {
    let arrive = (0..6_u64, 0..3_u64, prop_oneof![9 => Just(0), 1 => 0..8_u8]);
    prop_oneof![
        8 => arrive.prop_map(|(env, code, tried)| Event::Arrive { env, code: code.saturating_sub(1), tried }),
        4 => any::<prop::sample::Index>().prop_map(Event::Answered),
        6 => any::<(prop::sample::Index, prop::sample::Index)>().prop_map(|(member, call)| Event::End(member, call)),
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
                Event::Answered(which) => {
                    if let Some((member, _)) = pool.busy(which) {
                        pool.answered(member);
                    }
                }
                Event::End(which, call) => {
                    if let Some((member, calls)) = pool.busy(which) {
                        pool.end_at(member, call.index(calls));
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

/// A worker's call: when it is answered or its caller gives up.
struct UnderWay {
    member: u64,
    ends: u64,
    is_answered: bool,
    who: Affinity,
}

/// What workers do in a while: each loads the env that it is sent first, then answers.
struct Workers {
    reload: u64,
    /// How long a call of each env takes.
    lasts: Vec<u64>,
    /// Every so many calls one is never answered.
    hangs: u64,
    /// When a caller gives up.
    timeout: u64,
    loaded: BTreeMap<u64, (Affinity, u64)>,
    calls: u64,
}

impl Workers {
    fn begin(&mut self, who: Affinity, member: u64, now: u64) -> UnderWay {
        let loaded = self
            .loaded
            .entry(member)
            .or_insert((who, now + self.reload));
        if loaded.0 != who {
            *loaded = (who, now + self.reload);
        }
        self.calls += 1;
        let number = usize::try_from(who.env_and_code.unwrap() / 16).unwrap();
        let answer = loaded.1.max(now) + self.lasts[number];
        let timeout = now + self.timeout;
        let is_answered = !self.calls.is_multiple_of(self.hangs) && answer <= timeout;
        UnderWay {
            member,
            ends: if is_answered { answer } else { timeout },
            is_answered,
            who,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Envs that never stop calling: each is served again before every other has had a turn: its
    /// worker's first answer, a slice, and the longest call that is under way at its end.
    #[test]
    fn nobody_waits_longer_than_everyones_turn(
        members in 1..4_u64,
        limit in 1..5_usize,
        envs in 2..7_u64,
        every in prop::collection::vec(1..12_u64, 7),
        lasts in prop::collection::vec(1..60_u64, 7),
        reload in 0..120_u64,
        hangs in prop_oneof![3 => Just(u64::MAX), 1 => Just(1), 1 => 2..50_u64],
    ) {
        let mut pool = Pool::of(members, Some(limit));
        let timeout = reload + 80;
        let longest = if hangs == u64::MAX { 60 } else { timeout };
        let first_answer = if hangs == u64::MAX { reload + 60 } else { timeout };
        // Noticed a millisecond late at each end.
        let turn = first_answer + 100 + longest + 3;
        let mut workers = Workers { reload, lasts, hangs, timeout, loaded: BTreeMap::new(), calls: 0 };
        let mut under_way: Vec<UnderWay> = Vec::new();
        let mut waits_since: HashMap<Affinity, u64> = HashMap::new();
        for millis in 0..3000_u64 {
            pool.pass(1);
            while let Some(place) = under_way.iter().position(|call| call.ends <= millis) {
                let call = under_way.remove(place);
                let granted = pool.granted.len();
                // The places of a member's calls are the same here and there.
                let same = under_way[..place].iter().filter(|other| other.member == call.member);
                let place = same.count();
                if call.is_answered {
                    pool.answered_at(call.member, place);
                }
                pool.end_at(call.member, place);
                prop_assert!(pool.refused.is_empty());
                for (who, member) in pool.granted.split_off(granted) {
                    under_way.push(workers.begin(who, member, millis));
                    waits_since.insert(who, millis);
                }
                prop_assert!(under_way.iter().all(|other| other.member != call.member || other.who == pool.under_way[&call.member][0].0));
            }
            for number in (0..envs).filter(|number| millis % every[*number as usize] == 0) {
                let who = env(number, 0);
                match pool.arrive(who) {
                    Arrival::Served(grant) => {
                        under_way.push(workers.begin(who, grant.member, millis));
                        waits_since.insert(who, millis);
                    }
                    Arrival::Waits(ticket) => {
                        let own = pool.waiting.values().filter(|(waits, _)| *waits == who).count();
                        if own == 1 {
                            waits_since.insert(who, millis);
                        }
                        if own > 8 {
                            pool.leave(ticket);
                        }
                    }
                    Arrival::Refused(error) => panic!("refused: {error:?}"),
                }
            }
            for (who, _) in pool.waiting.values() {
                let waited = millis - waits_since[who];
                prop_assert!(waited <= envs * turn, "{who:?} waits for {waited} ms");
            }
        }
    }
}
