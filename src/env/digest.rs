//! What may be shown of an env: a keyed digest of its key.
//!
//! An unkeyed hash would let anyone who reads a log test guesses of a short secret. With a key
//! that only the gateway has, a digest tells envs apart and nothing else.

use std::{fmt, str};

use thiserror::Error;
use zeroize::Zeroizing;

use super::EnvKey;

/// Less could be guessed, and a secret of less is more likely a password or an empty file.
const MIN_SECRET_BYTES: usize = 32;

/// Keeps this use of a secret apart from any other, as BLAKE3 asks for: global, and never changed,
/// or replicas of two versions show two digests for one env.
const CONTEXT: &str = "envgate env digest key 1";

/// The digits of a digest: 48 bits tell a million envs apart with odds of 500 to 1 and still read
/// well in a log line.
const DIGITS: usize = 12;

/// Keys the digests that are shown. Cleared from memory on drop.
pub struct DigestKey(Zeroizing<[u8; 32]>);

/// Why a secret can't key the digests. Never shows the secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum DigestKeyError {
    /// Too little to be secret.
    #[error(
        "the digest secret has {bytes} bytes and needs {MIN_SECRET_BYTES} or more; \
         make one with `head -c 32 /dev/urandom`"
    )]
    TooShort {
        /// How long it is.
        bytes: usize,
    },
}

impl DigestKey {
    /// A key of its own: digests are comparable within this process only.
    ///
    /// # Errors
    ///
    /// The system has no randomness to give.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut key = Zeroizing::new([0; 32]);
        getrandom::fill(key.as_mut_slice())?;
        Ok(Self(key))
    }

    /// The key that follows from a secret: all who have the secret show the same digests. Every
    /// byte counts, a line break at the end too.
    ///
    /// # Errors
    ///
    /// [`DigestKeyError::TooShort`] for less than 32 bytes.
    pub fn from_secret(bytes: &[u8]) -> Result<Self, DigestKeyError> {
        if bytes.len() < MIN_SECRET_BYTES {
            return Err(DigestKeyError::TooShort { bytes: bytes.len() });
        }
        Ok(Self(Zeroizing::new(blake3::derive_key(CONTEXT, bytes))))
    }

    /// What may be shown of the env that has this key.
    #[must_use]
    pub fn digest(&self, key: &EnvKey) -> EnvDigest {
        let hex = blake3::keyed_hash(&self.0, key.as_bytes()).to_hex();
        let mut digits = [b'0'; DIGITS];
        for (digit, shown) in digits.iter_mut().zip(hex.bytes()) {
            *digit = shown;
        }
        EnvDigest(digits)
    }
}

impl fmt::Debug for DigestKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DigestKey(..)")
    }
}

/// An env as logs, metrics and APIs show it: twelve lowercase hex digits. Not an identity; two envs
/// may share one.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct EnvDigest([u8; DIGITS]);

impl EnvDigest {
    /// The digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Hex digits are UTF-8; the type can't say so.
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for EnvDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl fmt::Debug for EnvDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::EnvString;

    const SECRET: &[u8; 32] = b"thirty-two bytes of pure secret.";

    fn digest(key: &DigestKey, text: &str) -> EnvDigest {
        key.digest(EnvString::parse(text).unwrap().key())
    }

    #[test]
    fn a_digest_is_twelve_lowercase_hex_digits() {
        let digest = digest(&DigestKey::random().unwrap(), "A=1");
        let is_hex = |digit: u8| matches!(digit, b'0'..=b'9' | b'a'..=b'f');
        assert_eq!(digest.as_str().len(), 12);
        assert!(digest.as_str().bytes().all(is_hex), "{digest}");
        assert_eq!(digest.to_string(), digest.as_str());
        assert_eq!(format!("{digest:?}"), digest.as_str());
    }

    #[test]
    fn a_digest_depends_on_env_and_key() {
        let ours = DigestKey::from_secret(SECRET).unwrap();
        let other = DigestKey::from_secret(b"another thirty-two bytes secret.").unwrap();
        assert_eq!(digest(&ours, "A=1"), digest(&ours, " A = 1"));
        assert_ne!(digest(&ours, "A=1"), digest(&ours, "A=2"));
        assert_ne!(digest(&ours, "A=1"), digest(&other, "A=1"));
        let drawn = (DigestKey::random().unwrap(), DigestKey::random().unwrap());
        assert_ne!(digest(&drawn.0, "A=1"), digest(&drawn.1, "A=1"));
    }

    #[test]
    fn replicas_with_one_secret_show_one_digest() {
        let replicas = [SECRET, SECRET].map(|secret| DigestKey::from_secret(secret).unwrap());
        let [one, other] = replicas.map(|key| digest(&key, "A=1"));
        assert_eq!(one, other);
        assert_eq!(one.as_str(), "6ff5c9f33f7f");
    }

    #[test]
    fn a_short_secret_is_refused() {
        let error = DigestKey::from_secret(&SECRET[..31]).unwrap_err();
        assert_eq!(error, DigestKeyError::TooShort { bytes: 31 });
        assert!(!error.to_string().contains("thirty"));
    }

    #[test]
    fn the_key_is_not_shown() {
        let key = DigestKey::from_secret(SECRET).unwrap();
        assert_eq!(format!("{key:?}"), "DigestKey(..)");
    }
}
