//! What the gateway and the launcher say to each other.
//!
//! The launcher is envgate itself, started as `envgate launch …`, which sets up what only a process
//! can set up for itself and then becomes the worker. It is told how by its arguments, which hold
//! nothing secret (its environment is the worker's already, or it waits to be told it in an
//! [order](super::launch_order)), and tells what failed by one line on stderr and an exit status.

use std::{
    ffi::{OsStr, OsString},
    fmt, io,
    os::{
        fd::OwnedFd,
        unix::{ffi::OsStrExt, process::CommandExt},
    },
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
};

use crate::env::Env;

/// The first argument of a launcher.
pub const SUBCOMMAND: &str = "launch";

/// How the line begins in which a launcher tells what failed.
const PREFIX: &str = "envgate launch: ";

/// Exit status of a launcher that couldn't set something up.
pub const NOT_SET_UP: u8 = 125;
/// Exit status of a launcher whose command can't be executed.
pub const NOT_EXECUTABLE: u8 = 126;
/// Exit status of a launcher whose command isn't there.
pub const NOT_FOUND: u8 = 127;

/// What a launcher has to do. `Default` is to do nothing and be nobody's child.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LaunchSpec {
    /// The gateway's process, which must still be the parent.
    pub parent: u32,
    /// Bytes of address space.
    pub memory: Option<u64>,
    /// The number of descriptors.
    pub open_files: Option<u64>,
    /// The group to become, and the only one.
    pub group: Option<u32>,
    /// The user to become.
    pub user: Option<u32>,
    /// The directory to run in.
    pub cwd: Option<PathBuf>,
    /// Whether stdin is a listening socket that the worker gets as descriptor 3.
    pub socket: bool,
    /// Whether stdin is where it waits for an order, which says the rest.
    pub waits: bool,
    /// The program and its arguments.
    pub command: Vec<OsString>,
}

impl LaunchSpec {
    /// The launcher's arguments.
    #[must_use]
    pub fn to_arguments(&self) -> Vec<OsString> {
        let number = |number: u64| OsString::from(number.to_string());
        let options = [
            ("--parent", Some(number(self.parent.into()))),
            ("--memory", self.memory.map(number)),
            ("--open-files", self.open_files.map(number)),
            ("--group", self.group.map(|id| number(id.into()))),
            ("--user", self.user.map(|id| number(id.into()))),
            ("--cwd", self.cwd.clone().map(OsString::from)),
            ("--socket", self.socket.then(|| "3".into())),
            ("--waits", self.waits.then(|| "0".into())),
        ];
        let mut arguments = vec![SUBCOMMAND.into()];
        for (option, value) in options {
            if let Some(value) = value {
                arguments.extend([option.into(), value]);
            }
        }
        arguments.push("--".into());
        arguments.extend(self.command.iter().cloned());
        arguments
    }

    /// Reads what [`to_arguments`](Self::to_arguments) wrote, without the subcommand; `None` for
    /// anything else.
    #[must_use]
    pub fn from_arguments(arguments: impl IntoIterator<Item = OsString>) -> Option<Self> {
        let mut arguments = arguments.into_iter();
        let mut spec = Self::default();
        loop {
            let option = arguments.next()?;
            if option == "--" {
                break;
            }
            let value = arguments.next()?;
            let number = || value.to_str()?.parse::<u64>().ok();
            // The last number means none to the system.
            let id = || u32::try_from(number()?).ok().filter(|id| *id != u32::MAX);
            match option.to_str()? {
                "--parent" => spec.parent = id()?,
                "--memory" => spec.memory = Some(number()?),
                "--open-files" => spec.open_files = Some(number()?),
                "--group" => spec.group = Some(id()?),
                "--user" => spec.user = Some(id()?),
                "--cwd" => spec.cwd = Some(value.into()),
                "--socket" => spec.socket = true,
                "--waits" => spec.waits = true,
                _ => return None,
            }
        }
        spec.command = arguments.collect();
        (spec.command.is_empty() == spec.waits).then_some(spec)
    }

    /// The bytes that the arguments take in the new process, as the kernel counts them.
    pub(super) fn size(&self) -> usize {
        const POINTER_AND_NUL: usize = 9;
        let arguments = self.to_arguments();
        arguments
            .iter()
            .map(|argument| argument.len() + POINTER_AND_NUL)
            .sum()
    }

    /// Starts the launcher, in a process group of its own from its first moment on, so that there
    /// is no time at which a signal to the group would miss it. stdout and stderr are pipes, stdin is
    /// as the options say. One that waits gets no variables.
    ///
    /// There is no code of ours between fork and exec, so that the standard library spawns as
    /// cheaply as for a small process, however large the gateway is.
    pub(super) fn spawn(
        &self,
        launcher: &OsStr,
        variables: Option<&Env>,
        stdin: Option<OwnedFd>,
    ) -> io::Result<Child> {
        let variables = variables.into_iter().flat_map(Env::iter);
        let variables =
            variables.map(|(name, value)| (OsStr::from_bytes(name), OsStr::from_bytes(value)));
        Command::new(launcher)
            .args(self.to_arguments())
            .env_clear()
            .envs(variables)
            .stdin(stdin.map_or_else(Stdio::null, Stdio::from))
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
    }
}

/// What a launcher does, in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LaunchStep {
    /// Reads its arguments.
    Arguments,
    /// Limits its memory.
    Memory,
    /// Limits its descriptors.
    OpenFiles,
    /// Takes its group.
    Group,
    /// Takes its user.
    User,
    /// Makes sure that it dies with the gateway, and that it hasn't missed the gateway's death.
    Parent,
    /// Enters its directory.
    Directory,
    /// Lets all signals through.
    Signals,
    /// Reads its order.
    Order,
    /// Takes its socket.
    Socket,
    /// Becomes the command.
    Command,
}

