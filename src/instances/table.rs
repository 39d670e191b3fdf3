//! Instances by key.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use http::HeaderValue;
use lru::LruCache;
use parking_lot::Mutex;

use super::{CallLimits, HotEnv, admission::Admission};
use crate::{backend::Affinity, env::EnvKey};

/// Instances that the table holds: more than the connections that can use them at once by default.
const MAX_INSTANCES: usize = 16_384;

/// Bytes of envs and codes that the table holds. An env is a few hundred bytes, so this is not the
/// bound that usually counts; a client could send a different one of a megabyte with each call.
const MAX_BYTES: usize = 256 << 20;

/// How long an instance that nobody calls is kept, with its env in memory.
const IDLE: Duration = Duration::from_secs(600);

/// What an instance is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct InstanceKey {
    /// The index of the backend.
    pub backend: usize,
    /// The env's key; `None` for calls that carry no env.
    pub env: Option<EnvKey>,
    /// The code that the worker is to run, as the recipe header names it.
    pub code: Option<HeaderValue>,
}

/// What serves one instance key.
#[derive(Debug)]
pub struct Instance {
    env: Option<Arc<HotEnv>>,
    affinity: Affinity,
    pub(super) admission: Admission,
    /// What it takes of the table's bytes.
    bytes: usize,
    /// Seconds since the table began.
    last_used: AtomicU64,
    table_began: Instant,
}

impl Instance {
    /// What members should rather not change.
    #[must_use]
    pub fn affinity(&self) -> Affinity {
        self.affinity
    }

    pub(super) fn touch(&self) {
        self.last_used
            .store(self.table_began.elapsed().as_secs(), Relaxed);
    }

    fn has_env(&self, env: Option<&Arc<HotEnv>>) -> bool {
        match (&self.env, env) {
            (Some(own), Some(other)) => Arc::ptr_eq(own, other) || own.env == other.env,
            (None, None) => true,
            _ => false,
        }
    }
}

/// Every instance is in use, and the table holds no more.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many envs are in use at once")]
pub struct TableFull;

/// Instances by key; those that nobody has called the longest make room.
#[derive(Debug)]
pub struct Table {
    began: Instant,
    instances: Mutex<Instances>,
}

#[derive(Debug)]
struct Instances {
    by_key: LruCache<InstanceKey, Arc<Instance>>,
    /// Of all of them.
    bytes: usize,
}

impl Instances {
    fn put(&mut self, key: InstanceKey, instance: Arc<Instance>) {
        self.bytes += instance.bytes;
        self.by_key.put(key, instance);
    }

    fn pop(&mut self, key: &InstanceKey) {
        if let Some(instance) = self.by_key.pop(key) {
            self.bytes -= instance.bytes;
        }
    }

    /// Lets go of idle ones until there is room for another of so many bytes, or for it alone.
    fn make_room(&mut self, bytes: usize) -> Result<(), TableFull> {
        while self.by_key.len() >= MAX_INSTANCES
            || self.bytes.saturating_add(bytes) > MAX_BYTES && !self.by_key.is_empty()
        {
            let mut oldest = self.by_key.iter().rev().take(64);
            let idle = oldest.find(|(_, instance)| is_idle(instance));
            let idle = idle.map(|(key, _)| key.clone()).ok_or(TableFull)?;
            self.pop(&idle);
        }
        Ok(())
    }
}

impl Default for Table {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            instances: Mutex::new(Instances {
                by_key: LruCache::unbounded(),
                bytes: 0,
            }),
        }
    }
}

impl Table {
    /// The instance for this key, made where there is none. `limits` is asked only then.
    ///
    /// Two envs with one key (a collision of the hash) never share an instance: the second gets
    /// one of its own that isn't kept.
    ///
    /// # Errors
    /// [`TableFull`].
    pub fn instance(
        &self,
        key: &InstanceKey,
        env: Option<&Arc<HotEnv>>,
        limits: impl FnOnce() -> CallLimits,
    ) -> Result<Arc<Instance>, TableFull> {
        let mut instances = self.instances.lock();
        match instances.by_key.get(key) {
            Some(instance) if instance.has_env(env) => return Ok(Arc::clone(instance)),
            Some(_) => return Ok(Arc::new(self.make(key, env, limits()))),
            None => {}
        }
        let instance = Arc::new(self.make(key, env, limits()));
        instances.make_room(instance.bytes)?;
        instances.put(key.clone(), Arc::clone(&instance));
        Ok(instance)
    }

