//! `envgate explain`: what the gateway makes of an env.
//!
//! Values are masked whole: of each only whether it is empty is told. Comments and ignored lines are
//! told by their number alone, as what was commented out is often a secret too.

mod nearest;
mod render;

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use anyhow::Context;
use clap::Args;
use http::{HeaderMap, HeaderName, HeaderValue};
use zeroize::Zeroizing;

use super::{
    admin::AdminArgs,
    args::OutputFormat,
    digest_key::digest_key,
    output::{Style, UsageError, print},
};
use crate::{
    backend::{self, WorkersConfig},
    config::{Config, Sources, Variables},
    env::{DigestKey, EnvDigest, EnvString, Glob, Line, Reserved, WorkerSettings},
    facet::legacy::{self, EnvField},
    instances::CallLimits,
};

/// Beyond the largest body that a gateway is likely to take.
const MAX_INPUT_BYTES: u64 = 64 << 20;

const EXAMPLES: &str = "\
Values are never shown: a variable is `set` or `empty`. Lines that are comments or ignored are told
by their number alone. With --nearest a running gateway is asked which variables tell a hot env from
the hot env nearest to it: why two calls that should share an instance don't.

Examples:
  envgate explain game.env
  envgate explain --config envgate.toml --header 'x-region: eu' game.env
  jq -r .legacy_request.body call.json | envgate explain --output json -
  envgate explain --nearest 2913c3455e08";

/// `envgate explain`.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct ExplainArgs {
    /// An env text or a whole legacy envelope; `-` is stdin.
    #[arg(default_value = "-")]
    pub file: PathBuf,
    /// The configuration that the gateway would have, in TOML.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// A header of the request, for the backends' `when`. Repeatable.
    #[arg(long, value_name = "NAME: VALUE", value_parser = header)]
    pub header: Vec<(HeaderName, HeaderValue)>,
    /// Instead: how the hot env with this digest differs from the one nearest to it.
    #[arg(long, value_name = "DIGEST", value_parser = digest, conflicts_with_all = ["file", "config", "header"])]
    pub nearest: Option<String>,
    /// The gateway to ask.
    #[command(flatten)]
    pub admin: AdminArgs,
    /// The form of the answer.
    #[arg(long, value_enum, default_value_t)]
    pub output: OutputFormat,
}

/// Why a text isn't a digest.
#[derive(Debug, thiserror::Error)]
#[error("not a digest; write the 12 hex digits that the log shows, like 2913c3455e08")]
struct DigestError;

fn digest(text: &str) -> Result<String, DigestError> {
    let is_digest = text.len() == 12 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
    is_digest.then(|| text.to_owned()).ok_or(DigestError)
}

/// Why a text isn't a header.
#[derive(Debug, thiserror::Error)]
#[error("not a header; write it like 'x-region: eu'")]
struct HeaderError;

fn header(text: &str) -> Result<(HeaderName, HeaderValue), HeaderError> {
    let (name, value) = text.split_once(':').ok_or(HeaderError)?;
    let name = name.trim().parse().map_err(|_| HeaderError)?;
    let value = value.trim().parse().map_err(|_| HeaderError)?;
    Ok((name, value))
}

/// Explains an env.
///
/// # Errors
///
/// The configuration is wrong, or the input can't be read or isn't an env; or the gateway that is
/// asked doesn't answer.
pub fn run(args: &ExplainArgs) -> anyhow::Result<()> {
    if let Some(digest) = &args.nearest {
        return nearest::run(digest, &args.admin, args.output);
    }
    if args.admin.is_given() {
        let text = "--admin and --token-file go with --nearest: without it no gateway is asked";
        return Err(UsageError(text.to_owned()).into());
    }
    let config = Config::load(&Sources {
        file: args.config.clone(),
        variables: Variables::of_process(),
        ..Sources::default()
    })?;
    let key = Key::of(&config)?;
    let input = read(&args.file)?;
    let headers: HeaderMap = args.header.iter().cloned().collect();
    let explanation = Explanation::of(&config, &key, &headers, &input)?;
    let text = match args.output {
        OutputFormat::Text => explanation.text(Style::of_stdout()),
        OutputFormat::Json => format!("{:#}\n", explanation.json()),
    };
    print(text.as_bytes())
}

fn read(file: &Path) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let source: Box<dyn Read> = if file == Path::new("-") {
        Box::new(io::stdin().lock())
    } else {
        let opened = File::open(file);
        Box::new(opened.with_context(|| format!("can't open {}", file.display()))?)
    };
    let mut input = Zeroizing::new(Vec::new());
    source
        .take(MAX_INPUT_BYTES + 1)
        .read_to_end(&mut input)
        .with_context(|| format!("can't read {}", file.display()))?;
    if input.len() as u64 > MAX_INPUT_BYTES {
        let text = format!("{} is over 64 MiB: no gateway takes that", file.display());
        return Err(UsageError(text).into());
    }
    Ok(input)
}

/// The key of digests, and whether others have it too.
struct Key {
    key: DigestKey,
    is_shared: bool,
}

impl Key {
    fn of(config: &Config) -> anyhow::Result<Self> {
        let file = config.env.digest_key_file.as_deref();
        Ok(Self {
            key: digest_key(file)?,
            is_shared: file.is_some(),
        })
    }
}

