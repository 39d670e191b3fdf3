//! Finds what was made of a raw env text, so that each distinct text is parsed once.

use std::{
    borrow::Borrow,
    hash::{Hash, Hasher},
    num::NonZeroUsize,
};

use foldhash::fast::RandomState;
use lru::LruCache;
use zeroize::Zeroizing;

/// No text may take more than this part of the room: a few large ones would push out all that a
/// busy gateway has learned.
const MAX_TEXT_PART: usize = 4;

/// What was made of each of the last raw env texts.
///
/// A raw text is opaque: the bytes as they came over the wire, escapes and all. Texts are found by
/// a hash that is keyed at random, so that clients can't prepare collisions, and are always
/// compared whole. Bounded by entries and by bytes of text; the least recently used leave first,
/// and a text is cleared from memory when it leaves.
pub struct EnvLookup<T> {
    entries: LruCache<RawText, T, RandomState>,
    max_entries: NonZeroUsize,
    max_bytes: usize,
    bytes: usize,
}

impl<T> EnvLookup<T> {
    /// An empty lookup for so many texts, and so many bytes of text in all. Takes its memory as it
    /// fills.
    #[must_use]
    pub fn new(max_entries: NonZeroUsize, max_bytes: usize) -> Self {
        Self {
            // Bounded by `insert`, as bytes count too; a bound here would take all memory at once.
            entries: LruCache::unbounded_with_hasher(RandomState::default()),
            max_entries,
            max_bytes,
            bytes: 0,
        }
    }

    /// What was made of this text, if it is still known. Allocates nothing.
    pub fn get(&mut self, raw: &[u8]) -> Option<&T> {
        self.entries.get(raw)
    }

    /// Remembers what was made of a text, in place of what was known of it. A text of more than a
    /// quarter of the bytes isn't kept: it is parsed each time.
    pub fn insert(&mut self, raw: &[u8], value: T) {
        if raw.len() > self.max_bytes / MAX_TEXT_PART {
            return;
        }
        if let Some(known) = self.entries.get_mut(raw) {
            *known = value;
            return;
        }
        while self.entries.len() >= self.max_entries.get()
            || self.bytes + raw.len() > self.max_bytes
        {
            let Some((oldest, _)) = self.entries.pop_lru() else {
                break;
            };
            self.bytes -= oldest.0.len();
        }
        self.bytes += raw.len();
        self.entries.put(RawText(Zeroizing::new(raw.into())), value);
    }

    /// Forgets texts, the least recently used first, up to the first whose value isn't stale. Looks
    /// at no others: there may be very many.
    pub fn forget_while(&mut self, mut is_stale: impl FnMut(&T) -> bool) {
        while self
            .entries
            .peek_lru()
            .is_some_and(|(_, value)| is_stale(value))
            && let Some((oldest, _)) = self.entries.pop_lru()
        {
            self.bytes -= oldest.0.len();
        }
    }

    /// Forgets all texts.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.bytes = 0;
    }

    /// How many texts are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether no text is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The bytes of all known texts.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

/// A raw text as it is kept. Hashes and compares as its bytes do, which is what `Borrow` demands.
struct RawText(Zeroizing<Box<[u8]>>);

impl Borrow<[u8]> for RawText {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl Hash for RawText {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let bytes: &[u8] = self.borrow();
        bytes.hash(state);
    }
}

impl PartialEq for RawText {
    fn eq(&self, other: &Self) -> bool {
        *self.0 == *other.0
    }
}

impl Eq for RawText {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn lookup<T>(max_entries: usize, max_bytes: usize) -> EnvLookup<T> {
        EnvLookup::new(NonZeroUsize::new(max_entries).unwrap(), max_bytes)
    }

    #[test]
    fn finds_equal_bytes_only() {
        let mut lookup = lookup(10, 1000);
        lookup.insert(b"A=1\\n", 1);
        assert_eq!(lookup.get(b"A=1\\n"), Some(&1));
        for other in [&b"A=1\\u000a"[..], b"A=1\n", b"A=1", b""] {
            assert_eq!(lookup.get(other), None);
        }
    }

    #[test]
    fn the_least_recently_used_leaves_first() {
        let mut lookup = lookup(2, 1000);
        lookup.insert(b"a", 1);
        lookup.insert(b"b", 2);
        lookup.get(b"a");
        lookup.insert(b"c", 3);
        assert_eq!(lookup.get(b"b"), None);
        assert_eq!(lookup.get(b"a"), Some(&1));
        assert_eq!(lookup.len(), 2);
    }

