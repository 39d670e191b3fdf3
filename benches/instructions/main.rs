//! What is counted of a call: a gateway of one worker thread, a worker that answers each call with
//! a constant, and a client that sends the same calls one after another over one connection.
//!
//! `bench/instructions/run.py` runs it under callgrind, counts what the gateway's thread executed,
//! and holds it against a budget. By itself, as `cargo bench` runs it, it counts nothing: it goes
//! through every scenario once and sees to it that each call is answered as it should be.
//!
//! Nothing of it is measured in time, so that its parts may wait for each other: whatever is sent
//! to the gateway's thread is sent when that thread has nothing left to do. So each call takes the
//! same way, with the same reads, writes and wake-ups, however busy the machine is.

#![expect(clippy::expect_used, reason = "a bench that can't be set up is to end")]
#![expect(clippy::print_stdout, reason = "what it says is for who started it")]

mod ends;
mod scenario;
mod worker;

use std::{
    env,
    net::SocketAddr,
    process::{Command, ExitCode, exit},
    sync::{Arc, mpsc::sync_channel},
};

use envgate::{
    env::{DigestKey, Env},
    gateway::{Reload, Server, Setup},
    listen::ListenAddr,
    telemetry::{self, Metrics},
    thread,
};

use ends::{Client, start_upstream};
use scenario::{SCENARIOS, Scenario};

/// As in the program: allocating is a part of what a call costs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Calls of a run that isn't counted.
const CALLS: usize = 20;

fn main() -> ExitCode {
    let arguments: Vec<_> = env::args().skip(1).collect();
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    match *arguments.as_slice() {
        ["--list"] => {
            for scenario in &SCENARIOS {
                println!("{}", scenario.name);
            }
            ExitCode::SUCCESS
        }
        ["--scenario", name, "--calls", calls] => {
            let mut scenarios = SCENARIOS.iter();
            let scenario = scenarios.find(|scenario| scenario.name == name);
            let scenario = scenario.expect("--list has the names of the scenarios");
            run(scenario, calls.parse().expect("--calls takes a number"))
        }
        _ => run_each(),
    }
}

/// Every scenario in a process of its own, as each is counted.
fn run_each() -> ExitCode {
    let program = env::current_exe().expect("the system tells where this program is");
    for Scenario { name, .. } in &SCENARIOS {
        let mut command = Command::new(&program);
        command.args(["--scenario", name, "--calls", &CALLS.to_string()]);
        let status = command.status().expect("this program can be started");
        if !status.success() {
            println!("{name}: failed");
            return ExitCode::FAILURE;
        }
        println!("{name}: every call was answered as it should be");
    }
    println!("bench/instructions/run.py counts what a call costs");
    ExitCode::SUCCESS
}

/// Calls each env once, and then so many more in turn.
fn run(scenario: &Scenario, calls: usize) -> ! {
    let upstream = start_upstream(scenario.answer());
    let gateway = start_gateway(scenario, upstream);
    Client::connect(gateway, scenario).call(scenario.envs + calls);
    // What it takes the gateway to drain is no part of this.
    exit(0);
}

/// Starts a gateway on threads of its own; where it listens.
fn start_gateway(scenario: &Scenario, upstream: SocketAddr) -> SocketAddr {
    let config = scenario.config(upstream);
    telemetry::init(&config.log).expect("nothing else has set up a log");
    let (tell, told) = sync_channel(1);
    let setup = Setup {
        routes: Reload {
            backends: config.backends,
            admission: config.admission,
            instances: config.instances,
        },
        digests: DigestKey::from_secret(&[7; 32]).expect("it is long enough"),
        deployment: Env::from_variables([("WORKER_REQUEST_CONCURRENCY", "null")])
            .expect("they are variables"),
        config: config.gateway,
        env: config.env,
        custody: None,
        metrics: Arc::new(Metrics::new(&config.labels).expect("their names differ")),
    };
    let serving = thread::start("gateway", || async move {
        let server = Server::bind(setup).expect("there is a free port");
        let addresses = server.addresses().expect("the system tells addresses");
        let ready = || {
            tell.send(addresses).expect("somebody waits for it");
            Ok(())
        };
        let served = server.run(ready, || None).await;
        served.expect("the system gives it threads");
    });
    serving.expect("the system gives it a thread");
    let addresses = told.recv().expect("the gateway starts");
    match addresses.first() {
        Some(&ListenAddr::Tcp(address)) => address,
        _ => unreachable!("it was told to listen at one port"),
    }
}
