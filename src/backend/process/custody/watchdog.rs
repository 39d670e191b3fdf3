//! The watchdog: the process that the user started, parent of the gateway, and the one to which
//! everything falls that loses its parent below it.
//!
//! It runs nothing but this file on its one thread, so that nothing of what can end a gateway can
//! end it. It passes signals on, reaps, and when the gateway has ended it kills whatever is left
//! below it and ends with the gateway's status. All of that holds as PID 1, too.
//!
//! **The terminal's signals.** The gateway is in a session of its own (see [`super::Guard`]), so
//! Ctrl-C reaches the watchdog alone, which passes it on: one SIGINT, where two would cut calls
//! off. Ctrl-Z is obeyed for both: the gateway is stopped, then the watchdog; when the shell
//! continues the watchdog, it continues the gateway. Until the gateway has begun its session, a few
//! milliseconds, it gets the terminal's signals itself and ends, as any program that starts does.
//!
//! A signal sent to every process of a service at once reaches gateway and instances past the
//! watchdog, and drains nothing: service managers must signal the main process only
//! (`KillMode=mixed`).

use std::{
    future::poll_fn,
    io,
    process::{self, Command},
    task::Poll,
    time::Duration,
};

use rustix::{
    io::Errno,
    process::{
        Pid, Signal, WaitOptions, WaitStatus, getpid, kill_process, kill_process_group,
        set_child_subreaper, wait,
    },
};
use tokio::{
    signal::unix::{self, SignalKind},
    time::timeout,
};

use super::{
    guard::{Guard, hide},
    leavings,
    processes::children,
};

/// What is passed on to the gateway.
const PASSED: [(fn() -> SignalKind, Signal); 6] = [
    (SignalKind::terminate, Signal::TERM),
    (SignalKind::interrupt, Signal::INT),
    (SignalKind::hangup, Signal::HUP),
    (SignalKind::quit, Signal::QUIT),
    (SignalKind::user_defined1, Signal::USR1),
    (SignalKind::user_defined2, Signal::USR2),
];

/// How often those that are left are looked for anew: at first, and at last.
const LOOK_EVERY: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(100));

/// Why there is no watchdog.
#[derive(Debug, thiserror::Error)]
#[error("can't {attempted}")]
pub struct WatchdogError {
    attempted: &'static str,
    #[source]
    source: io::Error,
}

impl WatchdogError {
    fn when<E: Into<io::Error>>(attempted: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self {
            attempted,
            source: source.into(),
        }
    }
}

/// The command that runs this program once more, in the same way.
#[must_use]
pub fn this_program() -> Command {
    use std::os::unix::process::CommandExt;

    let mut arguments = std::env::args_os();
    // The link leads to what runs, even where another version was put in its place since.
    let mut command = Command::new("/proc/self/exe");
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    command.args(arguments);
    command
}

/// Runs the gateway to its end, and everything below it: none of it lives when this returns. The
/// status to exit with is the gateway's, 128 and the signal's number where one ended it.
///
/// To be called before there is any other thread.
///
/// # Errors
/// [`WatchdogError`]: then no gateway was started.
pub fn run_supervised(mut gateway: Command) -> Result<u8, WatchdogError> {
    set_child_subreaper(Some(getpid())).map_err(WatchdogError::when("become a subreaper"))?;
    hide().map_err(WatchdogError::when("hide from other processes"))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(WatchdogError::when("start the watchdog's runtime"))?;
    runtime.block_on(async {
        let mut signals =
            Signals::new().map_err(WatchdogError::when("wait for the watchdog's signals"))?;
        gateway.env(Guard::VARIABLE, process::id().to_string());
        // It is reaped here, as all others are.
        let gateway = gateway
            .spawn()
            .map_err(WatchdogError::when("start the gateway"))?;
        let gateway = Pid::from_child(&gateway);
        let ended = signals.pass_on_until_ended(gateway).await;
        if let Some(cgroups) = super::Cgroups::left_by(gateway) {
            cgroups.kill();
        }
        signals.end_all_children().await;
        leavings::remove(gateway);
        // At last: where nobody reads the log, this may take forever.
        if let Some(signal) = ended.terminating_signal() {
            tracing::error!(signal, "the gateway was killed; so is what it left behind");
        }
        Ok(exit_status(ended))
    })
}

fn exit_status(ended: WaitStatus) -> u8 {
    let signal = ended.terminating_signal().map(|signal| 128 + signal);
    let status = ended.exit_status().or(signal);
    status
        .and_then(|status| u8::try_from(status).ok())
        .unwrap_or(u8::MAX)
}

