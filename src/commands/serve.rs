//! `envgate serve`: runs the gateway.

use std::{fs, io, path::Path, sync::Arc};

use anyhow::Context;
use tokio::sync::oneshot;

use super::{ServeArgs, digest_key::digest_key, output::UsageError};
use crate::{
    backend,
    config::{Config, SampleWorker},
    control::{Admin, AdminError},
    env::Env,
    gateway::{Reload, Server, Setup},
    listen::ListenAddr,
    telemetry::{self, Metrics},
    worker::{Address, Options, Worker},
};

/// Runs the gateway until it is told to stop.
///
/// # Errors
///
/// The configuration is wrong, or the gateway can't start.
pub fn run(args: &ServeArgs) -> anyhow::Result<()> {
    let mut config = Config::load(&args.sources())?;
    telemetry::init(&config.log)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("can't start a runtime")?;
    runtime.block_on(async {
        let sample = match config.backends.is_empty() {
            true => Some(Sample::start(&config.sample).await?),
            false => None,
        };
        if let Some(sample) = &sample {
            config.backends.push(sample.backend(&config.sample)?);
        }
        let served = serve(config, args.ready_file.as_deref()).await;
        if let Some(sample) = sample {
            sample.stop().await;
        }
        served
    })
}

async fn serve(config: Config, ready_file: Option<&Path>) -> anyhow::Result<()> {
    let metrics = Arc::new(Metrics::new(&config.labels).context("can't register the metrics")?);
    let names = config.backends.iter().map(|backend| backend.name.as_str());
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        backends = names.collect::<Vec<_>>().join(", "),
        "starting"
    );
    let setup = Setup {
        digests: digest_key(config.env.digest_key_file.as_deref())?,
        deployment: deployment_env()?,
        config: config.gateway,
        env: config.env,
        routes: Reload {
            backends: config.backends,
            admission: config.admission,
            instances: crate::instances::Config::default(),
        },
        processes: Arc::new(crate::backend::process::ProcessHost),
        metrics,
    };
    let server = Server::bind(setup)?;
    let listen = server
        .addresses()
        .context("can't tell the bound addresses")?;
    for address in &listen {
        tracing::info!(%address, "listening");
    }
    let admin = Admin::bind(
        &config.admin,
        Arc::clone(server.table()),
        server.backend_names(),
    );
    let admin = admin.map_err(|error| match error {
        AdminError::Token(_) | AdminError::Open(_) => UsageError(error.to_string()).into(),
        error => anyhow::Error::new(error),
    })?;
    let admin_url = admin.as_ref().map(Admin::url);
    if let Some(address) = &admin_url {
        tracing::info!(%address, "the admin API is on");
    }
    let admin = admin.map(Admin::start);
    let ready = || match ready_file {
        Some(path) => write_ready_file(path, &listen, admin_url.as_deref()),
        None => Ok(()),
    };
    let served = server.run(ready, || None).await;
    if let Some(admin) = admin {
        admin.stop().await;
    }
    Ok(served?)
}

/// The gateway's own variables, the system's too, but `ENVGATE_*` (CONTRACT 6).
fn deployment_env() -> anyhow::Result<Env> {
    use std::os::unix::ffi::OsStringExt;

    let own = std::env::vars_os().map(|(name, value)| (name.into_vec(), value.into_vec()));
    let own = own.filter(|(name, _)| !name.starts_with(b"ENVGATE_"));
    Ok(Env::from_variables(own)?)
}

/// The sample worker that stands in where no backend is configured.
struct Sample {
    address: String,
    stop: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<()>,
}

impl Sample {
    async fn start(config: &SampleWorker) -> anyhow::Result<Self> {
        let options = Options {
            framework: config.framework.clone(),
            dialect: config.dialect,
            own_process: false,
        };
        let any_port = Address::Tcp(([127, 0, 0, 1], 0).into());
        let worker = Worker::bind(&any_port, options)
            .await
            .context("can't start the sample worker")?;
        let address = worker.local_addr().to_string();
        tracing::info!(
            address,
            framework = %config.framework,
            "no backend is configured: the sample worker serves; name yours with --upstream URL"
        );
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(worker.run(async {
            // A stop that is dropped stops as well.
            let _ = stopped.await;
        }));
        Ok(Self {
            address,
            stop,
            task,
        })
    }

    fn backend(&self, config: &SampleWorker) -> anyhow::Result<backend::Config> {
        Ok(backend::Config {
            name: "sample".to_owned(),
            kind: backend::Kind::Upstream,
            framework: config.framework.clone(),
            dialect: config.dialect,
            urls: vec![self.address.parse()?],
            balance: backend::Balance::default(),
            health_interval: None,
            when: None,
            process: None,
        })
    }

    async fn stop(self) {
        drop(self.stop);
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the sample worker failed");
        }
    }
}

/// Says in a file where the gateway listens, once it does: for scripts that let it choose ports.
///
/// Never half a file: it is written beside its place and moved there.
fn write_ready_file(path: &Path, listen: &[ListenAddr], admin: Option<&str>) -> io::Result<()> {
    let listen: Vec<String> = listen.iter().map(ToString::to_string).collect();
    let mut ready = serde_json::json!({ "listen": listen });
    if let (Some(admin), Some(ready)) = (admin, ready.as_object_mut()) {
        ready.insert("admin".to_owned(), admin.into());
    }
    let beside = path.with_extension("partial");
    let written = fs::write(&beside, format!("{ready}\n")).and_then(|()| fs::rename(&beside, path));
    written.map_err(|error| {
        let name = path.display();
        io::Error::new(
            error.kind(),
            format!("can't write the ready file {name}: {error}"),
        )
    })
}
