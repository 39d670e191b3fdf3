//! Env strings and sets of variables: how a text is read, and which envs are one.

#![no_main]

use std::collections::BTreeMap;

use envgate::env::{DigestKey, Env, EnvError, EnvString, Line, Reserved, WorkerSettings};
use libfuzzer_sys::fuzz_target;

type Variables = BTreeMap<Vec<u8>, Vec<u8>>;

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    let variables = as_read(&text);
    match (EnvString::parse(&text), text.find('\0')) {
        (Ok(env), None) => {
            assert_eq!(self::variables(&env), variables);
            same_lines(&text, &variables);
            told_otherwise(&env);
            changed(&env, &variables);
            any_set(&env);
        }
        (Err(EnvError::Nul { line }), Some(nul)) => {
            assert_eq!(line, unix_lines(&text[..nul]).split('\n').count());
        }
        (parsed, nul) => panic!("{parsed:?}, with a NUL at {nul:?}"),
    }

    // Names and values that no text form can carry, parted by what neither can hold.
    let parts: Vec<&[u8]> = data.split(|byte| *byte == 0).collect();
    let pairs = parts
        .chunks(2)
        .map(|pair| (pair[0], pair.get(1).copied().unwrap_or_default()));
    let variables: Variables = pairs
        .clone()
        .map(|(k, v)| (k.to_vec(), v.to_vec()))
        .collect();
    let env = Env::from_variables(pairs).expect("there is no NUL");
    let named = variables.into_iter().filter(|(name, _)| !name.is_empty());
    let variables: Variables = named.collect();
    assert_eq!(self::variables(&env), variables);
    written(&env);
    changed(&env, &variables);
    any_set(&env);
});

fn unix_lines(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\r', "\n")
}

/// The rules of CONTRACT 1 in its words and order.
fn as_read(text: &str) -> Variables {
    let mut variables = Variables::new();
    for line in unix_lines(text).split('\n') {
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

fn variables(env: &Env) -> Variables {
    env.iter()
        .map(|(name, value)| (name.to_vec(), value.to_vec()))
        .collect()
}

fn same_lines(text: &str, expected: &Variables) {
    let mut variables = Variables::new();
    let mut last = 0;
    for (number, line) in EnvString::lines(text) {
        assert_eq!(number, last + 1);
        last = number;
        if let Line::Variable { key, value } = line {
            variables.insert(key.into(), value.into());
        }
    }
    assert_eq!(variables, *expected);
}

/// Checks that what was written gives back the representable variables, and names the others.
fn written(env: &Env) -> String {
    let kept: Variables = env
        .iter()
        .filter(|(name, value)| {
            let whole = [name, b"=".as_slice(), value].concat();
            let Ok(text) = str::from_utf8(&whole) else {
                return false;
            };
            as_read(text) == Variables::from([(name.to_vec(), value.to_vec())])
        })
        .map(|(name, value)| (name.to_vec(), value.to_vec()))
        .collect();
    let written = EnvString::write(env);
    let parsed = EnvString::parse(&written.text).expect("there is no NUL");
    assert_eq!(variables(&parsed), kept);
    assert_eq!(written.unrepresentable.len(), env.len() - kept.len());
    written.text.to_string()
}

/// The same variables in another order, with other line ends, comments between, and spaces.
fn told_otherwise(env: &Env) {
    let text = written(env);
    for end in ["\r\n", "\r", "\n\n# A=1\n"] {
        let lines = text.lines().rev().map(|line| {
            let (key, value) = line.split_once('=').expect("it is a variable");
            format!(" {key}\u{a0}=\t{value}\u{2003}{end}noise{end}=x{end}")
        });
        let other: String = lines.collect();
        let other = EnvString::parse(&other).expect("there is no NUL");
        assert!(*env == other && env.key() == other.key());
    }
}

/// Each change to one variable makes another env.
fn changed(env: &Env, variables: &Variables) {
    let differs = |changed: Variables| {
        let other = Env::from_variables(&changed).expect("there is no NUL");
        assert_eq!(*env == other, *variables == changed);
        assert_eq!(env.key() == other.key(), *variables == changed);
    };
    for (name, value) in variables.iter().take(8) {
        let without = || {
            let mut changed = variables.clone();
            changed.remove(name);
            changed
        };
        differs(without());
        let mut changes = vec![
            (name.clone(), [value.as_slice(), b" "].concat()),
            ([name.as_slice(), b"x"].concat(), value.clone()),
            (value.clone(), name.clone()),
            ([name.as_slice(), b"=", value].concat(), Vec::new()),
        ];
        if let Some((last, start)) = name.split_last() {
            changes.push((start.to_vec(), [&[*last], value.as_slice()].concat()));
        }
        for (name, value) in changes.into_iter().filter(|(name, _)| !name.is_empty()) {
            let mut changed = without();
            changed.insert(name, value);
            differs(changed);
        }
    }
}

/// What holds for every env.
fn any_set(env: &Env) {
    let kernel = |(name, value): (&[u8], &[u8])| name.len() + value.len() + 2 + 8;
    assert_eq!(env.size(), env.iter().map(kernel).sum::<usize>());
    if let Err(error) = env.check_size() {
        assert!(!error.to_string().is_empty());
    }
    let _ = WorkerSettings::read(env);
    let reserved = Reserved::new([]);
    for (name, value) in env.iter() {
        if let Ok(name) = str::from_utf8(name) {
            assert_eq!(env.get(name), Some(value));
            let _ = reserved.contains(name);
        }
    }
    let key = DigestKey::from_secret(&[7; 32]).expect("it is long enough");
    assert_eq!(key.digest(env.key()).as_str().len(), 12);
}
