//! `envgate serve`: runs the gateway.

use super::ServeArgs;
use crate::config::Config;

/// Runs the gateway until it is told to stop.
///
/// # Errors
///
/// The configuration is wrong, or the gateway can't start.
pub fn run(args: &ServeArgs) -> anyhow::Result<()> {
    let _config = Config::load(&args.sources())?;
    anyhow::bail!("there is no gateway yet")
}
