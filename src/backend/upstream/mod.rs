//! The upstream backend: a pool of workers that something else runs.
//!
//! `members` knows who they are and hands out leases, `balance` chooses; where each member holds one
//! env, `slots` schedules, `one_env` waits, and `outliving` sees to it that a call ends only when
//! its worker has answered. `outage` remembers who refused, `resolve` and `probe` keep watch. A
//! refused connection takes a member out, with back-off; a time-out only counts as busy, because
//! another connection to a slow member makes it slower; the last member is never taken out.

mod balance;
mod member;
mod members;
mod one_env;
mod outage;
mod outliving;
mod probe;
mod resolve;
mod slots;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use http::{HeaderValue, Request};
use prometheus::IntCounter;

pub(super) use self::members::MemberLease;
use self::{
    members::{AcquireError, Members, Tried},
    outliving::{Left, Outliving, UnderWay},
};
use super::{
    Affinity, CallBody, Config, Deadline, Elapsed, Pool, SendError, Sent, Undelivered,
    UpstreamConfig, UpstreamUrl,
    connect::ConnectError,
    deliver::{Delivered, Progress, deliver},
};
use crate::telemetry::Metrics;

/// How often names are resolved again: the usual time-to-live of a cluster's own names.
const RESOLVE_EVERY: Duration = Duration::from_secs(5);

/// A pool of workers.
#[derive(Debug)]
pub struct Upstream {
    name: String,
    urls: Vec<UpstreamUrl>,
    members: Arc<Members>,
    health_interval: Option<Duration>,
    reach: Arc<Reach>,
    left: Arc<Left>,
    metrics: Arc<Metrics>,
}

/// Who could be reached and who couldn't.
#[derive(Debug)]
struct Reach {
    backend: String,
    connects: IntCounter,
    connect_failures: IntCounter,
}

impl Upstream {
    /// The pool as it is configured. Members that are named by address are there at once; names
    /// wait for [`Upstream::resolve`].
    #[must_use]
    pub fn new(config: &Config, pool: &UpstreamConfig, metrics: Arc<Metrics>) -> Self {
        let limit = config.framework.one_call_at_a_time().then_some(1);
        let members = Arc::new(Members::new(pool.balance, limit, pool.env_slice));
        members.replace(&resolve::without_names(&pool.urls));
        Self {
            name: config.name.clone(),
            urls: pool.urls.clone(),
            members,
            health_interval: config.health_interval,
            reach: Arc::new(Reach {
                backend: config.name.clone(),
                connects: metrics
                    .upstream_connects_total
                    .with_label_values(&[&config.name]),
                connect_failures: metrics
                    .upstream_connect_failures_total
                    .with_label_values(&[&config.name]),
            }),
            left: Arc::default(),
            metrics,
        }
    }

    /// Resolves the members' names once.
    pub async fn resolve(&self) {
        resolve::refresh(&self.name, &self.urls, &self.members).await;
    }

