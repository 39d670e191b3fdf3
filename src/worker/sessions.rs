//! The sessions that a worker remembers: in memory, the least recently used go first.

use std::num::NonZeroUsize;

use lru::LruCache;
use parking_lot::Mutex;

const MAX_SESSIONS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(9_999);
/// A longer id isn't one of ours, and isn't worth the memory.
const MAX_ID_BYTES: usize = 256;

/// How many calls each session has seen.
#[derive(Debug)]
pub(super) struct Sessions(Mutex<LruCache<String, u64>>);

impl Default for Sessions {
    fn default() -> Self {
        Self(Mutex::new(LruCache::new(MAX_SESSIONS)))
    }
}

impl Sessions {
    /// Counts a call of a session, or of a new one where there is none. The session's id comes
    /// back with the count.
    ///
    /// # Errors
    ///
    /// The system has no randomness for a new id.
    pub(super) fn count(&self, id: Option<&str>) -> Result<(String, u64), getrandom::Error> {
        let id = match id.filter(|id| id.len() <= MAX_ID_BYTES) {
            Some(id) => id.to_owned(),
            None => new_id()?,
        };
        let mut sessions = self.0.lock();
        let count = sessions.get_or_insert_mut(id.clone(), || 0);
        *count += 1;
        Ok((id, *count))
    }
}

fn new_id() -> Result<String, getrandom::Error> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)?;
    Ok(format!("{:032x}", u128::from_be_bytes(bytes)))
}
