//! The worker threads: each a runtime of its own, a request stays on one from first byte to last.

use std::{
    io,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::Duration,
};

use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{MissedTickBehavior, interval, timeout},
};

use super::{
    edge::Connection,
    forwarded, resting,
    socket::{ClientSocket, Patience, Stage},
    state::Gateway,
    thread::Thread,
};
use crate::{listen::Accepted, thread};

/// How long connections may take to write out what is on its way once the gateway closes.
const CLOSING: Duration = Duration::from_secs(1);

/// A connection on its way to its thread.
#[derive(Debug)]
pub(super) struct Assigned {
    pub(super) accepted: Accepted,
    pub(super) is_surplus: bool,
}

/// A worker thread, as the acceptor sees it.
#[derive(Debug)]
pub(super) struct Worker {
    /// Bounded by the limit on connections, which is checked before anything is sent.
    pub(super) assign: mpsc::UnboundedSender<Assigned>,
    pub(super) connections: Arc<AtomicUsize>,
}

impl Worker {
    pub(super) fn start(
        gateway: &Arc<Gateway>,
        index: usize,
    ) -> io::Result<(Self, JoinHandle<()>)> {
        let (assign, assigned) = mpsc::unbounded_channel();
        let connections = Arc::new(AtomicUsize::new(0));
        let own = Arc::new(Thread::new(Arc::clone(gateway)));
        let count = Arc::clone(&connections);
        let name = format!("worker-{index}");
        let handle = thread::start(&name, move || run(own, assigned, count))?;
        Ok((
            Self {
                assign,
                connections,
            },
            handle,
        ))
    }
}

/// Serves what is assigned until the gateway closes; owns every connection's task.
async fn run(
    thread: Arc<Thread>,
    mut assigned: mpsc::UnboundedReceiver<Assigned>,
    count: Arc<AtomicUsize>,
) {
    let mut connections = JoinSet::new();
    let mut closing = pin!(thread.gateway.drain.closing());
    let mut sweep = interval(Duration::from_secs(1));
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            next = assigned.recv() => {
                let Some(next) = next else { break };
                let open = OpenConnection::new(&thread.gateway, &count);
                connections.spawn(serve(Arc::clone(&thread), next, open));
            }
            ended = connections.join_next(), if !connections.is_empty() => {
                if let Some(Err(error)) = ended {
                    tracing::error!(%error, "a connection's task failed; this is a fault of the program");
                }
            }
            _ = sweep.tick() => thread.sweep(),
            () = closing.as_mut() => break,
        }
    }
    let all = async { while connections.join_next().await.is_some() {} };
    if timeout(CLOSING, all).await.is_err() {
        tracing::debug!("connections were still busy when the gateway closed");
    }
}

/// A connection that counts as open until its task ends.
struct OpenConnection {
    gateway: Arc<Gateway>,
    on_thread: Arc<AtomicUsize>,
}

impl OpenConnection {
    /// The acceptor has counted it on its thread already.
    fn new(gateway: &Arc<Gateway>, on_thread: &Arc<AtomicUsize>) -> Self {
        gateway.metrics.connections.inc();
        Self {
            gateway: Arc::clone(gateway),
            on_thread: Arc::clone(on_thread),
        }
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.gateway.metrics.connections.dec();
        self.on_thread.fetch_sub(1, Relaxed);
    }
}

async fn serve(thread: Arc<Thread>, assigned: Assigned, _open: OpenConnection) {
    let (stream, peer) = match assigned.accepted.register() {
        Ok(registered) => registered,
        Err(error) => {
            tracing::warn!(%error, "a connection can't be served");
            return;
        }
    };
    let stage = Arc::new(Stage::default());
    let patience = Patience::new(&thread.gateway.config);
    let socket = ClientSocket::new(stream, Arc::clone(&stage), patience);
    let connection = Arc::new(Connection {
        thread,
        peer,
        peer_value: peer.and_then(forwarded::peer_value),
        stage,
        is_surplus: assigned.is_surplus,
        call_alarm: Arc::default(),
        body_alarm: Arc::default(),
    });
    if let Err(error) = resting::serve(connection, socket).await {
        tracing::debug!(?peer, %error, "a connection ended early");
    }
}
