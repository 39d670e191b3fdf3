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

/// What the end of a call says of its holder's turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::backend::upstream) enum Stage {
    /// The turn began with it, and nothing has come back yet.
    First,
    /// It was sent while nothing had come back.
    Loading,
    /// Nothing: an answer has come, to it or before it was sent.
    Loaded,
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
    turn: Turn,
}

#[derive(Debug, Clone, Copy)]
enum Turn {
    /// The worker may be loading the env.
    Loading {
        since: Instant,
        /// Calls with which the turn began and that are under way.
        firsts: usize,
    },
    /// The env is loaded, and its slice counts.
    Slice { since: Instant },
    /// None of the calls with which the turn began was answered.
    Over,
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

    /// Whether a call with this code may ever go here, as it is.
    pub(super) fn takes(&self, code: Option<u64>, tried: &Tried) -> bool {
        (self.code.is_none() || self.code == code) && !tried.has(self.id())
    }

    pub(super) fn holder(&self) -> Option<Affinity> {
        self.hold.map(|hold| hold.who)
    }

    pub(super) fn is_held_by(&self, who: Affinity) -> bool {
        self.holder() == Some(who)
    }

    /// Whether its holder, if there is one, has had its turn.
    pub(super) fn is_spent(&self, slice: Duration, now: Instant) -> bool {
        self.hold.is_none_or(|hold| match hold.turn {
            Turn::Loading { .. } => false,
            Turn::Slice { since } => now.saturating_duration_since(since) >= slice,
            Turn::Over => true,
        })
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

    /// Counts a call. A turn begins where the member changes hands, and a slice also where the
    /// member went idle after the last one.
    pub(super) fn send(
        &mut self,
        who: Affinity,
        turn: u64,
        slice: Duration,
        now: Instant,
    ) -> Stage {
        let begun = Turn::Loading {
            since: now,
            firsts: 0,
        };
        let is_idle_after = self.in_flight == 0 && self.is_spent(slice, now);
        let mut turn_now = match self.hold.filter(|hold| hold.who == who) {
            None => begun,
            Some(Hold {
                turn: Turn::Over, ..
            }) if is_idle_after => begun,
            Some(_) if is_idle_after => Turn::Slice { since: now },
            Some(hold) => hold.turn,
        };
        let stage = match &mut turn_now {
            Turn::Loading { since, firsts } if *since == now => {
                *firsts += 1;
                Stage::First
            }
            Turn::Loading { .. } => Stage::Loading,
            Turn::Slice { .. } | Turn::Over => Stage::Loaded,
        };
        self.hold = Some(Hold {
            who,
            turn: turn_now,
        });
        self.code = self.code.or(who.code);
        self.last_turn = turn;
        self.in_flight += 1;
        stage
    }

    /// An answer has come to a call that was sent while the worker may have been loading.
    pub(super) fn answered(&mut self, now: Instant) {
        if let Some(Hold { turn, .. }) = &mut self.hold
            && let Turn::Loading { .. } = turn
        {
            *turn = Turn::Slice { since: now };
        }
    }

    /// A call has ended; its stage is the one it was sent in, or `Loaded` once it was answered.
    pub(super) fn end(&mut self, stage: Stage) {
        self.in_flight = self.in_flight.saturating_sub(1);
        if stage == Stage::First
            && let Some(Hold { turn, .. }) = &mut self.hold
            && let Turn::Loading { firsts, .. } = turn
        {
            *firsts = firsts.saturating_sub(1);
            if *firsts == 0 {
                *turn = Turn::Over;
            }
        }
    }
}
