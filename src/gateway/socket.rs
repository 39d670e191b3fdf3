//! A client's socket, with the time limits that HTTP's own reader can't keep.
//!
//! hyper's header time-out also runs while a connection rests between requests, and nothing limits
//! the first byte or a reader that takes no byte of its answer. What the connection is waiting for
//! is told apart here, where the bytes pass: nothing yet, the rest of a head, a call's end, the
//! next request.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};

use super::{Config, record::UnderWay};
use crate::backend::{Alarm, Elapsed, Stream};

/// How long a connection that is closed before its request was read goes on reading: closed at
/// once, the kernel would reset it and the client could lose the answer that says why.
const LINGER: Duration = Duration::from_secs(5);

/// How long a connection waits for its next request until it is only a socket again. A busy one is
/// woken for nothing that often at most; one that calls less often pays for hyper's buffers anew
/// each time, which is little beside so long a rest.
const REST: Duration = Duration::from_secs(1);

/// How long a client may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    first_byte: Duration,
    header: Duration,
    idle: Duration,
    send: Duration,
}

impl Patience {
    pub(super) const fn new(config: &Config) -> Self {
        Self {
            first_byte: config.first_byte_timeout,
            header: config.header_timeout,
            idle: config.idle_timeout,
            send: config.send_timeout,
        }
    }
}

/// What a connection waits for. Shared by the socket and the calls on it, which run on one thread.
#[derive(Debug, Default)]
pub(super) struct Stage {
    /// A [`WaitsFor`] in the lowest two bits, above it how often that has changed.
    state: AtomicU32,
    lingers: AtomicBool,
    /// The socket has waited for the next request for long enough to part from hyper.
    has_rested: AtomicBool,
    /// hyper is being asked to give the socket back.
    is_parting: AtomicBool,
    /// Calls whose answers are written but haven't left; more than one only where requests are
    /// pipelined.
    leaving: Mutex<Vec<UnderWay>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WaitsFor {
    FirstByte = 0,
    RestOfHead = 1,
    EndOfCall = 2,
    NextRequest = 3,
}

impl Stage {
    /// A request's head is complete: its call has limits of its own.
    pub(super) fn call_begins(&self) {
        self.enter(WaitsFor::EndOfCall);
    }

    /// The answer has been handed over whole.
    pub(super) fn call_ends(&self) {
        self.enter(WaitsFor::NextRequest);
    }

    /// The answer is on its way to the socket: its call goes on until nothing is left to write.
    pub(super) fn answer_begins_to_leave(&self, call: UnderWay) {
        self.leaving.lock().push(call);
    }

    /// Whether the connection has come to rest since this was last asked, and nothing has come since.
    pub(super) fn takes_rest(&self) -> bool {
        self.has_rested.load(Relaxed)
            && self.has_rested.swap(false, Relaxed)
            && self.waits_for() == WaitsFor::NextRequest
    }

    /// Does what parts hyper from its socket. Meanwhile nothing is read from that, so that hyper gets
    /// no further than it was, and it isn't shut down.
    pub(super) fn while_parting<T>(&self, part: impl FnOnce() -> T) -> T {
        self.is_parting.store(true, Relaxed);
        let parted = part();
        self.is_parting.store(false, Relaxed);
        parted
    }

    fn answers_have_left(&self) {
        self.leaving.lock().clear();
    }

    /// The connection will close with some of its request unread.
    pub(super) fn linger(&self) {
        self.lingers.store(true, Relaxed);
    }

    fn bytes_came(&self) {
        if matches!(
            self.waits_for(),
            WaitsFor::FirstByte | WaitsFor::NextRequest
        ) {
            self.enter(WaitsFor::RestOfHead);
        }
    }

    fn enter(&self, stage: WaitsFor) {
        let changes = (self.state.load(Relaxed) >> 2).wrapping_add(1);
        self.state.store(changes << 2 | stage as u32, Relaxed);
    }

    fn waits_for(&self) -> WaitsFor {
        match self.state.load(Relaxed) & 3 {
            0 => WaitsFor::FirstByte,
            1 => WaitsFor::RestOfHead,
            2 => WaitsFor::EndOfCall,
            _ => WaitsFor::NextRequest,
        }
    }
}

/// The socket and its clock.
pub(super) struct ClientSocket {
    stream: Stream,
    /// What has been read of the next request already.
    unread: Bytes,
    stage: Arc<Stage>,
    patience: Patience,
    alarm: Alarm,
    /// The stage that the client was last waited for in, and until when.
    waiting: Option<(u32, Instant)>,
    sending_until: Option<Instant>,
    lingering_until: Option<Instant>,
}

impl ClientSocket {
    pub(super) fn new(stream: Stream, stage: Arc<Stage>, patience: Patience) -> Self {
        Self {
            stream,
            unread: Bytes::new(),
            stage,
            patience,
            alarm: Alarm::default(),
            waiting: None,
            sending_until: None,
            lingering_until: None,
        }
    }

    /// Takes the place of what has been read already but was not served.
    pub(super) fn take_back(&mut self, read: Bytes) {
        let is_line_end = |byte: &u8| matches!(byte, b'\r' | b'\n');
        // Empty lines before a request mean nothing (RFC 9112, 2.2): nothing of it has come.
        if !read.iter().all(is_line_end) {
            self.unread = read;
        }
    }

