//! Which env holds which member, where a member holds one env at a time. Pure: it is told what
//! happens and when, and says who is served.
//!
//! An env (with its code) that gets a member holds it, and its calls run together there. A member
//! on which no call is under way goes to the env that has waited longest: since its first call that
//! waits came, or since one of its calls was served last. A member whose holder has had its slice
//! takes no more of the holder's calls while others wait for it, so that it falls idle and changes
//! hands. A busy env takes further members only where nobody waits for them.
//!
//! The slice counts from the first answer that the holder gets: until then its worker may be loading
//! it. Where none of the calls is answered with which the member changed hands, the turn ends with
//! the last of them. So an env waits at most for those that were before it, once each: for a reload
//! (the time to the first answer, at most one call), a slice, and the longest call that is under way
//! at its end. That is the envs that wait, times slice and reload and longest call; several members
//! share the turns. It is the wait of an env for its next call to be served; of its calls as many are
//! served in a turn as a slice has room for.
//!
//! A member keeps the first code that it is sent: it never gets another, nor, after one, a call
//! without, until it has been down.
//!
//! Invariants: the calls under way on a member are of one env (a call is under way until it is
//! answered or its time is over, also where its caller has left); nobody waits while a member that may
//! take the call is idle, or is the env's own and has room.

mod place;
mod queue;
mod slot;

use std::{
    collections::VecDeque,
    mem,
    time::{Duration, Instant},
};

pub(super) use self::slot::{Seen, Stage};
use self::{
    place::{Place, Reach},
    queue::Queues,
    slot::Slot,
};
use super::members::{AcquireError, Tried};
use crate::backend::Affinity;

/// Calls that a member is sent at once where the framework sets no limit: a C# worker runs 10, lets
/// 20 wait, and refuses the next.
const MOST_AT_ONE_MEMBER: usize = 30;

/// Calls that may wait for the members of one backend. What bounds them is how many connections
/// clients may have and how many bytes may be held: this is several times the default of the one, and
/// only says that there is an end.
const MAX_WAITING: usize = 65_536;

/// Members that have left and whose code is remembered: a name server may lose and find a worker
/// that never went down.
const MAX_DEPARTED: usize = 1024;

/// A member for a call.
#[derive(Debug)]
pub(super) struct Grant {
    /// Its id.
    pub(super) member: u64,
    pub(super) stage: Stage,
}

/// What becomes of a call that comes.
#[derive(Debug)]
pub(super) enum Arrival {
    Served(Grant),
    /// It waits under this ticket.
    Waits(u64),
    /// No member is to be had.
    Refused(AcquireError),
}

/// What became of a call that waited.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) ticket: u64,
    pub(super) granted: Result<Grant, AcquireError>,
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
    queues: Queues,
    turn: u64,
    /// Whether calls that wait may do so in vain since they were looked at last.
    is_news: bool,
}

impl Slots {
    pub(super) fn new(limit: Option<usize>, slice: Duration) -> Self {
        Self {
            limit: limit.unwrap_or(MOST_AT_ONE_MEMBER),
            slice,
            slots: Vec::new(),
            departed: VecDeque::new(),
            queues: Queues::default(),
            turn: 0,
            is_news: false,
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
        self.is_news |= is_news;
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
            Place::At(index) => match self.send(index, who, now) {
                Ok(grant) if self.is_news => {
                    return (Arrival::Served(grant), self.settle(now));
                }
                Ok(grant) => Arrival::Served(grant),
                Err(error) => Arrival::Refused(error),
            },
            Place::Never(error) => Arrival::Refused(error),
            Place::Later if self.queues.len() >= MAX_WAITING => {
                Arrival::Refused(AcquireError::Crowded)
            }
            Place::Later => Arrival::Waits(self.queues.push(who, tried.clone())),
        };
        (arrival, Vec::new())
    }

