//! One HTTP/1.1 connection to a member, driven by whoever uses it.
//!
//! hyper splits a connection into a handle and a future that does the reading and writing. Here
//! both stay together and the call polls the future itself: no task is spawned, nothing has to be
//! joined, and dropping the call closes the connection, which is how a backend learns that its
//! caller has left.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
};

use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{CallBody, Stream};

/// A connection that is ready for one call after another.
pub(super) struct Link {
    pub(super) sender: SendRequest<CallBody>,
    connection: Pin<Box<http1::Connection<TokioIo<Socket>, CallBody>>>,
    pub(super) witness: Arc<Witness>,
    ended: bool,
}

/// What has been seen on a connection since its current call was sent; hyper tells it nowhere
/// else.
#[derive(Debug, Default)]
pub(super) struct Witness {
    /// Whether a byte has come.
    pub(super) answered: AtomicBool,
    /// Informational answers (1xx) so far.
    pub(super) informational: AtomicU32,
    /// Whether the caller has left and only the call's end is waited for.
    left: AtomicBool,
}

impl Witness {
    pub(super) fn reset(&self) {
        self.answered.store(false, Relaxed);
        self.informational.store(0, Relaxed);
    }

    /// The caller has left: the peer reads the end of the stream, as if the connection were closed.
    /// It happens as the connection is driven next, which then serves no other call.
    pub(super) fn leave(&self) {
        self.left.store(true, Relaxed);
    }
}

impl Link {
    /// Begins HTTP on a connected socket. Nothing is written before the first call.
    pub(super) async fn begin(stream: Stream) -> hyper::Result<Self> {
        let witness = Arc::new(Witness::default());
        let socket = Socket {
            stream,
            witness: Arc::clone(&witness),
            has_ended: false,
        };
        let (sender, connection) = http1::Builder::new()
            .handshake(TokioIo::new(socket))
            .await?;
        Ok(Self {
            sender,
            connection: Box::pin(connection),
            witness,
            ended: false,
        })
    }

    /// Lets the connection read and write what it can.
    pub(super) fn drive(&mut self, cx: &mut Context<'_>) {
        if !self.ended && self.connection.as_mut().poll(cx).is_ready() {
            // How it ended reaches the call through its own future.
            self.ended = true;
        }
    }

    /// Whether it can take another call: nothing has come that no call asked for, and the peer
    /// hasn't closed it.
    pub(super) fn is_fresh(&mut self, cx: &mut Context<'_>) -> bool {
        self.drive(cx);
        !self.ended && self.sender.is_ready()
    }
}

/// A socket that notes when bytes come, and ends its own direction when the caller has left.
struct Socket {
    stream: Stream,
    witness: Arc<Witness>,
    has_ended: bool,
}

impl AsyncRead for Socket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.witness.left.load(Relaxed) && !self.has_ended {
            // One that can't be ended is closed already, which reading tells.
            self.has_ended = Pin::new(&mut self.stream).poll_shutdown(cx).is_ready();
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        if buffer.filled().len() > before {
            self.witness.answered.store(true, Relaxed);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
