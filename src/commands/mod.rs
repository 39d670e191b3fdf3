//! One file a subcommand: the only place for stdout, stderr and `anyhow`.
//!
//! Data goes to stdout, the rest to stderr. A reader of stdout that goes away early is no failure.

pub mod check_config;
pub mod completions;
pub mod drain;
pub mod explain;
pub mod instances;
pub mod launch;
pub mod man;
pub mod reload;
pub mod serve;
pub mod worker;

mod admin;
mod args;
mod digest_key;
mod output;

pub use admin::{AdminAddress, AdminAddressError, AdminArgs};
pub use args::{OutputFormat, ServeArgs};
pub use output::fail;
