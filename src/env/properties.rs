//! What holds for any env: properties that span the text form and the canonical form.

use std::collections::BTreeMap;

use proptest::{collection, prelude::*, sample::select};

use super::*;

type Variables = BTreeMap<Vec<u8>, Vec<u8>>;

/// Pieces of which at least one rule of the contract speaks, and a few that only look like it.
const PIECES: &[&str] = &[
    "A", "B", "b", "x", "=", "=", "#", "\n", "\r", "\r\n", " ", "\t", "\u{b}", "\u{85}", "\u{a0}",
    "\u{2003}", "\u{2028}", "\u{feff}", "\"", "'", "\\", "\\n", "$A", "é", "export ",
];

/// White space that `EnvString` trims and that ends no line.
const SPACES: &[&str] = &["", "", " ", "\t", "\u{a0}", "\u{2003}", "\u{85} "];

fn nasty_text() -> impl Strategy<Value = String> {
    collection::vec(select(PIECES), 0..40).prop_map(|pieces| pieces.concat())
}

/// Short, so that names meet and cut each other; with bytes that are no UTF-8.
fn nasty_bytes() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        9 => select(PIECES).prop_map(|piece| piece.as_bytes().to_vec()),
        1 => select(vec![vec![0xff], vec![0xc3], vec![0xa0]]),
    ];
    collection::vec(piece, 0..5).prop_map(|pieces| pieces.concat())
}

fn nasty_variables() -> impl Strategy<Value = Variables> {
    collection::btree_map(nasty_bytes(), nasty_bytes(), 0..8).prop_map(|mut variables| {
        variables.remove(&b""[..]);
        variables
    })
}

/// Variables that the text form can carry.
fn plain_variables() -> impl Strategy<Value = BTreeMap<String, String>> {
    collection::btree_map("[A-C_]{1,3}", "([a-c=#\"]([a-c =#]{0,4}[a-c=#])?)?", 0..6)
}

fn env(variables: &Variables) -> Env {
    Env::from_variables(variables).unwrap()
}

fn variables(env: &Env) -> Variables {
    env.iter().map(|(k, v)| (k.to_vec(), v.to_vec())).collect()
}

/// The rules of CONTRACT 1 in its words and order, without thought for cost.
fn by_the_contract(text: &str) -> Variables {
    let mut variables = Variables::new();
    for line in text.replace("\r\n", "\n").replace('\r', "\n").split('\n') {
        let Some((key, value)) = line.split_once('=') else {
            continue;
        };
        let (key, value) = (key.trim(), value.trim());
        if !key.starts_with('#') && !key.is_empty() {
            variables.insert(key.into(), value.into());
        }
    }
    variables
}

fn is_representable((key, value): &(&Vec<u8>, &Vec<u8>)) -> bool {
    let survives = |bytes: &[u8]| {
        str::from_utf8(bytes).is_ok_and(|text| text == text.trim() && !text.contains(['\r', '\n']))
    };
    survives(key) && survives(value) && !key.starts_with(b"#") && !key.contains(&b'=')
}

/// The lines of a text that says the same as `plain`: any order, noise between, spaces around, any
/// line ends.
fn retold(plain: BTreeMap<String, String>) -> impl Strategy<Value = String> {
    let space = || select(SPACES);
    let said: Vec<_> = plain
        .into_iter()
        .map(|(key, value)| {
            (space(), space(), space(), space())
                .prop_map(move |(a, b, c, d)| format!("{a}{key}{b}={c}{value}{d}"))
                .boxed()
        })
        .collect();
    let noise = select(vec!["", " ", "# A=9", "\u{a0}#", "noise", "=A", " = A=9"]);
    let noise = collection::vec(noise.prop_map(str::to_owned), 0..5);
    let lines = (said, noise).prop_map(|(said, noise)| [said, noise].concat());
    let line_ends = collection::vec(select(vec!["\n", "\r", "\r\n", "\n\n", "\n\r"]), 11);
    (lines.prop_shuffle(), line_ends).prop_map(|(lines, ends)| {
        let ended = lines.into_iter().zip(ends);
        ended.map(|(line, end)| line + end).collect()
    })
}

