//! One call to one worker: over a connection that waits, else over a new one.

use std::{io, sync::Arc, time::Instant};

use http::{Request, Response, header};
use hyper::body::Incoming;

use super::{
    Answer, AnswerBody, CallBody, Deadline, Elapsed, Endpoint, Pool, SendError,
    connect::{ConnectError, connect},
    exchange::{self, Failed},
    link::{Link, Witness},
    upstream::MemberLease,
};

/// A call that was sent, and the head of its answer.
#[derive(Debug)]
pub struct Sent {
    /// The answer.
    pub answer: Answer,
    /// When the call was written; its execution counts from here.
    pub sent_at: Instant,
    /// What the call waited for a worker and a connection before.
    pub connect_wait: std::time::Duration,
}

/// Why a worker gave no answer.
pub enum Undelivered {
    /// Not a byte was written: the call may be sent elsewhere.
    Unsent {
        /// The call, to be sent again.
        request: Box<Request<CallBody>>,
        /// Why there is no connection; `None` where one was closed before it was used.
        error: Option<io::Error>,
    },
    /// It may not be sent again.
    Failed(SendError),
}

/// Sends a call to the one worker there is, and waits for the head of its answer, at most until
/// `deadline`. Dropping the future closes the connection, which cancels the call at the worker.
///
/// # Errors
/// [`Undelivered`]; the variant says whether anything was sent.
pub async fn send_to(
    pool: &Arc<Pool>,
    endpoint: &Endpoint,
    request: Box<Request<CallBody>>,
    deadline: &Deadline,
) -> Result<Sent, Undelivered> {
    let began = Instant::now();
    let delivered = deliver(pool, endpoint, request, began, deadline, |_| {}).await?;
    Ok(delivered.into_sent(began, endpoint.id, None, pool))
}

/// How far a call has come.
pub(super) enum Progress<'a> {
    /// A connection came about.
    Connected,
    /// It didn't.
    NotConnected(&'a ConnectError),
    /// It is about to be written to the connection that this is the witness of.
    Writing(&'a Arc<Witness>),
    /// Not a byte was written after all.
    Unwritten,
}

/// A call that one worker has begun to answer.
pub(super) struct Delivered {
    answer: Response<Incoming>,
    link: Link,
    sent_at: Instant,
}

impl Delivered {
    /// The answer as its reader gets it; `lease` is held until its body is read.
    pub(super) fn into_sent(
        self,
        began: Instant,
        endpoint: u64,
        lease: Option<MemberLease>,
        pool: &Arc<Pool>,
    ) -> Sent {
        let (head, incoming) = self.answer.into_parts();
        let body = AnswerBody::new(incoming, self.link, endpoint, lease, Arc::clone(pool));
        Sent {
            answer: Answer { head, body },
            sent_at: self.sent_at,
            connect_wait: self.sent_at.saturating_duration_since(began),
        }
    }
}

/// Sends a call to a worker and waits for the head of its answer, at most until `deadline`.
/// `now` is about now, `tell` is told how far the call has come.
///
/// Dropping the future closes the connection, which cancels the call at the worker.
pub(super) async fn deliver(
    pool: &Pool,
    endpoint: &Endpoint,
    mut request: Box<Request<CallBody>>,
    now: Instant,
    deadline: &Deadline,
    tell: impl Fn(Progress<'_>),
) -> Result<Delivered, Undelivered> {
    request
        .headers_mut()
        .insert(header::HOST, endpoint.host.clone());
    loop {
        let (mut link, is_new) = match pool.take(endpoint.id, now) {
            Some(link) => (link, false),
            None => {
                let link = connect(&endpoint.address, deadline.at().into()).await;
                tell(match &link {
                    Ok(_) => Progress::Connected,
                    Err(error) => Progress::NotConnected(error),
                });
                match link {
                    Ok(link) => (link, true),
                    Err(ConnectError::Exhausted(error)) => {
                        return Err(Undelivered::Failed(SendError::Exhausted(error)));
                    }
                    Err(_) if deadline.has_passed() => {
                        return Err(Undelivered::Failed(SendError::Waited));
                    }
                    Err(ConnectError::Unreachable(error) | ConnectError::Busy(error)) => {
                        let error = Some(error);
                        return Err(Undelivered::Unsent { request, error });
                    }
                }
            }
        };
        tell(Progress::Writing(&link.witness));
        let sent_at = Instant::now();
        let result = deadline.limit(exchange::send(&mut link, request)).await;
        if let Ok(Err(Failed::NotSent(_))) = &result {
            tell(Progress::Unwritten);
        }
        match result {
            Ok(Ok(answer)) => {
                return Ok(Delivered {
                    answer,
                    link,
                    sent_at,
                });
            }
            Ok(Err(Failed::NotSent(request))) if is_new => {
                let error = None;
                return Err(Undelivered::Unsent { request, error });
            }
            Ok(Err(Failed::NotSent(unsent))) => request = unsent,
            Ok(Err(Failed::Sent(error))) => return Err(Undelivered::Failed(error)),
            Err(Elapsed) => return Err(Undelivered::Failed(SendError::TimedOut)),
        }
    }
}
