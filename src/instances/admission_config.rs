//! The `[admission]` table of the configuration.

use std::num::NonZeroU32;

use serde::{Deserialize, Deserializer, de};

use crate::{
    env::{Concurrency, WorkerSettings},
    facet::Framework,
};

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

/// How many calls of one env may run and wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallLimits {
    /// That run at once.
    pub concurrency: NonZeroU32,
    /// That wait beyond those.
    pub queue: NonZeroU32,
}

impl CallLimits {
    /// The same for a worker that runs one call at a time, whatever the env says (CONTRACT 5).
    #[must_use]
    pub const fn one_at_a_time(self) -> Self {
        Self {
            concurrency: NonZeroU32::MIN,
            ..self
        }
    }
}

/// The queue of a framework that serves one call at a time (CONTRACT 5).
const ONE_AT_A_TIME_QUEUE: NonZeroU32 = at_least_one(30);

impl AdmissionConfig {
    /// The limits of an env with these settings, in workers with this framework: what the env says,
    /// else the framework's, else the configured ones; never over the ceilings.
    #[must_use]
    pub fn limits(&self, framework: &Framework, settings: &WorkerSettings) -> CallLimits {
        let (concurrency, queue) = if framework.one_call_at_a_time() {
            (CallLimit::AtMost(NonZeroU32::MIN), ONE_AT_A_TIME_QUEUE)
        } else {
            (self.concurrency, self.queue)
        };
        let concurrency = match settings.concurrency {
            Some(Concurrency::AtMost(calls)) => CallLimit::AtMost(calls),
            Some(Concurrency::Unlimited) => CallLimit::Unlimited,
            None => concurrency,
        };
        let concurrency = match concurrency {
            CallLimit::AtMost(calls) => calls.min(self.max_concurrency),
            CallLimit::Unlimited => self.max_concurrency,
        };
        let queue = settings.queue.unwrap_or(queue).min(self.max_queue);
        CallLimits { concurrency, queue }
    }

    /// The limits of calls without an env, which only pass through: the ceilings. Their worker has
    /// limits of its own.
    #[must_use]
    pub const fn limits_without_env(&self) -> CallLimits {
        CallLimits {
            concurrency: self.max_concurrency,
            queue: self.max_queue,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::EnvString;

    fn limits(framework: &str, env: &str) -> (u32, u32) {
        let settings = WorkerSettings::read(&EnvString::parse(env).unwrap()).unwrap();
        let framework = framework.parse().unwrap();
        let limits = AdmissionConfig::default().limits(&framework, &settings);
        (limits.concurrency.get(), limits.queue.get())
    }

    #[test]
    fn the_env_overrides_the_framework_which_overrides_the_configuration() {
        assert_eq!(limits("0.12.0", ""), (10, 20));
        assert_eq!(limits("0.11.0", ""), (1, 30));
        assert_eq!(limits("0.11.0", "WORKER_REQUEST_CONCURRENCY=4"), (4, 30));
        assert_eq!(limits("0.12.0", "WORKER_MAX_QUEUE_LENGTH=5"), (10, 5));
    }

    #[test]
    fn no_env_lifts_the_ceilings() {
        assert_eq!(
            limits("0.12.0", "WORKER_REQUEST_CONCURRENCY=null"),
            (1024, 20)
        );
        assert_eq!(
            limits("0.12.0", "WORKER_REQUEST_CONCURRENCY=5000"),
            (1024, 20)
        );
        assert_eq!(limits("0.12.0", "WORKER_MAX_QUEUE_LENGTH=5000"), (10, 1024));
    }
}
