//! The calls that wait, in the order in which their envs are to be served.
//!
//! What happens to one call costs a logarithm of how many wait, never a look at all of them: only
//! calls that were in vain at a member before are looked at one by one.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    iter,
};

use super::Tried;
use crate::backend::Affinity;

/// What calls have tried that come for the first time.
pub(super) static UNTRIED: Tried = Tried::none();

/// All calls that wait.
#[derive(Debug, Default)]
pub(super) struct Queues {
    by_env: HashMap<Affinity, Queue>,
    /// The envs that wait, by code; who has waited longest stands first.
    lines: BTreeMap<Option<u64>, Line>,
    waiting: usize,
    retried: usize,
    /// What tickets and waits are ordered by.
    last_number: u64,
}

/// The envs of one code, by the number since which they wait.
pub(super) type Line = BTreeMap<u64, Affinity>;

/// The calls of one env, by their tickets: a ticket is greater than those of all that came before.
#[derive(Debug)]
pub(super) struct Queue {
    /// The number of its first ticket, or the one after which a call of it was served last.
    waits_since: u64,
    /// Calls that have tried no member yet: all have the same choice.
    fresh: BTreeSet<u64>,
    retried: BTreeMap<u64, Tried>,
}

impl Queue {
    pub(super) fn has_fresh(&self) -> bool {
        !self.fresh.is_empty()
    }

    /// What the others have tried.
    pub(super) fn retried(&self) -> impl Iterator<Item = &Tried> {
        self.retried.values()
    }

    /// The calls that differ in where they may go, in the order of their coming.
    fn heads(&self) -> impl Iterator<Item = (u64, &Tried)> {
        let fresh = self.fresh.first().copied();
        let of_fresh = move || fresh.map(|ticket| (ticket, &UNTRIED));
        let is_before = move |ticket: u64| fresh.is_none_or(|fresh| ticket < fresh);
        let retried = || self.retried.iter().map(|(ticket, tried)| (*ticket, tried));
        let before = retried().take_while(move |(ticket, _)| is_before(*ticket));
        let after = retried().skip_while(move |(ticket, _)| is_before(*ticket));
        before
            .chain(iter::once_with(of_fresh).flatten())
            .chain(after)
    }

    fn is_empty(&self) -> bool {
        self.fresh.is_empty() && self.retried.is_empty()
    }
}

impl Queues {
    /// How many calls wait.
    pub(super) fn len(&self) -> usize {
        self.waiting
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting == 0
    }

    /// Whether calls wait that were in vain at a member before.
    pub(super) fn any_retried(&self) -> bool {
        self.retried > 0
    }

    pub(super) fn get(&self, who: Affinity) -> Option<&Queue> {
        self.by_env.get(&who)
    }

    /// The calls of an env that differ in where they may go, in the order of their coming.
    pub(super) fn heads(&self, who: Affinity) -> impl Iterator<Item = (u64, &Tried)> {
        self.get(who).into_iter().flat_map(Queue::heads)
    }

    /// The envs that wait, by code.
    pub(super) fn lines(&self) -> impl Iterator<Item = (Option<u64>, &Line)> {
        self.lines.iter().map(|(code, line)| (*code, line))
    }

    /// Each call of the envs in a line, and what it has tried.
    pub(super) fn all<'a>(
        &'a self,
        line: &'a Line,
    ) -> impl Iterator<Item = (Affinity, u64, &'a Tried)> {
        line.values().flat_map(|who| {
            let queue = self.get(*who).into_iter();
            queue.flat_map(|queue| {
                let fresh = queue.fresh.iter().map(|ticket| (*who, *ticket, &UNTRIED));
                let retried = queue.retried.iter();
                fresh.chain(retried.map(|(ticket, tried)| (*who, *ticket, tried)))
            })
        })
    }

    /// A call comes to wait. Its ticket.
    pub(super) fn push(&mut self, who: Affinity, tried: Tried) -> u64 {
        self.last_number += 1;
        let ticket = self.last_number;
        let line = self.lines.entry(who.code).or_default();
        let queue = self.by_env.entry(who).or_insert_with(|| {
            line.insert(ticket, who);
            Queue {
                waits_since: ticket,
                fresh: BTreeSet::new(),
                retried: BTreeMap::new(),
            }
        });
        self.waiting += 1;
        if tried.is_empty() {
            queue.fresh.insert(ticket);
        } else {
            queue.retried.insert(ticket, tried);
            self.retried += 1;
        }
        ticket
    }

    /// A call is served: its env stands behind all others from now on.
    pub(super) fn serve(&mut self, who: Affinity, ticket: u64) {
        self.last_number += 1;
        let now = self.last_number;
        if let Some(queue) = self.by_env.get_mut(&who)
            && let Some(line) = self.lines.get_mut(&who.code)
        {
            line.remove(&queue.waits_since);
            line.insert(now, who);
            queue.waits_since = now;
        }
        self.remove(who, ticket);
    }

    /// A call waits no longer.
    pub(super) fn remove(&mut self, who: Affinity, ticket: u64) {
        let Some(queue) = self.by_env.get_mut(&who) else {
            return;
        };
        if queue.fresh.remove(&ticket) {
            self.waiting -= 1;
        } else if queue.retried.remove(&ticket).is_some() {
            self.waiting -= 1;
            self.retried -= 1;
        }
        if !queue.is_empty() {
            return;
        }
        let since = queue.waits_since;
        self.by_env.remove(&who);
        if let Some(line) = self.lines.get_mut(&who.code) {
            line.remove(&since);
            if line.is_empty() {
                self.lines.remove(&who.code);
            }
        }
    }
}
