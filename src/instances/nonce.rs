//! What each process gets to prove its variables with.

/// A fresh nonce: 64 hex digits.
pub(super) fn nonce() -> String {
    let mut bytes = [0; 32];
    // The kernel always has random bytes once it is up; half as good would still be unknown.
    if let Err(error) = getrandom::fill(&mut bytes) {
        tracing::error!(%error, "the system gives no random bytes");
        fastrand::fill(&mut bytes);
    }
    blake3::Hash::from_bytes(bytes).to_hex().to_string()
}
