//! `envgate completions`: the completions of a shell.

use clap::{Args, Command};
use clap_complete::Shell;

use super::output::print;

const EXAMPLES: &str = "\
Examples:
  envgate completions bash > /etc/bash_completion.d/envgate
  envgate completions zsh > ~/.zfunc/_envgate";

/// `envgate completions`.
#[derive(Debug, Clone, Args)]
#[command(after_help = EXAMPLES)]
pub struct CompletionsArgs {
    /// Whose.
    pub shell: Shell,
}

/// Writes the completions of a command line to stdout.
///
/// # Errors
///
/// stdout can't be written.
pub fn run(args: &CompletionsArgs, mut command: Command) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "envgate", &mut script);
    print(&script)
}
