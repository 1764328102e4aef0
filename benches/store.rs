//! The vault's store, on the disk of the build folder, every commit synced: batches of new
//! records, the same batches again, and looking one up.
//!
//! - `keep`: all that the vault does for `POST /v1/records`, without HTTP: open, derive again,
//!   compare, seal each row, commit;
//! - `rows`: the store alone, with rows that are sealed already. The yardstick is rusqlite with a
//!   plain table of rows of that size, in the same journal mode, synced alike.
//!
//! Stores grow while they are measured: a figure is that of a store of some ten thousand records.
//!
//! `cargo bench --bench store`

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use cryptonym::vault::store::sqlite::Sqlite;
use cryptonym::vault::store::{Added, RecordRow, Store, Writer};
use rusqlite::Connection;
use tokio::runtime::Runtime;

#[path = "support/vault.rs"]
mod vault;

use vault::Opened;

const BATCHES: [u64; 3] = [1, 100, 1000];

fn keep(c: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let opened = runtime.block_on(Opened::new(None));
    let mut group = c.benchmark_group("keep");
    let mut next = 0;
    for count in BATCHES {
        group.throughput(Throughput::Elements(count));
        group.bench_function(BenchmarkId::new("new", count), |b| {
            b.iter_batched(
                || {
                    next += count;
                    opened.batch(next - count..next)
                },
                |batch| assert_eq!(u64::from(runtime.block_on(opened.keep(batch)).new), count),
                criterion::BatchSize::PerIteration,
            );
        });
        let batch = opened.batch(0..count);
        runtime.block_on(opened.keep(batch.clone()));
        group.bench_function(BenchmarkId::new("known", count), |b| {
            b.iter(|| {
                let answer = runtime.block_on(opened.keep(batch.clone()));
                assert_eq!(u64::from(answer.known), count);
            });
        });
    }
    group.finish();
}

/// A row as the vault seals it, at an index that is spread as keyed hashes are.
fn row(number: u64) -> RecordRow {
    let mut index = [0; 16];
    let mixed = u128::from(number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    index.copy_from_slice(&mixed.to_be_bytes());
    RecordRow {
        index,
        tag: [1; 16],
        known: vec![2; 12 + 16 + 16],
        subject: Some(vec![3; 12 + 32 + 16]),
        sealed: vec![4; 12 + 64 + 16],
    }
}

fn rows(c: &mut Criterion) {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let store = Sqlite::open(&folder.path().join("store.sqlite")).expect("a store");
    let mut writer = store.writer().expect("its writer");
    writer.begin().expect("begin");
    writer.add_domain(&domain()).expect("a domain");
    let epoch = writer.add_epoch(&[1; 16], 1, &[0; 60]).expect("an epoch");
    writer.commit().expect("commit");
    let mut plain = plain(&folder.path().join("plain.sqlite"));

    let mut group = c.benchmark_group("rows");
    let (mut ours, mut theirs) = (0, 0);
    for count in BATCHES {
        group.throughput(Throughput::Elements(count));
        group.bench_function(BenchmarkId::new("insert", count), |b| {
            b.iter(|| {
                insert(&mut *writer, epoch, ours..ours + count);
                ours += count;
            });
        });
        group.bench_function(BenchmarkId::new("yardstick: rusqlite", count), |b| {
            b.iter(|| {
                insert_plain(&mut plain, theirs..theirs + count);
                theirs += count;
            });
        });
    }
    // What is asked for is there, also when this bench runs alone.
    insert(&mut *writer, epoch, ours..ours + 10_000);
    ours += 10_000;
    group.throughput(Throughput::Elements(1));
    let mut reader = store.reader().expect("a reader");
    let mut at = 0;
    group.bench_function("look up", |b| {
        b.iter(|| {
            at = (at + 7919) % ours;
            let found = reader.record(&row(at).index).expect("it can be read");
            assert!(found.is_some());
        });
    });
    group.finish();
}

fn domain() -> cryptonym::vault::store::DomainRow {
    cryptonym::vault::store::DomainRow {
        id: [1; 16],
        name_tag: [2; 16],
        name: vec![0; 40],
    }
}

fn insert(writer: &mut dyn Writer, epoch: i64, numbers: std::ops::Range<u64>) {
    let mut rows: Vec<_> = numbers.map(row).collect();
    rows.sort_unstable_by_key(|row| row.index);
    writer.begin().expect("begin");
    let added = writer.add_records(epoch, &rows, u64::MAX);
    assert!(matches!(added, Ok(Added::All { .. })), "every row is new");
    writer.commit().expect("commit");
}

fn plain(path: &std::path::Path) -> Connection {
    let connection = Connection::open(path).expect("a database");
    for (name, value) in [("journal_mode", "WAL"), ("synchronous", "FULL")] {
        connection
            .pragma_update(None, name, value)
            .expect("a pragma");
    }
    let table = "CREATE TABLE record (at BLOB UNIQUE NOT NULL, row BLOB NOT NULL)";
    connection.execute(table, []).expect("a table");
    connection
}

fn insert_plain(connection: &mut Connection, numbers: std::ops::Range<u64>) {
    let transaction = connection.transaction().expect("begin");
    {
        let insert = "INSERT INTO record VALUES (?1, ?2)";
        let mut statement = transaction.prepare_cached(insert).expect("a statement");
        for number in numbers {
            let row = row(number);
            let parts = [
                &row.tag[..],
                &row.known,
                &row.sealed,
                row.subject.as_deref().unwrap_or(&[]),
            ];
            let done = statement.execute((&row.index[..], parts.concat()));
            done.expect("a new row");
        }
    }
    transaction.commit().expect("commit");
}

/// Syncs decide, and they take what the disk takes.
fn settings() -> Criterion {
    Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3))
}

criterion_group! {
    name = benches;
    config = settings();
    targets = keep, rows
}
criterion_main!(benches);
