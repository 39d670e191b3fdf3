//! A schedule under test.

use std::collections::BTreeMap;

use super::*;

pub(super) const SLICE: Duration = Duration::from_millis(100);

/// An env and, from 1, its code.
pub(super) fn env(number: u64, code: u64) -> Affinity {
    Affinity {
        env_and_code: Some(number * 16 + code),
        code: (code > 0).then_some(code),
    }
}

/// A schedule and, beside it, what really happened to its members.
pub(super) struct Pool {
    pub(super) slots: Slots,
    pub(super) now: Instant,
    pub(super) members: Vec<Seen>,
    pub(super) under_way: BTreeMap<u64, Vec<(Affinity, Stage)>>,
    /// The code that each was sent since it was down.
    pub(super) codes: BTreeMap<u64, u64>,
    pub(super) waiting: BTreeMap<u64, (Affinity, Tried)>,
    /// Who was served after having waited, in order.
    pub(super) served: Vec<(u64, u64)>,
    /// To whom, and its member.
    pub(super) granted: Vec<(Affinity, u64)>,
    pub(super) refused: Vec<u64>,
}

impl Pool {
    pub(super) fn of(members: u64, limit: Option<usize>) -> Self {
        let seen = |id| Seen {
            id,
            rank_seed: id * 0x9e37_79b9,
            is_out: false,
            downs: 0,
        };
        let mut pool = Self {
            slots: Slots::new(limit, SLICE),
            now: Instant::now(),
            members: (1..=members).map(seen).collect(),
            under_way: BTreeMap::new(),
            codes: BTreeMap::new(),
            waiting: BTreeMap::new(),
            served: Vec::new(),
            granted: Vec::new(),
            refused: Vec::new(),
        };
        pool.see();
        pool
    }

    pub(super) fn pass(&mut self, millis: u64) {
        self.now += Duration::from_millis(millis);
    }

    pub(super) fn see(&mut self) {
        let outcomes = self.slots.see(self.members.clone().into_iter(), self.now);
        self.note(outcomes);
    }

    pub(super) fn arrive(&mut self, who: Affinity) -> Arrival {
        self.arrive_after(who, &Tried::default())
    }

    pub(super) fn arrive_after(&mut self, who: Affinity, tried: &Tried) -> Arrival {
        let (arrival, outcomes) = self.slots.arrive(who, tried, self.now);
        match &arrival {
            Arrival::Served(grant) => self.begin(grant, who, tried),
            Arrival::Waits(ticket) => {
                self.waiting.insert(*ticket, (who, tried.clone()));
            }
            Arrival::Refused(_) => {}
        }
        self.note(outcomes);
        arrival
    }

    pub(super) fn served(&mut self, who: Affinity) -> u64 {
        match self.arrive(who) {
            Arrival::Served(grant) => grant.member,
            other => panic!("not served: {other:?}"),
        }
    }

    pub(super) fn waits(&mut self, who: Affinity) -> u64 {
        match self.arrive(who) {
            Arrival::Waits(ticket) => ticket,
            other => panic!("doesn't wait: {other:?}"),
        }
    }

    pub(super) fn begin(&mut self, grant: &Grant, who: Affinity, tried: &Tried) {
        let member = grant.member;
        assert!(!tried.has(member), "sent where it was in vain");
        let under_way = self.under_way.entry(member).or_default();
        under_way.push((who, grant.stage));
        assert!(
            under_way.iter().all(|(other, _)| *other == who),
            "two envs at once on {member}: {under_way:?}"
        );
        assert!(under_way.len() <= self.slots.limit, "over the limit");
        if let Some(code) = self.codes.get(&member) {
            assert_eq!(who.code, Some(*code), "a second code for {member}");
        }
        if let Some(code) = who.code {
            self.codes.insert(member, code);
        }
    }

    /// The last of a member's calls ends, answered.
    pub(super) fn end(&mut self, member: u64) {
        self.answered(member);
        self.end_at(member, usize::MAX);
    }

    /// One of a member's calls ends, as it is.
    pub(super) fn end_at(&mut self, member: u64, place: usize) {
        let calls = self.under_way.get_mut(&member).unwrap();
        let (_, stage) = calls.remove(place.min(calls.len() - 1));
        let outcomes = self.slots.end(member, stage, self.now);
        self.note(outcomes);
    }

    /// The last of a member's calls is answered.
    pub(super) fn answered(&mut self, member: u64) {
        self.answered_at(member, usize::MAX);
    }

    pub(super) fn answered_at(&mut self, member: u64, place: usize) {
        let calls = self.under_way.get_mut(&member).unwrap();
        let last = calls.len() - 1;
        let (_, stage) = &mut calls[place.min(last)];
        if mem::replace(stage, Stage::Loaded) != Stage::Loaded {
            self.slots.answered(member, self.now);
        }
    }

    pub(super) fn leave(&mut self, ticket: u64) {
        let (who, _) = self.waiting.remove(&ticket).unwrap();
        let outcomes = self.slots.leave(who, ticket, self.now);
        self.note(outcomes);
    }

    pub(super) fn down(&mut self, index: usize) {
        self.members[index].downs += 1;
        let id = self.members[index].id;
        if self.under_way[&id].len() <= 1 {
            self.codes.remove(&id);
        }
        self.see();
    }

    pub(super) fn note(&mut self, outcomes: Vec<Outcome>) {
        for Outcome { ticket, granted } in outcomes {
            let (who, tried) = self.waiting.remove(&ticket).expect("told once");
            match granted {
                Ok(grant) => {
                    self.begin(&grant, who, &tried);
                    self.served.push((ticket, grant.member));
                    self.granted.push((who, grant.member));
                }
                Err(_) => self.refused.push(ticket),
            }
        }
        self.check();
    }

    /// What always holds.
    pub(super) fn check(&self) {
        for slot in &self.slots.slots {
            let under_way = self.under_way.get(&slot.id()).map_or(0, Vec::len);
            assert_eq!(slot.in_flight, under_way, "leases of {}", slot.id());
        }
        assert_eq!(self.slots.queues.len(), self.waiting.len());
        for (who, tried) in self.waiting.values() {
            let may_take = |member: &&Seen| {
                let code = self.codes.get(&member.id);
                !tried.has(member.id) && code.is_none_or(|code| who.code == Some(*code))
            };
            let open: Vec<_> = self.members.iter().filter(may_take).collect();
            assert!(!open.is_empty(), "{who:?} waits for nothing");
            let all_out = open.iter().all(|member| member.is_out);
            for member in open.iter().filter(|member| all_out || !member.is_out) {
                let calls = self.under_way.get(&member.id).map_or(0, Vec::len);
                assert!(calls > 0, "{who:?} waits, and {} is idle", member.id);
            }
        }
    }
}
