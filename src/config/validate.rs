//! What only the whole shows: emptiness, bounds, doubles, backends that can't be reached.

use std::{collections::BTreeSet, time::Duration};

use bytesize::ByteSize;

use super::{Config, error::Problem};
use crate::{
    backend::{self, WorkersConfig, process},
    control, gateway, instances,
    listen::ListenAddr,
};

/// No wait of the gateway is meant to last longer; it also keeps clocks from overflowing.
const LONGEST_WAIT: Duration = Duration::from_hours(24);
/// hyper reads heads into a buffer of at least this size.
const SMALLEST_HEADER_LIMIT: ByteSize = ByteSize::kib(8);
/// Far beyond one a core.
const MOST_THREADS: usize = 1024;

/// Checks a configuration whose every value is right by itself.
pub(super) fn validate(config: &Config) -> Result<(), Problem> {
    listen(&config.gateway.listen)?;
    limits(&config.gateway)?;
    waits(&config.gateway)?;
    admin(&config.admin)?;
    if config.log.check().is_err() {
        let fix = "write a level (error, warn, info, debug, trace) or directives like \
                   info,envgate::backend=debug";
        return Err(Problem::refused("log.level", "not a level", fix));
    }
    instances(&config.instances)?;
    backends(&config.backends, &config.instances)
}

fn instances(instances: &instances::Config) -> Result<(), Problem> {
    wait("instances.idle_timeout", instances.idle_timeout)?;
    wait("instances.start_timeout", instances.start_timeout)?;
    if let Some(age) = instances.max_age {
        wait("instances.max_age", age)?;
    }
    if instances.min > instances.max.get() {
        let reason = "more than instances.max";
        let fix = "write a number up to instances.max";
        return Err(Problem::refused("instances.min", reason, fix));
    }
    if instances.max_memory.is_some_and(|size| size.as_u64() == 0) {
        let fix = "write a size like \"512MiB\", or leave it out";
        return Err(Problem::refused(
            "instances.max_memory",
            "no process fits into 0 bytes",
            fix,
        ));
    }
    Ok(())
}

fn listen(addresses: &[ListenAddr]) -> Result<(), Problem> {
    if addresses.is_empty() {
        let fix = "name at least one address, like \"127.0.0.1:8080\"";
        return Err(Problem::refused("gateway.listen", "the list is empty", fix));
    }
    for (index, address) in addresses.iter().enumerate() {
        let takes_a_free_port = matches!(address, ListenAddr::Tcp(tcp) if tcp.port() == 0);
        if !takes_a_free_port && addresses.iter().take(index).any(|other| other == address) {
            let path = format!("gateway.listen.{index}");
            let reason = format!("{address} is there twice");
            return Err(Problem::refused(&path, reason, "name it once"));
        }
    }
    Ok(())
}

fn admin(admin: &control::Config) -> Result<(), Problem> {
    if admin.is_open_to_others() {
        let reason = "others can reach it, and nothing keeps them out";
        let fix = "set admin.token_file, or listen at a loopback address like \"127.0.0.1:9180\"";
        return Err(Problem::refused("admin.listen", reason, fix));
    }
    Ok(())
}

fn limits(gateway: &gateway::Config) -> Result<(), Problem> {
    let sizes = [
        ("gateway.max_request_body", gateway.max_request_body),
        ("gateway.max_response_body", gateway.max_response_body),
        ("gateway.max_body_memory", gateway.max_body_memory),
    ];
    for (path, size) in sizes {
        if size.as_u64() == 0 {
            return Err(Problem::refused(
                path,
                "nothing fits into 0 bytes",
                "write a size like \"1MiB\"",
            ));
        }
    }
    if gateway.max_header_bytes < SMALLEST_HEADER_LIMIT {
        let reason = "less than 8KiB";
        let fix = "write a size from \"8KiB\"";
        return Err(Problem::refused("gateway.max_header_bytes", reason, fix));
    }
    if gateway
        .threads
        .is_some_and(|threads| threads.get() > MOST_THREADS)
    {
        let fix = "write a whole number from 1 to 1024, or leave it out: one a core";
        return Err(Problem::refused("gateway.threads", "too many threads", fix));
    }
    Ok(())
}