    #[test]
    fn a_text_leaves_for_bytes_too() {
        let mut lookup = lookup(100, 10);
        for raw in [&b"aa"[..], b"bb", b"cc", b"dd", b"ee", b"ff"] {
            lookup.insert(raw, ());
        }
        assert_eq!((lookup.len(), lookup.bytes()), (5, 10));
        assert_eq!(lookup.get(b"aa"), None);
        lookup.insert(b"g", ());
        assert_eq!((lookup.len(), lookup.bytes()), (5, 9));
    }

    #[test]
    fn a_text_over_a_quarter_of_the_bytes_is_not_kept() {
        let mut lookup = lookup(100, 8);
        lookup.insert(b"abc", 1);
        assert!(lookup.is_empty());
        lookup.insert(b"ab", 1);
        assert_eq!(lookup.get(b"ab"), Some(&1));
    }

    #[test]
    fn what_is_stale_leaves_up_to_the_first_that_is_not() {
        let mut lookup = lookup(10, 100);
        lookup.insert(b"aaa", 1);
        lookup.insert(b"bb", 2);
        lookup.forget_while(|value| *value == 2);
        assert_eq!((lookup.len(), lookup.bytes()), (2, 5));
        lookup.forget_while(|value| *value == 1);
        assert_eq!((lookup.len(), lookup.bytes()), (1, 2));
        assert_eq!(lookup.get(b"aaa"), None);
        assert_eq!(lookup.get(b"bb"), Some(&2));
        lookup.clear();
        assert_eq!((lookup.len(), lookup.bytes()), (0, 0));
    }

    #[test]
    fn large_bounds_take_no_memory_beforehand() {
        let mut lookup = lookup(usize::MAX, usize::MAX);
        lookup.insert(b"a", 1);
        assert_eq!(lookup.get(b"a"), Some(&1));
    }

    #[derive(Debug, Clone)]
    enum Step {
        Get(Vec<u8>),
        Insert(Vec<u8>, u32),
        ForgetBelow(u32),
    }

    fn step() -> impl Strategy<Value = Step> {
        let raw = || proptest::collection::vec(proptest::sample::select(&b"ab"[..]), 0..5);
        prop_oneof![
            4 => raw().prop_map(Step::Get),
            8 => (raw(), 0..100_u32).prop_map(|(raw, value)| Step::Insert(raw, value)),
            1 => (50..100_u32).prop_map(Step::ForgetBelow),
        ]
    }

    /// A lookup as one would draw it: a list, the most recently used last.
    #[derive(Default)]
    struct Model(Vec<(Vec<u8>, u32)>);

    impl Model {
        const MAX_ENTRIES: usize = 5;
        const MAX_BYTES: usize = 14;

        fn bytes(&self) -> usize {
            self.0.iter().map(|(raw, _)| raw.len()).sum()
        }

        fn take(&mut self, raw: &[u8]) -> Option<u32> {
            let place = self.0.iter().position(|(known, _)| known == raw)?;
            Some(self.0.remove(place).1)
        }

        fn get(&mut self, raw: &[u8]) -> Option<u32> {
            let value = self.take(raw)?;
            self.0.push((raw.to_vec(), value));
            Some(value)
        }

        fn insert(&mut self, raw: Vec<u8>, value: u32) {
            if raw.len() > Self::MAX_BYTES / 4 {
                return;
            }
            self.take(&raw);
            self.0.push((raw, value));
            while self.0.len() > Self::MAX_ENTRIES || self.bytes() > Self::MAX_BYTES {
                self.0.remove(0);
            }
        }
    }

    proptest! {
        #[test]
        fn behaves_as_drawn_and_stays_within_its_bounds(
            steps in proptest::collection::vec(step(), 0..200),
        ) {
            let mut model = Model::default();
            let mut lookup = lookup(Model::MAX_ENTRIES, Model::MAX_BYTES);
            for step in steps {
                match step {
                    Step::Get(raw) => prop_assert_eq!(lookup.get(&raw).copied(), model.get(&raw)),
                    Step::Insert(raw, value) => {
                        lookup.insert(&raw, value);
                        model.insert(raw, value);
                    }
                    Step::ForgetBelow(bound) => {
                        lookup.forget_while(|value| *value < bound);
                        let stale = model.0.iter().take_while(|(_, value)| *value < bound);
                        model.0.drain(..stale.count());
                    }
                }
                prop_assert!(lookup.len() <= Model::MAX_ENTRIES);
                prop_assert!(lookup.bytes() <= Model::MAX_BYTES);
                prop_assert_eq!((lookup.len(), lookup.bytes()), (model.0.len(), model.bytes()));
            }
        }
    }
}
