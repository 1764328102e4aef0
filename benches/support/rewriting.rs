//! What a gateway does once its set is loaded: rewrites whose pseudonyms are all known durable.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use cryptonym::config::{Format, Limits};
use cryptonym::error::Fault;
use cryptonym::format::fuzz::policy;
use cryptonym::limits;
use cryptonym::policy::{Action, RecordUnit, Redact, Scope, Unlisted};
use cryptonym::pseudonym::{Class, DomainKey, Kind, KindId, KindKey, Kinds, Normaliser, Pseudonym};
use cryptonym::rewrite::{Job, Keeper, Rewriter, Summary};
use cryptonym::secret::Key32;
use cryptonym::vault_link::FirstSight;
use cryptonym::vault_link::known::KnownSet;

/// Member, kind, prefix, normaliser.
const FIELDS: [(&str, &str, &str, Normaliser); 4] = [
    ("subscriber_id", "subscriber", "sub", Normaliser::Subscriber),
    ("email", "email", "eml", Normaliser::Email),
    ("kit_id", "kit", "kit", Normaliser::Kit),
    ("ethnicity", "ethnicity", "eth", Normaliser::Text),
];

/// As long as a pseudonym of an epoch of one digit.
const CONSTANT: &str = "sub_1_7c9e6679742540de944be07fc1f";

/// Keeps every record at once, in the gateway's own set: what came before is known.
struct Keeping {
    keys: Vec<KindKey>,
    known: KnownSet,
}

impl Keeper for Keeping {
    fn kind(&self, kind: KindId) -> &KindKey {
        &self.keys[usize::from(kind.0)]
    }

    fn is_durable(&self, pseudonym: &Pseudonym) -> bool {
        self.known.contains(pseudonym)
    }

    fn is_current(&self) -> bool {
        true
    }

    fn make_durable<'a>(
        &'a self,
        sights: Vec<FirstSight>,
    ) -> Pin<Box<dyn Future<Output = Result<(), Fault>> + Send + 'a>> {
        self.known.extend(sights.iter().map(|s| s.pseudonym));
        Box::pin(std::future::ready(Ok(())))
    }
}

/// What stands in the four fields' places.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Becomes {
    Pseudonyms,
    /// The same rewrite with nothing to resolve.
    Constants,
}

/// Four fields of a record replaced, the rest kept.
pub fn job(format: Format, becomes: Becomes) -> Job {
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
    let places: Vec<String> = FIELDS
        .iter()
        .map(|field| format!("$.{}", field.0))
        .collect();
    let rules: Vec<(&str, Action)> = (0u16..)
        .zip(&places)
        .map(|(index, at)| {
            let action = match becomes {
                Becomes::Constants => Action::Redact(Redact::Constant(CONSTANT.into())),
                Becomes::Pseudonyms => Action::Pseudonym {
                    kind: KindId(index),
                    scope: Scope::Domain,
                },
            };
            (at.as_str(), action)
        })
        .collect();
    Job {
        policy: policy(Unlisted::Keep, RecordUnit::Auto, &rules),
        kinds: Arc::new(kinds),
        format,
        keeper: Some(Arc::new(Keeping {
            keys,
            known: KnownSet::new(),
        })),
        limits: Arc::new(Limits::default()),
        own: None,
    }
}

/// Rewrites one body, as it comes: in chunks.
pub fn rewrite(job: &Job, body: &[u8], out: &mut Vec<u8>) -> Summary {
    out.clear();
    let mut rewriter = Rewriter::new(job.clone());
    for chunk in body.chunks(limits::CHUNK) {
        now(rewriter.push(chunk, out)).expect("it is well formed");
    }
    now(rewriter.finish(out)).expect("it is well formed")
}

/// Nothing here waits for anything.
pub fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => unreachable!("every record is durable at once"),
    }
}

/// The records without anything but the four values: nearly all of their rewrite is resolving.
pub fn bare(records: &[String]) -> Vec<String> {
    let only = |record: &String| {
        let all: serde_json::Value = serde_json::from_str(record).expect("a record");
        let members: Vec<String> = FIELDS
            .iter()
            .map(|field| format!("\"{}\":{}", field.0, all[field.0]))
            .collect();
        format!("{{{}}}", members.join(","))
    };
    records.iter().map(only).collect()
}
