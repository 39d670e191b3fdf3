//! Which member gets a call. Pure: what it is given decides.
//!
//! `env_affinity` is made for members that hold one env at a time and load another at a call's
//! cost a hundredfold. A call goes where its env was sent last, for there it is held or about to
//! be: members take calls in order. An env that no member has goes to one of the idlest, and of
//! those to one that has rested long, so that it evicts what is least wanted; among these
//! rendezvous hashing decides, so that gateways that know nothing of each other tend to the same
//! member, and an env comes back to where it was.

use std::cmp::Reverse;

use crate::backend::Balance;

/// What is known of a member as a call looks for one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    /// Rendezvous hashing's name for it.
    pub(super) rank_seed: u64,
    /// Calls under way.
    pub(super) in_flight: usize,
    /// The affinity of the call that it was sent last.
    pub(super) last_sent: Option<u64>,
    /// The turn in which that was; 0 where it had none yet.
    pub(super) last_turn: u64,
    /// Whether it may be asked at all: it wasn't tried for this call, and isn't out.
    pub(super) eligible: bool,
}

/// Calls that a member may have before load counts against affinity. A worker runs 10 at once by
/// default: up to there a second member would only load the env a second time.
pub(super) const AFFINITY_FLOOR: usize = 10;

/// How many times the average an env's own member may be loaded: bounded loads, as in Mirrokni,
/// Thorup, Zadimoghaddam, "Consistent Hashing with Bounded Loads" (2016), with a loose bound,
/// because to move costs more here than to wait.
const LOAD_BOUND: usize = 2;

/// The index of the member for a call; `None` where all that are eligible are at `limit`.
///
/// Without an affinity the least loaded is as good as any. Ties go by `turn`, so that idle members
/// take turns.
pub(super) fn choose(
    candidates: &[Candidate],
    balance: Balance,
    affinity: Option<u64>,
    limit: Option<usize>,
    turn: u64,
) -> Option<usize> {
    let open = |candidate: &Candidate| {
        candidate.eligible && limit.is_none_or(|limit| candidate.in_flight < limit)
    };
    let all = || {
        candidates
            .iter()
            .enumerate()
            .filter(|(_, candidate)| open(candidate))
    };
    match (balance, affinity) {
        (Balance::EnvAffinity, Some(affinity)) => {
            let bound = load_bound(candidates);
            let holders = all().filter(|(_, candidate)| {
                candidate.last_sent == Some(affinity) && candidate.in_flight < bound
            });
            let idlest_holder = holders.min_by_key(|(_, holder)| holder.in_flight);
            idlest_holder
                .or_else(|| rested(affinity, all()))
                .map(|(index, _)| index)
        }
        (Balance::LeastRequests, _) | (_, None) => {
            let count = candidates.len().max(1) as u64;
            let order = |index: usize| (index as u64 + turn) % count;
            let least = all().min_by_key(|&(index, member)| (member.in_flight, order(index)));
            least.map(|(index, _)| index)
        }
    }
}

/// Of the members with the fewest calls, those that were sent none yet, else the half that has
/// rested longer; of these the one that ranks highest for the env.
pub(super) fn rested<'a>(
    affinity: u64,
    open: impl Iterator<Item = (usize, &'a Candidate)> + Clone,
) -> Option<(usize, &'a Candidate)> {
    let fewest = open
        .clone()
        .map(|(_, candidate)| candidate.in_flight)
        .min()?;
    let mut idlest: Vec<_> = open
        .filter(|(_, candidate)| candidate.in_flight == fewest)
        .collect();
    let rank = |candidate: &Candidate| rank(affinity, candidate.rank_seed);
    idlest.sort_unstable_by_key(|(_, idle)| (idle.last_turn, Reverse(rank(idle))));
    let unused = idlest
        .iter()
        .take_while(|(_, idle)| idle.last_turn == 0)
        .count();
    let enough = if unused > 0 {
        unused
    } else {
        idlest.len().div_ceil(2)
    };
    idlest
        .into_iter()
        .take(enough)
        .max_by_key(|(_, idle)| rank(idle))
}

fn load_bound(candidates: &[Candidate]) -> usize {
    let eligible = candidates.iter().filter(|candidate| candidate.eligible);
    let (count, calls) = eligible.fold((0, 0), |(n, sum), next| (n + 1, sum + next.in_flight));
    ((calls + 1) * LOAD_BOUND)
        .div_ceil(count.max(1))
        .max(AFFINITY_FLOOR)
}

