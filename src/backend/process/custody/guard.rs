//! The gateway's side of its watchdog: it knows that it has one, and learns when it is gone.

use std::{
    env, io,
    os::fd::{AsFd, OwnedFd},
    time::Duration,
};

use rustix::process::{
    DumpableBehavior, Pid, PidfdFlags, getppid, pidfd_open, set_dumpable_behavior, setsid,
};

use super::processes::ended;

/// How often the parent is asked for where the kernel doesn't tell its end.
const ASK_EVERY: Duration = Duration::from_millis(100);

/// Why a gateway can't run under the watchdog that started it.
#[derive(Debug, thiserror::Error)]
pub enum GuardError {
    /// The one that started it is gone already, or never was.
    #[error(
        "{} names no parent of this process: the watchdog that started it is gone (where you set that variable, unset it)",
        Guard::VARIABLE
    )]
    Gone,
    /// The system refuses something.
    #[error("can't {0}")]
    System(&'static str, #[source] io::Error),
}

/// The watchdog of this gateway.
#[derive(Debug)]
pub struct Guard {
    watchdog: Pid,
    /// None where the kernel has no such descriptors (before Linux 5.3).
    descriptor: Option<OwnedFd>,
}

impl Guard {
    /// The variable by which the watchdog tells the gateway its own PID.
    pub const VARIABLE: &str = "ENVGATE_WATCHDOG";

    /// Takes this process for a gateway under the watchdog that started it; None where none did.
    ///
    /// It gets a session of its own. So it isn't in the terminal's foreground group: Ctrl-C comes
    /// once, from the watchdog, not twice. And the terminal isn't its session's: it can write there
    /// though the terminal stops the writes of background groups (`stty tostop`). A SIGKILL to the
    /// process group of whoever started the program spares it, and it can end its instances.
    ///
    /// # Errors
    /// [`GuardError`]; the process must end then, for nobody would clean up after it.
    pub fn enter() -> Result<Option<Self>, GuardError> {
        let Some(told) = env::var_os(Self::VARIABLE) else {
            return Ok(None);
        };
        let told = told.to_str().and_then(|pid| pid.parse().ok());
        let watchdog = told.and_then(Pid::from_raw).ok_or(GuardError::Gone)?;
        hide().map_err(|error| GuardError::System("hide from other processes", error))?;
        let descriptor = pidfd_open(watchdog, PidfdFlags::empty()).ok();
        // What is a parent now was one when the descriptor was opened.
        if getppid() != Some(watchdog) {
            return Err(GuardError::Gone);
        }
        setsid().map_err(|error| GuardError::System("begin a session", error.into()))?;
        // Started by the way of /proc/self/exe it would be listed as `exe`. It is only a name.
        let _ = rustix::thread::set_name(c"envgate");
        Ok(Some(Self {
            watchdog,
            descriptor,
        }))
    }

    /// The watchdog: whoever loses its parent below this gateway becomes its child.
    #[must_use]
    pub fn watchdog(&self) -> Pid {
        self.watchdog
    }

    /// Waits until the watchdog is gone; then nobody looks after what the gateway leaves behind, so
    /// it must end its instances and itself. May be dropped and called again at any time.
    pub async fn watchdog_gone(&self) {
        if let Some(descriptor) = &self.descriptor
            && ended(descriptor.as_fd()).await.is_ok()
        {
            return;
        }
        while getppid() == Some(self.watchdog) {
            tokio::time::sleep(ASK_EVERY).await;
        }
    }
}

/// Keeps other processes of the same user from reading this one's variables and memory, and the
/// kernel from writing them to a core dump.
pub(super) fn hide() -> io::Result<()> {
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}
