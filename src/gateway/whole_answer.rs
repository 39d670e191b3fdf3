//! A backend's whole answer, and what becomes of it for the client, one function a pair of
//! dialects (CONTRACT 4, 5).

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header, response};

use super::{SERVER, client_body::Answered, error::Failure, record::CallRecord};
use crate::{
    facet::{
        self, Outcome, Pieces, headers, legacy, modern, prune_answer, prune_error_body, session,
    },
    telemetry::CallOutcome,
};

/// A backend's answer, all of it.
pub(super) struct WholeAnswer {
    pub(super) head: response::Parts,
    pub(super) body: Bytes,
    /// From sending the call until the whole answer was there.
    pub(super) execution: Duration,
}

impl WholeAnswer {
    /// Whether the facet itself answered; everything but a 200 passes as it is.
    pub(super) fn is_facet_answer(&self) -> bool {
        self.head.status == StatusCode::OK
    }

    /// The answer as it came; a crash answer loses what happened where answers are pruned.
    pub(super) fn pass(mut self, prune: bool, record: &mut CallRecord) -> Response<Answered> {
        record.outcome = CallOutcome::Passed;
        headers::streamed_answer(&mut self.head.headers);
        self.head.headers.remove(header::CONTENT_LENGTH);
        let is_crash = self
            .head
            .headers
            .contains_key(headers::X_UNISAVE_ERROR_RESPONSE);
        let body = if prune && is_crash {
            prune_error_body(&self.body)
        } else {
            self.body
        };
        Response::from_parts(self.head, Answered::Whole(Pieces::from(body)))
    }

    pub(super) fn modern_to_legacy(
        mut self,
        prune: bool,
        record: &mut CallRecord,
    ) -> Result<Response<Answered>, Failure> {
        let mut answer = modern::decode_answer(&self.body)?;
        record.outcome = outcome(&answer);
        if prune {
            answer = prune_answer(&answer);
        }
        let cookies = self.head.headers.get_all(header::SET_COOKIE).iter();
        let session = session::from_set_cookie(cookies.map(HeaderValue::as_bytes));
        let pieces = legacy::encode_answer(&answer, &self.body, session.as_deref(), self.execution);
        headers::translated_answer(&mut self.head.headers);
        Ok(rewritten(self.head, pieces))
    }

    pub(super) fn legacy_to_legacy(
        mut self,
        prune: bool,
        record: &mut CallRecord,
    ) -> Result<Response<Answered>, Failure> {
        let answer = legacy::decode_answer(&self.body)?;
        record.outcome = outcome(&answer);
        if !prune {
            let pieces = legacy::pass_answer(&answer, &self.body);
            headers::streamed_answer(&mut self.head.headers);
            self.head.headers.remove(header::CONTENT_LENGTH);
            return Ok(Response::from_parts(self.head, Answered::Whole(pieces)));
        }
        let session = answer.session()?;
        let pruned = prune_answer(&answer);
        let pieces = legacy::encode_answer(&pruned, &self.body, session.as_deref(), self.execution);
        headers::translated_answer(&mut self.head.headers);
        Ok(rewritten(self.head, pieces))
    }

    pub(super) fn legacy_to_modern(
        mut self,
        prune: bool,
        record: &mut CallRecord,
    ) -> Result<Response<Answered>, Failure> {
        let mut answer = legacy::decode_answer(&self.body)?;
        record.outcome = outcome(&answer);
        let session = answer.session()?;
        if prune {
            answer = prune_answer(&answer);
        }
        let pieces = modern::encode_answer(&answer, &self.body);
        headers::translated_answer(&mut self.head.headers);
        if let Some(session) = session {
            let cookie = session::set_cookie(&session, std::time::SystemTime::now());
            self.head.headers.insert(header::SET_COOKIE, cookie);
        }
        Ok(rewritten(self.head, pieces))
    }

    pub(super) fn modern_pruned(
        mut self,
        record: &mut CallRecord,
    ) -> Result<Response<Answered>, Failure> {
        let answer = modern::decode_answer(&self.body)?;
        record.outcome = outcome(&answer);
        let pieces = modern::encode_answer(&prune_answer(&answer), &self.body);
        let cookies: Vec<_> = self
            .head
            .headers
            .get_all(header::SET_COOKIE)
            .iter()
            .cloned()
            .collect();
        headers::translated_answer(&mut self.head.headers);
        for cookie in cookies {
            self.head.headers.append(header::SET_COOKIE, cookie);
        }
        Ok(rewritten(self.head, pieces))
    }
}

/// An answer with a body of ours.
fn rewritten(mut head: response::Parts, pieces: Pieces) -> Response<Answered> {
    head.headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    head.headers.insert(header::SERVER, SERVER);
    Response::from_parts(head, Answered::Whole(pieces))
}

fn outcome(answer: &facet::Answer<'_>) -> CallOutcome {
    match answer.outcome {
        Outcome::Ok => CallOutcome::Ok,
        Outcome::Exception => CallOutcome::Exception,
        Outcome::Other => CallOutcome::Passed,
    }
}
