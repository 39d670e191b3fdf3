//! One member of a pool.

use std::{
    fmt,
    sync::atomic::{AtomicBool, AtomicU64, AtomicUsize},
};

use http::HeaderValue;

use super::outage::Outage;
use crate::backend::{Address, Endpoint};

/// An address that a configured URL stands for, and what `Host` says there.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) address: Address,
    pub(super) host: HeaderValue,
}

/// One worker of a pool.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) endpoint: Endpoint,
    /// What rendezvous hashing knows it by: the same on every replica.
    pub(super) rank_seed: u64,
    pub(super) in_flight: AtomicUsize,
    /// The affinity of the call that it was sent last; 0 where it had none.
    pub(super) last_sent: AtomicU64,
    /// The turn in which that was.
    pub(super) last_turn: AtomicU64,
    pub(super) outage: Outage,
    /// The last active probe was answered with something other than 200, or not at all.
    pub(super) unwell: AtomicBool,
    /// It was given a call since it was last taken for unwell, or since the start.
    pub(super) asked_since: AtomicBool,
}

impl Member {
    pub(super) fn new(found: Found) -> Self {
        let endpoint = Endpoint::new(found.address, found.host);
        let hash = blake3::hash(endpoint.name.as_bytes());
        let mut seed = [0; 8];
        seed.iter_mut()
            .zip(hash.as_bytes())
            .for_each(|(to, from)| *to = *from);
        Self {
            endpoint,
            rank_seed: u64::from_le_bytes(seed),
            in_flight: AtomicUsize::new(0),
            last_sent: AtomicU64::new(0),
            last_turn: AtomicU64::new(0),
            outage: Outage::default(),
            unwell: AtomicBool::new(false),
            asked_since: AtomicBool::new(false),
        }
    }
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.endpoint.fmt(f)
    }
}
