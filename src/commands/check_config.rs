//! `envgate check-config`: reads a configuration and says what it means.
//!
//! The file alone counts: neither flags nor the C# worker's variables, nor the files that it names,
//! which are the serving machine's.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::{
    args::OutputFormat,
    output::{Style, aligned, print},
};
use crate::{
    backend::{self, UpstreamConfig, WorkersConfig},
    config::{Config, Sources},
    env,
};

const EXAMPLES: &str = "\
Says on stdout what the file means; what is wrong goes to stderr, with exit code 2.

Examples:
  envgate check-config envgate.toml
  envgate check-config --output json envgate.toml | jq .backends";

/// `envgate check-config`.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct CheckConfigArgs {
    /// The configuration, in TOML.
    pub file: PathBuf,
    /// The form of the answer.
    #[arg(long, value_enum, default_value_t)]
    pub output: OutputFormat,
}

/// Reads and sums up a configuration.
///
/// # Errors
///
/// It is wrong.
pub fn run(args: &CheckConfigArgs) -> anyhow::Result<()> {
    let config = Config::load(&Sources {
        file: Some(args.file.clone()),
        ..Sources::default()
    })?;
    let file = args.file.display().to_string();
    let text = match args.output {
        OutputFormat::Text => text(&file, &config, Style::of_stdout()),
        OutputFormat::Json => format!("{:#}\n", json(&file, &config)),
    };
    print(text.as_bytes())
}

/// How configuration calls the source.
pub(super) const fn source_name(source: env::Source) -> &'static str {
    match source {
        env::Source::Request => "request",
        env::Source::Deployment => "deployment",
    }
}

fn listen(config: &Config) -> Vec<String> {
    let addresses = config.gateway.listen.iter();
    addresses.map(ToString::to_string).collect()
}

/// Where the admin API listens, where it does.
fn admin(config: &Config) -> Option<String> {
    let listen = config.admin.listen.as_ref()?;
    let token = match config.admin.token_file {
        Some(_) => "with a token",
        None => "without a token",
    };
    Some(format!("{listen}, {token}"))
}

fn text(file: &str, config: &Config, style: Style) -> String {
    let mut rows = vec![
        ["listen".to_owned(), listen(config).join(", ")],
        [
            "env".to_owned(),
            format!("from the {}", source_name(config.env.source)),
        ],
    ];
    if let Some(admin) = admin(config) {
        rows.push(["admin".to_owned(), admin]);
    }
    if config.backends.is_empty() {
        rows.push([
            "backend".to_owned(),
            "none: processes of the sample worker".to_owned(),
        ]);
    }
    for backend in &config.backends {
        rows.push(["backend".to_owned(), backend_text(backend)]);
    }
    format!("{}\n{}", style.bold(&format!("{file}: ok")), aligned(&rows))
}

fn backend_text(backend: &backend::Config) -> String {
    let takes = if backend.when.is_some() {
        "by `when`"
    } else {
        "all calls"
    };
    format!(
        "{}: {takes}, {}, framework {}, {}",
        backend.name,
        backend.dialect().name(),
        backend.framework,
        workers_text(&backend.workers)
    )
}

fn workers_text(workers: &WorkersConfig) -> String {
    match workers {
        WorkersConfig::Upstream(upstream) => format!("at {}", urls(upstream).join(", ")),
        WorkersConfig::Process(process) => {
            let program = process.command.first().map_or("", String::as_str);
            format!(
                "a process of {program} for each env, reached by {}",
                process.listen()
            )
        }
    }
}

fn urls(upstream: &UpstreamConfig) -> Vec<String> {
    upstream.urls.iter().map(ToString::to_string).collect()
}

fn json(file: &str, config: &Config) -> Value {
    let backend = |backend: &backend::Config| {
        let mut shown = serde_json::Map::new();
        let mut show = |key: &str, value: Value| shown.insert(key.to_owned(), value);
        show("name", json!(backend.name));
        show("dialect", json!(backend.dialect().name()));
        show("framework", json!(backend.framework.to_string()));
        show("conditional", json!(backend.when.is_some()));
        match &backend.workers {
            WorkersConfig::Upstream(upstream) => {
                show("kind", json!("upstream"));
                show("urls", json!(urls(upstream)));
            }
            WorkersConfig::Process(process) => {
                show("kind", json!("process"));
                show("command", json!(*process.command));
                show("listen", json!(process.listen().to_string()));
            }
        }
        Value::Object(shown)
    };
    let backends: Vec<Value> = config.backends.iter().map(backend).collect();
    json!({
        "file": file,
        "ok": true,
        "listen": listen(config),
        "env_source": source_name(config.env.source),
        "admin": config.admin.listen.as_ref().map(ToString::to_string),
        "backends": backends,
    })
}
