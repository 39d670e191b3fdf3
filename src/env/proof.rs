//! The proof that a process runs with the variables that were meant for it (CONTRACT 6).
//!
//! Whoever starts a process gives it a nonce; the process answers with a hash of its variables
//! under that nonce, and the starter compares it with the hash of what it meant to set. The nonce
//! is fresh for each process, so a proof tells nothing of the values to who doesn't have the nonce,
//! and one process's proof is no other's.

use std::{fmt::Write, hint::black_box};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// The variable by which a process is told its nonce.
pub const NONCE_VARIABLE: &str = "ENVGATE_PROOF";

/// The variable that lists, with commas between them, the names that a proof leaves out.
pub const BASE_VARIABLE: &str = "ENVGATE_BASE";

/// The gateway's own variables, which a proof leaves out too.
const OWN_PREFIX: &[u8] = b"ENVGATE_";

/// The proof of a process's variables: HMAC-SHA-256 in hex, with the nonce's characters as its key,
/// over the lines `NAME=VALUE\n` sorted by the bytes of the names.
///
/// To be given all variables of the process. Those that [`BASE_VARIABLE`] names among them, and
/// those that begin with `ENVGATE_`, are left out: the base may differ where a runtime in between
/// sets them, and the others are how the proof is asked for.
pub fn env_proof<'a>(nonce: &str, variables: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> String {
    let mut variables: Vec<_> = variables.collect();
    let base = variables
        .iter()
        .find(|(name, _)| *name == BASE_VARIABLE.as_bytes());
    let base = base.map_or(&b""[..], |(_, names)| names);
    let left_out = |name: &[u8]| {
        name.starts_with(OWN_PREFIX) || base.split(|byte| *byte == b',').any(|base| base == name)
    };
    variables.retain(|(name, _)| !left_out(name));
    variables.sort_unstable();
    // HMAC takes a key of any length; the type can't say so.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(nonce.as_bytes()) else {
        return String::new();
    };
    for (name, value) in variables {
        for part in [name, b"=", value, b"\n"] {
            mac.update(part);
        }
    }
    let mut hex = String::with_capacity(64);
    for byte in mac.finalize().into_bytes() {
        // Writing to a string never fails.
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

/// Whether a process's proof is the one that was expected, compared in a time that doesn't depend
/// on where they differ.
#[must_use]
pub fn is_same_proof(expected: &str, given: &[u8]) -> bool {
    let pairs = expected.bytes().zip(given);
    let difference = pairs.fold(0, |difference, (expected, given)| {
        black_box(difference | (expected ^ given))
    });
    !expected.is_empty() && expected.len() == given.len() && difference == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONCE: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

    fn proof(variables: &[(&str, &str)]) -> String {
        let variables = variables.iter();
        env_proof(
            NONCE,
            variables.map(|(name, value)| (name.as_bytes(), value.as_bytes())),
        )
    }

    /// The value is what `openssl dgst -sha256 -hmac` and Python's `hmac` say.
    #[test]
    fn it_is_the_hmac_of_sorted_lines() {
        let expected = "ee7215fd0885f5dbadc355a43bd0b47e9ef168f2f81ae3d418e57ae363c11ed1";
        assert_eq!(proof(&[("B", "2"), ("A", "1")]), expected);
        assert_eq!(proof(&[("A", "1"), ("B", "2")]), expected);
    }

    #[test]
    fn what_the_base_names_and_our_own_are_left_out() {
        let whole = proof(&[
            ("A", "1"),
            ("B", "2"),
            ("PATH", "/bin"),
            ("LANG", "C"),
            ("ENVGATE_BASE", "PATH,LANG"),
            ("ENVGATE_PROOF", "x"),
        ]);
        assert_eq!(whole, proof(&[("A", "1"), ("B", "2")]));
        assert_ne!(whole, proof(&[("A", "1"), ("B", "2"), ("PATH", "/bin")]));
    }

    #[test]
    fn names_sort_by_their_bytes_alone() {
        // As whole lines `A-B=` comes before `A=`.
        assert_eq!(
            proof(&[("A", "1"), ("A-B", "2")]),
            "9deb4dbf36cd9e6e68a299be1176553a272c3ac03a533806dfa147ccc483db5e"
        );
    }

    #[test]
    fn every_byte_and_the_nonce_count() {
        let one = proof(&[("A", "1")]);
        assert_ne!(one, proof(&[("A", "2")]));
        assert_ne!(one, proof(&[("A1", "")]));
        assert_ne!(one, proof(&[]));
        let variables = [(&b"A"[..], &b"1"[..])];
        assert_ne!(one, env_proof("other", variables.into_iter()));
    }

    #[test]
    fn only_the_whole_proof_is_the_same() {
        let proof = proof(&[("A", "1")]);
        assert!(is_same_proof(&proof, proof.as_bytes()));
        let mut other = proof.clone().into_bytes();
        *other.last_mut().unwrap() ^= 1;
        assert!(!is_same_proof(&proof, &other));
        assert!(!is_same_proof(&proof, &proof.as_bytes()[..63]));
        assert!(!is_same_proof(&proof, b""));
        assert!(!is_same_proof("", b""));
    }
}
