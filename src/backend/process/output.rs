//! What a worker writes, line by line to the log.
//!
//! The pipes are always drained, however much comes, so that no worker ever waits for its output to
//! be read. What is shown is bounded in length and rate, has the env's values masked, and no
//! character that could end or disguise a line of the log.

use std::{
    collections::VecDeque,
    fmt::Write,
    io,
    os::fd::OwnedFd,
    process::{ChildStderr, ChildStdout},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    io::AsyncReadExt,
    net::unix::pipe,
    task::JoinSet,
    time::{Instant, timeout},
};
use zeroize::Zeroizing;

use super::{
    lines::{RawLine, Splitter},
    mask::Masks,
};
use crate::env::EnvDigest;

/// The longest line that is shown, in bytes.
const MAX_LINE: usize = 4096;
/// Lines a second that one instance may log; a worker that logs every call of a busy env is over
/// it, and then only counted.
const LINES_A_SECOND: u32 = 200;
/// Lines kept to explain a failed start.
const TAIL_LINES: usize = 20;
/// How much is read at once: a pipe's whole buffer.
const READ_BYTES: usize = 64 << 10;
/// What stands where a line was cut.
const CUT: char = '…';

/// Whose output it is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Source {
    pub(super) digest: EnvDigest,
    pub(super) instance: u64,
}

/// The output of one instance. Dropped, it is read no more.
#[derive(Debug)]
pub(super) struct Output {
    lines: Arc<Lines>,
    readers: JoinSet<()>,
}

impl Output {
    /// Reads both streams from now on, on the current runtime.
    pub(super) fn follow(
        stdout: Option<ChildStdout>,
        stderr: Option<ChildStderr>,
        source: Source,
        masks: Masks,
    ) -> io::Result<Self> {
        let lines = Arc::new(Lines {
            source,
            masks,
            state: Mutex::new(State::new(Instant::now())),
        });
        let streams = [
            ("stdout", stdout.map(OwnedFd::from)),
            ("stderr", stderr.map(OwnedFd::from)),
        ];
        let mut readers = JoinSet::new();
        for (stream, pipe) in streams {
            let Some(pipe) = pipe else { continue };
            let pipe = pipe::Receiver::from_owned_fd(pipe)?;
            readers.spawn(read(pipe, stream, Arc::clone(&lines)));
        }
        Ok(Self { lines, readers })
    }

    /// Waits until all that a dead child has written is read; no longer than so long, as whoever
    /// has left its group may still hold the pipes.
    pub(super) async fn finish(&mut self, patience: Duration) {
        let all = async { while self.readers.join_next().await.is_some() {} };
        if timeout(patience, all).await.is_err() {
            tracing::debug!(
                generation = self.lines.source.instance,
                "its output is still held open"
            );
        }
    }

    /// The last lines, as they may be shown.
    pub(super) fn tail(&self) -> Vec<String> {
        let state = self.lines.state.lock();
        state
            .tail
            .iter()
            .map(|line| self.lines.show(line))
            .collect()
    }
}

/// Where the lines of both streams meet.
#[derive(Debug)]
struct Lines {
    source: Source,
    masks: Masks,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    tail: VecDeque<RawLine>,
    second_began: Instant,
    lines_in_second: u32,
    held_back: u64,
}

impl State {
    const fn new(now: Instant) -> Self {
        Self {
            tail: VecDeque::new(),
            second_began: now,
            lines_in_second: 0,
            held_back: 0,
        }
    }

    /// Whether another line may be logged now, and how many were held back before it.
    fn admit(&mut self, now: Instant) -> Option<u64> {
        if now.saturating_duration_since(self.second_began) >= Duration::from_secs(1) {
            self.second_began = now;
            self.lines_in_second = 0;
        }
        if self.lines_in_second >= LINES_A_SECOND {
            self.held_back += 1;
            return None;
        }
        self.lines_in_second += 1;
        Some(std::mem::take(&mut self.held_back))
    }
}

impl Lines {
    /// Bytes of a line that must be known to mask what is shown of it.
    fn needed(&self) -> usize {
        MAX_LINE + self.masks.longest()
    }

    fn log(&self, stream: &'static str, line: RawLine, now: Instant) {
        let admitted = {
            let mut state = self.state.lock();
            let admitted = state
                .admit(now)
                .map(|held_back| (held_back, self.show(&line)));
            if state.tail.len() == TAIL_LINES {
                state.tail.pop_front();
            }
            state.tail.push_back(line);
            admitted
        };
        if let Some((held_back, text)) = admitted {
            self.tell_held_back(held_back);
            let Source { digest, instance } = self.source;
            tracing::info!(target: "envgate::worker", %digest, generation = instance, stream, "{text}");
        }
    }

    fn tell_held_back(&self, held_back: u64) {
        let Source { digest, instance } = self.source;
        if held_back > 0 {
            tracing::warn!(
                target: "envgate::worker", %digest, generation = instance, held_back,
                "the worker wrote too many lines; some were held back"
            );
        }
    }

    /// A line as it may be shown: masked before anything else, as a value that is cut or escaped
    /// can't be recognised.
    fn show(&self, line: &RawLine) -> String {
        let masked = self.masks.apply(&line.bytes, MAX_LINE);
        let mut shown = String::with_capacity(masked.len());
        for chunk in masked.utf8_chunks() {
            for c in chunk.valid().chars() {
                if needs_escape(c) {
                    shown.extend(c.escape_default());
                } else {
                    shown.push(c);
                }
            }
            for byte in chunk.invalid() {
                // Writing to a string never fails.
                let _ = write!(shown, "\\x{byte:02x}");
            }
        }
        let is_long = line.bytes.len() > MAX_LINE || shown.len() > MAX_LINE;
        if shown.len() > MAX_LINE {
            let mut end = MAX_LINE;
            while !shown.is_char_boundary(end) {
                end -= 1;
            }
            shown.truncate(end);
        }
        if is_long || line.is_cut {
            shown.push(CUT);
        }
        shown
    }
}