/// The signals that reach the watchdog.
struct Signals {
    passed: Vec<(unix::Signal, Signal)>,
    stop: unix::Signal,
    child: unix::Signal,
}

/// One of them.
enum Came {
    /// To be passed on.
    Passed(Signal),
    /// Ctrl-Z.
    Stop,
    /// A child has ended, or several have.
    Child,
}

impl Signals {
    fn new() -> io::Result<Self> {
        let ignores_hangup = ignores(Signal::HUP);
        let passed = PASSED
            .iter()
            // Under nohup the gateway is to ignore it as well; what is caught here it wouldn't.
            .filter(|(_, signal)| !(ignores_hangup && *signal == Signal::HUP))
            .map(|(kind, signal)| Ok((unix::signal(kind())?, *signal)));
        Ok(Self {
            passed: passed.collect::<io::Result<_>>()?,
            stop: unix::signal(SignalKind::from_raw(Signal::TSTP.as_raw()))?,
            child: unix::signal(SignalKind::child())?,
        })
    }

    async fn next(&mut self) -> Came {
        poll_fn(|context| {
            for (stream, signal) in &mut self.passed {
                if stream.poll_recv(context).is_ready() {
                    return Poll::Ready(Came::Passed(*signal));
                }
            }
            if self.stop.poll_recv(context).is_ready() {
                return Poll::Ready(Came::Stop);
            }
            self.child.poll_recv(context).map(|_| Came::Child)
        })
        .await
    }

    /// Passes signals on and reaps. Until it is reaped here, the gateway's PID is nobody else's.
    async fn pass_on_until_ended(&mut self, gateway: Pid) -> WaitStatus {
        loop {
            match self.next().await {
                Came::Passed(signal) => send(gateway, signal),
                Came::Stop => {
                    send(gateway, Signal::STOP);
                    // Here this process stops, and here it goes on when it is continued.
                    send(getpid(), Signal::STOP);
                    send(gateway, Signal::CONT);
                }
                Came::Child => {
                    if let Some(ended) = reap(|pid| pid == gateway).ended {
                        return ended;
                    }
                }
            }
        }
    }

    /// Kills all that is left, until nothing is. The children of what is killed become children of
    /// this process, so it goes on until the kernel says that it has none. A child that isn't
    /// reaped keeps its PID, and nothing is reaped between looking and killing.
    async fn end_all_children(&mut self) {
        let (mut pause, longest) = LOOK_EVERY;
        while reap(|_| false).any_left {
            if let Killed::Refused(processes) = kill_children() {
                tracing::error!(
                    processes,
                    "descendants that run as another user can't be killed"
                );
                return;
            }
            // It is only a rest: over when a child has ended, or when it has been long enough.
            drop(timeout(pause, self.child.recv()).await);
            pause = (pause * 2).min(longest);
        }
    }
}

/// What came of killing.
enum Killed {
    /// Some will end, or there was none.
    Some,
    /// None will: so many there are, and we may kill none of them.
    Refused(usize),
}

/// Kills every child. PID 1 kills all there are at once: everything that is there ends with it
/// anyhow.
fn kill_children() -> Killed {
    if getpid() == Pid::INIT {
        // That there is none is as good.
        let _ = kill_process_group(Pid::INIT, Signal::KILL);
        return Killed::Some;
    }
    let children = children(getpid());
    let refused = children
        .iter()
        .filter(|child| kill_process(**child, Signal::KILL) == Err(Errno::PERM));
    match refused.count() {
        refused if refused > 0 && refused == children.len() => Killed::Refused(refused),
        _ => Killed::Some,
    }
}

/// Nobody there to be signalled is as good.
fn send(process: Pid, signal: Signal) {
    if let Err(error) = kill_process(process, signal)
        && error != Errno::SRCH
    {
        tracing::error!(%error, signal = signal.as_raw(), "a signal can't be passed on");
    }
}

/// What came of reaping.
struct Reaped {
    /// How the one that was looked for ended, if it did.
    ended: Option<WaitStatus>,
    /// Whether there are children still.
    any_left: bool,
}

/// Reaps all that have ended.
fn reap(is_looked_for: impl Fn(Pid) -> bool) -> Reaped {
    let mut ended = None;
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if is_looked_for(pid) => ended = Some(status),
            Ok(Some(_)) | Err(Errno::INTR) => {}
            left => {
                let any_left = left.is_ok();
                return Reaped { ended, any_left };
            }
        }
    }
}

/// Whether whoever started this program had it ignore a signal.
fn ignores(signal: Signal) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal.as_raw() - 1) & 1 == 1)
}
