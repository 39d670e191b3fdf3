//! envgate: an env-keyed gateway.
//!
//! The modules, from the bottom up (imports run downwards only; `tests/it/layers.rs` checks it):
//! `env`, `facet`, `telemetry`, `backend`, `instances`, `gateway` and `worker`, `config`,
//! `commands`, `cli`.

pub mod backend;
pub mod cli;
pub mod commands;
pub mod config;
pub mod env;
pub mod facet;
pub mod gateway;
pub mod instances;
pub mod telemetry;
pub mod worker;
