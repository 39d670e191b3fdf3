//! Instances, as clients meet them: the real gateway with real workers, fault by fault.
//!
//! Each test says what the client is told of the fault, that the next call is served where it
//! should be, and that nothing outlives the gateway.

mod calls;
mod crash;
mod limits;
mod reload;
mod retire;
mod spare;
mod start;
mod stop;

use std::{
    collections::BTreeSet,
    fs,
    path::PathBuf,
    sync::{
        Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
};

use crate::harness::{
    Call, Client, DEADLINE, Gateway, Message, PROGRAM, Program, Setup, eventually, unique,
};

/// What scripts of workers in Python begin with. `call` answers calls and `health` questions for
/// their health; a script may put others in their place before it runs.
const PYTHON: &str = r#"
import os, signal, socket, sys, threading, time
def answer(c, body, status="200 OK"):
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    c.sendall((head + body).encode())
def returned(c, value): answer(c, '{"status":"ok","returned":%s,"logs":[]}' % value)
def call(c, path, body): returned(c, os.getpid())
def health(c): answer(c, "OK\n")
def serve(c):
    f = c.makefile("rb")
    while line := f.readline():
        path, length = line.split()[1].decode(), 0
        while header := f.readline().strip():
            name, _, value = header.partition(b":")
            if name.lower() == b"content-length": length = int(value)
        body = f.read(length)
        if path == "/health": health(c)
        else: call(c, path, body)
    c.close()
def run(s):
    while True: threading.Thread(target=serve, args=(s.accept()[0],), daemon=True).start()
def inherited(): return socket.socket(fileno=3)
def wait_for(path):
    while not os.path.exists(path): time.sleep(0.005)
"#;

/// One process backend, `b`: its command and the rest of its table.
fn backend(command: &[&str], more: &str) -> String {
    format!("[[backend]]\nname = \"b\"\ncommand = {command:?}\n{more}\n")
}

/// A backend whose processes are sample workers.
fn sample(more: &str) -> String {
    sample_of("0.12.0", more)
}

fn sample_of(framework: &str, more: &str) -> String {
    let command = [
        PROGRAM,
        "worker",
        "--listen",
        "inherit",
        "--framework",
        framework,
    ];
    backend(&command, &format!("framework = {framework:?}\n{more}"))
}

/// A backend whose processes run a script that begins with [`PYTHON`].
fn python(script: &str, more: &str) -> String {
    let python = Program::interpreter();
    backend(&[&python, "-c", &format!("{PYTHON}{script}")], more)
}

/// A backend whose processes run a script.
fn shell(script: &str, more: &str) -> String {
    backend(&["/bin/sh", "-c", script], more)
}

/// A call of this env, of `Facet/Method`.
fn call(env: &str, name: &str, arguments: &str) -> Call {
    let (facet, method) = name.split_once('/').expect("Facet/Method");
    Call::legacy(env)
        .facet(facet)
        .method(method)
        .arguments(arguments)
}

/// A call that returns the PID of the process that serves it.
fn pid_call(env: &str) -> Call {
    call(env, "ProcessFacet/Pid", "[]")
}

#[track_caller]
fn returned_pid(answer: &Message) -> u32 {
    assert_eq!(answer.status(), 200, "{}", answer.text());
    let json = answer.json();
    let pid = json.at("returned").and_then(crate::harness::Json::number);
    pid.and_then(|pid| pid.parse().ok()).expect("a PID")
}

/// A gateway with process backends. All processes below it have its mark in their environment.
struct Bench {
    gateway: Gateway,
    mark: String,
}

impl Bench {
    #[track_caller]
    fn start(config: &str) -> Self {
        Self::with(Setup::new(config))
    }

    #[track_caller]
    fn with(setup: Setup) -> Self {
        // Every worker inherits it, and none cares.
        let mark = unique("/mark-");
        let gateway = setup.variable("HOME", &mark).start();
        Self { gateway, mark }
    }

    #[track_caller]
    fn call(&self, env: &str, name: &str, arguments: &str) -> Message {
        self.gateway.call(&call(env, name, arguments))
    }

    /// The process that serves this env.
    #[track_caller]
    fn pid(&self, env: &str) -> u32 {
        returned_pid(&self.gateway.call(&pid_call(env)))
    }

    /// How many starts came to this: `ready`, `failed` or `cancelled`.
    #[track_caller]
    fn starts(&self, outcome: &str) -> u64 {
        self.count("envgate_instance_starts_total", outcome)
    }

    /// The sum of a metric's samples that have this value in one of their labels.
    #[track_caller]
    fn count(&self, name: &str, label: &str) -> u64 {
        self.gateway.metrics().sum_with(name, label) as u64
    }

    /// Has four clients call without a pause while something is `done`, every call of which must
    /// be answered; who answered.
    #[track_caller]
    fn under_load(&self, env: &str, done: impl FnOnce(&Seen)) -> BTreeSet<u32> {
        let (seen, over) = (Seen::default(), AtomicBool::new(false));
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut client = Client::connect(&self.gateway);
                    while !over.load(Relaxed) {
                        let answer = client.call(&pid_call(env));
                        seen.0
                            .lock()
                            .expect("nobody panics here")
                            .insert(returned_pid(&answer));
                    }
                });
            }
            let _over = Over(&over);
            eventually("the load has begun", || seen.has_some().then_some(()));
            done(&seen);
        });
        seen.0.into_inner().expect("nobody panics here")
    }

    /// Waits until a process is gone, its zombie too.
    #[track_caller]
    fn wait_gone(&self, pid: u32) {
        eventually("the process is gone", || (!is_there(pid)).then_some(()));
    }

    /// Ends the gateway by SIGTERM; nothing below it may be left. What it wrote to stderr.
    #[track_caller]
    fn finish(self) -> String {
        let (_, stderr) = self.gateway.outputs();
        assert_eq!(
            marked(&self.mark),
            [0; 0],
            "left behind; the gateway said: {stderr}"
        );
        stderr
    }

    /// For a gateway that has ended.
    #[track_caller]
    fn assert_nothing_left(&self) {
        assert_eq!(marked(&self.mark), [0; 0], "left behind");
    }
}

