//! Env identity: the text form, the canonical set of variables, its key, what may be shown of it.
//!
//! Pure: bytes in, values out. Knows nothing of JSON, HTTP, async, clocks, files.

mod canonical;
mod config;
mod digest;
mod glob;
mod lookup;
mod reserved;
mod settings;
mod text;

pub use canonical::{Env, EnvError, EnvKey};
pub use config::{Config, Fallback, Source, Unrepresentable};
pub use digest::{DigestKey, EnvDigest};
pub use glob::Glob;
pub use lookup::EnvLookup;
pub use reserved::Reserved;
pub use settings::{Concurrency, SettingError, WorkerSettings};
pub use text::{EnvString, Line};
