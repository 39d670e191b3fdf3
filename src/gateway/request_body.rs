//! A client's body: read whole within its limits, or passed on under the same limits.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::{budget::Held, socket::Stage};
use crate::{
    backend::{BoxError, Deadline, Elapsed},
    facet::{CallError, ErrorNumber},
};

/// Why a body isn't read to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BodyFault {
    TooLong { limit: u64 },
    TooSlow { limit: Duration },
    Broken,
    NoMemory,
}

impl BodyFault {
    fn too_slow(deadline: &Deadline) -> Self {
        Self::TooSlow {
            limit: deadline.at().saturating_duration_since(deadline.began()),
        }
    }
}

impl From<BodyFault> for CallError {
    fn from(fault: BodyFault) -> Self {
        match fault {
            BodyFault::TooLong { limit } => Self::new(
                ErrorNumber::BodyTooLarge,
                format!("the request body is over {limit} bytes, the gateway's max_request_body"),
            ),
            BodyFault::TooSlow { limit } => Self::new(
                ErrorNumber::SlowBody,
                format!(
                    "the request body didn't come within {}",
                    humantime::format_duration(limit)
                ),
            ),
            BodyFault::Broken => Self::new(
                ErrorNumber::InvalidJson,
                "the request body ends early or breaks the rules of its transfer encoding",
            ),
            BodyFault::NoMemory => Self::new(
                ErrorNumber::Overloaded,
                "the gateway holds as many bytes of bodies as it may",
            ),
        }
    }
}

/// The whole body, without a copy where it came in one piece.
pub(super) async fn read_whole(
    body: Incoming,
    limit: u64,
    deadline: &Deadline,
    held: &mut Held,
) -> Result<Bytes, BodyFault> {
    let expected = body.size_hint().lower();
    if expected > limit {
        return Err(BodyFault::TooLong { limit });
    }
    let read = deadline.limit(read_frames(body, limit, expected, held));
    read.await
        .unwrap_or_else(|Elapsed| Err(BodyFault::too_slow(deadline)))
}

async fn read_frames(
    mut body: Incoming,
    limit: u64,
    expected: u64,
    held: &mut Held,
) -> Result<Bytes, BodyFault> {
    let mut first = Bytes::new();
    let mut all = BytesMut::new();
    while let Some(frame) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let Ok(data) = frame.map_err(|_| BodyFault::Broken)?.into_data() else {
            continue;
        };
        if (first.len() + all.len() + data.len()) as u64 > limit {
            return Err(BodyFault::TooLong { limit });
        }
        held.grow(data.len() as u64)
            .map_err(|_| BodyFault::NoMemory)?;
        if first.is_empty() && all.is_empty() {
            first = data;
            continue;
        }
        if all.is_empty() {
            // Never more than the limit, and the limit is the operator's.
            all.reserve(usize::try_from(expected).unwrap_or(0).max(first.len() * 2));
            all.extend_from_slice(&std::mem::take(&mut first));
        }
        all.extend_from_slice(&data);
    }
    Ok(if all.is_empty() { first } else { all.freeze() })
}

/// A body that is passed on as it comes. What ends it early is left in `fault` for the call to
/// answer with.
pub(super) struct PassedBody {
    body: Incoming,
    passed: u64,
    limit: u64,
    deadline: Deadline,
    fault: Arc<OnceLock<BodyFault>>,
    stage: Arc<Stage>,
}

impl PassedBody {
    pub(super) fn new(
        body: Incoming,
        limit: u64,
        deadline: Deadline,
        fault: Arc<OnceLock<BodyFault>>,
        stage: Arc<Stage>,
    ) -> Result<Self, BodyFault> {
        if body.size_hint().lower() > limit {
            return Err(BodyFault::TooLong { limit });
        }
        Ok(Self {
            body,
            passed: 0,
            limit,
            deadline,
            fault,
            stage,
        })
    }

    fn end(&self, fault: BodyFault) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        // The first fault is the one that counts.
        let fault = *self.fault.get_or_init(|| fault);
        Poll::Ready(Some(Err(CallError::from(fault).into())))
    }
}

impl Drop for PassedBody {
    fn drop(&mut self) {
        // The backend answered before it had all of the call, and wants no more of it.
        if !self.body.is_end_stream() && self.fault.get().is_none() {
            self.stage.linger();
        }
    }
}

impl Body for PassedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let this = &mut *self;
        let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) else {
            ready!(this.deadline.poll(cx));
            return this.end(BodyFault::too_slow(&this.deadline));
        };
        let Some(frame) = frame else {
            return Poll::Ready(None);
        };
        let Ok(frame) = frame else {
            return this.end(BodyFault::Broken);
        };
        this.passed += frame.data_ref().map_or(0, |data| data.len() as u64);
        if this.passed > this.limit {
            return this.end(BodyFault::TooLong { limit: this.limit });
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
