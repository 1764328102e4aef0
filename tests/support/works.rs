//! Fixed pieces of work, one or more for each hot room. Each says what it did, so that a work
//! that does nothing is not counted as a fast one.

use std::hint::black_box;
use std::sync::Arc;

use cryptonym::config::Format;
use cryptonym::format::{Found, Json, Ndjson, Options, Scanner, splice};
use cryptonym::limits;
use cryptonym::policy::Unlisted;
use cryptonym::pseudonym::{
    Class, DomainKey, Kind, Kinds, Normaliser, Pseudonym, looks_like_pseudonym, text,
};
use cryptonym::secret::Key32;
use cryptonym::vault_link::known::KnownSet;

use super::{records, rewriting, scanning};

/// How many units were done.
pub type Work = Box<dyn FnMut() -> usize>;

/// Name, unit, and how to prepare it.
pub type Entry = (&'static str, &'static str, fn() -> Work);

/// Bytes of a body: two chunks of a stream.
const BODY: usize = 2 * limits::CHUNK;
const VALUES: usize = 1000;

pub const PURE: &[Entry] = &[
    ("scan: JSON", "byte", || scan(json(), false)),
    ("scan: NDJSON", "byte", || scan(lines(), true)),
    ("scan: JSON on many lines", "byte", || {
        scan(records::pretty(&json()), false)
    }),
    ("scan: one record", "record", scan_one),
    ("splice", "byte", splice_json),
    ("derive, with its text", "value", derive),
    ("keys of a kind", "kind", keys),
    ("normalise: subscriber", "value", || {
        normalise(Normaliser::Subscriber, "SUB-00000001")
    }),
    ("normalise: email", "value", || {
        normalise(Normaliser::Email, "amelia.smith12@example.org")
    }),
    ("normalise: nhs-number", "value", || {
        normalise(Normaliser::NhsNumber, "9990000018")
    }),
    ("normalise: phone", "value", || {
        normalise(Normaliser::Phone, "+44 7700 900123")
    }),
    ("normalise: name", "value", || {
        normalise(Normaliser::Name, "Siobhán O'Connor")
    }),
    ("normalise: text", "value", || {
        normalise(Normaliser::Text, "Any other ethnic group")
    }),
    ("looks like a pseudonym: no", "value", looks),
    ("parse a pseudonym", "value", parse),
    ("known set: present", "value", || known(true)),
    ("known set: absent", "value", || known(false)),
    ("resolve: bare values, derived", "value", || {
        bare(rewriting::Becomes::Pseudonyms)
    }),
    ("resolve: bare values, constant", "value", || {
        bare(rewriting::Becomes::Constants)
    }),
    ("rewrite: JSON", "byte", || rewrite(Format::Json, json())),
    ("rewrite: NDJSON", "byte", || {
        rewrite(Format::Ndjson, lines())
    }),
    ("rewrite: one record", "record", rewrite_one),
];

fn json() -> Vec<u8> {
    format!("[{}]", records::records(BODY).join(",")).into_bytes()
}

fn lines() -> Vec<u8> {
    records::records(BODY).join("\n").into_bytes()
}

fn one() -> Vec<u8> {
    records::records(600).remove(0).into_bytes()
}

fn scanner(is_lines: bool, unlisted: Unlisted) -> Box<dyn Scanner> {
    let (policy, options) = (scanning::four_fields(unlisted), Options::default());
    if is_lines {
        Box::new(Ndjson::new(policy, options))
    } else {
        Box::new(Json::new(policy, options))
    }
}

/// Everything in the record is listed and looked at.
fn scan(body: Vec<u8>, is_lines: bool) -> Work {
    let mut found = Found::default();
    Box::new(move || {
        let mut scanner = scanner(is_lines, Unlisted::Reject);
        let mut released = 0;
        let slots = scanning::scan(
            &mut *scanner,
            &body,
            limits::CHUNK,
            &mut found,
            |_, bytes, _| released += bytes.len(),
        );
        assert!(slots >= 4 * BODY / 1000, "{slots} values");
        assert_eq!(released, body.len());
        released
    })
}

/// What a small request costs: a scanner of its own.
fn scan_one() -> Work {
    let body = one();
    let policy = scanning::four_fields(Unlisted::Reject);
    let mut found = Found::default();
    Box::new(move || {
        for _ in 0..VALUES / 4 {
            let mut json = Json::new(Arc::clone(&policy), Options::default());
            let slots = scanning::scan(&mut json, &body, body.len(), &mut found, |_, _, _| ());
            assert_eq!(slots, 4);
        }
        VALUES / 4
    })
}

fn splice_json() -> Work {
    let body = json();
    let mut scanner = scanner(false, Unlisted::Keep);
    let (mut slots, mut found) = (Vec::new(), Found::default());
    scanning::scan(&mut *scanner, &body, body.len(), &mut found, |_, _, new| {
        slots.extend_from_slice(new);
    });
    let mut out = Vec::with_capacity(2 * body.len());
    Box::new(move || {
        out.clear();
        splice(
            &*scanner,
            &body,
            &slots,
            scanning::answers(&slots),
            &mut out,
        );
        assert!(out.len() > body.len());
        body.len()
    })
}

fn kind(normaliser: Normaliser) -> Kind {
    Kind {
        name: normaliser.name().into(),
        class: Class::Person,
        prefix: "sub".into(),
        normaliser,
    }
}

