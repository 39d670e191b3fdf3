//! The directory in which the Unix sockets of the instances are.
//!
//! It is the gateway's alone; each instance has one of its own in it, which is its user's. The
//! whole goes with the gateway. What a killed gateway left behind is removed by the next one: a
//! gateway holds a lock on its directory for as long as it lives, so a directory without one is
//! nobody's, whichever process has the number in its name by now.

use std::{
    env, fs,
    fs::{DirBuilder, File, Permissions},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use rustix::{
    fs::{FlockOperation, flock},
    process::{Gid, Uid, geteuid},
};

use super::identity::IdentityLease;

const NAME: &str = "envgate-";

/// The longest path of a Unix socket: `sun_path` has room for so much and a NUL.
pub(super) const MAX_SOCKET_PATH: usize = 107;

/// The directory of one gateway. Removed on drop.
#[derive(Debug)]
pub(super) struct RuntimeDir {
    path: PathBuf,
    /// How many directories there were in it.
    made: AtomicU64,
    /// Holds the lock.
    _lock: File,
}

/// Why an instance has no place for its socket.
#[derive(Debug, thiserror::Error)]
pub enum DirError {
    /// The system refused.
    #[error("can't make {}", path.display())]
    Make {
        /// The directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A socket there would have a path that no address can hold.
    #[error(
        "the socket's path {} has {} bytes, but {MAX_SOCKET_PATH} is the limit; set \
         XDG_RUNTIME_DIR to a shorter directory",
        path.display(), path.as_os_str().len()
    )]
    TooLong {
        /// The path.
        path: PathBuf,
    },
}

impl RuntimeDir {
    /// Makes this gateway's directory in `$XDG_RUNTIME_DIR`, or else among the temporary files, and
    /// removes those of gateways that are dead.
    pub(super) fn make() -> Result<Self, DirError> {
        let place = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
        let place = place.filter(|place| place.is_absolute());
        Self::make_in(&place.unwrap_or_else(env::temp_dir))
    }

    pub(super) fn make_in(place: &Path) -> Result<Self, DirError> {
        remove_stale(place);
        let random = fastrand::u32(..);
        let path = place.join(format!("{NAME}{}-{random:08x}", process::id()));
        match make_locked(&path) {
            Ok(lock) => Ok(Self {
                path,
                made: AtomicU64::new(0),
                _lock: lock,
            }),
            Err(source) => Err(DirError::Make { path, source }),
        }
    }

    /// Makes the directory of an instance, which it finds its socket in.
    pub(super) fn instance(
        self: &Arc<Self>,
        identity: &IdentityLease,
    ) -> Result<InstanceDir, DirError> {
        let path = self.path.join(self.made.fetch_add(1, Relaxed).to_string());
        let refused = |source| DirError::Make {
            path: path.clone(),
            source,
        };
        make_private(&path).map_err(refused)?;
        let dir = InstanceDir {
            path: path.clone(),
            _within: Arc::clone(self),
        };
        if identity.user.is_some() || identity.group.is_some() {
            self.give(&path, identity).map_err(refused)?;
        }
        Ok(dir)
    }

    /// Makes a directory in it another user's.
    fn give(&self, path: &Path, identity: &IdentityLease) -> io::Result<()> {
        let user = identity.user.map(Uid::from_raw);
        rustix::fs::chown(path, user, identity.group.map(Gid::from_raw))?;
        // That user has to come through to its own; there is still nothing to be seen.
        fs::set_permissions(&self.path, Permissions::from_mode(0o711))
    }
}

