//! Which env holds which member, where a member holds one env at a time. Pure: it is told what
//! happens and when, and says who is served.
//!
//! An env (with its code) that gets a member holds it, and its calls run together there. A member
//! on which no call is under way goes to the env that has waited longest: since its first call that
//! waits came, or since one of its calls was served last. A member whose holder has had its slice
//! takes no more of the holder's calls while others wait for it, so that it falls idle and changes
//! hands. So an env waits at most for those that were before it, once each: for a slice and what is
//! under way at its end. A busy env takes further members only where nobody waits for them.
//!
//! A member keeps the first code that it is sent: it never gets another, nor, after one, a call
//! without, until it has been down.
//!
//! Invariants: the calls under way on a member are of one env; nobody waits while a member that may
//! take the call is idle, or is the env's own and has room.

mod place;
mod queue;
mod slot;

use std::{
    collections::VecDeque,
    mem,
    time::{Duration, Instant},
};

pub(super) use self::slot::Seen;
use self::{
    place::{Place, Reach},
    queue::{Queue, Ticket},
    slot::Slot,
};
use super::members::{AcquireError, MAX_WAITING, Tried};
use crate::backend::Affinity;

/// Calls that a member is sent at once where the framework sets no limit: a C# worker runs 10, lets
/// 20 wait, and refuses the next.
const MOST_AT_ONE_MEMBER: usize = 30;

/// Members that have left and whose code is remembered: a name server may lose and find a worker
/// that never went down.
const MAX_DEPARTED: usize = 1024;

/// What becomes of a call that comes.
#[derive(Debug)]
pub(super) enum Arrival {
    /// It goes to the member with this id.
    Served(u64),
    /// It waits under this ticket.
    Waits(u64),
    /// No member is to be had.
    Refused(AcquireError),
}

/// What became of a call that waited.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) ticket: u64,
    /// The id of its member.
    pub(super) member: Result<u64, AcquireError>,
}

/// All members, and all calls that wait for one.
#[derive(Debug)]
pub(super) struct Slots {
    /// Calls that a member runs at once.
    limit: usize,
    slice: Duration,
    slots: Vec<Slot>,
    /// The codes of members that have left, by their rank seeds; the last to leave stands last.
    departed: VecDeque<(u64, u64)>,
    queues: Vec<Queue>,
    /// What tickets and waits are ordered by.
    last_number: u64,
    turn: u64,
}

impl Slots {
    pub(super) fn new(limit: Option<usize>, slice: Duration) -> Self {
        Self {
            limit: limit.unwrap_or(MOST_AT_ONE_MEMBER),
            slice,
            slots: Vec::new(),
            departed: VecDeque::new(),
            queues: Vec::new(),
            last_number: 0,
            turn: 0,
        }
    }

    /// Notes who the members are and how they fare; who can be served because of it is.
    pub(super) fn see(
        &mut self,
        members: impl Iterator<Item = Seen> + Clone,
        now: Instant,
    ) -> Vec<Outcome> {
        let ids = self.slots.iter().map(Slot::id);
        let mut is_news = !ids.eq(members.clone().map(|seen| seen.id));
        if is_news {
            self.replace(members.clone());
        }
        for (slot, seen) in self.slots.iter_mut().zip(members) {
            is_news |= slot.note(seen);
        }
        if is_news {
            self.settle(now)
        } else {
            Vec::new()
        }
    }

    fn replace(&mut self, members: impl Iterator<Item = Seen> + Clone) {
        let stays = |slot: &Slot| members.clone().any(|seen| seen.id == slot.id());
        let (mut old, left): (Vec<_>, Vec<_>) =
            mem::take(&mut self.slots).into_iter().partition(stays);
        let left = left.iter();
        let left = left.filter_map(|slot| Some((slot.seen.rank_seed, slot.code?)));
        self.departed.extend(left);
        for seen in members {
            let place = old.iter().position(|slot| slot.id() == seen.id);
            let slot = match place.map(|place| old.swap_remove(place)) {
                Some(slot) => slot,
                None => Slot::new(seen, self.returned(seen.rank_seed)),
            };
            self.slots.push(slot);
        }
        let excess = self.departed.len().saturating_sub(MAX_DEPARTED);
        self.departed.drain(..excess);
    }

    /// The code of a member that has left and is back at its address: it may never have been down.
    fn returned(&mut self, rank_seed: u64) -> Option<u64> {
        let mut seeds = self.departed.iter().map(|(seed, _)| *seed);
        let place = seeds.position(|seed| seed == rank_seed)?;
        self.departed.remove(place).map(|(_, code)| code)
    }

