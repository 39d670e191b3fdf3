//! One `[[backend]]` table of the configuration.

use std::{collections::BTreeMap, fmt, path::PathBuf, str::FromStr, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Deserializer, de};

use super::process::{
    CodePattern, Command, Group, Limits, Listen, Names, OwnVariables, ProcessConfig, Readiness,
    User,
};
use crate::{
    env::{Env, Glob},
    facet::{Dialect, Framework},
};

/// Long beside a call, and short beside what its clients wait for a worker that loads another env.
const DEFAULT_ENV_SLICE: Duration = Duration::from_millis(100);

/// A configured source of instances.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "Table")]
pub struct Config {
    /// Its name in logs, metrics and answers; unique.
    pub name: String,
    /// The framework inside its workers.
    pub framework: Framework,
    /// What its workers speak; by the framework where it isn't said.
    pub dialect: Option<Dialect>,
    /// How often each worker's `GET /health` is asked. Where it isn't said, never for an upstream
    /// and every 10 s for a process whose readiness is its health.
    pub health_interval: Option<Duration>,
    /// Which calls it takes; all where it isn't said. The first backend that matches takes a call.
    pub when: Option<When>,
    /// What serves its instances.
    pub workers: WorkersConfig,
}

/// What serves a backend's instances.
#[derive(Debug, Clone, PartialEq)]
pub enum WorkersConfig {
    /// A pool of workers that something else runs.
    Upstream(UpstreamConfig),
    /// Processes that the gateway starts, one for each env.
    Process(ProcessConfig),
}

/// A pool of workers that something else runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UpstreamConfig {
    /// Its members. A host name that resolves to several addresses is as many members.
    pub urls: Vec<UpstreamUrl>,
    /// How calls are spread over the members.
    pub balance: Balance,
    /// How long an env holds a member that others wait for, where the members hold one env each;
    /// `None` where they hold any number.
    pub env_slice: Option<Duration>,
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
    Process(#[from] super::process::ConfigError),
}

impl TableError {
    /// The key that is wrong; `None` where one is missing.
    #[must_use]
    pub const fn key(&self) -> Option<&'static str> {
        match self {
            Self::OfAnotherKind(_, key, _) => Some(key),
            Self::SliceWithoutOneEnv => Some("env_slice"),
            Self::BalancedOneEnv => Some("balance"),
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

impl Config {
    /// What its workers speak.
    #[must_use]
    pub fn dialect(&self) -> Dialect {
        self.dialect
            .unwrap_or_else(|| self.framework.default_dialect())
    }

    /// Whether it takes a call. The first backend that does serves it (4004 if none does).
    #[must_use]
    pub fn takes(&self, env: Option<&Env>, headers: &HeaderMap) -> bool {
        self.when
            .as_ref()
            .is_none_or(|when| when.matches(env, headers))
    }
}

/// What a backend is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Upstream,
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

/// How calls are spread over a backend's members.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Balance {
    /// The same env with the same code goes to the same member, as far as load allows.
    #[default]
    EnvAffinity,
    /// To the member with the fewest calls under way.
    LeastRequests,
}

/// Which calls a backend takes: all conditions must hold.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub struct When {
    /// Variables of the call's env and the globs their values must match.
    pub env: BTreeMap<String, Glob>,
    /// Request headers and the values they must have exactly.
    pub header: BTreeMap<HeaderKey, HeaderText>,
}

impl When {
    /// Whether it has no condition, and so takes every call.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.env.is_empty() && self.header.is_empty()
    }

    /// Whether a call fulfils every condition. A call without an env fulfils none on variables;
    /// of a header that comes several times one value is enough.
    #[must_use]
    pub fn matches(&self, env: Option<&Env>, headers: &HeaderMap) -> bool {
        self.env.iter().all(|(name, glob)| {
            env.and_then(|env| env.get(name))
                .and_then(|value| str::from_utf8(value).ok())
                .is_some_and(|value| glob.matches(value))
        }) && self.header.iter().all(|(name, text)| {
            let mut values = headers.get_all(name.0.as_str()).iter();
            values.any(|value| *value == text.0)
        })
    }
}

/// The name of a request header, in lower case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct HeaderKey(String);

impl<'de> Deserialize<'de> for HeaderKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        HeaderName::from_bytes(String::deserialize(deserializer)?.as_bytes())
            .map(|name| Self(name.as_str().to_owned()))
            .map_err(|_| de::Error::custom("not a header's name; write one like x-region"))
    }
}

