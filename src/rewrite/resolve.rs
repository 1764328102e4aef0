//! Resolve: a batch of values and rules in, one answer each out.
//!
//! What enters: the slots of a segment that may leave. What leaves: answers, and a future that
//! makes every new recovery record among them durable. What can never happen: a pseudonym among
//! the answers that is neither known durable nor covered by that future.
//!
//! A segment's pseudonyms are derived first, then looked up together, then written: each of the
//! three waits for something else of the processor, and its steps do not wait for each other.
//!
//! Nothing here knows how a format writes a value: a column of values with one rule enters the
//! same way ([`Resolver::answer`]).

use std::collections::HashSet;
use std::sync::Arc;

use super::ahead::Durable;
use super::tally::{RuleCounts, Tally};
use super::{Job, Keeper, Summary};
use crate::error::{Code, Fault, Stage};
use crate::format::{Answer, Scanner, Shape, Slot};
use crate::policy::{Action, Already, Redact, Rule, Scope};
use crate::pseudonym::{
    KindId, NotNormal, Pseudonym, derive, generalise, mask,
    text::{TextForm, looks_like_pseudonym, parse},
};
use crate::secret::{Key32, PlainBuf};
use crate::vault_link::FirstSight;

mod scrub;

/// Where an answer's text stands in its arena.
#[derive(Clone, Copy)]
enum Made {
    Keep,
    Null,
    Nothing,
    Text {
        start: usize,
        end: usize,
    },
    /// A pseudonym's text, or where it will stand.
    Word {
        start: usize,
        end: usize,
    },
    /// As the answer to this earlier slot, which is a `Word`.
    Same {
        slot: usize,
    },
}

/// Answers of one segment, in slot order.
pub(super) struct Answers<'a> {
    made: &'a [Made],
    arena: &'a str,
    words: &'a [u8],
}

impl<'a> Answers<'a> {
    pub(super) fn iter(&self) -> impl Iterator<Item = Answer<'a>> {
        let (all, arena, words) = (self.made, self.arena, self.words);
        let original = move |made: &'a Made| match made {
            Made::Same { slot } => &all[*slot],
            other => other,
        };
        self.made.iter().map(move |made| match *original(made) {
            Made::Keep => Answer::Keep,
            Made::Null => Answer::Null,
            Made::Same { .. } => unreachable!("what it points at is a word"),
            Made::Nothing => Answer::Nothing,
            Made::Text { start, end } => Answer::Text(&arena[start..end]),
            Made::Word { start, end } => Answer::Word(&words[start..end]),
        })
    }
}

/// Answers the slots of one body. Its buffers are reused from segment to segment.
pub(super) struct Resolver {
    job: Job,
    arena: String,
    /// Pseudonyms' texts, in bytes.
    words: Vec<u8>,
    made: Vec<Made>,
    scratch: Vec<u8>,
    normal: Vec<u8>,
    batch: derive::Batch,
    recent: Recent,
    /// The segment's pseudonyms of scope `domain`, and which slot each is for.
    derived: Vec<Pseudonym>,
    places: Vec<(usize, KindId)>,
    /// Which of `derived` are not known durable.
    absent: Vec<usize>,
    /// The segment's slots of free text.
    texts: Vec<usize>,
    sights: Vec<FirstSight>,
    /// Pseudonyms already among `sights`.
    seen: HashSet<[u8; 16]>,
    /// The key of record-scoped tokens and the record it is for.
    record_key: Option<(u64, Key32)>,
    pub(super) summary: Summary,
    tally: Tally,
    pub(super) counts: Option<Arc<RuleCounts>>,
}

/// Which values of a segment have been seen, a few of them: the last one of each mark. A value
/// that comes again (an ethnicity, a subject with many rows) is derived once a segment. Holds
/// places of values only, and nothing beyond the segment.
struct Recent([u16; Self::MARKS]);

impl Recent {
    /// A power of two. A segment of the usual 64 KiB has some four hundred pseudonyms.
    const MARKS: usize = 256;

