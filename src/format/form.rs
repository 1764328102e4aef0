//! Percent-encoded pairs: a query string, or the body of a form
//! (`application/x-www-form-urlencoded`; WHATWG URL standard, section 5).
//!
//! What enters: `name=value` with `&` between. What leaves: slots over the values that a rule
//! wants answered, extents over the pairs that are dropped. What can never happen: a pair hides
//! because its name is encoded, empty or there twice; a reader behind finds another pair than
//! were seen here (`;`, broken escapes, `%00` and control characters are refused).
//!
//! The record is the whole: it leaves whole or not at all, unless the policy says `unbounded`.

use std::sync::Arc;

use super::percent;
use super::{Answer, Found, Options, Scanner, Shape, Slot};
use crate::error::{Code, Fault, Stage};
use crate::policy::{Action, Door, Policy, RecordUnit, RuleId, Unlisted};

/// A name that passes beside the policy's rules, as a route lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Decoded.
    pub name: Box<str>,
    /// Decoded values that pass; empty: any.
    pub values: Box<[Box<str>]>,
}

/// Scans one form body or one query string.
pub struct Form {
    policy: Arc<Policy>,
    door: Door,
    listed: Arc<[Listed]>,
    options: Options,
    /// All relative to the window: how far has been looked, where the pair began, where its
    /// first `=` stands.
    at: usize,
    pair: usize,
    equals: Option<usize>,
    /// Digits that an escape still wants, and the first of two.
    wanted: u8,
    high: u8,
    /// Some pair before this one stays, so a dropped one takes the separator before it along.
    stays: bool,
    /// Bytes before the window.
    base: u64,
    fault: Option<Fault>,
    scratch: Vec<u8>,
}

/// What becomes of a pair.
enum Fate {
    Stays,
    Leaves(RuleId),
    Slot(RuleId),
}

impl Form {
    /// A form body: `form:` rules.
    pub fn new(policy: Arc<Policy>, options: Options) -> Self {
        Self::of(policy, Door::Form, Arc::default(), options)
    }

    /// A query string: `query:` rules, and what the route lists. A rule that names a parameter
    /// itself comes before the list, `query:*` behind it.
    pub fn query(policy: Arc<Policy>, listed: Arc<[Listed]>, options: Options) -> Self {
        Self::of(policy, Door::Query, listed, options)
    }

    fn of(policy: Arc<Policy>, door: Door, listed: Arc<[Listed]>, options: Options) -> Self {
        Self {
            policy,
            door,
            listed,
            options,
            at: 0,
            pair: 0,
            equals: None,
            wanted: 0,
            high: 0,
            stays: false,
            base: 0,
            fault: None,
            scratch: Vec::new(),
        }
    }

    fn unbounded(&self) -> bool {
        self.policy.record == RecordUnit::Unbounded
    }

    fn fault(&self, code: Code, at: usize) -> Fault {
        Fault::new(code, Stage::Scan).at(self.base + at as u64)
    }

    /// What is no pair that all readers read alike.
    fn malformed(&self, at: usize) -> Fault {
        match self.door {
            Door::Query => self.fault(Code::QueryNotAllowed, at).place("query:*"),
            _ => self.fault(Code::MalformedForm, at),
        }
    }

    fn walk(&mut self, window: &[u8], last: bool, found: &mut Found) -> Result<(), Fault> {
        while let Some(byte) = window.get(self.at) {
            let begins = match self.unbounded() {
                true => self.base + self.pair as u64,
                false => 0,
            };
            if self.base + self.at as u64 - begins >= self.options.record as u64 {
                return Err(self.fault(Code::RecordTooLarge, self.at));
            }
            match (*byte, self.wanted) {
                (digit, 2) if digit.is_ascii_hexdigit() => (self.high, self.wanted) = (digit, 1),
                // U+0000 ends a string for some readers.
                (b'0', 1) if self.high == b'0' => return Err(self.malformed(self.at)),
                (digit, 1) if digit.is_ascii_hexdigit() => self.wanted = 0,
                (_, 1..) => return Err(self.malformed(self.at)),
                (b'%', _) => self.wanted = 2,
                (b'=', _) => self.equals = self.equals.or(Some(self.at)),
                (b'&', _) => {
                    self.end_pair(window, true, found)?;
                    self.at += 1;
                    (self.pair, self.equals) = (self.at, None);
                    continue;
                }
                (b';' | 0..=31 | 127, _) => return Err(self.malformed(self.at)),
                _ => {}
            }
            self.at += 1;
        }
        if last {
            if self.wanted > 0 {
                return Err(self.malformed(self.at));
            }
            self.end_pair(window, false, found)?;
            found.released = window.len();
            found.records = u64::from(self.base > 0 || !window.is_empty());
        }
        Ok(())
    }

    /// The pair ends at `self.at`, with `&` behind it if there is `more`.
    fn end_pair(&mut self, window: &[u8], more: bool, found: &mut Found) -> Result<(), Fault> {
        let (start, end) = (self.pair, self.at);
        if start == end {
            // Nothing between two separators, which readers pass over.
            self.stays = true;
        } else {
            let (name, value) = self.equals.map_or((end, end), |at| (at, at + 1));
            let bare = self.equals.is_none();
            match self.fate(&window[start..name], &window[value..end], bare)? {
                Fate::Stays => self.stays = true,
                Fate::Slot(rule) => {
                    self.stays = true;
                    let raw = &window[value..end];
                    found.slots.push(Slot {
                        start: value,
                        end,
                        rule,
                        shape: shape(raw),
                        record: 0,
                    });
                }
                Fate::Leaves(rule) => {
                    let (start, end) = match self.stays {
                        true => (start - 1, end),
                        false => (start, end + usize::from(more)),
                    };
                    found.slots.push(Slot {
                        start,
                        end,
                        rule,
                        shape: Shape::Extent,
                        record: 0,
                    });
                }
            }
        }
        if self.unbounded() {
            // The separator behind waits: a dropped pair would take it along.
            found.released = end + usize::from(more && !self.stays);
        }
        Ok(())
    }

