//! What a backend's answer says, in either dialect, and how it is written (CONTRACT 4 and 5).

use std::time::Duration;

use envgate::facet::Outcome;

use crate::oracle::{all, is_string, members, text};

/// An answer, with its raw values as they stand in the strict text. Of equal keys the last counts.
#[derive(Clone, Debug)]
pub struct Answer<'a> {
    /// `status` or `result`, raw.
    pub status: &'a str,
    /// What it means.
    pub outcome: Outcome,
    /// `returned`, raw.
    pub returned: Option<&'a str>,
    /// `exception`, raw.
    pub exception: Option<&'a str>,
    /// Whether players may see the exception.
    pub known: bool,
    /// The logs, raw.
    pub logs: Option<&'a str>,
    /// `special.sessionId`, raw.
    pub session: Option<&'a str>,
    /// `special.executionDuration`, raw.
    pub duration: Option<&'a str>,
}

const PRUNED: &str = r#"{"ClassName":"System.Exception","Message":"Internal Server Error"}"#;

/// Reads the strict form of a modern answer.
#[must_use]
pub fn read_modern(json: &str) -> Option<Answer<'_>> {
    let members = members(json)?;
    let last = |name| all(&members, name).last().copied();
    Some(Answer {
        returned: last("returned"),
        exception: last("exception"),
        known: last("isKnownException") == Some("true"),
        logs: last("logs"),
        session: None,
        duration: None,
        ..with_status(last("status")?)?
    })
}

/// Reads the strict form of a legacy answer.
#[must_use]
pub fn read_legacy(json: &str) -> Option<Answer<'_>> {
    let outer = members(json)?;
    let last = |name| all(&outer, name).last().copied();
    let special = last("special").and_then(members).unwrap_or_default();
    let of_special = |name| all(&special, name).last().copied();
    Some(Answer {
        returned: last("returned"),
        exception: last("exception"),
        known: true,
        logs: of_special("logs"),
        session: of_special("sessionId"),
        duration: of_special("executionDuration"),
        ..with_status(last("result")?)?
    })
}

fn with_status(status: &str) -> Option<Answer<'_>> {
    if !is_string(status) {
        return None;
    }
    let outcome = match text(status).as_deref() {
        Some("ok") => Outcome::Ok,
        Some("exception") => Outcome::Exception,
        _ => Outcome::Other,
    };
    Some(Answer {
        status,
        outcome,
        returned: None,
        exception: None,
        known: false,
        logs: None,
        session: None,
        duration: None,
    })
}

impl<'a> Answer<'a> {
    /// What a player may see of it.
    #[must_use]
    pub fn pruned(&self) -> Self {
        let unknown = self.outcome == Outcome::Exception && !self.known;
        Self {
            exception: if unknown {
                Some(PRUNED)
            } else {
                self.exception
            },
            logs: Some("[]"),
            ..self.clone()
        }
    }

    /// Checks its modern form.
    ///
    /// # Panics
    ///
    /// Where it is another.
    pub fn assert_modern(&self, written: &str) {
        let known = if self.known { "true" } else { "false" };
        let mut expected = self.outcome_members("status");
        if self.outcome == Outcome::Exception {
            expected.push(("isKnownException", known));
        }
        expected.push(("logs", self.logs.unwrap_or("[]")));
        assert_members(written, &expected);
    }

    /// Checks its legacy form. `duration` is what was measured: the backend's own goes before it.
    ///
    /// # Panics
    ///
    /// Where it is another.
    pub fn assert_legacy(&self, written: &str, session: Option<&str>, duration: Duration) {
        let outer = members(written).expect("it is an object");
        let special = all(&outer, "special").first().copied().unwrap_or_default();
        let mut expected = self.outcome_members("result");
        expected.push(("special", special));
        assert_members(written, &expected);

        let inner = members(special).expect("it is an object");
        let inner = |name| all(&inner, name).first().copied().unwrap_or_default();
        let (id, seconds) = (inner("sessionId"), inner("executionDuration"));
        let logs = self.logs.unwrap_or("[]");
        let expected = [
            ("sessionId", id),
            ("logs", logs),
            ("executionDuration", seconds),
        ];
        assert_members(special, &expected);
        assert_eq!(text(id).as_deref(), session);
        assert_eq!(id == "null", session.is_none());
        if let Some(own) = self.duration {
            assert_eq!(seconds, own);
        } else {
            let seconds: f64 = seconds.parse().expect("it is a number");
            assert!((seconds - duration.as_secs_f64()).abs() < 2e-6, "{seconds}");
        }
    }

    fn outcome_members(&self, status: &'static str) -> Vec<(&'static str, &'a str)> {
        let null = "null";
        match self.outcome {
            Outcome::Ok => vec![
                (status, "\"ok\""),
                ("returned", self.returned.unwrap_or(null)),
            ],
            Outcome::Exception => vec![
                (status, "\"exception\""),
                ("exception", self.exception.unwrap_or(null)),
            ],
            Outcome::Other => vec![(status, self.status)],
        }
    }
}

fn assert_members(written: &str, expected: &[(&str, &str)]) {
    let found = members(written).expect("it is an object");
    assert_eq!(found.len(), expected.len(), "{written}");
    for (name, value) in expected {
        assert_eq!(all(&found, name), [*value], "{name} of {written}");
    }
}
