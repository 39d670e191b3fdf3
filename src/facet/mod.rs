//! The facet call and its answer, free of any connection: the two dialects in both directions.
//!
//! Pure: bytes in, values out. Knows nothing of sockets, async, processes.
//!
//! The way of a call: [`legacy::decode`] or [`modern::decode`] reads a [`FacetCall`] out of a body;
//! [`modern::request_path`] and [`modern::request_body`], [`legacy::encode_envelope`] or
//! [`legacy::Envelope::pass`] write it for the backend. The answer goes the same way back: an
//! [`Answer`], [pruned](prune_answer) or not, in the client's dialect. What goes wrong is a
//! [`CallError`].
//!
//! Invariants:
//! - One scan of a body. Values that pass are slices of it, byte for byte; only raw control
//!   characters inside strings are escaped, by a copy of the value that has them.
//! - What a client or backend sent never gets into an error, nor into anything's `Debug` but the
//!   names of facet and method.
//! - No function panics, whatever the bytes; none recurses.

mod answer;
mod call;
mod error;
mod framework;
mod pieces;
mod prune;

pub mod headers;
pub mod json;
pub mod legacy;
pub mod modern;
pub mod session;
pub mod trace;

#[cfg(test)]
mod properties;

pub use answer::{Answer, AnswerError, Outcome};
pub use call::{DecodeError, FacetCall, FacetName, FieldFault, MethodName, NameError};
pub use error::{CallError, ErrorNumber};
pub use framework::{Dialect, Framework};
pub use json::RawValue;
pub use pieces::Pieces;
pub use prune::{prune_answer, prune_error_body};
