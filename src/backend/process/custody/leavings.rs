//! What a gateway may leave in the file system when it is killed, found by its PID alone: nobody is
//! left then who could say more.
//!
//! The convention: its sockets are in a directory `envgate-<its PID>-…` in [`runtime_parent`], and
//! its instances in the cgroup `envgate-<its PID>` below its own.

use std::{
    env, fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use rustix::process::{Pid, geteuid};

use super::Cgroups;

/// Where a gateway makes the directory of its sockets: where the system says that such things
/// belong, else where temporary files do.
#[must_use]
pub fn runtime_parent() -> PathBuf {
    let told = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    told.filter(|path| path.is_absolute())
        .unwrap_or_else(env::temp_dir)
}

/// Removes what the gateway with this PID left, once none of its descendants lives.
pub(super) fn remove(gateway: Pid) {
    if let Err(error) = remove_directories(&runtime_parent(), gateway) {
        tracing::warn!(%error, "the gateway's directory can't be removed");
    }
    if let Some(cgroups) = Cgroups::left_by(gateway) {
        cgroups.remove();
    }
}

/// Anyone may make a directory of that name where temporary files are; one that isn't ours, or a
/// link, is left alone.
fn remove_directories(parent: &Path, gateway: Pid) -> io::Result<()> {
    let prefix = format!("envgate-{}-", gateway.as_raw_pid());
    for entry in fs::read_dir(parent)?.flatten() {
        let is_named_so = entry.file_name().to_string_lossy().starts_with(&prefix);
        if !is_named_so {
            continue;
        }
        let metadata = entry.metadata()?;
        if metadata.is_dir() && metadata.uid() == geteuid().as_raw() {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_directories_of_that_gateway_are_removed() {
        let parent = tempfile::tempdir().unwrap();
        let path = |name: &str| parent.path().join(name);
        for name in ["envgate-7-a", "envgate-77-a", "envgate-7", "other"] {
            fs::create_dir(path(name)).unwrap();
        }
        fs::write(path("envgate-7-a").join("socket"), "").unwrap();
        fs::write(path("envgate-7-file"), "").unwrap();
        std::os::unix::fs::symlink(path("other"), path("envgate-7-link")).unwrap();
        remove_directories(parent.path(), Pid::from_raw(7).unwrap()).unwrap();
        assert!(!path("envgate-7-a").exists());
        for name in [
            "envgate-77-a",
            "envgate-7",
            "other",
            "envgate-7-file",
            "envgate-7-link",
        ] {
            assert!(path(name).exists(), "{name}");
        }
    }
}
