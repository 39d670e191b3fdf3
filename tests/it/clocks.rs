//! A clock that is put forward by an hour ages no instance and ends no back-off: what decides on
//! instances and processes goes by the monotonic clock alone.
//!
//! No process can be given a wall clock of its own, and the machine's isn't ours to set, so the
//! sources are read.

use crate::layers::{check_sources, tokens};

const MONOTONIC: [&str; 2] = ["instances", "backend"];

/// Clocks that people set, and what goes by them.
const WALL_CLOCKS: [&str; 4] = ["SystemTime", "UNIX_EPOCH", "jiff", "modified"];

/// What goes by a wall clock in a file that mustn't. `path` is relative to `src/`.
fn wall_clocks(path: &str, text: &str) -> Vec<String> {
    let module = path.split('/').next().unwrap_or_default();
    let mut found = tokens(text);
    found.retain(|token| MONOTONIC.contains(&module) && WALL_CLOCKS.contains(&token.as_str()));
    let found = found.iter();
    found.map(|token| format!("{path}: {token}")).collect()
}

#[test]
fn nothing_expires_by_a_wall_clock() {
    assert_eq!(check_sources(wall_clocks), [""; 0]);
}

#[test]
fn a_planted_wall_clock_is_found() {
    for (path, text) in [
        ("instances/slots/runs.rs", "fn f() { SystemTime::now(); }"),
        (
            "instances/table.rs",
            "use std::time::{Duration, SystemTime};",
        ),
        (
            "backend/process/start.rs",
            "let began = jiff::Timestamp::now();",
        ),
        ("backend/process/runtime_dir.rs", "metadata.modified()"),
    ] {
        assert!(!wall_clocks(path, text).is_empty(), "{path}: {text}");
    }
    let allowed = "// SystemTime\nuse std::time::Instant;";
    assert!(wall_clocks("instances/table.rs", allowed).is_empty());
    assert!(wall_clocks("gateway/call.rs", "SystemTime::now()").is_empty());
}
