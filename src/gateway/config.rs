//! The `[gateway]` table of the configuration.

use std::{
    net::{IpAddr, SocketAddr},
    num::{NonZeroU32, NonZeroUsize},
    time::Duration,
};

use bytesize::ByteSize;
use serde::{Deserialize, Deserializer, de};

use crate::listen::ListenAddr;

/// Where the gateway listens and what it puts up with.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default, expecting = "a table")]
pub struct Config {
    /// Where it listens.
    pub listen: Vec<ListenAddr>,
    /// Worker threads; one a core where it isn't said.
    pub threads: Option<NonZeroUsize>,
    /// The longest request body it takes (1103).
    pub max_request_body: ByteSize,
    /// The longest answer it takes from a backend where it must hold it whole (4003).
    pub max_response_body: ByteSize,
    /// What a call may take in all: queue, start and backend.
    #[serde(with = "humantime_serde")]
    pub request_timeout: Duration,
    /// How long calls under way may go on after SIGTERM.
    #[serde(with = "humantime_serde")]
    pub shutdown_grace: Duration,
    /// Peers whose recipe header counts where the env doesn't come from the request.
    pub trusted_peers: Vec<TrustedPeer>,
    /// Whose answers lose what a player must not see.
    pub prune: Prune,
    /// What becomes of requests that are no facet calls.
    pub plain_http: PlainHttp,
    /// Whether trusted peers may ask with `X-Envgate-Debug: 1` which env, backend and worker an
    /// answer came of.
    pub debug: bool,
    /// The form of the access log.
    pub access_log: AccessLog,
    /// The longest request head, in bytes.
    pub max_header_bytes: ByteSize,
    /// The most header fields of a request.
    pub max_headers: NonZeroUsize,
    /// How long a new connection may stay silent.
    #[serde(with = "humantime_serde")]
    pub first_byte_timeout: Duration,
    /// How long a request head may take from its first byte to its last.
    #[serde(with = "humantime_serde")]
    pub header_timeout: Duration,
    /// How long a request body may take from the end of the head to its last byte (1105).
    #[serde(with = "humantime_serde")]
    pub body_timeout: Duration,
    /// How long a connection may rest between requests.
    #[serde(with = "humantime_serde")]
    pub idle_timeout: Duration,
    /// How long a client may take no byte of an answer.
    #[serde(with = "humantime_serde")]
    pub send_timeout: Duration,
    /// Connections at once (2003).
    pub max_connections: NonZeroU32,
    /// Bytes of request bodies and answers held in memory at once (2003).
    pub max_body_memory: ByteSize,
}

const fn nonzero_u32(number: u32) -> NonZeroU32 {
    match NonZeroU32::new(number) {
        Some(number) => number,
        None => NonZeroU32::MIN,
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: vec![ListenAddr::Tcp(SocketAddr::from(([127, 0, 0, 1], 8080)))],
            threads: None,
            max_request_body: ByteSize::mib(1),
            max_response_body: ByteSize::mib(10),
            request_timeout: Duration::from_secs(60),
            shutdown_grace: Duration::from_secs(10),
            trusted_peers: vec![
                TrustedPeer::Net(ipnet::Ipv4Net::new_assert([127, 0, 0, 0].into(), 8).into()),
                TrustedPeer::Net(
                    ipnet::Ipv6Net::new_assert(std::net::Ipv6Addr::LOCALHOST, 128).into(),
                ),
                TrustedPeer::Unix,
            ],
            prune: Prune::Off,
            plain_http: PlainHttp::Reject,
            debug: false,
            access_log: AccessLog::Text,
            max_header_bytes: ByteSize::kib(64),
            max_headers: NonZeroUsize::new(100).unwrap_or(NonZeroUsize::MIN),
            first_byte_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            idle_timeout: Duration::from_secs(75),
            send_timeout: Duration::from_secs(30),
            max_connections: nonzero_u32(10_000),
            max_body_memory: ByteSize::mib(512),
        }
    }
}

/// A peer whose routing headers count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TrustedPeer {
    /// Peers of a network, or one address.
    Net(ipnet::IpNet),
    /// Peers over a Unix socket.
    Unix,
}

impl<'de> Deserialize<'de> for TrustedPeer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "unix" {
            return Ok(Self::Unix);
        }
        let net = text.parse::<ipnet::IpNet>().ok();
        let net = net.or_else(|| text.parse::<IpAddr>().ok().map(ipnet::IpNet::from));
        net.map(Self::Net).ok_or_else(|| {
            de::Error::custom("not a peer; write an address, a network like 10.0.0.0/8, or unix")
        })
    }
}

/// Whose answers lose what a player must not see (CONTRACT 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Prune {
    /// Nobody's.
    Off,
    /// Those of envs with `ENV_TYPE=production`.
    EnvTypeProduction,
    /// Everybody's.
    All,
}

/// What becomes of requests that are no facet calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PlainHttp {
    /// They are answered 404 (1106).
    Reject,
    /// They are streamed to a modern backend.
    Forward,
}

/// The form of the access log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AccessLog {
    /// None.
    Off,
    /// The C# worker's lines.
    Text,
    /// A JSON object a line.
    Json,
}
