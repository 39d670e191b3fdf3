//! The text form of an env, as legacy calls carry it: one variable a line (CONTRACT 1).
//!
//! There are deliberately no quotes, escapes, `export` or interpolation: it isn't a dotenv file.

use std::{iter, str};

use zeroize::Zeroizing;

use super::{
    canonical::Env,
    error::{EnvError, shown_name},
};

/// Reads and writes the text form.
pub struct EnvString;

/// What a line of the text form is. Only variables count; the rest is told apart for people.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Line<'a> {
    /// A variable, both parts without outer white space.
    Variable {
        /// Neither empty nor with `=`, nor starting with `#`.
        key: &'a str,
        /// All that follows the first `=`.
        value: &'a str,
    },
    /// Starts with `#`, after white space; whether or not there is a `=`.
    Comment,
    /// Has text but no `=`.
    NoEquals,
    /// Has nothing before its first `=`.
    EmptyKey,
    /// Nothing but white space.
    Blank,
}

/// What [`EnvString::write`] made of an env.
pub struct Written {
    /// `KEY=VALUE\n` for each variable that the text form can carry, in order of their names.
    pub text: Zeroizing<String>,
    /// The names, for showing, of the variables that it can't carry.
    pub unrepresentable: Vec<String>,
}

impl EnvString {
    /// The env that a text describes. Any text without NUL describes one.
    ///
    /// # Errors
    ///
    /// [`EnvError::Nul`] for a NUL anywhere, in comments too.
    pub fn parse(text: &str) -> Result<Env, EnvError> {
        if let Some(before) = raw_lines(text).position(|line| line.contains('\0')) {
            return Err(EnvError::Nul { line: before + 1 });
        }
        Env::from_variables(Self::lines(text).filter_map(|(_, line)| match line {
            Line::Variable { key, value } => Some((key, value)),
            Line::Comment | Line::NoEquals | Line::EmptyKey | Line::Blank => None,
        }))
    }

    /// The lines of a text with their numbers, counted from 1. A line break at the very end starts
    /// no further line. Of variables with equal keys all are given; the last is the one that
    /// counts.
    pub fn lines(text: &str) -> impl Iterator<Item = (usize, Line<'_>)> {
        (1..).zip(raw_lines(text).map(Line::read))
    }

    /// The text that describes an env, less the variables that no text can: those that
    /// [`parse`](Self::parse) would read as something else.
    #[must_use]
    pub fn write(env: &Env) -> Written {
        // Never less than what is written: a buffer that grows leaves uncleared copies behind.
        let mut text = Zeroizing::new(String::with_capacity(env.size()));
        let mut unrepresentable = Vec::new();
        for (key, value) in env.iter() {
            match (representable_key(key), representable_value(value)) {
                (Some(key), Some(value)) => {
                    text.push_str(key);
                    text.push('=');
                    text.push_str(value);
                    text.push('\n');
                }
                _ => unrepresentable.push(shown_name(key)),
            }
        }
        Written {
            text,
            unrepresentable,
        }
    }
}

impl<'a> Line<'a> {
    fn read(raw: &'a str) -> Self {
        let line = raw.trim();
        if line.is_empty() {
            return Self::Blank;
        }
        // The same as asking the key, which is where a line begins; but a comment without `=` is
        // one too.
        if line.starts_with('#') {
            return Self::Comment;
        }
        match line.split_once('=') {
            None => Self::NoEquals,
            Some((key, value)) => match key.trim() {
                "" => Self::EmptyKey,
                key => Self::Variable {
                    key,
                    value: value.trim(),
                },
            },
        }
    }
}

/// Splits at `\r\n`, `\r` and `\n`, which `str::lines` doesn't: there a lone `\r` is no break.
fn raw_lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let Some((line, after)) = rest.split_once(['\r', '\n']) else {
            return Some(std::mem::take(&mut rest));
        };
        let ended_by_cr = rest.as_bytes().get(line.len()) == Some(&b'\r');
        rest = match after.strip_prefix('\n') {
            Some(after_crlf) if ended_by_cr => after_crlf,
            _ => after,
        };
        Some(line)
    })
}

fn representable_key(key: &[u8]) -> Option<&str> {
    representable_value(key).filter(|key| !key.starts_with('#') && !key.contains('='))
}

