//! A new configuration while the gateway runs: what it changes, and what it leaves alone.
//!
//! Backends, admission and instances follow it. A backend whose table stays as it was keeps its
//! members, connections and processes; one that changed is a new one, and the old one's processes
//! finish their calls and end. Listeners never close. What is fixed when the gateway starts
//! (`[gateway]`, `[env]`, `[log]`, `[admin]`) needs a restart.

use std::{collections::HashMap, sync::Arc};

use tokio::task::{AbortHandle, JoinSet};

use super::state::{Gateway, Routes};
use crate::{
    backend::{self, Backend, Workers, process},
    instances::{self, AdmissionConfig},
};

/// What of a configuration the gateway can follow while it runs.
#[derive(Debug, Clone)]
pub struct Reload {
    /// `[[backend]]`, in order.
    pub backends: Vec<backend::Config>,
    /// `[admission]`.
    pub admission: AdmissionConfig,
    /// `[instances]`.
    pub instances: instances::Config,
}

/// The backends in force, and what keeps watch over each.
#[derive(Debug, Default)]
pub(super) struct Backends {
    tended: HashMap<u64, AbortHandle>,
}

impl Backends {
    /// Makes these the backends, and keeps watch over those that are new.
    ///
    /// # Errors
    /// One of them can't be as it is configured; then all stay what they were.
    pub(super) async fn follow(
        &mut self,
        gateway: &Gateway,
        reload: Reload,
        tasks: &mut JoinSet<()>,
    ) -> Result<(), process::SetupError> {
        let before = gateway.routes();
        let kept = |config: &backend::Config| {
            let mut before = before.backends.iter();
            before.find(|backend| backend.is_as(config)).cloned()
        };
        let context = gateway.backend_context();
        let backend = |config| match kept(config) {
            Some(backend) => Ok(backend),
            None => Backend::new(config, &context).map(Arc::new),
        };
        let backends = reload.backends.iter().map(backend);
        let backends = backends.collect::<Result<Vec<_>, _>>()?;
        let was_there = |id: u64| before.backends.iter().any(|backend| backend.id == id);
        let (_, new): (Vec<_>, Vec<_>) = backends
            .iter()
            .cloned()
            .partition(|backend| was_there(backend.id));
        for backend in &new {
            if let Workers::Upstream(upstream) = &backend.workers {
                upstream.resolve().await;
                let upstream = Arc::clone(upstream);
                let tended = tasks.spawn(async move { upstream.tend().await });
                self.tended.insert(backend.id, tended);
            }
        }
        let stays = |id: u64| backends.iter().any(|backend| backend.id == id);
        let gone: Vec<_> = before
            .backends
            .iter()
            .filter(|backend| !stays(backend.id))
            .map(Arc::clone)
            .collect();
        gateway.table.configure(reload.instances);
        gateway.follow(Routes {
            admission: reload.admission,
            backends,
        });
        for backend in &gone {
            gateway.table.retire_backend(backend.id);
            if let Some(tended) = self.tended.remove(&backend.id) {
                tended.abort();
            }
        }
        let names = |backends: &[Arc<Backend>]| {
            let names: Vec<_> = backends
                .iter()
                .map(|backend| backend.name.as_str())
                .collect();
            names.join(", ")
        };
        if !before.backends.is_empty() {
            let (new, gone) = (names(&new), names(&gone));
            tracing::info!(new, gone, "the new configuration is in force");
        }
        Ok(())
    }
}
