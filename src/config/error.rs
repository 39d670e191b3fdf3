//! What can be wrong with a configuration, and how it is told: place, reason, fix.

use std::{
    fmt, io,
    ops::Range,
    path::{Path, PathBuf},
};

use serde::de::{self, Expected, Unexpected};

use super::{Placed, keys, private, tree::Origin};

/// Why a configuration can't be used. Its text has several lines: what is wrong and where, the
/// line of the file, the fix. It never holds the value of a variable.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file can't be read.
    #[error("{}: can't read the configuration\n  fix: name a readable file of UTF-8 text", file.display())]
    Unreadable {
        /// As it was named.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something in it, in a flag or in a variable is wrong.
    #[error("{place}{wrong}{excerpt}\n  fix: {fix}", place = Prefix(.place))]
    Wrong {
        /// `file:line:column`, the flag, or the variable; empty where none of them is to blame.
        place: String,
        /// What is wrong.
        wrong: String,
        /// The line of the file with the place marked; empty without a file.
        excerpt: String,
        /// What to do.
        fix: String,
    },
}

struct Prefix<'t>(&'t str);

impl fmt::Display for Prefix<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            Ok(())
        } else {
            write!(f, "{}: ", self.0)
        }
    }
}

/// Reads the file.
pub(super) fn read_file(file: &Path) -> Result<String, ConfigError> {
    std::fs::read_to_string(file).map_err(|source| ConfigError::Unreadable {
        file: file.to_owned(),
        source,
    })
}

/// A step from a table or list to what is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Key(String),
    Index(usize),
}

impl Step {
    /// A step as `--set` writes it.
    pub(super) fn of(text: &str) -> Self {
        text.parse()
            .map_or_else(|_| Self::Key(text.to_owned()), Self::Index)
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) => f.write_str(key),
            Self::Index(index) => index.fmt(f),
        }
    }
}

/// Which half of a `key = value` is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum At {
    Key,
    Value,
}

/// Something wrong at a path of the tree; as serde's error it gathers its path on the way up.
#[derive(Debug)]
pub(super) struct Problem {
    /// From the innermost step out.
    steps: Vec<Step>,
    pub(super) at: At,
    fault: Fault,
}

#[derive(Debug)]
enum Fault {
    UnknownKey(&'static [&'static str]),
    MissingKey(&'static str),
    UnknownWord(String, &'static [&'static str]),
    /// A value that its type refuses. Our own types' texts read "reason; fix".
    WrongValue(String),
    /// What only the whole shows.
    Refused {
        reason: String,
        fix: String,
    },
}

impl Problem {
    const fn new(fault: Fault) -> Self {
        Self {
            steps: Vec::new(),
            at: At::Value,
            fault,
        }
    }

    /// A value at a path that doesn't go with the rest.
    pub(super) fn refused(path: &str, reason: impl Into<String>, fix: impl Into<String>) -> Self {
        Self {
            steps: path.rsplit('.').map(Step::of).collect(),
            at: At::Value,
            fault: Fault::Refused {
                reason: reason.into(),
                fix: fix.into(),
            },
        }
    }

    pub(super) fn no_such_item(step: &str, length: usize) -> Self {
        let reason = format!("the list has {length} items, counted from 0: there is no {step}");
        Self::refused(step, reason, format!("use an index from 0 to {length}"))
    }

    pub(super) fn below_a_value(step: &str) -> Self {
        let fix = "name a key of the configuration, like gateway.access_log";
        Self::refused(step, "what is above it is a value, not a table", fix)
    }

    /// Something wrong that no path of the tree is to blame for.
    pub(super) fn whole(reason: impl Into<String>, fix: impl Into<String>) -> Self {
        Self::new(Fault::Refused {
            reason: reason.into(),
            fix: fix.into(),
        })
    }

    pub(super) fn set_without_value() -> Self {
        let fix = "write it like --set gateway.access_log=off or --set backend.0.name=eu";
        Self::whole("not key=value", fix)
    }

