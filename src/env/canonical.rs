//! The canonical env: one byte string that says which variables an env has.
//!
//! The canonical form is, for each variable in order of its name, the lengths of name and value
//! (eight bytes each, little-endian), the name, the value. With lengths instead of delimiters no
//! two envs share a form, whatever their variables hold.

use std::fmt;

use zeroize::Zeroizing;

use super::{
    error::{EnvError, shown_name},
    key::EnvKey,
};

/// An immutable set of environment variables (CONTRACT 1).
///
/// Names and values are bytes without NUL: true environment variables need not be UTF-8. All of
/// them stand in one buffer that is cleared from memory on drop; that is also why it isn't `Clone`:
/// it is shared, in an `Arc`.
pub struct Env {
    /// The canonical form.
    canonical: Zeroizing<Vec<u8>>,
    /// The variables' places in it, by name.
    spans: Vec<Span>,
    key: EnvKey,
}

/// Where in the canonical form a variable stands.
struct Span {
    name: usize,
    value: usize,
    end: usize,
}

impl Env {
    /// The env of these variables. One with an empty name is left out, and of equal names the last
    /// wins.
    ///
    /// The values are copied once, into the env's own buffer; clearing what was handed in from
    /// memory is for the caller.
    ///
    /// # Errors
    ///
    /// [`EnvError::NulInVariable`] for a NUL in a name or a value, in variables that are left out
    /// too.
    pub fn from_variables<K, V>(
        variables: impl IntoIterator<Item = (K, V)>,
    ) -> Result<Self, EnvError>
    where
        K: AsRef<[u8]>,
        V: AsRef<[u8]>,
    {
        let mut variables: Vec<(K, V)> = variables.into_iter().collect();
        for (name, value) in &variables {
            if name.as_ref().contains(&0) || value.as_ref().contains(&0) {
                return Err(EnvError::NulInVariable {
                    name: shown_name(name.as_ref()),
                });
            }
        }
        variables.retain(|(name, _)| !name.as_ref().is_empty());
        // Reversed, the last of equal names comes first; the sort is stable and keeps it there.
        variables.reverse();
        variables.sort_by(|(a, _), (b, _)| a.as_ref().cmp(b.as_ref()));
        variables.dedup_by(|(later, _), (first, _)| later.as_ref() == first.as_ref());
        Ok(Self::from_sorted(&variables))
    }

    /// The bytes of memory that it takes, give or take what the allocator adds.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.canonical.capacity() + self.spans.capacity() * size_of::<Span>()
    }

    /// Takes names that are sorted, distinct and not empty.
    fn from_sorted<K: AsRef<[u8]>, V: AsRef<[u8]>>(variables: &[(K, V)]) -> Self {
        let total: usize = variables
            .iter()
            .map(|(name, value)| 2 * size_of::<u64>() + name.as_ref().len() + value.as_ref().len())
            .sum();
        // Whole from the start: a buffer that grows leaves uncleared copies behind.
        let mut canonical = Zeroizing::new(Vec::with_capacity(total));
        let mut spans = Vec::with_capacity(variables.len());
        for (name, value) in variables {
            let (name, value) = (name.as_ref(), value.as_ref());
            canonical.extend_from_slice(&(name.len() as u64).to_le_bytes());
            canonical.extend_from_slice(&(value.len() as u64).to_le_bytes());
            let start = canonical.len();
            canonical.extend_from_slice(name);
            canonical.extend_from_slice(value);
            spans.push(Span {
                name: start,
                value: start + name.len(),
                end: canonical.len(),
            });
        }
        let key = EnvKey::of(&canonical);
        Self {
            canonical,
            spans,
            key,
        }
    }

    /// The value of a variable.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        let place = self
            .spans
            .binary_search_by(|span| self.variable(span).0.cmp(name.as_bytes()))
            .ok()?;
        self.spans.get(place).map(|span| self.variable(span).1)
    }

    /// The variables as name and value, in byte order of their names.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&[u8], &[u8])> {
        self.spans.iter().map(|span| self.variable(span))
    }

    fn variable(&self, span: &Span) -> (&[u8], &[u8]) {
        let name = self.canonical.get(span.name..span.value);
        let value = self.canonical.get(span.value..span.end);
        debug_assert!(
            name.is_some() && value.is_some(),
            "spans are made with the buffer and neither changes"
        );
        (name.unwrap_or_default(), value.unwrap_or_default())
    }

    /// How many variables there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there is no variable.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// The key by which to look for this env; computed once, when the env was made.
    #[must_use]
    pub fn key(&self) -> &EnvKey {
        &self.key
    }
}

