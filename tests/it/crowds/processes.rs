//! Who lives below a gateway.

use std::{
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use crate::harness::{Gateway, eventually};

fn pids() -> Vec<u32> {
    let entries = fs::read_dir("/proc").expect("/proc").flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter_map(|name| name.parse().ok()).collect()
}

/// A field of `/proc/PID/stat`, counted from the state as 0.
fn stat(pid: u32, field: usize) -> Option<String> {
    let line = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let line = String::from_utf8_lossy(&line);
    let fields = line.rsplit_once(')')?.1;
    let mut fields = fields.split_ascii_whitespace();
    fields.nth(field).map(str::to_owned)
}

/// The children of a process, zombies too.
pub(super) fn children(parent: u32) -> Vec<u32> {
    let parent = parent.to_string();
    let is_child = |pid: &u32| stat(*pid, 1).as_ref() == Some(&parent);
    pids().into_iter().filter(is_child).collect()
}

/// The children of a gateway that are instances, zombies too: neither its spare launcher nor one that
/// is about to be started, which has the gateway's arguments still.
pub(super) fn instances(gateway: u32) -> Vec<u32> {
    let own = arguments(gateway);
    let is_instance = |pid: &u32| {
        let arguments = arguments(*pid);
        // One that has no arguments any more may have gone since it was listed.
        let is_there = !arguments.is_empty() || stat(*pid, 0).as_deref() == Some("Z");
        is_there && arguments != own && !arguments.contains(" --waits ")
    };
    let children = children(gateway).into_iter();
    children.filter(is_instance).collect()
}

/// The gateway itself, below its watchdog.
#[track_caller]
pub(super) fn inner(gateway: &Gateway) -> u32 {
    eventually("the watchdog has its gateway", || {
        children(gateway.pid()).first().copied()
    })
}

/// Living processes in whose arguments or variables this text stands.
pub(super) fn marked(mark: &str) -> Vec<u32> {
    let mark = mark.as_bytes();
    let is_marked = |pid: &u32| {
        ["cmdline", "environ"].iter().any(|file| {
            let bytes = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
            bytes.windows(mark.len()).any(|window| window == mark)
        })
    };
    pids().into_iter().filter(is_marked).collect()
}

/// A process's arguments, one after the other.
pub(super) fn arguments(pid: u32) -> String {
    let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&arguments).replace('\0', " ")
}

/// Counts the instances of a gateway as they come and go.
pub(super) struct Count {
    done: Arc<AtomicBool>,
    thread: JoinHandle<(usize, usize)>,
}

impl Count {
    pub(super) fn begin(gateway: u32) -> Self {
        let done = Arc::new(AtomicBool::new(false));
        let is_done = Arc::clone(&done);
        let thread = thread::spawn(move || {
            let (mut most, mut looks) = (0, 0);
            while !is_done.load(Relaxed) {
                most = most.max(instances(gateway).len());
                looks += 1;
                thread::sleep(Duration::from_millis(10));
            }
            (most, looks)
        });
        Self { done, thread }
    }

    /// The most that were ever there at once, and how often was looked.
    pub(super) fn end(self) -> (usize, usize) {
        self.done.store(true, Relaxed);
        self.thread.join().expect("the count ends")
    }
}