impl Drop for RuntimeDir {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

/// The directory of one instance. Removed on drop.
#[derive(Debug)]
pub(super) struct InstanceDir {
    path: PathBuf,
    _within: Arc<RuntimeDir>,
}

impl InstanceDir {
    /// The path of its socket.
    pub(super) fn socket(&self) -> Result<PathBuf, DirError> {
        let path = self.path.join("s");
        if path.as_os_str().len() > MAX_SOCKET_PATH {
            return Err(DirError::TooLong { path });
        }
        Ok(path)
    }
}

impl Drop for InstanceDir {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

fn make_private(path: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(path)
}

/// Makes a directory that is locked from the moment on at which it has its name: before that, a
/// gateway with the same number in another container would take it for abandoned.
fn make_locked(path: &Path) -> io::Result<File> {
    let unnamed = path.with_extension("new");
    make_private(&unnamed)?;
    let lock = File::open(&unnamed)?;
    flock(&lock, FlockOperation::NonBlockingLockExclusive)?;
    fs::rename(&unnamed, path)?;
    Ok(lock)
}

fn remove(path: &Path) {
    if let Err(error) = fs::remove_dir_all(path)
        && error.kind() != io::ErrorKind::NotFound
    {
        tracing::warn!(path = %path.display(), %error, "a runtime directory stays");
    }
}

/// Removes the directories of dead gateways, as far as they are ours.
fn remove_stale(place: &Path) {
    let Ok(entries) = fs::read_dir(place) else {
        // Making a directory there will fail, and say why.
        return;
    };
    let stale = entries.flatten().filter(|entry| {
        let name = entry.file_name();
        name.to_str().is_some_and(is_of_gateway) && is_abandoned(&entry.path())
    });
    for entry in stale {
        remove(&entry.path());
    }
}

/// Whether a directory is called as a gateway's is. The number in it says nothing: it may be
/// another process's by now, or a zombie's that nobody has collected yet.
fn is_of_gateway(name: &str) -> bool {
    let parts = name
        .strip_prefix(NAME)
        .and_then(|name| name.split_once('-'));
    parts.is_some_and(|(pid, random)| {
        let is_random = random.len() == 8 && random.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_random && pid.parse::<u32>().is_ok()
    })
}

/// Whether a directory is ours and no gateway holds it.
fn is_abandoned(path: &Path) -> bool {
    let is_ours = fs::symlink_metadata(path)
        .is_ok_and(|metadata| metadata.is_dir() && metadata.uid() == geteuid().as_raw());
    let lock = || {
        flock(
            File::open(path).ok()?,
            FlockOperation::NonBlockingLockExclusive,
        )
        .ok()
    };
    is_ours && lock().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::process::identity::{Identity, Users};

    fn nobody_special() -> IdentityLease {
        let identity = Identity::resolve(None, None).unwrap();
        identity.lease(&Users::default()).unwrap()
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn directories_are_private_and_go_with_their_owner() {
        let place = tempfile::tempdir().unwrap();
        let whole = Arc::new(RuntimeDir::make_in(place.path()).unwrap());
        let dir = whole.instance(&nobody_special()).unwrap();
        let (whole_path, path) = (whole.path.clone(), dir.path.clone());
        assert_eq!((mode(&whole_path), mode(&path)), (0o700, 0o700));
        fs::write(dir.socket().unwrap(), "").unwrap();
        drop(dir);
        assert!(!path.exists() && whole_path.exists());
        drop(whole);
        assert!(!whole_path.exists());
    }

    #[test]
    fn only_what_a_dead_gateway_left_is_removed() {
        let place = tempfile::tempdir().unwrap();
        let path = |name: &str| place.path().join(name);
        // Process 1 lives, and is no gateway.
        let left = ["envgate-7-00000000", "envgate-1-00000000"].map(path);
        let others = ["envgate-7-mine", "envgate-x-00000000", "other-7-00000000"].map(path);
        for path in left.iter().chain(&others) {
            fs::create_dir(path).unwrap();
            fs::write(path.join("file"), "").unwrap();
        }
        let link = path("envgate-7-00000001");
        std::os::unix::fs::symlink(&others[0], &link).unwrap();
        let held = RuntimeDir::make_in(place.path()).unwrap();
        let second = RuntimeDir::make_in(place.path()).unwrap();
        assert!(left.iter().all(|path| !path.exists()));
        assert!(others.iter().all(|path| path.join("file").exists()) && link.exists());
        assert!(held.path.exists() && second.path.exists());
    }

    #[test]
    fn a_path_that_no_address_holds_is_told() {
        let place = tempfile::tempdir().unwrap();
        let deep = place.path().join("x".repeat(80));
        fs::create_dir(&deep).unwrap();
        let whole = Arc::new(RuntimeDir::make_in(&deep).unwrap());
        let dir = whole.instance(&nobody_special()).unwrap();
        let error = dir.socket().unwrap_err().to_string();
        assert!(error.contains("107 is the limit"), "{error}");
    }
}