    pub(super) fn workers_beside_backends(key: &str) -> Self {
        let fix = match key {
            "command" => {
                "leave the command out, or override the file's: \
                 --set 'backend.0.command=[\"worker\"]'"
            }
            _ => {
                "leave the flag out, or override the file's members: \
                 --set 'backend.0.urls=[\"http://127.0.0.1:9001\"]'"
            }
        };
        Self::whole(
            "it defines a backend, and the file has backends already",
            fix,
        )
    }

    pub(super) fn upstream_beside_command() -> Self {
        Self::whole(
            "a command after -- defines the backend already",
            "leave one of the two out",
        )
    }

    pub(super) fn flag_beside_backends(key: &str) -> Self {
        let reason = "it is meant for --upstream or the sample worker, and the file has backends";
        let fix = format!("write {key} into their tables, or use --set backend.0.{key}=…");
        Self::whole(reason, fix)
    }

    /// The same, one step further down.
    pub(super) fn below(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }

    /// From the root to what is wrong.
    pub(super) fn path(&self) -> impl Iterator<Item = &Step> {
        self.steps.iter().rev()
    }

    fn wrong(&self) -> String {
        let path = self.path_text();
        match &self.fault {
            Fault::UnknownKey(_) => format!("unknown key {path}"),
            Fault::MissingKey(key) if path.is_empty() => format!("missing key {key}"),
            Fault::MissingKey(key) => format!("missing key {path}.{key}"),
            Fault::UnknownWord(word, _) => format!("wrong value for {path}: {word:?}"),
            Fault::WrongValue(text) => {
                let reason = text
                    .split_once("; ")
                    .map_or(text.as_str(), |(what, _)| what);
                format!("wrong value for {path}: {reason}")
            }
            Fault::Refused { reason, .. } if path.is_empty() => reason.clone(),
            Fault::Refused { reason, .. } => format!("wrong value for {path}: {reason}"),
        }
    }

    fn fix(&self) -> String {
        let key = self.key();
        match &self.fault {
            Fault::UnknownKey(known) => {
                let Some((wrong, above)) = self.steps.split_first() else {
                    return String::new();
                };
                let owner = match above.iter().rev().map(Step::to_string).next() {
                    Some(_) => format!("Keys of [{}]", self.key_from(1)),
                    None => "Tables".to_owned(),
                };
                let hint = suggestion(&wrong.to_string(), known);
                format!("{hint}{owner}: {}", known.join(", "))
            }
            Fault::MissingKey(missing) => {
                let full = format!("{key}.{missing}");
                let takes = keys::takes(full.trim_start_matches('.')).unwrap_or("a value");
                format!("add {missing}: {takes}")
            }
            Fault::UnknownWord(word, known) => {
                format!("{}it can be {}", suggestion(word, known), known.join(", "))
            }
            Fault::WrongValue(text) => match text.split_once("; ") {
                Some((_, fix)) => fix.to_owned(),
                None => format!("write {}", keys::takes(&key).unwrap_or("another value")),
            },
            Fault::Refused { fix, .. } => fix.clone(),
        }
    }

    fn path_text(&self) -> String {
        let steps: Vec<String> = self.path().map(Step::to_string).collect();
        steps.join(".")
    }

    /// The path without the indices of lists.
    fn key(&self) -> String {
        self.key_from(0)
    }

    fn key_from(&self, innermost: usize) -> String {
        let steps = self.steps.iter().skip(innermost).rev();
        let keys: Vec<&str> = steps
            .filter_map(|step| match step {
                Step::Key(key) => Some(key.as_str()),
                Step::Index(_) => None,
            })
            .collect();
        keys.join(".")
    }
}

fn suggestion(wrong: &str, known: &[&str]) -> String {
    keys::nearest(wrong, known).map_or_else(String::new, |name| format!("did you mean {name}? "))
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.wrong())
    }
}

impl std::error::Error for Problem {}

impl de::Error for Problem {
    fn custom<T: fmt::Display>(text: T) -> Self {
        Self::new(Fault::WrongValue(text.to_string()))
    }

