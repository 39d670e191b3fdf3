//! What is kept of an env once it has been parsed.

use std::sync::Arc;

use crate::env::{DigestKey, Env, EnvDigest, EnvError, SettingError, WorkerSettings};

/// An env with all that calls need to know of it, worked out once.
#[derive(Debug)]
pub struct HotEnv {
    /// The env itself.
    pub env: Arc<Env>,
    /// What may be shown of it.
    pub digest: EnvDigest,
    /// How it steers the gateway.
    pub settings: WorkerSettings,
    /// Why no process can be given it, where none can (1104).
    pub oversize: Option<EnvError>,
    /// Whether it says `ENV_TYPE=production`.
    pub production: bool,
}

impl HotEnv {
    /// Reads what an env says of itself.
    ///
    /// # Errors
    /// Where one of the worker settings isn't one (1104).
    pub fn new(env: Env, digests: &DigestKey) -> Result<Self, SettingError> {
        let settings = WorkerSettings::read(&env)?;
        let digest = digests.digest(env.key());
        let production = env.get("ENV_TYPE") == Some(b"production");
        Ok(Self {
            oversize: env.check_size().err(),
            env: Arc::new(env),
            digest,
            settings,
            production,
        })
    }

    /// The number that affinity knows the env by: the same on every replica.
    #[must_use]
    pub fn affinity(&self) -> u64 {
        let mut first = [0; 8];
        first
            .iter_mut()
            .zip(self.env.key().as_bytes())
            .for_each(|(to, from)| *to = *from);
        u64::from_le_bytes(first)
    }
}