proptest! {
    #[test]
    fn parsing_never_panics(text in any::<String>(), nasty in nasty_text(), cut in any::<char>()) {
        for text in [&text, &nasty, &format!("{nasty}{cut}\0{text}")] {
            let parsed = EnvString::parse(text);
            prop_assert_eq!(parsed.is_err(), text.contains('\0'));
        }
    }

    #[test]
    fn parses_as_the_contract_says(text in nasty_text()) {
        let parsed = EnvString::parse(&text).unwrap();
        prop_assert_eq!(variables(&parsed), by_the_contract(&text));
    }

    #[test]
    fn what_was_written_parses_to_the_representable_variables(all in nasty_variables()) {
        let written = EnvString::write(&env(&all));
        let kept: Variables = all
            .iter()
            .filter(is_representable)
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect();
        prop_assert_eq!(written.unrepresentable.len(), all.len() - kept.len());
        prop_assert_eq!(variables(&EnvString::parse(&written.text).unwrap()), kept);
    }

    #[test]
    fn the_same_said_otherwise_is_the_same_env(
        (one, other) in plain_variables()
            .prop_flat_map(|plain| (retold(plain.clone()), retold(plain))),
    ) {
        let (one, other) = (EnvString::parse(&one).unwrap(), EnvString::parse(&other).unwrap());
        prop_assert_eq!(variables(&one), variables(&other));
        prop_assert_eq!(one.key(), other.key());
        prop_assert_eq!(one, other);
    }

    #[test]
    fn a_retold_env_is_the_one_meant(
        (plain, text) in plain_variables()
            .prop_flat_map(|plain| (Just(plain.clone()), retold(plain))),
    ) {
        let meant = Env::from_variables(&plain).unwrap();
        prop_assert_eq!(EnvString::parse(&text).unwrap(), meant);
    }

    #[test]
    fn envs_are_equal_just_when_their_variables_are(
        one in nasty_variables(),
        other in nasty_variables(),
    ) {
        let (a, b) = (env(&one), env(&other));
        prop_assert_eq!(a == b, one == other);
        prop_assert_eq!(a.key() == b.key(), one == other);
        prop_assert_eq!(variables(&a), one);
    }

    /// The same bytes, parted elsewhere: what a form with delimiters would confuse.
    #[test]
    fn where_names_and_values_part_matters(
        bytes in collection::vec(select(&b"A=\n"[..]), 1..8),
        cuts in any::<[prop::sample::Index; 6]>(),
    ) {
        let [one, other] = [&cuts[..3], &cuts[3..]].map(|cuts| {
            let mut at: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
            at.sort_unstable();
            let mut variables = Variables::from([
                (bytes[..at[0]].to_vec(), bytes[at[0]..at[1]].to_vec()),
                (bytes[at[1]..at[2]].to_vec(), bytes[at[2]..].to_vec()),
            ]);
            variables.remove(&b""[..]);
            variables
        });
        prop_assert_eq!(env(&one) == env(&other), one == other);
        prop_assert_eq!(env(&one).key() == env(&other).key(), one == other);
    }

    #[test]
    fn every_variable_is_found(all in nasty_variables()) {
        let env = env(&all);
        for (key, value) in &all {
            if let Ok(name) = str::from_utf8(key) {
                prop_assert_eq!(env.get(name), Some(value.as_slice()));
            }
        }
        let bytes = |(key, value): (&Vec<u8>, &Vec<u8>)| key.len() + value.len() + 2 + 8;
        prop_assert_eq!(env.size(), all.iter().map(bytes).sum::<usize>());
    }

    #[test]
    fn nothing_shown_holds_a_value(value in "[g-z]{6,12}") {
        let env = Env::from_variables([("TOKEN", &value)]).unwrap();
        let digest_key = DigestKey::from_secret(value.repeat(6).as_bytes()).unwrap();
        let digest = digest_key.digest(env.key());
        let refused = Env::from_variables([("TOKEN", format!("{value}\0"))]).unwrap_err();
        let key = env.key();
        let shown = format!("{env:?} {key:?} {digest_key:?} {digest:?} {refused:?} {refused}");
        prop_assert!(!shown.contains(&value), "{}", shown);
        prop_assert!(!shown.contains(&value[1..]), "{}", shown);
    }
}
