//! Where a call may go now.

use std::time::Instant;

use super::{AcquireError, Queue, Slot, Slots, Ticket, Tried};
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
        let takers = || {
            let slots = self.slots.iter().enumerate();
            slots.filter(|(_, slot)| slot.takes(who, tried))
        };
        if takers().next().is_none() {
            let all_tried = self.slots.iter().all(|slot| tried.has(slot.id()));
            return Place::Never(if all_tried {
                AcquireError::NoneLeft
            } else {
                AcquireError::OtherCode
            });
        }
        let all_out = self.all_out(who, tried);
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

    /// Whether all members are out that such a call may go to.
    fn all_out(&self, who: Affinity, tried: &Tried) -> bool {
        let mut takers = self.slots.iter().filter(|slot| slot.takes(who, tried));
        takers.all(|slot| slot.seen.is_out)
    }

    /// Whether another env waits for this member, too.
    fn is_wanted(&self, slot: &Slot, holder: Affinity) -> bool {
        let mut others = self.queues.iter().filter(|queue| queue.who != holder);
        others.any(|Queue { who, tickets, .. }| {
            tickets.iter().any(|Ticket { tried, .. }| {
                slot.takes(*who, tried) && (!slot.seen.is_out || self.all_out(*who, tried))
            })
        })
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
