//! As whom a process runs.

use std::{collections::HashSet, fs, io, ops::RangeInclusive, sync::Arc};

use parking_lot::Mutex;
use serde::{Deserialize, Deserializer, de};

/// A user as it is configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum User {
    /// By number.
    Id(u32),
    /// By name, as in `/etc/passwd`.
    Name(String),
    /// One of these numbers, another for each process, so that no process can read the variables
    /// of another.
    Range(RangeInclusive<u32>),
}

/// A group as it is configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Group {
    /// By number.
    Id(u32),
    /// By name, as in `/etc/group`.
    Name(String),
}

/// A number or a text, as the file writes it.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a number or a name")]
enum Written {
    Id(u32),
    Text(String),
}

impl Written {
    /// The number, or else the text.
    fn id<E: de::Error>(self) -> Result<Result<u32, String>, E> {
        let id = match self {
            Self::Id(id) => Ok(id),
            Self::Text(text) => text.parse().map_err(|_| text),
        };
        if id == Ok(u32::MAX) {
            return Err(E::custom("the system takes this number for none"));
        }
        Ok(id)
    }
}

impl<'de> Deserialize<'de> for User {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = match Written::deserialize(deserializer)?.id()? {
            Ok(id) => return Ok(Self::Id(id)),
            Err(text) => text,
        };
        if let Some(range) = text.strip_prefix("range:") {
            let ends = range.split_once('-').and_then(|(first, last)| {
                let (first, last) = (first.parse().ok()?, last.parse().ok()?);
                (0 < first && first <= last && last < u32::MAX).then_some(first..=last)
            });
            let text = "not a range of users; write one like range:20000-29999";
            return ends.map(Self::Range).ok_or_else(|| de::Error::custom(text));
        }
        Ok(Self::Name(text))
    }
}

impl<'de> Deserialize<'de> for Group {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let written = Written::deserialize(deserializer)?.id()?;
        Ok(written.map_or_else(Self::Name, Self::Id))
    }
}

