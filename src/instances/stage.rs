//! A table for tests, its processes played by the test: nothing is started.

use std::{num::NonZeroUsize, sync::Arc, time::Instant};

use http::HeaderValue;
use tokio::sync::mpsc;

use super::{
    AdmissionConfig, Config, HotEnv, Instance, InstanceKey, Recipe, RunError, RunLease, Running,
    Table,
    slots::RunId,
    table::{Asked, StartOrder},
};
use crate::{
    backend::{Address, Endpoint},
    env::{DigestKey, EnvString},
};

/// A table, and the orders that it gives.
pub(crate) struct Stage {
    pub(crate) table: Arc<Table>,
    orders: mpsc::UnboundedReceiver<StartOrder>,
}

impl Stage {
    pub(crate) fn new() -> Self {
        let (starts, orders) = mpsc::unbounded_channel();
        let config = Config::default();
        let table = Table::new(config, NonZeroUsize::MAX, u64::MAX, starts);
        let table = Arc::new(table);
        Self { table, orders }
    }

    /// The instance of an env text, as a call makes it.
    pub(crate) fn hot(&self, backend: u64, text: &str) -> Arc<Instance> {
        let digests = DigestKey::from_secret(&[7; 32]).unwrap();
        let env = HotEnv::new(EnvString::parse(text).unwrap(), &digests).unwrap();
        let env = Arc::new(env);
        let key = InstanceKey {
            backend,
            env: Some(*env.env.key()),
            code: None,
        };
        let recipe = || Recipe {
            limits: AdmissionConfig::default().limits_without_env(),
            process: None,
            rev: None,
        };
        self.table.instance(&key, Some(&env), recipe).unwrap()
    }

    /// Lets a call start the instance's process; the call's lease.
    pub(crate) async fn start(&mut self, instance: &Arc<Instance>, pid: i32) -> RunLease {
        let Asked::Waiting(waiting) = self.table.ask(instance, 0) else {
            panic!("it has a process")
        };
        let StartOrder { run, .. } = self.orders.recv().await.unwrap();
        let address = Address::Unix("/s".into());
        let endpoint = Endpoint::new(address, HeaderValue::from_static("h"));
        let running = Arc::new(Running::new(endpoint, pid));
        self.table
            .change(|slots| slots.started(instance, run, running, Instant::now()));
        waiting.told().await.unwrap()
    }

    /// Lets a call try to start the instance's process in vain.
    pub(crate) async fn fail(&mut self, instance: &Arc<Instance>, why: &str) {
        let Asked::Waiting(_waiting) = self.table.ask(instance, 0) else {
            panic!("it has a process")
        };
        let StartOrder { run, .. } = self.orders.recv().await.unwrap();
        let error = Arc::new(RunError::Exited(why.to_owned()));
        self.table
            .change(|slots| slots.start_failed(instance, run, error, Instant::now()));
        self.end(instance, run.generation);
    }

    /// Nothing of one of the instance's processes is left.
    pub(crate) fn end(&self, instance: &Instance, generation: u64) {
        let instance = instance.id();
        let run = RunId {
            instance,
            generation,
        };
        self.table.change(|slots| slots.ended(run));
    }
}
