//! The `[admin]` table of the configuration.

use std::path::PathBuf;

use serde::Deserialize;

use crate::listen::ListenAddr;

/// Where the commands look for an admin listener that nobody told them of, and where the
/// documentation puts it. The listener itself is off until `admin.listen` says where it is.
pub const DEFAULT_ADDRESS: &str = "127.0.0.1:9180";

/// Where the admin API listens and who may use it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub struct Config {
    /// Where it listens; nowhere where it isn't said.
    pub listen: Option<ListenAddr>,
    /// The file with the bearer token. Where it is said every request must bring the token.
    pub token_file: Option<PathBuf>,
}

impl Config {
    /// Whether others than this machine's users can reach it and no token keeps them out.
    #[must_use]
    pub fn is_open_to_others(&self) -> bool {
        let is_private = match &self.listen {
            None | Some(ListenAddr::Unix(_)) => true,
            Some(ListenAddr::Tcp(address)) => address.ip().to_canonical().is_loopback(),
        };
        !is_private && self.token_file.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_others_reach_needs_a_token() {
        let at = |listen: &str, token: bool| Config {
            listen: Some(listen.parse().unwrap()),
            token_file: token.then(|| "/t".into()),
        };
        for private in [
            "127.0.0.1:1",
            "127.8.9.1:1",
            "[::1]:1",
            "unix:/s",
            "[::ffff:127.0.0.1]:1",
        ] {
            assert!(!at(private, false).is_open_to_others(), "{private}");
        }
        for reachable in ["0.0.0.0:1", "[::]:1", "10.0.0.1:1", "[fe80::1]:1"] {
            assert!(at(reachable, false).is_open_to_others(), "{reachable}");
            assert!(!at(reachable, true).is_open_to_others(), "{reachable}");
        }
        assert!(!Config::default().is_open_to_others());
    }
}
