//! Small cohorts: how many records share the values of the quasi-identifiers.
//!
//! What enters: outputs that are whole, the places to look at, `k`. What leaves: figures; and where
//! asked for, the same outputs without the records below `k`, or without their values. What can
//! never happen: more in memory than [`limits::FEED_COHORTS`] cohorts; a value, or anything that a
//! guess could be compared with, in a file of ours: what is counted are keyed hashes under a key
//! that is forgotten.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::cut::Cutter;
use super::place::{Item, Written, beside};
use super::progress::Progress;
use super::sink::Sink;
use super::stop::{Stop, Why};
use crate::format::{Answer, splice};
use crate::limits;
use crate::policy::{Action, Policy, RecordUnit, Redact, Rule, Selector, Step, Unlisted};
use crate::secret::Key32;

mod spill;
mod walk;

pub use walk::Hash;
use walk::{Looked, walk};

/// What becomes of records in cohorts below `k`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Small {
    Report,
    Suppress,
    Generalise,
}

/// What is asked for.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub k: u64,
    /// Selectors, or names of columns and members.
    pub quasi: Vec<String>,
    pub small: Small,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    pub k: u64,
    pub quasi: Vec<String>,
    pub records: u64,
    pub cohorts: u64,
    /// Records of the smallest cohort; 0: there is no record.
    pub smallest: u64,
    pub below: u64,
    pub records_below: u64,
    pub suppressed: u64,
    pub generalised: u64,
    /// The smallest cohort of the output as it is now.
    pub smallest_now: u64,
}

/// The same, while counting.
#[derive(Default)]
struct Tally {
    cohorts: u64,
    smallest: u64,
    /// The smallest that is not below `k`.
    enough: u64,
    below: u64,
    records_below: u64,
    /// Records without any of the values, if they are enough.
    empty: u64,
}

impl Tally {
    fn add(&mut self, size: u64, k: u64, empty: bool) {
        let least = |a: u64, b: u64| if a == 0 { b } else { a.min(b) };
        self.cohorts += 1;
        self.smallest = least(self.smallest, size);
        if size < k {
            self.below += 1;
            self.records_below += size;
            return;
        }
        if empty {
            self.empty = size;
        } else {
            self.enough = least(self.enough, size);
        }
    }
}

/// Who says which records are in cohorts below `k`; asked in their order, once each.
enum Judge {
    Map(HashMap<Hash, u32>, u64),
    Sorted(spill::Merge),
}

impl Judge {
    fn is_small(&mut self, record: u64, hash: &Hash) -> Result<bool, Stop> {
        match self {
            Self::Map(sizes, k) => Ok(sizes.get(hash).is_none_or(|size| u64::from(*size) < *k)),
            Self::Sorted(merge) => merge.next_is(record),
        }
    }
}

/// The places as rules, which only say where to look.
///
/// # Errors
/// A selector that is none, or one that the policy says nothing of.
pub fn places(wanted: &Wanted, policy: &Policy) -> Result<Policy, Stop> {
    let fault = |what: String, next: &str| Stop::configuration(what, next);
    let mut rules = Vec::new();
    for text in &wanted.quasi {
        let at = match text.starts_with('$') {
            true => Selector::parse(text).map_err(|e| {
                let next = "As in the policy: $.sex, or the bare name of a column or member.";
                fault(format!("--quasi {text}: {}", e.message), next)
            })?,
            false => Selector {
                door: crate::policy::Door::Body,
                steps: vec![Step::Child(text.as_str().into())],
            },
        };
        let listed = policy.rules.iter().find(|rule| rule.at == at);
        let gone = listed.is_some_and(|rule| matches!(rule.action, Action::Drop | Action::Reject));
        if gone || (listed.is_none() && policy.unlisted != Unlisted::Keep) {
            let known: Vec<_> = policy
                .rules
                .iter()
                .map(|rule| rule.at.to_string())
                .collect();
            let what = format!(
                "--quasi {text}: policy `{}` lets no such place out",
                policy.name
            );
            return Err(fault(what, &format!("It speaks of {}.", known.join(", "))));
        }
        rules.push(Rule {
            at,
            // Every value there becomes a slot.
            action: Action::Redact(Redact::Null),
            category: None,
            special: None,
            subject: false,
            accept_frequency: false,
            already: crate::policy::Already::Reject,
        });
    }
    let compiled = Policy::compile("quasi", Unlisted::Keep, RecordUnit::Auto, rules);
    compiled.map_err(|errors| {
        let why: Vec<_> = errors.iter().map(ToString::to_string).collect();
        let next = "Name every place once.";
        fault(format!("--quasi: {}", why.join("; ")), next)
    })
}