/// A member's weight for one env: the finaliser of SplitMix64 over both names, the same on every
/// replica.
fn rank(affinity: u64, seed: u64) -> u64 {
    let mut x = affinity ^ seed.rotate_left(32);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Members and the turns they were sent calls in, so that one choice follows on the other.
    struct Pool {
        members: Vec<Candidate>,
        turn: u64,
    }

    impl Pool {
        fn of(count: u64) -> Self {
            let member = |index: u64| Candidate {
                rank_seed: (index + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15),
                in_flight: 0,
                last_sent: None,
                last_turn: 0,
                eligible: true,
            };
            Self {
                members: (0..count).map(member).collect(),
                turn: 0,
            }
        }

        fn choose(
            &self,
            balance: Balance,
            env: Option<u64>,
            limit: Option<usize>,
        ) -> Option<usize> {
            choose(&self.members, balance, env, limit, self.turn)
        }

        /// Chooses for an env and sends a call there that ends at once.
        fn send(&mut self, env: u64) -> usize {
            let index = self.choose(Balance::EnvAffinity, Some(env), None).unwrap();
            self.turn += 1;
            self.members[index].last_sent = Some(env);
            self.members[index].last_turn = self.turn;
            index
        }
    }

    fn env(number: u64) -> u64 {
        (number + 1).wrapping_mul(0xd134_2543_de82_ef95)
    }

    #[test]
    fn as_many_envs_as_members_each_get_their_own_for_good() {
        let mut pool = Pool::of(8);
        let homes: Vec<_> = (0..8).map(|number| pool.send(env(number))).collect();
        let mut distinct = homes.clone();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), 8, "{homes:?}");
        for round in 0..100 {
            let number = round * 5 % 8;
            assert_eq!(
                pool.send(env(number)),
                homes[usize::try_from(number).unwrap()]
            );
        }
    }

    #[test]
    fn a_new_env_evicts_what_has_rested_and_gateways_tend_to_agree() {
        let (mut one, mut other) = (Pool::of(8), Pool::of(8));
        let mut agreed = 0;
        for number in 0..1000 {
            let before = one.members.clone();
            let chosen = one.send(env(number));
            let older = before
                .iter()
                .filter(|m| m.last_turn < before[chosen].last_turn)
                .count();
            assert!(
                older < 4,
                "member {chosen} had been sent a call not long ago"
            );
            agreed += usize::from(other.send(env(number)) == chosen);
        }
        assert_eq!(agreed, 1000, "from the same state they choose the same");
    }

    #[test]
    fn an_env_follows_its_last_call_until_load_moves_it() {
        let mut pool = Pool::of(4);
        let home = pool.send(env(7));
        pool.members[home].in_flight = 9;
        assert_eq!(pool.send(env(7)), home);
        pool.members[home].in_flight = 10;
        let second = pool.send(env(7));
        assert_ne!(second, home);
        // Both have it now: the one with fewer calls is asked.
        pool.members[home].in_flight = 1;
        pool.members[second].in_flight = 2;
        assert_eq!(pool.send(env(7)), home);
        // On a busy pool twice the average is the bound, not the floor.
        pool.members
            .iter_mut()
            .for_each(|member| member.in_flight = 30);
        pool.members[home].in_flight = 29;
        assert_eq!(pool.send(env(7)), home);
    }

    #[test]
    fn who_is_out_or_at_the_limit_isnt_asked() {
        let mut pool = Pool::of(4);
        let home = pool.send(env(7));
        pool.members[home].eligible = false;
        assert_ne!(
            pool.choose(Balance::EnvAffinity, Some(env(7)), None),
            Some(home)
        );
        pool.members[home].eligible = true;
        pool.members
            .iter_mut()
            .for_each(|member| member.in_flight = 1);
        assert_eq!(
            pool.choose(Balance::EnvAffinity, Some(env(7)), Some(1)),
            None
        );
        assert_eq!(Pool::of(0).choose(Balance::LeastRequests, None, None), None);
    }

    #[test]
    fn least_requests_takes_the_idlest_and_idle_ones_take_turns() {
        let mut pool = Pool::of(3);
        let mut turns: Vec<_> = (0..3)
            .map(|turn| {
                pool.turn = turn;
                pool.choose(Balance::LeastRequests, Some(1), None).unwrap()
            })
            .collect();
        turns.sort_unstable();
        assert_eq!(turns, [0, 1, 2]);
        for (member, load) in pool.members.iter_mut().zip([4, 2, 3]) {
            member.in_flight = load;
        }
        assert_eq!(pool.choose(Balance::LeastRequests, None, None), Some(1));
    }
}
