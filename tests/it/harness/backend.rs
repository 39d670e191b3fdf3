//! The far end: a worker that records what it is sent and plays a script for each request.

use std::{
    collections::BTreeSet,
    net::{Shutdown, SocketAddr, TcpListener},
    os::unix::net::UnixListener,
    path::PathBuf,
    sync::{Arc, Condvar, Mutex, MutexGuard, Weak, mpsc},
    thread,
    time::{Duration, Instant},
};

use super::{
    Address, DEADLINE, Message, Stream, Wire,
    script::{Step, answer},
};

/// A request as the backend saw it.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// On which connection, counted from 0.
    pub(crate) connection: usize,
    pub(crate) message: Message,
}

#[derive(Debug, Default)]
struct State {
    /// What is played next; the last one stays.
    scripts: Vec<Vec<Step>>,
    seen: Vec<Seen>,
    connections: Vec<Weak<Stream>>,
    closed_by_peer: BTreeSet<usize>,
    in_flight: BTreeSet<usize>,
    most_in_flight: usize,
    scripts_done: usize,
    releases: usize,
    released_for_good: bool,
    is_ill: bool,
    stopped: bool,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn update<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.lock());
        self.changed.notify_all();
        result
    }

    fn wait(&self, timeout: Duration, mut done: impl FnMut(&mut State) -> bool) -> bool {
        let (guard, result) = self
            .changed
            .wait_timeout_while(self.lock(), timeout, |state| !done(state))
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        drop(guard);
        !result.timed_out()
    }
}

/// A scripted worker.
#[derive(Debug)]
pub(crate) struct Backend {
    shared: Arc<Shared>,
    address: Address,
}

impl Backend {
    /// The n-th request gets the n-th script, all later ones the last.
    pub(crate) fn start(scripts: Vec<Vec<Step>>) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("binding port 0");
        let address = Address::Tcp(listener.local_addr().expect("a bound address"));
        Self::serve(scripts, address, move || {
            let (stream, _) = listener.accept().ok()?;
            stream.set_nodelay(true).ok()?;
            Some(Stream::Tcp(stream))
        })
    }

    /// The same on a Unix socket.
    pub(crate) fn start_unix(path: PathBuf, scripts: Vec<Vec<Step>>) -> Self {
        let listener = UnixListener::bind(&path).expect("binding a socket's path");
        Self::serve(scripts, Address::Unix(path), move || {
            listener
                .accept()
                .ok()
                .map(|(stream, _)| Stream::Unix(stream))
        })
    }

    fn serve(
        scripts: Vec<Vec<Step>>,
        address: Address,
        mut accept: impl FnMut() -> Option<Stream> + Send + 'static,
    ) -> Self {
        let shared = Arc::new(Shared::default());
        shared.lock().scripts = scripts;
        let acceptor = Arc::clone(&shared);
        thread::spawn(move || {
            while let Some(stream) = accept() {
                if acceptor.lock().stopped {
                    return;
                }
                let stream = Arc::new(stream);
                let connection = acceptor.update(|state| {
                    state.connections.push(Arc::downgrade(&stream));
                    state.connections.len() - 1
                });
                let shared = Arc::clone(&acceptor);
                thread::spawn(move || read(&shared, &stream, connection));
            }
        });
        Self { shared, address }
    }

    /// As a member's URL.
    pub(crate) fn url(&self) -> String {
        match &self.address {
            Address::Tcp(address) => format!("http://{address}"),
            Address::Unix(path) => format!("unix:{}", path.display()),
        }
    }

    /// `host:port`.
    pub(crate) fn authority(&self) -> String {
        self.url().trim_start_matches("http://").to_owned()
    }

    /// From now on these scripts; what was seen is forgotten.
    pub(crate) fn rewrite(&self, scripts: Vec<Vec<Step>>) {
        self.shared.update(|state| {
            state.scripts = scripts;
            state.seen.clear();
        });
    }

    /// What it was sent until now.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.shared.lock().seen.clone()
    }

    /// Waits for this many requests, and returns them all.
    #[track_caller]
    pub(crate) fn wait_seen(&self, count: usize) -> Vec<Seen> {
        self.wait(&format!("{count} requests"), |state| {
            state.seen.len() >= count
        });
        self.seen()
    }

    /// Waits until exactly so many calls are in flight.
    #[track_caller]
    pub(crate) fn wait_in_flight(&self, count: usize) {
        self.wait(&format!("{count} in flight"), |state| {
            state.in_flight.len() == count
        });
    }

    /// The most calls that were ever in flight together.
    pub(crate) fn most_in_flight(&self) -> usize {
        self.shared.lock().most_in_flight
    }

    /// Watches for a while that no more than so many calls are in flight.
    #[track_caller]
    pub(crate) fn assert_stays_at_most(&self, count: usize, watched: Duration) {
        let over = self
            .shared
            .wait(watched, |state| state.in_flight.len() > count);
        assert!(!over, "more than {count} calls in flight");
    }

    /// Watches for a while that no request beyond these comes.
    #[track_caller]
    pub(crate) fn assert_seen_stays(&self, count: usize, watched: Duration) {
        let over = self.shared.wait(watched, |state| state.seen.len() > count);
        assert!(!over, "more than {count} requests: {:?}", self.seen());
    }

    /// Lets so many held calls go on, now or when they come.
    pub(crate) fn release(&self, count: usize) {
        self.shared.update(|state| state.releases += count);
    }

    /// Holds nothing any more.
    pub(crate) fn release_all(&self) {
        self.shared.update(|state| state.released_for_good = true);
    }

    /// What `/health` says from now on.
    pub(crate) fn set_ill(&self, is_ill: bool) {
        self.shared.update(|state| state.is_ill = is_ill);
    }

    /// Waits until so many scripts were played to their end.
    #[track_caller]
    pub(crate) fn wait_scripts_done(&self, count: usize) {
        self.wait(&format!("{count} scripts done"), |state| {
            state.scripts_done >= count
        });
    }

    /// Waits until the peer has closed this connection.
    #[track_caller]
    pub(crate) fn wait_closed(&self, connection: usize) {
        self.wait(
            &format!("connection {connection} closed by the gateway"),
            |state| state.closed_by_peer.contains(&connection),
        );
    }

    /// The same, for a while only.
    pub(crate) fn closed_within(&self, connection: usize, timeout: Duration) -> bool {
        self.shared
            .wait(timeout, |state| state.closed_by_peer.contains(&connection))
    }

    #[track_caller]
    fn wait(&self, what: &str, done: impl FnMut(&mut State) -> bool) {
        let met = self.shared.wait(DEADLINE, done);
        assert!(
            met,
            "the backend waited {DEADLINE:?} for {what}: {:?}",
            self.shared.lock()
        );
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        let connections = self.shared.update(|state| {
            state.stopped = true;
            state.released_for_good = true;
            std::mem::take(&mut state.connections)
        });
        for stream in connections.iter().filter_map(Weak::upgrade) {
            // One that its peer has closed already needs no more.
            drop(stream.shutdown(Shutdown::Both));
        }
        // Wakes the acceptor, which then ends.
        drop(Stream::connect(&self.address));
    }
}

