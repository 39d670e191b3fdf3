//! The data path: listeners, connections, routing, the call, its answer.

mod config;

pub use config::{AccessLog, Config, ListenAddr, PlainHttp, Prune, TrustedPeer};
