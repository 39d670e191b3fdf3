//! The end of processes that left their instance's group.
//!
//! Who leaves the group and loses its parent falls to the watchdog: an *orphan*. The nonce in its
//! environment says which start it descends from; once that instance is gone, the orphan is killed.
//! One whose environment says nothing (it cleared it, or runs as another user) descends from one of
//! the instances that there were when it was first seen, and is killed once all of those are gone.
//! Who left the group but still has its parents is found below the main process before that is
//! stopped.
//!
//! A living instance's main process and all that is below it have the gateway above them, not the
//! watchdog, so they are no orphans. A process that takes another instance's nonce for its own
//! can't gain more than that one's time.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use parking_lot::Mutex;
use rustix::process::{Pid, getpid};

use super::processes::{Marker, Process, all, children};

/// How often those that are to end are looked for anew: at first, and at last.
const LOOK_EVERY: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(50));

/// The instances that live, and what fell to the watchdog.
#[derive(Debug)]
pub struct Descendants {
    watchdog: Option<Process>,
    known: Mutex<Known>,
}

impl Descendants {
    /// Those of this process. Without a watchdog they fall elsewhere, and only their marker tells.
    #[must_use]
    pub fn new(watchdog: Option<Pid>) -> Self {
        Self {
            watchdog: watchdog.and_then(Process::at),
            known: Mutex::default(),
        }
    }

    /// An instance is about to be started. To be called before its first process exists; ids grow.
    pub fn begin(&self, instance: u64, nonce: &str) {
        // Who came before this instance doesn't descend from it.
        self.sweep();
        let mut known = self.known.lock();
        known.newest = known.newest.max(instance);
        known.living.insert(instance, nonce.to_owned());
    }

    /// An instance's main process and group have ended: kills all that came of it elsewhere, until
    /// none is left. `below` is what was below the main process before it was stopped
    /// ([`Process::below`]); whoever of it lives is killed too. May be dropped: what then is left
    /// falls to the next [`Descendants::sweep`].
    pub async fn end_of(&self, instance: u64, below: &[Process]) {
        let nonce = self.known.lock().living.remove(&instance);
        let (mut pause, longest) = LOOK_EVERY;
        loop {
            let marked = nonce.as_deref().map(|nonce| self.orphans_of(nonce));
            let left = below.iter().copied().filter(|process| process.lives());
            let ending: Vec<_> = left.chain(marked.unwrap_or_default()).collect();
            let waits_for_some = self.kill(&ending);
            if self.sweep() == 0 && !waits_for_some {
                return;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(longest);
        }
    }

    /// Kills every orphan whose instance is gone; how many they are. To be called every so often:
    /// the sooner an orphan is seen, the fewer instances it may descend from.
    pub fn sweep(&self) -> usize {
        let orphans = self.orphans().unwrap_or_default();
        let orphans: Vec<_> = orphans
            .into_iter()
            .map(|process| (process, Marker::of(process.pid)))
            .collect();
        let ending = self.known.lock().ending(&orphans);
        match self.kill(&ending) {
            true => ending.len(),
            false => 0,
        }
    }

    /// What fell to the watchdog; None where there is none.
    fn orphans(&self) -> Option<Vec<Process>> {
        let watchdog = self.watchdog.filter(|watchdog| watchdog.lives())?;
        let fallen = children(watchdog.pid).into_iter();
        let fallen = fallen.filter(|pid| *pid != getpid());
        Some(fallen.filter_map(Process::at).collect())
    }

    /// What bears this nonce, wherever it is, where no watchdog gathers it. Where one does, its
    /// children are dealt with all at once, by [`Descendants::sweep`].
    fn orphans_of(&self, nonce: &str) -> Vec<Process> {
        if self.watchdog.is_some_and(Process::lives) {
            return Vec::new();
        }
        let nonce = Marker::Nonce(nonce.to_owned());
        let is_marked = |pid: &Pid| Marker::of(*pid) == nonce;
        // Most are strangers, of which a look is enough; whose number it is, is asked between two.
        let seen = all().into_iter().filter(is_marked);
        let seen = seen.filter_map(Process::at);
        seen.filter(|process| is_marked(&process.pid)).collect()
    }

    /// Whether one of them is worth waiting for.
    fn kill(&self, processes: &[Process]) -> bool {
        let mut waits_for_some = false;
        for process in processes {
            match process.kill() {
                Ok(()) => waits_for_some = true,
                Err(error) if self.known.lock().refuses(*process) => {
                    tracing::error!(%error, pid = process.pid.as_raw_pid(), "a process that an instance left behind can't be killed");
                }
                Err(_) => {}
            }
        }
        waits_for_some
    }
}

/// What the decisions rest on.
#[derive(Debug, Default)]
struct Known {
    newest: u64,
    /// The nonces of those that live.
    living: BTreeMap<u64, String>,
    /// Orphans that can't be told by their marker, and the newest instance at first sight.
    strangers: HashMap<Process, u64>,
    /// Processes that we mustn't kill.
    refusing: Vec<Process>,
}

impl Known {
    /// Which of all orphans there are must end. Remembers the strangers among them.
    fn ending(&mut self, orphans: &[(Process, Marker)]) -> Vec<Process> {
        let is_there = |process: &Process| orphans.iter().any(|(orphan, _)| orphan == process);
        self.strangers.retain(|process, _| is_there(process));
        self.refusing.retain(is_there);
        let ending = orphans.iter().filter(|(process, marker)| match marker {
            Marker::Nonce(nonce) => !self.living.values().any(|living| living == nonce),
            Marker::None => {
                let newest = *self.strangers.entry(*process).or_insert(self.newest);
                self.living.keys().all(|living| *living > newest)
            }
        });
        ending.map(|(process, _)| *process).collect()
    }

