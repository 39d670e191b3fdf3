//! What each worker thread has for itself: connections to members, and the env texts it knows.

use std::{
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::task::yield_now;

use super::{
    error::{self, Failure},
    record::CallRecord,
    state::Gateway,
};
use crate::{
    backend::Pool,
    env::{EnvLookup, EnvString},
    facet::{ErrorNumber, legacy::Envelope},
    instances::HotEnv,
    telemetry::Tally,
};

/// Bytes of the texts that one thread recognises without parsing them, for each env that may be
/// hot: an env is a few hundred bytes, so this is not the bound that usually counts.
const KNOWN_TEXT_BYTES: usize = 512;

/// The same for all together, where few envs may be hot: each may be a large one.
const LEAST_KNOWN_TEXT_BYTES: usize = 8 << 20;

/// How long a text that nobody sends is kept: it holds a tenant's secrets.
const KNOWN_FOR: Duration = Duration::from_secs(600);

/// What each thread has for itself; the locks are there because futures stay `Send`, and nobody
/// else ever takes them.
pub(super) struct Thread {
    pub(super) gateway: Arc<Gateway>,
    pub(super) pool: Arc<Pool>,
    pub(super) tally: Arc<Tally>,
    /// Calls under way on it.
    pub(super) calls: AtomicUsize,
    known: Mutex<EnvLookup<Known>>,
    began: Instant,
}

/// An env that was parsed before.
struct Known {
    env: Arc<HotEnv>,
    /// Seconds since the thread began.
    last_used: AtomicU64,
}

impl std::fmt::Debug for Thread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Thread")
            .field("pool", &self.pool)
            .finish_non_exhaustive()
    }
}

impl Thread {
    pub(super) fn new(gateway: Arc<Gateway>) -> Self {
        let max_texts = gateway.max_hot();
        let max_bytes = max_texts.get().saturating_mul(KNOWN_TEXT_BYTES);
        let max_bytes = max_bytes.max(LEAST_KNOWN_TEXT_BYTES);
        let known = Mutex::new(EnvLookup::new(max_texts, max_bytes));
        Self {
            tally: gateway.metrics.tally(),
            calls: AtomicUsize::new(0),
            gateway,
            pool: Arc::default(),
            known,
            began: Instant::now(),
        }
    }

    /// Lets the other calls that can go on do so first: what they all write then leaves together.
    ///
    /// To wake a peer that sleeps is a large part of a write, and one that still reads what came
    /// before isn't asleep (bench/NOTES.md).
    pub(super) async fn gather(&self) {
        if self.calls.load(Relaxed) > 1 {
            yield_now().await;
        }
    }

    /// The env that a legacy call runs under. A text that is known is neither decoded nor parsed.
    pub(super) fn env_of(
        &self,
        envelope: &Envelope<'_>,
        record: &mut CallRecord,
    ) -> Result<Arc<HotEnv>, Failure> {
        let now = record.began;
        let gateway = &*self.gateway;
        let Some(raw) = &envelope.env else {
            let env = gateway.deployment_in_force().cloned();
            return env.ok_or_else(|| Failure::new(ErrorNumber::Internal, "no env is in force"));
        };
        if let Some(known) = self.known.lock().get(raw.as_bytes()) {
            record.env_was_known = Some(true);
            known.last_used.store(self.seconds(now), Relaxed);
            return Ok(Arc::clone(&known.env));
        }
        record.env_was_known = Some(false);
        let text = envelope.env_text()?;
        let env = EnvString::parse(&text).map_err(|error| error::invalid_env(&error))?;
        let hot = HotEnv::new(env, gateway.digests());
        let env = Arc::new(hot.map_err(|error| error::invalid_setting(&error))?);
        let last_used = AtomicU64::new(self.seconds(now));
        self.known.lock().insert(
            raw.as_bytes(),
            Known {
                env: Arc::clone(&env),
                last_used,
            },
        );
        Ok(env)
    }

    fn seconds(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.began).as_secs()
    }

    /// Lets go of what nobody has used for a while.
    pub(super) fn sweep(&self) {
        self.pool.sweep();
        give_back_memory();
        let now = self.seconds(Instant::now());
        let is_stale =
            |known: &Known| now.saturating_sub(known.last_used.load(Relaxed)) > KNOWN_FOR.as_secs();
        self.known.lock().forget_while(is_stale);
    }
}

/// The allocator gives freed pages back to the system a second later, but only as another page is
/// freed, which a thread that rests never does.
fn give_back_memory() {
    const PAGE: usize = 1 << 20;
    drop(black_box(Vec::<u8>::with_capacity(PAGE)));
}
