//! Patterns for names and values.

use std::{convert::Infallible, fmt, str::FromStr};

use serde::{Deserialize, Deserializer, de};

/// A pattern: `*` stands for any run of characters, an empty one too, `?` for exactly one, and all
/// else for itself. It is compared with a whole text, and case counts.
///
/// Deliberately without classes, braces and escapes: names of variables need none, and any text is
/// then a valid pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob(Box<str>);

impl Glob {
    /// The pattern that a text says. The empty one matches only the empty text.
    #[must_use]
    pub fn new(pattern: &str) -> Self {
        Self(pattern.into())
    }

    /// Whether the pattern stands for the whole of a text.
    ///
    /// Goes back to the last `*` only: what earlier ones matched needs no second try, as the last
    /// can take up whatever they leave. So it takes at most pattern times text steps.
    #[must_use]
    pub fn matches(&self, text: &str) -> bool {
        let (mut pattern, mut rest) = (self.0.chars(), text.chars());
        let mut last_star = None;
        loop {
            match (pattern.next(), rest.clone().next()) {
                (Some('*'), _) => last_star = Some((pattern.clone(), rest.clone())),
                (None, None) => return true,
                (Some(_), None) => return false,
                (Some(wanted), Some(found)) if wanted == '?' || wanted == found => {
                    rest.next();
                }
                (_, Some(_)) => {
                    let Some((behind_star, to_match)) = &mut last_star else {
                        return false;
                    };
                    to_match.next();
                    pattern = behind_star.clone();
                    rest = to_match.clone();
                }
            }
        }
    }

    /// The pattern as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for Glob {
    type Err = Infallible;

    fn from_str(pattern: &str) -> Result<Self, Self::Err> {
        Ok(Self::new(pattern))
    }
}

impl<'de> Deserialize<'de> for Glob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pattern;

        impl de::Visitor<'_> for Pattern {
            type Value = Glob;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "a pattern as a string, such as \"AWS_*\" (`*` matches any run of characters, \
                     `?` one)",
                )
            }

            fn visit_str<E: de::Error>(self, pattern: &str) -> Result<Glob, E> {
                Ok(Glob::new(pattern))
            }
        }

        deserializer.deserialize_str(Pattern)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn stars_question_marks_and_literals() {
        for (pattern, text, expected) in [
            ("", "", true),
            ("", "a", false),
            ("*", "", true),
            ("*", "anything", true),
            ("**", "", true),
            ("?", "", false),
            ("?", "ž", true),
            ("?", "ab", false),
            ("*?", "", false),
            ("?*", "a", true),
            ("LD_*", "LD_", true),
            ("LD_*", "LD_PRELOAD", true),
            ("LD_*", "OLD_X", false),
            ("LD_*", "ld_preload", false),
            ("PATH", "PATH", true),
            ("PATH", "PATHS", false),
            ("*PATH", "PYTHONPATHPATH", true),
            ("a*b*c", "a-b-b-c-c", true),
            ("a*b*c", "a-c-b", false),
            ("*ab", "aab", true),
            ("a?c*", "abc", true),
            ("[a-z].{x}\\*", "[a-z].{x}\\yes", true),
            ("[a-z]", "b", false),
        ] {
            assert_eq!(
                Glob::new(pattern).matches(text),
                expected,
                "{pattern} {text}"
            );
        }
    }

    /// Wouldn't end if each star were tried anew for each choice of those before it.
    #[test]
    fn many_stars_do_not_explode() {
        let text = "a".repeat(10_000);
        assert!(!Glob::new(&format!("{}b", "a*".repeat(50))).matches(&text));
        assert!(!Glob::new(&format!("{}b*", "*a".repeat(50))).matches(&text));
    }

    #[test]
    fn it_reads_from_a_string_and_says_what_it_wants() {
        #[derive(Debug, Deserialize)]
        struct Config {
            name: Glob,
        }
        let config: Config = toml::from_str("name = \"A*\"").unwrap();
        assert_eq!(
            (config.name.as_str(), &*config.name.to_string()),
            ("A*", "A*")
        );
        assert_eq!("A*".parse(), Ok(config.name));
        let error = toml::from_str::<Config>("name = 1")
            .unwrap_err()
            .to_string();
        assert!(error.contains("expected a pattern as a string"), "{error}");
    }

    /// The definition, word for word; exponential.
    fn by_definition(pattern: &[char], text: &[char]) -> bool {
        match (pattern, text) {
            ([], []) => true,
            (['*', rest @ ..], _) => (0..=text.len()).any(|run| by_definition(rest, &text[run..])),
            (['?', rest @ ..], [_, text @ ..]) => by_definition(rest, text),
            ([wanted, rest @ ..], [found, text @ ..]) => {
                wanted == found && by_definition(rest, text)
            }
            _ => false,
        }
    }

    fn chars(of: &'static [char], up_to: usize) -> impl Strategy<Value = Vec<char>> {
        proptest::collection::vec(proptest::sample::select(of), 0..up_to)
    }

    proptest! {
        #[test]
        fn matches_as_defined(
            pattern in chars(&['a', 'b', '*', '?'], 8),
            text in chars(&['a', 'b', 'ž', '*'], 10),
        ) {
            let glob = Glob::new(&pattern.iter().collect::<String>());
            let matched = glob.matches(&text.iter().collect::<String>());
            prop_assert_eq!(matched, by_definition(&pattern, &text));
        }
    }
}
