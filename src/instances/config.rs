//! The `[instances]` table of the configuration.

use std::{
    num::{NonZeroU64, NonZeroUsize},
    time::Duration,
};

use bytesize::ByteSize;
use serde::Deserialize;

const fn at_least_one(number: usize) -> NonZeroUsize {
    match NonZeroUsize::new(number) {
        Some(number) => number,
        None => NonZeroUsize::MIN,
    }
}

/// How many processes there are, and for how long. Concerns process backends alone.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub struct Config {
    /// Processes at once, those that are starting or ending included. The one that has been idle
    /// the longest makes room; where none is idle, a call that needs another is refused (2002).
    pub max: NonZeroUsize,
    /// How long an instance that nobody calls keeps its process.
    #[serde(with = "humantime_serde")]
    pub idle_timeout: Duration,
    /// Processes of each backend that being idle doesn't end.
    pub min: usize,
    /// How old a process gets before it is replaced; any age where it isn't said.
    #[serde(with = "humantime_serde::option")]
    pub max_age: Option<Duration>,
    /// Calls that a process serves before it is replaced; any number where it isn't said.
    pub max_calls: Option<NonZeroU64>,
    /// Memory (resident) that a process may have before it is replaced; any where it isn't said.
    pub max_memory: Option<ByteSize>,
    /// How long a process may take from its start until it is ready (3003).
    #[serde(with = "humantime_serde")]
    pub start_timeout: Duration,
    /// Starts under way at once; further ones wait for their turn.
    pub max_starting: NonZeroUsize,
    /// Calls that wait for starts, in all; further ones are refused (2003).
    pub max_waiting: NonZeroUsize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max: at_least_one(64),
            idle_timeout: Duration::from_secs(600),
            min: 0,
            max_age: None,
            max_calls: None,
            max_memory: None,
            start_timeout: Duration::from_secs(30),
            max_starting: at_least_one(8),
            max_waiting: at_least_one(4096),
        }
    }
}