    /// Keeps names resolved and, where it is configured, members probed; never ends. Dropping the
    /// future ends the watch.
    pub async fn tend(&self) {
        let resolving = async {
            loop {
                tokio::time::sleep(RESOLVE_EVERY).await;
                self.resolve().await;
            }
        };
        let probing = async {
            let Some(interval) = self.health_interval else {
                return std::future::pending().await;
            };
            loop {
                probe::all(&self.name, &self.members).await;
                tokio::time::sleep(interval).await;
            }
        };
        let counting = async {
            loop {
                self.count_members();
                self.members.serve_waiting();
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        };
        let ((), (), ()) = tokio::join!(resolving, probing, counting);
    }

    fn count_members(&self) {
        let (inside, outside) = self.members.count();
        let gauge = |state| {
            self.metrics
                .members
                .with_label_values(&[self.name.as_str(), state])
        };
        gauge("in").set(inside);
        gauge("out").set(outside);
    }

    /// Sends a call to a member and waits for the head of its answer, at most until `deadline`.
    ///
    /// `began` is when the call was admitted. `affinity` names what the members should rather not
    /// change. A member
    /// that can't be reached is passed over for the next; once a byte is written there is no next.
    /// `at` is told the address of each member as the call goes to it.
    /// Dropping the future closes the connection, which cancels the call at the backend. Where each
    /// member holds one env, only the way there is closed, and the member counts as busy until it
    /// has answered or closed the way back, at most until `deadline`.
    ///
    /// # Errors
    /// [`SendError`]; the variant says whether anything was sent.
    pub async fn send(
        &self,
        pool: &Arc<Pool>,
        affinity: Affinity,
        mut request: Box<Request<CallBody>>,
        (began, deadline): (Instant, &Deadline),
        at: &mut Option<Arc<str>>,
    ) -> Result<Sent, SendError> {
        let mut tried = Tried::default();
        let mut last_error = None;
        loop {
            let acquired = deadline.limit(self.members.acquire(affinity, &tried));
            let lease = match acquired.await {
                Ok(Ok(lease)) => lease,
                Ok(Err(AcquireError::NoneLeft)) => {
                    return Err(SendError::Unreachable(last_error));
                }
                Ok(Err(AcquireError::OtherCode)) => {
                    let reason = "every member that could be asked was sent another code before";
                    let error = std::io::Error::other(reason);
                    return Err(SendError::Unreachable(Some(error)));
                }
                Ok(Err(AcquireError::Crowded)) => return Err(SendError::Crowded),
                Err(Elapsed) => return Err(SendError::Waited),
            };
            let now = if self.members.may_wait() || !tried.is_empty() {
                Instant::now()
            } else {
                began
            };
            let endpoint = lease.member().endpoint.id;
            *at = Some(Arc::clone(lease.member().endpoint.name()));
            let delivered = if self.members.hold_one_env() {
                let (reach, pool) = (Arc::clone(&self.reach), Arc::clone(pool));
                let under_way = UnderWay::noted();
                let noted = under_way.clone();
                let deadline = deadline.clone();
                let call = async move {
                    let deadline = (now, &deadline);
                    reach.send(&pool, lease, request, deadline, &noted).await
                };
                Outliving::new(call, under_way, Arc::clone(&self.left)).await
            } else {
                let nowhere = UnderWay::default();
                self.reach
                    .send(pool, lease, request, (now, deadline), &nowhere)
                    .await
            };
            match delivered {
                Ok((delivered, lease)) => {
                    return Ok(delivered.into_sent(began, endpoint, Some(lease), pool));
                }
                Err(Undelivered::Failed(error)) => return Err(error),
                Err(Undelivered::Unsent {
                    request: unsent,
                    error,
                }) => {
                    request = unsent;
                    tried.add(endpoint);
                    last_error = error.or(last_error);
                }
            }
        }
    }
}

impl Reach {
    /// Sends a call to the member of its lease, and waits for the head of the answer.
    async fn send(
        &self,
        pool: &Pool,
        mut lease: MemberLease,
        request: Box<Request<CallBody>>,
        (now, deadline): (Instant, &Deadline),
        under_way: &UnderWay,
    ) -> Result<(Delivered, MemberLease), Undelivered> {
        let member = lease.member();
        let tell = |progress: Progress<'_>| match progress {
            Progress::Connected => {
                self.connects.inc();
                member.outage.reached(&self.backend, member);
            }
            Progress::NotConnected(error) => {
                self.connect_failures.inc();
                if let ConnectError::Unreachable(error) = error {
                    member.outage.refused(&self.backend, member, error);
                }
            }
            Progress::Writing(witness) => under_way.begin(witness),
            Progress::Unwritten => under_way.end(),
        };
        let delivered = deliver(pool, &member.endpoint, request, now, deadline, tell).await?;
        lease.answered();
        Ok((delivered, lease))
    }
}

/// What `Host` says to a member: its authority, or `localhost` behind a Unix socket.
fn host_of(url: &UpstreamUrl) -> HeaderValue {
    let text = match url {
        UpstreamUrl::Tcp { .. } => url.to_string().trim_start_matches("http://").to_owned(),
        UpstreamUrl::Unix(_) => "localhost".to_owned(),
    };
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("localhost"))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering::Relaxed;

    use super::*;
    use crate::{backend::WorkersConfig, telemetry::Labels};

    #[tokio::test(start_paused = true)]
    async fn who_waits_is_served_when_a_member_comes_back() {
        let config = "name = \"b\"\nframework = \"0.10.2\"\n\
                      urls = [\"http://127.0.0.1:1\", \"http://127.0.0.1:2\"]";
        let config: Config = toml::from_str(config).unwrap();
        let WorkersConfig::Upstream(pool) = &config.workers else {
            panic!("not an upstream");
        };
        let metrics = Arc::new(Metrics::new(&Labels::default()).unwrap());
        let upstream = Upstream::new(&config, pool, metrics);
        let members = upstream.members.all();
        members[0].unwell.store(true, Relaxed);
        let tried = Tried::default();
        let _busy = upstream
            .members
            .acquire(Affinity::default(), &tried)
            .await
            .unwrap();
        let comes_back = async {
            tokio::time::sleep(Duration::from_secs(2)).await;
            members[0].unwell.store(false, Relaxed);
            tokio::time::sleep(Duration::from_secs(2)).await;
        };
        let served = tokio::select! {
            biased;
            served = upstream.members.acquire(Affinity::default(), &tried) => served.unwrap(),
            () = upstream.tend() => unreachable!("the watch never ends"),
            () = comes_back => panic!("nobody told who waits"),
        };
        assert_eq!(served.member().endpoint.id, members[0].endpoint.id);
    }
}
