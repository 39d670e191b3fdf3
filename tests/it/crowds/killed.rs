//! The gateway is killed under load: nothing that it started outlives it.

use std::{
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::{gateway, processes, sample};
use crate::harness::{Address, Call, Client, DEADLINE, Gateway, eventually, unique};

const ROUNDS: usize = 5;
const ENVS: usize = 8;

/// How long anything of a killed gateway may live.
const SOON: Duration = Duration::from_secs(1);

/// Who is killed.
#[derive(Debug, Clone, Copy)]
enum Victims {
    Gateway,
    Watchdog,
    /// At once: nobody is left to end the workers but the kernel.
    Both,
}

/// Clients that call one env after the other, ever more of them new, until the gateway is gone.
struct Load {
    over: Arc<AtomicBool>,
    served: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<()>>,
}

impl Load {
    fn begin(address: &Address) -> Self {
        let (over, served) = <(Arc<AtomicBool>, Arc<AtomicUsize>)>::default();
        let clients = (0..ENVS)
            .map(|client| {
                let (over, served) = (Arc::clone(&over), Arc::clone(&served));
                let address = address.clone();
                thread::spawn(move || call(client, &address, &over, &served))
            })
            .collect();
        Self {
            over,
            served,
            clients,
        }
    }

    /// Waits until so many calls were served.
    #[track_caller]
    fn wait_served(&self, count: usize) {
        eventually("calls are served", || {
            (self.served.load(Relaxed) >= count).then_some(())
        });
    }

    fn end(self) {
        self.over.store(true, Relaxed);
        for client in self.clients {
            client.join().expect("a client ends");
        }
    }
}

/// Calls until it is over; every other call is the first of its env, so that starts are under way
/// at any time.
fn call(client: usize, address: &Address, over: &AtomicBool, served: &AtomicUsize) {
    let mut connection = Client::connect_to(address);
    let mut number = 0;
    while !over.load(Relaxed) {
        number += 1;
        let env = match number % 2 {
            0 => format!("CLIENT={client}\n"),
            _ => format!("CLIENT={client}\nNUMBER={number}\n"),
        };
        let call = Call::legacy(&env).facet("TimeFacet").method("Sleep");
        if !connection.try_send(call.arguments("[5]").bytes()) {
            return;
        }
        match connection.try_read(Instant::now() + DEADLINE) {
            Ok(Some(answer)) => {
                let (_, error) = answer.outcome();
                // What is killed with its instances may still tell so.
                let is_allowed = matches!(error, 0 | 1000 | 2000..=2003 | 3001 | 3002 | 4000);
                assert!(is_allowed, "{}", answer.text());
                served.fetch_add(usize::from(error == 0), Relaxed);
            }
            Ok(None) | Err(_) => return,
        }
    }
}

/// A gateway whose processes, itself and its watchdog included, all bear the mark.
fn start(mark: &str, directory: &std::path::Path) -> Gateway {
    let backend = format!("{}env = {{ MARK = {mark:?} }}\n", sample());
    let directory = directory.to_str().expect("a path in UTF-8");
    let setup = gateway("[instances]\nmax = 10\n", &backend);
    setup
        .variable("MARK", mark)
        .variable("XDG_RUNTIME_DIR", directory)
        .start()
}

fn kill(gateway: &Gateway, victims: Victims) {
    let (watchdog, inner) = (gateway.pid(), processes::inner(gateway));
    let pids = match victims {
        Victims::Gateway => vec![inner],
        Victims::Watchdog => vec![watchdog],
        Victims::Both => vec![watchdog, inner],
    };
    let mut kill = Command::new("kill");
    let kill = kill.arg("-KILL").args(pids.iter().map(u32::to_string));
    assert!(kill.status().is_ok_and(|status| status.success()));
}

fn killed_under_load(victims: Victims) {
    let directory = tempfile::tempdir().unwrap();
    let mut slowest = Duration::ZERO;
    for round in 0..ROUNDS {
        let mark = unique("mark-");
        let mut gateway = start(&mark, directory.path());
        let load = Load::begin(gateway.address());
        load.wait_served(ENVS + fastrand::usize(..4 * ENVS));
        let before = processes::marked(&mark).len();
        assert!(before > 2, "no worker runs");
        kill(&gateway, victims);
        let killed_at = Instant::now();
        loop {
            let left = processes::marked(&mark);
            let passed = killed_at.elapsed();
            if left.is_empty() {
                slowest = slowest.max(passed);
                break;
            }
            assert!(
                passed < SOON,
                "round {round}, {victims:?}: of {before} live on {:?}",
                left.iter()
                    .map(|pid| processes::arguments(*pid))
                    .collect::<Vec<_>>()
            );
        }
        gateway.wait_exit(DEADLINE);
        load.end();
    }
    println!("{victims:?} killed {ROUNDS} times: the last was gone after {slowest:?} at most");
    // What comes next serves, and cleans up after them.
    let gateway = start("", directory.path());
    gateway
        .call(&Call::legacy("A=1\n").arguments("[7]"))
        .assert_returned("7");
    let entries = std::fs::read_dir(directory.path()).unwrap();
    assert_eq!(entries.count(), 1, "a killed gateway's directory is left");
}

#[test]
fn nothing_outlives_a_killed_gateway() {
    killed_under_load(Victims::Gateway);
}

#[test]
fn nothing_outlives_a_killed_watchdog() {
    killed_under_load(Victims::Watchdog);
}

#[test]
fn nothing_outlives_both_when_they_are_killed_at_once() {
    killed_under_load(Victims::Both);
}
