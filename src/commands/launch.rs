//! `envgate launch`: becomes a worker process. Hidden: only the gateway calls it.
//!
//! Some of what a process needs can only be set by itself, between its start and its program's: its
//! limits, user, parent-death signal, directory, and `LISTEN_PID`, which is known only then.
//! To do that after a fork of the gateway itself would need code that is safe in the copy of a
//! process with many threads; here a single-threaded process does it at leisure.
//!
//! This is on the way of every cold start, so it comes before the command line's parser and does
//! nothing else. The environment is the worker's from the start, and the command is searched along
//! its `PATH`. One that is started ahead has no environment: it sets up all that it can, and waits
//! for its order. A failure is one line on stderr and exit status 125 (something couldn't be set up),
//! 126 (the command can't be executed) or 127 (it isn't there).

use std::{
    convert::Infallible,
    env,
    ffi::OsString,
    io::{self, Write},
    os::{
        fd::{AsFd, OwnedFd},
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

use crate::backend::process::{
    launch::{LaunchFailure, LaunchSpec, LaunchStep},
    launch_order::LaunchOrder,
};

/// Where systemd's way of passing sockets begins.
const FIRST_SOCKET: i32 = 3;

/// Becomes the worker that the arguments behind `launch` say. It returns only where it can't, or is
/// never told which worker.
pub fn run(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let spec = LaunchSpec::from_arguments(arguments).ok_or(LaunchFailure {
        step: LaunchStep::Arguments,
        errno: None,
    });
    let Err(failure) = spec.and_then(launch) else {
        return ExitCode::SUCCESS;
    };
    // Without stderr the exit status has to do.
    let _ = io::stderr().write_all(failure.to_line().as_bytes());
    ExitCode::from(failure.exit_code())
}

fn launch(spec: LaunchSpec) -> Result<(), LaunchFailure> {
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
    let stdin = io::stdin().as_fd().try_clone_to_owned();
    let never = if spec.waits {
        let order = stdin.and_then(|orders| LaunchOrder::receive(orders.into()));
        let Some(order) = failing_at(LaunchStep::Order, order)? else {
            return Ok(());
        };
        let mut command = command(&order.command);
        command.env_clear().envs(order.variables);
        become_command(command, order.socket)
    } else {
        let socket = spec.socket.then_some(stdin).transpose();
        let socket = failing_at(LaunchStep::Socket, socket)?;
        become_command(command(&spec.command), socket)
    };
    never.map(|never| match never {})
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

fn command(command: &[OsString]) -> Command {
    let mut arguments = command.iter();
    let mut command = Command::new(arguments.next().map_or(Path::new(""), Path::new));
    command.args(arguments).stdin(Stdio::null());
    command
}

/// Executes the command; the standard library undoes what it did to SIGPIPE.
fn become_command(
    mut command: Command,
    socket: Option<OwnedFd>,
) -> Result<Infallible, LaunchFailure> {
    if let Some(socket) = socket {
        let socket = FdMapping {
            parent_fd: socket,
            child_fd: FIRST_SOCKET,
        };
        let mapped = command.fd_mappings(vec![socket]).map(|_| ());
        failing_at(LaunchStep::Socket, mapped.map_err(io::Error::other))?;
        command.env("LISTEN_PID", process::id().to_string());
        command.env("LISTEN_FDS", "1");
    }
    failing_at(LaunchStep::Command, Err(command.exec()))
}
