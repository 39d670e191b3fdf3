//! Which dialect a worker speaks, and what its framework can do (CONTRACT 5).

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, de};

/// How a facet call is written on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Dialect {
    /// The envelope in `POST /`.
    Legacy,
    /// `POST /{facet}/{method}`.
    Modern,
}

impl Dialect {
    /// The name that configuration, logs and metrics use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Legacy => "legacy",
            Self::Modern => "modern",
        }
    }
}

impl FromStr for Dialect {
    type Err = FrameworkError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "legacy" => Ok(Self::Legacy),
            "modern" => Ok(Self::Modern),
            _ => Err(FrameworkError::Dialect),
        }
    }
}

/// The version of the framework inside a worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Framework(semver::Version);

impl Framework {
    /// The framework assumed where none is named: the first with the contract's concurrency.
    #[must_use]
    pub const fn assumed() -> Self {
        Self(semver::Version::new(0, 12, 0))
    }

    /// What a worker with this framework speaks unless it is told otherwise: the envelope before
    /// 0.11.0, the new API since.
    #[must_use]
    pub fn default_dialect(&self) -> Dialect {
        if self.0 < semver::Version::new(0, 11, 0) {
            Dialect::Legacy
        } else {
            Dialect::Modern
        }
    }

    /// Whether it serves one call at a time: all up to and including 0.11.0 do.
    #[must_use]
    pub fn one_call_at_a_time(&self) -> bool {
        self.0 <= semver::Version::new(0, 11, 0)
    }
}

impl fmt::Display for Framework {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Framework {
    type Err = FrameworkError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        semver::Version::parse(text)
            .map(Self)
            .map_err(FrameworkError::Version)
    }
}

impl<'de> Deserialize<'de> for Framework {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

/// Why a framework or dialect isn't one.
#[derive(Debug, thiserror::Error)]
pub enum FrameworkError {
    /// Not a version.
    #[error("not a framework version: {0}; write it like 0.12.0")]
    Version(semver::Error),
    /// Not a dialect.
    #[error("not a dialect: write legacy or modern")]
    Dialect,
}
