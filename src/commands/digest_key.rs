//! What keys the digests that logs and `explain` show.

use std::{fs, path::Path};

use anyhow::Context;
use zeroize::Zeroizing;

use crate::env::DigestKey;

/// The key in the operator's file; without one this process's own draw.
pub(super) fn digest_key(file: Option<&Path>) -> anyhow::Result<DigestKey> {
    let Some(file) = file else {
        return DigestKey::random().context("the system has no randomness");
    };
    let name = file.display();
    let secret = fs::read(file).map(Zeroizing::new);
    let secret = secret.with_context(|| format!("can't read env.digest_key_file {name}"))?;
    DigestKey::from_secret(&secret).with_context(|| format!("can't use {name}"))
}
