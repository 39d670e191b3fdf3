//! The proof of the worker's environment: that it is the one that its starter meant.
//!
//! What counts is the environment that the process was started with, as the kernel shows it: a
//! runtime may change its own copy.

use std::{env, fs, io};

use http::HeaderValue;
use zeroize::Zeroizing;

use crate::env::{NONCE_VARIABLE, env_proof};

/// The header of `/health` that carries it.
pub(super) const HEADER: &str = "x-envgate-env-proof";

/// The proof for this process, where one was asked for.
///
/// # Errors
///
/// The environment can't be read.
pub(super) fn of_own_environment() -> io::Result<Option<HeaderValue>> {
    if env::var_os(NONCE_VARIABLE).is_none() {
        return Ok(None);
    }
    let environ = Zeroizing::new(fs::read("/proc/self/environ")?);
    Ok(of(&environ).and_then(|proof| HeaderValue::from_str(&proof).ok()))
}

/// The proof for an environment as `/proc/self/environ` shows it: each variable ended by a NUL.
fn of(environ: &[u8]) -> Option<String> {
    let variables = environ.split(|byte| *byte == 0).filter_map(|variable| {
        let equals = variable.iter().position(|byte| *byte == b'=')?;
        let (name, value) = variable.split_at(equals);
        Some((name, value.get(1..)?))
    });
    let mut all = variables.clone();
    let (_, nonce) = all.find(|(name, _)| *name == NONCE_VARIABLE.as_bytes())?;
    Some(env_proof(std::str::from_utf8(nonce).ok()?, variables))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meant(variables: &[(&'static [u8], &'static [u8])]) -> Option<String> {
        Some(env_proof("00ff", variables.iter().copied()))
    }

    #[test]
    fn it_is_that_of_the_variables_that_were_meant() {
        let environ = b"B=2=3\0PATH=/bin\0A=\0ENVGATE_PROOF=00ff\0ENVGATE_BASE=PATH,HOME\0";
        assert_eq!(of(environ), meant(&[(b"A", b""), (b"B", b"2=3")]));
        assert_ne!(of(environ), meant(&[(b"A", b""), (b"B", b"2")]));
        assert_ne!(of(environ), meant(&[(b"B", b"2=3")]));
    }

    #[test]
    fn what_is_no_variable_counts_for_nothing() {
        assert_eq!(of(b"\0A\0ENVGATE_PROOF=00ff\0\0"), meant(&[]));
    }

    #[test]
    fn without_a_nonce_there_is_none() {
        assert_eq!(of(b"A=1\0ENVGATE_BASE=PATH\0"), None);
        assert_eq!(of(b"A=1\0ENVGATE_PROOF=\xff\0"), None);
    }
}
