//! What serves one instance key.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Instant,
};

use http::HeaderValue;

use super::{CallLimits, HotEnv, admission::Admission};
use crate::{
    backend::{
        Affinity,
        process::{ProcessBackend, Rev},
    },
    env::EnvKey,
};

/// What an instance is for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct InstanceKey {
    /// The backend's number.
    pub backend: u64,
    /// The env's key; `None` for calls that carry no env.
    pub env: Option<EnvKey>,
    /// The code that the worker is to run, as the recipe header names it.
    pub code: Option<HeaderValue>,
}

/// What an instance is made from, where there is none yet.
#[derive(Debug)]
pub struct Recipe {
    /// How many calls it takes.
    pub limits: CallLimits,
    /// Where its process comes from; `None` where the backend has workers of its own.
    pub process: Option<Arc<ProcessBackend>>,
    /// The code that its process is told.
    pub rev: Option<Rev>,
}

/// What serves one instance key.
#[derive(Debug)]
pub struct Instance {
    id: u64,
    key: InstanceKey,
    env: Option<Arc<HotEnv>>,
    affinity: Affinity,
    process: Option<Arc<ProcessBackend>>,
    rev: Option<Rev>,
    pub(super) admission: Admission,
    /// What it takes of the table's bytes.
    bytes: usize,
    /// Seconds since the table began.
    last_used: AtomicU64,
    table_began: Instant,
}

impl Instance {
    pub(super) fn new(
        id: u64,
        key: InstanceKey,
        env: Option<&Arc<HotEnv>>,
        recipe: Recipe,
        table_began: Instant,
    ) -> Self {
        let code = key.code.as_ref().map(|code| first_eight(code.as_bytes()));
        let env_and_code = match (env, code) {
            (None, None) => None,
            (env, code) => Some(env.map_or(0, |env| env.affinity()) ^ code.unwrap_or(0)),
        };
        let bytes =
            env.map_or(0, |env| env.env.memory()) + key.code.as_ref().map_or(0, HeaderValue::len);
        Self {
            id,
            key,
            env: env.cloned(),
            affinity: Affinity { env_and_code, code },
            process: recipe.process,
            rev: recipe.rev,
            admission: Admission::new(recipe.limits),
            bytes,
            last_used: AtomicU64::new(table_began.elapsed().as_secs()),
            table_began,
        }
    }

    /// A number that no other instance of this gateway has or will have.
    #[must_use]
    pub const fn id(&self) -> u64 {
        self.id
    }

    pub(super) const fn key(&self) -> &InstanceKey {
        &self.key
    }

    /// The env that it serves.
    #[must_use]
    pub const fn env(&self) -> Option<&Arc<HotEnv>> {
        self.env.as_ref()
    }

    /// Where its process comes from.
    #[must_use]
    pub const fn process(&self) -> Option<&Arc<ProcessBackend>> {
        self.process.as_ref()
    }

    pub(super) const fn rev(&self) -> Option<&Rev> {
        self.rev.as_ref()
    }

    /// What members should rather not change.
    #[must_use]
    pub const fn affinity(&self) -> Affinity {
        self.affinity
    }

    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn touch(&self, now: Instant) {
        let since = now.saturating_duration_since(self.table_began);
        self.last_used.store(since.as_secs(), Relaxed);
    }

    /// When it was last called, in seconds since the table began.
    pub(super) fn last_used(&self) -> u64 {
        self.last_used.load(Relaxed)
    }

    pub(super) fn has_env(&self, env: Option<&Arc<HotEnv>>) -> bool {
        match (&self.env, env) {
            (Some(own), Some(other)) => Arc::ptr_eq(own, other) || own.env == other.env,
            (None, None) => true,
            _ => false,
        }
    }
}

fn first_eight(code: &[u8]) -> u64 {
    let mut first = [0; 8];
    first
        .iter_mut()
        .zip(blake3::hash(code).as_bytes())
        .for_each(|(to, from)| *to = *from);
    u64::from_le_bytes(first)
}