    fn invalid_type(unexpected: Unexpected<'_>, _expected: &dyn Expected) -> Self {
        let found = match unexpected {
            Unexpected::Map => "a table".to_owned(),
            Unexpected::Seq => "a list".to_owned(),
            other => other.to_string(),
        };
        Self::new(Fault::WrongValue(found))
    }

    fn invalid_value(unexpected: Unexpected<'_>, _expected: &dyn Expected) -> Self {
        Self::new(Fault::WrongValue(unexpected.to_string()))
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        Self::new(Fault::UnknownWord(variant.to_owned(), expected))
    }

    fn unknown_field(_field: &str, expected: &'static [&'static str]) -> Self {
        Self::new(Fault::UnknownKey(expected))
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(Fault::MissingKey(field))
    }
}

/// The file that the tree came from.
#[derive(Clone, Copy)]
pub(super) struct Source<'s> {
    pub(super) file: Option<&'s Path>,
    pub(super) text: &'s str,
}

impl Source<'_> {
    /// Tells a problem.
    pub(super) fn report(&self, (origin, problem): Placed) -> ConfigError {
        let holds_values = private::is_private(&problem.key());
        let (place, excerpt) = self.show(&origin, holds_values);
        let wrong = match holds_values {
            true => private::masked_message(&problem.wrong()),
            false => problem.wrong(),
        };
        ConfigError::Wrong {
            place,
            wrong,
            excerpt,
            fix: problem.fix(),
        }
    }

    /// Tells a breach of TOML's grammar.
    pub(super) fn syntax(&self, error: &toml::de::Error) -> ConfigError {
        let origin = error.span().map_or(Origin::Nowhere, Origin::File);
        // Which key the line belongs to isn't known.
        let (place, excerpt) = self.show(&origin, true);
        ConfigError::Wrong {
            place,
            wrong: format!("not TOML: {}", error.message().replace('\n', "; ")),
            excerpt,
            fix: "write it as https://toml.io says: [table], key = value, text in quotes"
                .to_owned(),
        }
    }

    /// The place, and the line with it; `holds_values`: of what must not be shown.
    fn show(&self, origin: &Origin, holds_values: bool) -> (String, String) {
        let file = self
            .file
            .map_or_else(String::new, |file| file.display().to_string());
        match origin {
            Origin::File(span) => {
                let mut spot = Spot::of(self.text, span);
                if holds_values || private::mentions_values(&spot.text) {
                    spot.text = private::masked(&spot.text);
                }
                let place = format!("{file}:{}:{}", spot.line, spot.column);
                (place, spot.excerpt())
            }
            Origin::Flag(flag) => (private::shown_flag(flag), String::new()),
            Origin::Variable(name) => ((*name).to_owned(), String::new()),
            Origin::Nowhere => (file, String::new()),
        }
    }
}

/// A place of a text: line and column count characters from 1.
struct Spot {
    line: usize,
    column: usize,
    text: String,
    marked: usize,
}

impl Spot {
    fn of(text: &str, span: &Range<usize>) -> Self {
        let before = text.get(..span.start).unwrap_or(text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let rest = text.get(line_start..).unwrap_or_default();
        let line_text = rest.lines().next().unwrap_or_default();
        let marked = text.get(span.clone()).unwrap_or_default();
        let marked = marked.lines().next().unwrap_or_default();
        Self {
            line: before.matches('\n').count() + 1,
            column: before.get(line_start..).unwrap_or_default().chars().count() + 1,
            text: line_text.to_owned(),
            marked: marked.chars().count().max(1),
        }
    }

    fn excerpt(&self) -> String {
        let number = self.line.to_string();
        let gutter = " ".repeat(number.len());
        let indent: String = self
            .text
            .chars()
            .take(self.column - 1)
            .map(|c| if c == '\t' { '\t' } else { ' ' })
            .collect();
        let marks = "^".repeat(self.marked);
        format!(
            "\n{gutter} |\n{number} | {}\n{gutter} | {indent}{marks}",
            self.text
        )
    }
}
