//! What goes over the wire beyond the conformance cases.

mod connections;
mod deployment;
mod headers;
mod prune;
mod resting;
mod routing;
mod streaming;