/// Reads a connection to its end, so that the peer's leaving is seen whatever the script does.
fn read(shared: &Arc<Shared>, stream: &Arc<Stream>, connection: usize) {
    let (to_player, scripts) = mpsc::channel();
    let player = {
        let (shared, stream) = (Arc::clone(shared), Arc::clone(stream));
        move || play_all(&shared, stream, connection, &scripts)
    };
    thread::spawn(player);
    let mut wire = Wire::new(Arc::clone(stream));
    while let Ok(Some(message)) = wire.message(None) {
        if message.start.starts_with("GET /health ") {
            let status = if shared.lock().is_ill { 503 } else { 200 };
            let health = (None, vec![answer(status, &[], "\n")]);
            if to_player.send(health).is_err() {
                break;
            }
            continue;
        }
        let (index, script) = shared.update(|state| {
            let index = state.seen.len();
            state.seen.push(Seen {
                connection,
                message,
            });
            state.in_flight.insert(connection);
            state.most_in_flight = state.most_in_flight.max(state.in_flight.len());
            let script = state.scripts.get(index).or(state.scripts.last()).cloned();
            (index, script.expect("a backend has a script"))
        });
        let resets = script.iter().any(|step| matches!(step, Step::Reset));
        if to_player.send((Some(index), script)).is_err() || resets {
            // An RST goes out only when nobody holds the socket any more.
            return;
        }
    }
    shared.update(|state| {
        state.in_flight.remove(&connection);
        state.closed_by_peer.insert(connection);
    });
}

type Scripts = mpsc::Receiver<(Option<usize>, Vec<Step>)>;

fn play_all(shared: &Shared, stream: Arc<Stream>, connection: usize, scripts: &Scripts) {
    for (index, script) in scripts {
        // The call is over before its last bytes leave: whoever reads them may count at once.
        let last = script.len().saturating_sub(1);
        for (place, step) in script.iter().enumerate() {
            if place == last && index.is_some() && !matches!(step, Step::Hang | Step::Hold) {
                shared.update(|state| state.in_flight.remove(&connection));
            }
            play(shared, &stream, connection, step);
        }
        shared.update(|state| {
            state.in_flight.remove(&connection);
            state.scripts_done += usize::from(index.is_some());
        });
    }
}

fn play(shared: &Shared, stream: &Stream, connection: usize, step: &Step) {
    // A peer that is gone is what some scripts are about: a failed write is no failure here.
    match step {
        Step::Raw(bytes) => drop(stream.send(bytes)),
        Step::Drip { bytes, every } => {
            for byte in bytes {
                thread::sleep(*every);
                if stream.send(&[*byte]).is_err() {
                    return;
                }
            }
        }
        Step::Delay(time) => thread::sleep(*time),
        Step::Hold => {
            shared.wait(DEADLINE * 4, |state| {
                let free = state.released_for_good || state.releases > 0;
                if free && !state.released_for_good {
                    state.releases -= 1;
                }
                free
            });
        }
        Step::Hang => {
            shared.wait(DEADLINE * 4, |state| {
                state.stopped || state.closed_by_peer.contains(&connection)
            });
        }
        Step::Close => drop(stream.shutdown(Shutdown::Write)),
        Step::Reset => drop(stream.reset_on_close()),
    }
}

/// A member that refuses connections: its port is bound, and nobody listens.
#[derive(Debug)]
pub(crate) struct Refusing {
    socket: socket2::Socket,
}

impl Refusing {
    pub(crate) fn new() -> Self {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)
            .expect("a socket");
        socket
            .bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into())
            .expect("binding port 0");
        Self { socket }
    }

    pub(crate) fn url(&self) -> String {
        let address = self
            .socket
            .local_addr()
            .ok()
            .and_then(|address| address.as_socket());
        format!("http://{}", address.expect("a bound address"))
    }
}

/// The moment a deadline from now.
pub(super) fn soon() -> Instant {
    Instant::now() + DEADLINE
}
