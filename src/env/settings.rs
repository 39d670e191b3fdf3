//! The variables by which an env steers the gateway (CONTRACT 6).
//!
//! `WORKER_USE_SINGLE_THREAD` isn't among them: only the worker reads it, and the gateway passes
//! it on unread, whatever its value.

use std::{
    num::{IntErrorKind, NonZeroU32},
    str,
};

use thiserror::Error;

use super::Env;

const CONCURRENCY: &str = "WORKER_REQUEST_CONCURRENCY";
const QUEUE: &str = "WORKER_MAX_QUEUE_LENGTH";

/// What an env says about its own limits. What it doesn't say is for the framework's defaults, and
/// what it says is cut by the configured ceilings; neither is known here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct WorkerSettings {
    /// `WORKER_REQUEST_CONCURRENCY`: how many calls run at once.
    pub concurrency: Option<Concurrency>,
    /// `WORKER_MAX_QUEUE_LENGTH`: how many more may wait.
    pub queue: Option<NonZeroU32>,
}

/// How many calls of an env may run at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Concurrency {
    /// This many.
    AtMost(NonZeroU32),
    /// As many as the ceiling allows.
    Unlimited,
}

/// A setting whose value isn't one: the sender's to mend (error 1104). Never shows the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SettingError {
    /// `WORKER_REQUEST_CONCURRENCY`.
    #[error(
        "{CONCURRENCY} is neither a whole number from 1 nor `null`; set it to one of these, or \
         remove it for the default"
    )]
    Concurrency,
    /// `WORKER_MAX_QUEUE_LENGTH`.
    #[error("{QUEUE} is not a whole number from 1; set it to one, or remove it for the default")]
    Queue,
}

impl WorkerSettings {
    /// Reads the settings of an env.
    ///
    /// # Errors
    ///
    /// A value is neither a whole number from 1 nor, for the concurrency, `null`.
    pub fn read(env: &Env) -> Result<Self, SettingError> {
        let concurrency = match env.get(CONCURRENCY) {
            None => None,
            Some(b"null") => Some(Concurrency::Unlimited),
            Some(value) => {
                let limit = whole_number(value).ok_or(SettingError::Concurrency)?;
                Some(Concurrency::AtMost(limit))
            }
        };
        let queue = match env.get(QUEUE) {
            None => None,
            Some(value) => Some(whole_number(value).ok_or(SettingError::Queue)?),
        };
        Ok(Self { concurrency, queue })
    }
}

/// A number from 1 with an optional sign and outer spaces. One that is too large is read as the
/// largest: a ceiling far below applies to both.
fn whole_number(value: &[u8]) -> Option<NonZeroU32> {
    let number = str::from_utf8(value).ok()?.trim();
    let digits = number.strip_prefix('+').unwrap_or(number);
    // Before parsing, which reports too large a number without having seen all of it.
    if !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    match digits.parse() {
        Ok(number) => Some(number),
        Err(error) if *error.kind() == IntErrorKind::PosOverflow => Some(NonZeroU32::MAX),
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, value: &[u8]) -> Result<WorkerSettings, SettingError> {
        let env = Env::from_variables([(name.as_bytes(), value)]).unwrap();
        WorkerSettings::read(&env)
    }

    #[test]
    fn an_env_that_says_nothing_has_no_settings() {
        assert_eq!(read("A", b"1"), Ok(WorkerSettings::default()));
    }

    #[test]
    fn both_are_read() {
        let variables = [(CONCURRENCY, "3"), (QUEUE, "7")];
        let env = Env::from_variables(variables).unwrap();
        let settings = WorkerSettings {
            concurrency: NonZeroU32::new(3).map(Concurrency::AtMost),
            queue: NonZeroU32::new(7),
        };
        assert_eq!(WorkerSettings::read(&env), Ok(settings));
    }

    #[test]
    fn whole_numbers_from_one_are_settings() {
        for (value, expected) in [
            ("1", 1),
            ("+30", 30),
            (" 5\t", 5),
            ("007", 7),
            ("4294967295", u32::MAX),
            ("4294967296", u32::MAX),
            ("+99999999999999999999999999", u32::MAX),
        ] {
            let expected = NonZeroU32::new(expected);
            let concurrency = read(CONCURRENCY, value.as_bytes()).unwrap().concurrency;
            assert_eq!(concurrency, expected.map(Concurrency::AtMost), "{value:?}");
            assert_eq!(
                read(QUEUE, value.as_bytes()).unwrap().queue,
                expected,
                "{value:?}"
            );
        }
    }

    #[test]
    fn null_lifts_the_concurrency_and_nothing_else() {
        let unlimited = read(CONCURRENCY, b"null").unwrap().concurrency;
        assert_eq!(unlimited, Some(Concurrency::Unlimited));
        assert_eq!(read(QUEUE, b"null"), Err(SettingError::Queue));
    }

    #[test]
    fn anything_else_is_refused() {
        let values = [
            "",
            " ",
            "0",
            "+0",
            "-0",
            "000",
            "-1",
            "1.0",
            "1e3",
            "1_000",
            "+",
            "++1",
            "+-1",
            "+ 1",
            "1 2",
            "0x10",
            "NULL",
            "Null",
            " null",
            "null ",
            "ten",
            "99999999999x",
            "١",
        ];
        for value in values.map(str::as_bytes).into_iter().chain([&b"1\xff"[..]]) {
            assert_eq!(
                read(CONCURRENCY, value),
                Err(SettingError::Concurrency),
                "{value:?}"
            );
            assert_eq!(read(QUEUE, value), Err(SettingError::Queue), "{value:?}");
        }
    }

    #[test]
    fn an_error_names_the_variable_and_the_fix_but_not_the_value() {
        for name in [CONCURRENCY, QUEUE] {
            let message = read(name, b"hush").unwrap_err().to_string();
            assert!(
                message.starts_with(name) && message.contains("set it to"),
                "{message}"
            );
            assert!(!message.contains("hush"));
        }
    }

    #[test]
    fn the_worker_s_own_switch_is_not_read() {
        let settings = read("WORKER_USE_SINGLE_THREAD", b"neither true nor false");
        assert_eq!(settings, Ok(WorkerSettings::default()));
    }
}
