//! What one pseudonym costs: `cargo bench --bench derive`.
//!
//! The bar is `pseudonym with its text`: at most 200 ns. `hmac crate` is the same code by a clone
//! of a keyed `hmac::Hmac`, to show what the saved key states are worth.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use cryptonym::pseudonym::{
    Class, DomainKey, Kind, Kinds, Normaliser, Pseudonym, looks_like_pseudonym, text, token,
};
use cryptonym::secret::Key32;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

fn kind(normaliser: Normaliser, prefix: &str) -> Kind {
    Kind {
        name: normaliser.name().into(),
        class: Class::Person,
        prefix: prefix.into(),
        normaliser,
    }
}

fn derive(c: &mut Criterion) {
    let subscriber = kind(Normaliser::Subscriber, "sub");
    let domain = DomainKey::new([1; 16], 1, Key32::new([2; 32]));
    let key = domain.kind(&subscriber);
    let mut out = String::with_capacity(64);
    let mut normal = Vec::with_capacity(64);

    c.bench_function("pseudonym", |b| {
        b.iter(|| key.derive(black_box(b"SUB-00000001")));
    });
    c.bench_function("pseudonym with its text", |b| {
        b.iter(|| {
            out.clear();
            key.write(&key.derive(black_box(b"SUB-00000001")), &mut out);
            black_box(&out);
        });
    });
    c.bench_function("normalise, pseudonym, text", |b| {
        b.iter(|| {
            out.clear();
            Normaliser::Subscriber
                .normalise(black_box(b"SUB-00000001"), &mut normal)
                .expect("a subscriber");
            key.write(&key.derive(&normal), &mut out);
            black_box(&out);
        });
    });

    let keyed = Hmac::<Sha256>::new_from_slice(&[2; 32]).expect("any length");
    c.bench_function("hmac crate, clone of a keyed state", |b| {
        b.iter(|| {
            let mut mac = keyed.clone();
            mac.update(b"\0\0\0\x0asubscriber\0\0\0\x0c");
            mac.update(black_box(b"SUB-00000001"));
            mac.finalize()
        });
    });

    let record = Key32::new([3; 32]);
    c.bench_function("token", |b| {
        b.iter(|| token(&record, &subscriber, black_box(b"SUB-00000001")));
    });
    c.bench_function("keys of one kind", |b| b.iter(|| domain.kind(&subscriber)));
}

fn values(c: &mut Criterion) {
    let mut normal = Vec::with_capacity(64);
    for (normaliser, value) in [
        (Normaliser::Subscriber, "SUB-00000001"),
        (Normaliser::Email, "amelia.smith12@example.org"),
        (Normaliser::NhsNumber, "9990000018"),
        (Normaliser::Phone, "+44 7700 900123"),
        (Normaliser::Name, "Siobhán O'Connor"),
        (Normaliser::Text, "Any other ethnic group"),
    ] {
        c.bench_function(&format!("normalise {}", normaliser.name()), |b| {
            b.iter(|| normaliser.normalise(black_box(value.as_bytes()), &mut normal));
        });
    }

    let kinds = Kinds::new(vec![kind(Normaliser::Subscriber, "sub")]);
    let mut text = String::new();
    let key = DomainKey::new([1; 16], 1, Key32::new([2; 32]));
    key.kind(kinds.iter().next().expect("one").1)
        .write(&Pseudonym([7; 16]), &mut text);
    c.bench_function("looks like a pseudonym: no", |b| {
        b.iter(|| looks_like_pseudonym(black_box(b"amelia.smith12@example.org"), &kinds));
    });
    c.bench_function("parse a pseudonym", |b| {
        b.iter(|| text::parse(black_box(text.as_bytes())));
    });
}

#[cfg(feature = "worlds")]
fn known(c: &mut Criterion) {
    use cryptonym::vault_link::known::KnownSet;

    let keys = DomainKey::new([1; 16], 1, Key32::new([2; 32]));
    let key = keys.kind(&kind(Normaliser::Subscriber, "sub"));
    let entries: Vec<Pseudonym> = (0..2_000_000u32)
        .map(|n| key.derive(&n.to_le_bytes()))
        .collect();
    let set = KnownSet::new();
    set.extend(entries[..1_000_000].iter().copied());
    for (name, start) in [("present", 0), ("absent", 1_000_000)] {
        let mut n = 0;
        c.bench_function(&format!("known set of a million: {name}"), |b| {
            b.iter(|| {
                n = (n + 1) % 1_000_000;
                set.contains(&entries[start + n])
            });
        });
    }
    c.bench_function("known set: insert a million, with growth", |b| {
        b.iter(|| {
            let set = KnownSet::new();
            set.extend(entries[..1_000_000].iter().copied());
            set
        });
    });
}

#[cfg(not(feature = "worlds"))]
fn known(_: &mut Criterion) {}

criterion_group!(benches, derive, values, known);
criterion_main!(benches);
