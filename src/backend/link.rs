//! One HTTP/1.1 connection to a member, driven by whoever uses it.
//!
//! hyper splits a connection into a handle and a future that does the reading and writing. Here
//! both stay together and the call polls the future itself: no task is spawned, nothing has to be
//! joined, and dropping the call closes the connection, which is how a backend learns that its
//! caller has left.
//!
//! hyper's two halves wake each other as if they were two tasks. Here that would schedule the one
//! task that both are part of, again and again while it runs. So a link has a waker of its own: while
//! the link is polled it only notes that there is more to do.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
    task::{Context, Poll, Wake, Waker, ready},
};

use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{CallBody, Stream};

/// How often hyper's two halves may wake each other before the task's other work has a turn.
const ROUNDS: u32 = 16;

/// A connection that is ready for one call after another.
pub(super) struct Link {
    pub(super) sender: SendRequest<CallBody>,
    /// `None` once it has ended. Dropped at once, as that is what ends a call that hyper still has.
    connection: Option<Pin<Box<Connection>>>,
    pub(super) witness: Arc<Witness>,
    bell: Arc<Bell>,
    waker: Waker,
}

type Connection = http1::Connection<TokioIo<Socket>, CallBody>;

/// What a link's waker rings.
#[derive(Debug, Default)]
struct Bell {
    /// It rang since the link was last polled.
    rang: AtomicBool,
    /// The link is being polled, and sees for itself.
    is_muted: AtomicBool,
    /// Who uses the link.
    task: Mutex<Option<Waker>>,
}

impl Bell {
    /// Whether there is anything to be polled for: it rang, or another task has come.
    fn answer(&self, task: &Waker) -> bool {
        let mut known = self.task.lock();
        let is_known = known.as_ref().is_some_and(|known| known.will_wake(task));
        if !is_known {
            *known = Some(task.clone());
        }
        self.rang.swap(false, Relaxed) || !is_known
    }

    fn ring(&self) {
        self.rang.store(true, Relaxed);
        if !self.is_muted.load(Relaxed)
            && let Some(task) = &*self.task.lock()
        {
            task.wake_by_ref();
        }
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.ring();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.ring();
    }
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
        let bell = Arc::new(Bell::default());
        Ok(Self {
            sender,
            connection: Some(Box::pin(connection)),
            witness,
            waker: Waker::from(Arc::clone(&bell)),
            bell,
        })
    }

    /// Polls what comes of the connection, and the connection, until neither has anything to do.
    /// `of_it` is ready through the connection alone: it is asked only where that has moved.
    pub(super) fn poll<T>(
        &mut self,
        cx: &mut Context<'_>,
        mut of_it: impl FnMut(&mut Context<'_>, &Self) -> Poll<T>,
    ) -> Poll<T> {
        if !self.bell.answer(cx.waker()) {
            return Poll::Pending;
        }
        self.bell.is_muted.store(true, Relaxed);
        let waker = self.waker.clone();
        let mut own = Context::from_waker(&waker);
        let mut result = of_it(&mut own, self);
        for _ in 0..ROUNDS {
            if result.is_ready() {
                break;
            }
            self.bell.rang.store(false, Relaxed);
            self.drive(&mut own);
            result = of_it(&mut own, self);
            if !self.bell.rang.load(Relaxed) {
                break;
            }
        }
        self.bell.is_muted.store(false, Relaxed);
        if result.is_ready() || self.bell.rang.load(Relaxed) {
            // What has come with the result is seen to at the next poll.
            self.bell.rang.store(true, Relaxed);
            if result.is_pending() {
                cx.waker().wake_by_ref();
            }
        }
        result
    }

    /// Lets the connection read and write what it can.
    fn drive(&mut self, cx: &mut Context<'_>) {
        if let Some(connection) = &mut self.connection
            && connection.as_mut().poll(cx).is_ready()
        {
            // How it ended reaches the call through its own future.
            self.connection = None;
        }
    }

    /// Lets go of it: whether it can take another call. Nobody is woken for what comes until it is
    /// used again.
    pub(super) fn rest(&mut self) -> bool {
        *self.bell.task.lock() = None;
        self.bell.rang.store(true, Relaxed);
        self.is_fresh()
    }

    /// Whether it can still take another call: nothing has come that no call asked for, and the peer
    /// hasn't closed it.
    pub(super) fn is_fresh(&mut self) -> bool {
        if self.bell.rang.load(Relaxed) {
            let waker = self.waker.clone();
            self.drive(&mut Context::from_waker(&waker));
            // What hyper's halves had to tell each other, they see at the next call.
            self.bell.rang.store(false, Relaxed);
        }
        self.connection.is_some() && self.sender.is_ready()
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