fn representable_value(value: &[u8]) -> Option<&str> {
    let value = str::from_utf8(value).ok()?;
    (value.trim() == value && !value.contains(['\r', '\n'])).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All variables, in a form that reads well when a test fails.
    fn parsed(text: &str) -> Vec<String> {
        let shown = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let env = EnvString::parse(text).unwrap();
        env.iter()
            .map(|(key, value)| format!("{}={}", shown(key), shown(value)))
            .collect()
    }

    #[test]
    fn cr_lf_and_crlf_all_end_a_line() {
        assert_eq!(parsed("A=1\r\nB=2\rC=3\nD=4"), ["A=1", "B=2", "C=3", "D=4"]);
        assert_eq!(parsed("A=1\n\rB=2\r\r\nC=3\r\n"), ["A=1", "B=2", "C=3"]);
    }

    #[test]
    fn the_first_equals_sign_parts_key_and_value() {
        assert_eq!(parsed("A=b=c\nB==\nC=\nD"), ["A=b=c", "B==", "C="]);
    }

    #[test]
    fn quotes_escapes_and_shell_words_are_plain_text() {
        let text = "A=\"x\"\nB='y'\nC=\\n\nD=$A\nexport E=1\nF G=2";
        let as_is = ["A=\"x\"", "B='y'", "C=\\n", "D=$A", "F G=2", "export E=1"];
        assert_eq!(parsed(text), as_is);
    }

    #[test]
    fn unicode_white_space_is_trimmed_but_a_byte_order_mark_is_none() {
        let text =
            " \tA\u{a0}=\u{2003}1 \u{85}\n\u{b}B\u{c}=\u{2028}x y\u{3000}\n\u{feff}C=\u{feff}";
        assert_eq!(parsed(text), ["A=1", "B=x y", "\u{feff}C=\u{feff}"]);
    }

    #[test]
    fn a_key_that_starts_with_a_hash_is_a_comment() {
        let text = "# c = nope\n  #A=1\n#=2\n\u{a0}# d\nHASH = # asd\nB#=3";
        assert_eq!(parsed(text), ["B#=3", "HASH=# asd"]);
    }

    #[test]
    fn the_last_of_equal_keys_wins_and_case_tells_keys_apart() {
        assert_eq!(parsed("A=1\na=2\n A =3"), ["A=3", "a=2"]);
    }

    #[test]
    fn an_empty_key_is_left_out() {
        assert_eq!(parsed("=v\n \u{2003}=w\n="), [""; 0]);
        assert_eq!(parsed(""), [""; 0]);
    }

    #[test]
    fn a_nul_is_refused_with_its_line_wherever_it_stands() {
        for text in [
            "A=1\r\nB=2\r\rC=hush\0\nD=\0",
            "\n\n\n# hush \0",
            "\r\r\r=\0",
            "\r\n\r\n\r\n\0A=hush",
            "\n\r\n\r\0",
        ] {
            let error = EnvString::parse(text).err().unwrap();
            assert_eq!(error, EnvError::Nul { line: 4 });
            assert!(!format!("{error} {error:?}").contains("hush"));
        }
    }

    #[test]
    fn lines_are_numbered_and_told_apart() {
        let text = "A = 1\r\n\r # note\r\n#B=2\nexport\n = 3\n\n";
        let kinds: Vec<_> = EnvString::lines(text)
            .map(|(number, line)| match line {
                Line::Variable { key, value } => format!("{number} {key}={value}"),
                Line::Comment => format!("{number} comment"),
                Line::NoEquals => format!("{number} no equals"),
                Line::EmptyKey => format!("{number} empty key"),
                Line::Blank => format!("{number} blank"),
            })
            .collect();
        let expected = [
            "1 A=1",
            "2 blank",
            "3 comment",
            "4 comment",
            "5 no equals",
            "6 empty key",
            "7 blank",
        ];
        assert_eq!(kinds, expected);
        assert_eq!(EnvString::lines("").count(), 0);
        assert_eq!(EnvString::lines("A=1").count(), 1);
    }

    #[test]
    fn what_the_text_form_cannot_carry_is_named() {
        let env = Env::from_variables([
            (&b"A"[..], &b"x = y # z"[..]),
            (b"B", b""),
            (b"C", b" outer"),
            (b"D", "outer\u{2003}".as_bytes()),
            (b"E", b"two\nlines"),
            (b"F", b"two\rlines"),
            (b"G", b"\xff"),
            (b"H=H", b"1"),
            (b"#I", b"1"),
            (b" J", b"1"),
            (b"K\nK", b"1"),
            (b"L\xff", b"1"),
        ])
        .unwrap();
        let written = EnvString::write(&env);
        assert_eq!(*written.text, "A=x = y # z\nB=\n");
        let names = [
            " J",
            "#I",
            "C",
            "D",
            "E",
            "F",
            "G",
            "H=H",
            "K\nK",
            "L\u{fffd}",
        ];
        assert_eq!(written.unrepresentable, names);
    }

    #[test]
    fn what_is_written_fits_the_buffer_it_began_with() {
        let env = Env::from_variables([("A", "1"), ("B", "22"), ("CC", "")]).unwrap();
        let written = EnvString::write(&env);
        assert!(written.text.len() <= env.size());
    }
}
