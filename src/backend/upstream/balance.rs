//! Which member gets a call. Pure: what it is given decides.

use crate::backend::Balance;

/// What is known of a member as a call looks for one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    /// Rendezvous hashing's name for it.
    pub(super) rank_seed: u64,
    /// Calls under way.
    pub(super) in_flight: usize,
    /// Whether it may be asked at all: it wasn't tried for this call, and isn't out.
    pub(super) eligible: bool,
}

/// Calls that a member may have before load counts against affinity. A worker runs 10 at once by
/// default: up to there a second member would only load the env a second time.
const AFFINITY_FLOOR: usize = 10;

/// How far over the average an env's own member may be loaded, in percent: rendezvous hashing with
/// bounded loads (Mirrokni, Thorup, Zadimoghaddam: "Consistent Hashing with Bounded Loads", 2016).
const LOAD_BOUND_PERCENT: usize = 125;

/// The index of the member for a call; `None` where all that are eligible are at `limit`.
///
/// Without an affinity the least loaded is as good as any. Ties go to `tie_break` (any number), so
/// that idle members take turns.
pub(super) fn choose(
    candidates: &[Candidate],
    balance: Balance,
    affinity: Option<u64>,
    limit: Option<usize>,
    tie_break: usize,
) -> Option<usize> {
    let open = |candidate: &Candidate| {
        candidate.eligible && limit.is_none_or(|limit| candidate.in_flight < limit)
    };
    match (balance, affinity) {
        (Balance::EnvAffinity, Some(affinity)) => {
            let bound = load_bound(candidates);
            let rank = |candidate: &Candidate| rank(affinity, candidate.rank_seed);
            let inside = |candidate: &Candidate| open(candidate) && candidate.in_flight < bound;
            best(candidates, inside, rank).or_else(|| best(candidates, open, rank))
        }
        (Balance::LeastRequests, _) | (_, None) => {
            let count = candidates.len().max(1);
            let mut turn = 0;
            best(candidates, open, |candidate| {
                turn += 1;
                let idleness = usize::MAX - candidate.in_flight;
                (idleness, (turn + tie_break) % count)
            })
        }
    }
}

fn best<K: Ord>(
    candidates: &[Candidate],
    admits: impl Fn(&Candidate) -> bool,
    mut key: impl FnMut(&Candidate) -> K,
) -> Option<usize> {
    let admitted = candidates
        .iter()
        .enumerate()
        .filter(|(_, candidate)| admits(candidate));
    admitted
        .max_by_key(|(_, candidate)| key(candidate))
        .map(|(index, _)| index)
}

fn load_bound(candidates: &[Candidate]) -> usize {
    let eligible = candidates.iter().filter(|candidate| candidate.eligible);
    let (count, calls) = eligible.fold((0, 0), |(n, sum), next| (n + 1, sum + next.in_flight));
    let average_and_a_quarter = ((calls + 1) * LOAD_BOUND_PERCENT).div_ceil(100 * count.max(1));
    average_and_a_quarter.max(AFFINITY_FLOOR)
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

    fn members(loads: &[usize]) -> Vec<Candidate> {
        let member = |(index, &in_flight): (usize, &usize)| Candidate {
            rank_seed: (index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15),
            in_flight,
            eligible: true,
        };
        loads.iter().enumerate().map(member).collect()
    }

    fn home(candidates: &[Candidate], env: u64) -> usize {
        choose(candidates, Balance::EnvAffinity, Some(env), None, 0).unwrap()
    }

    #[test]
    fn an_env_stays_where_it_is_and_envs_spread() {
        let idle = members(&[0; 8]);
        let mut homes = [0; 8];
        for env in 0..8000_u64 {
            let env = env.wrapping_mul(0xd134_2543_de82_ef95);
            homes[home(&idle, env)] += 1;
            assert_eq!(
                home(&idle, env),
                home(&members(&[3, 9, 0, 1, 2, 9, 4, 5]), env)
            );
        }
        assert!(
            homes.iter().all(|&envs| (850..1150).contains(&envs)),
            "{homes:?}"
        );
    }

    #[test]
    fn only_the_envs_of_a_lost_member_move() {
        let all = members(&[0; 8]);
        let mut without = all.clone();
        without[3].eligible = false;
        for env in 0..1000_u64 {
            let env = env.wrapping_mul(0xd134_2543_de82_ef95);
            match home(&all, env) {
                3 => assert_ne!(home(&without, env), 3),
                other => assert_eq!(home(&without, env), other),
            }
        }
    }

    #[test]
    fn load_over_the_bound_moves_on_and_a_full_pool_waits() {
        let idle = members(&[0; 4]);
        let first = home(&idle, 7);
        let mut loaded = members(&[0; 4]);
        loaded[first].in_flight = 10;
        assert_ne!(home(&loaded, 7), first);
        let busy = members(&[1; 4]);
        assert_eq!(
            choose(&busy, Balance::EnvAffinity, Some(7), Some(1), 0),
            None
        );
        assert_eq!(choose(&[], Balance::LeastRequests, None, None, 0), None);
    }

    #[test]
    fn least_requests_takes_the_idlest_and_idle_ones_take_turns() {
        let loads = members(&[4, 2, 3]);
        assert_eq!(
            choose(&loads, Balance::LeastRequests, Some(1), None, 5),
            Some(1)
        );
        let idle = members(&[0; 3]);
        let chosen = |turn| choose(&idle, Balance::LeastRequests, None, None, turn).unwrap();
        let mut turns = [chosen(0), chosen(1), chosen(2)];
        turns.sort_unstable();
        assert_eq!(turns, [0, 1, 2]);
    }
}