/// Why a user or group can't be told from its name.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// There is no such user or group.
    #[error("there is no {name:?} in {file}")]
    Unknown {
        /// The name.
        name: String,
        /// Where it should be.
        file: &'static str,
    },
    /// The list can't be read.
    #[error("can't read {file}")]
    Unreadable {
        /// The list.
        file: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// As whom a backend's processes run, names resolved.
#[derive(Debug)]
pub(super) struct Identity {
    user: Option<UserIds>,
    group: Option<u32>,
}

#[derive(Debug)]
enum UserIds {
    One(u32),
    Range(RangeInclusive<u32>),
}

impl Identity {
    /// A group that isn't said follows the user: the one in the list, or of the same number.
    pub(super) fn resolve(
        user: Option<&User>,
        group: Option<&Group>,
    ) -> Result<Self, IdentityError> {
        let (user, own_group) = match user {
            None => (None, None),
            Some(User::Id(id)) => (Some(UserIds::One(*id)), None),
            Some(User::Range(range)) => (Some(UserIds::Range(range.clone())), None),
            Some(User::Name(name)) => {
                let [user, group] = look_up("/etc/passwd", name, [2, 3])?;
                (Some(UserIds::One(user)), Some(group))
            }
        };
        let group = match group {
            None => own_group,
            Some(Group::Id(id)) => Some(*id),
            Some(Group::Name(name)) => {
                let [group] = look_up("/etc/group", name, [2])?;
                Some(group)
            }
        };
        Ok(Self { user, group })
    }

    /// The identity of the next process; none where a range has no free user.
    pub(super) fn lease(&self, users: &Users) -> Option<IdentityLease> {
        let (user, lease) = match &self.user {
            None => (None, None),
            Some(UserIds::One(user)) => (Some(*user), None),
            Some(UserIds::Range(range)) => {
                let lease = users.take(range)?;
                (Some(lease.user), Some(lease))
            }
        };
        Some(IdentityLease {
            user,
            group: self.group.or(user),
            lease,
        })
    }
}

/// As whom one process runs. A user out of a range is its own until this is dropped.
#[derive(Debug)]
pub(super) struct IdentityLease {
    pub(super) user: Option<u32>,
    pub(super) group: Option<u32>,
    lease: Option<UserLease>,
}

impl IdentityLease {
    /// The user, where no other process has it.
    pub(super) fn own_user(&self) -> Option<u32> {
        self.lease.as_ref().map(|lease| lease.user)
    }
}

/// The users out of ranges that are in use, for all backends.
#[derive(Debug, Clone, Default)]
pub(super) struct Users(Arc<Mutex<Taken>>);

#[derive(Debug, Default)]
struct Taken {
    users: HashSet<u32>,
    last: u32,
}

impl Users {
    /// The next free user after the one given last, so that one is used again as late as possible:
    /// what its process has left behind is then long gone.
    fn take(&self, range: &RangeInclusive<u32>) -> Option<UserLease> {
        let mut taken = self.0.lock();
        let after = (*range.start()).max(taken.last.saturating_add(1));
        let mut candidates = (after..=*range.end()).chain(range.clone());
        let user = candidates.find(|user| !taken.users.contains(user))?;
        taken.users.insert(user);
        taken.last = user;
        Some(UserLease {
            user,
            users: self.clone(),
        })
    }
}

#[derive(Debug)]
struct UserLease {
    user: u32,
    users: Users,
}

impl Drop for UserLease {
    fn drop(&mut self) {
        self.users.0.lock().users.remove(&self.user);
    }
}

/// Numbers out of the line of such a name in a list like `/etc/passwd`.
fn look_up<const N: usize>(
    file: &'static str,
    name: &str,
    columns: [usize; N],
) -> Result<[u32; N], IdentityError> {
    let list = fs::read_to_string(file);
    let list = list.map_err(|source| IdentityError::Unreadable { file, source })?;
    find(&list, name, columns).ok_or_else(|| IdentityError::Unknown {
        name: name.to_owned(),
        file,
    })
}

fn find<const N: usize>(list: &str, name: &str, columns: [usize; N]) -> Option<[u32; N]> {
    let lines = list.lines().map(|line| line.split(':'));
    let mut lines = lines.filter(|line| line.clone().next() == Some(name));
    let line = lines.next()?;
    let mut numbers = [0; N];
    for (number, column) in numbers.iter_mut().zip(columns) {
        *number = line.clone().nth(column)?.parse().ok()?;
    }
    Some(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Config {
        user: User,
    }

    fn user(text: &str) -> Result<User, String> {
        let config = toml::from_str::<Config>(&format!("user = {text}"));
        config
            .map(|config| config.user)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn users_are_numbers_names_or_ranges() {
        assert_eq!(user("7"), Ok(User::Id(7)));
        assert_eq!(user("\"7\""), Ok(User::Id(7)));
        assert_eq!(user("\"www\""), Ok(User::Name("www".to_owned())));
        assert_eq!(user("\"range:5-9\""), Ok(User::Range(5..=9)));
        for text in [
            "\"range:9-5\"",
            "\"range:0-5\"",
            "\"range:5\"",
            "\"range:5-4294967295\"",
        ] {
            assert!(user(text).unwrap_err().contains("range:20000"), "{text}");
        }
    }

    #[test]
    fn names_are_looked_up_and_the_group_follows() {
        let identity = Identity::resolve(Some(&User::Name("root".to_owned())), None).unwrap();
        let lease = identity.lease(&Users::default()).unwrap();
        assert_eq!((lease.user, lease.group), (Some(0), Some(0)));
        let list = "a:x:1:2::/:/bin/sh\nab:x:3:4::/:/bin/sh\nbad:x";
        assert_eq!(find(list, "ab", [2, 3]), Some([3, 4]));
        assert_eq!(find(list, "b", [2]), None);
        assert_eq!(find(list, "bad", [2]), None);
        let unknown = Group::Name("no such group".to_owned());
        let error = Identity::resolve(None, Some(&unknown)).unwrap_err();
        assert!(error.to_string().contains("/etc/group"), "{error}");
    }

    #[test]
    fn each_process_has_its_own_user_of_a_range_and_it_is_used_again_last() {
        let identity = Identity::resolve(Some(&User::Range(5..=7)), None).unwrap();
        let users = Users::default();
        let first = identity.lease(&users).unwrap();
        let second = identity.lease(&users).unwrap();
        assert_eq!(
            (first.user, first.group, first.own_user()),
            (Some(5), Some(5), Some(5))
        );
        assert_eq!(second.user, Some(6));
        drop(first);
        let third = identity.lease(&users).unwrap();
        assert_eq!(third.user, Some(7));
        let fourth = identity.lease(&users).unwrap();
        assert_eq!(fourth.user, Some(5));
        assert!(identity.lease(&users).is_none());
    }
}
