//! `envgate worker`: runs the sample worker.

use std::io;

use anyhow::Context;
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::output::print;
use crate::{
    facet::{Dialect, Framework},
    gateway::ListenAddr,
    worker::{Address, Options, Worker},
};

const FACETS: &str = "\
Facets:
  EchoFacet/Echo(x)                returns x, byte for byte
  EnvFacet/Digest(name)            {\"name\",\"set\",\"digest\"}: 12 hex digits of BLAKE3 of a variable's value;
                                   modern: of this process, legacy: of the envelope's env
  TimeFacet/Sleep(ms)              returns null after so long, at most 60000 ms
  FailFacet/Throw(message)         throws an unknown exception
  FailFacet/ThrowKnown(message)    throws a known one
  FailFacet/Crash()                answers 500 with X-Unisave-Error-Response: 1.0
  LogFacet/Write(message, count)   writes so many log entries, at most 1000
  SessionFacet/Count()             counts such calls of a session; starts one where there is none

GET /health answers OK. Frameworks up to 0.11.0 serve one call at a time. The URL goes to stdout.

Examples:
  envgate worker --listen 127.0.0.1:9001 --framework 0.12.0
  envgate worker --listen unix:/tmp/worker.sock --framework 0.12.0 --dialect legacy";

/// `envgate worker`.
#[derive(Debug, Clone, Args)]
#[command(after_help = FACETS)]
pub struct WorkerArgs {
    /// Where to listen: an address and port like 127.0.0.1:9001 (port 0 takes a free one), or
    /// unix:/path.
    #[arg(long, value_name = "ADDR")]
    pub listen: ListenAddr,
    /// The framework it claims to have, like 0.12.0.
    #[arg(long, value_name = "VERSION")]
    pub framework: Framework,
    /// What it speaks: legacy or modern. Default: by framework, legacy below 0.11.0.
    #[arg(long)]
    pub dialect: Option<Dialect>,
}

/// Runs the worker until SIGTERM or SIGINT.
///
/// # Errors
///
/// The address can't be listened at.
pub fn run(args: &WorkerArgs) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("can't start a runtime")?;
    runtime.block_on(async {
        let stop = stop_signal().context("can't wait for signals")?;
        let address = match &args.listen {
            ListenAddr::Tcp(address) => Address::Tcp(*address),
            ListenAddr::Unix(path) => Address::Unix(path.clone()),
        };
        let options = Options {
            framework: args.framework.clone(),
            dialect: args.dialect,
        };
        let worker = Worker::bind(&address, options)
            .await
            .with_context(|| format!("can't listen at {}", args.listen))?;
        print(format!("{}\n", worker.local_addr()).as_bytes())?;
        worker.run(stop).await;
        Ok(())
    })
}

/// Ready at the first SIGTERM or SIGINT from now on.
fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
