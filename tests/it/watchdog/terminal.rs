//! The program at a terminal.

use std::{
    fs::File,
    io::{BufRead, BufReader, Write},
    os::fd::AsFd,
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    time::Duration,
};

use rustix::{
    pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt},
    termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr},
};

use super::{NEVER_STARTED, child_of, soon, stat};
use crate::harness::{Backend, DEADLINE, PROGRAM, Step, eventually, ok, signal};

/// A gateway whose terminal is ours.
struct Terminal {
    keyboard: File,
    screen: Receiver<String>,
    gateway: Child,
}

impl Terminal {
    fn start(arguments: &[&str]) -> Self {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&ours).unwrap();
        unlockpt(&ours).unwrap();
        let its = ioctl_tiocgptpeer(&ours, OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        let mut modes = tcgetattr(&its).unwrap();
        // What isn't in the foreground is stopped when it writes.
        modes.local_modes |= LocalModes::TOSTOP;
        modes.local_modes &= !LocalModes::ECHO;
        tcsetattr(&its, OptionalActions::Now, &modes).unwrap();
        let end = || Stdio::from(its.as_fd().try_clone_to_owned().unwrap());
        let gateway = Command::new("setsid")
            .args(["--ctty", PROGRAM, "serve", "--listen", "127.0.0.1:0"])
            .args(arguments)
            .env_clear()
            .stdin(end())
            .stdout(end())
            .stderr(end())
            .spawn()
            .unwrap();
        let (line, screen) = channel();
        let lines = BufReader::new(File::from(ours.try_clone().unwrap())).lines();
        std::thread::spawn(move || {
            // A terminal that nobody has open any more can't be read.
            for text in lines.map_while(Result::ok) {
                if line.send(text).is_err() {
                    return;
                }
            }
        });
        Self {
            keyboard: File::from(ours),
            screen,
            gateway,
        }
    }

    fn press(&mut self, control: u8) {
        self.keyboard.write_all(&[control]).unwrap();
    }

    /// Waits for a line.
    #[track_caller]
    fn line(&self, what: &str) -> String {
        loop {
            let line = self
                .screen
                .recv_timeout(DEADLINE)
                .expect("a line on the screen");
            if line.contains(what) {
                return line;
            }
        }
    }

    fn states(&self) -> [Option<String>; 2] {
        let outer = self.gateway.id();
        [outer, child_of(outer)].map(|pid| stat(pid, 0))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        drop(self.gateway.kill());
        drop(self.gateway.wait());
    }
}

#[test]
fn ctrl_c_once_drains() {
    let backend = Backend::start(vec![vec![Step::Hold, ok("1")]]);
    let url = backend.url();
    let config = format!("{NEVER_STARTED}[[backend]]\nname = \"b\"\nurls = [{url:?}]");
    let file = crate::harness::TempFile::new("terminal.toml", &config);
    let mut terminal = Terminal::start(&["--config", file.path()]);
    let line = terminal.line("listening");
    let address = line.split("127.0.0.1:").nth(1).unwrap();
    let port: String = address.chars().take_while(char::is_ascii_digit).collect();
    let mut call = std::net::TcpStream::connect(("127.0.0.1", port.parse().unwrap())).unwrap();
    call.write_all(&crate::harness::Call::legacy("A=1\n").bytes())
        .unwrap();
    backend.wait_seen(1);
    // Two that come within the same moment may count as one, so that alone tells nothing.
    let inner = child_of(terminal.gateway.id());
    let groups = [2, 3].map(|field| stat(inner, field));
    let own = || Some(inner.to_string());
    assert_eq!(groups, [own(), own()], "out of the terminal's reach");

    terminal.press(3);
    terminal.line("draining");
    // A second one, however it came, would end it here.
    std::thread::sleep(Duration::from_millis(300));
    assert!(terminal.gateway.try_wait().unwrap().is_none());
    backend.release_all();
    terminal.line("ended");
    assert_eq!(terminal.gateway.wait().unwrap().code(), Some(0));
    let mut status = String::new();
    BufReader::new(call).read_line(&mut status).unwrap();
    assert!(status.starts_with("HTTP/1.1 200"), "{status}");
}

#[test]
fn ctrl_z_stops_both_and_fg_continues_both() {
    let mut terminal = Terminal::start(&[]);
    terminal.line("listening");
    terminal.press(26);
    let stopped = || [Some("T".to_owned()), Some("T".to_owned())];
    eventually("both are stopped", || {
        (terminal.states() == stopped()).then_some(())
    });
    signal(terminal.gateway.id(), "CONT");
    soon("both go on", || !terminal.states().contains(&stopped()[0]));
    terminal.press(3);
    terminal.line("ended");
    assert_eq!(terminal.gateway.wait().unwrap().code(), Some(0));
}
