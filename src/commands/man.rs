//! `envgate man`: the manual as man pages.

use anyhow::Context;
use clap::{Args, Command};

use super::output::{UsageError, print};

const EXAMPLES: &str = "\
Examples:
  envgate man > envgate.1
  envgate man serve > envgate-serve.1";

/// `envgate man`.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct ManArgs {
    /// The page of this command. Default: the page of the whole program.
    pub command: Option<String>,
}

/// Writes a page of a command line's manual to stdout.
///
/// # Errors
///
/// There is no such command, or stdout can't be written.
pub fn run(args: &ManArgs, mut command: Command) -> anyhow::Result<()> {
    command.build();
    let command = match &args.command {
        None => command,
        Some(name) => {
            let wanted = command.find_subcommand(name).cloned();
            wanted.ok_or_else(|| UsageError(format!("no such command: {name}")))?
        }
    };
    let mut page = Vec::new();
    let man = clap_mangen::Man::new(command);
    man.render(&mut page).context("can't write the page")?;
    print(&page)
}
