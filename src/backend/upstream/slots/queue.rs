//! The calls of one env that wait.

use std::collections::VecDeque;

use super::Tried;
use crate::backend::Affinity;

/// Calls in the order of their coming.
#[derive(Debug)]
pub(super) struct Queue {
    pub(super) who: Affinity,
    /// The number of its first ticket, or the one after which a call of it was served last.
    pub(super) waits_since: u64,
    pub(super) tickets: VecDeque<Ticket>,
}

/// One call that waits.
#[derive(Debug)]
pub(super) struct Ticket {
    /// Greater than those of all that came before.
    pub(super) number: u64,
    pub(super) tried: Tried,
}

impl Queue {
    pub(super) fn new(who: Affinity, first: Ticket) -> Self {
        Self {
            who,
            waits_since: first.number,
            tickets: VecDeque::from([first]),
        }
    }
}
