//! An answer's body on its way to the client, with the record of its call: the call has ended when
//! the client has been handed the last of it.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Instant,
};

use http::Method;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Sleep, sleep_until};

use super::{record::CallRecord, socket::Stage};
use crate::{backend::AnswerBody, facet::Pieces, instances::Lease};

/// What is sent to a client.
pub(super) struct ClientBody {
    content: Content,
    /// What is not a call, such as a scrape of the metrics, has none.
    record: Option<Box<CallRecord>>,
    stage: Arc<Stage>,
}

#[expect(clippy::large_enum_variant, reason = "the large one is the usual one")]
enum Content {
    Whole(Option<Pieces>),
    Stream(Box<Streamed>),
}

/// An answer that is passed on as it comes.
pub(super) struct Streamed {
    body: AnswerBody,
    deadline: Pin<Box<Sleep>>,
    /// The call runs until its answer has passed.
    _lease: Lease,
}

impl Streamed {
    pub(super) fn new(body: AnswerBody, deadline: Instant, lease: Lease) -> Self {
        Self {
            body,
            deadline: Box::pin(sleep_until(deadline.into())),
            _lease: lease,
        }
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
            Content::Stream(streamed) => {
                if let Poll::Ready(frame) = Pin::new(&mut streamed.body).poll_frame(cx) {
                    let frame = frame.map(|frame| frame.map_err(StreamError::CutShort));
                    return Poll::Ready(frame.map(|frame| frame.map(|f| f.map_data(Pieces::from))));
                }
                ready!(streamed.deadline.as_mut().poll(cx));
                Poll::Ready(Some(Err(StreamError::TimedOut)))
            }
        }
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
        // Nobody polls a body that has ended before it began, nor one that answers a HEAD.
        let has_ended = self.is_end_stream();
        if let Some(record) = &mut self.record
            && (has_ended || record.method == Method::HEAD)
        {
            record.complete();
        }
        self.stage.call_ends();
    }
}
