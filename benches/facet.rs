//! What a call costs in translation: its envelope read, its answer read and written anew.
//!
//! `cargo bench --bench facet`. Sizes are those of the whole body; the largest is what a request
//! may have by default.

#![expect(clippy::expect_used, reason = "a bench that can't be set up is to end")]

use std::{hint::black_box, time::Duration};

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput};
use envgate::facet::{
    legacy::{self, EnvField},
    modern,
};

const SIZES: [usize; 3] = [1_000, 100_000, 1_000_000];

/// What fills a body up to its size: nothing is cheaper to scan than one long string, and little
/// is dearer than many short values.
const FILLINGS: [(&str, &str); 2] = [("text", "some text, "), ("objects", OBJECT)];

const OBJECT: &str =
    r#"{"id":1234567,"x":-12.5,"name":"a \"name\"","tags":["a","b",null],"on":true}"#;

const ENVELOPE: (&str, &str) = (
    concat!(
        r#"{"method":"facet-call","env":"ENV_TYPE=bench\nGAME=1\nSESSION_DRIVER=null\n"#,
        r#"ARANGO_DRIVER=http\nARANGO_BASE_URL=http://arango.example:8529/\nARANGO_DATABASE=db\n"#,
        r#"ARANGO_USERNAME=user\nARANGO_PASSWORD=not-a-secret\n","methodParameters":{"#,
        r#""facetName":"EchoFacet","methodName":"Echo","arguments":["#,
    ),
    r#"],"sessionId":"c3Vic3RpdHV0ZQ0123456789"}}"#,
);

const ANSWER: (&str, &str) = (
    r#"{"status":"ok","returned":["#,
    r#"],"logs":[{"level":"info","message":"a line"}]}"#,
);

/// A body of at most `size` bytes, what it can't do without aside.
fn body((start, end): (&str, &str), filling: &str, size: usize) -> Bytes {
    let room = size.saturating_sub(start.len() + end.len());
    let filled = if filling.starts_with('{') {
        let count = (room / (filling.len() + 1)).max(1);
        vec![filling; count].join(",")
    } else {
        let count = room.saturating_sub(2) / filling.len();
        format!("\"{}\"", filling.repeat(count))
    };
    Bytes::from([start, &filled, end].concat())
}

fn each(
    criterion: &mut Criterion,
    name: &str,
    around: (&str, &str),
    mut run: impl FnMut(&Bytes) -> usize,
) {
    let mut group = criterion.benchmark_group(name);
    for (kind, filling) in FILLINGS {
        for size in SIZES {
            let body = body(around, filling, size);
            group.throughput(Throughput::Bytes(body.len() as u64));
            group.bench_function(BenchmarkId::new(kind, size), |bencher| {
                bencher.iter(|| run(black_box(&body)));
            });
        }
    }
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    each(&mut criterion, "envelope decoded", ENVELOPE, |body| {
        let envelope = legacy::decode(body, EnvField::Required).expect("it is an envelope");
        envelope.call.arguments.as_bytes().len()
    });
    each(&mut criterion, "modern answer to legacy", ANSWER, |body| {
        let answer = modern::decode_answer(body).expect("it is an answer");
        let session = Some("c3Vic3RpdHV0ZQ0123456789");
        legacy::encode_answer(&answer, body, session, Duration::from_micros(1234)).len()
    });
    criterion.final_summary();
}
