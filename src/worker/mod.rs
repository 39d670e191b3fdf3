//! The sample worker: a stand-in game backend that speaks either dialect.
