//! A client's connection, from its first byte to its end. While it rests it is only its socket:
//! hyper, with its buffers and the room for a call, is there from when something comes until a rest,
//! because most connections of a crowd rest.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;

use super::{
    Config,
    edge::{self, Connection},
    socket::ClientSocket,
};
use crate::backend::Elapsed;

/// Serves a connection until it ends or the gateway closes.
pub(super) async fn serve(
    connection: Arc<Connection>,
    mut socket: ClientSocket,
) -> hyper::Result<()> {
    let mut closing = pin!(connection.thread.gateway.drain.closing());
    loop {
        let came = tokio::select! {
            came = poll_fn(|cx| socket.poll_come(cx)) => came,
            () = closing.as_mut() => return Ok(()),
        };
        if came == Err(Elapsed) {
            return Ok(());
        }
        match serve_until_rest(&connection, socket, closing.as_mut()).await? {
            Some(rested) => socket = rested,
            None => return Ok(()),
        }
    }
}

/// Serves what comes; the socket once nothing has come for a while, `None` once the connection has
/// ended.
async fn serve_until_rest(
    connection: &Arc<Connection>,
    socket: ClientSocket,
    mut closing: Pin<&mut impl Future<Output = ()>>,
) -> hyper::Result<Option<ClientSocket>> {
    let shared = Arc::clone(connection);
    let service = service_fn(move |request| edge::serve(Arc::clone(&shared), request));
    let http = http(&connection.thread.gateway.config);
    // Boxed: it is as large as all else that a resting connection takes.
    let mut serving = Box::new(http.serve_connection(TokioIo::new(socket), service));
    let mut is_closing = false;
    let rests = poll_fn(|cx| {
        let mut serving = Pin::new(&mut *serving);
        if let Poll::Ready(ended) = serving.as_mut().poll(cx) {
            return Poll::Ready(ended.map(|()| false));
        }
        if connection.stage.takes_rest() {
            // hyper is done at once if it waits for a request and has nothing to write, and then
            // writes nothing. Where something still goes on, such as a body whose answer has been
            // given, the connection ends after that.
            serving.as_mut().graceful_shutdown();
            let ended = connection.stage.while_parting(|| serving.as_mut().poll(cx));
            if let Poll::Ready(ended) = ended {
                return Poll::Ready(ended.map(|()| true));
            }
        }
        if !is_closing && closing.as_mut().poll(cx).is_ready() {
            is_closing = true;
            serving.as_mut().graceful_shutdown();
            return serving.poll(cx).map_ok(|()| false);
        }
        Poll::Pending
    });
    if !rests.await? {
        return Ok(None);
    }
    let parts = serving.into_parts();
    let mut socket = parts.io.into_inner();
    socket.take_back(parts.read_buf);
    Ok(Some(socket))
}

fn http(config: &Config) -> http1::Builder {
    let mut http = http1::Builder::new();
    // The socket keeps the time; hyper's own limit would also end connections that rest.
    http.header_read_timeout(None);
    // hyper takes no limit below 8 KiB.
    let head_bytes = usize::try_from(config.max_header_bytes.as_u64()).unwrap_or(usize::MAX);
    http.max_buf_size(head_bytes.max(8192));
    http.max_headers(config.max_headers.get());
    http
}
