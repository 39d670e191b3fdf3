//! What each process gets to prove its variables with.

use std::io;

/// A fresh nonce: 64 hex digits.
///
/// # Errors
/// The system gives no random bytes; one that could be guessed would prove nothing.
pub(super) fn nonce() -> io::Result<String> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(io::Error::other)?;
    Ok(blake3::Hash::from_bytes(bytes).to_hex().to_string())
}
