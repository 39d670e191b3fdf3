//! The program under test, as a process.

use std::{
    io::{Read, Write},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::{Address, Call, Client, DEADLINE, Json, Message, Metrics, eventually};

/// The program.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_envgate");

/// The name of its configuration file.
const CONFIG: &str = "envgate.toml";

/// How a gateway is to be started.
#[derive(Debug)]
pub(crate) struct Setup {
    config: String,
    environment: Vec<(String, String)>,
    arguments: Vec<String>,
    wrapper: Vec<String>,
    directory: tempfile::TempDir,
}

impl Setup {
    /// With this configuration; where it says nothing, at 127.0.0.1:0 with two threads.
    pub(crate) fn new(config: &str) -> Self {
        let mut tables: toml::Table = config.parse().expect("the test's configuration is TOML");
        let gateway = tables
            .entry("gateway")
            .or_insert_with(|| toml::Table::new().into());
        let gateway = gateway.as_table_mut().expect("[gateway] is a table");
        gateway
            .entry("listen")
            .or_insert_with(|| vec!["127.0.0.1:0"].into());
        gateway.entry("threads").or_insert_with(|| 2.into());
        Self {
            config: tables.to_string(),
            environment: Vec::new(),
            arguments: Vec::new(),
            wrapper: Vec::new(),
            directory: tempfile::tempdir().expect("a directory"),
        }
    }

    /// With an environment variable; there are no others.
    pub(crate) fn variable(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With a further argument of `serve`.
    pub(crate) fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// Started by another program, which is told the gateway's command behind these words.
    pub(crate) fn under(mut self, words: &[&str]) -> Self {
        self.wrapper = words.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// Where its configuration and its ready file are.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Starts it and waits until it listens.
    #[track_caller]
    pub(crate) fn start(self) -> Gateway {
        let config = self.directory.path().join(CONFIG);
        let ready = self.directory.path().join("ready.json");
        std::fs::write(&config, &self.config).expect("writing the configuration");
        // Whoever started the tests may ignore SIGHUP, as nohup does, which is passed on.
        let mut child = Command::new("/usr/bin/env")
            .arg("--default-signal=HUP")
            .args(&self.wrapper)
            .arg(PROGRAM)
            .arg("serve")
            .arg("--config")
            .arg(&config)
            .arg("--ready-file")
            .arg(&ready)
            .args(&self.arguments)
            .env_clear()
            .envs(self.environment)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("starting envgate");
        let stdout = Captured::drain(child.stdout.take());
        let stderr = Captured::drain(child.stderr.take());
        let mut gateway = Gateway {
            child,
            listen: Vec::new(),
            admin: None,
            stdout,
            stderr,
            directory: self.directory,
        };
        let line = eventually("the gateway listens", || {
            if let Ok(Some(status)) = gateway.child.try_wait() {
                panic!("the gateway ended ({status}) before it listened");
            }
            std::fs::read_to_string(&ready).ok()
        });
        let json = Json::parse(line.trim().as_bytes()).expect("the ready file is JSON");
        let listen = json.at("listen").map(Json::items).unwrap_or_default();
        gateway.listen = listen
            .iter()
            .filter_map(Json::text)
            .map(Address::parse)
            .collect();
        gateway.admin = json.at("admin").and_then(Json::text).map(str::to_owned);
        assert!(
            !gateway.listen.is_empty(),
            "the ready file names no address: {line}"
        );
        gateway
    }
}

/// A running gateway; it ends with the test.
#[derive(Debug)]
pub(crate) struct Gateway {
    child: Child,
    listen: Vec<Address>,
    admin: Option<String>,
    stdout: Captured,
    stderr: Captured,
    directory: tempfile::TempDir,
}

impl Gateway {
    #[track_caller]
    pub(crate) fn start(config: &str) -> Self {
        Setup::new(config).start()
    }

    /// One upstream backend with these members.
    #[track_caller]
    pub(crate) fn before(urls: &[&str], more: &str) -> Self {
        Self::start(&format!(
            "{more}\n[[backend]]\nname = \"b\"\nurls = {urls:?}\n"
        ))
    }

    /// Where it listens first.
    pub(crate) fn address(&self) -> &Address {
        &self.listen[0]
    }

    /// Wherever it listens.
    pub(crate) fn addresses(&self) -> &[Address] {
        &self.listen
    }

    /// Where its admin API is, as `--admin` takes it.
    #[track_caller]
    pub(crate) fn admin(&self) -> &str {
        let admin = self.admin.as_deref();
        admin.expect("the ready file names the admin API")
    }

    /// Makes one call on a connection of its own.
    #[track_caller]
    pub(crate) fn call(&self, call: &Call) -> Message {
        Client::connect(self).call(call)
    }

    /// Asks with GET on a connection of its own.
    #[track_caller]
    pub(crate) fn get(&self, path: &str) -> Message {
        let mut client = Client::connect(self);
        client.send(format!(
            "GET {path} HTTP/1.1\r\nHost: gate.test\r\nConnection: close\r\n\r\n"
        ));
        client.read()
    }

    #[track_caller]
    pub(crate) fn metrics(&self) -> Metrics {
        let answer = self.get("/metrics");
        assert_eq!(answer.status(), 200, "{}", answer.text());
        Metrics::parse(&answer.text())
    }

    /// The PID of the process that was started.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Puts another configuration in the place of its own, which it reads at the next SIGHUP.
    #[track_caller]
    pub(crate) fn rewrite_config(&self, config: &str) {
        let path = self.directory.path().join(CONFIG);
        std::fs::write(path, config).expect("writing the configuration");
    }

    /// Sends SIGTERM.
    #[track_caller]
    pub(crate) fn terminate(&self) {
        signal(self.pid(), "TERM");
    }

    /// Sends SIGTERM and waits until it says that it drains.
    #[track_caller]
    pub(crate) fn drain(&self) {
        self.terminate();
        eventually("/health is 503", || {
            (self.get("/health").status() == 503).then_some(())
        });
    }

    /// Waits until it has ended.
    #[track_caller]
    pub(crate) fn wait_exit(&mut self, timeout: Duration) -> ExitStatus {
        let until = Instant::now() + timeout;
        loop {
            if let Some(status) = self
                .child
                .try_wait()
                .expect("the gateway is ours to wait for")
            {
                return status;
            }
            assert!(
                Instant::now() < until,
                "the gateway hasn't ended within {timeout:?}"
            );
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until its standard output holds what is looked for; all of it.
    #[track_caller]
    pub(crate) fn wait_stdout(&self, what: &str, found: impl Fn(&str) -> bool) -> String {
        eventually(&format!("on stdout: {what}"), || {
            Some(self.stdout.text()).filter(|t| found(t))
        })
    }

    /// Waits until its standard error holds what is looked for; all of it.
    #[track_caller]
    pub(crate) fn wait_stderr(&self, what: &str, found: impl Fn(&str) -> bool) -> String {
        eventually(&format!("on stderr: {what}"), || {
            Some(self.stderr.text()).filter(|t| found(t))
        })
    }

    /// Ends it by SIGTERM; whatever it ever wrote to stdout and stderr.
    #[track_caller]
    pub(crate) fn outputs(mut self) -> (String, String) {
        self.terminate();
        self.wait_exit(DEADLINE * 2);
        self.stdout.join();
        self.stderr.join();
        (self.stdout.text(), self.stderr.text())
    }
}

/// Sends a signal, named without `SIG`.
#[track_caller]
pub(crate) fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill")
        .arg(format!("-{name}"))
        .arg(pid.to_string())
        .status();
    assert!(
        sent.is_ok_and(|status| status.success()),
        "sending SIG{name} to {pid}"
    );
}

impl Drop for Gateway {
    fn drop(&mut self) {
        // One that has ended by itself can't be killed any more.
        drop(self.child.kill());
        drop(self.child.wait());
        if thread::panicking() {
            eprintln!("--- gateway stdout ---\n{}", self.stdout.text());
            eprintln!("--- gateway stderr ---\n{}", self.stderr.text());
        }
    }
}

#[derive(Debug)]
struct Captured {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Captured {
    fn drain(pipe: Option<impl Read + Send + 'static>) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&bytes);
        let mut pipe = pipe.expect("a piped stream");
        let reader = thread::spawn(move || {
            let mut piece = [0; 8192];
            while let Ok(length @ 1..) = pipe.read(&mut piece) {
                kept.lock()
                    .expect("nobody panics here")
                    .extend_from_slice(&piece[..length]);
            }
        });
        Self {
            bytes,
            reader: Some(reader),
        }
    }

    fn join(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.join().expect("the reader ends with its pipe");
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes.lock().expect("nobody panics here")).into_owned()
    }
}

/// What a command that ends by itself did.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs a command of the program with this input to its end.
#[track_caller]
pub(crate) fn run(arguments: &[&str], input: &str) -> Finished {
    let mut child = Command::new(PROGRAM)
        .args(arguments)
        .env_clear()
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("starting envgate");
    let mut stdout = Captured::drain(child.stdout.take());
    let mut stderr = Captured::drain(child.stderr.take());
    if let Some(mut stdin) = child.stdin.take() {
        // A command that refuses its arguments reads nothing.
        drop(stdin.write_all(input.as_bytes()));
    }
    let until = Instant::now() + DEADLINE;
    let status = loop {
        if let Some(status) = child.try_wait().expect("the command is ours to wait for") {
            break status;
        }
        if Instant::now() > until {
            drop(child.kill());
            drop(child.wait());
            panic!("envgate {arguments:?} doesn't end: {}", stderr.text());
        }
        thread::sleep(Duration::from_millis(5));
    };
    stdout.join();
    stderr.join();
    Finished {
        code: status.code(),
        stdout: stdout.text(),
        stderr: stderr.text(),
    }
}

/// A file in a directory of its own.
pub(crate) struct TempFile {
    _directory: tempfile::TempDir,
    pub(crate) path: PathBuf,
}

impl TempFile {
    pub(crate) fn new(name: &str, text: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join(name);
        std::fs::write(&path, text).expect("writing a file");
        Self {
            _directory: directory,
            path,
        }
    }

    pub(crate) fn path(&self) -> &str {
        self.path.to_str().expect("a path in UTF-8")
    }
}
