//! The table of instances: which envs are hot, and how many calls each may have under way.
//!
//! An instance is what serves one instance key: backend, env and code. Its admission (concurrency
//! and queue) belongs to it, so that the calls of one env meet one limit whatever thread they come
//! in on. Knows nothing of HTTP dialects.
//!
//! Invariants: an instance is only ever found by an env that was compared whole with its own; one
//! with a lease is never dropped from the table; every queue is bounded.

mod admission;
mod admission_config;
mod config;
mod hot;
mod instance;
#[cfg(test)]
mod model;
mod nonce;
mod run;
mod slots;
#[cfg(test)]
mod stage;
mod supervisor;
mod table;
#[cfg(test)]
mod tests;
mod view;
mod watch;

pub use admission::{AdmissionError, Lease};
pub use admission_config::{AdmissionConfig, CallLimit, CallLimits};
pub use config::Config;
pub use hot::HotEnv;
pub use instance::{Instance, InstanceKey, Recipe};
pub use run::{RunError, RunLease, Running};
pub use slots::State;
pub use supervisor::Supervisor;
pub use table::{StartRefused, Table, TableFull};
pub use view::{Difference, DrainError, InstanceView};

#[cfg(test)]
pub(crate) use stage::Stage;
