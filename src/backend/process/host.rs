//! What all process backends of a gateway share.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use rustix::process::{Resource, getrlimit};
use tokio::signal::unix::{SignalKind, signal};

use super::{
    identity::Users,
    listen::Ports,
    reaper::Reaper,
    runtime_dir::{DirError, RuntimeDir},
    spare::Spares,
};

/// What is running now, also where the file has been replaced since.
const OURSELVES: &str = "/proc/self/exe";

/// Arguments and variables may always be so long together (Linux's `ARG_MAX`)…
const LEAST_ROOM: u64 = 128 << 10;
/// … and never longer than this, three quarters of the default stack.
const MOST_ROOM: u64 = 6 << 20;
/// What the kernel counts besides, and what the launcher adds.
const SPARE_ROOM: u64 = 8 << 10;

/// What processes get that no two may have: directories, ports, users; and what starts and collects
/// them.
#[derive(Debug)]
pub struct Host {
    launcher: PathBuf,
    pub(super) dir: Arc<RuntimeDir>,
    pub(super) ports: Ports,
    pub(super) users: Users,
    pub(super) reaper: Reaper,
    pub(super) spares: Spares,
    room: usize,
    keeps_zombies: OnceLock<()>,
}

/// Why no process can be started at all.
#[derive(Debug, thiserror::Error)]
pub enum HostError {
    /// There is no place for sockets.
    #[error("can't make a runtime directory")]
    Dir(#[from] DirError),
    /// There is no thread to collect children.
    #[error("can't start a thread")]
    Thread(#[source] io::Error),
}

impl Host {
    /// Makes the runtime directory and starts the thread that collects children. This program is
    /// the launcher.
    ///
    /// # Errors
    ///
    /// [`HostError`].
    pub fn new() -> Result<Self, HostError> {
        Self::with_launcher(OURSELVES)
    }

    /// The same with another program as launcher: for those that use this as a library and have no
    /// `launch` command of their own.
    ///
    /// # Errors
    ///
    /// [`HostError`].
    pub fn with_launcher(launcher: impl Into<PathBuf>) -> Result<Self, HostError> {
        Ok(Self {
            launcher: launcher.into(),
            dir: Arc::new(RuntimeDir::make()?),
            ports: Ports::default(),
            users: Users::default(),
            reaper: Reaper::start().map_err(HostError::Thread)?,
            spares: Spares::default(),
            room: room(getrlimit(Resource::Stack).current),
            keeps_zombies: OnceLock::new(),
        })
    }

    /// Ends every launcher that was started ahead.
    pub fn end_spares(&self) {
        self.spares.end();
    }

    pub(super) fn launcher(&self) -> &Path {
        &self.launcher
    }

    /// Bytes of arguments and variables that a process can be given.
    pub(super) const fn room(&self) -> usize {
        self.room
    }

    /// Makes sure that the kernel doesn't collect children by itself, which it does where the
    /// gateway was started with SIGCHLD ignored: their numbers would be another's at once. To be
    /// called on the runtime.
    pub(super) fn keep_zombies(&self) {
        self.keeps_zombies.get_or_init(|| {
            if let Err(error) = signal(SignalKind::child()) {
                tracing::error!(%error, "can't listen to SIGCHLD");
            }
        });
    }
}

/// A quarter of the stack's limit, within bounds.
fn room(stack: Option<u64>) -> usize {
    let room = stack.map_or(MOST_ROOM, |stack| (stack / 4).clamp(LEAST_ROOM, MOST_ROOM));
    usize::try_from(room - SPARE_ROOM).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_a_quarter_of_the_stack() {
        assert_eq!(room(Some(8 << 20)), (2 << 20) - (8 << 10));
        assert_eq!(room(Some(1)), (128 << 10) - (8 << 10));
        assert_eq!(room(None), (6 << 20) - (8 << 10));
    }
}
