//! A `[[backend]]` table as it is written, and what it makes.

use std::{fmt, path::PathBuf, time::Duration};

use serde::Deserialize;

use super::{
    config::{Balance, Config, UpstreamConfig, UpstreamUrl, When, WorkersConfig},
    process::{
        CodePattern, Command, ConfigError, Group, Limits, Listen, Names, OwnVariables,
        ProcessConfig, Readiness, User,
    },
};
use crate::facet::{Dialect, Framework};

/// Long beside a call, and short beside what its clients wait for a worker that loads another env.
const DEFAULT_ENV_SLICE: Duration = Duration::from_millis(100);

/// What a backend is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// A pool of workers that something else runs.
    Upstream,
    /// Processes that the gateway starts.
    Process,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Upstream => "upstream",
            Self::Process => "process",
        })
    }
}

/// A `[[backend]]` table as it is written: the keys of every kind.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, expecting = "a table")]
pub struct Table {
    name: String,
    kind: Option<Kind>,
    #[serde(default = "Framework::assumed")]
    framework: Framework,
    dialect: Option<Dialect>,
    when: Option<When>,
    #[serde(default, with = "humantime_serde::option")]
    health_interval: Option<Duration>,
    urls: Option<Vec<UpstreamUrl>>,
    balance: Option<Balance>,
    one_env: Option<bool>,
    #[serde(default, with = "humantime_serde::option")]
    env_slice: Option<Duration>,
    command: Option<Command>,
    cwd: Option<PathBuf>,
    listen: Option<Listen>,
    env: Option<OwnVariables>,
    inherit: Option<Names>,
    readiness: Option<Readiness>,
    #[serde(default, with = "humantime_serde::option")]
    stop_grace: Option<Duration>,
    user: Option<User>,
    group: Option<Group>,
    limits: Option<Limits>,
    code: Option<CodePattern>,
}

/// Why a `[[backend]]` table makes no backend: the reason, and behind a semicolon the fix.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// A key that only the other kind has.
    #[error("kind = \"{0}\" has no {1}; leave it out, or write kind = \"{2}\"")]
    OfAnotherKind(Kind, &'static str, Kind),
    /// Nothing says where its instances come from.
    #[error("it has neither urls nor a command; name its members or what to start")]
    NoWorkers,
    /// An upstream without members.
    #[error("kind = \"upstream\" needs urls, like [\"http://127.0.0.1:9001\"]")]
    NoUrls,
    /// A process without a command.
    #[error("kind = \"process\" needs a command, like [\"worker\", \"--port\", \"{{port}}\"]")]
    NoCommand,
    /// A turn where nobody takes turns.
    #[error("env_slice says nothing without one_env; add one_env = true, or leave env_slice out")]
    SliceWithoutOneEnv,
    /// Two ways to choose a member.
    #[error("one_env chooses the members itself, by env; leave balance out, or one_env")]
    BalancedOneEnv,
    /// Two keys of a process that don't go together.
    #[error(transparent)]
    Process(#[from] ConfigError),
}

impl TableError {
    /// The key that is wrong; `None` where one is missing.
    #[must_use]
    pub const fn key(&self) -> Option<&'static str> {
        match self {
            Self::OfAnotherKind(_, key, _) => Some(key),
            Self::SliceWithoutOneEnv => Some("env_slice"),
            Self::BalancedOneEnv => Some("balance"),
            Self::Process(ConfigError::NoCode) => Some("command"),
            Self::Process(_) => Some("listen"),
            Self::NoWorkers | Self::NoUrls | Self::NoCommand => None,
        }
    }
}

impl TryFrom<Table> for Config {
    type Error = TableError;

    fn try_from(table: Table) -> Result<Self, TableError> {
        let kind = match (table.kind, &table.urls, &table.command) {
            (Some(kind), ..) => kind,
            (None, _, Some(_)) => Kind::Process,
            (None, Some(_), None) => Kind::Upstream,
            (None, None, None) => return Err(TableError::NoWorkers),
        };
        let of_upstream = [
            ("urls", table.urls.is_some()),
            ("balance", table.balance.is_some()),
            ("one_env", table.one_env.is_some()),
            ("env_slice", table.env_slice.is_some()),
        ];
        let of_process = [
            ("command", table.command.is_some()),
            ("cwd", table.cwd.is_some()),
            ("listen", table.listen.is_some()),
            ("env", table.env.is_some()),
            ("inherit", table.inherit.is_some()),
            ("readiness", table.readiness.is_some()),
            ("stop_grace", table.stop_grace.is_some()),
            ("user", table.user.is_some()),
            ("group", table.group.is_some()),
            ("limits", table.limits.is_some()),
            ("code", table.code.is_some()),
        ];
        let (others, other) = match kind {
            Kind::Upstream => (&of_process[..], Kind::Process),
            Kind::Process => (&of_upstream[..], Kind::Upstream),
        };
        if let Some((key, _)) = others.iter().find(|(_, is_said)| *is_said) {
            return Err(TableError::OfAnotherKind(kind, key, other));
        }
        let workers = match kind {
            Kind::Upstream => {
                let one_env = table.one_env.unwrap_or(false);
                if !one_env && table.env_slice.is_some() {
                    return Err(TableError::SliceWithoutOneEnv);
                }
                if one_env && table.balance == Some(Balance::LeastRequests) {
                    return Err(TableError::BalancedOneEnv);
                }
                let env_slice = table.env_slice.unwrap_or(DEFAULT_ENV_SLICE);
                WorkersConfig::Upstream(UpstreamConfig {
                    urls: table.urls.ok_or(TableError::NoUrls)?,
                    balance: table.balance.unwrap_or_default(),
                    env_slice: one_env.then_some(env_slice),
                })
            }
            Kind::Process => {
                let mut process = ProcessConfig::new(table.command.ok_or(TableError::NoCommand)?);
                process.cwd = table.cwd;
                process.listen = table.listen;
                process.env = table.env.unwrap_or_default();
                if let Some(inherit) = table.inherit {
                    process.inherit = inherit;
                }
                process.readiness = table.readiness.unwrap_or_default();
                if let Some(grace) = table.stop_grace {
                    process.stop_grace = grace;
                }
                process.user = table.user;
                process.group = table.group;
                process.limits = table.limits.unwrap_or_default();
                process.code = table.code;
                process.check()?;
                WorkersConfig::Process(process)
            }
        };
        Ok(Self {
            name: table.name,
            framework: table.framework,
            dialect: table.dialect,
            health_interval: table.health_interval,
            when: table.when,
            workers,
        })
    }
}
