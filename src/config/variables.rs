//! The C# worker's own variables, which count where file and flags are silent.
//!
//! An empty variable counts as none. A variable that something else overrides isn't read, so a
//! wrong one doesn't matter there. Errors name the variable and never show its value.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    num::NonZeroU32,
};

use super::{
    Labels, Placed,
    error::Problem,
    tree::{Node, Origin, Value},
};

const HTTP_URL: &str = "WORKER_HTTP_URL";
const CONCURRENCY: &str = "WORKER_DEFAULT_REQUEST_CONCURRENCY";
const QUEUE: &str = "WORKER_DEFAULT_MAX_QUEUE_LENGTH";
const GRACE: &str = "WORKER_GRACEFUL_SHUTDOWN_SECONDS";
const ENVIRONMENT: &str = "WORKER_ENVIRONMENT_ID";
const BACKEND: &str = "WORKER_BACKEND_ID";

/// The C# worker's variables, and no others.
#[derive(Default)]
pub struct Variables(BTreeMap<&'static str, OsString>);

impl Variables {
    /// Those of this process.
    #[must_use]
    pub fn of_process() -> Self {
        Self::from_fn(|name| std::env::var_os(name))
    }

    /// Those that a function knows.
    pub fn from_fn(get: impl Fn(&str) -> Option<OsString>) -> Self {
        let names = [HTTP_URL, CONCURRENCY, QUEUE, GRACE, ENVIRONMENT, BACKEND];
        let set = names.into_iter().filter_map(|name| {
            let value = get(name).filter(|value| !value.is_empty())?;
            Some((name, value))
        });
        Self(set.collect())
    }

    /// Lays them under what file and flags say.
    pub(super) fn lay_under(&self, root: &mut Node) -> Result<(), Placed> {
        for (name, path, read) in RULES {
            let said = path
                .iter()
                .try_fold(&*root, |node, step| node.get(step))
                .is_some();
            if said {
                continue;
            }
            let Some(text) = self.text(name)? else {
                continue;
            };
            let value = read(text.trim()).map_err(|(reason, fix)| wrong(name, reason, fix))?;
            let origin = Origin::Variable(name);
            root.put(path, Node { origin, value })?;
        }
        Ok(())
    }

    /// The labels of the reference's metrics.
    pub(super) fn labels(&self) -> Result<Labels, Placed> {
        let label = |name| Ok::<_, Placed>(self.text(name)?.map(str::to_owned));
        Ok(Labels {
            environment: label(ENVIRONMENT)?,
            backend: label(BACKEND)?,
        })
    }

    fn text(&self, name: &'static str) -> Result<Option<&str>, Placed> {
        let Some(value) = self.0.get(name) else {
            return Ok(None);
        };
        let text = value.to_str();
        text.map(Some)
            .ok_or_else(|| wrong(name, "it isn't UTF-8", "set it to UTF-8 text, or unset it"))
    }
}

fn wrong(name: &'static str, reason: &str, fix: &str) -> Placed {
    (Origin::Variable(name), Problem::whole(reason, fix))
}

/// A reason and a fix.
type Refusal = (&'static str, &'static str);
type Rule = (
    &'static str,
    &'static [&'static str],
    fn(&str) -> Result<Value, Refusal>,
);

const RULES: [Rule; 4] = [
    (HTTP_URL, &["gateway", "listen"], listen),
    (CONCURRENCY, &["admission", "concurrency"], concurrency),
    (QUEUE, &["admission", "queue"], queue),
    (GRACE, &["gateway", "shutdown_grace"], grace),
];

fn listen(text: &str) -> Result<Value, Refusal> {
    const FIX: &str = "write it like http://*:8080 or http://127.0.0.1:8080, or use gateway.listen";
    let refusal = ("not a URL to listen at", FIX);
    let authority = text.strip_prefix("http://").ok_or(refusal)?;
    let authority = authority.strip_suffix('/').unwrap_or(authority);
    let is_bare_v6 = authority.ends_with(']');
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !is_bare_v6 => (host, port.parse().map_err(|_| refusal)?),
        _ => (authority, 80),
    };
    let address: IpAddr = match host {
        "*" | "+" => Ipv4Addr::UNSPECIFIED.into(),
        "localhost" => Ipv4Addr::LOCALHOST.into(),
        host => {
            let bare = host
                .strip_prefix('[')
                .and_then(|host| host.strip_suffix(']'));
            bare.unwrap_or(host).parse().map_err(|_| refusal)?
        }
    };
    let address = SocketAddr::new(address, port).to_string();
    Ok(Value::List(vec![Node {
        origin: Origin::Variable(HTTP_URL),
        value: Value::Text(address),
    }]))
}

fn concurrency(text: &str) -> Result<Value, Refusal> {
    if text == "null" {
        return Ok(Value::Text(text.to_owned()));
    }
    const FIX: &str = "set it to a whole number from 1, or to null for no limit";
    count(text).ok_or(("not a number of calls", FIX))
}

fn queue(text: &str) -> Result<Value, Refusal> {
    count(text).ok_or(("not a number of calls", "set it to a whole number from 1"))
}

fn count(text: &str) -> Option<Value> {
    let number: NonZeroU32 = text.parse().ok()?;
    Some(Value::Integer(number.get().into()))
}

fn grace(text: &str) -> Result<Value, Refusal> {
    const FIX: &str = "set it to a whole number of seconds, at most 86400";
    let seconds: u32 = text.parse().map_err(|_| ("not a number of seconds", FIX))?;
    Ok(Value::Text(format!("{seconds}s")))
}