/// Compares all bytes, never the keys alone: a collision must not make two envs one.
impl PartialEq for Env {
    fn eq(&self, other: &Self) -> bool {
        *self.canonical == *other.canonical
    }
}

impl Eq for Env {}

/// Shows how many variables there are: values must not be shown, and names only on purpose.
impl fmt::Debug for Env {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Env")
            .field("variables", &self.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(variables: &[(&str, &str)]) -> Env {
        Env::from_variables(variables.iter().copied()).unwrap()
    }

    #[test]
    fn variables_are_sorted_by_bytes_and_found_by_name() {
        let env = env(&[("b", "2"), ("AB", "3"), ("B", "1"), ("A", "")]);
        let names: Vec<_> = env.iter().map(|(name, _)| name.to_vec()).collect();
        assert_eq!(names, [&b"A"[..], b"AB", b"B", b"b"]);
        assert_eq!(env.get("A"), Some(&b""[..]));
        assert_eq!(env.get("AB"), Some(&b"3"[..]));
        assert_eq!(env.get("b"), Some(&b"2"[..]));
        assert_eq!(env.get("a"), None);
        assert_eq!(env.get(""), None);
        assert_eq!((env.len(), env.is_empty()), (4, false));
    }

    #[test]
    fn the_last_of_equal_names_wins_and_an_empty_name_is_left_out() {
        let env = env(&[("A", "1"), ("", "x"), ("B", "2"), ("A", "3"), ("A", "2")]);
        assert_eq!((env.len(), env.get("A")), (2, Some(&b"2"[..])));
    }

    #[test]
    fn an_env_without_variables_is_an_env() {
        let env = env(&[("", "x")]);
        assert!(env.is_empty());
        assert_eq!(env.iter().len(), 0);
    }

    #[test]
    fn bytes_that_are_not_utf8_are_kept() {
        let env = Env::from_variables([(&b"A\xff"[..], &b"\xfe"[..])]).unwrap();
        let variables: Vec<_> = env.iter().collect();
        assert_eq!(variables, [(&b"A\xff"[..], &b"\xfe"[..])]);
    }

    #[test]
    fn a_nul_is_refused_by_name_never_by_value() {
        for (name, value) in [("TOKEN", "hush\0"), ("TO\0KEN", "hush"), ("", "hush\0")] {
            let error = Env::from_variables([(name, value), ("TOKEN", "")]).unwrap_err();
            assert_eq!(error, EnvError::NulInVariable { name: name.into() });
            assert!(!format!("{error} {error:?}").contains("hush"));
        }
    }

    #[test]
    fn neighbours_are_not_confused() {
        let same_bytes = [
            env(&[("A", "BC")]),
            env(&[("AB", "C")]),
            env(&[("ABC", "")]),
            env(&[("A", ""), ("B", "C")]),
            env(&[("A", "B"), ("C", "")]),
        ];
        for (i, a) in same_bytes.iter().enumerate() {
            for (j, b) in same_bytes.iter().enumerate() {
                assert_eq!(a == b, i == j);
                assert_eq!(a.key() == b.key(), i == j);
            }
        }
    }

    #[test]
    fn debug_shows_neither_values_nor_names() {
        let env = env(&[("TOKEN", "hush")]);
        assert_eq!(format!("{env:?}"), "Env { variables: 1, .. }");
    }
}
