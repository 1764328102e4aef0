//! Free text: resolved when every other value of the segment is, since the record's own
//! identifiers may stand before the text or behind it.

use super::{Made, Resolver, Segment, fault};
use crate::error::{Code, Fault};
use crate::format::{Shape, Slot};
use crate::policy::{Action, Category, Rule, Scrub};
use crate::pseudonym::scrub::{Detector, Hit, Owns, What};
use crate::pseudonym::{Class, KindId};
use crate::rewrite::Keeper;
use crate::secret::PlainBuf;
use crate::vault_link::FirstSight;

/// What stands in the place of an own identifier that has no pseudonym.
const REMOVED: &str = "[removed]";

/// The identifiers of one record, and the slots that they stand in.
#[derive(Default)]
struct Record {
    number: Option<u64>,
    owns: Owns,
    slots: Vec<usize>,
}

impl Resolver {
    /// Answers the texts among the slots of a segment, which are `self.texts`.
    pub(super) fn scrub(
        &mut self,
        keeper: Option<&dyn Keeper>,
        segment: Segment<'_>,
        scratch: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        let policy = self.job.policy.clone();
        let mut record = Record::default();
        let (mut hits, mut text) = (Vec::new(), Vec::new());
        for at in std::mem::take(&mut self.texts) {
            let slot = &segment.slots[at];
            let rule = policy.rule(slot.rule);
            let Action::Scrub(scrub) = &rule.action else {
                continue;
            };
            let here = |code| fault(code, rule, segment.base + slot.start as u64);
            if scrub.finds_own() && record.number != Some(slot.record) {
                record = self.record(segment, at, scratch).map_err(here)?;
            }
            let value = segment
                .scanner
                .value(segment.raw(slot), slot.shape, scratch);
            text.clear();
            text.extend_from_slice(value);
            let value = std::str::from_utf8(&text).map_err(|_| here(Code::NotUtf8))?;
            scrub.look(value, &record.owns, &mut hits);
            if hits.is_empty() {
                continue;
            }
            let start = self.arena.len();
            let mut done = 0;
            for hit in &hits {
                self.arena.push_str(&value[done..hit.start]);
                done = hit.end;
                self.put(keeper, scrub, &record, hit, &value[hit.start..hit.end])
                    .map_err(here)?;
            }
            self.arena.push_str(&value[done..]);
            self.made[at] = Made::Text {
                start,
                end: self.arena.len(),
            };
            self.summary.replaced += 1;
            self.tally.add(slot.rule, 1);
        }
        Ok(())
    }

    /// What stands in a hit's place.
    fn put(
        &mut self,
        keeper: Option<&dyn Keeper>,
        scrub: &Scrub,
        record: &Record,
        hit: &Hit,
        found: &str,
    ) -> Result<(), Code> {
        match hit.what {
            What::Own(number) => {
                let made = record.slots.get(number).map(|slot| self.made[*slot]);
                let made = match made {
                    Some(Made::Same { slot }) => Some(self.made[slot]),
                    other => other,
                };
                let word = match made {
                    Some(Made::Word { start, end }) => {
                        std::str::from_utf8(&self.words[start..end]).ok()
                    }
                    _ => None,
                };
                self.arena.push_str(word.unwrap_or(REMOVED));
                Ok(())
            }
            What::Found(detector) => {
                let kind = scrub.kind(detector).ok_or(Code::Internal)?;
                self.put_found(keeper, scrub, (detector, kind), found)
            }
        }
    }

    /// The pseudonym that the same value has elsewhere, or a marker if it has none.
    fn put_found(
        &mut self,
        keeper: Option<&dyn Keeper>,
        scrub: &Scrub,
        (detector, kind): (Detector, KindId),
        found: &str,
    ) -> Result<(), Code> {
        let keeper = keeper.ok_or(Code::NotReady)?;
        let mut spelling = Vec::new();
        scrub.spelling(detector, found, &mut spelling);
        match self.normalise(kind, &spelling) {
            Ok(()) => {}
            // It has no spelling that could be anybody's or nobody's.
            Err(_) if spelling.is_empty() => {
                self.arena.push_str(detector.marker());
                return Ok(());
            }
            // It is nobody's.
            Err(Code::Sentinel) => {
                self.arena.push_str(found);
                return Ok(());
            }
            Err(_) => {
                self.arena.push_str(detector.marker());
                return Ok(());
            }
        }
        let key = keeper.kind(kind);
        let pseudonym = key.derive(&self.normal);
        if !keeper.is_durable(&pseudonym) && self.seen.insert(pseudonym.0) {
            self.sights.push(FirstSight {
                kind,
                pseudonym,
                identifier: PlainBuf::new(self.normal.clone()),
                subject: None,
            });
        }
        let start = self.arena.len();
        key.write(&pseudonym, &mut self.arena);
        if let Some(own) = &self.job.own {
            own.remember(kind, &self.arena[start..], found);
        }
        Ok(())
    }

    /// The identifiers of the record that this slot stands in.
    fn record(
        &self,
        segment: Segment<'_>,
        at: usize,
        scratch: &mut Vec<u8>,
    ) -> Result<Record, Code> {
        let number = segment.slots[at].record;
        let mut record = Record {
            number: Some(number),
            ..Record::default()
        };
        let of_it = |slot: &&Slot| slot.record == number;
        let before = segment.slots[..at].iter().rev().take_while(of_it).count();
        let slots = segment.slots.iter().enumerate().skip(at - before);
        for (at, slot) in slots.take_while(|(_, slot)| slot.record == number) {
            let rule = self.job.policy.rule(slot.rule);
            if matches!(slot.shape, Shape::Extent | Shape::Container) || !self.is_own(rule) {
                continue;
            }
            let value = segment
                .scanner
                .value(segment.raw(slot), slot.shape, scratch);
            let Ok(value) = std::str::from_utf8(value) else {
                continue;
            };
            let normaliser = match rule.action {
                Action::Pseudonym { kind, .. } => Some(self.job.kinds.get(kind).normaliser),
                _ => None,
            };
            let room = record.owns.add(value, normaliser);
            room.ok_or(Code::TooManyValues)?;
            record.slots.push(at);
        }
        record.owns.ready();
        Ok(record)
    }

    /// Whether what stands at a rule's places points at somebody: what has a pseudonym and is not
    /// out of a small list, and what is hidden of the categories that say who somebody is.
    fn is_own(&self, rule: &Rule) -> bool {
        match rule.action {
            Action::Pseudonym { kind, .. } => self.job.kinds.get(kind).class != Class::Vocabulary,
            // Nor may a true date stand beside shifted ones.
            Action::DateShift { .. } => true,
            Action::Redact(_) | Action::Mask(_) | Action::Generalise(_) | Action::Seal { .. } => {
                matches!(
                    rule.category,
                    Some(Category::Identity | Category::Contact | Category::Financial)
                )
            }
            _ => false,
        }
    }
}
