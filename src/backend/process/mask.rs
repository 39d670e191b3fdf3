//! Takes an env's values out of what its worker writes.

use std::{collections::HashMap, fmt};

use zeroize::Zeroizing;

/// Values shorter than this aren't masked: they stand in any text, as `true` or `80` do.
const MIN_VALUE_BYTES: usize = 8;

/// What stands for a value.
const MASK: &[u8] = b"***";

/// Bytes that may be compared for one text: enough for any but a contrived one. What is left then
/// is masked whole.
const EFFORT: usize = 1 << 20;

type Start = [u8; MIN_VALUE_BYTES];

/// Values to be masked, by how they begin.
pub(super) struct Masks {
    /// For each beginning the longest value first.
    values: HashMap<Start, Vec<Zeroizing<Vec<u8>>>>,
    longest: usize,
}

impl Masks {
    /// Masks these values. One of several lines is masked line by line, as it is written.
    pub(super) fn new<'a>(values: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut masks = Self {
            values: HashMap::new(),
            longest: 0,
        };
        let lines = values.flat_map(|value| value.split(|byte| *byte == b'\n'));
        for line in lines.map(|line| line.strip_suffix(b"\r").unwrap_or(line)) {
            if let Some(start) = line.first_chunk() {
                let alike = masks.values.entry(*start).or_default();
                alike.push(Zeroizing::new(line.to_vec()));
                masks.longest = masks.longest.max(line.len());
            }
        }
        for alike in masks.values.values_mut() {
            alike.sort_unstable_by_key(|value| std::cmp::Reverse(value.len()));
        }
        masks
    }

    /// How much behind a place must be known for a value that begins there to be seen.
    pub(super) const fn longest(&self) -> usize {
        self.longest
    }

    /// The first `most` bytes of a text, with each byte masked that belongs to a value, also where
    /// values overlap, and where one begins among them and ends behind them.
    pub(super) fn apply(&self, text: &[u8], most: usize) -> Vec<u8> {
        let mut shown = Vec::with_capacity(text.len().min(most));
        let mut masked_to = 0;
        let mut effort = EFFORT;
        for (place, byte) in text.iter().enumerate().take(most) {
            let rest = text.get(place..).unwrap_or_default();
            let Some(length) = self.value_at(rest, &mut effort) else {
                shown.extend_from_slice(MASK);
                return shown;
            };
            let end = place + length;
            if length > 0 && end > masked_to {
                if place >= masked_to {
                    shown.extend_from_slice(MASK);
                }
                masked_to = end;
            }
            if place >= masked_to {
                shown.push(*byte);
            }
        }
        shown
    }

    /// The length of the longest value that a text begins with, 0 for none; `None` where that is
    /// too much effort.
    fn value_at(&self, text: &[u8], effort: &mut usize) -> Option<usize> {
        let alike = text.first_chunk().and_then(|start| self.values.get(start));
        for value in alike.into_iter().flatten() {
            *effort = effort.checked_sub(value.len())?;
            if text.starts_with(value) {
                return Some(value.len());
            }
        }
        Some(0)
    }
}

impl fmt::Debug for Masks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Masks(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(values: &[&str], text: &str, most: usize) -> String {
        let masks = Masks::new(values.iter().map(|value| value.as_bytes()));
        String::from_utf8(masks.apply(text.as_bytes(), most)).unwrap()
    }

    #[test]
    fn values_are_masked_wherever_they_stand() {
        for (values, text, shown) in [
            (&["password"][..], "a password, passwords", "a ***, ***s"),
            (&["passwor"], "passwor", "passwor"),
            (&["password", "password1"], "password1 password", "*** ***"),
            (&["abcdefgh", "efghijkl"], "abcdefghijklm", "***m"),
            (&["abcdefgh", "ijklmnop"], "abcdefghijklmnop", "******"),
            (&["aaaaaaaa"], "aaaaaaaaaaaa", "***"),
            (
                &["first line\r\nx\nthird line"],
                "first line x third line",
                "*** x ***",
            ),
            (&[], "abc", "abc"),
        ] {
            assert_eq!(masked(values, text, 100), shown, "{text}");
        }
    }

    #[test]
    fn no_half_of_a_value_is_shown_at_the_cut() {
        assert_eq!(masked(&["password"], "a password b", 5), "a ***");
        assert_eq!(masked(&["password"], "a password b", 2), "a ");
        assert_eq!(masked(&["password"], "a password b", 11), "a *** ");
    }

    #[test]
    fn a_contrived_env_costs_no_more_than_its_line() {
        let values: Vec<_> = (0..1000)
            .map(|i| "a".repeat(1000) + &i.to_string())
            .collect();
        let masks = Masks::new(values.iter().map(String::as_bytes));
        let text = "a".repeat(4096);
        assert_eq!(
            masks.apply(text.as_bytes(), 4096).last_chunk(),
            Some(b"***")
        );
    }
}