fn waits(gateway: &gateway::Config) -> Result<(), Problem> {
    let timeouts = [
        ("gateway.request_timeout", gateway.request_timeout),
        ("gateway.first_byte_timeout", gateway.first_byte_timeout),
        ("gateway.header_timeout", gateway.header_timeout),
        ("gateway.body_timeout", gateway.body_timeout),
        ("gateway.idle_timeout", gateway.idle_timeout),
        ("gateway.send_timeout", gateway.send_timeout),
    ];
    for (path, timeout) in timeouts {
        wait(path, timeout)?;
    }
    // A grace of 0 is a choice: calls under way are cut off at once.
    wait(
        "gateway.shutdown_grace",
        gateway.shutdown_grace.max(Duration::from_nanos(1)),
    )
}

fn wait(path: &str, wait: Duration) -> Result<(), Problem> {
    let reason = if wait.is_zero() {
        "nothing is done in no time"
    } else if wait > LONGEST_WAIT {
        "longer than a day"
    } else {
        return Ok(());
    };
    let fix = "write a duration like \"500ms\", \"60s\" or \"1m 30s\", at most \"1day\"";
    Err(Problem::refused(path, reason, fix))
}

/// The backends that the tables make.
pub(super) fn backends_of(tables: Vec<backend::Table>) -> Result<Vec<backend::Config>, Problem> {
    let backend = |(index, table): (usize, backend::Table)| {
        backend::Config::try_from(table).map_err(|error| {
            let key = error.key().map(|key| format!(".{key}")).unwrap_or_default();
            let told = error.to_string();
            let (reason, fix) = told
                .split_once("; ")
                .unwrap_or((&told, "leave one of the two out"));
            Problem::refused(&format!("backend.{index}{key}"), reason, fix)
        })
    };
    tables.into_iter().enumerate().map(backend).collect()
}

/// Each process of a range takes a user of it, so the range must have room for all.
fn users(path: &str, process: &process::ProcessConfig, max: usize) -> Result<(), Problem> {
    match process.users() {
        Some(users) if users < max as u64 => {
            let reason = format!("a range of {users} users is less than instances.max ({max})");
            let fix = "write a longer range, or a smaller instances.max";
            Err(Problem::refused(path, reason, fix))
        }
        _ => Ok(()),
    }
}

fn backends(backends: &[backend::Config], instances: &instances::Config) -> Result<(), Problem> {
    let mut names = BTreeSet::new();
    let mut takes_all: Option<&str> = None;
    for (index, backend) in backends.iter().enumerate() {
        let path = |key: &str| format!("backend.{index}.{key}");
        let name = backend.name.as_str();
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if name.is_empty() || !name.chars().all(is_plain) {
            let fix = "write letters, digits, dots, dashes and underscores, like \"eu-1\"";
            return Err(Problem::refused(&path("name"), "not a name", fix));
        }
        if !names.insert(name) {
            let reason = format!("another backend is named {name}");
            let fix = "give each backend a name of its own";
            return Err(Problem::refused(&path("name"), reason, fix));
        }
        if let Some(first) = takes_all {
            let reason = format!("no call ever gets here: {first}, before it, takes all");
            let fix = format!("put {first} last, or give it a when");
            return Err(Problem::refused(&format!("backend.{index}"), reason, fix));
        }
        if backend.when.as_ref().is_none_or(backend::When::is_empty) {
            takes_all = Some(name);
        }
        if let WorkersConfig::Upstream(upstream) = &backend.workers {
            urls(&path("urls"), &upstream.urls)?;
            if let Some(slice) = upstream.env_slice {
                wait(&path("env_slice"), slice)?;
            }
        }
        if let WorkersConfig::Process(process) = &backend.workers {
            // A grace of 0 is a choice: SIGKILL at once.
            let grace = process.stop_grace.max(Duration::from_nanos(1));
            wait(&path("stop_grace"), grace)?;
            users(&path("user"), process, instances.max.get())?;
        }
        if let Some(interval) = backend.health_interval {
            wait(&path("health_interval"), interval)?;
        }
    }
    Ok(())
}

fn urls(path: &str, urls: &[backend::UpstreamUrl]) -> Result<(), Problem> {
    if urls.is_empty() {
        let fix = "name at least one member, like \"http://127.0.0.1:9001\"";
        return Err(Problem::refused(path, "the list is empty", fix));
    }
    let mut seen = BTreeSet::new();
    for (index, url) in urls.iter().enumerate() {
        let text = url.to_string();
        if seen.contains(&text) {
            let reason = format!("{text} is there twice");
            return Err(Problem::refused(
                &format!("{path}.{index}"),
                reason,
                "name it once",
            ));
        }
        seen.insert(text);
    }
    Ok(())
}