/// Counts; and writes what is asked for to the file that `thinned` names for each output.
pub struct Count<'a> {
    pub wanted: &'a Wanted,
    pub items: &'a [Item],
    /// The outputs, one an item.
    pub parts: &'a [PathBuf],
    pub policy: Arc<Policy>,
    pub key: Key32,
    /// Of the configuration.
    pub record: usize,
    pub depth: usize,
    pub delimiter: u8,
    /// For temporary files; made if needed, and removed.
    pub folder: PathBuf,
}

/// What became of one output.
#[derive(Clone, Debug)]
pub struct Thinned {
    pub written: u64,
    pub written_sha256: String,
}

impl Thinned {
    fn of(mut sink: Sink) -> Result<Self, Stop> {
        sink.finish()?;
        Ok(Self {
            written: sink.bytes(),
            written_sha256: sink.digest(),
        })
    }
}

impl Count<'_> {
    /// # Errors
    /// The disk.
    pub fn run(
        &self,
        thinned: impl Fn(usize) -> PathBuf,
        progress: &mut Progress,
    ) -> Result<(Finding, Vec<Thinned>), Stop> {
        let json = |item: &Item| item.written == Written::Json;
        if self.wanted.small == Small::Suppress && self.items.iter().any(json) {
            let what = "records are left out of rows and lines, not of JSON documents";
            let next = "Give the records as NDJSON, or say --small generalise.";
            return Err(Stop::configuration(what, next));
        }
        let (tally, records, judge) = match self.in_memory(progress)? {
            Some(counted) => counted,
            None => self.in_files(progress)?,
        };
        let mut finding = Finding {
            k: self.wanted.k,
            quasi: self.wanted.quasi.clone(),
            records,
            cohorts: tally.cohorts,
            smallest: tally.smallest,
            below: tally.below,
            records_below: tally.records_below,
            smallest_now: tally.smallest,
            ..Finding::default()
        };
        let mut made = Vec::new();
        if self.wanted.small != Small::Report {
            made = self.thin(judge, thinned, progress)?;
            let together = match self.wanted.small {
                // They share that nothing is known.
                Small::Generalise => tally.records_below + tally.empty,
                _ => tally.empty,
            };
            let sizes = [tally.enough, together]
                .into_iter()
                .filter(|size| *size > 0);
            finding.smallest_now = sizes.min().unwrap_or(0);
            match self.wanted.small {
                Small::Suppress => finding.suppressed = tally.records_below,
                _ => finding.generalised = tally.records_below,
            }
        }
        let _ = std::fs::remove_dir_all(&self.folder);
        Ok((finding, made))
    }

    /// `None`: there are too many.
    fn in_memory(&self, progress: &mut Progress) -> Result<Option<(Tally, u64, Judge)>, Stop> {
        let mut sizes: HashMap<Hash, u32> = HashMap::new();
        let mut records = 0;
        let mut full = false;
        self.each(progress, "counting", |_, looked| {
            for hash in looked.hashes {
                let size = sizes.entry(*hash).or_default();
                *size = size.saturating_add(1);
                records += 1;
            }
            full = sizes.len() > limits::FEED_COHORTS;
            Ok(!full)
        })?;
        if full {
            return Ok(None);
        }
        let (mut tally, none) = (Tally::default(), self.none());
        for (hash, size) in &sizes {
            tally.add(u64::from(*size), self.wanted.k, *hash == none);
        }
        Ok(Some((tally, records, Judge::Map(sizes, self.wanted.k))))
    }

    fn in_files(&self, progress: &mut Progress) -> Result<(Tally, u64, Judge), Stop> {
        let mut parts = spill::Parts::create(&self.folder)?;
        let mut records = 0;
        self.each(progress, "counting", |_, looked| {
            for hash in looked.hashes {
                parts.add(hash, records)?;
                records += 1;
            }
            Ok(true)
        })?;
        let (k, none) = (self.wanted.k, self.none());
        let mut tally = Tally::default();
        let merge = parts.count(k, |hash, size| tally.add(size, k, *hash == none))?;
        Ok((tally, records, Judge::Sorted(merge)))
    }

    /// Of a record without any of the values.
    fn none(&self) -> Hash {
        walk::hash(&self.key, &vec![Vec::new(); self.policy.rules.len()])
    }

    /// Goes over all outputs; `false` ends it.
    fn each(
        &self,
        progress: &mut Progress,
        what: &'static str,
        mut each: impl FnMut(usize, &Looked<'_>) -> Result<bool, Stop>,
    ) -> Result<(), Stop> {
        let sizes = self
            .parts
            .iter()
            .map(|part| std::fs::metadata(part).ok().map(|m| m.len()));
        progress.begin(what, sizes.sum(), 0);
        let mut seen = vec![false; self.policy.rules.len()];
        let mut any = false;
        for at in 0..self.items.len() {
            let go_on = walk(self, at, progress, |looked| {
                let rules = looked.slots.iter().map(|slot| usize::from(slot.rule.0));
                rules.for_each(|rule| seen[rule] = true);
                any |= !looked.hashes.is_empty();
                each(at, looked)
            })?;
            if !go_on {
                return Ok(());
            }
        }
        // A name that is spelt in another way would make all records alike.
        match seen.iter().position(|seen| !seen).filter(|_| any) {
            None => Ok(()),
            Some(rule) => {
                let what = format!(
                    "--quasi {}: no record has a value there",
                    self.wanted.quasi[rule]
                );
                let next = "Names are compared as they are spelt. Leave out what is always empty.";
                Err(Stop::configuration(what, next))
            }
        }
    }

    fn thin(
        &self,
        mut judge: Judge,
        thinned: impl Fn(usize) -> PathBuf,
        progress: &mut Progress,
    ) -> Result<Vec<Thinned>, Stop> {
        let mut made: Vec<Thinned> = Vec::new();
        let mut record = 0;
        let (mut small, mut out) = (Vec::new(), Vec::new());
        let open = |at: usize| {
            let path = thinned(at);
            let folder = path.parent().map_or(Ok(()), std::fs::create_dir_all);
            folder.map_err(|error| Stop::file(&path, &error))?;
            Sink::create(&path, self.items[at].encode)
        };
        let mut sink: Option<(usize, Sink)> = None;
        self.each(progress, "thinning", |at, looked| {
            let sink = match &mut sink {
                Some((of, sink)) if *of == at => sink,
                other => {
                    let before = other.replace((at, open(at)?));
                    made.extend(before.map(|(_, sink)| Thinned::of(sink)).transpose()?);
                    &mut other.as_mut().expect("it was put there").1
                }
            };
            small.clear();
            for hash in looked.hashes {
                small.push(judge.is_small(record, hash)?);
                record += 1;
            }
            out.clear();
            match self.wanted.small {
                Small::Suppress => self.suppress(at, looked, &small, &mut out)?,
                _ => {
                    let of = |record: u64| {
                        let at = usize::try_from(record - looked.first).ok();
                        at.and_then(|at| small.get(at)).copied().unwrap_or(false)
                    };
                    let answers = looked.slots.iter().map(|slot| match of(slot.record) {
                        true => Answer::Null,
                        false => Answer::Keep,
                    });
                    splice(
                        looked.scanner,
                        looked.bytes,
                        looked.slots,
                        answers,
                        &mut out,
                    );
                }
            }
            sink.write(&out)?;
            Ok(true)
        })?;
        made.extend(sink.map(|(_, sink)| Thinned::of(sink)).transpose()?);
        Ok(made)
    }

    /// The rows of a step that are not small.
    fn suppress(
        &self,
        at: usize,
        looked: &Looked<'_>,
        small: &[bool],
        out: &mut Vec<u8>,
    ) -> Result<(), Stop> {
        let strange = || {
            let what = format!("{}: its rows cannot be told apart", self.items[at].name);
            let next = "Write the file with line feeds, or say --small generalise.";
            Stop::new(Why::Failed, what, next)
        };
        let cutter = Cutter::new(self.items[at].written, self.delimiter).ok_or_else(strange)?;
        let mut rest = looked.bytes;
        let mut header = looked.header;
        let mut rows = small.iter();
        if header && rest.starts_with(b"\xEF\xBB\xBF") {
            out.extend_from_slice(&rest[..3]);
            rest = &rest[3..];
        }
        while !rest.is_empty() {
            let row = &rest[..cutter.end(rest).unwrap_or(rest.len())];
            rest = &rest[row.len()..];
            let keep = std::mem::take(&mut header)
                || cutter.is_blank(row)
                || !*rows.next().ok_or_else(strange)?;
            if keep {
                out.extend_from_slice(row);
            }
        }
        match rows.next() {
            None => Ok(()),
            Some(_) => Err(strange()),
        }
    }
}

/// Where temporary files go.
pub fn folder(out: &Path) -> PathBuf {
    beside(out, ".cryptonym-cohorts")
}