    /// The first answer has come to a call that was sent in this stage.
    pub(super) fn answered(&mut self, member: u64, now: Instant) {
        if let Some(slot) = self.slot(member) {
            slot.answered(now);
        }
    }

    fn slot(&mut self, member: u64) -> Option<&mut Slot> {
        self.slots.iter_mut().find(|slot| slot.id() == member)
    }

    /// A call at this member has ended: in the stage in which it was sent, or `Loaded` once it was
    /// answered.
    pub(super) fn end(&mut self, member: u64, stage: Stage, now: Instant) -> Vec<Outcome> {
        if let Some(slot) = self.slot(member) {
            slot.end(stage);
        }
        self.settle(now)
    }

    /// Who waits under this ticket has left: a member that was kept from its holder for it is the
    /// holder's again.
    pub(super) fn leave(&mut self, who: Affinity, ticket: u64, now: Instant) -> Vec<Outcome> {
        self.queues.remove(who, ticket);
        self.settle(now)
    }

    /// Serves all who can be served: first those whose env holds a member, then whoever has waited
    /// longest, with whom others may come along. As an env that waits no longer gives the members
    /// that it waited for back to their holders, this goes on until nothing changes.
    fn settle(&mut self, now: Instant) -> Vec<Outcome> {
        let mut outcomes = Vec::new();
        while !self.queues.is_empty() {
            if mem::take(&mut self.is_news) {
                self.refuse_hopeless(&mut outcomes);
            }
            for index in 0..self.slots.len() {
                while let Some(outcome) = self.serve_holder(index, now) {
                    outcomes.push(outcome);
                }
            }
            let first = self.first_to_serve(now);
            match first.and_then(|who| self.serve(who, Reach::Any, now)) {
                Some(outcome) => outcomes.push(outcome),
                None if self.is_news => {}
                None => break,
            }
        }
        self.is_news = false;
        outcomes
    }

    /// Ends the waits of all who wait for nothing.
    fn refuse_hopeless(&mut self, outcomes: &mut Vec<Outcome>) {
        let mut refused = Vec::new();
        for (code, line) in self.queues.lines() {
            for (who, ticket, tried) in self.queues.all(line) {
                if let Some(error) = self.hopeless(code, tried) {
                    refused.push((who, ticket, error));
                }
            }
        }
        for (who, ticket, error) in refused {
            self.queues.remove(who, ticket);
            let granted = Err(error);
            outcomes.push(Outcome { ticket, granted });
        }
    }

    /// Serves a call of the env that holds this slot, where there is room.
    fn serve_holder(&mut self, index: usize, now: Instant) -> Option<Outcome> {
        let slot = self.slots.get(index)?;
        if slot.in_flight >= self.limit {
            return None;
        }
        let holder = slot.holder()?;
        self.serve(holder, Reach::Own, now)
    }

    /// Ends the wait of the first call of an env that can be served.
    fn serve(&mut self, who: Affinity, reach: Reach, now: Instant) -> Option<Outcome> {
        let mut heads = self.queues.heads(who);
        let (ticket, place) =
            heads.find_map(|(ticket, tried)| match self.place(who, tried, now, reach) {
                Place::At(index) => Some((ticket, Ok(index))),
                Place::Never(error) => Some((ticket, Err(error))),
                Place::Later => None,
            })?;
        drop(heads);
        self.queues.serve(who, ticket);
        let granted = place.and_then(|index| self.send(index, who, now));
        Some(Outcome { ticket, granted })
    }

    /// Counts a call at a slot. One that brings its member a code may leave others without any.
    fn send(&mut self, index: usize, who: Affinity, now: Instant) -> Result<Grant, AcquireError> {
        self.turn += 1;
        let slot = self.slots.get_mut(index).ok_or(AcquireError::NoneLeft)?;
        self.is_news |= slot.code != who.code;
        let stage = slot.send(who, self.turn, self.slice, now);
        let member = slot.id();
        Ok(Grant { member, stage })
    }
}

#[cfg(test)]
mod tests;
