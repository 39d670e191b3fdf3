//! The one place where an error becomes an answer.
//!
//! Every failure of a call ends here as a [`CallError`]: its number picks the status and whether
//! the client should come again, its message says what to do. Causes go to the log, never to the
//! client.

use std::{
    borrow::Cow,
    error::Error,
    time::{Duration, Instant},
};

use http::{HeaderValue, Response, header};

use super::{record::CallRecord, request_body::BodyFault};
use crate::{
    backend::{AnswerError, SendError, process::StartError},
    env::{EnvError, SettingError},
    facet::{CallError, ErrorNumber, Pieces, headers::X_UNISAVE_WORKER_ERROR},
    instances::{AdmissionError, RunError, StartRefused, TableFull},
    telemetry::Limiter,
};

/// A failed call: what the client is told, and why, for the log.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) error: CallError,
    cause: Option<Box<dyn Error + Send + Sync>>,
    /// Whether some of the client's body is unread, so that its connection can't be used again.
    pub(super) body_unread: bool,
}

impl Failure {
    pub(super) fn new(number: ErrorNumber, message: impl Into<Cow<'static, str>>) -> Self {
        Self::from(CallError::new(number, message))
    }

    /// The same, where the client's body may be unread.
    pub(super) fn with_unread_body(self) -> Self {
        Self {
            body_unread: true,
            ..self
        }
    }

    fn because(
        number: ErrorNumber,
        message: impl Into<Cow<'static, str>>,
        cause: impl Error + Send + Sync + 'static,
    ) -> Self {
        let error = CallError::new(number, message);
        Self {
            error,
            cause: Some(Box::new(cause)),
            body_unread: false,
        }
    }
}

/// Everything that a pure module refuses already knows its number.
impl<E: Into<CallError>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self {
            error: error.into(),
            cause: None,
            body_unread: false,
        }
    }
}

pub(super) fn unread_body(fault: BodyFault) -> Failure {
    Failure::from(fault).with_unread_body()
}

pub(super) fn invalid_env(error: &EnvError) -> Failure {
    Failure::new(ErrorNumber::InvalidEnv, format!("env: {error}"))
}

pub(super) fn invalid_setting(error: &SettingError) -> Failure {
    Failure::new(ErrorNumber::InvalidEnv, format!("env: {error}"))
}

pub(super) fn not_admitted(error: AdmissionError) -> Failure {
    let (number, retry_after) = match &error {
        AdmissionError::QueueFull { retry_after, .. } => (ErrorNumber::QueueFull, *retry_after),
        AdmissionError::WaitedTooLong { retry_after } => (ErrorNumber::QueueTimeout, *retry_after),
    };
    CallError::new(number, error.to_string())
        .with_retry_after(retry_after)
        .into()
}

pub(super) fn table_full(error: TableFull) -> Failure {
    Failure::because(
        ErrorNumber::NoRoom,
        "too many envs are in use at once; try again later",
        error,
    )
}

/// Before anything is started: nothing would come of it.
pub(super) fn no_code() -> Failure {
    let message = "the backend's workers are started with the code that \
                   X-Unisave-Initialization-Recipe-Url names; the call has none that backend.code takes";
    Failure::new(ErrorNumber::MissingRecipe, message)
}

pub(super) fn not_started(refused: StartRefused) -> Failure {
    let retry_after = match &refused {
        StartRefused::Failed { retry_after, .. } => Some(*retry_after),
        _ => None,
    };
    let (number, message): (_, Cow<'static, str>) = match &refused {
        StartRefused::Failed { error, .. } => match &**error {
            RunError::Start(error) => not_startable(error),
            RunError::Cancelled => (ErrorNumber::StartCancelled, "the gateway is ending".into()),
            ended @ (RunError::Exited(_) | RunError::Unreachable) => {
                let message = format!("the instance failed before it ever served: {ended}");
                (ErrorNumber::StartFailed, message.into())
            }
        },
        StartRefused::NoRoom => (
            ErrorNumber::NoRoom,
            "as many instances run as instances.max allows, and all are in use; try again later"
                .into(),
        ),
        StartRefused::Crowded => (
            ErrorNumber::Overloaded,
            "too many calls wait for instances to start".into(),
        ),
        StartRefused::Ending => (ErrorNumber::StartCancelled, "the gateway is ending".into()),
        StartRefused::WaitedTooLong => (
            ErrorNumber::StartTimeout,
            "the instance wasn't ready within gateway.request_timeout; its start goes on".into(),
        ),
    };
    let mut failure = Failure::because(number, message, refused);
    if let Some(retry_after) = retry_after {
        failure.error = failure.error.with_retry_after(retry_after);
    }
    failure
}

