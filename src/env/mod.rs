//! Env identity: the text form, the canonical set of variables, its key, what may be shown of it.
//!
//! Pure: bytes in, values out. Knows nothing of JSON, HTTP, async, clocks, files, and logs nothing.
//!
//! What the rest builds on:
//!
//! - An [`Env`] never changes, and two envs are equal only if all their bytes are. The [`EnvKey`]
//!   finds, the comparison decides.
//! - No error, `Debug` or `Display` of this module holds a value. Names may be shown, and of a
//!   whole env its [`EnvDigest`].
//! - Whatever holds values is cleared from memory when it goes.

mod canonical;
mod config;
mod digest;
mod error;
mod glob;
mod key;
mod lookup;
mod proof;
#[cfg(test)]
mod properties;
mod reserved;
mod settings;
mod size;
mod text;

pub use canonical::Env;
pub use config::{Config, Fallback, Source, Unrepresentable};
pub use digest::{DigestKey, DigestKeyError, EnvDigest};
pub use error::{EnvError, shown_name};
pub use glob::Glob;
pub use key::EnvKey;
pub use lookup::EnvLookup;
pub use proof::{BASE_VARIABLE, NONCE_VARIABLE, env_proof, is_same_proof};
pub use reserved::Reserved;
pub use settings::{Concurrency, SettingError, WorkerSettings};
pub use size::{MAX_ENV_BYTES, MAX_STRING_BYTES};
pub use text::{EnvString, Line, Written};
