//! The control plane: the admin API, on a listener, a runtime and a thread of its own, so that
//! nobody who asks it anything slows a call down.
//!
//! What comes in passes `guard` (token, or else `Host`), then `routes`, which answers in `answers`
//! and refuses in a `problem`; `openapi` describes it. `server` accepts, `connection` keeps the time.
//!
//! Knows nothing of the data path: it reads the table of instances and retires processes there,
//! and that is all it does.
//!
//! Invariants: no variable's value gets into an answer; a connection serves one request and lasts a
//! bounded time; every refusal that isn't HTTP's reader's own is a problem (RFC 9457).

mod answers;
mod config;
mod connection;
mod guard;
mod openapi;
mod problem;
mod routes;
mod server;
#[cfg(test)]
mod tests;
mod token;

pub use answers::{Nearest, Row, RowState};
pub use config::{Config, DEFAULT_ADDRESS};
pub use problem::Problem;
pub use server::{Admin, AdminError, AdminHandle};
pub use token::{TokenError, read_token};
