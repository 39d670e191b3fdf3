//! Backends: where instances come from, and the connections to them.

mod config;

pub use config::{Balance, Config, Kind, UpstreamUrl, When};
