//! `envgate reload`: has a running gateway read its configuration anew, by SIGHUP.
//!
//! SIGHUP ends a process that doesn't wait for it. So nothing is signalled but a process whose
//! command line is that of `envgate serve` and that catches SIGHUP, as `/proc` shows it. The pidfd
//! is opened before that is looked at: what was looked at is what gets the signal, or nobody does.

use std::{
    ffi::OsStr,
    fs, io,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use anyhow::Context;
use clap::Args;
use rustix::{
    io::Errno,
    process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, pidfd_send_signal},
};

use crate::config::{Config, Sources};

const EXAMPLES: &str = "\
[[backend]], [admission] and [instances] are followed; other tables need a restart. The gateway's
log says what came of it: where the new configuration is wrong, the old one stays in force.

Examples:
  envgate reload --config envgate.toml 4711
  envgate reload $(systemctl show --property MainPID --value envgate)";

/// `envgate reload`.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct ReloadArgs {
    /// The process that `envgate serve` started as.
    #[arg(value_parser = clap::value_parser!(i32).range(1..))]
    pub pid: i32,
    /// The gateway's configuration, checked first: where it is wrong, nothing is sent.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// Why a process isn't sent the signal.
#[derive(Debug, thiserror::Error)]
enum RefusedError {
    #[error("there is no process {0}, or /proc hides it")]
    NoProcess(i32),
    #[error("process {0} is no gateway: its command line isn't that of `envgate serve`")]
    NoGateway(i32),
    #[error("process {0} ignores SIGHUP, as what nohup starts does: it must be restarted")]
    Ignores(i32),
    #[error("process {0} doesn't wait for SIGHUP yet; try again when it listens")]
    NotYet(i32),
    #[error("process {0} can't be looked at")]
    Hidden(i32, #[source] io::Error),
}

/// Checks the configuration, where one is named, and signals the gateway.
///
/// # Errors
///
/// The configuration is wrong, the process is no gateway, or it can't be signalled.
pub fn run(args: &ReloadArgs) -> anyhow::Result<()> {
    if let Some(file) = &args.config {
        Config::load(&Sources {
            file: Some(file.clone()),
            ..Sources::default()
        })?;
    }
    let pid = Pid::from_raw(args.pid).ok_or(RefusedError::NoProcess(args.pid))?;
    let sent = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(descriptor) => {
            check(args.pid)?;
            pidfd_send_signal(descriptor, Signal::HUP)
        }
        // Linux before 5.3, or a sandbox that knows no pidfd.
        Err(Errno::NOSYS | Errno::PERM) => {
            check(args.pid)?;
            kill_process(pid, Signal::HUP)
        }
        // The number of a thread is none of a process.
        Err(Errno::SRCH | Errno::INVAL | Errno::NOENT) => Err(Errno::SRCH),
        Err(error) => Err(error),
    };
    match sent {
        Err(Errno::SRCH) => Err(RefusedError::NoProcess(args.pid).into()),
        sent => sent.with_context(|| format!("can't signal process {}", args.pid)),
    }
}

/// Whether a process is a gateway that follows SIGHUP.
fn check(pid: i32) -> Result<(), RefusedError> {
    let read = |name: &str| match fs::read(format!("/proc/{pid}/{name}")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(RefusedError::NoProcess(pid)),
        read => read.map_err(|error| RefusedError::Hidden(pid, error)),
    };
    if !is_gateway(&read("cmdline")?) {
        return Err(RefusedError::NoGateway(pid));
    }
    let status = read("status")?;
    let status = String::from_utf8_lossy(&status);
    if has_hangup(&status, "SigIgn:") {
        return Err(RefusedError::Ignores(pid));
    }
    match has_hangup(&status, "SigCgt:") {
        true => Ok(()),
        false => Err(RefusedError::NotYet(pid)),
    }
}

/// Whether a command line, each argument with a NUL at its end, is that of `envgate serve`. The
/// program may have a version in its name, and need not be the file that this one is.
fn is_gateway(command_line: &[u8]) -> bool {
    let mut arguments = command_line.split(|byte| *byte == 0);
    let program = arguments.next().unwrap_or_default();
    let name = Path::new(OsStr::from_bytes(program)).file_name();
    let is_ours = name.is_some_and(|name| name.as_bytes().starts_with(b"envgate"));
    is_ours && arguments.next() == Some(b"serve")
}

/// Whether SIGHUP is in the set of signals in this line of a process's status.
fn has_hangup(status: &str, line: &str) -> bool {
    let set = status.lines().find_map(|text| text.strip_prefix(line));
    let set = set.and_then(|set| u64::from_str_radix(set.trim(), 16).ok());
    set.is_some_and(|set| set >> (Signal::HUP.as_raw() - 1) & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_served_gateway_is_one() {
        for (command_line, expected) in [
            (&b"envgate\0serve\0"[..], true),
            (b"/usr/local/bin/envgate-0.1.0\0serve\0--config\0x\0", true),
            (b"envgate\0worker\0--listen\0serve\0", false),
            (b"envgate\0", false),
            (b"/envgate/other\0serve\0", false),
            (b"sh\0-c\0envgate serve\0", false),
            (b"", false),
        ] {
            assert_eq!(is_gateway(command_line), expected, "{command_line:?}");
        }
    }

    #[test]
    fn a_set_of_signals_is_read_from_its_line() {
        let status = "Name:\tx\nSigIgn:\t0000000000001000\nSigCgt:\t0000000180004a03\n";
        assert!(has_hangup(status, "SigCgt:"));
        assert!(!has_hangup(status, "SigIgn:"));
        assert!(!has_hangup("", "SigCgt:"));
    }
}
