//! The gateway's own env, as calls may run under it (CONTRACT 6).

use std::sync::Arc;

use bytes::Bytes;

use super::SetupError;
use crate::{
    env::{DigestKey, Env, EnvString, Unrepresentable},
    facet::json::json_string,
    instances::HotEnv,
    telemetry::Metrics,
};

/// The gateway's own env.
#[derive(Debug)]
pub(super) struct Deployment {
    pub(super) hot: Arc<HotEnv>,
    /// Its text form as a JSON string, for legacy backends. Values: never shown.
    text: Secret,
}

/// Bytes that no `Debug` shows.
struct Secret(Bytes);

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl Deployment {
    /// `told_to_legacy`: whether a legacy backend may have to be told the variables as text.
    pub(super) fn new(
        env: Env,
        digests: &DigestKey,
        policy: Unrepresentable,
        told_to_legacy: bool,
        metrics: &Metrics,
    ) -> Result<Self, SetupError> {
        let written = EnvString::write(&env);
        let names = written.unrepresentable;
        if told_to_legacy && !names.is_empty() {
            metrics
                .unrepresentable_variables
                .set(i64::try_from(names.len()).unwrap_or(i64::MAX));
            if policy == Unrepresentable::Refuse {
                return Err(SetupError::Unrepresentable { names });
            }
            tracing::warn!(
                names = names.join(", "),
                "these variables of the gateway's own environment can't be written as an env text; \
                 legacy backends don't get them"
            );
        }
        let text = Secret(Bytes::from(json_string(&written.text)));
        let hot = HotEnv::new(env, digests).map_err(SetupError::Setting)?;
        Ok(Self {
            hot: Arc::new(hot),
            text,
        })
    }

    /// The env text as a JSON string.
    pub(super) fn text(&self) -> &Bytes {
        &self.text.0
    }
}
