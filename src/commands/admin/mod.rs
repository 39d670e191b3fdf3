//! What the commands that ask a running gateway share: where its admin API is, with which token,
//! and what is said where it doesn't answer as one.

mod client;

use std::{path::PathBuf, str::FromStr};

use clap::Args;
use http::Method;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use super::output::UsageError;
use crate::{
    backend::UpstreamUrl,
    control::{DEFAULT_ADDRESS, read_token},
};

pub(super) use client::ClientError;

/// Names the admin API where no flag does.
const ADMIN_VARIABLE: &str = "ENVGATE_ADMIN";

/// Which gateway to ask.
#[derive(Debug, Clone, Default, Args)]
pub struct AdminArgs {
    /// The gateway's admin API (its admin.listen): an address and port, http://host:port or
    /// unix:/path. Default: the variable ENVGATE_ADMIN, else 127.0.0.1:9180.
    #[arg(long, value_name = "ADDR")]
    pub admin: Option<AdminAddress>,
    /// The file with the gateway's token (its admin.token_file).
    #[arg(long, value_name = "FILE")]
    pub token_file: Option<PathBuf>,
}

impl AdminArgs {
    /// Whether any of them is there.
    pub(super) const fn is_given(&self) -> bool {
        self.admin.is_some() || self.token_file.is_some()
    }
}

/// Where an admin API is.
#[derive(Debug, Clone)]
pub struct AdminAddress(UpstreamUrl);

/// Why a text is no such address.
#[derive(Debug, thiserror::Error)]
#[error("not an address; write one like {DEFAULT_ADDRESS}, http://host:9180 or unix:/path")]
pub struct AdminAddressError;

impl FromStr for AdminAddress {
    type Err = AdminAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let url = match text.contains("://") || text.starts_with("unix:") {
            true => text.parse(),
            false => format!("http://{text}").parse(),
        };
        url.map(Self).map_err(|_| AdminAddressError)
    }
}

/// A gateway's admin API.
#[derive(Debug)]
pub(super) struct Admin {
    address: UpstreamUrl,
    token: Option<Zeroizing<Vec<u8>>>,
}

impl Admin {
    /// # Errors
    /// The variable or the token file is wrong: a fault of the command line.
    pub(super) fn new(args: &AdminArgs) -> Result<Self, UsageError> {
        let address = match &args.admin {
            Some(address) => address.clone(),
            None => address_of_variable()?,
        };
        let token = args.token_file.as_deref().map(read_token).transpose();
        let token = token.map_err(|error| UsageError(format!("--token-file: {error}")))?;
        Ok(Self {
            address: address.0,
            token,
        })
    }

    /// The answer to a GET.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.ask(Method::GET, path).await
    }

    /// The answer to a POST.
    pub(super) async fn post<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        self.ask(Method::POST, path).await
    }

    async fn ask<T: DeserializeOwned>(&self, method: Method, path: &str) -> Result<T, ClientError> {
        let answer = client::ask(&self.address, self.token.as_deref(), method, path).await?;
        let foreign = |_| ClientError::Foreign(self.address.clone());
        serde_json::from_slice(&answer).map_err(foreign)
    }
}

fn address_of_variable() -> Result<AdminAddress, UsageError> {
    let text = match std::env::var(ADMIN_VARIABLE) {
        Ok(text) if !text.is_empty() => text,
        Ok(_) | Err(std::env::VarError::NotPresent) => DEFAULT_ADDRESS.to_owned(),
        Err(error) => return Err(UsageError(format!("{ADMIN_VARIABLE}: {error}"))),
    };
    text.parse()
        .map_err(|error| UsageError(format!("{ADMIN_VARIABLE}: {error}")))
}

/// Runs what asks a gateway.
pub(super) fn block_on<T>(asking: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(asking)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_people_write_them() {
        let shown = |text: &str| {
            text.parse::<AdminAddress>()
                .map(|address| address.0.to_string())
        };
        for (text, url) in [
            ("127.0.0.1:9180", "http://127.0.0.1:9180"),
            ("[::1]:9180", "http://[::1]:9180"),
            ("gate:9180", "http://gate:9180"),
            ("http://gate:9180", "http://gate:9180"),
            ("unix:/run/a.sock", "unix:/run/a.sock"),
        ] {
            assert_eq!(shown(text).unwrap(), url);
        }
        for wrong in [
            "",
            "https://gate:1",
            "unix:relative",
            "http://gate/path",
            "a b",
        ] {
            assert!(shown(wrong).is_err(), "{wrong}");
        }
        assert_eq!(
            shown(DEFAULT_ADDRESS).unwrap(),
            format!("http://{DEFAULT_ADDRESS}")
        );
    }
}
