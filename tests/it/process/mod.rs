//! Single worker processes: started, reached, watched and stopped by the library, with the real
//! program as launcher.

mod environment;
mod launcher;
mod life;
mod spare;

use std::{
    collections::BTreeMap,
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use envgate::{
    backend::process::{
        Health, Host, Order, Phase, Process, ProcessBackend, ProcessConfig, StartError,
    },
    backend::{Address, Context},
    env::{DigestKey, Env, EnvString, env_proof},
    telemetry::{Labels, Metrics},
};

use crate::harness::{eventually, unique};

/// A worker in Python that listens as it is told by its first argument and answers each request
/// with its status in `HEALTH` and the header in `PROOF`.
const WORKER: &str = r#"
import os, signal, socket, sys
way = sys.argv[1]
if way == "inherit":
    assert os.environ["LISTEN_PID"] == str(os.getpid()) and os.environ["LISTEN_FDS"] == "1"
    s = socket.socket(fileno=3)
elif way.startswith("/"):
    s = socket.socket(socket.AF_UNIX); s.bind(way); s.listen()
else:
    s = socket.socket(); s.bind(("0.0.0.0", int(way))); s.listen()
while True:
    c, _ = s.accept()
    if c.recv(65536):
        status = os.environ.get("HEALTH", "200 OK")
        proof = os.environ.get("PROOF", "")
        header = f"X-Envgate-Env-Proof: {proof}\r\n" if proof else ""
        c.sendall(f"HTTP/1.1 {status}\r\n{header}Content-Length: 3\r\n\r\nOK\n".encode())
    c.close()
"#;

/// What each process has to prove its variables with.
const NONCE: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

const LONG: Duration = Duration::from_secs(20);

/// A backend and what its processes are asked for.
struct Bench {
    backend: ProcessBackend,
    host: Host,
    start_timeout: Duration,
    env: Env,
    files: tempfile::TempDir,
}

impl Bench {
    /// `config` without its command; `WORKER` in a command stands for the path of a script, and
    /// `FILES` in `config` for its directory.
    fn new(command: &[&str], script: &str, config: &str, env: &str, time: Duration) -> Self {
        let files = tempfile::tempdir().unwrap();
        let path = files.path().join("worker");
        fs::write(&path, script).unwrap();
        let path = path.to_str().unwrap();
        let fill = |part: &&str| match *part {
            "PYTHON" => python(),
            part => part.replace("WORKER", path),
        };
        let command: Vec<_> = command.iter().map(fill).collect();
        let config = config.replace("FILES", files.path().to_str().unwrap());
        let config = format!("command = {command:?}\n{config}");
        let config: ProcessConfig = toml::from_str(&config).unwrap();
        let context = Context {
            metrics: Arc::new(Metrics::new(&Labels::default()).unwrap()),
            reserved: Vec::new(),
        };
        Self {
            backend: ProcessBackend::new("test", config, None, &context).unwrap(),
            host: Host::with_launcher(env!("CARGO_BIN_EXE_envgate")).unwrap(),
            start_timeout: time,
            env: EnvString::parse(env).unwrap(),
            files,
        }
    }

    fn python(way: &str, config: &str, env: &str) -> Self {
        Self::new(&["PYTHON", "WORKER", way], WORKER, config, env, LONG)
    }

    fn shell(script: &str, config: &str, time: Duration) -> Self {
        Self::new(&["sh", "WORKER"], script, config, "", time)
    }

    async fn start(&self) -> Result<Process, StartError> {
        self.start_with(None).await
    }

    async fn start_with(&self, cgroup: Option<PathBuf>) -> Result<Process, StartError> {
        self.start_on(&self.host, cgroup).await
    }

    async fn start_on(&self, host: &Host, cgroup: Option<PathBuf>) -> Result<Process, StartError> {
        let order = Order {
            generation: fastrand::u64(..),
            nonce: NONCE,
            start_timeout: self.start_timeout,
            env: &self.env,
            digest: DigestKey::random().unwrap().digest(self.env.key()),
            rev: None,
            cgroup,
        };
        self.backend.start(host, order).await
    }
}

/// Where a bench's spares run, by which they are found.
const IN_FILES: &str = "cwd = \"FILES\"";

impl Bench {
    /// The spare that waits.
    fn spare(&self) -> Option<i32> {
        find(&format!("{}\0--waits\0", self.files.path().display()))
    }

    /// Has a spare started.
    fn prepare(&self) -> i32 {
        self.backend.prepare(&self.host);
        eventually("a spare waits", || self.spare())
    }
}

/// Python itself: what is found along `PATH` may be a script that sets variables of its own.
fn python() -> String {
    static PYTHON: OnceLock<String> = OnceLock::new();
    let find = || {
        let mut command = Command::new("python3");
        command.args(["-c", "import sys; print(sys.executable, end='')"]);
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    PYTHON.get_or_init(find).clone()
}

fn environ(pid: i32) -> BTreeMap<String, String> {
    let environ = fs::read_to_string(format!("/proc/{pid}/environ")).unwrap();
    let variables = environ.split_terminator('\0');
    variables
        .map(|variable| {
            let (name, value) = variable.split_once('=').unwrap();
            (name.to_owned(), value.to_owned())
        })
        .collect()
}

/// Waits for a process to be gone, its zombie too.
fn gone(pid: i32) {
    eventually("the process is gone", || {
        (!Path::new(&format!("/proc/{pid}")).exists()).then_some(())
    });
}

/// The process whose arguments hold this text.
fn find(text: &str) -> Option<i32> {
    let processes = fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .find(|pid| {
            let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&arguments).contains(text)
        })
}
