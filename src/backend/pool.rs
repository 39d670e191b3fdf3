//! Connections that wait for their next call, one pool a worker thread.
//!
//! A pool is only ever touched by its own thread, so its lock is never contended; it exists
//! because futures stay `Send`.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use super::link::Link;

/// How long a connection may wait: less than the 5 s after which Node's HTTP server, the most
/// impatient of the common ones, closes an idle connection. A connection closed by its peer just as
/// a call is written to it is the one failure that can't be told from a lost call.
const IDLE: Duration = Duration::from_secs(4);

/// Connections that one worker thread keeps for one member.
const PER_MEMBER: usize = 128;

/// Idle connections by member.
#[derive(Default)]
pub struct Pool {
    idle: Mutex<HashMap<u64, Vec<Idle>>>,
}

struct Idle {
    link: Link,
    since: Instant,
}

impl Pool {
    /// A connection to the member that is still good, the most recently used first.
    pub(super) fn take(&self, member: u64, now: Instant) -> Option<Link> {
        let mut pool = self.idle.lock();
        let links = pool.get_mut(&member)?;
        while let Some(mut idle) = links.pop() {
            if now.saturating_duration_since(idle.since) > IDLE {
                // Those below it have waited longer.
                links.clear();
                return None;
            }
            if idle.link.is_fresh() {
                return Some(idle.link);
            }
        }
        None
    }

    /// Keeps a connection whose last answer was whole, unless there are enough.
    pub(super) fn put(&self, member: u64, link: Link) {
        let mut idle = self.idle.lock();
        let links = idle.entry(member).or_default();
        if links.len() < PER_MEMBER {
            links.push(Idle {
                link,
                since: Instant::now(),
            });
        }
    }

    /// Closes what has waited too long; to be called every second or so.
    pub fn sweep(&self) {
        let now = Instant::now();
        self.idle.lock().retain(|_, links| {
            links.retain(|idle| now.saturating_duration_since(idle.since) <= IDLE);
            !links.is_empty()
        });
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let idle: usize = self.idle.lock().values().map(Vec::len).sum();
        f.debug_struct("Pool").field("idle", &idle).finish()
    }
}
