//! JSON as it crosses the gateway: validated whole, read in part, passed on byte for byte.
//!
//! One scan goes over a body. It checks every byte (grammar, UTF-8, nesting) and hands out the few
//! values that a caller names as slices of the body; nothing else is ever built. What it accepts is
//! what `serde_json` does, with the differences that CONTRACT 2 asks for: a byte order mark, raw
//! control characters inside strings, and a bound on nesting.
//!
//! Deliberately absent: numbers. They are never read, so `1e400` and `-0` arrive as they were sent.

mod error;
mod levels;
mod run;
mod scan;
mod text;
mod value;

#[cfg(test)]
mod tests;

pub use error::{JsonError, JsonFault};
pub use scan::Scanner;
pub use text::{json_string, push_json_string};
pub use value::{LoneSurrogate, RawValue};
