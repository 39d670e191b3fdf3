//! Arguments that several commands share, or that are configuration.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::config::{FlagValues, Sources, Variables};

/// The form of a command's data.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// For people.
    #[default]
    Text,
    /// For scripts: one JSON object.
    Json,
}

const SERVE_EXAMPLES: &str = "\
Each key comes from the highest source that says it: flags, the file, the C# worker's variables
(WORKER_HTTP_URL, WORKER_DEFAULT_REQUEST_CONCURRENCY, WORKER_DEFAULT_MAX_QUEUE_LENGTH,
WORKER_GRACEFUL_SHUTDOWN_SECONDS, WORKER_ENVIRONMENT_ID, WORKER_BACKEND_ID), the defaults.

Examples:
  envgate serve
  envgate serve -- python3 worker.py {port}
  envgate serve --framework 0.10.2 -- /opt/game/worker --listen {socket}
  envgate serve --listen 0.0.0.0:8080 --upstream http://10.0.0.11:8080 --dialect legacy
  envgate serve --config envgate.toml --set gateway.access_log=off
  envgate serve --config envgate.toml --set backend.0.balance=least_requests";

/// `envgate serve`.
#[derive(Debug, Clone, Args)]
#[command(after_help = SERVE_EXAMPLES)]
pub struct ServeArgs {
    /// The configuration, in TOML.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where to listen: an address and port like 127.0.0.1:8080, or unix:/path. Repeatable.
    #[arg(long, value_name = "ADDR")]
    pub listen: Vec<String>,
    /// A member of the backend "default": `http://host:port` or unix:/path. Repeatable. Without any,
    /// without a command and without a configured backend, processes of the sample worker serve.
    #[arg(long, value_name = "URL")]
    pub upstream: Vec<String>,
    /// The framework inside the workers, like 0.12.0.
    #[arg(long, value_name = "VERSION")]
    pub framework: Option<String>,
    /// What the workers speak: legacy or modern. Default: by framework, legacy below 0.11.0.
    #[arg(long)]
    pub dialect: Option<String>,
    /// Where the env of a call comes from: request or deployment.
    #[arg(long, value_name = "SOURCE")]
    pub env_source: Option<String>,
    /// Overrides any key of the file; the value is TOML, or text where it is none. Repeatable.
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Behind `--`: a worker and its arguments, of which the gateway runs one process for each env,
    /// as the backend "default". `{port}` or `{socket}` in it stands for where it is to listen;
    /// without either it is given a listening socket as descriptor 3, as systemd does. Not together
    /// with --upstream or with backends of a file.
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<String>,
    /// A file to write once connections are accepted: the bound addresses, as one line of JSON.
    #[arg(long, value_name = "FILE")]
    pub ready_file: Option<PathBuf>,
}

impl ServeArgs {
    /// What the configuration is made of.
    #[must_use]
    pub fn sources(&self) -> Sources {
        Sources {
            file: self.config.clone(),
            flags: FlagValues {
                listen: self.listen.clone(),
                upstream: self.upstream.clone(),
                command: self.command.clone(),
                framework: self.framework.clone(),
                dialect: self.dialect.clone(),
                env_source: self.env_source.clone(),
                set: self.set.clone(),
            },
            variables: Variables::of_process(),
        }
    }
}