    /// Values that are spelt alike have the same mark; two others seldom do, and if somebody
    /// makes them so, they are derived as if nothing were remembered.
    #[inline]
    fn mark(kind: KindId, raw: &[u8]) -> usize {
        let eight = |at: usize| {
            let bytes = raw.get(at..).and_then(<[u8]>::first_chunk);
            bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
        };
        let last = raw.len().saturating_sub(8);
        let mixed = (eight(0) ^ eight(last / 2).rotate_left(21) ^ eight(last).rotate_left(42))
            .wrapping_add(raw.len() as u64 ^ u64::from(kind.0) << 32)
            .wrapping_mul(0x9E37_79B9_7F4A_7C15);
        (mixed >> 32) as usize % Self::MARKS
    }

    /// Index of the value that was put last under this mark.
    #[inline]
    fn get(&self, mark: usize) -> Option<usize> {
        usize::from(self.0[mark]).checked_sub(1)
    }

    /// `count`: one more than its index.
    #[inline]
    fn put(&mut self, mark: usize, count: usize) {
        // limits::SLOTS is below; if ever it is not, nothing is remembered.
        self.0[mark] = u16::try_from(count).unwrap_or(0);
    }

    fn clear(&mut self) {
        self.0.fill(0);
    }
}

impl Default for Recent {
    fn default() -> Self {
        Self([0; Self::MARKS])
    }
}

/// A segment as it came: its bytes, and the offset of the first in the body.
#[derive(Clone, Copy)]
pub(super) struct Segment<'a> {
    pub scanner: &'a dyn Scanner,
    pub bytes: &'a [u8],
    pub slots: &'a [Slot],
    pub base: u64,
}

impl Segment<'_> {
    fn raw(&self, slot: &Slot) -> &[u8] {
        &self.bytes[slot.start..slot.end]
    }
}

impl Resolver {
    pub(super) fn new(job: Job) -> Self {
        Self {
            job,
            arena: String::new(),
            words: Vec::new(),
            made: Vec::new(),
            scratch: Vec::new(),
            normal: Vec::new(),
            batch: derive::Batch::default(),
            recent: Recent::default(),
            derived: Vec::new(),
            places: Vec::new(),
            absent: Vec::new(),
            texts: Vec::new(),
            sights: Vec::new(),
            seen: HashSet::new(),
            record_key: None,
            summary: Summary::default(),
            tally: Tally::default(),
            counts: None,
        }
    }

    /// Makes the answers to all slots of a segment. They are handed out by
    /// [`Resolver::answers`].
    pub(super) fn resolve(&mut self, segment: Segment<'_>) -> Result<(), Fault> {
        self.arena.clear();
        self.words.clear();
        self.made.clear();
        self.derived.clear();
        self.places.clear();
        self.texts.clear();
        self.recent.clear();
        let policy = self.job.policy.clone();
        let keeper = self.job.keeper.clone();
        let keeper = keeper.as_deref();
        let mut scratch = std::mem::take(&mut self.scratch);
        for slot in segment.slots {
            if slot.shape == Shape::Extent {
                self.made.push(Made::Nothing);
                self.tally.add(slot.rule, 1);
                continue;
            }
            let rule = policy.rule(slot.rule);
            let raw = segment.raw(slot);
            let made = match rule.action {
                Action::Pseudonym {
                    kind,
                    scope: Scope::Domain,
                } => {
                    let mark = Recent::mark(kind, raw);
                    match self.seen_before(segment, mark, kind, slot) {
                        Some(made) => Ok(made),
                        None => {
                            let value = segment.scanner.value(raw, slot.shape, &mut scratch);
                            if rule.already == Already::Keep && self.is_one_of(kind, value) {
                                Ok(Made::Keep)
                            } else {
                                let made = self.begin(keeper, kind, value);
                                self.recent.put(mark, self.places.len());
                                made
                            }
                        }
                    }
                }
                Action::Scrub(_) => {
                    self.texts.push(self.made.len());
                    Ok(Made::Keep)
                }
                _ => {
                    let value = segment.scanner.value(raw, slot.shape, &mut scratch);
                    self.answer(rule, value, slot.record)
                }
            };
            let made = made.map_err(|code| fault(code, rule, segment.base + slot.start as u64))?;
            let replaced = !matches!(made, Made::Keep);
            self.summary.replaced += u64::from(replaced);
            self.tally.add(slot.rule, u32::from(replaced));
            self.made.push(made);
        }
        if let Some(keeper) = keeper
            && !self.places.is_empty()
        {
            self.derive(keeper);
            self.put_aside(keeper, segment, &mut scratch);
            self.write(keeper);
            self.remember(segment, &mut scratch);
        }
        if !self.texts.is_empty() {
            self.scrub(keeper, segment, &mut scratch)?;
        }
        self.scratch = scratch;
        if let Some(counts) = &self.counts {
            self.tally.flush(counts);
        }
        Ok(())
    }

