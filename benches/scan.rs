//! Scan and splice of one MiB of blood-test records: validating, four selected fields, constant
//! answers (no derivation). One core, in time on the processor. The same people as rows, beside a
//! reader that only reads them.
//!
//! `cargo bench --bench scan`

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use cryptonym::format::csv::Dialect;
use cryptonym::format::fuzz::policy;
use cryptonym::format::{Csv, Found, Json, Ndjson, Options, Scanner, Tsv, splice};
use cryptonym::limits;
use cryptonym::policy::{Action, RecordUnit, Redact, Unlisted};

#[path = "support/cpu.rs"]
mod cpu;
#[path = "support/records.rs"]
mod records;
#[path = "support/scanning.rs"]
mod scanning;

use scanning::{answers, four_fields};

/// Scan and splice. Returns the slots.
fn rewrite(
    scanner: &mut dyn Scanner,
    body: &[u8],
    chunk: usize,
    found: &mut Found,
    out: &mut Vec<u8>,
) -> usize {
    out.clear();
    scanning::scan(scanner, body, chunk, found, |scanner, released, slots| {
        splice(scanner, released, slots, answers(slots), out);
    })
}

fn scan(c: &mut Criterion<cpu::Cpu>) {
    let records = records::records(1 << 20);
    let array = format!("[{}]", records.join(",")).into_bytes();
    let lines = records.join("\n").into_bytes();
    let pretty = records::pretty(&array);
    let mut out = Vec::with_capacity(2 << 20);
    let mut found = Found::default();
    for (name, body, is_lines, unlisted) in [
        ("json keep", &array, false, Unlisted::Keep),
        ("json reject", &array, false, Unlisted::Reject),
        ("ndjson reject", &lines, true, Unlisted::Reject),
        ("json pretty reject", &pretty, false, Unlisted::Reject),
    ] {
        let policy = four_fields(unlisted);
        let mut group = c.benchmark_group(name);
        group.throughput(cpu::bytes(body.len()));
        for (cut, chunk) in [("whole", body.len()), ("64k", limits::CHUNK)] {
            group.bench_function(cut, |b| {
                b.iter(|| {
                    let policy = Arc::clone(&policy);
                    let options = Options::default();
                    let slots = if is_lines {
                        rewrite(
                            &mut Ndjson::new(policy, options),
                            body,
                            chunk,
                            &mut found,
                            &mut out,
                        )
                    } else {
                        rewrite(
                            &mut Json::new(policy, options),
                            body,
                            chunk,
                            &mut found,
                            &mut out,
                        )
                    };
                    assert_eq!(slots, 4 * records.len());
                    black_box(&out);
                });
            });
        }
        group.finish();
    }
}

/// Rows of the records' own fields, with a header.
fn rows(delimiter: &str, quote: &str, end: &str) -> Vec<u8> {
    let line = |fields: Vec<String>| {
        let fields: Vec<_> = fields
            .iter()
            .map(|f| format!("{quote}{f}{quote}"))
            .collect();
        fields.join(delimiter) + end
    };
    let mut body = String::new();
    for record in records::records(2 << 20) {
        let record: serde_json::Value = serde_json::from_str(&record).expect("a record");
        let fields = record.as_object().expect("an object");
        let fields = fields.iter().filter_map(|(k, v)| Some((k, v.as_str()?)));
        if body.is_empty() {
            body += &line(fields.clone().map(|(name, _)| name.clone()).collect());
        }
        body += &line(fields.map(|(_, value)| value.to_owned()).collect());
    }
    body.into_bytes()
}

fn scan_rows(c: &mut Criterion<cpu::Cpu>) {
    let redact = || Action::Redact(Redact::Constant(scanning::PSEUDONYM.into()));
    let four = ["$.subscriber_id", "$.name", "$.email", "$.nhs_number"].map(|at| (at, redact()));
    let mut rules = four.to_vec();
    rules.push(("$.*", Action::Keep));
    let named = policy(Unlisted::Reject, RecordUnit::Auto, &rules);
    let (options, dialect) = (Options::default(), Dialect::default());
    let (mut found, mut out) = (Found::default(), Vec::with_capacity(4 << 20));
    for (name, body, tabs) in [
        ("csv", rows(",", "", "\n"), false),
        ("csv quoted", rows(",", "\"", "\r\n"), false),
        ("tsv", rows("\t", "", "\n"), true),
    ] {
        let count = body.iter().filter(|b| **b == b'\n').count() - 1;
        let mut group = c.benchmark_group(name);
        group.throughput(cpu::bytes(body.len()));
        for (cut, chunk) in [("whole", body.len()), ("64k", limits::CHUNK)] {
            group.bench_function(cut, |b| {
                b.iter(|| {
                    let policy = Arc::clone(&named);
                    let slots = if tabs {
                        let mut scanner = Tsv::new(policy, options, true);
                        rewrite(&mut scanner, &body, chunk, &mut found, &mut out)
                    } else {
                        let mut scanner = Csv::new(policy, options, dialect);
                        rewrite(&mut scanner, &body, chunk, &mut found, &mut out)
                    };
                    assert_eq!(slots, 4 * count);
                    black_box(&out);
                });
            });
        }
        if !tabs {
            group.bench_function("the csv crate, reading alone", |b| {
                b.iter(|| {
                    let mut reader = csv::ReaderBuilder::new().from_reader(&body[..]);
                    let mut record = csv::ByteRecord::new();
                    let mut rows = 0;
                    while reader.read_byte_record(&mut record).expect("a row") {
                        rows += 1;
                    }
                    assert_eq!(rows, count);
                });
            });
        }
        group.finish();
    }
}

/// A yardstick for the machine of the day: a validator that builds nothing and changes nothing.
fn yardstick(c: &mut Criterion<cpu::Cpu>) {
    let array = format!("[{}]", records::records(1 << 20).join(",")).into_bytes();
    let mut group = c.benchmark_group("yardstick");
    group.throughput(cpu::bytes(array.len()));
    group.bench_function("serde_json IgnoredAny", |b| {
        b.iter(|| serde_json::from_slice::<serde::de::IgnoredAny>(black_box(&array)).is_ok());
    });
    group.finish();
}

/// Long samples: the clock of `cpu` has the grain of a tick.
fn settings() -> Criterion<cpu::Cpu> {
    Criterion::default()
        .with_measurement(cpu::Cpu::default())
        .sample_size(20)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(6))
}

criterion_group! {
    name = benches;
    config = settings();
    targets = scan, scan_rows, yardstick
}
criterion_main!(benches);
