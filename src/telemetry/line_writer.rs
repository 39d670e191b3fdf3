//! Where lines of a log go: a bounded buffer that one thread empties into a writer.
//!
//! A call must never wait for the reader of the log, so a line that finds the buffer full is
//! dropped and counted. Lines are taken in batches: on a busy gateway one write carries thousands.

use std::{
    io::{self, Write},
    sync::Arc,
    thread::{self, JoinHandle},
    time::Duration,
};

use parking_lot::{Condvar, Mutex};
use prometheus::IntCounter;

/// What the buffer may hold while the reader of the log is behind: some ten thousand lines.
const CAPACITY: usize = 1 << 20;

/// How long lines gather before they are written together: short enough for a person who watches.
const GATHER: Duration = Duration::from_millis(20);

/// A bounded, never blocking sink for whole lines.
#[derive(Debug)]
pub struct LineWriter {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    filled: Condvar,
    dropped: IntCounter,
}

#[derive(Debug, Default)]
struct State {
    buffer: Vec<u8>,
    closed: bool,
}

impl LineWriter {
    /// Starts the thread that writes to `out`. `dropped` counts the lines that found no room.
    ///
    /// # Errors
    /// Where the thread can't be started.
    pub fn start(out: impl Write + Send + 'static, dropped: IntCounter) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::new(State::default()),
            filled: Condvar::new(),
            dropped,
        });
        let writer = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("log-writer".into())
            .spawn(move || writer.write_until_closed(out))?;
        Ok(Self {
            shared,
            thread: Mutex::new(Some(thread)),
        })
    }

    /// Lets `write` append one whole line, its line break included.
    pub fn line(&self, write: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.shared.state.lock();
        if state.buffer.len() >= CAPACITY || state.closed {
            drop(state);
            self.shared.dropped.inc();
            return;
        }
        let was_empty = state.buffer.is_empty();
        write(&mut state.buffer);
        drop(state);
        if was_empty {
            self.shared.filled.notify_one();
        }
    }

    /// Writes what is left and ends the thread, unless the reader of the log holds it up for
    /// longer than `patience`.
    pub fn close(&self, patience: Duration) {
        self.shared.state.lock().closed = true;
        self.shared.filled.notify_one();
        let Some(thread) = self.thread.lock().take() else {
            return;
        };
        let step = Duration::from_millis(5);
        let mut waited = Duration::ZERO;
        while !thread.is_finished() && waited < patience {
            thread::sleep(step);
            waited += step;
        }
        if thread.is_finished() && thread.join().is_err() {
            tracing::error!("a log's thread panicked; lines may be missing");
        }
    }
}

impl Shared {
    fn write_until_closed(&self, mut out: impl Write) {
        let mut batch = Vec::new();
        loop {
            let closed = {
                let mut state = self.state.lock();
                while state.buffer.is_empty() && !state.closed {
                    self.filled.wait(&mut state);
                }
                state.closed
            };
            if !closed {
                thread::sleep(GATHER);
            }
            std::mem::swap(&mut batch, &mut self.state.lock().buffer);
            if let Err(error) = out.write_all(&batch).and_then(|()| out.flush()) {
                tracing::error!(%error, "a log can't be written; it ends here");
                self.state.lock().closed = true;
                return;
            }
            batch.clear();
            if closed && self.state.lock().buffer.is_empty() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Default)]
    struct Memory(Arc<Mutex<Vec<u8>>>);

    impl Write for Memory {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn counter() -> IntCounter {
        IntCounter::new("dropped", "dropped").unwrap()
    }

    #[test]
    fn every_line_is_written_before_it_closes() {
        let memory = Memory::default();
        let writer = LineWriter::start(memory.clone(), counter()).unwrap();
        for number in 0..1000 {
            writer.line(|line| writeln!(line, "{number}").unwrap());
        }
        writer.close(Duration::from_secs(5));
        let text = String::from_utf8(memory.0.lock().clone()).unwrap();
        assert_eq!(text.lines().count(), 1000);
        assert_eq!(text.lines().last(), Some("999"));
    }

    #[test]
    fn a_reader_that_is_behind_costs_lines_and_never_time() {
        struct Stuck(Arc<Mutex<()>>);
        impl Write for Stuck {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                let _held = self.0.lock();
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let gate = Arc::new(Mutex::new(()));
        let held = gate.lock();
        let dropped = counter();
        let writer = LineWriter::start(Stuck(Arc::clone(&gate)), dropped.clone()).unwrap();
        let line = [b'x'; 1024];
        for _ in 0..4096 {
            writer.line(|buffer| buffer.extend_from_slice(&line));
        }
        assert!(dropped.get() > 0);
        drop(held);
        writer.close(Duration::from_secs(5));
    }
}
