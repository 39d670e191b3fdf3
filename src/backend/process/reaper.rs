//! Collects children that nobody waits for any more.
//!
//! A dropped child has been killed, but it is a zombie only a moment later, and its number isn't
//! free before it is collected. One thread takes such children over, with all that must not be used
//! again before they are gone, and collects them in whatever order they end. It waits for nothing
//! else, so none is forgotten, and one that the kernel can't end yet holds up no other. It ends
//! when all who may give it a child are gone and its last child is.

use std::{
    io,
    process::Child,
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    thread,
    time::Duration,
};

use tokio::task::JoinHandle;

use super::child::Holdings;

/// How often those that are left are looked at. A killed process mostly ends within a millisecond.
const EVERY: Duration = Duration::from_millis(5);

/// Where killed children are handed.
#[derive(Debug, Clone)]
pub(super) struct Reaper(Sender<Orphan>);

struct Orphan {
    child: Child,
    _holdings: Holdings,
    /// What uses its number still.
    entering: Option<JoinHandle<()>>,
}

impl Reaper {
    /// Starts the thread.
    pub(super) fn start() -> io::Result<Self> {
        let (sender, receiver) = channel();
        let builder = thread::Builder::new().name("reaper".to_owned());
        builder.spawn(move || run(&receiver))?;
        Ok(Self(sender))
    }

    /// Takes over a child that has been killed. It isn't collected before `entering` is done.
    pub(super) fn take(&self, child: Child, holdings: Holdings, entering: Option<JoinHandle<()>>) {
        let orphan = Orphan {
            child,
            _holdings: holdings,
            entering,
        };
        if self.0.send(orphan).is_err() {
            tracing::error!("the reaper is gone: a zombie stays until the gateway ends");
        }
    }
}

fn run(receiver: &Receiver<Orphan>) {
    let mut orphans: Vec<Orphan> = Vec::new();
    loop {
        let next = match orphans.is_empty() {
            true => receiver.recv().map_err(|_| RecvTimeoutError::Disconnected),
            false => receiver.recv_timeout(EVERY),
        };
        match next {
            Ok(orphan) => orphans.push(orphan),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) if orphans.is_empty() => return,
            Err(RecvTimeoutError::Disconnected) => thread::sleep(EVERY),
        }
        orphans.retain_mut(Orphan::is_left);
    }
}

impl Orphan {
    /// Collects it where it can be. What can't be waited for has been collected by another.
    fn is_left(&mut self) -> bool {
        let entering = self.entering.as_ref();
        entering.is_some_and(|entering| !entering.is_finished())
            || matches!(self.child.try_wait(), Ok(None))
    }
}
