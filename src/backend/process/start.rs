//! Starting a process and waiting until it serves.

use std::{
    collections::BTreeSet,
    env,
    ffi::OsString,
    io,
    os::{fd::OwnedFd, unix::ffi::OsStringExt},
    path::PathBuf,
    process,
    sync::Arc,
    time::Duration,
};

use http::HeaderValue;
use tokio::time::{Instant, sleep_until};

use super::{
    ConfigError, Host, IdentityError, Listen, Phase, Process, ProcessConfig, Readiness, Rev,
    StartError,
    child::{Child, Holdings},
    environment::{Environment, Sources},
    identity::{Identity, IdentityLease},
    launch::{LaunchFailure, LaunchSpec},
    listen::Place,
    mask::Masks,
    output::{Output, Source},
    placeholders::Placeholders,
    ready::{Probe, WrongEnv},
    spare::{Slot, Slots, Spare},
};
use crate::{
    backend::Context,
    env::{BASE_VARIABLE, Env, EnvDigest, Glob, Reserved},
};

/// How often a process is asked how it is, where readiness is its health and nothing else is said:
/// often enough to follow a worker that wants to be replaced, and nothing beside its calls.
const HEALTH_INTERVAL: Duration = Duration::from_secs(10);

/// Names of dropped variables that a start lists in the log.
const MAX_NAMES_SHOWN: usize = 32;

/// Starts the processes of one backend.
#[derive(Debug)]
pub struct ProcessBackend {
    name: String,
    config: ProcessConfig,
    listen: Listen,
    identity: Identity,
    reserved: Reserved,
    base: Vec<(String, Vec<u8>)>,
    needs_rev: bool,
    health_interval: Option<Duration>,
    spare: Slots,
    /// Every start under way has it, too.
    starting: Arc<()>,
}

/// What one process is to be.
struct Plan {
    place: Place,
    /// For it to inherit.
    socket: Option<OwnedFd>,
    environment: Environment,
    spec: LaunchSpec,
}

/// Why a backend can't be as it is configured.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// Two keys don't go together.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Its user or group isn't known.
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

/// What is to be started.
#[derive(Debug)]
pub struct Order<'a> {
    /// Its number, which no other process of the gateway has, of no backend.
    pub generation: u64,
    /// The value of its `ENVGATE_PROOF`: 64 hex digits that nobody else knows.
    pub nonce: &'a str,
    /// The variables of the call.
    pub env: &'a Env,
    /// What may be shown of them.
    pub digest: EnvDigest,
    /// The code, where the call names one.
    pub rev: Option<&'a Rev>,
    /// How long it may take from its start until it is ready.
    pub start_timeout: Duration,
    /// The directory of a cgroup for the process to be in.
    pub cgroup: Option<PathBuf>,
}

impl ProcessBackend {
    /// A backend as it is configured. The reserved names are the built-in ones, the configured ones
    /// and those of the backend's own variables. What is inherited is taken from the gateway's
    /// variables now.
    ///
    /// # Errors
    ///
    /// [`SetupError`].
    pub fn new(
        name: &str,
        config: ProcessConfig,
        health_interval: Option<Duration>,
        context: &Context,
    ) -> Result<Self, SetupError> {
        config.check()?;
        let own = config.env.iter().map(|(name, _)| Glob::new(name));
        let reserved = Reserved::new(context.reserved.iter().cloned().chain(own));
        let inherit: BTreeSet<_> = config.inherit.iter().cloned().collect();
        let base = inherit.into_iter().filter_map(|name| {
            let value = env::var_os(&name)?;
            Some((name, value.into_vec()))
        });
        let by_health = (config.readiness == Readiness::Health).then_some(HEALTH_INTERVAL);
        Ok(Self {
            name: name.to_owned(),
            listen: config.listen(),
            identity: Identity::resolve(config.user.as_ref(), config.group.as_ref())?,
            reserved,
            base: base.collect(),
            needs_rev: config.needs_rev(),
            health_interval: health_interval.or(by_health),
            spare: Slots::default(),
            starting: Arc::default(),
            config,
        })
    }

    /// The backend's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How often a process is asked how it is.
    #[must_use]
    pub const fn health_interval(&self) -> Option<Duration> {
        self.health_interval
    }

    /// Whether a process can be started only for a call that names its code.
    #[must_use]
    pub const fn needs_rev(&self) -> bool {
        self.needs_rev
    }

