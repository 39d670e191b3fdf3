//! `envgate worker`: runs the sample worker.

use std::{io, str::FromStr};

use anyhow::Context;
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

use super::output::print;
use crate::{
    facet::{Dialect, Framework},
    listen::{ListenAddr, ListenAddrError},
    worker::{Address, Inherited, Options, Worker},
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
  HealthFacet/Ail()                from now on /health answers 503, as a C# worker's does that wants to
                                   be restarted
  ProcessFacet/Pid()               its process id
  ProcessFacet/Exit(code)          ends the process at once, in the middle of the call
  MemoryFacet/Hold(mib)            holds so many MiB from now on, at most 1024; dies where it can't

GET /health answers OK, and where ENVGATE_PROOF is set carries X-Envgate-Env-Proof. Frameworks up to
0.11.0 serve one call at a time. The URL goes to stdout.

Examples:
  envgate worker --listen 127.0.0.1:9001 --framework 0.12.0
  envgate worker --listen unix:/tmp/worker.sock --framework 0.12.0 --dialect legacy
  systemd-socket-activate -l 9001 envgate worker --listen inherit --framework 0.12.0";

/// `envgate worker`.
#[derive(Debug, Clone, Args)]
#[command(after_help = FACETS)]
pub struct WorkerArgs {
    /// Where to listen: an address and port like 127.0.0.1:9001 (port 0 takes a free one),
    /// unix:/path, or inherit: on the socket that systemd or envgate passed on (`LISTEN_FDS`).
    #[arg(long, value_name = "ADDR")]
    pub listen: Listen,
    /// The framework it claims to have, like 0.12.0.
    #[arg(long, value_name = "VERSION")]
    pub framework: Framework,
    /// What it speaks: legacy or modern. Default: by framework, legacy below 0.11.0.
    #[arg(long)]
    pub dialect: Option<Dialect>,
}

/// Where a worker is to listen.
#[derive(Debug, Clone)]
pub enum Listen {
    /// On the socket that was passed on as descriptor 3.
    Inherit,
    /// At an address of its own.
    At(ListenAddr),
}

impl FromStr for Listen {
    type Err = ListenAddrError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "inherit" => Ok(Self::Inherit),
            _ => text.parse().map(Self::At),
        }
    }
}

/// Runs the worker until SIGTERM or SIGINT.
///
/// # Errors
///
/// The address can't be listened at, or no listening socket was passed on.
pub fn run(args: &WorkerArgs) -> anyhow::Result<()> {
    // Before the runtime opens descriptors of its own.
    let place = match &args.listen {
        Listen::Inherit => Place::Passed(Inherited::take().context("can't listen")?),
        Listen::At(ListenAddr::Tcp(address)) => Place::Own(Address::Tcp(*address)),
        Listen::At(ListenAddr::Unix(path)) => Place::Own(Address::Unix(path.clone())),
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("can't start a runtime")?;
    runtime.block_on(async {
        let stop = stop_signal().context("can't wait for signals")?;
        let options = Options {
            framework: args.framework.clone(),
            dialect: args.dialect,
        };
        let worker = match place {
            Place::Passed(socket) => Worker::inherit(socket, options).context("can't listen")?,
            Place::Own(address) => Worker::bind(&address, options)
                .await
                .with_context(|| format!("can't listen at {address}"))?,
        };
        print(format!("{}\n", worker.local_addr()).as_bytes())?;
        worker.run(stop).await;
        Ok(())
    })
}

/// Where the worker listens, with what has to be there before the runtime.
enum Place {
    Passed(Inherited),
    Own(Address),
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
