//! The code that a call names in its recipe header, as far as it may get into a command.

use std::{fmt, str::FromStr};

use regex::bytes::{Regex, RegexBuilder};
use serde::{Deserialize, Deserializer, de};

const MAX_REV_BYTES: usize = 128;

/// What `{rev}` stands for: `[A-Za-z0-9._-]{1,128}`, so that it is one word for any program and one
/// step of a path. For the same reason neither `.` nor `..`, nor what a program would read as an
/// option.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Rev(Box<str>);

/// Why a text can't be a [`Rev`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a code's name: 1 to 128 of A-Z a-z 0-9 . _ -, not beginning with -, not . or ..")]
pub struct RevError;

impl Rev {
    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Rev {
    type Err = RevError;

    fn from_str(text: &str) -> Result<Self, RevError> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let misread = text.starts_with('-') || matches!(text, "." | "..");
        if misread || !(1..=MAX_REV_BYTES).contains(&text.len()) || !text.bytes().all(allowed) {
            return Err(RevError);
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Display for Rev {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// A regular expression whose one capture group takes the code out of a recipe header. It matches
/// anywhere, unless it is anchored; `\w`, `\d` and `\s` stand for ASCII.
#[derive(Debug, Clone)]
pub struct CodePattern(Regex);

impl CodePattern {
    /// The code that a header names; none where the expression doesn't match, or takes what can't
    /// be a [`Rev`].
    #[must_use]
    pub fn capture(&self, header: &[u8]) -> Option<Rev> {
        let taken = self.0.captures(header)?.get(1)?.as_bytes();
        str::from_utf8(taken).ok()?.parse().ok()
    }
}

impl PartialEq for CodePattern {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl<'de> Deserialize<'de> for CodePattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let pattern = RegexBuilder::new(&text)
            .unicode(false)
            .build()
            .map_err(|error| de::Error::custom(format!("not a regular expression: {error}")))?;
        if pattern.captures_len() != 2 {
            let text = "write one capture group, as in \"/([0-9a-f]+)\\.zip$\"";
            return Err(de::Error::custom(text));
        }
        Ok(Self(pattern))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Config {
        code: CodePattern,
    }

    #[test]
    fn a_rev_is_one_harmless_word() {
        for text in ["a", "1.2_3-b", ".a", "...", &"x".repeat(128)] {
            assert_eq!(text.parse::<Rev>().unwrap().as_str(), text);
        }
        for text in [
            "",
            ".",
            "..",
            "-a",
            "a/b",
            "a b",
            "ž",
            "a\n",
            "a$b",
            &"x".repeat(129),
        ] {
            assert_eq!(text.parse::<Rev>(), Err(RevError), "{text}");
        }
    }

    #[test]
    fn the_group_takes_the_code_out_of_the_header() {
        let config: Config = toml::from_str(r#"code = '/(\w+)\.zip$'"#).unwrap();
        let capture = |header: &str| config.code.capture(header.as_bytes());
        assert_eq!(capture("https://h/a/c0de.zip"), "c0de".parse().ok());
        assert_eq!(capture("https://h/a/c0de.tar"), None);
        let config: Config = toml::from_str("code = '^h:(.*)$'").unwrap();
        assert_eq!(config.code.capture(b"h:.."), None);
        assert_eq!(config.code.capture(b"h:\xff"), None);
    }

    #[test]
    fn mistakes_are_told() {
        for (text, expected) in [
            ("code = '('", "not a regular expression"),
            ("code = 'abc'", "one capture group"),
            ("code = '(a)(b)'", "one capture group"),
        ] {
            let error = toml::from_str::<Config>(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