    /// What of a recipe header tells instances apart, and what of it the command is told: the
    /// whole header and nothing, or where the backend has a pattern for it what that takes.
    #[must_use]
    pub fn code(&self, header: Option<HeaderValue>) -> (Option<HeaderValue>, Option<Rev>) {
        let pattern = self.config.code.as_ref().zip(header.as_ref());
        let rev = pattern.and_then(|(pattern, header)| pattern.capture(header.as_bytes()));
        let code = match &rev {
            Some(rev) => HeaderValue::from_str(rev.as_str()).ok(),
            None => header,
        };
        (code, rev)
    }

    /// How its processes are configured.
    #[must_use]
    pub const fn config(&self) -> &ProcessConfig {
        &self.config
    }

    /// Starts a process and waits until it serves, for as long as a start may take. To be called on
    /// the runtime of the thread that supervises.
    ///
    /// Dropping the future kills the process.
    ///
    /// # Errors
    ///
    /// [`StartError`]; the process and its group are dead then. What it wrote last is in the log.
    pub async fn start(&self, host: &Host, order: Order<'_>) -> Result<Process, StartError> {
        let _starting = Arc::clone(&self.starting);
        let started_at = Instant::now();
        let (process, dropped) = self.spawn(host, &order, started_at).await?;
        if !dropped.is_empty() {
            let names = dropped.get(..MAX_NAMES_SHOWN).unwrap_or(&dropped);
            tracing::warn!(
                backend = self.name, digest = %order.digest, generation = order.generation, ?names,
                count = dropped.len(), "the env sets reserved names; the worker doesn't get them"
            );
        }
        let Err(mut error) = self.until_ready(&process, order.start_timeout).await else {
            return Ok(process);
        };
        let tail = process.give_up().await;
        if let StartError::Exited { status, .. } = error
            && let Some(failure) = LaunchFailure::find(status, tail.iter().map(String::as_str))
        {
            error = StartError::Launch(failure);
        }
        tracing::warn!(
            backend = self.name, digest = %order.digest, generation = order.generation, %error,
            program = self.config.command.first().map(String::as_str),
            output = ?tail, "a worker didn't start"
        );
        Err(error)
    }

    async fn until_ready(
        &self,
        process: &Process,
        start_timeout: Duration,
    ) -> Result<(), StartError> {
        let mut phase = Phase::Starting;
        let outcome = tokio::select! {
            // Whoever has exited is not asked again: another may listen where it did.
            biased;
            status = process.exited() => Err(Some(status)),
            ready = process.probe.wait(&mut phase) => Ok(ready),
            () = sleep_until(process.started_at + start_timeout) => Err(None),
        };
        match outcome {
            Ok(Ok(())) => Ok(()),
            Ok(Err(WrongEnv)) => Err(StartError::WrongEnv),
            Err(Some(status)) => Err(StartError::Exited { status, phase }),
            Err(None) => Err(StartError::TimedOut {
                after: start_timeout,
                phase,
            }),
        }
    }

    /// Starts a spare launcher for the next start, where there is none, the backend has a process, and
    /// no start is under way, which it would only slow down. To be called on the runtime of the thread
    /// that supervises.
    pub fn prepare(&self, host: &Host) {
        if Arc::strong_count(&self.starting) > 1 {
            return;
        }
        let filled = self.spare.fill(|| {
            let Some(identity) = self.identity.lease(&host.users) else {
                return Ok(None);
            };
            let spec = LaunchSpec {
                socket: false,
                waits: true,
                ..self.launch_spec(&identity, Vec::new())
            };
            // A port can't be kept, so it is chosen as late as can be.
            let place = match self.listen {
                Listen::Tcp => None,
                Listen::Unix | Listen::Inherit => {
                    let place = Place::make(self.listen, &identity, host);
                    Some(place.map_err(io::Error::other)?)
                }
            };
            Spare::start(&spec, place, identity, host).map(Some)
        });
        if let Err(error) = filled {
            tracing::debug!(backend = self.name, %error, "no launcher is started ahead");
        }
    }