    /// A call comes that was in vain at the members in `tried`. Where it brings a member its code,
    /// others may have to look elsewhere.
    pub(super) fn arrive(
        &mut self,
        who: Affinity,
        tried: &Tried,
        now: Instant,
    ) -> (Arrival, Vec<Outcome>) {
        let arrival = match self.place(who, tried, now, Reach::Any) {
            Place::At(index) => {
                let slot = self.slots.get(index);
                let brings_code = slot.is_some_and(|slot| slot.code != who.code);
                match self.send(index, who, now) {
                    Ok(member) if brings_code => {
                        return (Arrival::Served(member), self.settle(now));
                    }
                    Ok(member) => Arrival::Served(member),
                    Err(error) => Arrival::Refused(error),
                }
            }
            Place::Never(error) => Arrival::Refused(error),
            Place::Later if self.waiting() >= MAX_WAITING => {
                Arrival::Refused(AcquireError::Crowded)
            }
            Place::Later => Arrival::Waits(self.queue(who, tried.clone())),
        };
        (arrival, Vec::new())
    }

    fn waiting(&self) -> usize {
        self.queues.iter().map(|queue| queue.tickets.len()).sum()
    }

    fn queue(&mut self, who: Affinity, tried: Tried) -> u64 {
        self.last_number += 1;
        let number = self.last_number;
        let ticket = Ticket { number, tried };
        match self.queues.iter_mut().find(|queue| queue.who == who) {
            Some(queue) => queue.tickets.push_back(ticket),
            None => self.queues.push(Queue::new(who, ticket)),
        }
        number
    }

    /// A call at this member has ended.
    pub(super) fn end(&mut self, member: u64, now: Instant) -> Vec<Outcome> {
        let mut slots = self.slots.iter_mut();
        if let Some(slot) = slots.find(|slot| slot.id() == member) {
            slot.in_flight = slot.in_flight.saturating_sub(1);
        }
        self.settle(now)
    }

    /// Who waits under this ticket has left: a member that was kept from its holder for it is the
    /// holder's again.
    pub(super) fn leave(&mut self, ticket: u64, now: Instant) -> Vec<Outcome> {
        for queue in &mut self.queues {
            queue.tickets.retain(|waiting| waiting.number != ticket);
        }
        self.queues.retain(|queue| !queue.tickets.is_empty());
        self.settle(now)
    }

    /// Serves all who can be served: first those whose env holds a member, then whoever has waited
    /// longest, with whom others may come along. As an env that waits no longer gives the members
    /// that it waited for back to their holders, this goes on until nothing changes.
    fn settle(&mut self, now: Instant) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        while !self.queues.is_empty() {
            let mut all = 0..self.queues.len();
            for at in all.clone() {
                while let Some(outcome) = self.serve(at, Reach::Own, now) {
                    outcomes.push(outcome);
                }
            }
            self.queues.retain(|queue| !queue.tickets.is_empty());
            self.queues.sort_by_key(|queue| queue.waits_since);
            match all.find_map(|at| self.serve(at, Reach::Any, now)) {
                Some(outcome) => outcomes.push(outcome),
                None => break,
            }
            self.queues.retain(|queue| !queue.tickets.is_empty());
        }
        outcomes
    }

    /// Ends the wait of the first call of a queue that can be served, or never will be.
    fn serve(&mut self, at: usize, reach: Reach, now: Instant) -> Option<Outcome> {
        let queue = self.queues.get(at)?;
        let who = queue.who;
        let mut fresh_ones_wait = false;
        let mut tickets = queue.tickets.iter().enumerate();
        let (position, slot) = tickets.find_map(|(position, ticket)| {
            // All that have tried none have the same choice.
            let is_fresh = ticket.tried.is_empty();
            if is_fresh && fresh_ones_wait {
                return None;
            }
            match self.place(who, &ticket.tried, now, reach) {
                Place::At(index) => Some((position, Ok(index))),
                Place::Never(error) => Some((position, Err(error))),
                Place::Later => {
                    fresh_ones_wait |= is_fresh;
                    None
                }
            }
        })?;
        self.last_number += 1;
        let queue = self.queues.get_mut(at)?;
        let ticket = queue.tickets.remove(position)?.number;
        queue.waits_since = self.last_number;
        let member = slot.and_then(|index| self.send(index, who, now));
        Some(Outcome { ticket, member })
    }

    /// Counts a call at a slot, whose member it names.
    fn send(&mut self, index: usize, who: Affinity, now: Instant) -> Result<u64, AcquireError> {
        self.turn += 1;
        let slot = self.slots.get_mut(index).ok_or(AcquireError::NoneLeft)?;
        slot.send(who, self.turn, self.slice, now);
        Ok(slot.id())
    }
}

#[cfg(test)]
mod tests;
