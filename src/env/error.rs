//! Why a set of variables can't be an env.

use thiserror::Error;

use super::size::{MAX_ENV_BYTES, MAX_STRING_BYTES};

/// The longest part of a name that is shown: names come from clients and have no bound of their
/// own, while an error goes into an answer and into the log.
const MAX_SHOWN_CHARS: usize = 128;

/// Why variables can't be an env, or not one that a process can be given. All are the sender's to
/// mend (error 1104); none shows a value.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EnvError {
    /// The text form holds a NUL, which ends a string for the kernel.
    #[error("line {line} of the env has a NUL character, which no process can be given; remove it")]
    Nul {
        /// Counted from 1; `\r\n`, `\r` and `\n` end a line.
        line: usize,
    },
    /// The name or the value of a variable holds a NUL.
    #[error(
        "env variable {name:?} has a NUL in its name or value, which no process can be given; \
         remove it"
    )]
    NulInVariable {
        /// The variable, as far as it is text.
        name: String,
    },
    /// One variable is longer than the kernel takes.
    #[error(
        "env variable {name:?} takes {bytes} bytes with its name, but a process can be given \
         {MAX_STRING_BYTES} at most; shorten it or pass it another way"
    )]
    StringTooLong {
        /// The variable, as far as it is text.
        name: String,
        /// Name, `=`, value and closing NUL.
        bytes: usize,
    },
    /// All variables together are more than the gateway gives to a process.
    #[error(
        "the env takes {bytes} bytes, but {MAX_ENV_BYTES} is the limit (8 are added for each \
         variable, as the kernel does); remove or shorten variables"
    )]
    TooLarge {
        /// As `Env::size` counts.
        bytes: usize,
    },
}

/// The name of a variable for people: what isn't UTF-8 is replaced, what is very long is cut.
#[must_use]
pub fn shown_name(key: &[u8]) -> String {
    let name = String::from_utf8_lossy(key);
    let mut chars = name.chars();
    let mut shown: String = chars.by_ref().take(MAX_SHOWN_CHARS).collect();
    if chars.next().is_some() {
        shown.push('…');
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_shown_as_far_as_it_is_text_and_short() {
        assert_eq!(shown_name(b"A\xffB"), "A\u{fffd}B");
        assert_eq!(shown_name(&[b'x'; 128]), "x".repeat(128));
        assert_eq!(shown_name(&[b'x'; 129]), format!("{}…", "x".repeat(128)));
    }

    #[test]
    fn messages_escape_what_would_break_a_log_line() {
        let error = EnvError::NulInVariable {
            name: "A\nB\0".to_owned(),
        };
        let message = error.to_string();
        assert!(message.contains(r#""A\nB\0""#), "{message}");
        assert!(!message.contains(char::is_control), "{message}");
    }
}
