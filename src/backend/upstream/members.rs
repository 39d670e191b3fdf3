//! Who the members are, and who may be sent a call now.
//!
//! Where members hold one env each, `one_env` says. Else, where a framework serves one call at a time,
//! a member is held by one call and the others wait, the longest first. Elsewhere nobody waits here
//! and nothing is locked.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::{
    balance::{Candidate, choose},
    member::{Found, Member},
    one_env::OneEnv,
    outage::now_millis,
    slots::Stage,
};
use crate::backend::{Affinity, Balance};

/// Calls that may wait for a member of one backend that runs one call at a time: as many as the
/// default ceiling of one env.
const MAX_WAITING: usize = 1024;

/// The members that a call has been to in vain.
#[derive(Debug, Default, Clone)]
pub(super) struct Tried(Vec<u64>);

impl Tried {
    pub(super) const fn none() -> Self {
        Self(Vec::new())
    }

    pub(super) fn add(&mut self, member: u64) {
        self.0.push(member);
    }

    pub(super) fn has(&self, member: u64) -> bool {
        self.0.contains(&member)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Why no member is to be had.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum AcquireError {
    /// There is none, or all have been tried.
    NoneLeft,
    /// Those that are left have been sent another code, which they keep.
    OtherCode,
    /// Too many calls wait already.
    Crowded,
}

/// The members of a pool.
#[derive(Debug)]
pub(super) struct Members {
    balance: Balance,
    /// Calls that a member may run at once.
    limit: Option<usize>,
    set: ArcSwap<Vec<Arc<Member>>>,
    turn: AtomicU64,
    waiting: Mutex<VecDeque<Waiter>>,
    /// Where each member holds one env; then nobody is in `waiting`.
    one_env: Option<OneEnv>,
}

#[derive(Debug)]
struct Waiter {
    affinity: Option<u64>,
    tried: Tried,
    hand_over: oneshot::Sender<MemberLease>,
}

impl Members {
    pub(super) fn new(balance: Balance, limit: Option<usize>, env_slice: Option<Duration>) -> Self {
        Self {
            balance,
            limit,
            set: ArcSwap::default(),
            turn: AtomicU64::new(0),
            waiting: Mutex::default(),
            one_env: env_slice.map(|slice| OneEnv::new(limit, slice)),
        }
    }

    /// Whether each holds one env at a time.
    pub(super) fn hold_one_env(&self) -> bool {
        self.one_env.is_some()
    }

    /// Whether a call may have to wait for one.
    pub(super) fn may_wait(&self) -> bool {
        self.limit.is_some() || self.one_env.is_some()
    }

    /// The members, for as short as that takes.
    pub(super) fn glance(&self) -> arc_swap::Guard<Arc<Vec<Arc<Member>>>> {
        self.set.load()
    }

    /// All members.
    pub(super) fn all(&self) -> Arc<Vec<Arc<Member>>> {
        self.set.load_full()
    }

    /// How many are in and out.
    pub(super) fn count(&self) -> (i64, i64) {
        let now = now_millis();
        let all = self.set.load();
        let out = all.iter().filter(|member| is_out(member, now)).count();
        (as_gauge(all.len() - out), as_gauge(out))
    }

    /// Makes these the members. One whose address stays keeps its calls and its history.
    pub(super) fn replace(self: &Arc<Self>, found: &[Found]) {
        let old = self.set.load();
        let known: HashMap<_, _> = old
            .iter()
            .map(|member| (&member.endpoint.address, member))
            .collect();
        let new = found.iter().map(|found| match known.get(&found.address) {
            Some(member) if member.endpoint.host == found.host => Arc::clone(member),
            _ => Arc::new(Member::new(found.clone())),
        });
        let new: Vec<_> = new.collect();
        self.set.store(Arc::new(new));
        self.serve_waiting();
    }

    /// The right to send a member one call. Waits, where every member is at its limit, until one
    /// is free; dropping the future gives up the place in the queue.
    pub(super) async fn acquire(
        self: &Arc<Self>,
        affinity: Affinity,
        tried: &Tried,
    ) -> Result<MemberLease, AcquireError> {
        if let Some(one_env) = &self.one_env {
            return one_env.acquire(self, affinity, tried).await;
        }
        let affinity = affinity.env_and_code;
        if self.limit.is_none() {
            return self.lease(affinity, tried).ok_or(AcquireError::NoneLeft);
        }
        let handed_over = {
            let mut waiting = self.waiting.lock();
            if waiting.is_empty()
                && let Some(lease) = self.lease(affinity, tried)
            {
                return Ok(lease);
            }
            if self
                .set
                .load()
                .iter()
                .all(|member| tried.has(member.endpoint.id))
            {
                return Err(AcquireError::NoneLeft);
            }
            waiting.retain(|waiter| !waiter.hand_over.is_closed());
            if waiting.len() >= MAX_WAITING {
                return Err(AcquireError::Crowded);
            }
            let (hand_over, handed_over) = oneshot::channel();
            waiting.push_back(Waiter {
                affinity,
                tried: tried.clone(),
                hand_over,
            });
            handed_over
        };
        // Those before it may wait for other members than it would take.
        self.serve_waiting();
        handed_over.await.map_err(|_| AcquireError::NoneLeft)
    }

    /// A member that may take a call now. Those that are out count only where all are.
    fn lease(self: &Arc<Self>, affinity: Option<u64>, tried: &Tried) -> Option<MemberLease> {
        let set = self.set.load();
        let now = now_millis();
        let candidates = |with_out: bool| -> Vec<Candidate> {
            let candidate = |member: &Arc<Member>| Candidate {
                rank_seed: member.rank_seed,
                in_flight: member.in_flight.load(Relaxed),
                last_sent: Some(member.last_sent.load(Relaxed)).filter(|&sent| sent != 0),
                last_turn: member.last_turn.load(Relaxed),
                eligible: !tried.has(member.endpoint.id) && (with_out || !is_out(member, now)),
            };
            set.iter().map(candidate).collect()
        };
        let turn = self.turn.fetch_add(1, Relaxed) + 1;
        let mut choice = candidates(false);
        if choice.iter().all(|candidate| !candidate.eligible) {
            choice = candidates(true);
        }
        let index = choose(&choice, self.balance, affinity, self.limit, turn)?;
        let member = Arc::clone(set.get(index)?);
        member.in_flight.fetch_add(1, Relaxed);
        member.last_sent.store(affinity.unwrap_or(0), Relaxed);
        member.last_turn.store(turn, Relaxed);
        Some(MemberLease::new(member, Arc::clone(self), Stage::Loaded))
    }

    /// Hands free members to those who wait. A member that comes back after its back-off or a good
    /// probe tells nobody, so this is to be called every second or so, too.
    pub(super) fn serve_waiting(self: &Arc<Self>) {
        if let Some(one_env) = &self.one_env {
            return one_env.look(self);
        }
        let mut served = Vec::new();
        let mut waiting = self.waiting.lock();
        let mut passed_over = VecDeque::new();
        while let Some(waiter) = waiting.pop_front() {
            if waiter.hand_over.is_closed() {
                continue;
            }
            match self.lease(waiter.affinity, &waiter.tried) {
                Some(lease) => served.push((waiter.hand_over, lease)),
                None => {
                    let none_is_free = waiter.tried.is_empty();
                    passed_over.push_back(waiter);
                    if none_is_free {
                        break;
                    }
                }
            }
        }
        passed_over.append(&mut waiting);
        *waiting = passed_over;
        drop(waiting);
        for (hand_over, lease) in served {
            // Who has left in between lets go of the lease by not taking it.
            drop(hand_over.send(lease));
        }
    }
}

pub(super) fn is_out(member: &Member, now: u64) -> bool {
    member.outage.is_out(now) || member.unwell.load(Relaxed)
}

fn as_gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// The right to send one call to one member; dropping it frees the place.
#[derive(Debug)]
pub(crate) struct MemberLease {
    member: Arc<Member>,
    members: Arc<Members>,
    /// What its end says where the member holds one env.
    stage: Stage,
}

impl MemberLease {
    /// Of a call that is counted already.
    pub(super) fn new(member: Arc<Member>, members: Arc<Members>, stage: Stage) -> Self {
        Self {
            member,
            members,
            stage,
        }
    }

    /// The head of the answer has come. Only the first calls of a turn have something to tell.
    pub(super) fn answered(&mut self) {
        if self.stage == Stage::Loaded {
            return;
        }
        self.stage = Stage::Loaded;
        if let Some(one_env) = &self.members.one_env {
            one_env.answered(self.member.endpoint.id);
        }
    }

    pub(super) fn member(&self) -> &Member {
        &self.member
    }
}

impl Drop for MemberLease {
    fn drop(&mut self) {
        if let Some(one_env) = &self.members.one_env {
            self.member.in_flight.fetch_sub(1, Relaxed);
            return one_env.end(&self.members, self.member.endpoint.id, self.stage);
        }
        if self.members.limit.is_none() {
            self.member.in_flight.fetch_sub(1, Relaxed);
            return;
        }
        {
            // Under the lock, so that a newcomer can't slip past those who wait.
            let _waiting = self.members.waiting.lock();
            self.member.in_flight.fetch_sub(1, Relaxed);
        }
        self.members.serve_waiting();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::Address;

    fn two_one_at_a_time() -> Arc<Members> {
        let members = Arc::new(Members::new(Balance::LeastRequests, Some(1), None));
        let found = [1, 2].map(|port| Found {
            address: Address::Tcp(([127, 0, 0, 1], port).into()),
            host: http::HeaderValue::from_static("h"),
        });
        members.replace(&found);
        members
    }

    #[tokio::test]
    async fn a_member_that_comes_back_serves_who_waited_longest() {
        let members = two_one_at_a_time();
        let tried = Tried::default();
        let all = members.all();
        all[0].unwell.store(true, Relaxed);
        let busy = members.acquire(Affinity::default(), &tried).await.unwrap();
        let mut first = acquiring(&members);
        assert!(poll_now(&mut first).await.is_none());
        all[0].unwell.store(false, Relaxed);
        // The newcomer finds it free, but stands behind the one who waits.
        let mut second = acquiring(&members);
        assert!(poll_now(&mut second).await.is_none());
        let served = poll_now(&mut first).await.unwrap().unwrap();
        assert_eq!(served.member().endpoint.id, all[0].endpoint.id);
        drop(busy);
        assert!(poll_now(&mut second).await.unwrap().is_ok());
    }

    type Acquiring = std::pin::Pin<Box<dyn Future<Output = Result<MemberLease, AcquireError>>>>;

    fn acquiring(members: &Arc<Members>) -> Acquiring {
        let members = Arc::clone(members);
        Box::pin(async move {
            members
                .acquire(Affinity::default(), &Tried::default())
                .await
        })
    }

    async fn poll_now(acquiring: &mut Acquiring) -> Option<Result<MemberLease, AcquireError>> {
        std::future::poll_fn(|cx| {
            std::task::Poll::Ready(match acquiring.as_mut().poll(cx) {
                std::task::Poll::Ready(done) => Some(done),
                std::task::Poll::Pending => None,
            })
        })
        .await
    }
}
