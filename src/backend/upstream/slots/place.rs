//! Where a call may go now.

use std::time::Instant;

use super::{AcquireError, Slot, Slots, Tried, queue::UNTRIED};
use crate::backend::{
    Affinity,
    upstream::balance::{AFFINITY_FLOOR, Candidate, rested},
};

/// Who looks for a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// Only calls whose env holds a member that has room for them.
    Own,
    Any,
}

/// Where a call may go.
#[derive(Debug)]
pub(super) enum Place {
    /// To the slot with this index.
    At(usize),
    /// Nowhere yet.
    Later,
    Never(AcquireError),
}

impl Slots {
    /// Where a call may go now. Members that are out count only where all are that it may go to.
    pub(super) fn place(&self, who: Affinity, tried: &Tried, now: Instant, reach: Reach) -> Place {
        if let Some(error) = self.hopeless(who.code, tried) {
            return Place::Never(error);
        }
        let takers = || {
            let slots = self.slots.iter().enumerate();
            slots.filter(|(_, slot)| slot.takes(who.code, tried))
        };
        let all_out = self.all_out(who.code, tried);
        let open = || takers().filter(|(_, slot)| all_out || !slot.seen.is_out);
        let must_go = |slot: &Slot| slot.is_spent(self.slice, now) && self.is_wanted(slot, who);
        // Where its calls run already comes first: a member that it has no more use for falls idle.
        let own = open()
            .filter(|(_, slot)| slot.is_held_by(who) && slot.in_flight < self.limit)
            .filter(|(_, slot)| !must_go(slot))
            .min_by_key(|(_, slot)| match slot.in_flight {
                0 => (1, 0),
                calls if calls < AFFINITY_FLOOR => (0, calls),
                calls => (2, calls),
            });
        let idle = || {
            open()
                .filter(|(_, slot)| slot.in_flight == 0)
                .filter(|(_, slot)| !slot.is_held_by(who) || !must_go(slot))
        };
        let further = match own {
            Some((_, own)) if own.in_flight < AFFINITY_FLOOR => None,
            Some(_) => nearest(who, idle().filter(|(_, slot)| !self.is_wanted(slot, who))),
            None if reach == Reach::Own => None,
            None => nearest(who, idle()),
        };
        match further.or(own.map(|(index, _)| index)) {
            Some(index) => Place::At(index),
            None => Place::Later,
        }
    }

    /// Why no member will ever take such a call, as they are.
    pub(super) fn hopeless(&self, code: Option<u64>, tried: &Tried) -> Option<AcquireError> {
        if self.slots.iter().any(|slot| slot.takes(code, tried)) {
            return None;
        }
        let all_tried = self.slots.iter().all(|slot| tried.has(slot.id()));
        Some(if all_tried {
            AcquireError::NoneLeft
        } else {
            AcquireError::OtherCode
        })
    }

    /// Whether all members are out that such a call may go to.
    fn all_out(&self, code: Option<u64>, tried: &Tried) -> bool {
        let mut takers = self.slots.iter().filter(|slot| slot.takes(code, tried));
        takers.all(|slot| slot.seen.is_out)
    }

    /// Whether this member may be asked by such a call, whoever holds it.
    fn is_open(&self, slot: &Slot, code: Option<u64>, tried: &Tried) -> bool {
        slot.takes(code, tried) && (!slot.seen.is_out || self.all_out(code, tried))
    }

    /// Whether another env waits for this member, too.
    fn is_wanted(&self, slot: &Slot, holder: Affinity) -> bool {
        self.queues.lines().any(|(code, line)| {
            let is_open = self.is_open(slot, code, &UNTRIED);
            if !is_open && !self.queues.any_retried() {
                return false;
            }
            let others = line.values().filter(|who| **who != holder);
            let mut others = others.filter_map(|who| self.queues.get(*who));
            others.any(|queue| {
                let mut retried = queue.retried();
                (is_open && queue.has_fresh())
                    || retried.any(|tried| self.is_open(slot, code, tried))
            })
        })
    }

    /// Of the envs that a member would take that is idle, the one that has waited longest.
    pub(super) fn first_to_serve(&self, now: Instant) -> Option<Affinity> {
        let idle = || self.slots.iter().filter(|slot| slot.in_flight == 0);
        idle().next()?;
        let firsts = self.queues.lines().filter_map(|(code, line)| {
            let is_open = idle().any(|slot| self.is_open(slot, code, &UNTRIED));
            if !is_open && !self.queues.any_retried() {
                return None;
            }
            let is_served = |who: Affinity| {
                let heads = self.queues.heads(who);
                let mut heads = heads.filter(|(_, tried)| is_open || !tried.is_empty());
                heads.any(|(_, tried)| {
                    let place = self.place(who, tried, now, Reach::Any);
                    !matches!(place, Place::Later)
                })
            };
            line.iter().find(|(_, who)| is_served(**who))
        });
        let first = firsts.min_by_key(|(since, _)| **since);
        first.map(|(_, who)| *who)
    }
}

/// Of idle members that the env doesn't hold one that shares its code, else one without any code; of
/// these one that has rested long.
fn nearest<'a>(
    who: Affinity,
    idle: impl Iterator<Item = (usize, &'a Slot)> + Clone,
) -> Option<usize> {
    let brings_code = |slot: &Slot| slot.code != who.code;
    let all_bring_it = idle.clone().all(|(_, slot)| brings_code(slot));
    let candidates = idle.filter(|(_, slot)| brings_code(slot) == all_bring_it);
    let candidates = candidates.map(|(index, slot)| {
        let candidate = Candidate {
            rank_seed: slot.seen.rank_seed,
            in_flight: 0,
            last_sent: None,
            last_turn: slot.last_turn,
            eligible: true,
        };
        (index, candidate)
    });
    let candidates: Vec<_> = candidates.collect();
    let all = candidates.iter().map(|(index, one)| (*index, one));
    rested(who.env_and_code.unwrap_or(0), all).map(|(index, _)| index)
}
