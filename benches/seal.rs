//! Sealing: a batch of recovery records encoded and sealed by the gateway, opened and decoded by
//! the vault, and the vault's own sealing of each row. One core.
//!
//! The yardsticks: the aes-gcm crate on the same bytes under a key that is ready, which is what
//! HPKE adds an encapsulation to.
//!
//! `cargo bench --bench seal`

use std::hint::black_box;

use aes_gcm::aead::AeadInOut as _;
use aes_gcm::{Aes256Gcm, KeyInit as _};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use cryptonym::pseudonym::{Class, Kind, KindId, Kinds, Normaliser, Pseudonym};
use cryptonym::secret::{Key32, Plain};
use cryptonym::vault::keys::epoch::{EpochKeys, Place};
use cryptonym::vault::records::row::Sealer;
use cryptonym::wire::batch::{Entries, Entry, INFO, encode_entries};
use cryptonym::wire::sealed::{self, KeyPair};

const BATCHES: [usize; 3] = [1, 100, 1000];

fn identifiers(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("SUB-{n:08}")).collect()
}

fn entries(identifiers: &[String]) -> impl Iterator<Item = Entry<'_>> + Clone {
    identifiers.iter().map(|identifier| Entry {
        kind: "subscriber",
        pseudonym: Pseudonym([7; 16]),
        identifier: Plain::new(identifier.as_bytes()),
        subject: None,
    })
}

fn batches(c: &mut Criterion) {
    let mut group = c.benchmark_group("batch");
    let pair = KeyPair::generate();
    let public = pair.public();
    for count in BATCHES {
        let identifiers = identifiers(count);
        let plaintext = encode_entries(entries(&identifiers));
        let closed = sealed::seal(&public, INFO, b"associated", &plaintext).expect("a good key");
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(BenchmarkId::new("encode", count), |b| {
            b.iter(|| encode_entries(entries(black_box(&identifiers))));
        });
        group.bench_function(BenchmarkId::new("seal", count), |b| {
            b.iter(|| sealed::seal(&public, INFO, b"associated", black_box(&plaintext)));
        });
        group.bench_function(BenchmarkId::new("open", count), |b| {
            b.iter(|| {
                pair.open(INFO, b"associated", black_box(&closed))
                    .expect("its key")
            });
        });
        group.bench_function(BenchmarkId::new("decode", count), |b| {
            b.iter(|| Entries::decode(black_box(&plaintext)).expect("it was encoded"));
        });
        let cipher = Aes256Gcm::new(&[3; 32].into());
        let mut buffer = plaintext.to_vec();
        group.bench_function(BenchmarkId::new("yardstick: aes-gcm", count), |b| {
            b.iter(|| {
                let bytes = black_box(&mut buffer[..]);
                cipher.encrypt_inout_detached(&[0; 12].into(), b"associated", bytes.into())
            });
        });
    }
    group.finish();
}

/// What the vault does for each record once the batch is open.
fn rows(c: &mut Criterion) {
    let kinds = Kinds::new(vec![Kind {
        name: "subscriber".into(),
        class: Class::Person,
        prefix: "sub".into(),
        normaliser: Normaliser::Subscriber,
    }]);
    let place = Place {
        row: 1,
        vault: [1; 16],
        domain_name: "bench".into(),
        domain: [2; 16],
        epoch: 1,
    };
    let keys = EpochKeys::new(place, &Key32::new([5; 32]), &kinds);
    let kind = kinds.get(KindId(0));
    let mut group = c.benchmark_group("vault");
    let mut normal = Vec::new();
    group.throughput(Throughput::Elements(1));
    group.bench_function("derive again", |b| {
        b.iter(|| {
            let identifier = black_box(b"SUB-00000001");
            let done = kind.normaliser.normalise(identifier, &mut normal);
            done.expect("a subscriber");
            keys.kind(KindId(0)).derive(&normal)
        });
    });
    let count = 1000;
    group.throughput(Throughput::Elements(count));
    group.bench_function("seal 1000 rows", |b| {
        b.iter(|| {
            let mut sealer = Sealer::new(&keys, count as usize);
            for _ in 0..count {
                black_box(sealer.seal(&Pseudonym([7; 16]), kind, black_box(b"SUB-00000001")));
            }
        });
    });
    group.finish();
}

criterion_group!(benches, batches, rows);
criterion_main!(benches);
