//! envgate: an env-keyed gateway.
//!
//! Legacy clients send every call with the environment variables that it should run under. envgate
//! finds or starts the one instance that runs with exactly that env, translates the call into the
//! new API, and translates the answer back.
//!
//! The way of a call: [`gateway`] accepts it and reads its bytes; [`facet`] makes a call of them,
//! free of any dialect; [`mod@env`] says which env it names; [`instances`] admits it to what serves
//! that env; [`backend`] starts what serves it, or sends it to a member of a pool, and brings the answer; [`facet`] writes that in the
//! client's dialect; [`telemetry`] counts and logs it.
//!
//! Imports run downwards only, in this order from the bottom: [`mod@env`], [`facet`], [`telemetry`] and
//! [`thread`],
//! [`backend`], [`instances`] and [`listen`], [`gateway`], [`control`] (the admin API) and
//! [`worker`], [`config`], [`commands`], [`cli`].
//! `env` and `facet` are pure and could serve another program as a library.

pub mod backend;
pub mod cli;
pub mod commands;
pub mod config;
pub mod control;
pub mod env;
pub mod facet;
pub mod gateway;
pub mod instances;
pub mod listen;
pub mod telemetry;
pub mod thread;
pub mod worker;
