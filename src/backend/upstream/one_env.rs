//! Leases where each member holds one env at a time: the schedule under a lock, and those who wait
//! for what it says.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::{
    member::Member,
    members::{AcquireError, MemberLease, Members, Tried, is_out},
    outage::now_millis,
    slots::{Arrival, Grant, Outcome, Seen, Slots, Stage},
};
use crate::backend::Affinity;

type Handed = Result<MemberLease, AcquireError>;

/// The schedule of a pool whose members hold one env each.
#[derive(Debug)]
pub(super) struct OneEnv {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    slots: Slots,
    /// By their tickets.
    waiting: HashMap<u64, oneshot::Sender<Handed>>,
}

/// What is handed to those who waited, once nothing is locked: who has left in between lets go of
/// the lease by not taking it.
#[must_use]
struct HandOvers(Vec<(oneshot::Sender<Handed>, Handed)>);

impl HandOvers {
    fn deliver(self) {
        for (hand_over, handed) in self.0 {
            drop(hand_over.send(handed));
        }
    }
}

impl OneEnv {
    pub(super) fn new(limit: Option<usize>, slice: Duration) -> Self {
        Self {
            state: Mutex::new(State {
                slots: Slots::new(limit, slice),
                waiting: HashMap::new(),
            }),
        }
    }

    /// The right to send a member a call of this env. Dropping the future gives up the place.
    pub(super) async fn acquire(
        &self,
        members: &Arc<Members>,
        who: Affinity,
        tried: &Tried,
    ) -> Handed {
        let arrive = |state: &mut State, set: &[Arc<Member>], now: Instant| {
            let (arrival, outcomes) = state.slots.arrive(who, tried, now);
            let arrival = match arrival {
                Arrival::Served(grant) => Ok(lease(members, set, &grant)),
                Arrival::Refused(error) => Ok(Err(error)),
                Arrival::Waits(ticket) => {
                    let (hand_over, handed_over) = oneshot::channel();
                    state.waiting.insert(ticket, hand_over);
                    Err((ticket, handed_over))
                }
            };
            (arrival, outcomes)
        };
        let (arrival, hand_overs) = self.with_slots(members, arrive);
        hand_overs.deliver();
        let (ticket, handed_over) = match arrival {
            Ok(handed) => return handed,
            Err(waits) => waits,
        };
        // Dropped before the receiver, so that what is handed over meanwhile is let go with it.
        let _wait = Wait {
            one_env: self,
            members,
            who,
            ticket,
        };
        handed_over.await.unwrap_or(Err(AcquireError::NoneLeft))
    }

    /// Notices members that came, went, fell ill or recovered.
    pub(super) fn look(&self, members: &Arc<Members>) {
        let ((), hand_overs) = self.with_slots(members, |_, _, _| ((), Vec::new()));
        hand_overs.deliver();
    }

    /// The first answer has come to a call of the env that this member was handed to. Nobody is
    /// served because of it.
    pub(super) fn answered(&self, id: u64) {
        self.state.lock().slots.answered(id, Instant::now());
    }

    /// A call at this member has ended.
    pub(super) fn end(&self, members: &Arc<Members>, id: u64, stage: Stage) {
        let ((), hand_overs) = self.with_slots(members, |state, _, now| {
            ((), state.slots.end(id, stage, now))
        });
        hand_overs.deliver();
    }

    fn leave(&self, members: &Arc<Members>, who: Affinity, ticket: u64) {
        let ((), hand_overs) = self.with_slots(members, |state, _, now| {
            let outcomes = match state.waiting.remove(&ticket) {
                Some(_) => state.slots.leave(who, ticket, now),
                None => Vec::new(),
            };
            ((), outcomes)
        });
        hand_overs.deliver();
    }

    /// Lets the schedule know how the members fare, then lets something happen to it.
    fn with_slots<T>(
        &self,
        members: &Arc<Members>,
        happen: impl FnOnce(&mut State, &[Arc<Member>], Instant) -> (T, Vec<Outcome>),
    ) -> (T, HandOvers) {
        let mut state = self.state.lock();
        // Under the lock, so that the schedule never goes back to members of before.
        let set = members.glance();
        let now_by_outages = now_millis();
        let seen = set.iter().map(|member| Seen {
            id: member.endpoint.id,
            rank_seed: member.rank_seed,
            is_out: is_out(member, now_by_outages),
            downs: member.outage.downs(),
        });
        let now = Instant::now();
        let mut outcomes = state.slots.see(seen, now);
        let (result, more) = happen(&mut state, &set, now);
        outcomes.extend(more);
        let hand_overs = outcomes.into_iter().filter_map(|outcome| {
            let hand_over = state.waiting.remove(&outcome.ticket)?;
            let granted = outcome.granted;
            let handed = granted.and_then(|grant| lease(members, &set, &grant));
            Some((hand_over, handed))
        });
        let hand_overs = HandOvers(hand_overs.collect());
        (result, hand_overs)
    }
}

fn lease(members: &Arc<Members>, set: &[Arc<Member>], grant: &Grant) -> Handed {
    let is_granted = |member: &&Arc<Member>| member.endpoint.id == grant.member;
    let member = set.iter().find(is_granted);
    let member = member.ok_or(AcquireError::NoneLeft)?;
    member.asked_since.store(true, Relaxed);
    member.in_flight.fetch_add(1, Relaxed);
    let member = Arc::clone(member);
    Ok(MemberLease::new(member, Arc::clone(members), grant.stage))
}

/// A place among those who wait, given up on drop.
struct Wait<'a> {
    one_env: &'a OneEnv,
    members: &'a Arc<Members>,
    who: Affinity,
    ticket: u64,
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        self.one_env.leave(self.members, self.who, self.ticket);
    }
}