/// Control characters, and those that make a text read in another order than it is written.
fn needs_escape(c: char) -> bool {
    let is_separator = matches!(c, '\u{2028}' | '\u{2029}');
    let is_direction =
        matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    (c.is_control() && c != '\t') || is_separator || is_direction
}

/// Reads a stream to its end. Cancelled with the output that it belongs to.
async fn read(mut pipe: pipe::Receiver, stream: &'static str, lines: Arc<Lines>) {
    let mut splitter = Splitter::new(lines.needed());
    let mut buffer = Zeroizing::new(Vec::with_capacity(READ_BYTES));
    loop {
        buffer.clear();
        match pipe.read_buf(&mut *buffer).await {
            Ok(0) => break,
            Ok(_) => {
                let now = Instant::now();
                splitter.split(&buffer, |line| lines.log(stream, line, now));
            }
            Err(error) => {
                tracing::warn!(generation = lines.source.instance, stream, %error, "its output is lost");
                break;
            }
        }
    }
    if let Some(line) = splitter.rest() {
        lines.log(stream, line, Instant::now());
    }
    let held_back = std::mem::take(&mut lines.state.lock().held_back);
    lines.tell_held_back(held_back);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::{DigestKey, Env};

    fn lines(values: &[&str]) -> Lines {
        let env = Env::from_variables([("A", "1")]).unwrap();
        Lines {
            source: Source {
                digest: DigestKey::random().unwrap().digest(env.key()),
                instance: 1,
            },
            masks: Masks::new(values.iter().map(|value| value.as_bytes())),
            state: Mutex::new(State::new(Instant::now())),
        }
    }

    fn shown(lines: &Lines, text: &[u8]) -> Vec<String> {
        let mut splitter = Splitter::new(lines.needed());
        let mut shown = Vec::new();
        // In pieces, as it may come.
        for piece in text.chunks(1000) {
            splitter.split(piece, |line| shown.push(lines.show(&line)));
        }
        shown.extend(splitter.rest().map(|line| lines.show(&line)));
        shown
    }

    #[test]
    fn lines_are_shown_as_text() {
        let text = b"one\r\n\ntwo\t\xc5\xbe\n\x1b[31mred\x00 \xff\xe2\x80\xae\nlast";
        let expected = [
            "one",
            "",
            "two\tž",
            "\\u{1b}[31mred\\u{0} \\xff\\u{202e}",
            "last",
        ];
        assert_eq!(shown(&lines(&[]), text), expected);
    }

    #[test]
    fn a_long_line_is_cut() {
        let whole = "x".repeat(MAX_LINE);
        assert_eq!(shown(&lines(&[]), whole.as_bytes())[0], whole);
        let long = "x".repeat(1 << 20) + "\nnext";
        assert_eq!(
            shown(&lines(&[]), long.as_bytes()),
            [whole + "…", "next".to_owned()]
        );
        let escaped = vec![0xff; MAX_LINE];
        assert_eq!(shown(&lines(&[]), &escaped)[0].len(), MAX_LINE + "…".len());
    }

    #[test]
    fn a_value_at_the_cut_is_masked_whole() {
        let secret = "0123456789".repeat(1000);
        let lines = lines(&[&secret]);
        for before in [0, 10, MAX_LINE - 1, MAX_LINE] {
            let text = "x".repeat(before) + &secret + "y";
            let shown = shown(&lines, text.as_bytes());
            assert!(!shown[0].contains("0123"), "{before}: {shown:?}");
            assert_eq!(shown[0].contains('*'), before < MAX_LINE);
        }
    }

    #[tokio::test]
    async fn a_flood_is_read_to_its_end_and_its_last_lines_are_masked() {
        let script =
            "head -c 20000000 /dev/zero | tr '\\0' '\\n'; echo a secret >&2; printf 'a secret'";
        let mut child = std::process::Command::new("sh")
            .args(["-c", script])
            .stdout(std::process::Stdio::piped())
            .stderr(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let source = lines(&[]).source;
        let masks = Masks::new([&b"a secret"[..]].into_iter());
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let mut output = Output::follow(stdout, stderr, source, masks).unwrap();
        output.finish(Duration::from_secs(60)).await;
        assert!(output.readers.is_empty());
        assert!(child.wait().unwrap().success());
        let tail = output.tail();
        assert_eq!(tail.len(), TAIL_LINES);
        assert!(tail.iter().any(|line| line == "***"), "{tail:?}");
        assert!(!tail.iter().any(|line| line.contains("secret")), "{tail:?}");
    }

    #[test]
    fn what_is_over_the_rate_is_counted_and_the_tail_is_kept() {
        let lines = lines(&["a secret"]);
        let now = Instant::now();
        for i in 0..300 {
            let bytes = Zeroizing::new(format!("{i} a secret").into_bytes());
            let line = RawLine {
                bytes,
                is_cut: false,
            };
            lines.log("stdout", line, now);
        }
        let mut state = lines.state.lock();
        assert_eq!(state.held_back, 100);
        assert_eq!(state.admit(now + Duration::from_secs(1)), Some(100));
        assert_eq!(state.admit(now + Duration::from_secs(1)), Some(0));
        assert_eq!(state.tail.len(), TAIL_LINES);
        assert_eq!(lines.show(&state.tail[0]), "280 ***");
    }
}
