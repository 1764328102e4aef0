//! Content codings: one MiB of blood-test records, four pseudonyms each, every recovery record
//! durable already. One core.
//!
//! - `codec`: undone and done again, nothing else: the yardstick;
//! - `rewrite`: undone, rewritten, done again, as a streamed body is.
//!
//! `cargo bench --bench coding`

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use cryptonym::coding::{Coding, Decoder, Encoder};
use cryptonym::config::Format;
use cryptonym::limits;
use cryptonym::rewrite::{Job, Rewriter};

#[allow(dead_code)] // `scan` uses all of it.
#[path = "support/records.rs"]
mod records;
#[allow(dead_code)] // `rewrite` uses all of it.
#[path = "support/rewriting.rs"]
mod rewriting;

use rewriting::{Becomes, job, now};

const SIZE: usize = 1 << 20;

/// Undoes `coded`, puts each chunk through `between`, and does it again.
fn through(
    codings: &[Coding],
    coded: &[u8],
    out: &mut Vec<u8>,
    mut between: impl FnMut(&[u8], &mut Vec<u8>),
    end: impl FnOnce(&mut Vec<u8>),
) {
    out.clear();
    let mut decoder = Decoder::new(codings).expect("memory");
    let mut encoder = Encoder::new(codings).expect("memory");
    let (mut plain, mut made) = (Vec::new(), Vec::new());
    // As bytes come off a connection.
    let mut pieces = coded.chunks(16 * 1024);
    let mut piece: &[u8] = pieces.next().unwrap_or_default();
    loop {
        plain.clear();
        let taken = decoder.push(&mut piece, &mut plain, limits::CHUNK);
        taken.expect("it is whole");
        if !plain.is_empty() {
            made.clear();
            between(&plain, &mut made);
            if !made.is_empty() {
                encoder.push_now(&made, out).expect("memory");
            }
        }
        if plain.len() < limits::CHUNK {
            match pieces.next() {
                Some(next) => piece = next,
                None => break,
            }
        }
    }
    decoder.finish().expect("it is whole");
    made.clear();
    end(&mut made);
    encoder.push(&made, out).expect("memory");
    encoder.finish(out).expect("memory");
}

fn rewrite(job: &Job, codings: &[Coding], coded: &[u8], out: &mut Vec<u8>) {
    let rewriter = std::cell::RefCell::new(Rewriter::new(job.clone()));
    through(
        codings,
        coded,
        out,
        |plain, made| now(rewriter.borrow_mut().push(plain, made)).expect("it is well formed"),
        |made| {
            now(rewriter.borrow_mut().finish(made)).expect("it is well formed");
        },
    );
}

fn coding(c: &mut Criterion) {
    let records = records::records(SIZE).join("\n");
    let job = job(Format::Ndjson, Becomes::Pseudonyms);
    for (name, codings) in [
        ("none", &[][..]),
        ("gzip", &[Coding::Gzip]),
        ("deflate", &[Coding::Deflate]),
        ("br", &[Coding::Br]),
        ("zstd", &[Coding::Zstd]),
    ] {
        let mut group = c.benchmark_group(format!("coding {name}"));
        let coded = Encoder::whole(codings, records.as_bytes()).expect("memory");
        let mut out = Vec::with_capacity(2 * SIZE);
        group.throughput(Throughput::Bytes(records.len() as u64));
        if codings.is_empty() {
            group.bench_function("rewrite", |b| {
                b.iter(|| rewriting::rewrite(&job, coded.as_slice(), &mut out));
            });
            continue;
        }
        group.bench_function("codec", |b| {
            b.iter(|| {
                through(
                    codings,
                    &coded,
                    &mut out,
                    |plain, made| made.extend_from_slice(plain),
                    |_| (),
                );
            });
        });
        rewrite(&job, codings, &coded, &mut out);
        group.bench_function("rewrite", |b| {
            b.iter(|| rewrite(&job, codings, &coded, &mut out));
        });
        group.finish();
    }
}

criterion_group!(benches, coding);
criterion_main!(benches);
