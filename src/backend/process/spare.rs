//! A launcher that is started ahead of the next start.
//!
//! Most of what a start takes is the same whatever the env: to execute this program, to take limits,
//! user, group and directory, and to make the place where the worker listens. A *spare* has done
//! that and waits for its [order](super::launch_order), the command and its variables; until then it has no variable at
//! all. It is no instance: nobody counts or shows it.
//!
//! There is one for a backend that has processes: it is started after the first of them, and goes
//! with the last. Where there is none, or it has died, or is slow, a start takes the ordinary way.

use std::{
    io,
    os::{fd::OwnedFd, unix::net::UnixStream},
    sync::{Arc, Weak},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::time::{Instant, sleep, timeout};

use super::{
    Host,
    child::{Child, Holdings},
    identity::IdentityLease,
    launch::LaunchSpec,
    launch_order::send,
    listen::Place,
};
use crate::env::Env;

/// How long a spare may take to be told its order; most are in the time that one write takes.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often it is looked whether a spare that was ended is gone.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// A launcher that waits for its order. Dropped, it is killed.
#[derive(Debug)]
pub(super) struct Spare {
    child: Child,
    place: Option<(Place, Option<OwnedFd>)>,
    orders: tokio::net::UnixStream,
}

impl Spare {
    /// Starts one; `spec` without a command.
    pub(super) fn start(
        spec: &LaunchSpec,
        place: Option<(Place, Option<OwnedFd>)>,
        identity: IdentityLease,
        host: &Host,
    ) -> io::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let orders = tokio::net::UnixStream::from_std(ours)?;
        let launcher = host.launcher().as_os_str();
        let launched = spec.spawn(launcher, None, Some(OwnedFd::from(theirs)))?;
        let holdings = Holdings {
            place: None,
            identity,
        };
        let child = Child::watch(launched, holdings, &host.reaper)?;
        Ok(Self {
            child,
            place,
            orders,
        })
    }

    /// As whom it runs; `None` where it has ended.
    pub(super) fn identity(&self) -> Option<&IdentityLease> {
        self.child.identity().filter(|_| !self.child.has_exited())
    }

    /// Its place, where one was made ahead; once.
    pub(super) fn take_place(&mut self) -> Option<(Place, Option<OwnedFd>)> {
        self.place.take()
    }

    /// Has it become a worker. An error says that it didn't.
    pub(super) async fn launch(
        mut self,
        spec: &LaunchSpec,
        variables: &Env,
        socket: Option<&OwnedFd>,
    ) -> io::Result<Child> {
        let sent = send(&mut self.orders, &spec.command, variables, socket);
        timeout(PATIENCE, sent).await??;
        Ok(self.child)
    }
}

/// Where the spare of a backend is. The backend's processes hold it.
#[derive(Debug, Default)]
pub(super) struct Slot(Mutex<Option<Spare>>);

impl Slot {
    pub(super) fn take(&self) -> Option<Spare> {
        self.0.lock().take()
    }

    /// Puts one there where there is none that waits.
    fn fill(&self, start: impl FnOnce() -> io::Result<Option<Spare>>) -> io::Result<()> {
        let mut slot = self.0.lock();
        if slot.as_ref().and_then(Spare::identity).is_none() {
            *slot = start()?;
        }
        Ok(())
    }
}

/// A backend's side of its slot.
#[derive(Debug, Default)]
pub(super) struct Slots(Mutex<Weak<Slot>>);

impl Slots {
    /// The slot for another process to hold.
    pub(super) fn hold(&self, all: &Spares) -> Arc<Slot> {
        let mut held = self.0.lock();
        held.upgrade().unwrap_or_else(|| {
            let slot = Arc::new(Slot::default());
            *held = Arc::downgrade(&slot);
            all.add(Weak::clone(&held));
            slot
        })
    }

    /// Starts a spare where the backend has a process and no spare.
    pub(super) fn fill(&self, start: impl FnOnce() -> io::Result<Option<Spare>>) -> io::Result<()> {
        let held = self.0.lock().upgrade();
        held.map_or(Ok(()), |slot| slot.fill(start))
    }
}

/// The slots of all backends.
#[derive(Debug, Default)]
pub(super) struct Spares(Mutex<Vec<Weak<Slot>>>);

impl Spares {
    fn add(&self, slot: Weak<Slot>) {
        let mut slots = self.0.lock();
        slots.retain(|slot| slot.strong_count() > 0);
        slots.push(slot);
    }

    /// A user for a start that finds all in use, where a spare has one.
    pub(super) async fn make_room<T>(&self, take: impl Fn() -> Option<T>) -> Option<T> {
        if !self.end() {
            return None;
        }
        let until = Instant::now() + PATIENCE;
        loop {
            // It is free when its spare is collected.
            sleep(LOOK_EVERY).await;
            let taken = take();
            if taken.is_some() || Instant::now() > until {
                return taken;
            }
        }
    }

    /// Ends all spares; whether there was one.
    pub(super) fn end(&self) -> bool {
        let slots = self.0.lock();
        let spares = slots.iter().filter_map(|slot| slot.upgrade()?.take());
        spares.count() > 0
    }
}
