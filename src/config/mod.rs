//! The whole configuration: composed, read and validated before a port is bound.
//!
//! Four sources lie over one another, key by key: flags over the file over the C# worker's own
//! variables over the defaults. They become one `tree` whose every value knows where it was
//! written; the modules' `Config` types are read from that tree once (`read`) and checked as a
//! whole once (`validate`), so that each error, whatever raised it, names its place, its reason
//! and its fix (`error`).
//!
//! Deliberately absent: watching the file. It is read again when somebody says so.

mod error;
mod keys;
mod private;
mod read;
mod tree;
mod validate;
mod variables;

use std::path::PathBuf;

use serde::Deserialize;

use crate::{
    backend, control, env,
    facet::{Dialect, Framework},
    gateway,
    instances::{self, AdmissionConfig},
    telemetry::{self, Labels},
};

pub use error::ConfigError;
pub use variables::Variables;

use error::{Problem, Source};
use tree::{Node, Origin, Value};

/// What a gateway runs with.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "tables")]
pub struct Config {
    /// `[gateway]`: where it listens and what it puts up with.
    pub gateway: gateway::Config,
    /// `[env]`: where the env of a call comes from.
    pub env: env::Config,
    /// `[admission]`: how many calls an env may have under way.
    pub admission: AdmissionConfig,
    /// `[instances]`: how many processes there are, and for how long.
    pub instances: instances::Config,
    /// `[admin]`: where the admin API listens.
    pub admin: control::Config,
    /// `[log]`: what the program tells about itself.
    pub log: telemetry::Config,
    /// `[[backend]]`: where calls go, in the order in which they are tried. None: processes of the
    /// sample worker.
    #[serde(skip)]
    pub backends: Vec<backend::Config>,
    #[serde(rename = "backend")]
    tables: Vec<backend::Table>,
    /// The sample worker that stands in where there is no backend; from flags only.
    #[serde(skip)]
    pub sample: SampleWorker,
    /// What the reference's metrics are labelled with; from variables only.
    #[serde(skip)]
    pub labels: Labels,
}

/// The sample worker that `serve` runs where there is no backend.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub struct SampleWorker {
    /// The framework it claims to have.
    pub framework: Framework,
    /// What it speaks; by the framework where it isn't said.
    pub dialect: Option<Dialect>,
}

impl Default for SampleWorker {
    fn default() -> Self {
        Self {
            framework: Framework::assumed(),
            dialect: None,
        }
    }
}

/// What a configuration is made of.
#[derive(Default)]
pub struct Sources {
    /// The TOML file.
    pub file: Option<PathBuf>,
    /// What the command line says.
    pub flags: FlagValues,
    /// What the C# worker would read from its environment.
    pub variables: Variables,
}

/// The flags that are configuration, as they were typed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FlagValues {
    /// `--listen`: replaces `gateway.listen`.
    pub listen: Vec<String>,
    /// `--upstream`: the members of one backend named `default`.
    pub upstream: Vec<String>,
    /// What follows `--`: the command of one process backend named `default`.
    pub command: Vec<String>,
    /// `--framework`: of that backend, or of the sample worker.
    pub framework: Option<String>,
    /// `--dialect`: of that backend, or of the sample worker.
    pub dialect: Option<String>,
    /// `--env-source`: replaces `env.source`.
    pub env_source: Option<String>,
    /// `--set key=value`: overrides any key of the file, in this order.
    pub set: Vec<String>,
}

impl Config {
    /// Reads and validates the sources.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong, with its place, reason and fix.
    pub fn load(sources: &Sources) -> Result<Self, ConfigError> {
        let text = match &sources.file {
            Some(file) => error::read_file(file)?,
            None => String::new(),
        };
        Self::from_text(&text, sources)
    }

    /// The same, with the file's text at hand: it isn't read again.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong, with its place, reason and fix.
    pub fn from_text(text: &str, sources: &Sources) -> Result<Self, ConfigError> {
        let source = Source {
            file: sources.file.as_deref(),
            text,
        };
        let mut root = Node::from_toml(text).map_err(|error| source.syntax(&error))?;
        let sample = lay_flags(&mut root, &sources.flags).map_err(|at| source.report(at))?;
        sources
            .variables
            .lay_under(&mut root)
            .map_err(|at| source.report(at))?;
        let place = |problem: Problem| source.report((root.origin_of(&problem), problem));
        let mut config = Self::deserialize(read::Reader(&root)).map_err(place)?;
        config.backends =
            validate::backends_of(std::mem::take(&mut config.tables)).map_err(place)?;
        validate::validate(&config).map_err(place)?;
        config.sample = SampleWorker::deserialize(read::Reader(&sample))
            .map_err(|problem| source.report((sample.origin_of(&problem), problem)))?;
        config.labels = sources.variables.labels().map_err(|at| source.report(at))?;
        Ok(config)
    }
}

/// A problem and where its value was written.
type Placed = (Origin, Problem);

/// Lays the flags over the file; what of them is the sample worker's comes back.
fn lay_flags(root: &mut Node, flags: &FlagValues) -> Result<Node, Placed> {
    let mut sample = Node::empty_table(Origin::Nowhere);
    if !flags.listen.is_empty() {
        let listen = Node::flag_list("--listen", &flags.listen);
        root.put(&["gateway", "listen"], listen)?;
    }
    if let Some(source) = &flags.env_source {
        let source = Node::flag("--env-source", source);
        root.put(&["env", "source"], source)?;
    }
    let has_backends = root.get("backend").is_some();
    let of_backend = [
        ("--framework", "framework", &flags.framework),
        ("--dialect", "dialect", &flags.dialect),
    ];
    let (flag, key, texts) = match flags.command.is_empty() {
        true => ("--upstream", "urls", &flags.upstream),
        false => ("--", "command", &flags.command),
    };
    if texts.is_empty() {
        for (flag, key, text) in of_backend {
            let Some(text) = text else { continue };
            let node = Node::flag(flag, text);
            if has_backends {
                return Err((node.origin, Problem::flag_beside_backends(key)));
            }
            sample.put(&[key], node)?;
        }
    } else {
        let list = Node::flag_list(flag, texts);
        if has_backends {
            return Err((list.origin, Problem::workers_beside_backends(key)));
        }
        root.put(&["backend", "0", "name"], Node::flag(flag, "default"))?;
        root.put(&["backend", "0", key], list)?;
        if flag == "--" && !flags.upstream.is_empty() {
            let urls = Node::flag_list("--upstream", &flags.upstream);
            return Err((urls.origin, Problem::upstream_beside_command()));
        }
        for (flag, key, text) in of_backend {
            if let Some(text) = text {
                root.put(&["backend", "0", key], Node::flag(flag, text))?;
            }
        }
    }
    for set in &flags.set {
        lay_set(root, set)?;
    }
    Ok(sample)
}

/// Deeper than any key of the configuration, and far from the stack's end.
const DEEPEST_KEY: usize = 16;

/// Lays one `--set key=value` over everything else.
fn lay_set(root: &mut Node, set: &str) -> Result<(), Placed> {
    let origin = Origin::Flag(format!("--set {set}"));
    let Some((key, value)) = set.split_once('=') else {
        return Err((origin, Problem::set_without_value()));
    };
    let path: Vec<&str> = key.trim().split('.').collect();
    if path.contains(&"") || path.len() > DEEPEST_KEY {
        return Err((origin, Problem::set_without_value()));
    }
    let value = Value::from_toml_or_text(value, &origin);
    root.put(&path, Node { origin, value })
}

#[cfg(test)]
mod tests;
