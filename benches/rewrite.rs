//! Resolve and all of a rewrite: one MiB of blood-test records, four pseudonyms each, every
//! recovery record durable already. One core; `scan` has the same body without deriving.
//!
//! `cargo bench --bench rewrite`

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use cryptonym::config::{Format, Limits};
use cryptonym::error::Fault;
use cryptonym::format::fuzz::policy;
use cryptonym::limits;
use cryptonym::policy::{Action, RecordUnit, Scope, Unlisted};
use cryptonym::pseudonym::{Class, DomainKey, Kind, KindId, KindKey, Kinds, Normaliser, Pseudonym};
use cryptonym::rewrite::{Job, Keeper, Rewriter};
use cryptonym::secret::Key32;
use cryptonym::vault_link::FirstSight;

#[allow(dead_code)] // `scan` uses all of it.
#[path = "support/records.rs"]
mod records;

const FIELDS: [(&str, &str, &str, Normaliser); 4] = [
    (
        "$.subscriber_id",
        "subscriber",
        "sub",
        Normaliser::Subscriber,
    ),
    ("$.email", "email", "eml", Normaliser::Email),
    ("$.kit_id", "kit", "kit", Normaliser::Kit),
    ("$.ethnicity", "ethnicity", "eth", Normaliser::Text),
];

/// Everything is durable: what a gateway does once its set is loaded.
struct Known(Vec<KindKey>);

impl Keeper for Known {
    fn kind(&self, kind: KindId) -> &KindKey {
        &self.0[usize::from(kind.0)]
    }

    fn is_durable(&self, _: &Pseudonym) -> bool {
        true
    }

    fn make_durable<'a>(
        &'a self,
        _: Vec<FirstSight>,
    ) -> Pin<Box<dyn Future<Output = Result<(), Fault>> + Send + 'a>> {
        Box::pin(std::future::ready(Ok(())))
    }
}

/// Nothing here waits for anything.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => unreachable!("every record is durable"),
    }
}

fn rewrite(c: &mut Criterion) {
    let kinds = Kinds::new(
        FIELDS
            .iter()
            .map(|&(_, name, prefix, normaliser)| Kind {
                name: name.into(),
                class: Class::Person,
                prefix: prefix.into(),
                normaliser,
            })
            .collect(),
    );
    let domain = DomainKey::new([1; 16], 1, Key32::new([7; 32]));
    let keys = kinds.iter().map(|(_, kind)| domain.kind(kind)).collect();
    let rules: Vec<(&str, Action)> = (0u16..)
        .zip(FIELDS)
        .map(|(index, (at, ..))| {
            let kind = KindId(index);
            let scope = Scope::Domain;
            (at, Action::Pseudonym { kind, scope })
        })
        .collect();
    let job = Job {
        policy: policy(Unlisted::Keep, RecordUnit::Auto, &rules),
        kinds: Arc::new(kinds),
        format: Format::Json,
        keeper: Some(Arc::new(Known(keys))),
        limits: Arc::new(Limits::default()),
        own: None,
    };
    let mut group = c.benchmark_group("rewrite");
    let records = records::records(1 << 20);
    for (name, format, body) in [
        ("json", Format::Json, format!("[{}]", records.join(","))),
        ("ndjson", Format::Ndjson, records.join("\n")),
    ] {
        group.throughput(Throughput::Bytes(body.len() as u64));
        let mut out = Vec::with_capacity(2 << 20);
        group.bench_function(name, |b| {
            b.iter(|| {
                out.clear();
                let mut rewriter = Rewriter::new(Job {
                    format,
                    ..job.clone()
                });
                for chunk in body.as_bytes().chunks(limits::CHUNK) {
                    now(rewriter.push(chunk, &mut out)).expect("it is well formed");
                }
                now(rewriter.finish(&mut out)).expect("it is well formed")
            });
        });
    }
    group.finish();
}

criterion_group!(benches, rewrite);
criterion_main!(benches);
