//! Whom a record is about: found first, then asked by the values that depend on it.
//!
//! What enters: all slots of whole records. What leaves: answers of `date-shift` and of scope
//! `subject`, the same whether the subject stands before its values or behind them. What can never
//! happen: a value is answered for another record's subject, or for one of two; a pseudonym in
//! the subject's place counts as the subject, which would let whoever holds pseudonyms try out
//! values against them.
//!
//! Records leave whole, so all slots of one stand in one segment (and all texts of a head are one
//! record). What is wrong with a subject is kept until a value asks, so that the first fault of a
//! body does not depend on how it was cut.

use super::{Made, Resolver, Segment, fault};
use crate::error::{Code, Fault};
use crate::format::{Shape, Slot};
use crate::policy::{Action, Already, Rule, Scope};
use crate::pseudonym::derive::Draw;
use crate::pseudonym::shift::{Offset, shift};
use crate::pseudonym::{KindId, Pseudonym, text};
use crate::rewrite::Keeper;

/// The subjects of some records, in order of the records.
#[derive(Default)]
pub(super) struct Subjects {
    found: Vec<(u64, Found)>,
    /// They have been found before the segments that are one record.
    fixed: bool,
}

/// What a record says about whom it is about.
enum Found {
    /// By an identifier.
    Named(Subject),
    /// Only by a pseudonym that was there already.
    Hidden(Pseudonym),
    /// By two.
    Two,
    /// By a value that has no normal form.
    Wrong(Box<Fault>),
}

struct Subject {
    kind: KindId,
    pseudonym: Pseudonym,
    draw: Draw,
}

impl Subjects {
    fn of(&self, record: u64) -> Option<&Found> {
        let at = self.found.binary_search_by_key(&record, |(of, _)| *of);
        at.ok().map(|at| &self.found[at].1)
    }

    /// One more value that names a subject.
    fn add(&mut self, record: u64, found: Found) {
        match self.found.last_mut() {
            Some((of, known)) if *of == record => known.join(found),
            _ => self.found.push((record, found)),
        }
    }
}

impl Found {
    fn join(&mut self, other: Self) {
        let same = match (&*self, &other) {
            (Self::Named(one), Self::Named(two)) => {
                one.kind == two.kind && one.pseudonym == two.pseudonym
            }
            (Self::Named(one), Self::Hidden(two)) | (Self::Hidden(two), Self::Named(one)) => {
                one.pseudonym == *two
            }
            (Self::Hidden(one), Self::Hidden(two)) => one == two,
            // The first thing that is wrong stays.
            (Self::Two | Self::Wrong(_), _) => return,
            (_, Self::Two | Self::Wrong(_)) => {
                *self = other;
                return;
            }
        };
        match (same, &other) {
            (false, _) => *self = Self::Two,
            (true, Self::Named(_)) => *self = other,
            (true, _) => {}
        }
    }
}

