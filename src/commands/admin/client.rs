//! One request to an admin API, over TCP or a Unix socket.

use std::{io, time::Duration};

use axum::body::{Body, to_bytes};
use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Method, Request, StatusCode,
    header::{AUTHORIZATION, CONTENT_TYPE, HOST, SERVER},
};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpStream, UnixStream},
    time::timeout,
};

use crate::{
    backend::{Stream, UpstreamUrl},
    commands::output::shown,
    control::{DEFAULT_ADDRESS, Problem},
};

/// How long it may take to connect.
const CONNECT_TIME: Duration = Duration::from_secs(5);
/// How long an answer may take, its last byte included.
const ANSWER_TIME: Duration = Duration::from_secs(15);
/// More than the rows of every instance that a table holds.
const LONGEST_ANSWER: usize = 64 << 20;

/// Why there is no answer, and what to do.
#[derive(Debug, thiserror::Error)]
pub(in crate::commands) enum ClientError {
    #[error(
        "nothing answers at {address}; a gateway's admin API is off until it is told where to \
         listen: envgate serve --set admin.listen={DEFAULT_ADDRESS} (or [admin] listen in its \
         file). Where it listens elsewhere, name that with --admin or ENVGATE_ADMIN"
    )]
    Unreachable {
        address: UpstreamUrl,
        source: io::Error,
    },
    #[error("{0} didn't answer in time; try again, and look at the gateway's log")]
    TooSlow(UpstreamUrl),
    #[error("the connection to {address} broke; try again, and look at the gateway's log")]
    Broken {
        address: UpstreamUrl,
        source: hyper::Error,
    },
    #[error(
        "{0} isn't the admin API of an envgate; name its admin.listen with --admin or ENVGATE_ADMIN"
    )]
    Foreign(UpstreamUrl),
    #[error(
        "{0} is where an envgate takes calls; its admin API has an address of its own: name its \
         admin.listen with --admin or ENVGATE_ADMIN"
    )]
    DataPort(UpstreamUrl),
    #[error(
        "the gateway at {0} wants a token; name a copy of its admin.token_file with --token-file"
    )]
    TokenWanted(UpstreamUrl),
    #[error(
        "the gateway at {0} refuses the token; it goes by what was in its admin.token_file when it \
         started"
    )]
    TokenRefused(UpstreamUrl),
    /// The gateway says why.
    #[error("{detail}")]
    Refused { detail: String },
}

/// What is answered with a status of success.
pub(super) async fn ask(
    address: &UpstreamUrl,
    token: Option<&Vec<u8>>,
    method: Method,
    path: &str,
) -> Result<Bytes, ClientError> {
    let unreachable = |source| ClientError::Unreachable {
        address: address.clone(),
        source,
    };
    let stream = timeout(CONNECT_TIME, connect(address)).await;
    let stream = stream
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
        .map_err(unreachable)?;
    let mut request = Request::new(Body::empty());
    *request.method_mut() = method;
    // Paths are the commands' own: always ones that a request can have.
    *request.uri_mut() = path.parse().unwrap_or_default();
    let host = match address {
        UpstreamUrl::Tcp { .. } => address.to_string().replace("http://", ""),
        UpstreamUrl::Unix(_) => "localhost".to_owned(),
    };
    let headers = request.headers_mut();
    if let Ok(host) = HeaderValue::try_from(host) {
        headers.insert(HOST, host);
    }
    if let Some(token) = token
        && let Ok(mut bearer) = HeaderValue::try_from([b"Bearer ", token.as_slice()].concat())
    {
        bearer.set_sensitive(true);
        headers.insert(AUTHORIZATION, bearer);
    }
    let answered = timeout(ANSWER_TIME, exchange(stream, request)).await;
    let answered = answered.map_err(|_| ClientError::TooSlow(address.clone()))?;
    let (status, headers, body) = answered.map_err(|source| {
        // What doesn't speak HTTP isn't a gateway.
        if source.is_parse() {
            return ClientError::Foreign(address.clone());
        }
        ClientError::Broken {
            address: address.clone(),
            source,
        }
    })?;
    judge(address, token.is_some(), status, &headers, body)
}

async fn connect(address: &UpstreamUrl) -> io::Result<Stream> {
    match address {
        UpstreamUrl::Tcp { host, port } => {
            let stream = TcpStream::connect((host.as_str(), *port)).await?;
            Ok(Stream::Tcp(stream))
        }
        UpstreamUrl::Unix(path) => UnixStream::connect(path).await.map(Stream::Unix),
    }
}

/// Sends a request and reads its whole answer; `None` for a body that is too long.
async fn exchange(
    stream: Stream,
    request: Request<Body>,
) -> hyper::Result<(StatusCode, HeaderMap, Option<Bytes>)> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let answer = async {
        let answer: http::Response<Incoming> = sender.send_request(request).await?;
        let (head, body) = answer.into_parts();
        let body = to_bytes(Body::new(body), LONGEST_ANSWER).await.ok();
        hyper::Result::Ok((head.status, head.headers, body))
    };
    // The connection does the reading; what it says of its end is said by the answer, too.
    let mut answer = std::pin::pin!(answer);
    tokio::select! {
        answer = &mut answer => answer,
        _ = connection => answer.await,
    }
}

fn judge(
    address: &UpstreamUrl,
    has_token: bool,
    status: StatusCode,
    headers: &HeaderMap,
    body: Option<Bytes>,
) -> Result<Bytes, ClientError> {
    if headers.contains_key("x-unisave-worker-error") {
        return Err(ClientError::DataPort(address.clone()));
    }
    let is_ours = headers
        .get(SERVER)
        .is_some_and(|server| server == "envgate");
    let Some(body) = body.filter(|_| is_ours) else {
        return Err(ClientError::Foreign(address.clone()));
    };
    if status == StatusCode::UNAUTHORIZED {
        return Err(match has_token {
            true => ClientError::TokenRefused(address.clone()),
            false => ClientError::TokenWanted(address.clone()),
        });
    }
    if status.is_success() {
        return Ok(body);
    }
    let kind = headers.get(CONTENT_TYPE);
    let is_problem = kind.is_some_and(|kind| kind == "application/problem+json");
    match serde_json::from_slice::<Problem>(&body) {
        Ok(problem) if is_problem => Err(ClientError::Refused {
            detail: shown(&problem.detail),
        }),
        _ => Err(ClientError::Foreign(address.clone())),
    }
}