/// Files by which a test and a worker tell each other how far they are.
struct Files {
    directory: tempfile::TempDir,
}

impl Files {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        Self { directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn touch(&self, name: &str) {
        fs::write(self.path(name), "").expect("writing a file");
    }

    #[track_caller]
    fn wait(&self, name: &str) {
        eventually(&format!("the worker makes {name}"), || {
            self.path(name).exists().then_some(())
        });
    }

    /// A worker that says that it has `begun` and listens when it `may`.
    fn late(&self) -> String {
        let (begun, may) = (self.path("begun"), self.path("may"));
        let script = format!(
            "open({begun:?}, 'w').close(); wait_for({may:?})\n\
             s = socket.socket(socket.AF_UNIX); s.bind(sys.argv[1]); s.listen(64); run(s)"
        );
        let python = Program::interpreter();
        backend(
            &[&python, "-c", &format!("{PYTHON}{script}"), "{socket}"],
            "",
        )
    }
}

/// Who has answered so far.
#[derive(Default)]
struct Seen(Mutex<BTreeSet<u32>>);

impl Seen {
    fn has_some(&self) -> bool {
        !self.0.lock().expect("nobody panics here").is_empty()
    }

    fn has_other_than(&self, pid: u32) -> bool {
        let seen = self.0.lock().expect("nobody panics here");
        seen.iter().any(|other| *other != pid)
    }
}

/// Ends the load, also where the test fails meanwhile.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

fn is_there(pid: u32) -> bool {
    fs::exists(format!("/proc/{pid}")).expect("/proc")
}

fn pids() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").expect("/proc").flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The living processes in whose environment or arguments this is.
fn marked(mark: &str) -> Vec<u32> {
    let has = |pid: &u32, file: &str| {
        let bytes = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).contains(mark)
    };
    pids()
        .filter(|pid| has(pid, "environ") || has(pid, "cmdline"))
        .collect()
}
