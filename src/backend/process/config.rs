//! What a `[[backend]]` table says of the processes that it starts.

use std::{fmt, ops::Deref, path::PathBuf, time::Duration};

use bytesize::ByteSize;
use serde::{Deserialize, Deserializer, de};

use super::{
    code::CodePattern,
    identity::{Group, Identity, IdentityError, User},
    placeholders::Placeholder,
    variables::{Names, OwnVariables},
};

/// How a backend's processes are started, reached and stopped.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub struct ProcessConfig {
    /// The program and its arguments, with placeholders; there is no shell.
    pub command: Command,
    /// Where it runs; where the gateway does if it isn't said.
    #[serde(default)]
    pub cwd: Option<PathBuf>,
    /// How it is reached; see [`ProcessConfig::listen`] for what is taken where it isn't said.
    #[serde(default)]
    pub listen: Option<Listen>,
    /// Variables that each process gets, with placeholders. No request can set them.
    #[serde(default)]
    pub env: OwnVariables,
    /// The gateway's own variables that each process gets too, unless another source sets them.
    #[serde(default)]
    pub inherit: Names,
    /// What tells that it serves.
    #[serde(default)]
    pub readiness: Readiness,
    /// How long it may take to end after SIGTERM.
    #[serde(default = "stop_grace", with = "humantime_serde")]
    pub stop_grace: Duration,
    /// As whom it runs; as the gateway does if it isn't said.
    #[serde(default)]
    pub user: Option<User>,
    /// Its group; the user's if it isn't said.
    #[serde(default)]
    pub group: Option<Group>,
    /// What it may use.
    #[serde(default)]
    pub limits: Limits,
    /// What in the recipe header is the code that `{rev}` stands for.
    #[serde(default)]
    pub code: Option<CodePattern>,
}

/// How a worker is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Listen {
    /// It listens at a loopback port that it is told as `{port}`.
    Tcp,
    /// It listens at a Unix socket whose path it is told as `{socket}`.
    Unix,
    /// It is given a listening Unix socket as systemd does it: descriptor 3, `LISTEN_FDS`.
    Inherit,
}

/// What tells that a worker serves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Readiness {
    /// `GET /health` answers 200.
    #[default]
    Health,
    /// It takes a connection. An inherited socket takes one before the worker runs, so there this
    /// tells nothing.
    Connect,
}

/// What a process may use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub struct Limits {
    /// Its address space, which is more than what it has in memory.
    pub memory: Option<ByteSize>,
    /// Its descriptors.
    pub open_files: Option<u64>,
}

/// A configuration that says two things which don't go together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Nothing says what `{rev}` stands for.
    #[error(
        "the command needs {{rev}}, and nothing says what of the recipe header that is; add a \
         code like 'backends/([^/]+)/', or take {{rev}} out"
    )]
    NoCode,
    /// A placeholder has no value with this way of listening.
    #[error("{placeholder} has no value where listen is \"{listen}\"")]
    Placeholder {
        /// As it is written.
        placeholder: &'static str,
        /// The way.
        listen: Listen,
    },
    /// The worker would never learn where to listen.
    #[error("listen is \"{listen}\", but neither command nor env says {placeholder}")]
    Untold {
        /// As it would be written.
        placeholder: &'static str,
        /// The way.
        listen: Listen,
    },
}

impl ProcessConfig {
    /// Processes of this command, and nothing else said.
    #[must_use]
    pub fn new(command: Command) -> Self {
        Self {
            command,
            cwd: None,
            listen: None,
            env: OwnVariables::default(),
            inherit: Names::default(),
            readiness: Readiness::default(),
            stop_grace: stop_grace(),
            user: None,
            group: None,
            limits: Limits::default(),
            code: None,
        }
    }

    /// How its processes are reached: where it isn't said, by the placeholder that they are told
    /// it with, and by an inherited socket where there is none.
    #[must_use]
    pub fn listen(&self) -> Listen {
        self.listen.unwrap_or_else(|| {
            if self.says(Placeholder::Port) {
                Listen::Tcp
            } else if self.says(Placeholder::Socket) {
                Listen::Unix
            } else {
                Listen::Inherit
            }
        })
    }

    /// Whether a process can be started only for a call that names its code.
    #[must_use]
    pub fn needs_rev(&self) -> bool {
        self.says(Placeholder::Rev)
    }

    /// Checks what no single key can.
    ///
    /// # Errors
    ///
    /// [`ConfigError`].
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.needs_rev() && self.code.is_none() {
            return Err(ConfigError::NoCode);
        }
        let listen = self.listen();
        let (told, other) = match listen {
            Listen::Tcp => (Some(Placeholder::Port), Some(Placeholder::Socket)),
            Listen::Unix => (Some(Placeholder::Socket), Some(Placeholder::Port)),
            Listen::Inherit => (None, Some(Placeholder::Port)),
        };
        if let Some(told) = told.filter(|told| !self.says(*told)) {
            let placeholder = told.as_str();
            return Err(ConfigError::Untold {
                placeholder,
                listen,
            });
        }
        if let Some(other) = other.filter(|other| self.says(*other)) {
            let placeholder = other.as_str();
            return Err(ConfigError::Placeholder {
                placeholder,
                listen,
            });
        }
        Ok(())
    }

    /// Checks that this machine knows its user and group.
    ///
    /// # Errors
    ///
    /// [`IdentityError`].
    pub fn check_identity(&self) -> Result<(), IdentityError> {
        Identity::resolve(self.user.as_ref(), self.group.as_ref()).map(drop)
    }

    /// How many processes can have a user of their own at once; `None` where they share one.
    #[must_use]
    pub fn users(&self) -> Option<u64> {
        match &self.user {
            Some(User::Range(range)) => Some(u64::from(range.end() - range.start()) + 1),
            _ => None,
        }
    }

    fn says(&self, placeholder: Placeholder) -> bool {
        let said = |text: &str| text.contains(placeholder.as_str());
        self.command.iter().any(|part| said(part)) || self.env.iter().any(|(_, value)| said(value))
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Tcp => "tcp",
            Self::Unix => "unix",
            Self::Inherit => "inherit",
        })
    }
}

