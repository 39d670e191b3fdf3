//! Where the cgroup is that this process is in: on hybrid systems not where it is on others.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// The directory of the cgroup that this process is in.
pub(super) fn own_directory() -> io::Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let memberships = fs::read_to_string("/proc/self/cgroup")?;
    directory(&mounts, &memberships).ok_or_else(|| {
        io::Error::other("this process is in no cgroup of version 2 that is mounted")
    })
}

/// Where the cgroup is that `/proc/self/cgroup` names, by what `/proc/self/mountinfo` says.
fn directory(mounts: &str, memberships: &str) -> Option<PathBuf> {
    let cgroup = memberships
        .lines()
        .find_map(|line| line.strip_prefix("0::"))?;
    mounts.lines().find_map(|line| {
        let (mount, file_system) = line.split_once(" - ")?;
        if !file_system.starts_with("cgroup2 ") {
            return None;
        }
        let mut fields = mount.split(' ').skip(3);
        let (root, point) = (fields.next()?, fields.next()?);
        // A container may see no more than a part of the hierarchy.
        let below = Path::new(cgroup).strip_prefix(root).ok()?;
        let is_outside = cgroup.starts_with("/..");
        (!is_outside).then(|| Path::new(&unescape(point)).join(below))
    })
}

/// Blanks and the like stand in that file as `\040`.
fn unescape(path: &str) -> String {
    let escapes = [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\134", "\\"),
    ];
    escapes.iter().fold(path.to_owned(), |path, (code, sign)| {
        path.replace(code, sign)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
37 31 0:34 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,name=systemd
38 31 0:35 / /sys/fs/cgroup/unified rw,relatime shared:4 - cgroup2 cgroup2 rw
";

    fn at(mounts: &str, memberships: &str) -> Option<String> {
        let found = directory(mounts, memberships)?;
        Some(found.to_str().unwrap().to_owned())
    }

    #[test]
    fn the_own_cgroup_is_found_wherever_it_is_mounted() {
        let hybrid = at(MOUNTS, "1:name=systemd:/a\n0::/b/c\n");
        assert_eq!(hybrid.as_deref(), Some("/sys/fs/cgroup/unified/b/c"));
        let root = at(MOUNTS, "0::/\n");
        assert_eq!(
            root.as_deref().map(|path| path.trim_end_matches('/')),
            Some("/sys/fs/cgroup/unified")
        );
        let part = "30 1 0:26 /docker/x /sys/fs/cg\\040roup ro - cgroup2 cgroup rw";
        let contained = at(part, "0::/docker/x/y");
        assert_eq!(contained.as_deref(), Some("/sys/fs/cg roup/y"));
    }

    #[test]
    fn what_cant_be_reached_is_none() {
        assert_eq!(at(MOUNTS, "1:name=systemd:/a\n"), None);
        assert_eq!(at(MOUNTS, "0::/../outside\n"), None);
        assert_eq!(at("31 23 0:28 / /x rw - tmpfs tmpfs rw", "0::/"), None);
        assert_eq!(
            at(
                "30 1 0:26 /docker/x /c ro - cgroup2 c rw",
                "0::/docker/other"
            ),
            None
        );
    }
}
