//! The `[admission]` table of the configuration.

use std::num::NonZeroU32;

use serde::{Deserialize, Deserializer, de};

/// How many calls an env may have under way and waiting (CONTRACT 6).
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub struct AdmissionConfig {
    /// Calls of one env that run at once, where neither framework nor env says otherwise.
    pub concurrency: CallLimit,
    /// Calls of one env that wait beyond those.
    pub queue: NonZeroU32,
    /// What no env lifts its concurrency over; `null` in an env means this.
    pub max_concurrency: NonZeroU32,
    /// What no env lifts its queue over.
    pub max_queue: NonZeroU32,
}

const fn at_least_one(number: u32) -> NonZeroU32 {
    match NonZeroU32::new(number) {
        Some(number) => number,
        None => NonZeroU32::MIN,
    }
}

impl Default for AdmissionConfig {
    fn default() -> Self {
        Self {
            concurrency: CallLimit::AtMost(at_least_one(10)),
            queue: at_least_one(20),
            max_concurrency: at_least_one(1024),
            max_queue: at_least_one(1024),
        }
    }
}

/// A number of calls from 1, or `"null"`: no limit but the ceiling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CallLimit {
    /// So many.
    AtMost(NonZeroU32),
    /// As many as the ceiling allows.
    Unlimited,
}

impl<'de> Deserialize<'de> for CallLimit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Number(u32),
            Text(String),
        }
        let wrong = || {
            de::Error::custom(
                "not a number of calls; write a whole number from 1, or \"null\" for no limit",
            )
        };
        match Form::deserialize(deserializer).map_err(|_| wrong())? {
            Form::Number(number) => NonZeroU32::new(number).map(Self::AtMost).ok_or_else(wrong),
            Form::Text(text) if text == "null" => Ok(Self::Unlimited),
            Form::Text(_) => Err(wrong()),
        }
    }
}