/// A program and its arguments; there is a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command(Vec<String>);

impl Deref for Command {
    type Target = [String];

    fn deref(&self) -> &[String] {
        &self.0
    }
}

/// Takes a command that is known to be one.
impl From<Vec<String>> for Command {
    fn from(command: Vec<String>) -> Self {
        Self(command)
    }
}

impl<'de> Deserialize<'de> for Command {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let command = Vec::<String>::deserialize(deserializer)?;
        if command.first().is_none_or(String::is_empty) {
            let text =
                "no command; write the program and its arguments, as in [\"worker\", \"{port}\"]";
            return Err(de::Error::custom(text));
        }
        if command.iter().any(|part| part.contains('\0')) {
            return Err(de::Error::custom("the command has a NUL character"));
        }
        Ok(Self(command))
    }
}

const fn stop_grace() -> Duration {
    Duration::from_secs(5)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> ProcessConfig {
        toml::from_str(text).unwrap()
    }

    fn error(text: &str) -> String {
        toml::from_str::<ProcessConfig>(text)
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn only_the_command_must_be_said() {
        let config = config("command = [\"worker\"]");
        assert_eq!(config.listen(), Listen::Inherit);
        assert_eq!(config.inherit, Names::default());
        assert_eq!(config.readiness, Readiness::Health);
        assert_eq!(config.stop_grace, Duration::from_secs(5));
        assert_eq!(config.check(), Ok(()));
        assert!(!config.needs_rev());
    }

    #[test]
    fn the_placeholder_tells_how_it_listens() {
        for (text, listen) in [
            ("command = [\"w\", \"--port={port}\"]", Listen::Tcp),
            (
                "command = [\"w\"]\nenv = { URL = \"http://h:{port}/\" }",
                Listen::Tcp,
            ),
            ("command = [\"w\", \"{socket}\"]", Listen::Unix),
            ("command = [\"w\", \"{sockets}\", \"{}\"]", Listen::Inherit),
            (
                "command = [\"w\", \"{socket}\"]\nlisten = \"inherit\"",
                Listen::Inherit,
            ),
        ] {
            assert_eq!(config(text).listen(), listen, "{text}");
            assert_eq!(config(text).check(), Ok(()), "{text}");
        }
    }

    #[test]
    fn a_way_that_the_worker_is_not_told_is_refused() {
        for (text, expected) in [
            (
                "command = [\"w\"]\nlisten = \"tcp\"",
                "neither command nor env says {port}",
            ),
            (
                "command = [\"w\"]\nlisten = \"unix\"",
                "neither command nor env says {socket}",
            ),
            (
                "command = [\"w\", \"{port}\", \"{socket}\"]",
                "{socket} has no value",
            ),
            (
                "command = [\"w\", \"{port}\"]\nlisten = \"inherit\"",
                "{port} has no value",
            ),
        ] {
            let error = config(text).check().unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn everything_can_be_said() {
        let config = config(
            r#"
            command = ["w", "{rev}"]
            cwd = "/srv"
            env = { A = "1" }
            inherit = ["PATH"]
            readiness = "connect"
            stop_grace = "2s"
            user = "range:20000-29999"
            group = 7
            limits = { memory = "1 GiB", open_files = 100 }
            code = "/([0-9a-f]+)\\.zip$"
            "#,
        );
        assert!(config.needs_rev());
        assert_eq!(config.limits.memory, Some(ByteSize::gib(1)));
        assert_eq!(config.stop_grace, Duration::from_secs(2));
        assert_eq!(config.clone(), config);
    }

    #[test]
    fn mistakes_are_told() {
        for (text, expected) in [
            ("command = []", "no command"),
            ("command = [\"\"]", "no command"),
            ("command = [\"a\\u0000\"]", "NUL"),
            (
                "command = [\"w\"]\nenv = { \"A=B\" = \"\" }",
                "not a variable's name",
            ),
            (
                "command = [\"w\"]\nenv = { LISTEN_FDS = \"\" }",
                "the gateway's to set",
            ),
            ("command = [\"w\"]\ninherit = [\"A,B\"]", "comma"),
            ("command = [\"w\"]\nlisten = \"udp\"", "expected one of"),
            ("command = [\"w\"]\nports = 1", "unknown field"),
        ] {
            let error = error(text);
            assert!(error.contains(expected), "{error}");
        }
    }

    #[test]
    fn values_are_not_shown() {
        let config = config("command = [\"w\"]\nenv = { TOKEN = \"hush\" }");
        let shown = format!("{config:?}");
        assert!(
            shown.contains("TOKEN") && !shown.contains("hush"),
            "{shown}"
        );
    }
}
