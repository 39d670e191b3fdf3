//! What the tests drive the program with: the program itself, a scripted far end, a raw client.
//!
//! Plain threads and blocking sockets, so that each byte on the wire and its moment are the test's.

mod backend;
mod client;
mod gateway;
mod http;
mod json;
mod metrics;
mod pattern;
mod script;
mod worker;

use std::time::{Duration, Instant};

pub(crate) use backend::{Backend, Refusing, Seen};
pub(crate) use client::{Call, Client, burst};
pub(crate) use gateway::{Gateway, PROGRAM, Setup, TempFile, run, signal};
pub(crate) use http::{Address, Broken, Message, Stream, Wire};
pub(crate) use json::{Json, base64};
pub(crate) use metrics::Metrics;
pub(crate) use pattern::matches;
pub(crate) use script::{Step, answer, ok, ok_modern};
pub(crate) use worker::{Program, Running, VARIABLES, Way};

/// How long anything may take that should happen at once; long, for a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(15);

/// Asks for a value until there is one.
#[track_caller]
pub(crate) fn eventually<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + DEADLINE;
    loop {
        if let Some(value) = attempt() {
            return value;
        }
        assert!(Instant::now() < until, "not within {DEADLINE:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A text that occurs nowhere else.
pub(crate) fn unique(prefix: &str) -> String {
    let tail: String = std::iter::repeat_with(fastrand::alphanumeric)
        .take(20)
        .collect();
    format!("{prefix}{tail}")
}
