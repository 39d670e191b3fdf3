//! Why an instance didn't start.

use std::{io, process::ExitStatus, time::Duration};

use rustix::io::Errno;

use super::{launch::LaunchFailure, listen::PlaceError, ready::Phase};
use crate::env::EnvError;

/// Why an instance didn't start. No text of it holds a value, or anything that a process wrote.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The command needs `{rev}` and the call names no code (3000).
    #[error(
        "the backend's command needs a code, and the call's recipe header names none that backend.code takes"
    )]
    NoRev,
    /// The call's variables can't be given to a process (1104).
    #[error(transparent)]
    Env(EnvError),
    /// All variables and the command are more than the system gives to a process: the call's are
    /// within their own limit, but the backend's take the rest (1104).
    #[error("the variables and the command take {bytes} bytes; the system's limit leaves {room}")]
    TooLarge {
        /// What they take.
        bytes: usize,
        /// What they may take.
        room: usize,
    },
    /// All users of the backend's range are in use (2003).
    #[error("every user of the backend's range is in use")]
    NoUser,
    /// The gateway has no descriptors left (2003).
    #[error("the gateway has no descriptors left for another process")]
    NoDescriptors(#[source] io::Error),
    /// The system has no room for another process (2003).
    #[error("the system has no room for another process")]
    NoProcesses(#[source] io::Error),
    /// There is no place for it to listen (3001).
    #[error("there is no place for the worker to listen")]
    Place(#[source] PlaceError),
    /// The launcher couldn't be started, or not be watched (3001).
    #[error("the launcher can't be started")]
    Spawn(#[source] io::Error),
    /// The launcher couldn't set up the process or execute the command (3001).
    #[error("the worker wasn't launched: it {0} (exit status {code})", code = .0.exit_code())]
    Launch(LaunchFailure),
    /// The worker ended (3001).
    #[error("the worker ended {phase} ({status})")]
    Exited {
        /// How.
        status: ExitStatus,
        /// When.
        phase: Phase,
    },
    /// The worker wasn't ready in time, and was killed (3003).
    #[error("the worker was given up {phase}, after instances.start_timeout ({})", humantime::format_duration(*.after))]
    TimedOut {
        /// The time that it had.
        after: Duration,
        /// How far it came.
        phase: Phase,
    },
    /// The worker proved variables other than those that it was to have, and was killed (3001).
    #[error(
        "the worker doesn't have the variables that it was given; a shell or script that starts it \
         may have set some (PWD, SHLVL): name the worker itself in the command"
    )]
    WrongEnv,
}

impl StartError {
    /// What the system's refusal to start a process means.
    pub(super) fn spawn(error: io::Error) -> Self {
        Self::exhausted(error).unwrap_or_else(Self::Spawn)
    }

    /// What the lack of a place means.
    pub(super) fn place(error: PlaceError) -> Self {
        let source: Option<&io::Error> = match &error {
            PlaceError::Port(source) | PlaceError::Socket(source) => Some(source),
            PlaceError::Dir(_) => None,
        };
        match source
            .and_then(io::Error::raw_os_error)
            .map(io::Error::from_raw_os_error)
        {
            Some(same) => Self::exhausted(same).unwrap_or(Self::Place(error)),
            None => Self::Place(error),
        }
    }

    /// Whether it is the gateway or the system that has too little left.
    fn exhausted(error: io::Error) -> Result<Self, io::Error> {
        match Errno::from_io_error(&error) {
            Some(Errno::MFILE | Errno::NFILE) => Ok(Self::NoDescriptors(error)),
            Some(Errno::AGAIN | Errno::NOMEM) => Ok(Self::NoProcesses(error)),
            _ => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lack_of_descriptors_or_processes_is_told_apart() {
        for (errno, expected) in [
            (Errno::MFILE, "no descriptors"),
            (Errno::NFILE, "no descriptors"),
            (Errno::AGAIN, "no room"),
            (Errno::NOENT, "can't be started"),
        ] {
            let error = StartError::spawn(errno.into()).to_string();
            assert!(error.contains(expected), "{error}");
        }
        let error = StartError::place(PlaceError::Port(Errno::MFILE.into()));
        assert!(matches!(error, StartError::NoDescriptors(_)));
        let error = StartError::place(PlaceError::Port(Errno::ADDRINUSE.into()));
        assert!(matches!(error, StartError::Place(_)));
    }
}
