//! A cgroup for each instance, where they can be had: whatever an instance starts once it is in it
//! stays there, and all of it is killed at once, whatever it did to its environment, group and
//! parents.
//!
//! It needs the second version of cgroups, mounted, and a cgroup of the gateway's own in which it
//! may make others. Then there is a cgroup `envgate-<PID of the gateway>` below the gateway's own,
//! with one for each instance in it. Elsewhere the marker alone tells who belongs to whom
//! ([`super::Descendants`]).
//!
//! No controllers are enabled: killing and counting need none, while a cgroup whose children have
//! controllers mustn't have processes itself, so that the gateway would have to leave the cgroup in
//! which whoever started it put it. Limits are the process's own.

mod place;

use std::{
    fs, io,
    path::{Path, PathBuf},
    process,
    time::{Duration, Instant},
};

use rustix::{
    fs::{Access, access},
    process::Pid,
};

use self::place::own_directory;
use super::processes::{Marker, Process};

/// How long the kernel may take to end killed processes; some wait for a disk that doesn't answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// How often an end is looked for: at first, and at last.
const LOOK_EVERY: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(50));

const PREFIX: &str = "envgate-";

/// The cgroups of one gateway.
#[derive(Debug)]
pub struct Cgroups {
    directory: PathBuf,
}

impl Cgroups {
    /// Those of this process. None where none can be had, which is logged. Empty ones of gateways
    /// that are gone are removed; one with processes in it is left, for its gateway may live where
    /// PIDs are counted anew.
    #[must_use]
    pub fn create() -> Option<Self> {
        match own_directory().and_then(|own| Self::create_in(&own)) {
            Ok(cgroups) => {
                tracing::debug!(directory = %cgroups.directory.display(), "instances get cgroups");
                Some(cgroups)
            }
            Err(error) => {
                tracing::info!(%error, "no cgroups for instances: their descendants are known by {} alone", Marker::VARIABLE);
                None
            }
        }
    }

    fn create_in(own: &Path) -> io::Result<Self> {
        remove_stale(own);
        let directory = own.join(format!("{PREFIX}{}", process::id()));
        let cgroups = Self { directory };
        if cgroups.directory.is_dir() {
            // An earlier process had this PID.
            cgroups.kill();
            cgroups.remove();
        }
        make(&cgroups.directory)?;
        // To put a process into a cgroup one must be allowed to write to the one above both; and a
        // cgroup below one of threads takes no processes.
        let may_move = access(own.join("cgroup.procs"), Access::WRITE_OK);
        let kind = fs::read_to_string(cgroups.directory.join("cgroup.type"));
        let usable = match (may_move, kind) {
            (Err(error), _) => Err(error.into()),
            (_, Ok(kind)) if kind.trim() != "domain" => Err(io::Error::other(format!(
                "a cgroup of the type {:?} takes no processes",
                kind.trim()
            ))),
            _ => Ok(()),
        };
        if let Err(error) = usable {
            cgroups.remove();
            return Err(error);
        }
        Ok(cgroups)
    }

    /// What the gateway with this PID has, or left behind.
    pub(super) fn left_by(gateway: Pid) -> Option<Self> {
        let name = format!("{PREFIX}{}", gateway.as_raw_pid());
        let directory = own_directory().ok()?.join(name);
        directory.is_dir().then_some(Self { directory })
    }

    /// A cgroup for an instance, empty. None where it can't be made, which is logged.
    #[must_use]
    pub fn for_instance(&self, id: u64) -> Option<Cgroup> {
        let path = self.directory.join(id.to_string());
        // Another gateway may have removed an empty one above it.
        let made = make(&self.directory).and_then(|()| fs::create_dir(&path));
        match made {
            Ok(()) => Some(Cgroup { path }),
            Err(error) => {
                tracing::warn!(%error, instance = id, "an instance gets no cgroup");
                None
            }
        }
    }

    /// Kills whatever is in them, all at once where the kernel can. It may take a moment to end.
    pub(super) fn kill(&self) {
        if let Err(error) = kill(&self.directory) {
            tracing::warn!(%error, "processes in the cgroups of instances can't be killed");
        }
    }

    /// Removes them; those in which a process lives stay.
    pub(super) fn remove(&self) {
        if let Err(error) = remove(&self.directory) {
            tracing::warn!(%error, "cgroups of instances can't be removed");
        }
    }
}

impl Drop for Cgroups {
    fn drop(&mut self) {
        self.remove();
    }
}

/// The cgroup of one instance.
#[derive(Debug)]
pub struct Cgroup {
    path: PathBuf,
}

