//! The table of instances: which envs are hot, and how many calls each may have under way.

mod config;

pub use config::{AdmissionConfig, CallLimit, CallLimits};
