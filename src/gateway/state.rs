//! What all threads of the gateway share.

use std::{
    net::IpAddr,
    num::NonZeroUsize,
    sync::{
        Arc, Once,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue};

use super::{
    Config, Prune, TrustedPeer, access_log,
    budget::Budget,
    deployment::Deployment,
    drain::Drain,
    error::{self, Failure},
    reload::Reload,
};
use crate::{
    backend::{
        self, Backend, Workers,
        process::{self, Custody},
    },
    env::{self, DigestKey, Env, Fallback, Source},
    facet::{Dialect, ErrorNumber, headers::X_UNISAVE_INITIALIZATION_RECIPE_URL, legacy::EnvField},
    instances::{AdmissionConfig, HotEnv, Instance, InstanceKey, Recipe, Table},
    telemetry::Metrics,
};

/// What the gateway is made of.
pub struct Setup {
    /// The `[gateway]` table.
    pub config: Config,
    /// The `[env]` table.
    pub env: env::Config,
    /// What keeps the processes of process backends; `None` where there is no such backend.
    pub custody: Option<Custody>,
    /// Backends, admission and instances: what a reload changes, too.
    pub routes: Reload,
    /// What keys the digests that are shown.
    pub digests: DigestKey,
    /// The gateway's own variables, but `ENVGATE_*`.
    pub deployment: Env,
    /// Where measurements go.
    pub metrics: Arc<Metrics>,
}

/// Why a gateway can't be set up.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The deployment's env steers the gateway in a way that isn't one.
    #[error("the gateway's own environment: {0}")]
    Setting(#[source] env::SettingError),
    /// Variables that a legacy backend can't be told.
    #[error(
        "these variables of the gateway's own environment can't be written as an env text: {}; \
         unset them, or set env.unrepresentable = \"skip\"",
        names.join(", ")
    )]
    Unrepresentable {
        /// The variables' names.
        names: Vec<String>,
    },
    /// A backend's processes can't be run as it is configured.
    #[error(transparent)]
    Backend(process::SetupError),
    /// The access log's thread can't be started.
    #[error("the access log can't be started")]
    AccessLog(#[source] std::io::Error),
}

/// Where calls go and how many: what a new configuration changes while the gateway runs.
#[derive(Debug)]
pub(super) struct Routes {
    pub(super) admission: AdmissionConfig,
    pub(super) backends: Vec<Arc<Backend>>,
}

/// What all threads share.
#[derive(Debug)]
pub(super) struct Gateway {
    pub(super) config: Config,
    pub(super) drain: Drain,
    pub(super) metrics: Arc<Metrics>,
    pub(super) access_log: Option<access_log::Log>,
    pub(super) budget: Arc<Budget>,
    pub(super) table: Arc<Table>,
    env: env::Config,
    routes: ArcSwap<Routes>,
    digests: DigestKey,
    /// The gateway's own env, where calls may run under it.
    deployment: Option<Deployment>,
    requests: AtomicU64,
    untrusted_seen: Once,
}

impl Gateway {
    pub(super) fn new(
        setup: Setup,
        table: Arc<Table>,
        access_log: Option<access_log::Log>,
    ) -> Result<Self, SetupError> {
        let metrics = setup.metrics;
        let may_run_under_it =
            setup.env.source == Source::Deployment || setup.env.fallback == Fallback::Deployment;
        let told_to_legacy = setup
            .routes
            .backends
            .iter()
            .any(|backend| backend.dialect() == Dialect::Legacy);
        let policy = setup.env.unrepresentable;
        let deployment = may_run_under_it.then(|| {
            Deployment::new(
                setup.deployment,
                &setup.digests,
                policy,
                told_to_legacy,
                &metrics,
            )
        });
        let budget = Budget::new(setup.config.max_body_memory.as_u64());
        Ok(Self {
            drain: Drain::default(),
            access_log,
            budget: Arc::new(budget),
            table,
            env: setup.env,
            routes: ArcSwap::from_pointee(Routes {
                admission: setup.routes.admission.clone(),
                backends: Vec::new(),
            }),
            digests: setup.digests,
            deployment: deployment.transpose()?,
            requests: AtomicU64::new(0),
            untrusted_seen: Once::new(),
            config: setup.config,
            metrics,
        })
    }

    /// Envs that are kept ready at once.
    pub(super) const fn max_hot(&self) -> NonZeroUsize {
        self.env.max_hot
    }

    pub(super) fn digests(&self) -> &DigestKey {
        &self.digests
    }

    /// Which call it is, for the access log; 0 where there is none.
    pub(super) fn next_request_index(&self) -> u64 {
        let log = self.access_log.as_ref();
        log.map_or(0, |_| self.requests.fetch_add(1, Relaxed))
    }

    pub(super) fn routes(&self) -> Arc<Routes> {
        self.routes.load_full()
    }

    /// What a backend is made with.
    pub(super) fn backend_context(&self) -> backend::Context {
        backend::Context {
            metrics: Arc::clone(&self.metrics),
            reserved: self.env.reserved.clone(),
        }
    }

