//! The gateway's worker thread, as it is seen from outside.

use std::{
    fs,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

/// What the gateway calls its first worker thread.
const NAME: &str = "worker-0";

/// The numbers of the system calls in which a runtime waits for events.
const WAITS: &[&str] = if cfg!(target_arch = "aarch64") {
    &["22"]
} else {
    &["232", "281"]
};

const LOOK_EVERY: Duration = Duration::from_micros(100);

/// A thread that has something to do has done it by then, under callgrind too.
const PATIENCE: Duration = Duration::from_secs(20);

/// The gateway's worker thread.
pub(crate) struct Worker {
    /// Which system call it is in.
    syscall: PathBuf,
}

impl Worker {
    /// Finds it among the threads of this process, where it is running already.
    pub(crate) fn find() -> Self {
        let threads = fs::read_dir("/proc/self/task").expect("a process may list its threads");
        let mut threads = threads.filter_map(Result::ok).map(|thread| thread.path());
        let worker = threads.find(|thread| {
            let name = fs::read_to_string(thread.join("comm"));
            name.is_ok_and(|name| name.trim_end() == NAME)
        });
        Self {
            syscall: worker
                .expect("the gateway has a worker thread")
                .join("syscall"),
        }
    }

    /// Waits until it has done all that there is to do, and waits for events itself.
    pub(crate) fn wait_until_it_rests(&self) {
        let until = Instant::now() + PATIENCE;
        let mut seen = 0;
        while seen < 2 {
            assert!(Instant::now() < until, "the worker thread never rests");
            thread::sleep(LOOK_EVERY);
            seen = if self.rests() { seen + 1 } else { 0 };
        }
    }

    /// Where it is on its way into or out of the system, or waits for its turn under callgrind, it
    /// is in another system call or in none.
    fn rests(&self) -> bool {
        let now = fs::read_to_string(&self.syscall);
        let now = now.expect("the kernel tells which system call a thread is in");
        let number = now.split_ascii_whitespace().next();
        number.is_some_and(|number| WAITS.contains(&number))
    }
}