/// The value of a request header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderText(HeaderValue);

impl<'de> Deserialize<'de> for HeaderText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        HeaderValue::from_str(&String::deserialize(deserializer)?)
            .map(Self)
            .map_err(|_| de::Error::custom("not a header's value; write printable characters"))
    }
}

/// Where a member listens: `http://host:port` or `unix:/path`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum UpstreamUrl {
    /// A host name or address, and its port.
    Tcp {
        /// Without brackets.
        host: String,
        /// Never 0.
        port: u16,
    },
    /// The path of a Unix socket.
    Unix(PathBuf),
}

/// Why a text isn't the URL of a member.
#[derive(Debug, thiserror::Error)]
#[error("not a member's URL; write http://host:port or unix:/path")]
pub struct UpstreamUrlError;

/// The absolute path in a `unix:/path` or `unix:///path`.
#[must_use]
pub fn unix_path(text: &str) -> Option<PathBuf> {
    let path = text.strip_prefix("unix:")?;
    let path = path.strip_prefix("//").unwrap_or(path);
    path.starts_with('/').then(|| path.into())
}

impl FromStr for UpstreamUrl {
    type Err = UpstreamUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.starts_with("unix:") {
            return unix_path(text).map(Self::Unix).ok_or(UpstreamUrlError);
        }
        let uri: http::Uri = text.parse().map_err(|_| UpstreamUrlError)?;
        let plain = uri.scheme_str() == Some("http")
            && matches!(uri.path(), "" | "/")
            && uri.query().is_none()
            && !text.contains('@');
        let host = uri.host().ok_or(UpstreamUrlError)?;
        let port = uri.port_u16().unwrap_or(80);
        if !plain || host.is_empty() || port == 0 {
            return Err(UpstreamUrlError);
        }
        let host = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        Ok(Self::Tcp { host, port })
    }
}

impl fmt::Display for UpstreamUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "http://[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "http://{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl<'de> Deserialize<'de> for UpstreamUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::EnvString;

    fn when(text: &str) -> When {
        toml::from_str(text).unwrap()
    }

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs.iter();
        pairs
            .map(|&(name, value)| {
                let value = HeaderValue::from_static(value);
                (HeaderName::from_static(name), value)
            })
            .collect()
    }

    #[test]
    fn all_conditions_must_hold() {
        let when = when("env = { ENV_TYPE = \"prod*\" }\nheader = { X-Region = \"eu\" }");
        let production = EnvString::parse("ENV_TYPE=production").unwrap();
        let development = EnvString::parse("ENV_TYPE=development").unwrap();
        let eu = headers(&[("x-region", "us"), ("x-region", "eu")]);
        assert!(when.matches(Some(&production), &eu));
        assert!(!when.matches(Some(&development), &eu));
        assert!(!when.matches(None, &eu));
        assert!(!when.matches(Some(&production), &HeaderMap::new()));
        assert!(!when.matches(Some(&production), &headers(&[("x-region", "EU")])));
    }

    #[test]
    fn no_condition_takes_every_call() {
        assert!(when("").is_empty());
        assert!(when("").matches(None, &HeaderMap::new()));
    }

    #[test]
    fn a_variable_that_is_not_there_matches_no_glob() {
        let env = EnvString::parse("B=").unwrap();
        assert!(!when("env = { A = \"*\" }").matches(Some(&env), &HeaderMap::new()));
        assert!(when("env = { B = \"*\" }").matches(Some(&env), &HeaderMap::new()));
    }

    #[test]
    fn urls_of_members_are_read_and_shown() {
        for (text, shown) in [
            ("http://h", "http://h:80"),
            ("http://h:9001/", "http://h:9001"),
            ("http://[::1]:9001", "http://[::1]:9001"),
            ("unix:/run/w", "unix:/run/w"),
            ("unix:///run/w", "unix:/run/w"),
        ] {
            let url: UpstreamUrl = text.parse().unwrap();
            assert_eq!(url.to_string(), shown);
        }
        for text in [
            "h:1",
            "https://h:1",
            "http://h:0",
            "http://h/x",
            "http://u@h:1",
            "unix:w",
            "",
        ] {
            assert!(text.parse::<UpstreamUrl>().is_err(), "{text}");
        }
    }
}
