//! The command line: parses it, runs the command, maps what came of it to an exit code.

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::backend::process::launch;
use crate::commands::{
    self, ServeArgs, check_config::CheckConfigArgs, completions::CompletionsArgs, drain::DrainArgs,
    explain::ExplainArgs, instances::InstancesArgs, man::ManArgs, reload::ReloadArgs,
    worker::WorkerArgs,
};

const EXIT_CODES: &str = "\
Exit codes:
  0  done
  1  the run failed
  2  the command line or the configuration is wrong

Examples:
  envgate serve                                        try it, with the sample worker
  envgate serve -- python3 worker.py {port}            a process of this worker for each env
  envgate serve --upstream http://127.0.0.1:9001       before one worker
  envgate serve --config /etc/envgate/envgate.toml     as configured
  envgate check-config /etc/envgate/envgate.toml
  envgate explain game.env
  envgate instances                                    what a running gateway is up to";

/// An env-keyed gateway: reads the environment out of a legacy call, starts or chooses the worker
/// for it, and speaks that worker's dialect.
#[derive(Debug, Parser)]
#[command(
    name = "envgate",
    version,
    propagate_version = true,
    after_help = EXIT_CODES,
    arg_required_else_help = true
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway.
    Serve(ServeArgs),
    /// Read a configuration and say what it means, or what is wrong with it.
    CheckConfig(CheckConfigArgs),
    /// Show what the gateway makes of an env, with its values masked.
    Explain(ExplainArgs),
    /// List what a running gateway's instances are up to.
    Instances(InstancesArgs),
    /// Retire an instance's process: its calls are finished, the next one starts another.
    Drain(DrainArgs),
    /// Have a running gateway read its configuration anew.
    Reload(ReloadArgs),
    /// Run the sample worker, a small game backend that speaks either dialect.
    Worker(WorkerArgs),
    /// Write the completions of a shell to stdout.
    Completions(CompletionsArgs),
    /// Write a man page to stdout.
    Man(ManArgs),
}

/// Runs the program.
pub fn main() -> ExitCode {
    // Only the gateway starts a launcher, and waits for it: the parser of the command line would
    // be the longest part of its way.
    let mut arguments = std::env::args_os().skip(1);
    if arguments
        .next()
        .is_some_and(|first| first == launch::SUBCOMMAND)
    {
        return commands::launch::run(arguments);
    }
    let done = match Cli::parse().command {
        Command::Serve(args) => match commands::serve::run(&args) {
            Ok(status) => return status,
            Err(error) => Err(error),
        },
        Command::CheckConfig(args) => commands::check_config::run(&args),
        Command::Explain(args) => commands::explain::run(&args),
        Command::Instances(args) => commands::instances::run(&args),
        Command::Drain(args) => commands::drain::run(&args),
        Command::Reload(args) => commands::reload::run(&args),
        Command::Worker(args) => commands::worker::run(&args),
        Command::Completions(args) => commands::completions::run(&args, Cli::command()),
        Command::Man(args) => commands::man::run(&args, Cli::command()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => commands::fail(&error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_are_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn serve_takes_its_flags_as_often_as_the_manual_says() {
        let cli = Cli::try_parse_from([
            "envgate",
            "serve",
            "--config",
            "a.toml",
            "--listen",
            "127.0.0.1:1",
            "--listen",
            "unix:/x",
            "--upstream",
            "http://h:1",
            "--framework",
            "0.10.2",
            "--dialect",
            "legacy",
            "--env-source",
            "deployment",
            "--set",
            "gateway.access_log=off",
            "--set",
            "log.level=debug",
        ])
        .unwrap();
        let Command::Serve(args) = cli.command else {
            panic!("another command")
        };
        let sources = args.sources();
        assert_eq!(sources.file.as_deref(), Some("a.toml".as_ref()));
        assert_eq!(sources.flags.listen, ["127.0.0.1:1", "unix:/x"]);
        assert_eq!(sources.flags.upstream, ["http://h:1"]);
        assert_eq!(sources.flags.framework.as_deref(), Some("0.10.2"));
        assert_eq!(sources.flags.dialect.as_deref(), Some("legacy"));
        assert_eq!(sources.flags.env_source.as_deref(), Some("deployment"));
        assert_eq!(sources.flags.set.len(), 2);
    }

    #[test]
    fn unknown_flags_and_no_command_are_usage_errors() {
        for arguments in [&["envgate"][..], &["envgate", "serve", "--port", "1"]] {
            assert_eq!(Cli::try_parse_from(arguments).unwrap_err().exit_code(), 2);
        }
    }
}