fn not_startable(error: &StartError) -> (ErrorNumber, Cow<'static, str>) {
    let number = match error {
        StartError::NoRev => ErrorNumber::MissingRecipe,
        StartError::Env(_) | StartError::TooLarge { .. } => ErrorNumber::InvalidEnv,
        StartError::NoUser | StartError::NoDescriptors(_) | StartError::NoProcesses(_) => {
            ErrorNumber::Overloaded
        }
        StartError::TimedOut { .. } => ErrorNumber::StartTimeout,
        StartError::Place(_)
        | StartError::Spawn(_)
        | StartError::Launch(_)
        | StartError::Exited { .. }
        | StartError::WrongEnv => ErrorNumber::StartFailed,
    };
    (
        number,
        format!("the instance failed to start: {error}").into(),
    )
}

pub(super) fn not_sent(error: SendError) -> Failure {
    let (number, message) = match &error {
        SendError::Unreachable(_) => (
            ErrorNumber::BackendUnreachable,
            "no member of the backend can be reached",
        ),
        SendError::NoAnswer(_) => (
            ErrorNumber::BackendUnreachable,
            "the backend hung up without an answer",
        ),
        SendError::BadAnswer(..) => (
            ErrorNumber::InvalidAnswer,
            "the backend's answer breaks the rules of HTTP",
        ),
        SendError::TimedOut => (
            ErrorNumber::BackendTimeout,
            "the backend took too long to answer",
        ),
        SendError::Waited => (
            ErrorNumber::QueueTimeout,
            "every worker was busy for as long as the call may take",
        ),
        SendError::Crowded => (
            ErrorNumber::Overloaded,
            "too many calls wait for a worker of this backend",
        ),
        SendError::Exhausted(_) => (
            ErrorNumber::Overloaded,
            "the gateway can't open another connection",
        ),
    };
    Failure::because(number, message, error)
}

pub(super) fn bad_answer(error: AnswerError) -> Failure {
    let (number, message) = match error {
        AnswerError::CutShort(_) => (
            ErrorNumber::InvalidAnswer,
            "the backend's answer was cut short",
        ),
        AnswerError::NoMemory => (
            ErrorNumber::Overloaded,
            "the gateway holds as many bytes of bodies as it may",
        ),
        AnswerError::TooLong { .. } => (
            ErrorNumber::AnswerTooLarge,
            "the backend's answer is over max_response_body",
        ),
    };
    Failure::because(number, message, error)
}

pub(super) fn answer_timed_out() -> Failure {
    Failure::new(
        ErrorNumber::BackendTimeout,
        "the backend took too long to send its answer",
    )
}

/// The answer to a failed call.
pub(super) fn response(error: &CallError) -> Response<Pieces> {
    let mut response = Response::new(Pieces::from(error.body()));
    *response.status_mut() = error.status();
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    headers.insert(header::SERVER, super::SERVER);
    headers.insert(X_UNISAVE_WORKER_ERROR, HeaderValue::from_static("true"));
    if let Some(seconds) = error.retry_after_secs() {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// Backend and gateway faults in the log: one a second, the rest counted, so that a backend that
/// is down doesn't fill the disk. Client faults are the access log's affair.
static FAULTS: Limiter = Limiter::new(Duration::from_secs(1));

pub(super) fn log(failure: &Failure, record: &CallRecord) {
    let number = failure.error.number();
    if matches!(number.number(), 1000..=3000) {
        return;
    }
    let Some(held_back) = FAULTS.pass(Instant::now()) else {
        return;
    };
    let mut causes = String::new();
    let mut cause: Option<&dyn Error> = failure.cause.as_deref().map(|cause| cause as &dyn Error);
    while let Some(error) = cause {
        if !causes.is_empty() {
            causes.push_str(": ");
        }
        causes.push_str(&error.to_string());
        cause = error.source();
    }
    tracing::warn!(
        error = number.number(),
        backend = record
            .backend
            .as_ref()
            .map_or("none", |backend| backend.name.as_str()),
        member = record.member.as_deref().unwrap_or("none"),
        causes,
        held_back,
        "a call failed: {}",
        failure.error.message(),
    );
}