fn domain() -> DomainKey {
    DomainKey::new([1; 16], 1, Key32::new([2; 32]))
}

fn derive() -> Work {
    let key = domain().kind(&kind(Normaliser::Subscriber));
    let mut out = String::with_capacity(64);
    let value = Placed::new(b"SUB-00000001");
    Box::new(move || {
        for n in 0..VALUES {
            out.clear();
            key.write(&key.derive(value.get(n)), &mut out);
            assert!(out.starts_with("sub_1_"));
        }
        VALUES
    })
}

fn keys() -> Work {
    let (domain, kind) = (domain(), kind(Normaliser::Subscriber));
    Box::new(move || {
        for _ in 0..VALUES / 10 {
            black_box(domain.kind(black_box(&kind)));
        }
        VALUES / 10
    })
}

/// A value at each of eight places in turn: what looks at words is faster where one begins.
struct Placed {
    bytes: Vec<u8>,
    aligned: usize,
    length: usize,
}

impl Placed {
    fn new(value: &[u8]) -> Self {
        let mut bytes = vec![0; 8 * (value.len() + 64)];
        let aligned = bytes.as_ptr().align_offset(64);
        let mut placed = Self {
            aligned,
            length: value.len(),
            bytes: Vec::new(),
        };
        for n in 0..8 {
            let at = placed.place(n);
            bytes[at..at + value.len()].copy_from_slice(value);
        }
        placed.bytes = bytes;
        placed
    }

    /// Of the places, each begins one byte further from a word's beginning than the one before.
    fn place(&self, n: usize) -> usize {
        let stride = self.length.next_multiple_of(8) + 8;
        self.aligned + n % 8 * (stride + 1)
    }

    fn get(&self, n: usize) -> &[u8] {
        let at = self.place(n);
        black_box(&self.bytes[at..at + self.length])
    }
}

fn normalise(normaliser: Normaliser, value: &'static str) -> Work {
    let mut normal = Vec::with_capacity(64);
    let value = Placed::new(value.as_bytes());
    Box::new(move || {
        for n in 0..VALUES {
            let done = normaliser.normalise(value.get(n), &mut normal);
            assert!(done.is_ok() && !normal.is_empty());
        }
        VALUES
    })
}

fn looks() -> Work {
    let kinds = Kinds::new(vec![kind(Normaliser::Subscriber)]);
    let value = Placed::new(b"amelia.smith12@example.org");
    Box::new(move || {
        for n in 0..VALUES {
            assert!(!looks_like_pseudonym(value.get(n), &kinds));
        }
        VALUES
    })
}

fn parse() -> Work {
    let mut spelling = String::new();
    let key = domain().kind(&kind(Normaliser::Subscriber));
    key.write(&Pseudonym([7; 16]), &mut spelling);
    let spelling = Placed::new(spelling.as_bytes());
    Box::new(move || {
        for n in 0..VALUES {
            assert!(text::parse(spelling.get(n)).is_some());
        }
        VALUES
    })
}

/// Bits as spread as those of pseudonyms, without the time it takes to derive them.
fn pseudonyms(count: usize) -> Vec<Pseudonym> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    };
    (0..count)
        .map(|_| Pseudonym(((u128::from(next()) << 64) | u128::from(next())).to_be_bytes()))
        .collect()
}

fn known(present: bool) -> Work {
    let all = pseudonyms(25_000);
    let (inside, outside) = all.split_at(20_000);
    let set = KnownSet::new();
    set.extend(inside.iter().copied());
    let asked = if present { &inside[..5_000] } else { outside }.to_vec();
    Box::new(move || {
        let found = asked.iter().filter(|one| set.contains(one)).count();
        assert_eq!(found, if present { asked.len() } else { 0 });
        asked.len()
    })
}

/// Records of nothing but the values; `derived` less `constant` is resolving.
fn bare(becomes: rewriting::Becomes) -> Work {
    let body = rewriting::bare(&records::records(BODY)).join("\n");
    let job = rewriting::job(Format::Ndjson, becomes);
    let mut out = Vec::with_capacity(2 * body.len());
    let mut sights = None;
    Box::new(move || {
        let summary = rewriting::rewrite(&job, body.as_bytes(), &mut out);
        // The first time, a new pseudonym is a first sight; after that, it is known.
        let again = sights.replace(summary.first_sights).is_some();
        assert!(!again || summary.first_sights == 0);
        summary.replaced as usize
    })
}

fn rewrite(format: Format, body: Vec<u8>) -> Work {
    let job = rewriting::job(format, rewriting::Becomes::Pseudonyms);
    let mut out = Vec::with_capacity(2 * body.len());
    Box::new(move || {
        let summary = rewriting::rewrite(&job, &body, &mut out);
        assert_eq!(summary.replaced, 4 * summary.records);
        body.len()
    })
}

/// What a small request costs: a rewriter of its own.
fn rewrite_one() -> Work {
    let body = one();
    let job = rewriting::job(Format::Json, rewriting::Becomes::Pseudonyms);
    let mut out = Vec::with_capacity(2 * body.len());
    Box::new(move || {
        for _ in 0..VALUES / 4 {
            assert_eq!(rewriting::rewrite(&job, &body, &mut out).replaced, 4);
        }
        VALUES / 4
    })
}