    /// `bare`: there is no `=`.
    fn fate(&mut self, name: &[u8], raw: &[u8], bare: bool) -> Result<Fate, Fault> {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        percent::decode(name, true, &mut scratch);
        let fate = self.judge(&mut scratch, raw, bare);
        self.scratch = scratch;
        fate
    }

    /// `name`: decoded; its buffer is used up.
    fn judge(&self, name: &mut Vec<u8>, raw: &[u8], bare: bool) -> Result<Fate, Fault> {
        let here = self.pair;
        // In another charset a name would be another to the reader behind.
        if std::str::from_utf8(name).is_err() {
            return Err(self.not_utf8(here));
        }
        let doors = &self.policy.doors;
        let mut rule = doors.named(self.door, name);
        let named = rule.is_some();
        let listed = self.listed.iter().find(|l| l.name.as_bytes() == &**name);
        name.clear();
        percent::decode(raw, true, name);
        let value = name;
        if self.door == Door::Form && std::str::from_utf8(value).is_err() {
            return Err(self.not_utf8(here));
        }
        if rule.is_none() {
            if let Some(listed) = listed {
                let known = listed.values.iter().any(|v| v.as_bytes() == &**value);
                if known || listed.values.is_empty() {
                    return Ok(Fate::Stays);
                }
                let place = format!("{}:{}", self.door.name(), listed.name);
                return Err(self.fault(Code::QueryNotAllowed, here).place(place));
            }
            rule = doors.any(self.door);
        }
        let Some(id) = rule else {
            return self.unlisted(here);
        };
        let rule = self.policy.rule(id);
        match rule.action {
            Action::Keep => Ok(Fate::Stays),
            Action::Drop => Ok(Fate::Leaves(id)),
            Action::Reject => {
                let place = rule.at.to_string();
                Err(self.fault(Code::RejectedPlace, here).place(place))
            }
            // Some readers take it for a value without a name, and nobody has named it.
            _ if bare && !named => {
                let place = rule.at.to_string();
                Err(self.fault(Code::RejectedPlace, here).place(place))
            }
            // It holds nothing.
            _ if value.is_empty() => Ok(Fate::Stays),
            _ if raw.len() > self.options.value => {
                let place = rule.at.to_string();
                Err(self.fault(Code::ValueTooLarge, here).place(place))
            }
            _ => Ok(Fate::Slot(id)),
        }
    }

    fn unlisted(&self, at: usize) -> Result<Fate, Fault> {
        match self.policy.unlisted {
            Unlisted::Keep => Ok(Fate::Stays),
            Unlisted::Drop => Ok(Fate::Leaves(RuleId::UNLISTED)),
            Unlisted::Reject => {
                let code = match self.door {
                    Door::Query => Code::QueryNotAllowed,
                    _ => Code::UnlistedPlace,
                };
                let place = format!("{}:*", self.door.name());
                Err(self.fault(code, at).place(place))
            }
        }
    }

    fn not_utf8(&self, at: usize) -> Fault {
        match self.door {
            Door::Query => self.malformed(at),
            _ => self.fault(Code::NotUtf8, at),
        }
    }
}

impl Scanner for Form {
    fn scan(&mut self, window: &[u8], last: bool, found: &mut Found) -> Result<(), Fault> {
        if let Some(fault) = &self.fault {
            return Err(fault.clone());
        }
        found.released = 0;
        if let Err(fault) = self.walk(window, last, found) {
            found.released = 0;
            self.fault = Some(fault.clone());
            return Err(fault);
        }
        let gone = found.released;
        self.base += gone as u64;
        self.at -= gone;
        self.pair = self.pair.saturating_sub(gone);
        self.equals = self.equals.map(|at| at.saturating_sub(gone));
        Ok(())
    }

    fn value<'a>(&self, raw: &'a [u8], shape: Shape, scratch: &'a mut Vec<u8>) -> &'a [u8] {
        match shape {
            Shape::Extent => &[],
            Shape::Escaped => {
                scratch.clear();
                percent::decode(raw, true, scratch);
                scratch
            }
            _ => raw,
        }
    }

    fn write(&self, raw: &[u8], _: Shape, answer: Answer<'_>, out: &mut Vec<u8>) {
        match answer {
            Answer::Keep => out.extend_from_slice(raw),
            Answer::Word(word) => out.extend_from_slice(word),
            Answer::Null | Answer::Nothing => {}
            Answer::Text(text) => {
                let literal = |b| percent::unreserved(b) || b"*:@/,".contains(&b);
                percent::encode(text.as_bytes(), literal, out);
            }
        }
    }
}

/// Whether reading the value needs a buffer.
fn shape(raw: &[u8]) -> Shape {
    match memchr::memchr2(b'%', b'+', raw) {
        Some(_) => Shape::Escaped,
        None => Shape::Text,
    }
}

#[cfg(test)]
mod tests;
