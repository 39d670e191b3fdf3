//! Workers as programs of their own, listening in every way.

use std::{
    ffi::OsString,
    net::TcpListener,
    os::{fd::OwnedFd, unix::net::UnixListener},
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    sync::OnceLock,
};

use super::{Address, Client, Gateway, Message, PROGRAM, Stream, eventually, unique};

/// What the workers' environment is to be. A value may hold anything but a NUL.
pub(crate) const VARIABLES: [(&str, &str); 3] =
    [("GREETING", "Dobrý = den\n"), ("EMPTY", ""), ("Z", "z")];
/// What shells and launchers set on their own.
const BASE: &str = "PATH,PWD,OLDPWD,SHLVL,_,LISTEN_PID,LISTEN_FDS,LISTEN_FDNAMES";
/// Hands its standard input to the worker as `sd_listen_fds(3)` says.
const PASS_ON: &str = r#"export LISTEN_FDS=1 LISTEN_PID=$$; exec "$@" 3<&0 </dev/null"#;

/// How a worker is to listen.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Way {
    Port,
    Socket,
    PassedPort,
    PassedSocket,
}

impl Way {
    pub(crate) const ALL: [Self; 4] = [
        Self::Port,
        Self::Socket,
        Self::PassedPort,
        Self::PassedSocket,
    ];
}

/// How a worker is started.
pub(crate) struct Program {
    command: Vec<OsString>,
    /// What stands before the address, and what in its place where the socket is passed on.
    listen: Option<(&'static str, &'static str)>,
}

impl Program {
    /// An example, run by the interpreter that `which` tells the path of. A shim in its place would
    /// add variables of its own.
    fn example(which: &[&str], script: &str) -> Option<Self> {
        let told = Command::new(which[0]).args(&which[1..]).output().ok();
        let Some(told) = told.filter(|told| told.status.success()) else {
            eprintln!("skipped: there is no {} to run {script} with", which[0]);
            return None;
        };
        let interpreter = String::from_utf8(told.stdout).expect("a path in UTF-8");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join(script);
        Some(Self {
            command: vec![interpreter.trim().into(), script.into()],
            listen: None,
        })
    }

    /// Python itself: what is found along `PATH` may be a script that sets variables of its own.
    pub(crate) fn interpreter() -> String {
        static PYTHON: OnceLock<String> = OnceLock::new();
        let find = || {
            let mut which = Command::new("python3");
            which.args(["-c", "import sys; print(sys.executable, end='')"]);
            let told = which.output().expect("there is a python3");
            String::from_utf8(told.stdout).expect("a path in UTF-8")
        };
        PYTHON.get_or_init(find).clone()
    }

    pub(crate) fn python() -> Option<Self> {
        let which = ["python3", "-c", "import sys; print(sys.executable)"];
        Self::example(&which, "examples/python/worker.py")
    }

    pub(crate) fn node() -> Option<Self> {
        let which = ["node", "-p", "process.execPath"];
        Self::example(&which, "examples/node/worker.mjs")
    }

    pub(crate) fn sample() -> Self {
        let command = [PROGRAM, "worker", "--framework", "0.12.0"];
        Self {
            command: command.map(OsString::from).to_vec(),
            listen: Some(("--listen", "inherit")),
        }
    }

    /// Starts it and waits until it serves.
    #[track_caller]
    pub(crate) fn start(&self, way: Way) -> Running {
        // A port that is free now may be taken when the worker asks for it.
        for _ in 0..5 {
            if let Some(running) = self.try_start(way) {
                return running;
            }
        }
        panic!("{:?} doesn't start ({way:?})", self.command);
    }

    /// The arguments that say where it is to listen.
    fn place(&self, address: &Address, passed: bool) -> Vec<OsString> {
        let place = match address {
            _ if passed => self.listen.map(|(_, inherit)| inherit.to_owned()),
            Address::Tcp(address) if self.listen.is_some() => Some(address.to_string()),
            Address::Tcp(address) => Some(address.port().to_string()),
            Address::Unix(path) => Some(format!("unix:{}", path.display())),
        };
        let flag = self.listen.map(|(flag, _)| flag.to_owned());
        [flag, place]
            .into_iter()
            .flatten()
            .map(OsString::from)
            .collect()
    }

    fn try_start(&self, way: Way) -> Option<Running> {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("worker.sock");
        let port = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let tcp = Address::Tcp(port.local_addr().expect("its address"));
        let (address, socket) = match way {
            Way::Port => {
                drop(port);
                (tcp, None)
            }
            Way::PassedPort => (tcp, Some(OwnedFd::from(port))),
            Way::Socket => (Address::Unix(path), None),
            Way::PassedSocket => {
                let socket = UnixListener::bind(&path).expect("a socket");
                (Address::Unix(path), Some(socket.into()))
            }
        };
        let nonce = unique("nonce");
        let mut words: Vec<OsString> = Vec::new();
        if socket.is_some() {
            words.extend(["/bin/sh", "-c", PASS_ON, "sh"].map(OsString::from));
        }
        words.extend(self.command.iter().cloned());
        words.extend(self.place(&address, socket.is_some()));
        let child = Command::new(&words[0])
            .args(&words[1..])
            .env_clear()
            .envs(VARIABLES)
            .env("ENVGATE_PROOF", &nonce)
            .env("ENVGATE_BASE", BASE)
            .stdin(socket.map_or_else(Stdio::null, Stdio::from))
            .stdout(Stdio::null())
            .spawn()
            .expect("starting a worker");
        let mut running = Running {
            child,
            address,
            nonce,
            _directory: directory,
        };
        running.wait_ready().then_some(running)
    }
}

/// A worker; it ends with the test.
pub(crate) struct Running {
    child: Child,
    pub(crate) address: Address,
    /// What its environment is to be proven with.
    pub(crate) nonce: String,
    _directory: tempfile::TempDir,
}

impl Running {
    /// Whether it came to serve before it ended.
    fn wait_ready(&mut self) -> bool {
        eventually("a worker listens", || match self.child.try_wait() {
            Ok(None) => Stream::connect(&self.address).ok().map(|_| true),
            _ => Some(false),
        })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// As a member of a backend.
    fn url(&self) -> String {
        match &self.address {
            Address::Tcp(address) => format!("http://{address}"),
            Address::Unix(path) => format!("unix:{}", path.display()),
        }
    }

    /// A gateway with this as its only worker.
    pub(crate) fn gateway(&self) -> Gateway {
        Gateway::before(&[&self.url()], "")
    }

    /// Asks it how it is.
    #[track_caller]
    pub(crate) fn health(&self, client: &mut Client) -> Message {
        client.send("GET /health HTTP/1.1\r\nHost: w\r\n\r\n");
        client.read()
    }

    #[track_caller]
    pub(crate) fn wait_exit(&mut self) -> ExitStatus {
        eventually("the worker ends", || {
            self.child.try_wait().expect("it is ours to wait for")
        })
    }

    /// Sends SIGTERM and waits until it has ended.
    #[track_caller]
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &id]).status();
        assert!(sent.is_ok_and(|status| status.success()), "sending SIGTERM");
        self.wait_exit()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended by itself can't be killed any more.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
