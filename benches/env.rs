//! What an env text costs: found, read for the first time, brought into its canonical form.
//!
//! `cargo bench --bench env`. The largest is about what the contract allows: an env of a process
//! has at most 1 MiB, and so has a request's body by default.

#![expect(clippy::expect_used, reason = "a bench that can't be set up is to end")]

use std::{hint::black_box, num::NonZeroUsize};

use criterion::{BenchmarkId, Criterion, Throughput};
use envgate::{
    env::{DigestKey, Env, EnvLookup, EnvString, Line},
    instances::HotEnv,
};

const SIZES: [usize; 3] = [1_000, 100_000, 1_000_000];

/// A large env has longer values than a small one, not ever more variables.
const MAX_VARIABLES: usize = 1_000;

const VARIABLE_BYTES: usize = 100;

/// Texts that a lookup knows, asked for in turn.
const KNOWN: usize = 16;

/// The text of an env with a number of its own, of about so many bytes.
fn text(size: usize, number: usize) -> String {
    let variables = (size / VARIABLE_BYTES).min(MAX_VARIABLES);
    let line = size / variables;
    let mut text = String::with_capacity(size);
    for variable in 0..variables {
        let start = format!("VARIABLE_{variable:04}={number:08}");
        text.push_str(&start);
        text.extend(std::iter::repeat_n('x', line - start.len() - 1));
        text.push('\n');
    }
    text
}

fn env(text: &str) -> Env {
    EnvString::parse(text).expect("it has no NUL")
}

fn throughput(text: &str) -> Throughput {
    Throughput::Bytes(text.len() as u64)
}

/// An empty lookup for so many texts of any of the sizes.
fn lookup<T>(texts: usize) -> EnvLookup<T> {
    EnvLookup::new(NonZeroUsize::new(texts).expect("not 0"), usize::MAX)
}

/// A text that was seen before: hashed, compared whole, and no more.
fn hot(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("env text, known");
    for size in SIZES {
        let texts: [_; KNOWN] = std::array::from_fn(|number| text(size, number));
        let mut lookup = lookup(KNOWN);
        for (number, text) in texts.iter().enumerate() {
            lookup.insert(text.as_bytes(), number);
        }
        let mut turns = texts.iter().cycle();
        group.throughput(throughput(&texts[0]));
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            bencher.iter(|| {
                let text = turns.next().expect("it has no end");
                lookup.get(black_box(text.as_bytes())).copied()
            });
        });
    }
    group.finish();
}

/// A text that wasn't: looked for, parsed, digested, and kept in the place of another.
fn cold(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("env text, new");
    let digests = DigestKey::from_secret(&[7; 32]).expect("it is long enough");
    for size in SIZES {
        let texts = [text(size, 0), text(size, 1)];
        env(&texts[0])
            .check_size()
            .expect("it is no more than a process takes");
        let mut lookup = lookup(1);
        let mut turns = texts.iter().cycle();
        group.throughput(throughput(&texts[0]));
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            bencher.iter(|| {
                let text = black_box(turns.next().expect("it has no end"));
                assert!(lookup.get(text.as_bytes()).is_none());
                let hot = HotEnv::new(env(text), &digests).expect("it has no settings");
                lookup.insert(text.as_bytes(), hot);
            });
        });
    }
    group.finish();
}

/// Variables that were read: sorted, written in the canonical form, and hashed.
fn canonical(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("canonical form");
    for size in SIZES {
        let text = text(size, 0);
        let mut variables: Vec<_> = EnvString::lines(&text)
            .filter_map(|(_, line)| match line {
                Line::Variable { key, value } => Some((key, value)),
                _ => None,
            })
            .collect();
        // As they stand in a text, they are in no order.
        variables.sort_by_key(|(key, _)| key.bytes().rev().collect::<Vec<_>>());
        group.throughput(throughput(&text));
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            bencher.iter(|| Env::from_variables(black_box(variables.iter().copied())));
        });
    }
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    hot(&mut criterion);
    cold(&mut criterion);
    canonical(&mut criterion);
    criterion.final_summary();
}
