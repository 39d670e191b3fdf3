//! What keys the digests that logs and `explain` show.

use std::{fs, path::Path};

use anyhow::Context;
use zeroize::Zeroizing;

use super::output::UsageError;
use crate::env::DigestKey;

/// The key in the operator's file; without one this process's own draw.
///
/// # Errors
///
/// The file is no key: a fault of the configuration.
pub(super) fn digest_key(file: Option<&Path>) -> anyhow::Result<DigestKey> {
    let Some(file) = file else {
        return DigestKey::random().context("the system has no randomness");
    };
    let wrong = |reason: String| {
        let name = file.display();
        UsageError(format!(
            "wrong value for env.digest_key_file: {name}: {reason}"
        ))
    };
    let secret =
        fs::read(file).map_err(|error| wrong(format!("{error}; name a file that is there")))?;
    let secret = Zeroizing::new(secret);
    Ok(DigestKey::from_secret(&secret).map_err(|error| wrong(error.to_string()))?)
}