    /// Notes that a process can't be killed; whether that is news.
    fn refuses(&mut self, process: Process) -> bool {
        let is_news = !self.refusing.contains(&process);
        if is_news {
            self.refusing.push(process);
        }
        is_news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: i32) -> Process {
        Process::example(pid, 7)
    }

    fn marked(pid: i32, nonce: &str) -> (Process, Marker) {
        (process(pid), Marker::Nonce(nonce.to_owned()))
    }

    fn unmarked(pid: i32) -> (Process, Marker) {
        (process(pid), Marker::None)
    }

    fn living(instances: &[(u64, &str)]) -> Known {
        let newest = instances.iter().map(|(id, _)| *id).max().unwrap_or(0);
        let living = instances
            .iter()
            .map(|(id, nonce)| (*id, (*nonce).to_owned()));
        Known {
            newest,
            living: living.collect(),
            ..Known::default()
        }
    }

    #[test]
    fn a_marked_orphan_lives_as_long_as_its_instance() {
        let mut known = living(&[(1, "a"), (2, "b")]);
        let orphans = [marked(10, "a"), marked(20, "b")];
        assert_eq!(known.ending(&orphans), []);
        known.living.remove(&1);
        assert_eq!(known.ending(&orphans), [process(10)]);
    }

    #[test]
    fn a_stranger_lives_as_long_as_any_instance_that_it_may_descend_from() {
        let mut known = living(&[(1, "a"), (2, "b")]);
        let orphans = [unmarked(10)];
        assert_eq!(known.ending(&orphans), []);
        known.newest = 3;
        known.living.insert(3, "c".to_owned());
        known.living.remove(&2);
        assert_eq!(known.ending(&orphans), []);
        known.living.remove(&1);
        assert_eq!(known.ending(&orphans), [process(10)]);
    }

    #[test]
    fn a_stranger_that_comes_later_may_descend_from_later_ones() {
        let mut known = living(&[(1, "a")]);
        assert_eq!(known.ending(&[unmarked(10)]), []);
        known.newest = 2;
        known.living.insert(2, "b".to_owned());
        known.living.remove(&1);
        assert_eq!(known.ending(&[unmarked(10), unmarked(20)]), [process(10)]);
    }

    #[test]
    fn a_pid_used_again_is_another_stranger() {
        let mut known = living(&[(1, "a")]);
        assert_eq!(known.ending(&[unmarked(10)]), []);
        known.newest = 2;
        known.living = BTreeMap::from([(2, "b".to_owned())]);
        let recycled = (Process::example(10, 8), Marker::None);
        assert_eq!(known.ending(&[recycled]), []);
        assert_eq!(known.strangers.len(), 1);
    }

    #[test]
    fn what_refuses_is_told_once() {
        let mut known = living(&[]);
        assert!(known.refuses(process(10)));
        assert!(!known.refuses(process(10)));
        assert_eq!(known.ending(&[unmarked(10)]), [process(10)]);
        assert!(!known.refuses(process(10)));
        assert_eq!(known.ending(&[]), []);
        assert!(known.refuses(process(10)));
    }
}
