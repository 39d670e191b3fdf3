//! A backend's answer to a facet call, free of any dialect.

use std::borrow::Cow;

use super::{
    json::{JsonError, LoneSurrogate, RawValue, Scanner},
    pieces::PiecesBuilder,
};

/// What an answer says: the values of either dialect, borrowed from its body.
#[derive(Debug, Clone, Copy)]
pub struct Answer<'a> {
    /// `status` or `result`, as it was written: a string.
    pub status: RawValue<'a>,
    /// What the status means.
    pub outcome: Outcome,
    /// What the method returned.
    pub returned: Option<RawValue<'a>>,
    /// What it threw.
    pub exception: Option<RawValue<'a>>,
    /// Whether the exception is one that the game expects its players to see.
    pub known: bool,
    /// What it logged.
    pub logs: Option<RawValue<'a>>,
    /// `special.sessionId` of a legacy answer.
    pub(super) session_id: Option<RawValue<'a>>,
    /// `special.executionDuration` of a legacy answer.
    pub(super) execution_duration: Option<RawValue<'a>>,
    /// The whole body, without its byte order mark.
    pub(super) whole: RawValue<'a>,
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It returned.
    Ok,
    /// It threw.
    Exception,
    /// The backend says something else, which passes.
    Other,
}

/// Why a backend's answer is none (4001). No variant carries anything that the backend sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// It isn't JSON.
    #[error("the answer isn't valid JSON")]
    Json(#[source] JsonError),
    /// It is JSON, but no object.
    #[error("the answer isn't an object")]
    Type,
    /// It doesn't say how the call ended.
    #[error("the answer has no string `{field}`")]
    Status {
        /// What it should be called.
        field: &'static str,
    },
    /// Its session id stands for no text, so that no cookie can carry it.
    #[error("the answer's session id holds a lone surrogate")]
    Session,
}

impl<'a> Answer<'a> {
    pub(super) fn new(
        whole: RawValue<'a>,
        status: Option<RawValue<'a>>,
        field: &'static str,
    ) -> Result<Self, AnswerError> {
        let status = status
            .filter(RawValue::is_string)
            .ok_or(AnswerError::Status { field })?;
        let outcome = match status.decode_bytes().as_deref() {
            Ok(b"ok") => Outcome::Ok,
            Ok(b"exception") => Outcome::Exception,
            Ok(_) | Err(LoneSurrogate) => Outcome::Other,
        };
        Ok(Self {
            status,
            outcome,
            returned: None,
            exception: None,
            known: false,
            logs: None,
            session_id: None,
            execution_duration: None,
            whole,
        })
    }

    /// The session that a legacy answer names; a modern one names it in a cookie.
    ///
    /// # Errors
    /// Where it holds a lone surrogate.
    pub fn session(&self) -> Result<Option<Cow<'a, str>>, AnswerError> {
        let id = self.session_id.filter(RawValue::is_string);
        let id = id.map(|id| id.decode_string()).transpose();
        let id = id.map_err(|LoneSurrogate| AnswerError::Session)?;
        Ok(id.filter(|id| !id.is_empty()))
    }

    pub(super) fn returned_or_null(&self) -> RawValue<'a> {
        self.returned.unwrap_or(NULL)
    }

    pub(super) fn exception_or_null(&self) -> RawValue<'a> {
        self.exception.unwrap_or(NULL)
    }

    /// Bytes of what is written anew of it, but for large values.
    pub(super) fn copied(&self) -> usize {
        let values = [
            self.returned,
            self.exception,
            self.logs,
            self.execution_duration,
        ];
        let values = values.iter().flatten().chain([&self.status]);
        values.map(PiecesBuilder::share_of).sum()
    }

    /// Absent logs are empty; null ones stay null.
    pub(super) fn logs_or_empty(&self) -> RawValue<'a> {
        self.logs.unwrap_or(NO_LOGS)
    }
}

const NULL: RawValue<'static> = RawValue::constant("null");
pub(super) const NO_LOGS: RawValue<'static> = RawValue::constant("[]");

/// Scans an answer and gives the whole of it.
pub(super) fn parse<'a>(
    body: &'a [u8],
    member: impl FnMut(&mut Scanner<'a>, &[u8]) -> Result<(), JsonError>,
) -> Result<RawValue<'a>, AnswerError> {
    let mut scanner = Scanner::answer(body);
    let is_object = scanner.members(member).map_err(AnswerError::Json)?;
    let whole = scanner.finish().map_err(AnswerError::Json)?;
    if is_object {
        Ok(whole)
    } else {
        Err(AnswerError::Type)
    }
}
