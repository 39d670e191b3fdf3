//! The error table (CONTRACT 7): every way in which the gateway itself answers a call.

use std::{borrow::Cow, error::Error, fmt, time::Duration};

use bytes::Bytes;
use http::StatusCode;

use super::{answer::AnswerError, call::DecodeError, json::push_json_string};

/// How long a client is told to wait where nothing better is known.
const DEFAULT_RETRY_AFTER: Duration = Duration::from_secs(1);

/// A row of the table. The numbers are the contract: clients branch on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum ErrorNumber {
    /// The gateway's own fault.
    Internal = 1,
    /// The gateway is shutting down.
    ShuttingDown = 1000,
    /// The body isn't valid JSON.
    InvalidJson = 1100,
    /// `method` isn't `facet-call`.
    InvalidMethod = 1101,
    /// A field is missing, doubled or of the wrong type.
    InvalidField = 1102,
    /// The body is over the limit.
    BodyTooLarge = 1103,
    /// The env is invalid.
    InvalidEnv = 1104,
    /// The client sent its body too slowly.
    SlowBody = 1105,
    /// No such route.
    NoRoute = 1106,
    /// No such registered env.
    NoRegisteredEnv = 1107,
    /// A kind of modern request that the backend's dialect doesn't have.
    UnknownKind = 1108,
    /// The env's queue is full.
    QueueFull = 2000,
    /// Waited too long in the queue.
    QueueTimeout = 2001,
    /// No room for another instance: all are in use.
    NoRoom = 2002,
    /// The gateway is overloaded.
    Overloaded = 2003,
    /// Missing recipe URL: a worker's answer.
    MissingRecipe = 3000,
    /// The instance failed to start.
    StartFailed = 3001,
    /// Its start was cancelled by shutdown.
    StartCancelled = 3002,
    /// Its start took too long.
    StartTimeout = 3003,
    /// The backend is unreachable or gone.
    BackendUnreachable = 4000,
    /// The backend's answer is not one.
    InvalidAnswer = 4001,
    /// The backend took too long.
    BackendTimeout = 4002,
    /// The backend's answer is over the limit.
    AnswerTooLarge = 4003,
    /// No backend serves this env.
    NoBackend = 4004,
}

impl ErrorNumber {
    /// The whole table.
    pub const ALL: [Self; 24] = [
        Self::Internal,
        Self::ShuttingDown,
        Self::InvalidJson,
        Self::InvalidMethod,
        Self::InvalidField,
        Self::BodyTooLarge,
        Self::InvalidEnv,
        Self::SlowBody,
        Self::NoRoute,
        Self::NoRegisteredEnv,
        Self::UnknownKind,
        Self::QueueFull,
        Self::QueueTimeout,
        Self::NoRoom,
        Self::Overloaded,
        Self::MissingRecipe,
        Self::StartFailed,
        Self::StartCancelled,
        Self::StartTimeout,
        Self::BackendUnreachable,
        Self::InvalidAnswer,
        Self::BackendTimeout,
        Self::AnswerTooLarge,
        Self::NoBackend,
    ];

    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// The status that it goes with.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::InvalidJson | Self::InvalidMethod | Self::InvalidField | Self::InvalidEnv => {
                StatusCode::BAD_REQUEST
            }
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::SlowBody => StatusCode::REQUEST_TIMEOUT,
            Self::NoRoute | Self::NoRegisteredEnv => StatusCode::NOT_FOUND,
            Self::UnknownKind => StatusCode::UNPROCESSABLE_ENTITY,
            Self::QueueFull => StatusCode::TOO_MANY_REQUESTS,
            Self::MissingRecipe => StatusCode::CONFLICT,
            Self::ShuttingDown
            | Self::QueueTimeout
            | Self::NoRoom
            | Self::Overloaded
            | Self::StartFailed
            | Self::StartCancelled => StatusCode::SERVICE_UNAVAILABLE,
            Self::StartTimeout | Self::BackendTimeout => StatusCode::GATEWAY_TIMEOUT,
            Self::BackendUnreachable
            | Self::InvalidAnswer
            | Self::AnswerTooLarge
            | Self::NoBackend => StatusCode::BAD_GATEWAY,
        }
    }

    /// The name that metrics use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Internal => "internal",
            Self::ShuttingDown => "shutting_down",
            Self::InvalidJson => "invalid_json",
            Self::InvalidMethod => "invalid_method",
            Self::InvalidField => "invalid_field",
            Self::BodyTooLarge => "body_too_large",
            Self::InvalidEnv => "invalid_env",
            Self::SlowBody => "slow_body",
            Self::NoRoute => "no_route",
            Self::NoRegisteredEnv => "no_registered_env",
            Self::UnknownKind => "unknown_kind",
            Self::QueueFull => "queue_full",
            Self::QueueTimeout => "queue_timeout",
            Self::NoRoom => "no_room",
            Self::Overloaded => "overloaded",
            Self::MissingRecipe => "missing_recipe",
            Self::StartFailed => "start_failed",
            Self::StartCancelled => "start_cancelled",
            Self::StartTimeout => "start_timeout",
            Self::BackendUnreachable => "backend_unreachable",
            Self::InvalidAnswer => "invalid_answer",
            Self::BackendTimeout => "backend_timeout",
            Self::AnswerTooLarge => "answer_too_large",
            Self::NoBackend => "no_backend",
        }
    }
}

