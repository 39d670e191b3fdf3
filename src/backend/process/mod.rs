//! One worker process: started with exactly the variables of one env, reached, watched, stopped.
//!
//! A start goes: a place where it will listen ([`crate::backend::Address`]), its variables, the [launcher](launch)
//! that becomes the worker, and questions until it says that it serves. The rest of a process's life
//! is a [`Process`].
//!
//! Invariants:
//! - A worker's variables are those of its sources and no other; nothing of them is in an argument,
//!   an error or the log.
//! - A process leads a group of its own from its first moment. The group is killed before its
//!   leader is collected, and no number is used after that.
//! - Whatever happens to a [`Process`] or to a start under way, dropped ones included, its group is
//!   killed, its zombie collected, and its directory, port and user are free only then.
//! - Nothing is sent to a port at which anybody but the instance listens.
//!
//! Deliberately absent: which process is started when (`instances`), what calls are sent to it, and
//! descendants that leave the group
//! ([`custody`] has those).
//!
//! All of it is to run on one thread that lives as long as the gateway: the kernel kills a worker
//! when the thread that started it ends.

mod child;
mod code;
mod config;
mod environment;
mod error;
mod host;
mod identity;
mod lines;
mod listen;
mod mask;
mod output;
mod owner;
mod placeholders;
mod ready;
mod reaper;
mod running;
mod runtime_dir;
mod spare;
mod start;
mod variables;

pub mod custody;
pub mod launch;
pub mod launch_order;

pub use code::{CodePattern, Rev, RevError};
pub use config::{Command, ConfigError, Limits, Listen, ProcessConfig, Readiness};
pub use custody::{Custody, Guard, GuardError, watchdog};
pub use error::StartError;
pub use host::{Host, HostError};
pub use identity::{Group, IdentityError, User};
pub use listen::PlaceError;
pub use ready::{Health, Phase};
pub use running::Process;
pub use runtime_dir::DirError;
pub use start::{Order, ProcessBackend, SetupError};
pub use variables::{Names, OwnVariables};
