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
mod exchange;
mod link;
mod pool;
mod stream;
mod upstream;

pub use affinity::Affinity;
pub use body::{BoxError, CallBody};
pub use config::{Balance, Config, Kind, UpstreamUrl, UpstreamUrlError, When, unix_path};
pub use exchange::{Answer, AnswerBody, AnswerError, SendError};
pub use pool::Pool;
pub use stream::Stream;
pub use upstream::{Sent, Upstream};

use std::sync::Arc;

use crate::{
    facet::{Dialect, Framework},
    telemetry::Metrics,
};

/// A configured source of instances.
#[derive(Debug)]
pub struct Backend {
    /// Its name in logs and metrics.
    pub name: String,
    /// What its workers speak.
    pub dialect: Dialect,
    /// The framework inside its workers.
    pub framework: Framework,
    /// Which calls it takes.
    pub when: When,
    /// Its members.
    pub upstream: Arc<Upstream>,
}

impl Backend {
    /// A backend as it is configured; its members are known once [`Upstream::tend`] runs.
    #[must_use]
    pub fn new(config: &Config, metrics: &Arc<Metrics>) -> Self {
        Self {
            name: config.name.clone(),
            dialect: config.dialect(),
            framework: config.framework.clone(),
            when: config.when.clone().unwrap_or_default(),
            upstream: Arc::new(Upstream::new(config, Arc::clone(metrics))),
        }
    }
}
