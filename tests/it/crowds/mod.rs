//! Many clients at once before real processes: one start for a crowd, envs that must never mix, and
//! a gateway that is killed under load.
//!
//! The clients are tasks of one thread: ten thousand of them as threads would be a test of the
//! machine.

mod callers;
mod envs;
mod herd;
mod killed;
mod processes;

use std::time::Duration;

use crate::harness::{Gateway, PROGRAM, Setup};
use callers::Caller;

/// A backend of sample workers.
fn sample() -> String {
    format!(
        "name = \"sample\"\ncommand = [{PROGRAM:?}, \"worker\", \"--listen\", \"inherit\", \"--framework\", \"0.12.0\"]\n"
    )
}

/// A gateway before one backend, with nothing in its access log.
fn gateway(config: &str, backend: &str) -> Setup {
    let mut tables: toml::Table = config.parse().expect("the test's configuration is TOML");
    let gateway = tables
        .entry("gateway")
        .or_insert_with(|| toml::Table::new().into());
    let gateway = gateway.as_table_mut().expect("[gateway] is a table");
    gateway.entry("access_log").or_insert_with(|| "off".into());
    Setup::new(&format!("{tables}\n[[backend]]\n{backend}"))
}

/// So many connections to a gateway.
async fn connect(gateway: &Gateway, count: usize) -> Vec<Caller> {
    let mut callers = Vec::with_capacity(count);
    for _ in 0..count {
        callers.push(
            Caller::connect(gateway.address())
                .await
                .expect("connecting"),
        );
    }
    callers
}

/// Runs what all clients do on this thread, for so long at most.
fn run<T>(limit: Duration, all: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let done = runtime.block_on(async { tokio::time::timeout(limit, all).await });
    done.unwrap_or_else(|_| panic!("not within {limit:?}"))
}

/// Lets this process, and those that it starts, have as many descriptors as the system allows.
fn raise_descriptors() -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    let current = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    current.map_or(usize::MAX, |most| {
        usize::try_from(most).unwrap_or(usize::MAX)
    })
}
