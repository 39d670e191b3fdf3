//! One connection: one request, in bounded time.

use std::{io, time::Duration};

use axum::Router;
use hyper::{server::conn::http1, service::Service};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

use crate::{backend::Stream, listen::Accepted};

/// How long a head may take from the connection's begin.
const HEAD_TIME: Duration = Duration::from_secs(5);
/// How long a connection may last in all. It serves one request, so that this bounds whatever a
/// client does slowly: its head, its body, taking its answer.
const CONNECTION_TIME: Duration = Duration::from_secs(20);
/// The longest head, and the most fields in it.
const MAX_HEAD: usize = 16 * 1024;
const MAX_FIELDS: usize = 64;
/// How long what a client still sends is read once it has been refused: closed at once, the kernel
/// would reset the connection and the client could lose the answer that says why.
const LINGER: Duration = Duration::from_secs(1);

/// Serves one request and ends the connection.
pub(super) async fn serve_one(accepted: Accepted, router: Router) {
    let stream = match accepted.register() {
        Ok((stream, _)) => stream,
        Err(error) => return tracing::debug!(%error, "an admin connection was over at once"),
    };
    match timeout(CONNECTION_TIME, answer(stream, router)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "an admin connection broke off"),
        Err(_) => tracing::debug!("an admin connection took too long"),
    }
}

async fn answer(stream: Stream, router: Router) -> hyper::Result<()> {
    let router = TowerToHyperService::new(router);
    let service = hyper::service::service_fn(move |request| {
        let router = router.clone();
        // Boxed, as hyper hands its stream back only from a service whose futures may be moved.
        Box::pin(async move { router.call(request).await })
    });
    let connection = http1::Builder::new()
        .keep_alive(false)
        .half_close(true)
        .max_buf_size(MAX_HEAD)
        .max_headers(MAX_FIELDS)
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .serve_connection(TokioIo::new(stream), service);
    let mut stream = connection.without_shutdown().await?.io.into_inner();
    let lingered = async {
        stream.shutdown().await?;
        let mut rest = [0; 1024];
        while stream.read(&mut rest).await? > 0 {}
        io::Result::Ok(())
    };
    // Who goes on sending, or is gone already, has had the answer or won't have it.
    drop(timeout(LINGER, lingered).await);
    Ok(())
}
