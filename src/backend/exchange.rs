//! One call over one connection: the request out, the answer's head and body back.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::{Arc, atomic::Ordering::Relaxed},
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use http::{Request, Response, StatusCode, header, response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::{CallBody, Pool, link::Link, upstream::MemberLease};

/// Informational answers (1xx) that a backend may send before its answer (CONTRACT 4).
const MAX_INFORMATIONAL: u32 = 16;

/// The head of a backend's answer and the body to come.
#[derive(Debug)]
pub struct Answer {
    /// Status and headers.
    pub head: response::Parts,
    /// The body; it must be read to its end for the connection to be used again.
    pub body: AnswerBody,
}

/// Why a call has no answer. In none of these cases may it be sent again.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// No member could be reached; nothing was sent.
    #[error("no member of the backend can be reached")]
    Unreachable(#[source] Option<std::io::Error>),
    /// The gateway has no more descriptors or ports to connect with; nothing was sent.
    #[error("the gateway can't open another connection")]
    Exhausted(#[source] std::io::Error),
    /// Every member was at its limit until the deadline; nothing was sent.
    #[error("every member was busy for as long as the call may take")]
    Waited,
    /// Too many calls wait for a member already; nothing was sent.
    #[error("too many calls wait for a member")]
    Crowded,
    /// The connection ended before the first byte of an answer.
    #[error("the backend hung up without an answer")]
    NoAnswer(#[source] hyper::Error),
    /// What came isn't an answer.
    #[error("the backend's answer is not one: {0}")]
    BadAnswer(&'static str, #[source] Option<hyper::Error>),
    /// The deadline passed before the answer's head was there.
    #[error("the backend took too long to answer")]
    TimedOut,
}

/// Why an answer's body is of no use.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// It ended before it was whole.
    #[error("the backend's answer was cut short")]
    CutShort(#[source] hyper::Error),
    /// There is no memory left for it.
    #[error("the gateway holds as many bytes of bodies as it may")]
    NoMemory,
    /// It is longer than the limit.
    #[error("the backend's answer is over {limit} bytes")]
    TooLong {
        /// The limit, in bytes.
        limit: u64,
    },
}

/// How a call failed on one connection.
pub(super) enum Failed {
    /// Not a byte was written: it may be sent elsewhere.
    NotSent(Box<Request<CallBody>>),
    /// It may have been received.
    Sent(SendError),
}

/// Sends a call and waits for the head of its answer.
///
/// Dropping the future closes the connection.
pub(super) async fn send(
    link: &mut Link,
    mut request: Box<Request<CallBody>>,
) -> Result<Response<Incoming>, Failed> {
    link.witness.reset();
    let witness = Arc::clone(&link.witness);
    hyper::ext::on_informational(&mut request, move |_| {
        witness.informational.fetch_add(1, Relaxed);
    });
    let mut answer = pin!(link.sender.try_send_request(*request));
    let answer = poll_fn(|cx| {
        link.poll(cx, |cx, link| {
            if link.witness.informational.load(Relaxed) > MAX_INFORMATIONAL {
                let flood = SendError::BadAnswer("more than 16 informational answers", None);
                return Poll::Ready(Err(Failed::Sent(flood)));
            }
            answer
                .as_mut()
                .poll(cx)
                .map_err(|mut error| match error.take_message() {
                    Some(request) => Failed::NotSent(Box::new(request)),
                    None => Failed::Sent(no_answer(error.into_error(), link)),
                })
        })
    })
    .await?;
    match irregularity(&answer) {
        Some(reason) => Err(Failed::Sent(SendError::BadAnswer(reason, None))),
        None => Ok(answer),
    }
}

fn no_answer(error: hyper::Error, link: &Link) -> SendError {
    if link.witness.answered.load(Relaxed) {
        SendError::BadAnswer("its head can't be read", Some(error))
    } else {
        SendError::NoAnswer(error)
    }
}

/// What disqualifies an answer whatever its body (CONTRACT 4).
fn irregularity(answer: &Response<Incoming>) -> Option<&'static str> {
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        return Some("it switches protocols unasked");
    }
    let headers = answer.headers();
    if headers.contains_key(header::CONTENT_LENGTH)
        && headers.contains_key(header::TRANSFER_ENCODING)
    {
        return Some("it has both Content-Length and Transfer-Encoding");
    }
    None
}

/// The body of an answer. It drives its connection, and gives it back to the pool where the whole
/// body came and nothing after it; dropped early, it closes the connection.
pub struct AnswerBody {
    incoming: Incoming,
    link: Option<Link>,
    endpoint: u64,
    /// Held until the body is read: it ends with this value.
    _lease: Option<MemberLease>,
    pool: Arc<Pool>,
}

impl AnswerBody {
    pub(super) fn new(
        incoming: Incoming,
        link: Link,
        endpoint: u64,
        lease: Option<MemberLease>,
        pool: Arc<Pool>,
    ) -> Self {
        Self {
            incoming,
            link: Some(link),
            endpoint,
            _lease: lease,
            pool,
        }
    }

    /// The whole body, without a copy where it came in one piece. `admit` is asked for room for
    /// each piece of it, in bytes.
    ///
    /// # Errors
    /// [`AnswerError`]; the connection is closed then.
    pub async fn collect(
        mut self,
        limit: u64,
        mut admit: impl FnMut(u64) -> bool,
    ) -> Result<Bytes, AnswerError> {
        let expected = self.size_hint();
        if expected.lower() > limit {
            return Err(AnswerError::TooLong { limit });
        }
        let mut first = Bytes::new();
        let mut all = BytesMut::new();
        while let Some(frame) = poll_fn(|cx| Pin::new(&mut self).poll_frame(cx)).await {
            let Ok(data) = frame.map_err(AnswerError::CutShort)?.into_data() else {
                continue;
            };
            if (first.len() + all.len() + data.len()) as u64 > limit {
                return Err(AnswerError::TooLong { limit });
            }
            if !admit(data.len() as u64) {
                return Err(AnswerError::NoMemory);
            }
            if first.is_empty() && all.is_empty() {
                first = data;
                continue;
            }
            if all.is_empty() {
                all.reserve(
                    usize::try_from(expected.lower())
                        .unwrap_or(0)
                        .max(first.len() * 2),
                );
                all.extend_from_slice(&std::mem::take(&mut first));
            }
            all.extend_from_slice(&data);
        }
        Ok(if all.is_empty() { first } else { all.freeze() })
    }

    fn finish(&mut self) {
        if let Some(mut link) = self.link.take()
            && link.rest()
        {
            self.pool.put(self.endpoint, link);
        }
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let this = &mut *self;
        let incoming = &mut this.incoming;
        let frame = ready!(match &mut this.link {
            Some(link) => link.poll(cx, |cx, _| Pin::new(&mut *incoming).poll_frame(cx)),
            None => Pin::new(incoming).poll_frame(cx),
        });
        match &frame {
            Some(Ok(_)) if !this.incoming.is_end_stream() => {}
            Some(Err(_)) => this.link = None,
            Some(Ok(_)) | None => this.finish(),
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        // Of a body that is empty nobody asks for more.
        if self.incoming.is_end_stream() {
            self.finish();
        }
    }
}

impl std::fmt::Debug for AnswerBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AnswerBody")
            .field("size", &self.size_hint())
            .finish_non_exhaustive()
    }
}