    /// The segment's answers. What they are spliced into is held until [`Resolver::durable`] has
    /// resolved.
    pub(super) fn answers(&self) -> Answers<'_> {
        Answers {
            made: &self.made,
            arena: &self.arena,
            words: &self.words,
        }
    }

    /// The answer to one value under one rule, but for pseudonyms of scope `domain`.
    fn answer(&mut self, rule: &Rule, value: &[u8], record: u64) -> Result<Made, Code> {
        let text = || std::str::from_utf8(value).map_err(|_| Code::NotUtf8);
        match &rule.action {
            Action::Keep => Ok(Made::Keep),
            Action::Drop => Ok(Made::Nothing),
            Action::Reject => Err(Code::RejectedPlace),
            Action::Redact(Redact::Null) => Ok(Made::Null),
            Action::Redact(Redact::Constant(text)) => self.text(|out| {
                out.push_str(text);
                Ok(())
            }),
            Action::Mask(spec) => {
                let value = text()?;
                self.text(|out| {
                    mask::mask(spec.first, spec.last, spec.with, value, out);
                    Ok(())
                })
            }
            Action::Generalise(spec) => {
                let value = text()?;
                self.text(|out| {
                    generalise::generalise(spec, value, out).map_err(|_| Code::NotGeneralisable)
                })
            }
            // Scope `record`; the other is never asked of here.
            Action::Pseudonym { kind, .. } => {
                self.normalise(*kind, value)?;
                self.token(*kind, record)
            }
            Action::Restore { kind } => Ok(self.restore(*kind, text()?)),
            // Answered when all others are.
            Action::Scrub(_) => Ok(Made::Keep),
        }
    }

    /// Whether a value is a pseudonym of this kind, of whatever epoch, to the letter.
    fn is_one_of(&self, kind: KindId, value: &[u8]) -> bool {
        let prefix = &*self.job.kinds.get(kind).prefix;
        parse(value).is_some_and(|parsed| parsed.prefix == prefix && parsed.epoch > 0)
    }

    fn normalise(&mut self, kind: KindId, value: &[u8]) -> Result<(), Code> {
        if looks_like_pseudonym(value, &self.job.kinds) {
            return Err(Code::AlreadyPseudonym);
        }
        let normaliser = self.job.kinds.get(kind).normaliser;
        normaliser
            .normalise(value, &mut self.normal)
            .map_err(|why| match why {
                NotNormal::Form => Code::NotNormal,
                NotNormal::Sentinel => Code::Sentinel,
                NotNormal::Pseudonym => Code::AlreadyPseudonym,
            })
    }

    /// The answer to a value that has been begun under the same kind in this segment.
    #[inline]
    fn seen_before(
        &self,
        segment: Segment<'_>,
        mark: usize,
        kind: KindId,
        slot: &Slot,
    ) -> Option<Made> {
        let (at, of) = *self.places.get(self.recent.get(mark)?)?;
        let other = &segment.slots[at];
        let same =
            of == kind && other.shape == slot.shape && segment.raw(other) == segment.raw(slot);
        same.then_some(Made::Same { slot: at })
    }

    /// Begins the pseudonym of the slot that is next in `made`.
    fn begin(
        &mut self,
        keeper: Option<&dyn Keeper>,
        kind: KindId,
        value: &[u8],
    ) -> Result<Made, Code> {
        let keeper = keeper.ok_or(Code::NotReady)?;
        self.normalise(kind, value)?;
        if self.batch.len() == derive::Batch::FULL {
            self.derive(keeper);
        }
        self.batch.push(keeper.kind(kind), &self.normal);
        self.places.push((self.made.len(), kind));
        Ok(Made::Word { start: 0, end: 0 })
    }

    /// Derives what has been begun.
    fn derive(&mut self, keeper: &dyn Keeper) {
        let begun = self.places[self.derived.len()..].iter();
        let keys = begun.map(|(_, kind)| keeper.kind(*kind));
        self.batch.derive(keys, &mut self.derived);
    }

    /// Puts new identifiers aside for [`Resolver::durable`].
    fn put_aside(&mut self, keeper: &dyn Keeper, segment: Segment<'_>, scratch: &mut Vec<u8>) {
        let mut absent = std::mem::take(&mut self.absent);
        absent.clear();
        keeper.absent(&self.derived, &mut absent);
        for at in &absent {
            let (pseudonym, (slot, kind)) = (self.derived[*at], self.places[*at]);
            if !self.seen.insert(pseudonym.0) {
                continue;
            }
            // Normal forms are not kept: few are needed again, and none should lie about.
            let slot = &segment.slots[slot];
            let value = segment
                .scanner
                .value(segment.raw(slot), slot.shape, scratch);
            let again = self.normalise(kind, value);
            debug_assert!(again.is_ok(), "it had a normal form a moment ago");
            self.sights.push(FirstSight {
                kind,
                pseudonym,
                identifier: PlainBuf::new(self.normal.clone()),
            });
        }
        self.absent = absent;
    }

    /// Writes the text of every derived pseudonym.
    fn write(&mut self, keeper: &dyn Keeper) {
        for (pseudonym, (slot, kind)) in self.derived.iter().zip(&self.places) {
            let start = self.words.len();
            keeper.kind(*kind).write_bytes(pseudonym, &mut self.words);
            self.made[*slot] = Made::Word {
                start,
                end: self.words.len(),
            };
        }
    }

    /// For `restore-own`: every pseudonym with the spelling that came in.
    fn remember(&self, segment: Segment<'_>, scratch: &mut Vec<u8>) {
        let Some(own) = &self.job.own else { return };
        for (slot, kind) in &self.places {
            let Made::Word { start, end } = self.made[*slot] else {
                continue;
            };
            let slot = &segment.slots[*slot];
            let value = segment
                .scanner
                .value(segment.raw(slot), slot.shape, scratch);
            if let (Ok(word), Ok(spelling)) = (
                std::str::from_utf8(&self.words[start..end]),
                std::str::from_utf8(value),
            ) {
                own.remember(*kind, word, spelling);
            }
        }
    }

    /// A token: random in every record, the same within one.
    fn token(&mut self, kind: KindId, record: u64) -> Result<Made, Code> {
        let key = match &self.record_key {
            Some((of, key)) if *of == record => key.clone(),
            _ => {
                let mut fresh = [0; 32];
                getrandom::fill(&mut fresh).map_err(|_| Code::Internal)?;
                let key = Key32::new(fresh);
                self.record_key = Some((record, key.clone()));
                key
            }
        };
        let kind = self.job.kinds.get(kind);
        let token = derive::token(&key, kind, &self.normal);
        let start = self.words.len();
        TextForm::new(&kind.prefix, 0).write_bytes(&token, &mut self.words);
        Ok(Made::Word {
            start,
            end: self.words.len(),
        })
    }

    fn restore(&mut self, kind: KindId, value: &str) -> Made {
        let start = self.arena.len();
        match &self.job.own {
            Some(own) if own.restore(kind, value, &mut self.arena) => Made::Text {
                start,
                end: self.arena.len(),
            },
            _ => Made::Keep,
        }
    }

    fn text(&mut self, write: impl FnOnce(&mut String) -> Result<(), Code>) -> Result<Made, Code> {
        let start = self.arena.len();
        write(&mut self.arena)?;
        Ok(Made::Text {
            start,
            end: self.arena.len(),
        })
    }

    /// Who knows what is durable, if the body has pseudonyms.
    pub(super) fn keeper(&self) -> Option<Arc<dyn Keeper>> {
        self.job.keeper.clone()
    }

    /// Sends the segment's new identifiers to the vault, when polled, and waits for all of them;
    /// `None` if there are none.
    pub(super) fn durable(&mut self) -> Result<Option<Durable>, Fault> {
        if self.sights.is_empty() {
            return Ok(None);
        }
        let Some(keeper) = self.job.keeper.clone() else {
            return Err(Fault::new(Code::NotReady, Stage::Resolve));
        };
        self.summary.first_sights += self.sights.len() as u64;
        self.seen.clear();
        let sights = std::mem::take(&mut self.sights);
        Ok(Some(Box::pin(
            async move { keeper.make_durable(sights).await },
        )))
    }
}

fn fault(code: Code, rule: &Rule, offset: u64) -> Fault {
    Fault::new(code, Stage::Resolve)
        .at(offset)
        .place(rule.at.to_string())
}
