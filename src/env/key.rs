//! By what an env is found.

use std::fmt;

/// Keeps the key apart from any other hash of the same bytes, and from that of a later canonical
/// form, for which the number would be raised.
const KEY_DOMAIN: &[u8] = b"envgate env 1";

/// The identity of an env: a hash of its canonical form, the same on every replica.
///
/// Unkeyed, so a short secret could be guessed from it: it is never shown. What is shown is its
/// [digest](super::DigestKey::digest).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct EnvKey([u8; 32]);

impl EnvKey {
    /// The key of the env that has this canonical form.
    pub(super) fn of(canonical: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new();
        hasher.update(KEY_DOMAIN).update(canonical);
        Self(*hasher.finalize().as_bytes())
    }

    /// The hash, to be hashed further. Not for showing.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for EnvKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EnvKey(..)")
    }
}

#[cfg(test)]
mod tests {
    use crate::env::Env;

    /// Replicas of different versions must agree on the key: this one may never change.
    #[test]
    fn the_key_is_the_hash_of_domain_and_canonical_form() {
        let mut form = b"envgate env 1".to_vec();
        form.extend_from_slice(b"\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0Axy");
        form.extend_from_slice(b"\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0BB");
        let env = Env::from_variables([("BB", ""), ("A", "xy")]).unwrap();
        assert_eq!(env.key().as_bytes(), blake3::hash(&form).as_bytes());
    }

    #[test]
    fn debug_does_not_show_the_hash() {
        let env = Env::from_variables([("TOKEN", "hush")]).unwrap();
        assert_eq!(format!("{:?}", env.key()), "EnvKey(..)");
    }
}