/// What a client is told instead of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallError {
    number: ErrorNumber,
    message: Cow<'static, str>,
    retry_after: Option<Duration>,
}

impl CallError {
    /// An error with what the client may read. The message isn't part of the contract, and must
    /// hold no value of an env or a body.
    #[must_use]
    pub fn new(number: ErrorNumber, message: impl Into<Cow<'static, str>>) -> Self {
        Self {
            number,
            message: message.into(),
            retry_after: None,
        }
    }

    /// Tells the client when to come again. Counts only with a status that asks it to.
    #[must_use]
    pub fn with_retry_after(self, wait: Duration) -> Self {
        Self {
            retry_after: Some(wait),
            ..self
        }
    }

    /// Its row of the table.
    #[must_use]
    pub const fn number(&self) -> ErrorNumber {
        self.number
    }

    /// What the client reads.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// The status of the answer.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        self.number.status()
    }

    /// The `Retry-After` of the answer, in whole seconds, rounded up, at least 1: always with 429
    /// and 503, never with others.
    #[must_use]
    pub fn retry_after_secs(&self) -> Option<u64> {
        let asks = [
            StatusCode::TOO_MANY_REQUESTS,
            StatusCode::SERVICE_UNAVAILABLE,
        ];
        let wait = self.retry_after.unwrap_or(DEFAULT_RETRY_AFTER);
        let secs = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        asks.contains(&self.status()).then(|| secs.max(1))
    }

    /// The body of the answer.
    #[must_use]
    pub fn body(&self) -> Bytes {
        let (status, number) = (self.status().as_u16(), self.number.number());
        let mut json = format!(
            "{{\"statusCode\":{status},\"error\":true,\"errorNumber\":{number},\"errorMessage\":"
        );
        push_json_string(&mut json, &self.message);
        json.push('}');
        json.into()
    }
}

impl fmt::Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (error {})", self.message, self.number.number())
    }
}

impl Error for CallError {}

impl From<DecodeError> for CallError {
    fn from(error: DecodeError) -> Self {
        let number = match error {
            DecodeError::Json(_) | DecodeError::LoneSurrogate { .. } => ErrorNumber::InvalidJson,
            DecodeError::Method => ErrorNumber::InvalidMethod,
            DecodeError::Field { .. } => ErrorNumber::InvalidField,
            DecodeError::Route => ErrorNumber::NoRoute,
        };
        Self::new(number, chain(&error))
    }
}

impl From<AnswerError> for CallError {
    fn from(error: AnswerError) -> Self {
        Self::new(ErrorNumber::InvalidAnswer, chain(&error))
    }
}

/// An error and its causes in one line.
fn chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line.push_str(": ");
        line.push_str(&error.to_string());
        cause = error.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// CONTRACT 7, as it stands there.
    const TABLE: &str = "1 500, 1000 503, 1100 400, 1101 400, 1102 400, 1103 413, 1104 400, \
        1105 408, 1106 404, 1107 404, 1108 422, 2000 429, 2001 503, 2002 503, 2003 503, 3000 409, \
        3001 503, 3002 503, 3003 504, 4000 502, 4001 502, 4002 504, 4003 502, 4004 502";

    #[test]
    fn the_table_is_the_contract() {
        let rows = ErrorNumber::ALL.map(|e| format!("{} {}", e.number(), e.status().as_u16()));
        assert_eq!(rows.join(", "), TABLE);
        let names: HashSet<_> = ErrorNumber::ALL.map(ErrorNumber::name).into();
        assert_eq!(names.len(), ErrorNumber::ALL.len());
    }

    #[test]
    fn the_body_is_the_workers_form() {
        let error = CallError::new(ErrorNumber::QueueFull, "a \"full\"\nqueue \u{1} ž");
        assert_eq!(
            error.body(),
            r#"{"statusCode":429,"error":true,"errorNumber":2000,"errorMessage":"a \"full\"\nqueue \u0001 ž"}"#
        );
    }

    #[test]
    fn who_is_turned_away_is_told_when_to_come_again() {
        for number in ErrorNumber::ALL {
            let expected = matches!(number.status().as_u16(), 429 | 503).then_some(1);
            let error = CallError::new(number, "m");
            assert_eq!(error.retry_after_secs(), expected);
            let error = error.with_retry_after(Duration::from_millis(4001));
            assert_eq!(error.retry_after_secs(), expected.map(|_| 5));
            let error = error.with_retry_after(Duration::ZERO);
            assert_eq!(error.retry_after_secs(), expected);
        }
    }

    #[test]
    fn a_decode_error_says_where_and_how() {
        let error =
            crate::facet::legacy::decode(b"{\"a\" 1}", crate::facet::legacy::EnvField::Ignored);
        let error = CallError::from(error.unwrap_err());
        assert_eq!(
            error.to_string(),
            "the body isn't valid JSON: unexpected character at byte 5 (error 1100)"
        );
    }
}
