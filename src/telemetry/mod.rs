//! What may be seen of the gateway from outside: logs, metrics, and where access-log lines go.
//!
//! Nothing in here is ever handed a value of an env or a session id; what callers pass are digests,
//! names, numbers and times. Deliberately absent: tracing export (trace context is passed on, spans
//! are not sent anywhere) and labels that grow with the number of envs.

mod instance_metrics;
mod limiter;
mod line_writer;
mod logs;
mod metrics;
mod system;
mod tally;
mod worker_metrics;

pub use limiter::Limiter;
pub use line_writer::LineWriter;
pub use logs::{Config, Format, WriteBehind, close as close_log, init, write_behind};
pub use metrics::{CallOutcome, Client, Metrics};
pub use tally::{EndedCall, Tally};
pub use worker_metrics::Labels;
