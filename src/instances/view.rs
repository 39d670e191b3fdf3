//! What the table tells people: metrics, and the rows of the admin API.

use std::{
    cmp::Ordering,
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{HotEnv, RunError, Running, State, Table, slots::SlotView};
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
    /// The backend's name, where it starts processes: known also when it is no longer configured.
    pub backend_name: Option<String>,
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
    /// Calls that the process has answered.
    pub calls: u64,
    /// Calls under way, those that wait left out.
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
        let process = view.instance.process();
        let admission = &view.instance.admission;
        let queue = admission.queued();
        // A call in the queue holds a lease already. The queue is the instance's: whose lease it
        // is isn't known where an old process still has some, and the one that serves is likelier.
        let (in_flight, queued) = match view.state {
            State::Draining => (view.leases, 0),
            // At a backend with workers of its own.
            _ if view.generation == 0 => (admission.running(), queue),
            _ => (view.leases.saturating_sub(queue), view.waiting + queue),
        };
        Self {
            id: view.instance.id(),
            backend: view.instance.key().backend,
            backend_name: process.map(|process| process.name().to_owned()),
            digest: view.instance.env().map(|env| env.digest),
            state: view.state,
            generation: view.generation,
            pid: running.map(|running| running.pid),
            age: running.map(|running| now.saturating_duration_since(running.ready_at)),
            calls: view.calls,
            in_flight,
            queued,
            rss: running.map(|running| running.rss()).filter(|&rss| rss > 0),
            last_error: view.last_error,
        }
    }

    /// Whether it has a process or had one: never so at a backend with workers of its own.
    #[must_use]
    pub const fn ever_ran(&self) -> bool {
        self.generation > 0
    }

    /// Whether there is a process, or soon will be.
    #[must_use]
    pub const fn is_alive(&self) -> bool {
        matches!(self.state, State::Starting | State::Ready | State::Draining)
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
        let hot = views.iter().filter_map(|view| {
            let env = view.instance.env()?;
            Some((view.instance.key().backend, env))
        });
        let is_named = |env: &HotEnv| env.digest.as_str() == digest;
        let (backend, own) = hot.clone().find(|(_, env)| is_named(env))?;
        let others = hot.filter(|(at, other)| *at == backend && other.env != own.env);
        let distance = |other: &HotEnv| {
            let mut count = 0_usize;
            compare(&own.env, &other.env, |_, _| count += 1);
            count
        };
        let nearest = others.min_by_key(|(_, other)| distance(other));
        Some(nearest.map(|(_, other)| Difference::between(&own.env, other)))
    }
}

impl Difference {
    fn between(own: &Env, other: &HotEnv) -> Self {
        let mut difference = Self {
            nearest: other.digest,
            only_here: Vec::new(),
            only_there: Vec::new(),
            changed: Vec::new(),
        };
        compare(own, &other.env, |place, name| {
            let names = match place {
                Place::Here => &mut difference.only_here,
                Place::There => &mut difference.only_there,
                Place::Both => &mut difference.changed,
            };
            names.push(String::from_utf8_lossy(name).into_owned());
        });
        difference
    }
}

/// Which of two envs has a variable.
enum Place {
    Here,
    There,
    /// Both have it, with different values.
    Both,
}

/// Tells each variable in which two envs differ: one walk over both, as their names are in order.
fn compare<'e>(own: &'e Env, other: &'e Env, mut differs: impl FnMut(Place, &'e [u8])) {
    let (mut here, mut there) = (own.iter().peekable(), other.iter().peekable());
    loop {
        let order = match (here.peek(), there.peek()) {
            (None, None) => return,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((own, _)), Some((other, _))) => own.cmp(other),
        };
        let own = here.next_if(|_| order.is_le());
        let other = there.next_if(|_| order.is_ge());
        match (own, other) {
            (Some((name, own)), Some((_, other))) if own != other => differs(Place::Both, name),
            (Some((name, _)), None) => differs(Place::Here, name),
            (None, Some((name, _))) => differs(Place::There, name),
            _ => {}
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::instances::{Lease, Stage};

    fn digest(instance: &crate::instances::Instance) -> String {
        instance.env().unwrap().digest.to_string()
    }

    #[tokio::test]
    async fn calls_are_counted_where_they_are() {
        let mut stage = Stage::new();
        let upstream = stage.hot(1, "A=1");
        let _call = Lease::of_free_place(&upstream, None, Instant::now()).unwrap();
        let instance = stage.hot(2, "A=1");
        let lease = stage.start(&instance, 7).await;
        let rows = stage.table.list();
        let counts = rows.iter().map(|row| (row.in_flight, row.ever_ran()));
        assert_eq!(counts.collect::<Vec<_>>(), [(1, false), (1, true)]);
        stage.table.drain(2).unwrap();
        let rows = stage.table.list();
        let states: Vec<_> = rows.iter().map(|row| (row.id, row.state)).collect();
        let expected = [(1, State::Absent), (2, State::Absent), (2, State::Draining)];
        assert_eq!(states, expected);
        assert_eq!(rows[2].in_flight, 1);
        assert_eq!(stage.table.drain(2), Err(DrainError::NoProcess(2)));
        drop(lease);
        stage.end(&instance, 1);
        assert_eq!(stage.table.list().len(), 2);
        assert_eq!(stage.table.drain(9), Err(DrainError::Unknown(9)));
    }

    #[test]
    fn the_nearest_env_is_the_one_that_differs_in_the_fewest_names() {
        let stage = Stage::new();
        let own = digest(&stage.hot(1, "A=1\nB=2\nC=3"));
        assert_eq!(stage.table.nearest(&own), Some(None));
        assert_eq!(stage.table.nearest("000000000000"), None);
        // The same at another backend is no neighbour.
        stage.hot(2, "A=1\nB=2\nC=4");
        assert_eq!(stage.table.nearest(&own), Some(None));
        stage.hot(1, "X=1\nY=2\nZ=3");
        let near = digest(&stage.hot(1, "A=1\nAA=0\nB=0\nD=4"));
        let difference = stage.table.nearest(&own).unwrap().unwrap();
        assert_eq!(difference.nearest.as_str(), near);
        assert_eq!(difference.only_here, ["C"]);
        assert_eq!(difference.only_there, ["AA", "D"]);
        assert_eq!(difference.changed, ["B"]);
    }
}
