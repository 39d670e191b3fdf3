//! The `[env]` table of the configuration.

use std::{num::NonZeroUsize, path::PathBuf};

use serde::Deserialize;

use super::Glob;

/// Where the env of a call comes from, and what becomes of its odd variables (CONTRACT 6).
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub struct Config {
    /// Where a call's env comes from.
    pub source: Source,
    /// What a modern call, which carries no env, runs under where one is needed.
    pub fallback: Fallback,
    /// What becomes of a variable that the text form can't carry.
    pub unrepresentable: Unrepresentable,
    /// Names a tenant can't set, beyond the built-in ones; `*` and `?` match as in a shell.
    pub reserved: Vec<Glob>,
    /// A file of 32 bytes or more whose hash keys the digests that logs show. Replicas that share
    /// it show the same digest for the same env. Without one each process draws its own key.
    pub digest_key_file: Option<PathBuf>,
    /// Envs that are kept ready at once, each with the code that it was called with.
    pub max_hot: NonZeroUsize,
}

const DEFAULT_MAX_HOT: NonZeroUsize = NonZeroUsize::MIN.saturating_add(16_383);

impl Default for Config {
    fn default() -> Self {
        Self {
            source: Source::Request,
            fallback: Fallback::None,
            unrepresentable: Unrepresentable::Skip,
            reserved: Vec::new(),
            digest_key_file: None,
            max_hot: DEFAULT_MAX_HOT,
        }
    }
}

/// Where a call's env comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The legacy envelope's `env`.
    Request,
    /// The gateway's own environment variables.
    Deployment,
}

/// What a modern call runs under where an env is needed and the request carries none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fallback {
    /// Nothing: it is refused (1102).
    None,
    /// The gateway's own environment variables.
    Deployment,
}

/// What becomes of a variable that the text form can't carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unrepresentable {
    /// It is left out, logged once by name, and counted.
    Skip,
    /// The gateway doesn't start, where a legacy backend would be told the env.
    Refuse,
}