    /// Starts a process, out of a spare where there is one; also gives the names of the env that it
    /// doesn't get.
    async fn spawn(
        &self,
        host: &Host,
        order: &Order<'_>,
        started_at: Instant,
    ) -> Result<(Process, Vec<String>), StartError> {
        if order.rev.is_none() && self.needs_rev {
            return Err(StartError::NoRev);
        }
        host.keep_zombies();
        let slot = self.spare.hold(&host.spares);
        if let Some(mut spare) = slot.take()
            && let place = spare.take_place()
            && let Some(identity) = spare.identity()
        {
            let plan = self.plan(host, order, identity, place)?;
            let variables = &plan.environment.variables;
            let launched = spare.launch(&plan.spec, variables, plan.socket.as_ref());
            match launched.await {
                Ok(child) => return self.follow(child, plan, order, slot, started_at),
                Err(error) => {
                    tracing::debug!(backend = self.name, %error, "a spare launcher is of no use");
                }
            }
        }
        let take = || self.identity.lease(&host.users);
        let identity = match take() {
            Some(identity) => identity,
            None => host
                .spares
                .make_room(take)
                .await
                .ok_or(StartError::NoUser)?,
        };
        let mut plan = self.plan(host, order, &identity, None)?;
        let launcher = host.launcher().as_os_str();
        let variables = &plan.environment.variables;
        let launched = plan
            .spec
            .spawn(launcher, Some(variables), plan.socket.take());
        let launched = launched.map_err(StartError::spawn)?;
        let holdings = Holdings {
            place: None,
            identity,
        };
        let child = Child::watch(launched, holdings, &host.reaper);
        let child = child.map_err(StartError::spawn)?;
        self.follow(child, plan, order, slot, started_at)
    }

    /// What a process is to be.
    fn plan(
        &self,
        host: &Host,
        order: &Order<'_>,
        identity: &IdentityLease,
        place: Option<(Place, Option<OwnedFd>)>,
    ) -> Result<Plan, StartError> {
        let (place, socket) = match place {
            Some(made) => made,
            None => Place::make(self.listen, identity, host).map_err(StartError::place)?,
        };
        let placeholders = Placeholders {
            port: place.port(),
            socket: place.socket(),
            rev: order.rev,
        };
        let environment = Environment::build(&Sources {
            base: &self.base,
            own: &self.config.env,
            placeholders: &placeholders,
            env: order.env,
            reserved: &self.reserved,
            nonce: order.nonce,
        })
        .map_err(StartError::Env)?;
        let command = self.config.command.iter();
        let command = command.map(|part| OsString::from(placeholders.fill(part)));
        let spec = self.launch_spec(identity, command.collect());
        let (bytes, room) = (environment.variables.size() + spec.size(), host.room());
        if bytes > room {
            return Err(StartError::TooLarge { bytes, room });
        }
        Ok(Plan {
            place,
            socket,
            environment,
            spec,
        })
    }

    /// The process that a child becomes. It is killed where that fails.
    fn follow(
        &self,
        mut child: Child,
        plan: Plan,
        order: &Order<'_>,
        slot: Arc<Slot>,
        started_at: Instant,
    ) -> Result<(Process, Vec<String>), StartError> {
        let Environment {
            variables,
            dropped,
            proof,
        } = plan.environment;
        let probe = Probe {
            endpoint: plan.place.endpoint.clone(),
            listen: self.listen,
            readiness: self.config.readiness,
            group: child.pid(),
            own_user: child.identity().and_then(IdentityLease::own_user),
            proof,
        };
        child.hold(plan.place);
        if let Some(cgroup) = &order.cgroup {
            child.enter(cgroup.clone());
        }
        let source = Source {
            digest: order.digest,
            instance: order.generation,
        };
        let masks = Masks::new(secrets(&variables, &self.base));
        let (stdout, stderr) = child.take_output();
        let output = Output::follow(stdout, stderr, source, masks).map_err(StartError::spawn)?;
        let process = Process {
            child,
            output,
            probe,
            started_at,
            _spare: slot,
        };
        Ok((process, dropped))
    }

    fn launch_spec(&self, identity: &IdentityLease, command: Vec<OsString>) -> LaunchSpec {
        LaunchSpec {
            parent: process::id(),
            memory: self.config.limits.memory.map(|size| size.as_u64()),
            open_files: self.config.limits.open_files,
            group: identity.group,
            user: identity.user,
            cwd: self.config.cwd.clone(),
            socket: self.listen == Listen::Inherit,
            waits: false,
            command,
        }
    }
}

/// The values that the log mustn't show: all but what any process here has.
fn secrets<'a>(
    variables: &'a Env,
    base: &'a [(String, Vec<u8>)],
) -> impl Iterator<Item = &'a [u8]> {
    let is_base = |name: &[u8], value: &[u8]| {
        let mut base = base.iter();
        base.any(|(base, inherited)| base.as_bytes() == name && inherited == value)
    };
    variables.iter().filter_map(move |(name, value)| {
        let is_secret = name != BASE_VARIABLE.as_bytes() && !is_base(name, value);
        is_secret.then_some(value)
    })
}
