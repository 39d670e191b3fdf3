//! When an instance serves: asked often at first, so that a quick worker isn't kept waiting.

use std::{future::poll_fn, io, pin::Pin, time::Duration};

use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, header};
use http_body::Body;
use hyper::body::Incoming;
use rustix::process::Pid;
use tokio::time::{sleep, timeout};

use super::{
    config::{Listen, Readiness},
    owner::{Listener, listener},
};
use crate::{
    backend::{Address, CallBody, Stream, connect::open, exchange, link::Link},
    env::is_same_proof,
    facet::Pieces,
};

/// The header in which a worker proves what variables it has.
const PROOF_HEADER: &str = "x-envgate-env-proof";

const FIRST_PAUSE: Duration = Duration::from_millis(1);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);

/// How long an instance in service may take to say how it is.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(2);

/// What is read of a health answer's body before its connection is closed, so that a worker needn't
/// learn that nobody reads it.
const MAX_BODY: u64 = 64 << 10;

/// How far a start has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// It hasn't been seen to listen.
    Starting,
    /// Something else listens at its port.
    PortTaken,
    /// It listens, but hasn't said yet that it is ready.
    Listening,
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Starting => "before it listened",
            Self::PortTaken => "while something else listened at its port",
            Self::Listening => "before it was ready",
        })
    }
}

/// How an instance is, by its own account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// It answered 200.
    Well,
    /// It answered something else: it wants no calls.
    Unwell(StatusCode),
    /// It can't be reached, what came is no answer, or it is another one that listens there.
    Gone,
    /// It didn't answer in time, which a busy one may not, or it couldn't be asked.
    Busy,
}

/// The worker doesn't have the variables that it was to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct WrongEnv;

/// Whom to ask, and what is expected of it.
#[derive(Debug, Clone)]
pub(super) struct Probe {
    pub(super) endpoint: Address,
    pub(super) listen: Listen,
    pub(super) readiness: Readiness,
    /// Its processes.
    pub(super) group: Pid,
    /// Its user, where no other process has it.
    pub(super) own_user: Option<u32>,
    pub(super) proof: String,
}

impl Probe {
    /// Waits until the instance serves; how long, and whether it is still there, is for the caller
    /// to watch. `phase` says how far it has come. Dropping it closes the connection.
    ///
    /// An attempt has no time-out of its own: a worker that took the connection and then needs long
    /// to say that it is ready would otherwise never come to say it.
    pub(super) async fn wait(&self, phase: &mut Phase) -> Result<(), WrongEnv> {
        let mut pause = FIRST_PAUSE;
        loop {
            if self.attempt(phase).await? {
                return Ok(());
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Whether it serves now.
    async fn attempt(&self, phase: &mut Phase) -> Result<bool, WrongEnv> {
        match self.listener() {
            Ok(Listener::Instance) => {}
            Ok(Listener::Nobody) | Err(_) => {
                *phase = Phase::Starting;
                return Ok(false);
            }
            Ok(Listener::Stranger) => {
                *phase = Phase::PortTaken;
                return Ok(false);
            }
        }
        let Ok(stream) = open(&self.endpoint).await else {
            return Ok(false);
        };
        // An inherited socket takes connections before there is anybody to serve them.
        if self.listen != Listen::Inherit {
            *phase = Phase::Listening;
        }
        if self.readiness == Readiness::Connect {
            return Ok(true);
        }
        let Some((status, headers)) = ask(stream).await else {
            return Ok(false);
        };
        *phase = Phase::Listening;
        if status != StatusCode::OK {
            return Ok(false);
        }
        self.check_proof(&headers).map(|()| true)
    }

    /// How an instance in service is.
    pub(super) async fn health(&self) -> Health {
        let asked = timeout(HEALTH_TIMEOUT, async {
            match self.listener() {
                Ok(Listener::Instance) => {}
                Ok(Listener::Nobody | Listener::Stranger) => return Health::Gone,
                Err(_) => return Health::Busy,
            }
            let stream = match open(&self.endpoint).await {
                Ok(stream) => stream,
                Err(error) if is_refusal(&error) => return Health::Gone,
                // The gateway may have no descriptors left, or the instance's queue be full.
                Err(_) => return Health::Busy,
            };
            match (self.readiness, ask(stream).await) {
                (_, None) => Health::Gone,
                // Who isn't asked for its health at the start may not know of it at all.
                (Readiness::Connect, Some((StatusCode::NOT_FOUND, _))) => Health::Well,
                (_, Some((StatusCode::OK, headers))) => match self.check_proof(&headers) {
                    Ok(()) => Health::Well,
                    Err(WrongEnv) => Health::Gone,
                },
                (_, Some((status, _))) => Health::Unwell(status),
            }
        });
        asked.await.unwrap_or(Health::Busy)
    }

    /// Who listens there. A socket's path is in a directory that is the instance's own.
    fn listener(&self) -> io::Result<Listener> {
        match &self.endpoint {
            Address::Tcp(address) => listener(address.port(), self.group, self.own_user),
            Address::Unix(_) => Ok(Listener::Instance),
        }
    }

    /// A worker that proves nothing is believed; one that proves something else isn't.
    fn check_proof(&self, headers: &HeaderMap) -> Result<(), WrongEnv> {
        let mut proofs = headers.get_all(PROOF_HEADER).iter();
        match proofs.all(|proof| is_same_proof(&self.proof, proof.as_bytes())) {
            true => Ok(()),
            false => Err(WrongEnv),
        }
    }
}

/// Whether nobody listens there any more.
fn is_refusal(error: &io::Error) -> bool {
    let kind = error.kind();
    matches!(
        kind,
        io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound
    )
}

/// Asks for the health; `None` where no answer comes. hyper bounds the answer's head.
async fn ask(stream: Stream) -> Option<(StatusCode, HeaderMap)> {
    let mut link = Link::begin(stream).await.ok()?;
    let mut request = Box::new(Request::new(CallBody::whole(Pieces::default())));
    *request.method_mut() = Method::GET;
    *request.uri_mut() = http::Uri::from_static("/health");
    let headers = request.headers_mut();
    headers.insert(header::HOST, HeaderValue::from_static("localhost"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    let answer = exchange::send(&mut link, request).await.ok()?;
    let (head, body) = answer.into_parts();
    drain(&mut link, body).await;
    Some((head.status, head.headers))
}

/// Reads a body, as far as it is of a decent length.
async fn drain(link: &mut Link, mut body: Incoming) {
    let mut left = MAX_BODY;
    while let Some(Ok(frame)) =
        poll_fn(|cx| link.poll(cx, |cx, _| Pin::new(&mut body).poll_frame(cx))).await
    {
        let bytes = frame.data_ref().map_or(0, |data| data.len() as u64);
        match left.checked_sub(bytes) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}