    /// Ready once something has come, be it the end, or the client has been silent for too long.
    pub(super) fn poll_come(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Elapsed>> {
        if !self.unread.is_empty() || self.stream.poll_read_ready(cx).is_ready() {
            return Poll::Ready(Ok(()));
        }
        let Some(deadline) = self.silent_until() else {
            return Poll::Pending;
        };
        self.poll_deadline(cx, deadline).map(|()| Err(Elapsed))
    }

    fn poll_deadline(&self, cx: &mut Context<'_>, deadline: Instant) -> Poll<()> {
        self.alarm.poll(cx, deadline.into_std())
    }

    /// Whether the next request is waited for since now.
    fn begins_to_wait(&self) -> bool {
        let state = self.stage.state.load(Relaxed);
        self.stage.waits_for() == WaitsFor::NextRequest
            && self.waiting.is_none_or(|(since, _)| since != state)
    }

    /// Until when the client may stay silent; `None` while a call is under way.
    fn silent_until(&mut self) -> Option<Instant> {
        let patience = match self.stage.waits_for() {
            WaitsFor::FirstByte => self.patience.first_byte,
            WaitsFor::RestOfHead => self.patience.header,
            WaitsFor::EndOfCall => return None,
            // Until its answer is written a call isn't over.
            WaitsFor::NextRequest if self.sending_until.is_some() => return None,
            WaitsFor::NextRequest => self.patience.idle,
        };
        let state = self.stage.state.load(Relaxed);
        match self.waiting {
            Some((since, deadline)) if since == state => Some(deadline),
            _ => {
                let deadline = Instant::now() + patience;
                self.waiting = Some((state, deadline));
                Some(deadline)
            }
        }
    }

    /// Ready once the client has been silent for too long. A silence that is a rest is told the stage.
    fn poll_silence(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(deadline) = self.silent_until() else {
            return Poll::Pending;
        };
        let Some(rest) = self.rests_at(deadline) else {
            return self.poll_deadline(cx, deadline);
        };
        ready!(self.poll_deadline(cx, rest));
        self.stage.has_rested.store(true, Relaxed);
        Poll::Pending
    }

    /// When a silence that may last until `deadline` has been a rest; `None` where it is none.
    fn rests_at(&self, deadline: Instant) -> Option<Instant> {
        if self.stage.waits_for() != WaitsFor::NextRequest {
            return None;
        }
        let rest_of_idle = self.patience.idle.checked_sub(REST)?;
        Some(deadline - rest_of_idle)
    }

    /// Passes a write's result on, or ends it where the client has taken nothing for too long. A byte
    /// now and then doesn't count: the kernel calls a socket writable only when a third of its buffer
    /// is free.
    fn sent<T>(
        &mut self,
        cx: &mut Context<'_>,
        result: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.sending_until = None;
            return result;
        }
        let patience = self.patience.send;
        let deadline = *self
            .sending_until
            .get_or_insert_with(|| Instant::now() + patience);
        ready!(self.poll_deadline(cx, deadline));
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::TimedOut,
            "the client takes no bytes",
        )))
    }

    /// Reads and forgets what still comes, until the client closes or the time is over.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let deadline = *self
            .lingering_until
            .get_or_insert_with(|| Instant::now() + LINGER);
        let mut scratch = [0; 8192];
        loop {
            let mut buffer = ReadBuf::new(&mut scratch);
            match Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    if Instant::now() >= deadline {
                        return Poll::Ready(());
                    }
                }
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return self.poll_deadline(cx, deadline),
            }
        }
    }
}

impl AsyncRead for ClientSocket {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.stage.is_parting.load(Relaxed) {
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        if !this.unread.is_empty() {
            let now = this.unread.len().min(buffer.remaining());
            buffer.put_slice(&this.unread.split_to(now));
            this.stage.bytes_came();
            return Poll::Ready(Ok(()));
        }
        if let Poll::Ready(result) = Pin::new(&mut this.stream).poll_read(cx, buffer) {
            if buffer.filled().len() > before {
                this.stage.bytes_came();
            }
            return Poll::Ready(result);
        }
        ready!(this.poll_silence(cx));
        Poll::Ready(Err(too_silent()))
    }
}

impl AsyncWrite for ClientSocket {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let result = Pin::new(&mut this.stream).poll_write(cx, bytes);
        this.sent(cx, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        let result = Pin::new(&mut this.stream).poll_write_vectored(cx, slices);
        this.sent(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A socket has no buffer of its own to flush, and hyper flushes it only once its own is
        // empty.
        let this = &mut *self;
        this.stage.answers_have_left();
        // hyper doesn't read again after a call during which nothing was to be read.
        if this.begins_to_wait() && this.poll_silence(cx).is_ready() {
            return Poll::Ready(Err(too_silent()));
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.stage.is_parting.load(Relaxed) {
            return Poll::Ready(Ok(()));
        }
        if this.lingering_until.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
        }
        if this.stage.lingers.load(Relaxed) {
            ready!(this.poll_linger(cx));
        }
        Poll::Ready(Ok(()))
    }
}

fn too_silent() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "the client sends no bytes")
}