impl Cgroup {
    /// Its directory: a process enters it by writing `0` to `cgroup.procs` there.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Kills whatever is in it, waits until all of it has ended, and removes it. May be dropped and
    /// called again.
    ///
    /// # Errors
    /// Where the system doesn't do that, or not in time.
    pub async fn end(&self) -> io::Result<()> {
        let until = Instant::now() + PATIENCE;
        let (mut pause, longest) = LOOK_EVERY;
        loop {
            // Without `cgroup.kill` a process may have slipped through.
            kill(&self.path)?;
            if !is_populated(&self.path)? {
                return remove(&self.path);
            }
            if Instant::now() > until {
                return Err(io::ErrorKind::TimedOut.into());
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(longest);
        }
    }
}

fn make(directory: &Path) -> io::Result<()> {
    match fs::create_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

/// Only empty ones can be removed, so nothing is lost that someone uses: a gateway in another PID
/// namespace looks dead from here.
fn remove_stale(own: &Path) {
    for child in children(own) {
        let name = child.file_name().unwrap_or_default().to_string_lossy();
        let pid = name.strip_prefix(PREFIX).and_then(|pid| pid.parse().ok());
        let is_stale = pid
            .and_then(Pid::from_raw)
            .is_some_and(|pid| Process::at(pid).is_none());
        if is_stale && let Err(error) = remove(&child) {
            tracing::warn!(%error, cgroup = %child.display(), "a gateway that is gone left processes behind; where no other PID namespace uses the cgroup, write 1 to its cgroup.kill");
        }
    }
}

fn kill(cgroup: &Path) -> io::Result<()> {
    match fs::write(cgroup.join("cgroup.kill"), "1") {
        // Linux before 5.14.
        Err(error) if error.kind() == io::ErrorKind::NotFound && cgroup.is_dir() => {
            kill_one_by_one(cgroup)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        killed => killed,
    }
}

fn kill_one_by_one(cgroup: &Path) -> io::Result<()> {
    for child in children(cgroup) {
        kill_one_by_one(&child)?;
    }
    let list = cgroup.join("cgroup.procs");
    let pids = fs::read_to_string(&list)?;
    for pid in pids.lines().filter_map(|pid| pid.parse().ok()) {
        let Some(process) = Pid::from_raw(pid).and_then(Process::at) else {
            continue;
        };
        // Whatever has the PID now was seen in the cgroup after it was told apart from others.
        let is_still_in = fs::read_to_string(&list)?
            .lines()
            .any(|line| line.parse() == Ok(pid));
        if is_still_in {
            process.kill()?;
        }
    }
    Ok(())
}

fn is_populated(cgroup: &Path) -> io::Result<bool> {
    match fs::read_to_string(cgroup.join("cgroup.events")) {
        Ok(events) => Ok(!events.lines().any(|line| line == "populated 0")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Removes a cgroup and those below it, from below: its files go with it.
fn remove(cgroup: &Path) -> io::Result<()> {
    for child in children(cgroup) {
        remove(&child)?;
    }
    match fs::remove_dir(cgroup) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

fn children(cgroup: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(cgroup) else {
        return Vec::new();
    };
    let entries = entries.flatten().map(|entry| entry.path());
    entries.filter(|path| path.is_dir()).collect()
}

#[cfg(test)]
mod tests {
    use std::{os::unix::process::CommandExt, process::Command};

    use super::*;

    #[test]
    fn a_directory_that_is_no_cgroup_is_refused_and_left_as_it_was() {
        let plain = tempfile::tempdir().unwrap();
        assert!(Cgroups::create_in(plain.path()).is_err());
        assert_eq!(fs::read_dir(plain.path()).unwrap().count(), 0);
        assert!(Cgroups::create_in(&plain.path().join("missing")).is_err());
    }

    /// Where this machine lets us; elsewhere there is nothing that could be tested.
    fn a_cgroup_of_our_own() -> Option<PathBuf> {
        let directory = own_directory()
            .ok()?
            .join(format!("test-{}", fastrand::u64(..)));
        fs::create_dir(&directory).ok()?;
        Some(directory)
    }

    /// A shell in the cgroup, with two processes of its own that ignore what can be ignored.
    fn populate(cgroup: &Path) -> std::process::Child {
        let script =
            "echo 0 > \"$1/cgroup.procs\"; env -i setsid sleep 60 & trap '' TERM; sleep 60 & wait";
        let child = Command::new("sh")
            .args(["-c", script, "sh"])
            .arg(cgroup)
            .process_group(0)
            .spawn()
            .unwrap();
        let count = || {
            fs::read_to_string(cgroup.join("cgroup.procs"))
                .unwrap()
                .lines()
                .count()
        };
        let until = Instant::now() + PATIENCE;
        while count() < 3 {
            assert!(
                Instant::now() < until,
                "only {} processes in the cgroup",
                count()
            );
            std::thread::sleep(Duration::from_millis(2));
        }
        child
    }

    #[tokio::test]
    async fn all_that_is_in_a_cgroup_ends_and_nothing_stays() {
        let Some(own) = a_cgroup_of_our_own() else {
            return;
        };
        let cgroups = Cgroups::create_in(&own).unwrap();
        let (first, second) = (
            cgroups.for_instance(1).unwrap(),
            cgroups.for_instance(2).unwrap(),
        );
        let mut child = populate(first.path());
        let mut other = populate(second.path());
        // A child that is reaped by nobody counts as populated no longer, so the order is free.
        first.end().await.unwrap();
        child.wait().unwrap();
        assert!(!first.path().exists());
        assert!(is_populated(second.path()).unwrap());
        assert!(other.try_wait().unwrap().is_none());

        // The way of older kernels.
        kill_one_by_one(&own).unwrap();
        second.end().await.unwrap();
        other.wait().unwrap();
        drop(cgroups);
        assert_eq!(children(&own), Vec::<PathBuf>::new());
        fs::remove_dir(own).unwrap();
    }

    #[test]
    fn empty_cgroups_of_gateways_that_are_gone_are_removed() {
        let Some(own) = a_cgroup_of_our_own() else {
            return;
        };
        let mut gone = Command::new("true").spawn().unwrap();
        gone.wait().unwrap();
        let names = [gone.id(), std::os::unix::process::parent_id()];
        let [stale, living] = names.map(|pid| own.join(format!("{PREFIX}{pid}")));
        fs::create_dir_all(stale.join("7")).unwrap();
        fs::create_dir_all(living.join("7")).unwrap();
        let cgroups = Cgroups::create_in(&own).unwrap();
        assert!(!stale.exists());
        assert!(living.join("7").exists());
        drop(cgroups);
        remove(&own).unwrap();
    }
}
