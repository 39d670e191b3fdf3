//! What a backend is configured to be.

use std::{collections::BTreeMap, fmt, path::PathBuf, str::FromStr, time::Duration};

use http::{HeaderMap, HeaderName, HeaderValue};
use serde::{Deserialize, Deserializer, de};

use super::{process::ProcessConfig, table::Table};
use crate::{
    env::{Env, Glob},
    facet::{Dialect, Framework},
};

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