    fn make(&self, key: &InstanceKey, env: Option<&Arc<HotEnv>>, limits: CallLimits) -> Instance {
        let code = key
            .code
            .as_ref()
            .map(|code| first_eight(blake3::hash(code.as_bytes())));
        let env_and_code = match (env, code) {
            (None, None) => None,
            (env, code) => Some(env.map_or(0, |env| env.affinity()) ^ code.unwrap_or(0)),
        };
        Instance {
            env: env.cloned(),
            affinity: Affinity { env_and_code, code },
            admission: Admission::new(limits),
            bytes: env.map_or(0, |env| env.env.memory())
                + key.code.as_ref().map_or(0, HeaderValue::len),
            last_used: AtomicU64::new(self.began.elapsed().as_secs()),
            table_began: self.began,
        }
    }

    /// Drops what nobody has called for ten minutes; to be called every so often.
    pub fn sweep(&self) {
        let now = self.began.elapsed().as_secs();
        let mut instances = self.instances.lock();
        let is_stale = |instance: &Arc<Instance>| {
            is_idle(instance)
                && now.saturating_sub(instance.last_used.load(Relaxed)) > IDLE.as_secs()
        };
        let stale = instances
            .by_key
            .iter()
            .filter(|(_, instance)| is_stale(instance));
        let stale: Vec<_> = stale.map(|(key, _)| key.clone()).collect();
        for key in stale {
            instances.pop(&key);
        }
    }

    /// How many instances there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.instances.lock().by_key.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Whether nobody holds or uses it. Under the table's lock nobody can begin to.
fn is_idle(instance: &Arc<Instance>) -> bool {
    Arc::strong_count(instance) == 1 && !instance.admission.is_busy()
}

fn first_eight(hash: blake3::Hash) -> u64 {
    let mut first = [0; 8];
    first
        .iter_mut()
        .zip(hash.as_bytes())
        .for_each(|(to, from)| *to = *from);
    u64::from_le_bytes(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::{DigestKey, Env, EnvString};

    fn hot(text: &str) -> Arc<HotEnv> {
        let digests = DigestKey::from_secret(&[7; 32]).unwrap();
        Arc::new(HotEnv::new(EnvString::parse(text).unwrap(), &digests).unwrap())
    }

    fn key(env: &HotEnv, code: Option<&'static str>) -> InstanceKey {
        let code = code.map(HeaderValue::from_static);
        InstanceKey {
            backend: 0,
            env: Some(*env.env.key()),
            code,
        }
    }

    fn limits() -> CallLimits {
        super::super::AdmissionConfig::default().limits_without_env()
    }

    #[test]
    fn the_same_env_is_the_same_instance_and_other_code_another() {
        let table = Table::default();
        let (one, same) = (hot("A=1\nB=2"), hot("# x\r\nB=2\r\n A = 1 "));
        let first = table
            .instance(&key(&one, None), Some(&one), limits)
            .unwrap();
        let again = table
            .instance(&key(&same, None), Some(&same), limits)
            .unwrap();
        assert!(Arc::ptr_eq(&first, &again));
        let other = table
            .instance(&key(&one, Some("http://c/1")), Some(&one), limits)
            .unwrap();
        assert!(!Arc::ptr_eq(&first, &other));
        assert_ne!(first.affinity(), other.affinity());
        assert_eq!(table.len(), 2);
    }

    #[test]
    fn large_envs_make_room_for_one_another_but_for_those_in_use() {
        let table = Table::default();
        let digests = DigestKey::from_secret(&[7; 32]).unwrap();
        let large = |number: u8| {
            let env = Env::from_variables([("A", vec![number + 1; 8 << 20])]).unwrap();
            Arc::new(HotEnv::new(env, &digests).unwrap())
        };
        let call = |env: &Arc<HotEnv>| table.instance(&key(env, None), Some(env), limits);
        let in_use: Vec<_> = (0..30)
            .map(|number| call(&large(number)).unwrap())
            .collect();
        for number in 30..34 {
            drop(call(&large(number)).unwrap());
        }
        assert_eq!(table.len(), MAX_BYTES / (8 << 20) - 1);
        let first = call(&large(0)).unwrap();
        assert!(Arc::ptr_eq(&first, &in_use[0]));
        let last = call(&large(34)).unwrap();
        assert_eq!(call(&large(35)).unwrap_err(), TableFull);
        drop(last);
        assert!(call(&large(35)).is_ok());
    }

    #[test]
    fn a_collision_costs_a_miss_and_shares_nothing() {
        let table = Table::default();
        let (one, other) = (hot("A=1"), hot("A=2"));
        let colliding = key(&one, None);
        let first = table.instance(&colliding, Some(&one), limits).unwrap();
        let second = table.instance(&colliding, Some(&other), limits).unwrap();
        assert!(!Arc::ptr_eq(&first, &second));
        let first_again = table.instance(&colliding, Some(&one), limits).unwrap();
        assert!(Arc::ptr_eq(&first, &first_again));
    }
}
