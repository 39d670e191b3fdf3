//! Writing to stdout and stderr.

use std::{
    io::{self, IsTerminal, Write},
    process::ExitCode,
};

use anyhow::Context;

use crate::config::ConfigError;

const RUN_FAILED: u8 = 1;
const USAGE: u8 = 2;

/// A wrong argument that clap can't know to be wrong.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct UsageError(pub(super) String);

/// Writes data to stdout. A reader that has gone away wants no more, and that is all right.
pub(super) fn print(data: &[u8]) -> anyhow::Result<()> {
    let mut stdout = io::stdout().lock();
    let written = stdout.write_all(data).and_then(|()| stdout.flush());
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => written.context("can't write to stdout"),
    }
}

/// Tells why the program ends, cause by cause, and with which code: 2 where the command line or the
/// configuration is wrong, else 1.
#[must_use]
pub fn fail(error: &anyhow::Error) -> ExitCode {
    let mut text = format!("error: {error}\n");
    for cause in error.chain().skip(1) {
        text.push_str(&format!("  caused by: {cause}\n"));
    }
    // Where even stderr is closed, the exit code is all that is left to say.
    if io::stderr().write_all(text.as_bytes()).is_err() {
        return ExitCode::from(RUN_FAILED);
    }
    let is_usage = error
        .chain()
        .any(|cause| cause.is::<ConfigError>() || cause.is::<UsageError>());
    ExitCode::from(if is_usage { USAGE } else { RUN_FAILED })
}

/// Marks up text for a terminal, and leaves it plain elsewhere and where `NO_COLOR` is set.
#[derive(Debug, Clone, Copy)]
pub(super) struct Style {
    on: bool,
}

impl Style {
    /// No marks.
    pub(super) const PLAIN: Self = Self { on: false };

    /// What stdout takes.
    pub(super) fn of_stdout() -> Self {
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        if no_color {
            return Self::PLAIN;
        }
        Self {
            on: io::stdout().is_terminal(),
        }
    }

    pub(super) fn bold(self, text: &str) -> String {
        self.mark("1", text)
    }

    pub(super) fn warning(self, text: &str) -> String {
        self.mark("33", text)
    }

    fn mark(self, code: &str, text: &str) -> String {
        if self.on && !text.is_empty() {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }
}

/// Lines of cells, each column as wide as its widest cell. The last column may hold marks.
pub(super) fn aligned<const N: usize>(rows: &[[String; N]]) -> String {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (width, cell) in widths.iter().zip(row) {
            line.push_str(&format!("{cell:<width$}  "));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// A text of others for a terminal: control characters escaped.
pub(super) fn shown(text: &str) -> String {
    let escape = |c: char| {
        if c.is_control() {
            c.escape_default().to_string()
        } else {
            c.to_string()
        }
    };
    text.chars().map(escape).collect()
}