    /// Calls that come from now on follow these.
    pub(super) fn follow(&self, routes: Routes) {
        self.routes.store(Arc::new(routes));
    }

    /// What the envelope's `env` is to this gateway.
    pub(super) fn env_field(&self) -> EnvField {
        match self.env.source {
            Source::Request => EnvField::Required,
            Source::Deployment => EnvField::Ignored,
        }
    }

    /// The deployment's env, where every call runs under it.
    pub(super) fn deployment_in_force(&self) -> Option<&Arc<HotEnv>> {
        self.deployment_for_modern()
            .filter(|_| self.env.source == Source::Deployment)
    }

    /// The deployment's env, where a modern call may run under it.
    pub(super) fn deployment_for_modern(&self) -> Option<&Arc<HotEnv>> {
        self.deployment.as_ref().map(|deployment| &deployment.hot)
    }

    /// The deployment's env text as a JSON string, for a legacy backend.
    pub(super) fn deployment_text(&self) -> Option<&Bytes> {
        self.deployment.as_ref().map(|deployment| deployment.text())
    }

    /// The first backend that takes a call with this env and these headers (4004).
    pub(super) fn backend_for(
        &self,
        env: Option<&HotEnv>,
        headers: &HeaderMap,
    ) -> Result<Arc<Backend>, Failure> {
        let env = env.map(|env| &*env.env);
        let takes = |backend: &Arc<Backend>| backend.when.matches(env, headers);
        let routes = self.routes.load();
        let found = routes.backends.iter().find(|backend| takes(backend));
        found.cloned().ok_or_else(|| {
            Failure::new(
                ErrorNumber::NoBackend,
                "no backend serves this env: none of the configured `when` matches",
            )
        })
    }

    /// The instance for an env with its code at a backend.
    pub(super) fn instance(
        &self,
        backend: &Backend,
        env: Option<&Arc<HotEnv>>,
        code: Option<HeaderValue>,
    ) -> Result<Arc<Instance>, Failure> {
        let (code, rev, process) = match &backend.workers {
            Workers::Upstream(_) => (code, None, None),
            Workers::Process(process) => {
                if let Some(error) = env.and_then(|env| env.oversize.as_ref()) {
                    return Err(error::invalid_env(error));
                }
                let (code, rev) = process.code(code);
                if rev.is_none() && process.needs_rev() {
                    return Err(error::no_code());
                }
                (code, rev, Some(process))
            }
        };
        let key = InstanceKey {
            backend: backend.id,
            env: env.map(|env| *env.env.key()),
            code,
        };
        let recipe = || {
            let admission = &self.routes.load().admission;
            let limits = match env {
                Some(env) => admission.limits(&backend.framework, &env.settings),
                None => admission.limits_without_env(),
            };
            let one_at_a_time = process.is_some() && backend.framework.one_call_at_a_time();
            Recipe {
                limits: if one_at_a_time {
                    limits.one_at_a_time()
                } else {
                    limits
                },
                process: process.cloned(),
                rev,
            }
        };
        self.table
            .instance(&key, env, recipe)
            .map_err(error::table_full)
    }

    /// The code that a call names. Where the env isn't the client's own, only trusted peers may
    /// name it; from others the header is dropped, counted, and logged once (CONTRACT 6).
    pub(super) fn code(
        &self,
        headers: &mut HeaderMap,
        peer: Option<IpAddr>,
        env_is_the_clients: bool,
    ) -> Option<HeaderValue> {
        let code = headers.get(X_UNISAVE_INITIALIZATION_RECIPE_URL)?.clone();
        if env_is_the_clients || self.trusts(peer) {
            // A second one would reach a worker that was chosen by the first alone.
            headers.insert(X_UNISAVE_INITIALIZATION_RECIPE_URL, code.clone());
            return Some(code);
        }
        headers.remove(X_UNISAVE_INITIALIZATION_RECIPE_URL);
        self.metrics.dropped_headers_total.inc();
        self.untrusted_seen.call_once(|| {
            tracing::warn!(
                ?peer,
                "a recipe header came from a peer that gateway.trusted_peers doesn't list; it is \
                 dropped, and so are further ones (envgate_dropped_headers_total counts them)"
            );
        });
        None
    }

    pub(super) fn trusts(&self, peer: Option<IpAddr>) -> bool {
        self.config
            .trusted_peers
            .iter()
            .any(|trusted| match (trusted, peer) {
                (TrustedPeer::Unix, None) => true,
                (TrustedPeer::Net(net), Some(peer)) => net.contains(&peer.to_canonical()),
                _ => false,
            })
    }

    /// Whether an answer to a call under this env is pruned.
    pub(super) fn prunes(&self, env: Option<&HotEnv>) -> bool {
        match self.config.prune {
            Prune::Off => false,
            Prune::All => true,
            Prune::EnvTypeProduction => env.is_some_and(|env| env.production),
        }
    }
}
