//! One member, and the env that holds it.

use std::{
    mem,
    time::{Duration, Instant},
};

use super::Tried;
use crate::backend::Affinity;

/// A member as it is known elsewhere.
#[derive(Debug, Clone, Copy)]
pub(in crate::backend::upstream) struct Seen {
    pub(in crate::backend::upstream) id: u64,
    /// Rendezvous hashing's name for it: the same for as long as its address is.
    pub(in crate::backend::upstream) rank_seed: u64,
    /// Whether it is asked only where all are out.
    pub(in crate::backend::upstream) is_out: bool,
    /// How often it has been down.
    pub(in crate::backend::upstream) downs: u64,
}

/// A member's place in the schedule.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) seen: Seen,
    /// The code that it was sent since it was down.
    pub(super) code: Option<u64>,
    hold: Option<Hold>,
    /// Calls under way, all of the holder.
    pub(super) in_flight: usize,
    /// The turn in which it was sent a call last; 0 where it had none yet.
    pub(super) last_turn: u64,
}

/// An env's hold on a member. It outlasts the env's calls, as the env stays loaded.
#[derive(Debug, Clone, Copy)]
struct Hold {
    who: Affinity,
    since: Instant,
}

impl Slot {
    pub(super) fn new(seen: Seen, code: Option<u64>) -> Self {
        Self {
            seen,
            code,
            hold: None,
            in_flight: 0,
            last_turn: 0,
        }
    }

    pub(super) fn id(&self) -> u64 {
        self.seen.id
    }

    /// Whether a call may ever go here, as it is.
    pub(super) fn takes(&self, who: Affinity, tried: &Tried) -> bool {
        (self.code.is_none() || self.code == who.code) && !tried.has(self.id())
    }

    pub(super) fn is_held_by(&self, who: Affinity) -> bool {
        self.hold.is_some_and(|hold| hold.who == who)
    }

    /// Whether its holder, if there is one, has had its slice.
    pub(super) fn is_spent(&self, slice: Duration, now: Instant) -> bool {
        self.hold
            .is_none_or(|hold| now.saturating_duration_since(hold.since) >= slice)
    }

    /// Notes how the member fares, and says whether that is news.
    pub(super) fn note(&mut self, seen: Seen) -> bool {
        let before = mem::replace(&mut self.seen, seen);
        let was_down = before.downs != seen.downs;
        // One call under way is the one that found it down. Of more, another may have reached it as
        // it came up again, and brought its code; where none did, they find it down in their turn.
        if was_down && self.in_flight <= 1 {
            self.code = None;
            self.hold = self.hold.filter(|_| self.in_flight > 0);
        }
        was_down || before.is_out != seen.is_out
    }

    /// Counts a call. The slice begins where the member changes hands, and where it went idle after
    /// the last one.
    pub(super) fn send(&mut self, who: Affinity, turn: u64, slice: Duration, now: Instant) {
        let begins_anew = self.in_flight == 0 && self.is_spent(slice, now);
        if begins_anew || !self.is_held_by(who) {
            self.hold = Some(Hold { who, since: now });
        }
        self.code = self.code.or(who.code);
        self.last_turn = turn;
        self.in_flight += 1;
    }
}
