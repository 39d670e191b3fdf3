//! What keeps the processes that the gateway starts from outliving it, or the instance that they
//! belong to.
//!
//! A process that leaves its group and its parent falls to the [`watchdog`], the parent of the
//! gateway. While the gateway lives it looks there for what its instances left ([`Descendants`]),
//! and in their cgroups where those can be had ([`Cgroups`]); when it dies, the watchdog ends
//! whatever is left; when the watchdog dies, the gateway learns it ([`Guard`]).
//!
//! Invariant: no signal is sent to a PID that may have come to be another's.

pub mod watchdog;

mod all;
mod cgroup;
mod descendants;
mod guard;
mod leavings;
mod processes;

pub use all::{Custody, Ward};
pub use cgroup::{Cgroup, Cgroups};
pub use descendants::Descendants;
pub use guard::{Guard, GuardError};
pub use leavings::runtime_parent;
pub use processes::Process;