/// What the gateway makes of an env.
struct Explanation {
    /// `Facet/Method` where the input is an envelope.
    call: Option<String>,
    env_is_ignored: bool,
    digest: EnvDigest,
    digest_is_shared: bool,
    variables: Vec<Variable>,
    /// Lines that hold no variable, and what they are.
    others: Vec<(usize, &'static str)>,
    unrepresentable: Vec<String>,
    /// The env is larger than a process can be given.
    oversize: Option<String>,
    limits: Result<CallLimits, String>,
    backend: Backend,
}

/// A variable, without its value.
struct Variable {
    name: String,
    is_empty: bool,
    is_reserved: bool,
    /// Where it is written; the last counts.
    lines: Vec<usize>,
}

/// Who serves the env.
enum Backend {
    Sample,
    Nobody,
    Named {
        name: String,
        kind: &'static str,
        dialect: &'static str,
        framework: String,
    },
}

impl Explanation {
    fn of(config: &Config, key: &Key, headers: &HeaderMap, input: &[u8]) -> anyhow::Result<Self> {
        let (call, text) = env_text(input)?;
        let env = EnvString::parse(&text).context("the env is refused (1104)")?;
        let mut lines: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        let mut others = Vec::new();
        for (number, line) in EnvString::lines(&text) {
            match line {
                Line::Variable { key, .. } => lines.entry(key).or_default().push(number),
                Line::Comment => others.push((number, "a comment")),
                Line::NoEquals => others.push((number, "ignored: it has no =")),
                Line::EmptyKey => others.push((number, "ignored: it has no name before its =")),
                Line::Blank => {}
            }
        }
        let backend = config
            .backends
            .iter()
            .find(|backend| backend.takes(Some(&env), headers));
        let reserved = reserved(config, backend);
        let unrepresentable = EnvString::write(&env).unrepresentable;
        let variables = env.iter().map(|(name, value)| {
            let name = String::from_utf8_lossy(name);
            Variable {
                is_empty: value.is_empty(),
                is_reserved: reserved.contains(&name),
                lines: lines.get(&*name).cloned().unwrap_or_default(),
                name: name.into_owned(),
            }
        });
        let limits = WorkerSettings::read(&env)
            .map(|settings| limits(config, backend, &settings))
            .map_err(|error| error.to_string());
        Ok(Self {
            call,
            env_is_ignored: config.env.source != crate::env::Source::Request,
            digest: key.key.digest(env.key()),
            digest_is_shared: key.is_shared,
            variables: variables.collect(),
            others,
            unrepresentable,
            oversize: env.check_size().err().map(|error| error.to_string()),
            limits,
            backend: match backend {
                None if config.backends.is_empty() => Backend::Sample,
                None => Backend::Nobody,
                Some(backend) => Backend::Named {
                    name: backend.name.clone(),
                    kind: match &backend.workers {
                        WorkersConfig::Upstream(_) => "upstream",
                        WorkersConfig::Process(_) => "process",
                    },
                    dialect: backend.dialect().name(),
                    framework: backend.framework.to_string(),
                },
            },
        })
    }

    /// The names that are on several lines.
    fn doubled(&self) -> BTreeSet<&str> {
        let doubled = self
            .variables
            .iter()
            .filter(|variable| variable.lines.len() > 1);
        doubled.map(|variable| variable.name.as_str()).collect()
    }
}

/// The names that the env can't set: the built-in ones, the configured ones, and those of the
/// backend's own variables (CONTRACT 6).
fn reserved(config: &Config, backend: Option<&backend::Config>) -> Reserved {
    let own = backend.and_then(|backend| match &backend.workers {
        WorkersConfig::Process(process) => Some(&process.env),
        WorkersConfig::Upstream(_) => None,
    });
    let own = own.into_iter().flat_map(|own| own.iter());
    let own = own.map(|(name, _)| Glob::new(name));
    Reserved::new(config.env.reserved.iter().cloned().chain(own))
}

/// How many calls the env may have under way. A process of a framework that runs one call at a time
/// gets no more, whatever the env says (CONTRACT 5).
fn limits(
    config: &Config,
    backend: Option<&backend::Config>,
    settings: &WorkerSettings,
) -> CallLimits {
    let framework = backend.map_or(&config.sample.framework, |backend| &backend.framework);
    let limits = config.admission.limits(framework, settings);
    let is_process =
        backend.is_none_or(|backend| matches!(backend.workers, WorkersConfig::Process(_)));
    match is_process && framework.one_call_at_a_time() {
        true => limits.one_at_a_time(),
        false => limits,
    }
}

/// The env text, and the call where the input is an envelope: where it begins with a brace.
fn env_text(input: &[u8]) -> anyhow::Result<(Option<String>, Cow<'_, str>)> {
    let bare = input.strip_prefix(b"\xef\xbb\xbf").unwrap_or(input);
    if bare.trim_ascii_start().starts_with(b"{") {
        let envelope = legacy::decode(input, EnvField::Required);
        let envelope = envelope.context("the envelope is refused")?;
        let call = &envelope.call;
        let call = format!("{}/{}", call.facet.as_str(), call.method.as_str());
        let text = envelope.env_text().context("the envelope is refused")?;
        return Ok((Some(call), text));
    }
    // The cause would show where the text stops being UTF-8, which is of use and tells no value.
    let text = str::from_utf8(input).context("the env isn't UTF-8")?;
    Ok((None, Cow::Borrowed(text)))
}

#[cfg(test)]
mod tests;
