//! The data path: listeners, connections, routing, the call, its answer.
//!
//! The way of a call through these files: `server` accepts, `threads` gives the connection to a
//! thread, `resting` serves what comes on it, `socket` keeps its time, `edge` sees the request first, `route` says what it is,
//! `call` (a legacy client's) or `modern_call` (a modern one's) takes it to its `destination` and
//! the `whole_answer` back, `error` answers what fails, `client_body` hands the answer out, `record` remembers
//! it for the metrics and the `access_log`.
//!
//! Invariants: a request stays on the thread that read its first byte; every wait has a deadline;
//! what the client is told of a failure is decided in `error` and nowhere else; dropping a call's
//! future, as happens when its client leaves, frees all that it holds.

mod access_log;
mod budget;
mod call;
mod client_body;
mod config;
mod deployment;
mod destination;
mod drain;
mod edge;
mod error;
mod forwarded;
mod modern_call;
mod record;
mod reload;
mod request_body;
mod resting;
mod route;
mod server;
mod socket;
mod state;
mod thread;
mod threads;
mod whole_answer;

pub use config::{AccessLog, Config, PlainHttp, Prune, TrustedPeer};
pub use reload::Reload;
pub use server::{ServeError, Server};
pub use state::{Setup, SetupError};

/// What `Server` says in answers of the gateway's own making.
const SERVER: http::HeaderValue = http::HeaderValue::from_static("envgate");
