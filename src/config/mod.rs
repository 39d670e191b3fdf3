//! The whole configuration: composed, read and validated before a port is bound.
