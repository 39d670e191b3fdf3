//! Bound sockets that connections are accepted from, TCP and Unix alike.
//!
//! Knows nothing of what is spoken on a connection. A bound Unix socket's file goes with its
//! listener.

mod address;
mod listener;

pub use address::{ListenAddr, ListenAddrError};
pub use listener::ListenError;
pub(crate) use listener::{Accepted, Listener};
