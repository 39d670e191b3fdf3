//! The worker's facets.

use std::{process, time::Duration};

use serde::{Serialize, de::DeserializeOwned};
use serde_json::{
    json,
    value::{RawValue, to_raw_value},
};
use tokio::time::sleep;

use super::{
    condition::{Condition, MOST_MIB},
    dialect::{Call, Vars},
    serve::State,
    sessions::Sessions,
};
use crate::env::EnvString;

const LONGEST_SLEEP_MS: u64 = 60_000;
const MOST_LOGS: usize = 1_000;

/// What came of a call, free of any dialect.
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) outcome: Outcome,
    pub(super) logs: Vec<Log>,
    /// The session that the call used or started.
    pub(super) session: Option<String>,
}

#[derive(Debug)]
pub(super) enum Outcome {
    Returned(Box<RawValue>),
    Thrown(Exception),
    /// The framework itself gave up.
    Crashed(Exception),
}

impl Default for Outcome {
    fn default() -> Self {
        Self::Returned(RawValue::NULL.to_owned())
    }
}

#[derive(Debug)]
pub(super) struct Exception {
    pub(super) class: &'static str,
    pub(super) message: String,
    pub(super) known: bool,
}

/// An entry of the call's log.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Log {
    time: String,
    level: &'static str,
    message: String,
    context: Option<()>,
}

/// Calls a facet's method.
pub(super) async fn run(call: &Call, state: &State) -> Answer {
    let result = match (call.facet.as_str(), call.method.as_str()) {
        ("EchoFacet", "Echo") => call.echo(),
        ("EnvFacet", "Digest") => call.digest(),
        ("TimeFacet", "Sleep") => call.sleep().await,
        ("FailFacet", "Throw") => call.throw("System.Exception", false),
        ("FailFacet", "ThrowKnown") => call.throw("SampleWorker.KnownException", true),
        ("FailFacet", "Crash") => Ok(Answer {
            outcome: Outcome::Crashed(exception("System.Exception", "crashed as it was asked to")),
            ..Answer::default()
        }),
        ("LogFacet", "Write") => call.log(),
        ("SessionFacet", "Count") => call.count(&state.sessions),
        ("HealthFacet", "Ail") => {
            state.condition.ail();
            Ok(Answer::default())
        }
        ("ProcessFacet", "Pid") => returned(&process::id()),
        ("ProcessFacet", "Exit") => call.exit(),
        ("MemoryFacet", "Hold") => call.hold(&state.condition),
        (facet, method) => Err(not_found(facet, method)),
    };
    result.unwrap_or_else(|exception| Answer {
        outcome: Outcome::Thrown(exception),
        ..Answer::default()
    })
}

fn exception(class: &'static str, message: impl Into<String>) -> Exception {
    Exception {
        class,
        message: message.into(),
        known: false,
    }
}

fn not_found(facet: &str, method: &str) -> Exception {
    let facets = [
        "EchoFacet",
        "EnvFacet",
        "TimeFacet",
        "FailFacet",
        "LogFacet",
        "SessionFacet",
        "HealthFacet",
        "ProcessFacet",
        "MemoryFacet",
    ];
    if facets.contains(&facet) {
        let message = format!("Class '{facet}' doesn't have public method called '{method}'.");
        exception("Unisave.Facets.MethodSearchException", message)
    } else {
        let message = format!("Facet '{facet}' was not found.");
        exception("Unisave.Facets.FacetSearchException", message)
    }
}

fn returned(value: &impl Serialize) -> Result<Answer, Exception> {
    let value =
        to_raw_value(value).map_err(|error| exception("System.Exception", error.to_string()))?;
    Ok(Answer {
        outcome: Outcome::Returned(value),
        ..Answer::default()
    })
}

impl Call {
    fn echo(&self) -> Result<Answer, Exception> {
        let [value] = self.arguments.as_slice() else {
            return Err(self.wrong_arguments("x"));
        };
        returned(value)
    }

    fn digest(&self) -> Result<Answer, Exception> {
        let [name] = self.arguments("name")?;
        let name: String = self.argument(name, "name")?;
        let digest = |value: &[u8]| {
            let hex = blake3::hash(value).to_hex();
            hex.chars().take(12).collect::<String>()
        };
        let digest = match &self.vars {
            Vars::Own => std::env::var_os(&name).map(|value| digest(value.as_encoded_bytes())),
            Vars::Text(text) => EnvString::parse(text)
                .map_err(|error| exception("System.ArgumentException", error.to_string()))?
                .get(&name)
                .map(digest),
        };
        returned(&json!({ "name": name, "set": digest.is_some(), "digest": digest }))
    }

    async fn sleep(&self) -> Result<Answer, Exception> {
        let [ms] = self.arguments("ms")?;
        let ms: u64 = self.argument(ms, "ms")?;
        if ms > LONGEST_SLEEP_MS {
            let message = "TimeFacet.Sleep takes at most 60000 milliseconds";
            return Err(exception("System.ArgumentOutOfRangeException", message));
        }
        sleep(Duration::from_millis(ms)).await;
        Ok(Answer::default())
    }

    fn throw(&self, class: &'static str, known: bool) -> Result<Answer, Exception> {
        let [message] = self.arguments("message")?;
        Err(Exception {
            class,
            message: self.argument(message, "message")?,
            known,
        })
    }

    fn log(&self) -> Result<Answer, Exception> {
        let [message, count] = self.arguments("message, count")?;
        let message: String = self.argument(message, "message, count")?;
        let count: usize = self.argument(count, "message, count")?;
        if count > MOST_LOGS {
            let message = "LogFacet.Write writes at most 1000 entries";
            return Err(exception("System.ArgumentOutOfRangeException", message));
        }
        let log = Log {
            time: jiff::Timestamp::now().to_string(),
            level: "info",
            message,
            context: None,
        };
        Ok(Answer {
            logs: vec![log; count],
            ..Answer::default()
        })
    }

    fn count(&self, sessions: &Sessions) -> Result<Answer, Exception> {
        let (id, count) = sessions
            .count(self.session.as_deref())
            .map_err(|error| exception("System.Exception", error.to_string()))?;
        let mut answer = returned(&count)?;
        answer.session = Some(id);
        Ok(answer)
    }

    fn exit(&self) -> Result<Answer, Exception> {
        let [code] = self.arguments("code")?;
        process::exit(self.argument(code, "code")?)
    }

    fn hold(&self, condition: &Condition) -> Result<Answer, Exception> {
        let [mib] = self.arguments("mib")?;
        let mib: usize = self.argument(mib, "mib")?;
        if mib > MOST_MIB {
            let message = "MemoryFacet.Hold holds at most 1024 MiB";
            return Err(exception("System.ArgumentOutOfRangeException", message));
        }
        condition.hold(mib);
        Ok(Answer::default())
    }

    fn arguments<const N: usize>(&self, names: &str) -> Result<&[Box<RawValue>; N], Exception> {
        let arguments = self.arguments.as_slice();
        arguments
            .try_into()
            .map_err(|_| self.wrong_arguments(names))
    }

    fn argument<T: DeserializeOwned>(&self, raw: &RawValue, names: &str) -> Result<T, Exception> {
        serde_json::from_str(raw.get()).map_err(|_| self.wrong_arguments(names))
    }

    fn wrong_arguments(&self, names: &str) -> Exception {
        let message = format!("{}.{} takes ({names})", self.facet, self.method);
        exception("System.ArgumentException", message)
    }
}