impl LaunchStep {
    const ALL: [Self; 11] = [
        Self::Arguments,
        Self::Memory,
        Self::OpenFiles,
        Self::Group,
        Self::User,
        Self::Parent,
        Self::Directory,
        Self::Signals,
        Self::Order,
        Self::Socket,
        Self::Command,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Arguments => "read its arguments",
            Self::Memory => "limit its memory",
            Self::OpenFiles => "limit its open files",
            Self::Group => "take its group",
            Self::User => "take its user",
            Self::Parent => "tie its life to the gateway's",
            Self::Directory => "enter its directory",
            Self::Signals => "unblock its signals",
            Self::Order => "read its order",
            Self::Socket => "take its socket",
            Self::Command => "run the command",
        }
    }
}

/// What a launcher failed at. `Display` says what it couldn't do and what the system says to that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaunchFailure {
    /// What it tried.
    pub step: LaunchStep,
    /// The system's error number, where the system refused.
    pub errno: Option<i32>,
}

impl LaunchFailure {
    /// A step that the system refused.
    pub fn new(step: LaunchStep, error: &io::Error) -> Self {
        Self {
            step,
            errno: error.raw_os_error(),
        }
    }

    /// The launcher's exit status.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        let kind = self
            .errno
            .map(|errno| io::Error::from_raw_os_error(errno).kind());
        match (self.step, kind) {
            (LaunchStep::Command, Some(io::ErrorKind::NotFound)) => NOT_FOUND,
            (LaunchStep::Command, _) => NOT_EXECUTABLE,
            _ => NOT_SET_UP,
        }
    }

    /// The launcher's line on stderr.
    #[must_use]
    pub fn to_line(&self) -> String {
        format!("{PREFIX}{self}\n")
    }

    /// Reads the failure out of the last lines of a process that ended with this status. Only known
    /// words and a number are taken from there: a worker may write what it likes.
    pub(super) fn find<'a>(
        status: ExitStatus,
        mut lines: impl Iterator<Item = &'a str>,
    ) -> Option<Self> {
        let code = status.code()?;
        let failure = lines.find_map(|line| {
            let text = line.strip_prefix(PREFIX)?.strip_prefix("can't ")?;
            let mut steps = LaunchStep::ALL.into_iter();
            let step = steps.find(|step| text.starts_with(step.as_str()))?;
            let errno = text.rsplit_once("(os error ");
            let errno = errno.and_then(|(_, errno)| errno.strip_suffix(')')?.parse().ok());
            Some(Self { step, errno })
        })?;
        (code == i32::from(failure.exit_code())).then_some(failure)
    }
}

impl fmt::Display for LaunchFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "can't {}", self.step.as_str())?;
        match self.errno {
            Some(errno) => write!(f, ": {}", io::Error::from_raw_os_error(errno)),
            None => Ok(()),
        }
    }
}

impl std::error::Error for LaunchFailure {}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;

    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let full = LaunchSpec {
            parent: 7,
            memory: Some(1 << 40),
            open_files: Some(64),
            group: Some(8),
            user: Some(9),
            cwd: Some("--".into()),
            socket: true,
            waits: false,
            command: vec!["--".into(), "--user".into(), "".into()],
        };
        let waiting = LaunchSpec {
            waits: true,
            ..LaunchSpec::default()
        };
        let least = LaunchSpec {
            command: vec!["w".into()],
            ..LaunchSpec::default()
        };
        for spec in [full, least, waiting] {
            let arguments = spec.to_arguments();
            assert_eq!(arguments[0], SUBCOMMAND);
            let read = LaunchSpec::from_arguments(arguments.into_iter().skip(1));
            assert_eq!(read, Some(spec));
        }
    }

    #[test]
    fn other_arguments_are_refused() {
        for arguments in [
            &[][..],
            &["--"],
            &["--user", "x", "--", "w"],
            &["--user", "4294967296", "--", "w"],
            &["--what", "1", "--", "w"],
            &["--waits", "0", "--", "w"],
            &["w"],
        ] {
            let given = arguments.iter().map(OsString::from);
            assert_eq!(LaunchSpec::from_arguments(given), None, "{arguments:?}");
        }
    }

    #[test]
    fn a_failure_is_told_by_line_and_status() {
        for (step, errno, code) in [
            (LaunchStep::User, Some(1), 125),
            (LaunchStep::Parent, None, 125),
            (LaunchStep::Command, Some(13), 126),
            (LaunchStep::Command, Some(2), 127),
        ] {
            let failure = LaunchFailure { step, errno };
            assert_eq!(failure.exit_code(), code);
            let line = failure.to_line();
            let status = ExitStatus::from_raw(i32::from(code) << 8);
            let found = LaunchFailure::find(status, line.lines()).unwrap();
            assert_eq!(found, failure);
            assert_eq!(
                LaunchFailure::find(ExitStatus::from_raw(1 << 8), line.lines()),
                None
            );
        }
    }

    #[test]
    fn nothing_but_known_words_is_taken_from_output() {
        let status = ExitStatus::from_raw(127 << 8);
        for line in [
            "hush",
            "envgate launch: hush",
            "envgate launch: can't hush (os error 2)",
        ] {
            assert_eq!(LaunchFailure::find(status, [line].into_iter()), None);
        }
        let line = "envgate launch: can't run the command hush (os error 2)";
        let failure = LaunchFailure::find(status, [line].into_iter()).unwrap();
        assert!(!failure.to_string().contains("hush"));
    }
}
