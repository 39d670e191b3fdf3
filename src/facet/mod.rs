//! The facet call and its answer, free of any connection: the two dialects in both directions.
//!
//! Pure: bytes in, values out. Knows nothing of sockets, async, processes.

mod framework;
pub use framework::{Dialect, Framework};
