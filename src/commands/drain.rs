//! `envgate drain`: retires an instance's process.

use std::{
    io::{self, IsTerminal, Write},
    time::{Duration, Instant},
};

use anyhow::bail;
use clap::Args;
use tokio::time::sleep;

use super::{
    admin::{Admin, AdminArgs, block_on},
    instances::{human_age, path},
    output::print,
};
use crate::control::{Row, RowState};

const EXAMPLES: &str = "\
Calls under way are finished, then the process is stopped; the next call of that env starts another.

Examples:
  envgate drain 3
  envgate drain 3 --no-wait
  for id in $(envgate instances --output json | jq '.[].id'); do envgate drain $id; done";

/// How often it is asked whether the process is gone.
const ASK_EVERY: Duration = Duration::from_millis(200);

/// `envgate drain`.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct DrainArgs {
    /// The instance's number, as `envgate instances` shows it.
    pub id: u64,
    /// The gateway.
    #[command(flatten)]
    pub admin: AdminArgs,
    /// Don't wait until the process is gone.
    #[arg(long)]
    pub no_wait: bool,
    /// How long to wait. The process drains on also when that is over.
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = humantime::parse_duration, conflicts_with = "no_wait")]
    pub timeout: Duration,
}

/// Drains an instance.
///
/// # Errors
///
/// There is no gateway, no such instance, or no process; or it isn't gone in time.
pub fn run(args: &DrainArgs) -> anyhow::Result<()> {
    let admin = Admin::new(&args.admin)?;
    let (row, took) = block_on(async {
        let began = Instant::now();
        let row: Row = admin
            .post(&format!("/api/v1/instances/{}/drain", args.id))
            .await?;
        if !args.no_wait {
            wait(&admin, &row, began, args.timeout).await?;
        }
        Ok((row, began.elapsed()))
    })?;
    let subject = subject(&row);
    let text = match args.no_wait {
        true => format!("{subject} drains\n"),
        false => format!("{subject} is gone after {:.1} s\n", took.as_secs_f64()),
    };
    print(text.as_bytes())
}

fn subject(row: &Row) -> String {
    let pid = row.pid.map(|pid| format!(" {pid}")).unwrap_or_default();
    format!(
        "process{pid} of instance {} (generation {})",
        row.id, row.generation
    )
}

async fn wait(
    admin: &Admin,
    drained: &Row,
    began: Instant,
    longest: Duration,
) -> anyhow::Result<()> {
    let mut progress = Progress::default();
    loop {
        let rows: Vec<Row> = admin.get(path(false)).await?;
        let is_it = |row: &&Row| {
            let is_alive = !matches!(row.state, RowState::Absent | RowState::Failed);
            is_alive && row.id == drained.id && row.generation == drained.generation
        };
        let Some(row) = rows.iter().find(is_it) else {
            return Ok(());
        };
        let calls = match row.in_flight + row.queue {
            0 => "no call is left".to_owned(),
            1 => "1 call is left".to_owned(),
            calls => format!("{calls} calls are left"),
        };
        if began.elapsed() >= longest {
            drop(progress);
            let waited = humantime::format_duration(longest);
            bail!(
                "{} still drains after {waited}: {calls}; `envgate instances` shows when it is gone",
                subject(drained)
            );
        }
        progress.show(&format!(
            "{} drains for {}: {calls}",
            subject(drained),
            human_age(began.elapsed())
        ));
        sleep(ASK_EVERY).await;
    }
}

/// One line on a terminal's stderr that is written over and in the end wiped away.
#[derive(Debug, Default)]
struct Progress {
    is_shown: bool,
}

impl Progress {
    fn show(&mut self, text: &str) {
        let mut stderr = io::stderr();
        if stderr.is_terminal() {
            self.is_shown = true;
            // What can't be shown isn't missed.
            drop(write!(stderr, "\r\u{1b}[K{text}"));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_shown {
            drop(write!(io::stderr(), "\r\u{1b}[K"));
        }
    }
}
