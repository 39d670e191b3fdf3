//! The gateway's own log: to standard error, so that standard output stays the access log's.

use std::{
    io::{self, IsTerminal, Write, stderr},
    sync::OnceLock,
    time::Duration,
};

use prometheus::IntCounter;
use serde::Deserialize;
use tracing_subscriber::EnvFilter;

use super::LineWriter;

/// How long the reader of the log may take for the last lines.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Where the lines go once a thread of their own writes them.
static BEHIND: OnceLock<LineWriter> = OnceLock::new();

/// The `[log]` table of the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub struct Config {
    /// What is logged: a level (`error`, `warn`, `info`, `debug`, `trace`) or directives such as
    /// `info,envgate::backend=debug`.
    pub level: String,
    /// The form of a line.
    pub format: Format,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            level: "info".to_owned(),
            format: Format::Text,
        }
    }
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// For people.
    Text,
    /// A JSON object a line.
    Json,
}

/// Why the log can't be set up.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The directives can't be read.
    #[error(
        "log.level isn't a level or a list of directives; write info, or info,envgate::backend=debug"
    )]
    Level(#[source] tracing_subscriber::filter::ParseError),
    /// A word in it is no level.
    #[error("log.level has a word that is no level; write info, or info,envgate::backend=debug")]
    Word,
    /// Something else has set up a log in this process.
    #[error("a log is set up already")]
    Twice(#[source] tracing_subscriber::util::TryInitError),
}

impl Config {
    /// Whether `level` can be read, checked before anything starts.
    ///
    /// # Errors
    /// Where it can't.
    pub fn check(&self) -> Result<(), LogError> {
        self.filter().map(|_| ())
    }

    /// A bare word that is no level would be taken for the name of a module, and nothing be logged.
    fn filter(&self) -> Result<EnvFilter, LogError> {
        const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];
        let is_level = |word: &str| LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word));
        let mut directives = self.level.split(',').map(str::trim);
        if directives.any(|word| !word.contains(['=', '[', ':']) && !is_level(word)) {
            return Err(LogError::Word);
        }
        EnvFilter::try_new(&self.level).map_err(LogError::Level)
    }
}

/// Sets up the log for the whole process.
///
/// # Errors
/// Where the level can't be read, or a log is set up already.
pub fn init(config: &Config) -> Result<(), LogError> {
    use tracing_subscriber::util::SubscriberInitExt;

    let filter = config.filter()?;
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| Line)
        .with_ansi(stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none());
    match config.format {
        Format::Text => lines.finish().try_init(),
        Format::Json => lines.json().flatten_event(true).finish().try_init(),
    }
    .map_err(LogError::Twice)
}

/// Has a thread write the log from now on, so that neither calls nor workers ever wait for its
/// reader. `dropped` counts the lines that found no room. Not from the start, as the watchdog is to
/// have no second thread.
///
/// # Errors
/// Where the thread can't be started.
pub fn write_behind(dropped: IntCounter) -> io::Result<WriteBehind> {
    let lines = LineWriter::start(stderr(), dropped)?;
    if let Err(second) = BEHIND.set(lines) {
        second.close(LAST_LINES);
    }
    Ok(WriteBehind(()))
}

/// The log as a thread writes it; dropped, the last lines are written and further ones lost.
#[derive(Debug)]
#[must_use]
pub struct WriteBehind(());

impl Drop for WriteBehind {
    fn drop(&mut self) {
        close();
    }
}

/// Writes the last lines, for a program that is about to end.
pub fn close() {
    if let Some(lines) = BEHIND.get() {
        lines.close(LAST_LINES);
    }
}

/// One line of the log, which comes in one piece.
struct Line;

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match BEHIND.get() {
            Some(lines) => lines.line(|buffer| buffer.extend_from_slice(bytes)),
            None => stderr().write_all(bytes)?,
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_level_is_refused_and_directives_pass() {
        let check = |level: &str| {
            Config {
                level: level.to_owned(),
                ..Config::default()
            }
            .check()
        };
        for level in [
            "info",
            "WARN",
            "off",
            "info,envgate::backend=debug",
            "envgate=trace, warn",
        ] {
            check(level).unwrap();
        }
        for level in ["wrn", "", "info,wrn", "envgate=loud"] {
            assert!(check(level).is_err(), "{level:?}");
        }
    }
}
