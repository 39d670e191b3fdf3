//! `envgate launch`: becomes a worker process. Hidden: only the gateway calls it.
//!
//! Some of what a process needs can only be set by itself, between its start and its program's: its
//! limits, user, parent-death signal, directory, and `LISTEN_PID`, which is known only then.
//! To do that after a fork of the gateway itself would need code that is safe in the copy of a
//! process with many threads; here a single-threaded process does it at leisure.
//!
//! This is on the way of every cold start, so it comes before the command line's parser and does
//! nothing else. The environment is the worker's from the start, and the command is searched along
//! its `PATH`. A failure is one line on stderr and exit status 125 (something couldn't be set up),
//! 126 (the command can't be executed) or 127 (it isn't there).

use std::{
    convert::Infallible,
    env,
    ffi::OsString,
    io::{self, Write},
    os::{
        fd::AsFd,
        unix::process::{CommandExt, parent_id},
    },
    path::Path,
    process::{self, Command, ExitCode, Stdio},
};

use command_fds::{CommandFdExt, FdMapping};
use nix::sys::signal::SigSet;
use rustix::{
    process::{Gid, Resource, Rlimit, Signal, Uid},
    thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid},
};

use crate::backend::process::launch::{LaunchFailure, LaunchSpec, LaunchStep};

/// Where systemd's way of passing sockets begins.
const FIRST_SOCKET: i32 = 3;

/// Becomes the worker that the arguments behind `launch` say. It returns only where it can't.
pub fn run(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let spec = LaunchSpec::from_arguments(arguments).ok_or(LaunchFailure {
        step: LaunchStep::Arguments,
        errno: None,
    });
    let Err(failure) = spec.and_then(|spec| launch(&spec));
    // Without stderr the exit status has to do.
    let _ = io::stderr().write_all(failure.to_line().as_bytes());
    ExitCode::from(failure.exit_code())
}

fn launch(spec: &LaunchSpec) -> Result<Infallible, LaunchFailure> {
    if let Some(bytes) = spec.memory {
        failing_at(LaunchStep::Memory, limit(Resource::As, bytes))?;
    }
    if let Some(number) = spec.open_files {
        failing_at(LaunchStep::OpenFiles, limit(Resource::Nofile, number))?;
    }
    if let Some(group) = spec.group {
        failing_at(LaunchStep::Group, take_group(group))?;
    }
    if let Some(user) = spec.user {
        let user = Uid::from_raw(user);
        let taken = set_thread_res_uid(user, user, user);
        failing_at(LaunchStep::User, taken.map_err(io::Error::from))?;
    }
    tie_to(spec.parent)?;
    if let Some(directory) = &spec.cwd {
        failing_at(LaunchStep::Directory, env::set_current_dir(directory))?;
    }
    let unblocked = SigSet::empty().thread_set_mask();
    failing_at(LaunchStep::Signals, unblocked.map_err(io::Error::from))?;
    // What the gateway was started with and doesn't know of is none of the worker's.
    close_fds::set_fds_cloexec(FIRST_SOCKET, &[]);
    become_command(spec)
}

fn failing_at<T>(step: LaunchStep, done: io::Result<T>) -> Result<T, LaunchFailure> {
    done.map_err(|error| LaunchFailure::new(step, &error))
}

fn limit(resource: Resource, most: u64) -> io::Result<()> {
    let limit = Rlimit {
        current: Some(most),
        maximum: Some(most),
    };
    Ok(rustix::process::setrlimit(resource, limit)?)
}

/// Takes the group and drops all others that the gateway has.
fn take_group(group: u32) -> io::Result<()> {
    let group = Gid::from_raw(group);
    set_thread_groups(&[group])?;
    Ok(set_thread_res_gid(group, group, group)?)
}

/// Makes the kernel kill this process when the gateway's supervising thread ends. A change of the
/// user undoes that, so it comes after it; and a gateway that has died before is not noticed by it,
/// so its parenthood is checked after it.
fn tie_to(parent: u32) -> Result<(), LaunchFailure> {
    let tied = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    failing_at(LaunchStep::Parent, tied.map_err(io::Error::from))?;
    if parent_id() == parent {
        return Ok(());
    }
    Err(LaunchFailure {
        step: LaunchStep::Parent,
        errno: None,
    })
}

/// Executes the command; the standard library undoes what it did to SIGPIPE.
fn become_command(spec: &LaunchSpec) -> Result<Infallible, LaunchFailure> {
    let mut arguments = spec.command.iter();
    let program = arguments.next().map_or(Path::new(""), Path::new);
    let mut command = Command::new(program);
    command.args(arguments);
    if spec.socket {
        let socket = io::stdin().as_fd().try_clone_to_owned();
        let socket = FdMapping {
            parent_fd: failing_at(LaunchStep::Socket, socket)?,
            child_fd: FIRST_SOCKET,
        };
        let mapped = command.fd_mappings(vec![socket]).map(|_| ());
        failing_at(LaunchStep::Socket, mapped.map_err(io::Error::other))?;
        command.stdin(Stdio::null());
        command.env("LISTEN_PID", process::id().to_string());
        command.env("LISTEN_FDS", "1");
    }
    failing_at(LaunchStep::Command, Err(command.exec()))
}
