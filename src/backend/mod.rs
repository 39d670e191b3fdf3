//! Backends: where instances come from, and the connections to them.
//!
//! A backend takes a call that is ready to be sent and gives the answer's head and body. It knows
//! nothing of who asked, of dialects' contents, or of what is cached above.
//!
//! Invariants: a call is sent at most once (it is tried again only where not a byte of it was
//! written); a connection that has seen anything irregular is never used again; an answer's body
//! ends without an error only if it is whole.

mod affinity;
mod body;
mod config;
mod connect;
mod deadline;
mod deliver;
mod endpoint;
mod exchange;
mod link;
mod pool;
mod stream;
mod table;
mod upstream;

pub mod process;

pub use affinity::Affinity;
pub use body::{BoxError, CallBody};
pub use config::{
    Balance, Config, UpstreamConfig, UpstreamUrl, UpstreamUrlError, When, WorkersConfig, unix_path,
};
pub use deadline::{Alarm, Deadline, Elapsed};
pub use deliver::{Sent, Undelivered, send_to};
pub use endpoint::{Address, Endpoint};
pub use exchange::{Answer, AnswerBody, AnswerError, SendError};
pub use pool::Pool;
pub use stream::Stream;
pub use table::{Kind, Table, TableError};
pub use upstream::Upstream;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use process::ProcessBackend;

use crate::{
    env::Glob,
    facet::{Dialect, Framework},
    telemetry::Metrics,
};

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// A configured source of instances.
#[derive(Debug)]
pub struct Backend {
    /// Unlike any other's of this process, also one of the same name before it.
    pub id: u64,
    /// Its name in logs and metrics.
    pub name: String,
    /// What its workers speak.
    pub dialect: Dialect,
    /// The framework inside its workers.
    pub framework: Framework,
    /// Which calls it takes.
    pub when: When,
    /// What serves its instances.
    pub workers: Workers,
    config: Config,
}

/// What every backend is made with.
#[derive(Debug, Clone)]
pub struct Context {
    /// Where measurements go.
    pub metrics: Arc<Metrics>,
    /// Names that no tenant can set, beyond the built-in ones.
    pub reserved: Vec<Glob>,
}

/// What serves a backend's instances.
#[derive(Debug)]
pub enum Workers {
    /// A pool of workers that something else runs.
    Upstream(Arc<Upstream>),
    /// Processes that the gateway starts, one for each env.
    Process(Arc<ProcessBackend>),
}

impl Backend {
    /// Whether it is what this configuration says.
    #[must_use]
    pub fn is_as(&self, config: &Config) -> bool {
        self.config == *config
    }

    /// A backend as it is configured; its members are known once [`Upstream::tend`] runs.
    ///
    /// # Errors
    /// The system doesn't know the user or group of its processes.
    pub fn new(config: &Config, context: &Context) -> Result<Self, process::SetupError> {
        let workers = match &config.workers {
            WorkersConfig::Upstream(pool) => Workers::Upstream(Arc::new(Upstream::new(
                config,
                pool,
                Arc::clone(&context.metrics),
            ))),
            WorkersConfig::Process(process) => {
                context.metrics.instances.begin(&config.name);
                Workers::Process(Arc::new(ProcessBackend::new(
                    &config.name,
                    process.clone(),
                    config.health_interval,
                    context,
                )?))
            }
        };
        Ok(Self {
            id: NEXT_ID.fetch_add(1, Relaxed),
            name: config.name.clone(),
            dialect: config.dialect(),
            framework: config.framework.clone(),
            when: config.when.clone().unwrap_or_default(),
            workers,
            config: config.clone(),
        })
    }
}
