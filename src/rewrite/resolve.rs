//! Resolve: a batch of values and rules in, one answer each out.
//!
//! What enters: the slots of a segment that may leave. What leaves: answers, and a future that
//! makes every new recovery record among them durable. What can never happen: a pseudonym among
//! the answers that is neither known durable nor covered by that future.
//!
//! Nothing here knows how a format writes a value: a column of values with one rule enters the
//! same way ([`Resolver::answer`]).

use std::collections::HashSet;

use super::ahead::Durable;
use super::{Job, Summary};
use crate::error::{Code, Fault, Stage};
use crate::format::{Answer, Scanner, Shape, Slot};
use crate::policy::{Action, Redact, Rule, Scope};
use crate::pseudonym::{
    KindId, KindKey, NotNormal, derive, generalise, mask,
    text::{TextForm, looks_like_pseudonym},
};
use crate::secret::{Key32, PlainBuf};
use crate::vault_link::FirstSight;

/// Where an answer's text stands in the arena.
#[derive(Clone, Copy)]
enum Made {
    Keep,
    Null,
    Nothing,
    Text { start: usize, end: usize },
}

/// Answers of one segment, in slot order.
pub(super) struct Answers<'a> {
    made: &'a [Made],
    arena: &'a str,
}

impl<'a> Answers<'a> {
    pub(super) fn iter(&self) -> impl Iterator<Item = Answer<'a>> {
        let arena = self.arena;
        self.made.iter().map(move |made| match *made {
            Made::Keep => Answer::Keep,
            Made::Null => Answer::Null,
            Made::Nothing => Answer::Nothing,
            Made::Text { start, end } => Answer::Text(&arena[start..end]),
        })
    }
}

/// Answers the slots of one body. Its buffers are reused from segment to segment.
pub(super) struct Resolver {
    job: Job,
    arena: String,
    made: Vec<Made>,
    scratch: Vec<u8>,
    normal: Vec<u8>,
    sights: Vec<FirstSight>,
    /// Pseudonyms already among `sights`.
    seen: HashSet<[u8; 16]>,
    /// The key of record-scoped tokens and the record it is for.
    record_key: Option<(u64, Key32)>,
    pub(super) summary: Summary,
}

impl Resolver {
    pub(super) fn new(job: Job) -> Self {
        Self {
            job,
            arena: String::new(),
            made: Vec::new(),
            scratch: Vec::new(),
            normal: Vec::new(),
            sights: Vec::new(),
            seen: HashSet::new(),
            record_key: None,
            summary: Summary::default(),
        }
    }

    /// Makes the answers to all slots of a segment; `base` is the segment's offset in the body.
    /// They are handed out by [`Resolver::answers`].
    pub(super) fn resolve(
        &mut self,
        scanner: &dyn Scanner,
        segment: &[u8],
        slots: &[Slot],
        base: u64,
    ) -> Result<(), Fault> {
        self.arena.clear();
        self.made.clear();
        let policy = self.job.policy.clone();
        let mut scratch = std::mem::take(&mut self.scratch);
        for slot in slots {
            if slot.shape == Shape::Extent {
                self.made.push(Made::Nothing);
                continue;
            }
            let rule = policy.rule(slot.rule);
            let raw = &segment[slot.start..slot.end];
            let value = scanner.value(raw, slot.shape, &mut scratch);
            let made = self
                .answer(rule, value, slot.record)
                .map_err(|code| fault(code, rule, base + slot.start as u64))?;
            self.summary.replaced += u64::from(!matches!(made, Made::Keep));
            self.made.push(made);
        }
        self.scratch = scratch;
        Ok(())
    }

    /// The segment's answers. What they are spliced into is held until [`Resolver::durable`] has
    /// resolved.
    pub(super) fn answers(&self) -> Answers<'_> {
        Answers {
            made: &self.made,
            arena: &self.arena,
        }
    }

    /// The answer to one value under one rule. New identifiers are put aside for
    /// [`Resolver::durable`].
    fn answer(&mut self, rule: &Rule, value: &[u8], record: u64) -> Result<Made, Code> {
        let value = std::str::from_utf8(value).map_err(|_| Code::NotUtf8)?;
        match &rule.action {
            Action::Keep => Ok(Made::Keep),
            Action::Drop => Ok(Made::Nothing),
            Action::Reject => Err(Code::RejectedPlace),
            Action::Redact(Redact::Null) => Ok(Made::Null),
            Action::Redact(Redact::Constant(text)) => self.text(|out| {
                out.push_str(text);
                Ok(())
            }),
            Action::Mask(spec) => self.text(|out| {
                mask::mask(spec.first, spec.last, spec.with, value, out);
                Ok(())
            }),
            Action::Generalise(spec) => self.text(|out| {
                generalise::generalise(spec, value, out).map_err(|_| Code::NotGeneralisable)
            }),
            Action::Pseudonym { kind, scope } => self.pseudonym(*kind, *scope, value, record),
            Action::Restore { kind } => Ok(self.restore(*kind, value)),
        }
    }

    fn pseudonym(
        &mut self,
        kind: KindId,
        scope: Scope,
        value: &str,
        record: u64,
    ) -> Result<Made, Code> {
        if looks_like_pseudonym(value.as_bytes(), &self.job.kinds) {
            return Err(Code::AlreadyPseudonym);
        }
        self.job
            .kinds
            .get(kind)
            .normaliser
            .normalise(value.as_bytes(), &mut self.normal)
            .map_err(|why| match why {
                NotNormal::Form => Code::NotNormal,
                NotNormal::Sentinel => Code::Sentinel,
                NotNormal::Pseudonym => Code::AlreadyPseudonym,
            })?;
        match scope {
            Scope::Domain => self.domain_pseudonym(kind, value),
            Scope::Record => self.token(kind, record),
        }
    }

    fn domain_pseudonym(&mut self, kind: KindId, spelling: &str) -> Result<Made, Code> {
        let keeper = self.job.keeper.clone().ok_or(Code::NotReady)?;
        let key: &KindKey = keeper.kind(kind);
        let pseudonym = key.derive(&self.normal);
        let start = self.arena.len();
        key.write(&pseudonym, &mut self.arena);
        let end = self.arena.len();
        if !keeper.is_durable(&pseudonym) && self.seen.insert(pseudonym.0) {
            self.sights.push(FirstSight {
                kind,
                pseudonym,
                identifier: PlainBuf::new(self.normal.clone()),
            });
        }
        if let Some(own) = &self.job.own {
            own.remember(kind, &self.arena[start..end], spelling);
        }
        Ok(Made::Text { start, end })
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
        let start = self.arena.len();
        TextForm::new(&kind.prefix, 0).write(&token, &mut self.arena);
        Ok(Made::Text {
            start,
            end: self.arena.len(),
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
