//! An answer's body on its way to the client, with the record of its call: the call has ended when
//! the client has been handed the last of it.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::Method;
use http_body::{Body, Frame, SizeHint};

use super::{record::CallRecord, socket::Stage};
use crate::{
    backend::{AnswerBody, Deadline},
    facet::Pieces,
    instances::Lease,
};

/// What is sent to a client.
pub(super) struct ClientBody {
    content: Content,
    /// What is not a call, such as a scrape of the metrics, has none.
    record: Option<Box<CallRecord>>,
    stage: Arc<Stage>,
}

enum Content {
    Whole(Option<Pieces>),
    Stream(Box<Streamed>),
}

/// An answer that is passed on as it comes.
pub(super) struct Streamed {
    body: AnswerBody,
    deadline: Deadline,
    /// The call runs until its answer has passed.
    lease: Lease,
}

impl Streamed {
    pub(super) const fn new(body: AnswerBody, deadline: Deadline, lease: Lease) -> Self {
        Self {
            body,
            deadline,
            lease,
        }
    }

    fn poll_data(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Pieces>, StreamError>>> {
        // Asked first: a client that reads slowly finds the backend always ahead of it.
        if self.deadline.has_passed() {
            return Poll::Ready(Some(Err(StreamError::TimedOut)));
        }
        while let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            let data = match frame {
                Some(Ok(frame)) => frame.into_data(),
                Some(Err(error)) => {
                    if let Some(run) = &self.lease.run {
                        run.running().broke_off();
                    }
                    return Poll::Ready(Some(Err(StreamError::CutShort(error))));
                }
                None => return Poll::Ready(None),
            };
            // Trailers belong to the hop, as the `Trailer` header that announces them does.
            if let Ok(data) = data {
                return Poll::Ready(Some(Ok(Frame::data(Pieces::from(data)))));
            }
        }
        ready!(self.deadline.poll(cx));
        Poll::Ready(Some(Err(StreamError::TimedOut)))
    }
}

/// Why a streamed answer ends early; hyper then closes the client's connection, so that it can't
/// take the answer for whole.
#[derive(Debug, thiserror::Error)]
pub(super) enum StreamError {
    #[error("the backend's answer was cut short")]
    CutShort(#[source] hyper::Error),
    #[error("the call took as long as it may")]
    TimedOut,
}

/// An answer before it meets its connection.
pub(super) enum Answered {
    Whole(Pieces),
    Stream(Streamed),
}

impl ClientBody {
    pub(super) fn new(
        answered: Answered,
        record: Option<Box<CallRecord>>,
        stage: Arc<Stage>,
    ) -> Self {
        let content = match answered {
            Answered::Whole(pieces) => {
                Content::Whole(Some(pieces).filter(|pieces| !pieces.is_empty()))
            }
            Answered::Stream(streamed) => Content::Stream(Box::new(streamed)),
        };
        Self {
            content,
            record,
            stage,
        }
    }

    fn poll_content(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Pieces>, StreamError>>> {
        match &mut self.content {
            Content::Whole(pieces) => {
                Poll::Ready(pieces.take().map(|pieces| Ok(Frame::data(pieces))))
            }
            Content::Stream(streamed) => streamed.poll_data(cx),
        }
    }

    /// Whether the client has been handed all that it is to get. An empty body is never polled, and
    /// that of an answer to HEAD isn't either.
    fn is_handed_over(&self) -> bool {
        let is_head = |record: &CallRecord| record.method == Method::HEAD;
        self.is_end_stream() || self.record.as_deref().is_some_and(is_head)
    }
}

impl Body for ClientBody {
    type Data = Pieces;
    type Error = StreamError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Pieces>, StreamError>>> {
        let frame = ready!(self.poll_content(cx));
        let ended = frame.is_none() || self.is_end_stream();
        if let Some(record) = &mut self.record {
            match &frame {
                Some(Ok(frame)) => record.sent(frame.data_ref().map_or(0, Pieces::len)),
                Some(Err(error)) => record.cut_short(error),
                None => {}
            }
            if ended && !matches!(frame, Some(Err(_))) {
                record.complete();
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        match &self.content {
            Content::Whole(pieces) => pieces.is_none(),
            Content::Stream(streamed) => streamed.body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Whole(None) => SizeHint::with_exact(0),
            Content::Whole(Some(pieces)) => SizeHint::with_exact(pieces.len() as u64),
            Content::Stream(streamed) => streamed.body.size_hint(),
        }
    }
}

impl Drop for ClientBody {
    fn drop(&mut self) {
        let is_handed_over = self.is_handed_over();
        if let Some(mut record) = self.record.take() {
            if is_handed_over {
                record.complete();
            }
            if let Some(under_way) = record.under_way.take() {
                self.stage.answer_begins_to_leave(under_way);
            }
        }
        self.stage.call_ends();
    }
}
