//! What the admin API answers. The commands read the same types.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::instances::{Difference, InstanceView, State};

/// One instance as it is now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Row {
    /// The number that draining takes. It stays with the env as long as the env is hot.
    pub id: u64,
    /// The digest of its env, as the access log shows it; null for calls without an env.
    #[schema(examples("2913c3455e08"))]
    pub digest: Option<String>,
    /// The backend's name; null where no backend of that name is configured any more.
    pub backend: Option<String>,
    /// What its process is up to.
    pub state: RowState,
    /// Which of its processes this is, from 1; 0 where it never had one.
    pub generation: u64,
    /// The process.
    pub pid: Option<i32>,
    /// Seconds since it was ready.
    pub age_seconds: Option<u64>,
    /// Calls that the process was given.
    pub calls: u64,
    /// Calls under way.
    pub in_flight: u64,
    /// Calls that wait: for the start, or for their turn.
    pub queue: u64,
    /// Its resident memory.
    pub rss_bytes: Option<u64>,
    /// Why it failed or ended last; never holds a variable's value.
    pub last_error: Option<String>,
}

/// What an instance's process is up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum RowState {
    /// There is none: it isn't needed now, or the backend has workers of its own.
    Absent,
    /// It is being started.
    Starting,
    /// It serves.
    Ready,
    /// Its start failed, and isn't tried again for a while.
    Failed,
    /// It finishes its calls and is then stopped.
    Draining,
}

impl From<State> for RowState {
    fn from(state: State) -> Self {
        match state {
            State::Absent => Self::Absent,
            State::Starting => Self::Starting,
            State::Ready => Self::Ready,
            State::Failed => Self::Failed,
            State::Draining => Self::Draining,
        }
    }
}

impl RowState {
    /// Its name in answers.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Absent => State::Absent.as_str(),
            Self::Starting => State::Starting.as_str(),
            Self::Ready => State::Ready.as_str(),
            Self::Failed => State::Failed.as_str(),
            Self::Draining => State::Draining.as_str(),
        }
    }
}

impl Row {
    /// `backend`: the name that is configured for the instance's backend.
    pub(super) fn new(view: InstanceView, backend: Option<String>) -> Self {
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        Self {
            id: view.id,
            digest: view.digest.map(|digest| digest.to_string()),
            backend: backend.or(view.backend_name),
            state: view.state.into(),
            generation: view.generation,
            pid: view.pid,
            age_seconds: view.age.map(|age| age.as_secs()),
            calls: view.calls,
            in_flight: count(view.in_flight),
            queue: count(view.queued),
            rss_bytes: view.rss,
            last_error: view.last_error.map(|error| error.to_string()),
        }
    }
}

/// How a hot env differs from the hot env nearest to it at the same backend: by names alone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Nearest {
    /// The env that was asked for.
    #[schema(examples("2913c3455e08"))]
    pub digest: String,
    /// The env that differs from it in the fewest variables; null where no other is hot.
    #[schema(examples("6ff5c9f33f7f"))]
    pub nearest: Option<String>,
    /// Variables that only the env that was asked for has.
    pub only_here: Vec<String>,
    /// Variables that only the nearest has.
    pub only_there: Vec<String>,
    /// Variables that both have, with different values.
    pub changed: Vec<String>,
}

impl Nearest {
    pub(super) fn new(digest: String, difference: Option<Difference>) -> Self {
        let Some(difference) = difference else {
            return Self {
                digest,
                ..Self::default()
            };
        };
        Self {
            digest,
            nearest: Some(difference.nearest.to_string()),
            only_here: difference.only_here,
            only_there: difference.only_there,
            changed: difference.changed,
        }
    }
}
