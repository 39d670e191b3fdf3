//! One file a subcommand: the only place for stdout.