impl Resolver {
    /// Finds the subjects of texts that are one record together. [`Resolver::resolve`] then looks
    /// for no others.
    pub(in crate::rewrite) fn one_record<'a>(
        &mut self,
        segments: impl Iterator<Item = Segment<'a>>,
    ) {
        if !self.job.policy.wants_subject {
            return;
        }
        let keeper = self.job.keeper.clone();
        let mut scratch = std::mem::take(&mut self.scratch);
        for segment in segments {
            self.find(segment, keeper.as_deref(), &mut scratch);
        }
        self.scratch = scratch;
        self.subjects.fixed = true;
    }

    /// Finds the subjects of a segment's records, unless they are known.
    pub(super) fn subjects_of(
        &mut self,
        segment: Segment<'_>,
        keeper: Option<&dyn Keeper>,
        scratch: &mut Vec<u8>,
    ) {
        if !self.subjects.fixed {
            self.subjects.found.clear();
            self.find(segment, keeper, scratch);
        }
    }

    fn find(&mut self, segment: Segment<'_>, keeper: Option<&dyn Keeper>, scratch: &mut Vec<u8>) {
        // Without keys nothing is answered, and the first slot that wants any says so.
        let Some(keeper) = keeper else { return };
        let policy = self.job.policy.clone();
        let asked = segment.slots.iter().filter(|s| s.shape != Shape::Extent);
        for slot in asked {
            let rule = policy.rule(slot.rule);
            let (true, Action::Pseudonym { kind, .. }) = (rule.subject, &rule.action) else {
                continue;
            };
            let raw = segment.raw(slot);
            let value = segment.scanner.value(raw, slot.shape, scratch);
            let found = if rule.already == Already::Keep && self.is_one_of(*kind, value) {
                text::parse(value).map(|parsed| Found::Hidden(parsed.pseudonym))
            } else {
                Some(self.name(keeper, *kind, value).unwrap_or_else(|code| {
                    let at = segment.base + slot.start as u64;
                    Found::Wrong(Box::new(fault(code, rule, at)))
                }))
            };
            if let Some(found) = found {
                self.subjects.add(slot.record, found);
            }
        }
    }

    fn name(&mut self, keeper: &dyn Keeper, kind: KindId, value: &[u8]) -> Result<Found, Code> {
        self.normalise(kind, value)?;
        let key = keeper.kind(kind);
        Ok(Found::Named(Subject {
            kind,
            pseudonym: key.derive(&self.normal),
            draw: key.draw(&self.normal),
        }))
    }

    /// The subject of the record that a slot stands in, as a recovery record wants it; `None`
    /// where the slot's pseudonym does not depend on it.
    pub(super) fn subject_in(&self, slot: &Slot) -> Option<(KindId, Pseudonym)> {
        let policy = &self.job.policy;
        if !policy.wants_subject || !policy.rule(slot.rule).action.wants_subject() {
            return None;
        }
        match self.subjects.of(slot.record) {
            Some(Found::Named(subject)) => Some((subject.kind, subject.pseudonym)),
            _ => None,
        }
    }

    /// The answer to a value that depends on the record's subject.
    pub(super) fn in_context(
        &mut self,
        keeper: &dyn Keeper,
        slot: &Slot,
        rule: &Rule,
        value: &[u8],
        base: u64,
    ) -> Result<Made, Fault> {
        let here = |code| fault(code, rule, base + slot.start as u64);
        if let Action::Pseudonym { kind, .. } = rule.action
            && rule.already == Already::Keep
            && self.is_one_of(kind, value)
        {
            return Ok(Made::Keep);
        }
        let subject = match self.subjects.of(slot.record) {
            Some(Found::Named(subject)) => subject,
            Some(Found::Hidden(_)) | None => return Err(here(Code::NoSubject)),
            Some(Found::Two) => return Err(here(Code::TwoSubjects)),
            Some(Found::Wrong(fault)) => return Err((**fault).clone()),
        };
        match rule.action {
            Action::Pseudonym {
                kind,
                scope: Scope::Subject,
            } => {
                let (of, pseudonym) = (subject.kind, subject.pseudonym);
                self.normalise(kind, value).map_err(here)?;
                // What has been begun before this one comes before it.
                if !self.batch.is_empty() {
                    self.derive(keeper);
                }
                let key = keeper.kind(kind);
                let made = key.derive_within(keeper.kind(of), &pseudonym, &self.normal);
                self.places.push((self.made.len(), kind));
                self.derived.push(made);
                Ok(Made::Word { start: 0, end: 0 })
            }
            Action::DateShift { days } => {
                let offset = Offset::of(&subject.draw, days);
                let value = std::str::from_utf8(value).map_err(|_| here(Code::NotUtf8))?;
                self.text(|out| shift(offset, value, out).map_err(|_| Code::NotADate))
                    .map_err(here)
            }
            _ => Err(here(Code::Internal)),
        }
    }
}
