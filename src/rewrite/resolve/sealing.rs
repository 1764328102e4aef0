//! Values that are sealed, under a key of their record that is random and kept by the vault.
//!
//! What enters: values of `seal` rules. What leaves: sealed texts, and one first sight a record
//! and kind: the key. What can never happen: a key serves two records, or a sealed text leaves
//! before its key is durable.

use super::{Made, Resolver};
use crate::error::Code;
use crate::policy::{Already, Rule};
use crate::pseudonym::KindId;
use crate::pseudonym::seal::{SealKey, is_sealed, looks_sealed};
use crate::rewrite::Keeper;
use crate::secret::Key32;
use crate::vault_link::FirstSight;

/// The keys of the record that was sealed last.
#[derive(Default)]
pub(super) struct Sealing {
    record: u64,
    keys: Vec<(KindId, SealKey, Box<str>)>,
}

impl Resolver {
    pub(super) fn seal(
        &mut self,
        keeper: &dyn Keeper,
        rule: &Rule,
        kind: KindId,
        value: &[u8],
        record: u64,
    ) -> Result<Made, Code> {
        let kinds = self.job.kinds.clone();
        let known = kinds.get(kind);
        if looks_sealed(value, &kinds) {
            return match rule.already == Already::Keep && is_sealed(value, known) {
                true => Ok(Made::Keep),
                false => Err(Code::AlreadyPseudonym),
            };
        }
        let at = self.seal_key(keeper, kind, record)?;
        let start = self.arena.len();
        let (_, key, head) = &mut self.sealing.keys[at];
        self.arena.push_str(head);
        let place = rule.at.to_string();
        key.seal(&known.name, &place, value, &mut self.arena)
            .map_err(|_| Code::Internal)?;
        Ok(Made::Text {
            start,
            end: self.arena.len(),
        })
    }

    /// Where the record's key stands; a new one is put aside for [`Resolver::durable`].
    fn seal_key(&mut self, keeper: &dyn Keeper, kind: KindId, record: u64) -> Result<usize, Code> {
        if self.sealing.record != record {
            self.sealing.keys.clear();
            self.sealing.record = record;
        }
        let known = self.sealing.keys.iter().position(|(of, ..)| *of == kind);
        if let Some(known) = known {
            return Ok(known);
        }
        let mut fresh = zeroize::Zeroizing::new([0; 32]);
        getrandom::fill(&mut *fresh).map_err(|_| Code::Internal)?;
        let key = SealKey::new(Key32::new(*fresh));
        let identifier = key.identifier();
        let pseudonym = keeper.kind(kind).derive(identifier.expose());
        let mut head = String::new();
        keeper.kind(kind).write(&pseudonym, &mut head);
        self.sights.push(FirstSight {
            kind,
            pseudonym,
            identifier,
            subject: None,
        });
        self.sealing.keys.push((kind, key, head.into()));
        Ok(self.sealing.keys.len() - 1)
    }
}
