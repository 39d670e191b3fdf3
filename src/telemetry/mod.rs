//! Logs, metrics, redaction: what may be seen from outside.
