//! What was sent, what arrived, and what clients were told: the truth at the end of a soak.
//!
//! What enters: each request under its number, from both of its ends. What leaves: how many
//! requests were lost, sent twice or wrong. What can never happen: an identifier in a message; a
//! body that is looked at in part (every byte of every body that arrives is compared).

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use serde::Serialize;

use crate::pseudonym::{Pseudonym, text};

/// Members that the policy replaces, with the prefix of what stands there then.
pub const REPLACED: [(&str, &str); 4] = [
    ("subscriber_id", "sub"),
    ("email", "eml"),
    ("nhs_number", "nhs"),
    ("ethnicity", "eth"),
];

#[derive(Default)]
pub struct Ledger(Mutex<Book>);

#[derive(Default)]
struct Book {
    open: HashMap<u64, Request>,
    /// Member and value → what stood in its place.
    became: HashMap<(usize, String), String>,
    counts: Counts,
    first_wrong: Option<String>,
}

struct Request {
    body: Bytes,
    /// Not a byte may change.
    same: bool,
    /// The client breaks off: nothing whole may arrive.
    aborted: bool,
    arrived: u32,
    /// The client has an answer, or has gone.
    settled: bool,
}

/// What there was in all.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Counts {
    pub requests: u64,
    pub acknowledged: u64,
    pub refused: u64,
    pub aborted: u64,
    pub records: u64,
    pub bytes: u64,
    pub pseudonyms: u64,
    /// Acknowledged, and never seen by the backend.
    pub lost: u64,
    /// Seen by the backend more than once.
    pub twice: u64,
    /// Bodies that arrived otherwise than they should have.
    pub wrong: u64,
}

impl Counts {
    pub fn well(&self) -> bool {
        self.lost + self.twice + self.wrong == 0
    }
}

impl Ledger {
    pub fn sends(&self, number: u64, body: Bytes, same: bool, aborted: bool) {
        let mut book = self.book();
        book.counts.requests += 1;
        let request = Request {
            body,
            same,
            aborted,
            arrived: 0,
            settled: false,
        };
        book.open.insert(number, request);
    }

    /// A whole body at the backend.
    pub fn arrived(&self, number: u64, body: &[u8]) {
        let mut book = self.book();
        let book = &mut *book;
        let Some(request) = book.open.get_mut(&number) else {
            book.counts.twice += 1;
            return;
        };
        request.arrived += 1;
        book.counts.bytes += body.len() as u64;
        let compared = match (request.aborted, request.same) {
            (true, _) => Err("a body that was broken off arrived as a whole one".to_owned()),
            (_, true) if request.body == body => Ok(0),
            (_, true) => Err("a body that should pass was changed".to_owned()),
            _ => compare(&request.body, body, &mut book.became),
        };
        match compared {
            Ok(records) => book.counts.records += records,
            Err(what) => {
                book.counts.wrong += 1;
                book.first_wrong.get_or_insert(what);
            }
        }
        if request.arrived > 1 {
            book.counts.twice += 1;
        }
    }

    pub fn acknowledged(&self, number: u64) {
        let mut book = self.book();
        book.counts.acknowledged += 1;
        if let Some(request) = book.open.remove(&number)
            && request.arrived == 0
        {
            book.counts.lost += 1;
        }
    }

    /// No success: it may have arrived or not, at most once.
    pub fn refused(&self, number: u64) {
        self.settle(number, |counts| counts.refused += 1);
    }

    pub fn aborted(&self, number: u64) {
        self.settle(number, |counts| counts.aborted += 1);
    }

    /// Kept as long as something may still arrive.
    fn settle(&self, number: u64, count: impl FnOnce(&mut Counts)) {
        let mut book = self.book();
        count(&mut book.counts);
        if let Some(request) = book.open.get_mut(&number) {
            request.settled = true;
        }
    }

    pub fn counts(&self) -> Counts {
        let book = self.book();
        Counts {
            pseudonyms: book.became.len() as u64,
            ..book.counts
        }
    }

    /// What was wrong first, and requests that nobody has ended.
    pub fn faults(&self) -> (Option<String>, usize) {
        let book = self.book();
        let open = book.open.values().filter(|request| !request.settled);
        (book.first_wrong.clone(), open.count())
    }

