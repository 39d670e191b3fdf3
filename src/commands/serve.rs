//! `envgate serve`: runs the gateway.

use std::{fs, io, path::Path, process::ExitCode, sync::Arc};

use anyhow::Context;

use super::{ServeArgs, digest_key::digest_key, output::UsageError};
use crate::{
    backend::{
        self, WorkersConfig,
        process::{self, Custody, Guard, ProcessConfig, watchdog},
    },
    config::{Config, SampleWorker},
    control::{Admin, AdminError},
    env::Env,
    gateway::{Reload, Server, Setup},
    listen::ListenAddr,
    telemetry::{self, Metrics},
};

/// Runs the gateway until it is told to stop; where it starts processes, under a watchdog.
///
/// # Errors
///
/// The configuration is wrong, or the gateway can't start.
pub fn run(args: &ServeArgs) -> anyhow::Result<ExitCode> {
    // Before anything is read: other processes aren't to see what comes of it.
    let guard = Guard::enter()?;
    let config = Config::load(&args.sources())?;
    let is_sample = config.backends.is_empty();
    let config = with_sample(config);
    check_identities(&config)?;
    telemetry::init(&config.log)?;
    let starts_processes = starts_processes(&config);
    if guard.is_none() && starts_processes {
        // The gateway reads it anew: of a pipe it would get nothing, and run with the defaults.
        if let Some(file) = args.config.as_ref().filter(|file| !file.is_file()) {
            let name = file.display();
            return Err(UsageError(format!(
                "a gateway that starts processes reads its configuration more than once, and {name} is no regular file; name one that is"
            ))
            .into());
        }
        let status = watchdog::run_supervised(watchdog::this_program())?;
        return Ok(ExitCode::from(status));
    }
    let custody = match starts_processes {
        true => Some(Custody::new(process::Host::new()?, guard)),
        false => None,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("can't start a runtime")?;
    tell_start(&config, is_sample);
    runtime.block_on(serve(config, custody, args))?;
    Ok(ExitCode::SUCCESS)
}

/// The same configuration; without a backend, one whose processes are the sample worker's.
fn with_sample(mut config: Config) -> Config {
    if config.backends.is_empty() {
        config.backends.push(sample(&config.sample));
    }
    config
}

/// Refuses users that this machine doesn't know, before anything is bound.
fn check_identities(config: &Config) -> Result<(), UsageError> {
    for backend in &config.backends {
        if let WorkersConfig::Process(process) = &backend.workers
            && let Err(error) = process.check_identity()
        {
            let name = &backend.name;
            return Err(UsageError(format!(
                "the processes of backend {name}: {error}"
            )));
        }
    }
    Ok(())
}

fn starts_processes(config: &Config) -> bool {
    let mut backends = config.backends.iter();
    backends.any(|backend| matches!(backend.workers, WorkersConfig::Process(_)))
}

/// What runs where nothing else is configured: this program's own sample worker.
fn sample(config: &SampleWorker) -> backend::Config {
    let framework = config.framework.to_string();
    let mut command: Vec<String> = [
        "/proc/self/exe",
        "worker",
        "--listen",
        "inherit",
        "--framework",
        &framework,
    ]
    .map(str::to_owned)
    .into();
    if let Some(dialect) = config.dialect {
        command.extend(["--dialect", dialect.name()].map(str::to_owned));
    }
    backend::Config {
        name: "sample".to_owned(),
        framework: config.framework.clone(),
        dialect: config.dialect,
        health_interval: None,
        when: None,
        workers: WorkersConfig::Process(ProcessConfig::new(process::Command::from(command))),
    }
}

/// The tables that a running gateway doesn't follow, as far as they can be compared.
fn fixed(config: &Config) -> [(&'static str, String); 4] {
    [
        ("[gateway]", format!("{:?}", config.gateway)),
        ("[env]", format!("{:?}", config.env)),
        ("[admin]", format!("{:?}", config.admin)),
        ("[log]", format!("{:?}", config.log)),
    ]
}

/// What of the configuration the gateway can follow while it runs.
fn routes(config: &Config) -> Reload {
    Reload {
        backends: config.backends.clone(),
        admission: config.admission.clone(),
        instances: config.instances.clone(),
    }
}

fn tell_start(config: &Config, is_sample: bool) {
    let names = config.backends.iter().map(|backend| backend.name.as_str());
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        backends = names.collect::<Vec<_>>().join(", "),
        "starting"
    );
    if is_sample {
        tracing::info!(
            framework = %config.sample.framework,
            "no backend is configured: the sample worker serves, one process for each env; name \
             yours with -- COMMAND or --upstream URL"
        );
    }
}

async fn serve(config: Config, custody: Option<Custody>, args: &ServeArgs) -> anyhow::Result<()> {
    let metrics = Arc::new(Metrics::new(&config.labels).context("can't register the metrics")?);
    let _log = telemetry::write_behind(metrics.log_dropped_total.clone())
        .context("can't start the log's thread")?;
    let has_custody = custody.is_some();
    let fixed = fixed(&config);
    let setup = Setup {
        routes: routes(&config),
        digests: digest_key(config.env.digest_key_file.as_deref())?,
        deployment: deployment_env()?,
        config: config.gateway,
        env: config.env,
        custody,
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
    let ready = || match args.ready_file.as_deref() {
        Some(path) => write_ready_file(path, &listen, admin_url.as_deref()),
        None => Ok(()),
    };
    let served = server
        .run(ready, || reload(args, has_custody, &fixed))
        .await;
    if let Some(admin) = admin {
        admin.stop().await;
    }
    Ok(served?)
}

/// The configuration anew; `None` where it can't be followed, which is told in the log.
fn reload(
    args: &ServeArgs,
    has_custody: bool,
    before: &[(&'static str, String)],
) -> Option<Reload> {
    tracing::info!("reading the configuration anew");
    let config = match Config::load(&args.sources()) {
        Ok(config) => with_sample(config),
        Err(error) => {
            tracing::error!("the configuration stays as it was, for the new one is wrong: {error}");
            return None;
        }
    };
    if starts_processes(&config) && !has_custody {
        tracing::error!(
            "the configuration stays as it was: a gateway that was started without a process \
             backend has no watchdog; restart it to add one"
        );
        return None;
    }
    let changed = fixed(&config).into_iter().zip(before);
    let changed = changed.filter(|(now, before)| now != *before);
    let changed: Vec<_> = changed.map(|((table, _), _)| table).collect();
    if !changed.is_empty() {
        let tables = changed.join(", ");
        tracing::warn!(
            tables,
            "these tables changed, which needs a restart; they stay as they were"
        );
    }
    Some(routes(&config))
}

/// The gateway's own variables, the system's too, but `ENVGATE_*` (CONTRACT 6).
fn deployment_env() -> anyhow::Result<Env> {
    use std::os::unix::ffi::OsStringExt;

    let own = std::env::vars_os().map(|(name, value)| (name.into_vec(), value.into_vec()));
    let own = own.filter(|(name, _)| !name.starts_with(b"ENVGATE_"));
    Ok(Env::from_variables(own)?)
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
