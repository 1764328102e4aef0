//! Resolve, splice, and all of a rewrite: one MiB of blood-test records, four pseudonyms each,
//! every recovery record durable already. One core; `scan` has the same body without deriving.
//!
//! - `rewrite`: all five steps;
//! - `resolve`: records of nothing but the four values. Resolving is `derived` less `constants`,
//!   which is the same rewrite with nothing to resolve;
//! - `splice`: the slots are found before the clock runs. The yardstick copies the bytes.
//!
//! `cargo bench --bench rewrite`

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use cryptonym::config::Format;
use cryptonym::format::{
    Csv, EventStream, Form, Found, Json, Ndjson, Options, Scanner, Tsv, splice as splice_in,
};
use cryptonym::policy::Unlisted;

#[allow(dead_code)] // `scan` uses all of it.
#[path = "support/records.rs"]
mod records;
#[path = "support/rewriting.rs"]
mod rewriting;
#[path = "support/scanning.rs"]
mod scanning;

use rewriting::{Becomes, bare, job};

const SIZE: usize = 1 << 20;

/// Both formats' bodies of the same records.
fn bodies(records: &[String]) -> [(&'static str, Format, String); 2] {
    [
        ("json", Format::Json, format!("[{}]", records.join(","))),
        ("ndjson", Format::Ndjson, records.join("\n")),
    ]
}

fn rewrite(c: &mut Criterion) {
    let mut group = c.benchmark_group("rewrite");
    for (name, format, body) in bodies(&records::records(SIZE)) {
        let job = job(format, Becomes::Pseudonyms);
        let mut out = Vec::with_capacity(2 * SIZE);
        rewriting::rewrite(&job, body.as_bytes(), &mut out);
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(name, |b| {
            b.iter(|| rewriting::rewrite(&job, body.as_bytes(), &mut out));
        });
    }
    group.finish();
}

fn resolve(c: &mut Criterion) {
    let mut group = c.benchmark_group("resolve");
    let records = bare(&records::records(SIZE));
    group.throughput(Throughput::Elements(4 * records.len() as u64));
    for (name, format, body) in bodies(&records) {
        for (what, becomes) in [
            ("derived", Becomes::Pseudonyms),
            ("constants", Becomes::Constants),
        ] {
            let job = job(format, becomes);
            let mut out = Vec::with_capacity(2 * SIZE);
            rewriting::rewrite(&job, body.as_bytes(), &mut out);
            group.bench_function(format!("{name}, {what}"), |b| {
                b.iter(|| {
                    let summary = rewriting::rewrite(&job, body.as_bytes(), &mut out);
                    assert_eq!(summary.replaced, 4 * records.len() as u64);
                    assert_eq!(summary.first_sights, 0);
                });
            });
        }
    }
    group.finish();
}

fn splice(c: &mut Criterion) {
    let mut group = c.benchmark_group("splice");
    let policy = scanning::four_fields(Unlisted::Keep);
    for (name, format, body) in bodies(&records::records(SIZE)) {
        let body = body.as_bytes();
        let (policy, options) = (policy.clone(), Options::default());
        let mut scanner: Box<dyn Scanner> = match format {
            Format::Json => Box::new(Json::new(policy, options)),
            Format::Form => Box::new(Form::new(policy, options)),
            Format::EventStream => Box::new(EventStream::new(policy, options)),
            Format::Ndjson => Box::new(Ndjson::new(policy, options)),
            Format::Csv(dialect) => Box::new(Csv::new(policy, options, dialect)),
            Format::Tsv { header } => Box::new(Tsv::new(policy, options, header)),
        };
        let mut slots = Vec::new();
        scanning::scan(
            &mut *scanner,
            body,
            body.len(),
            &mut Found::default(),
            |_, _, found| slots.extend_from_slice(found),
        );
        let mut out = Vec::with_capacity(2 * SIZE);
        group.throughput(Throughput::Bytes(body.len() as u64));
        group.bench_function(name, |b| {
            b.iter(|| {
                out.clear();
                let answers = scanning::answers(&slots);
                splice_in(&*scanner, body, &slots, answers, &mut out);
                black_box(&out);
            });
        });
        group.bench_function(format!("{name}, yardstick: copy"), |b| {
            b.iter(|| {
                out.clear();
                out.extend_from_slice(black_box(body));
                black_box(&out);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, rewrite, resolve, splice);
criterion_main!(benches);
