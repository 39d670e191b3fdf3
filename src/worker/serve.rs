//! A worker's connections: one request after the other, each read whole, called, answered.

use std::{convert::Infallible, future::poll_fn, io, pin::Pin, sync::Arc, time::Duration};

use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body::Body;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    sync::{Semaphore, watch},
    time::{Instant, timeout},
};

use super::{Options, condition::Condition, dialect, facets, proof, sessions::Sessions};
use crate::facet::Dialect;

/// The time for a head. hyper counts the rest between requests too, so it is longer than the
/// gateway keeps idle connections.
const HEAD_TIMEOUT: Duration = Duration::from_secs(120);
const BODY_TIMEOUT: Duration = Duration::from_secs(60);
const MAX_HEAD: usize = 64 << 10;
const MAX_BODY: usize = 16 << 20;

/// What all connections of a worker share.
#[derive(Debug)]
pub(super) struct State {
    dialect: Dialect,
    /// One permit: frameworks up to 0.11.0 serve one call at a time.
    turn: Option<Semaphore>,
    pub(super) sessions: Sessions,
    pub(super) condition: Condition,
    proof: Option<HeaderValue>,
}

impl State {
    pub(super) fn new(options: &Options) -> io::Result<Self> {
        let by_framework = options.framework.default_dialect();
        let one_at_a_time = options.framework.one_call_at_a_time();
        Ok(Self {
            dialect: options.dialect.unwrap_or(by_framework),
            turn: one_at_a_time.then(|| Semaphore::new(1)),
            sessions: Sessions::default(),
            condition: Condition::default(),
            proof: proof::of_own_environment()?,
        })
    }
}

/// An accepted connection.
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    /// Serves it to its end; once it drains, to the end of the call under way.
    pub(super) async fn serve(self, state: Arc<State>, drain: watch::Receiver<bool>) {
        match self {
            Self::Tcp(stream) => serve(stream, state, drain).await,
            Self::Unix(stream) => serve(stream, state, drain).await,
        }
    }
}

async fn serve<S>(stream: S, state: Arc<State>, mut drain: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request| {
        let state = Arc::clone(&state);
        async move { Ok::<_, Infallible>(respond(&state, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = drained(&mut drain) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection to the sample worker broke");
    }
}

/// Ready once the worker drains, or is gone altogether.
async fn drained(drain: &mut watch::Receiver<bool>) {
    if let Err(gone) = drain.wait_for(|draining| *draining).await {
        tracing::debug!(%gone, "the sample worker ended without draining");
    }
}

async fn respond(state: &State, request: Request<Incoming>) -> Response<String> {
    if request.method() == Method::GET && request.uri().path() == "/health" {
        return health(state);
    }
    let answer = async {
        let (head, body) = request.into_parts();
        let body = read(body).await?;
        let call = match state.dialect {
            Dialect::Legacy => dialect::read_legacy(&head, &body)?,
            Dialect::Modern => dialect::read_modern(&head, &body)?,
        };
        // A caller that leaves drops this future, and with it its place in the row.
        let turn = match &state.turn {
            Some(turn) => turn.acquire().await.ok(),
            None => None,
        };
        let started = Instant::now();
        let answer = facets::run(&call, state).await;
        drop(turn);
        answer.write(state.dialect, started.elapsed())
    };
    answer.await.unwrap_or_else(Refusal::into_response)
}

fn health(state: &State) -> Response<String> {
    if state.condition.ails() {
        return Refusal(StatusCode::SERVICE_UNAVAILABLE, "it wants to be restarted")
            .into_response();
    }
    let mut response = Response::new("OK\n".to_owned());
    if let Some(proof) = &state.proof {
        response.headers_mut().insert(proof::HEADER, proof.clone());
    }
    response
}

/// A body, whole. Cancelled with its request.
async fn read(body: Incoming) -> Result<Vec<u8>, Refusal> {
    let too_long = Refusal(StatusCode::PAYLOAD_TOO_LARGE, "the body is over 16 MiB");
    let mut body = std::pin::pin!(body);
    if body.size_hint().lower() > MAX_BODY as u64 {
        return Err(too_long);
    }
    let whole = async {
        let mut bytes = Vec::new();
        while let Some(frame) = poll_fn(|cx| Pin::as_mut(&mut body).poll_frame(cx)).await {
            let frame =
                frame.map_err(|_| Refusal(StatusCode::BAD_REQUEST, "the body broke off"))?;
            if let Ok(data) = frame.into_data() {
                if bytes.len() + data.len() > MAX_BODY {
                    return Err(too_long);
                }
                bytes.extend_from_slice(&data);
            }
        }
        Ok(bytes)
    };
    let late = Refusal(StatusCode::REQUEST_TIMEOUT, "the body took over 60 s");
    timeout(BODY_TIMEOUT, whole).await.unwrap_or(Err(late))
}

/// A request that isn't a call for this worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refusal(pub(super) StatusCode, pub(super) &'static str);

impl Refusal {
    fn into_response(self) -> Response<String> {
        let mut response = Response::new(format!("{}\n", self.1));
        *response.status_mut() = self.0;
        response
    }
}
