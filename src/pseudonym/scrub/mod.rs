//! Free text: what stands in it that identifies somebody.
//!
//! What enters: a text, the detectors to use, and the identifiers of its own record. What leaves:
//! hits, byte ranges of the text, in order and without overlap. What can never happen: a hit in
//! the middle of a character, or time that grows faster than the text.
//!
//! | room | what it finds |
//! |---|---|
//! | `own` | the record's own identifiers, in other spellings |
//! | `words` | mailboxes, IP addresses, bank accounts, postcodes |
//! | `digits` | NHS numbers, payment cards, telephone numbers |
//!
//! It finds what has a form. A name that stands nowhere else in the record, a street, a rare
//! occupation have none: `docs/policies.md` says so, and `check` too.

use std::fmt;

use super::KindId;

mod digits;
pub mod fuzz;
mod own;
mod words;

#[cfg(test)]
mod tests;

pub use own::Owns;

macro_rules! detectors {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// What is looked for. Each but the first is also the name of the kind that its hits are of.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Detector { $($(#[$doc])* $variant,)* }

        impl Detector {
            /// In the order of their claims: where two find the same bytes, the first has them.
            pub const ALL: &'static [Detector] = &[$(Detector::$variant,)*];

            /// As a policy writes it.
            pub fn name(self) -> &'static str { match self { $(Detector::$variant => $name,)* } }

            /// What stands in the place of a hit that has no pseudonym.
            pub fn marker(self) -> &'static str { match self { $(Detector::$variant => concat!("[", $name, "]"),)* } }
        }
    };
}

detectors! {
    /// What other rules replace in the same record.
    Own = "own",
    /// Mailboxes.
    Email = "email",
    /// Addresses of IPv4 and IPv6.
    Ip = "ip",
    /// Bank accounts.
    Iban = "iban",
    /// Payment cards.
    Card = "card",
    /// NHS numbers.
    NhsNumber = "nhs-number",
    /// Telephone numbers, international ones and such as start with a zero.
    Phone = "phone",
    /// United Kingdom postcodes.
    Postcode = "postcode",
}

/// How a rule scrubs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scrub {
    /// The kind of each detector's hits, in the order of [`Detector::ALL`]; `None`: not looked
    /// for. The first has no kind of its own.
    kinds: [Option<KindId>; 8],
    own: bool,
    /// The calling code, in digits, of numbers that are written without one.
    pub country: Option<Box<str>>,
}

impl Scrub {
    /// Looks for nothing yet.
    pub fn new(country: Option<Box<str>>) -> Self {
        Self {
            kinds: [None; 8],
            own: false,
            country,
        }
    }

    /// Looks for the record's own identifiers too.
    pub fn own(mut self) -> Self {
        self.own = true;
        self
    }

    /// Looks for what this detector finds, which is of this kind.
    pub fn find(mut self, detector: Detector, kind: KindId) -> Self {
        self.kinds[detector as usize] = Some(kind);
        self
    }

    /// Whether the record's own identifiers are looked for.
    pub fn finds_own(&self) -> bool {
        self.own
    }

    /// The kind of a detector's hits, if it is used.
    pub fn kind(&self, detector: Detector) -> Option<KindId> {
        self.kinds[detector as usize]
    }

    /// Every kind that it can make a pseudonym of.
    pub fn kinds(&self) -> impl Iterator<Item = KindId> {
        self.kinds.iter().copied().flatten()
    }

    /// The detectors in use.
    pub fn detectors(&self) -> impl Iterator<Item = Detector> {
        let used = |d: &Detector| self.kind(*d).is_some() || (*d == Detector::Own && self.own);
        Detector::ALL.iter().copied().filter(used)
    }

    /// What identifies somebody in `text`; `hits` is cleared first.
    pub fn look(&self, text: &str, owns: &Owns, hits: &mut Vec<Hit>) {
        let mut claims = Claims(hits);
        claims.0.clear();
        for detector in self.detectors() {
            match detector {
                Detector::Own => owns.find(text, &mut claims),
                Detector::Email => words::mailboxes(text, &mut claims),
                Detector::Ip => words::addresses(text, &mut claims),
                Detector::Iban => words::accounts(text, &mut claims),
                Detector::Card => digits::cards(text, &mut claims),
                Detector::NhsNumber => digits::nhs(text, &mut claims),
                Detector::Phone => digits::phones(text, &mut claims),
                Detector::Postcode => words::postcodes(text, &mut claims),
            }
        }
    }

    /// What a hit's kind is to be asked for its normal form: as it stands, but a telephone
    /// number in its international form. Empty if it has none.
    pub fn spelling(&self, detector: Detector, hit: &str, out: &mut Vec<u8>) {
        out.clear();
        match detector {
            Detector::Phone => digits::international(hit, self.country.as_deref(), out),
            Detector::NhsNumber | Detector::Card => digits::bare(hit, out),
            _ => out.extend_from_slice(hit.as_bytes()),
        }
    }
}

/// A run of bytes that identifies somebody.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Hit {
    pub start: usize,
    pub end: usize,
    pub what: What,
}

impl fmt::Debug for Hit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{} {:?}", self.start, self.end, self.what)
    }
}

/// What a hit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// The own identifier of this number.
    Own(usize),
    Found(Detector),
}

/// Hits of one detector after the other: what is taken stays taken.
struct Claims<'a>(&'a mut Vec<Hit>);

impl Claims<'_> {
    /// Notes hits of one detector, which come in order and without overlap among themselves. What
    /// has been found before keeps its place if it holds all of the new hit. What reaches over
    /// something found before takes it in: no part of a hit ever stays.
    fn take(&mut self, found: impl Iterator<Item = Hit>) {
        let before = std::mem::take(self.0);
        let mut earlier = before.into_iter().peekable();
        for mut hit in found {
            // Both are in order, so that one walk along them is enough.
            while let Some(done) = earlier.next_if(|done| done.end <= hit.start) {
                self.add(done);
            }
            while let Some(other) = earlier.next_if(|other| other.start < hit.end) {
                if other.start <= hit.start && other.end >= hit.end {
                    hit = other;
                } else {
                    hit.start = hit.start.min(other.start);
                    hit.end = hit.end.max(other.end);
                }
            }
            self.add(hit);
        }
        for hit in earlier {
            self.add(hit);
        }
    }

    /// In order; one that has grown into the last is taken in too.
    fn add(&mut self, hit: Hit) {
        match self.0.last_mut().filter(|last| last.end > hit.start) {
            None => self.0.push(hit),
            Some(last) if last.start <= hit.start && last.end >= hit.end => {}
            Some(last) => {
                last.start = last.start.min(hit.start);
                last.end = last.end.max(hit.end);
                last.what = hit.what;
            }
        }
    }
}

fn hit(detector: Detector, start: usize, end: usize) -> Hit {
    Hit {
        start,
        end,
        what: What::Found(detector),
    }
}

/// Whether letters or digits go on behind `at` or before it. Both sides of a hit are asked.
fn goes_on(byte: Option<&u8>) -> bool {
    // Bytes of other scripts' letters count as letters.
    byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte >= 0x80)
}
