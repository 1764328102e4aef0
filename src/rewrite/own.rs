//! `restore-own`: what this client sent in this very request, by the pseudonym it became.
//!
//! What enters: pseudonyms as the request side makes them, with the spelling that came in. What
//! leaves: that spelling, for the response to the same request. What can never happen: it
//! outlives the request, or answers for a pseudonym that this request did not make.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Mutex;

use crate::pseudonym::KindId;
use crate::secret::PlainBuf;

/// Pseudonym text → the spelling that came in. The first spelling wins.
pub struct OwnIdentifiers {
    limit: usize,
    sent: Mutex<HashMap<(KindId, Box<str>), PlainBuf>>,
}

impl OwnIdentifiers {
    /// `limit`: distinct identifiers remembered (`limits.restore`); further ones come back as
    /// pseudonyms.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            sent: Mutex::default(),
        }
    }

    pub fn remember(&self, kind: KindId, pseudonym: &str, spelling: &str) {
        let mut sent = self.lock();
        if sent.len() < self.limit {
            sent.entry((kind, pseudonym.into()))
                .or_insert_with(|| PlainBuf::new(spelling.as_bytes().to_vec()));
        }
    }

    /// Appends the spelling behind a pseudonym to `out`; says whether there was one.
    pub fn restore(&self, kind: KindId, pseudonym: &str, out: &mut String) -> bool {
        let sent = self.lock();
        let Some(plain) = sent.get(&(kind, pseudonym.into())) else {
            return false;
        };
        // What was remembered was a `str`.
        out.push_str(std::str::from_utf8(plain.expose()).unwrap_or_default());
        true
    }

    /// Distinct identifiers so far, for the client's budget.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// One number for each distinct identifier, to count them over requests. Of its pseudonym,
    /// which is uniformly spread and nobody's to choose.
    pub fn marks(&self) -> Vec<u64> {
        let mark = |key: &(KindId, Box<str>)| {
            let mut hasher = DefaultHasher::new();
            key.hash(&mut hasher);
            hasher.finish()
        };
        self.lock().keys().map(mark).collect()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<(KindId, Box<str>), PlainBuf>> {
        self.sent.lock().unwrap_or_else(|e| e.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_spelling_of_the_same_kind_comes_back() {
        let own = OwnIdentifiers::new(2);
        own.remember(KindId(0), "sub_1_a", "SUB-1");
        own.remember(KindId(0), "sub_1_a", "sub-1");
        let mut out = String::new();
        assert!(own.restore(KindId(0), "sub_1_a", &mut out));
        assert_eq!(out, "SUB-1");
        assert!(!own.restore(KindId(1), "sub_1_a", &mut out));
        assert!(!own.restore(KindId(0), "sub_1_b", &mut out));
    }

    #[test]
    fn beyond_the_limit_nothing_more_is_remembered() {
        let own = OwnIdentifiers::new(1);
        own.remember(KindId(0), "a", "1");
        own.remember(KindId(0), "b", "2");
        assert_eq!(own.len(), 1);
        assert!(!own.restore(KindId(0), "b", &mut String::new()));
    }
}
