//! The body of a call on its way to a backend.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::facet::Pieces;

/// Why a streamed body ended early; whoever made the stream knows.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The body of a call: whole in memory, or streamed as the client sends it.
pub enum CallBody {
    /// Whole; gone once it has been handed on.
    Whole(Option<Pieces>),
    /// As it comes.
    Stream(Pin<Box<dyn Body<Data = Bytes, Error = BoxError> + Send>>),
}

impl CallBody {
    /// A body of these pieces.
    #[must_use]
    pub fn whole(pieces: Pieces) -> Self {
        Self::Whole(Some(pieces).filter(|pieces| !pieces.is_empty()))
    }

    /// A body that is passed on as it comes.
    pub fn stream(body: impl Body<Data = Bytes, Error = BoxError> + Send + 'static) -> Self {
        Self::Stream(Box::pin(body))
    }
}

impl Body for CallBody {
    type Data = Pieces;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Pieces>, BoxError>>> {
        match self.get_mut() {
            Self::Whole(pieces) => Poll::Ready(pieces.take().map(|pieces| Ok(Frame::data(pieces)))),
            Self::Stream(body) => {
                let frame = ready!(body.as_mut().poll_frame(cx));
                Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(Pieces::from))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(pieces) => pieces.is_none(),
            Self::Stream(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(None) => SizeHint::with_exact(0),
            Self::Whole(Some(pieces)) => SizeHint::with_exact(pieces.len() as u64),
            Self::Stream(body) => body.size_hint(),
        }
    }
}