    /// Every pseudonym that has reached the backend.
    pub fn pseudonyms(&self) -> Vec<Pseudonym> {
        let book = self.book();
        let parsed = book.became.values().map(|t| text::parse(t.as_bytes()));
        parsed.flatten().map(|parsed| parsed.pseudonym).collect()
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Walks through both: the same bytes, but for the values of the four members, which become what
/// they became before. Says how many subjects there were. The generator writes no escapes.
fn compare(
    sent: &[u8],
    arrived: &[u8],
    became: &mut HashMap<(usize, String), String>,
) -> Result<u64, String> {
    let (mut from, mut to, mut subjects) = (0, 0, 0);
    loop {
        let Some((at, member)) = next_member(&sent[from..]) else {
            return if sent[from..] == arrived[to..] {
                Ok(subjects)
            } else {
                Err("bytes outside the replaced values were changed".to_owned())
            };
        };
        if sent.get(from..from + at) != arrived.get(to..to + at) {
            return Err("bytes outside the replaced values were changed".to_owned());
        }
        (from, to) = (from + at, to + at);
        let (name, prefix) = REPLACED[member];
        let (Some(value), Some(is)) = (value(&sent[from..]), value(&arrived[to..])) else {
            return Err(format!("`{name}` has no end"));
        };
        (from, to) = (from + value.len(), to + is.len());
        if !is.starts_with(prefix) || text::parse(is.as_bytes()).is_none() {
            return Err(format!("`{name}` arrived without a pseudonym"));
        }
        let before = became
            .entry((member, value.to_owned()))
            .or_insert_with(|| is.to_owned());
        if before != is {
            return Err(format!("`{name}` became another pseudonym than before"));
        }
        subjects += u64::from(member == 0);
    }
}

/// Where the next replaced value begins, and of which member it is.
fn next_member(text: &[u8]) -> Option<(usize, usize)> {
    let mut at = 0;
    loop {
        at += memchr::memchr(b'"', &text[at..])? + 1;
        let rest = &text[at..];
        for (member, (name, _)) in REPLACED.iter().enumerate() {
            let value = rest.strip_prefix(name.as_bytes());
            if value.is_some_and(|rest| rest.starts_with(b"\":\"")) {
                return Some((at + name.len() + 3, member));
            }
        }
    }
}

fn value(text: &[u8]) -> Option<&str> {
    let end = memchr::memchr(b'"', text)?;
    std::str::from_utf8(&text[..end]).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SENT: &str = r#"{"subscriber_id":"a","n":1}"#;

    fn arrives(text: &str) -> Counts {
        let ledger = Ledger::default();
        ledger.sends(1, Bytes::from_static(SENT.as_bytes()), false, false);
        ledger.arrived(1, text.as_bytes());
        ledger.acknowledged(1);
        ledger.counts()
    }

    fn pseudonym(of: u8) -> String {
        let mut text = String::new();
        text::TextForm::new("sub", 1).write(&Pseudonym([of; 16]), &mut text);
        text
    }

    #[test]
    fn what_arrives_is_compared_to_the_last_byte() {
        let good = SENT.replace("\"a\"", &format!("{:?}", pseudonym(1)));
        let counts = arrives(&good);
        assert!(counts.well() && counts.records == 1 && counts.pseudonyms == 1);
        for bad in [
            SENT.to_owned(),
            good.replace("1}", "2}"),
            good.replace("\"n\"", "\"m\""),
            format!("{good} "),
            good[..good.len() - 1].to_owned(),
            good.replace("sub_", "eml_"),
        ] {
            assert_eq!(arrives(&bad).wrong, 1, "{bad}");
        }
    }

    #[test]
    fn what_is_lost_sent_twice_or_made_whole_is_counted() {
        let good = SENT.replace("\"a\"", &format!("{:?}", pseudonym(1)));
        let other = SENT.replace("\"a\"", &format!("{:?}", pseudonym(2)));
        let body = Bytes::from_static(SENT.as_bytes());
        let ledger = Ledger::default();
        for number in 1..=4 {
            ledger.sends(number, body.clone(), false, number == 3);
        }
        ledger.acknowledged(1);
        assert_eq!(ledger.counts().lost, 1);
        ledger.arrived(2, good.as_bytes());
        ledger.refused(2);
        ledger.arrived(2, good.as_bytes());
        assert_eq!(ledger.counts().twice, 1);
        ledger.aborted(3);
        ledger.arrived(3, good.as_bytes());
        assert_eq!(ledger.counts().wrong, 1);
        ledger.arrived(4, other.as_bytes());
        assert_eq!(
            ledger.counts().wrong,
            2,
            "another pseudonym for the same person"
        );
        assert_eq!(ledger.faults().1, 1);
    }
}
