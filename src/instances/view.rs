//! What the table tells people: metrics, and the rows of the admin API.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{RunError, Running, State, Table, slots::SlotView};
use crate::{
    env::{Env, EnvDigest},
    telemetry::Metrics,
};

/// One instance as it is now.
#[derive(Debug, Clone)]
pub struct InstanceView {
    /// The number that [`Table::drain`] takes.
    pub id: u64,
    /// The backend's number.
    pub backend: u64,
    /// What may be shown of its env.
    pub digest: Option<EnvDigest>,
    /// What its process is up to.
    pub state: State,
    /// The number of its last process, unlike any other's; a later one's is greater. 0 where it
    /// had none.
    pub generation: u64,
    /// The process.
    pub pid: Option<i32>,
    /// How long it has been ready.
    pub age: Option<Duration>,
    /// Calls that the process was given.
    pub calls: u64,
    /// Calls that hold it, those in its queue included.
    pub in_flight: usize,
    /// Calls that wait: for the start, or in the queue.
    pub queued: usize,
    /// Its resident memory in bytes.
    pub rss: Option<u64>,
    /// Why it failed or ended last.
    pub last_error: Option<Arc<RunError>>,
}

impl InstanceView {
    fn new(view: SlotView<Arc<Running>, Arc<RunError>>, now: Instant) -> Self {
        let running = view.handle.as_ref();
        let queued = view.instance.admission.queued();
        Self {
            id: view.instance.id(),
            backend: view.instance.key().backend,
            digest: view.instance.env().map(|env| env.digest),
            state: view.state,
            generation: view.generation,
            pid: running.map(|running| running.pid),
            age: running.map(|running| now.saturating_duration_since(running.ready_at)),
            calls: view.calls,
            in_flight: view.leases.saturating_sub(queued),
            queued: view.waiting + queued,
            rss: running.map(|running| running.rss()).filter(|&rss| rss > 0),
            last_error: view.last_error,
        }
    }
}

/// Why an instance isn't drained.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DrainError {
    /// There is none of this number.
    #[error("there is no instance {0}")]
    Unknown(u64),
    /// It has no process now.
    #[error("instance {0} has no process now")]
    NoProcess(u64),
}

/// How a hot env differs from the one nearest to it: by name alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// The nearest other hot env.
    pub nearest: EnvDigest,
    /// Variables that only the first has.
    pub only_here: Vec<String>,
    /// Variables that only the nearest has.
    pub only_there: Vec<String>,
    /// Variables that both have, with other values.
    pub changed: Vec<String>,
}

impl Table {
    /// Every instance, by number; one whose old process drains beside a new one comes twice.
    #[must_use]
    pub fn list(&self) -> Vec<InstanceView> {
        let now = Instant::now();
        let views = self.views().into_iter();
        let mut list: Vec<_> = views.map(|view| InstanceView::new(view, now)).collect();
        list.sort_by_key(|view| (view.id, view.generation));
        list
    }

    /// Retires an instance's process: calls under way are finished, the next one starts another.
    ///
    /// # Errors
    /// [`DrainError`].
    pub fn drain(self: &Arc<Self>, id: u64) -> Result<(), DrainError> {
        self.change(|slots| slots.retire_by_id(id))
    }

    /// How the hot env with this digest differs from the nearest other one at the same backend;
    /// `None` where no env with this digest is hot, `Some(None)` where it is the only one.
    #[must_use]
    pub fn nearest(&self, digest: &str) -> Option<Option<Difference>> {
        let views = self.views();
        let hot = |view: &SlotView<_, _>| view.instance.env().cloned();
        let own = views
            .iter()
            .find_map(|view| hot(view).filter(|env| env.digest.as_str() == digest))?;
        let others = views.iter().filter_map(hot);
        let others = others.filter(|other| other.env != own.env);
        let differences = others.map(|other| difference(&own.env, &other.env, other.digest));
        let distance = |difference: &Difference| {
            difference.only_here.len() + difference.only_there.len() + difference.changed.len()
        };
        Some(differences.min_by_key(distance))
    }
}

fn difference(own: &Env, other: &Env, nearest: EnvDigest) -> Difference {
    let shown = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
    let mut difference = Difference {
        nearest,
        only_here: Vec::new(),
        only_there: Vec::new(),
        changed: Vec::new(),
    };
    for (name, value) in own.iter() {
        match value_in(other, name) {
            None => difference.only_here.push(shown(name)),
            Some(other) if other != value => difference.changed.push(shown(name)),
            Some(_) => {}
        }
    }
    for (name, _) in other.iter() {
        if value_in(own, name).is_none() {
            difference.only_there.push(shown(name));
        }
    }
    difference
}

fn value_in<'a>(env: &'a Env, name: &[u8]) -> Option<&'a [u8]> {
    let found = env.iter().find(|(other, _)| *other == name);
    found.map(|(_, value)| value)
}

/// Sets the gauges of processes by state, and of calls that wait for starts.
pub(super) fn count(table: &Table, metrics: &Metrics) {
    let mut counts: HashMap<(String, State), i64> = HashMap::new();
    for view in table.views() {
        let Some(backend) = view.instance.process() else {
            continue;
        };
        for state in State::ALL {
            let count = counts
                .entry((backend.name().to_owned(), state))
                .or_default();
            *count += i64::from(view.state == state);
        }
    }
    metrics.instances.by_state.reset();
    for ((backend, state), count) in counts {
        let labels = [backend.as_str(), state.as_str()];
        metrics
            .instances
            .by_state
            .with_label_values(&labels)
            .set(count);
    }
    let (_, waiting) = table.alive_and_waiting();
    metrics
        .instances
        .waiting_calls
        .set(i64::try_from(waiting).unwrap_or(i64::MAX));
}
