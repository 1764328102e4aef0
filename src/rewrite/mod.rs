//! The five steps, joined: chunks of a body in, rewritten chunks out.
//!
//! What enters: decoded bytes of one body, its policy, the lease of its domain. What leaves: the
//! same bytes with answers in the slots' places. What can never happen: a pseudonym leaves
//! before its recovery record is durable, or a record leaves in part (see `RecordUnit`).
//!
//! ```text
//!   new ── push* ── finish          a fault anywhere: the rewriter is poisoned, nothing more
//!                                   leaves, and the caller must end the message as broken
//!
//!   new ── push_ahead* ── finish_ahead
//!             │ Held                a long body does not wait for each segment: the next is
//!             ▼                     rewritten while the vault makes the last one durable
//!           Ahead ── bytes, in order, each when it and all before it are durable
//! ```

use std::sync::Arc;

use crate::config::{Format, Limits};
use crate::error::{Code, Fault, Stage};
use crate::format::{Csv, EventStream, Form, Found, Json, Ndjson, Options, Scanner, Tsv, splice};
use crate::limits;
use crate::policy::Policy;
use crate::pseudonym::Kinds;

mod ahead;
pub mod head;
pub mod keeper;
pub mod own;
mod resolve;
pub mod tally;

use ahead::Durable;
pub use ahead::{Ahead, Held};
pub use keeper::Keeper;
use tally::RuleCounts;

/// What one body needs to be rewritten. Cheap to clone.
#[derive(Clone)]
pub struct Job {
    pub policy: Arc<Policy>,
    pub kinds: Arc<Kinds>,
    pub format: Format,
    /// `None` for policies that derive nothing.
    pub keeper: Option<Arc<dyn Keeper>>,
    pub limits: Arc<Limits>,
    /// Where the request side remembers, and the response side finds, what this client sent.
    pub own: Option<Arc<own::OwnIdentifiers>>,
}

/// Rewrites one body.
pub struct Rewriter {
    scanner: Box<dyn Scanner>,
    resolver: resolve::Resolver,
    /// Bytes that have arrived and are not released: at most one record and one chunk.
    window: Vec<u8>,
    found: Found,
    /// Bytes of the body before the window.
    base: u64,
    poisoned: bool,
    /// What goes before it.
    head: Option<Box<head::StillDurable>>,
}

/// What a finished body held, for log and metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    pub records: u64,
    pub replaced: u64,
    pub first_sights: u64,
}

impl Rewriter {
    pub fn new(job: Job) -> Self {
        let options = Options {
            record: job.limits.record,
            value: limits::VALUE,
            depth: job.limits.depth,
        };
        let scanner: Box<dyn Scanner> = match job.format {
            Format::Form => Box::new(Form::new(job.policy.clone(), options)),
            Format::Json => Box::new(Json::new(job.policy.clone(), options)),
            Format::Ndjson => Box::new(Ndjson::new(job.policy.clone(), options)),
            Format::EventStream => Box::new(EventStream::new(job.policy.clone(), options)),
            Format::Csv(dialect) => Box::new(Csv::new(job.policy.clone(), options, dialect)),
            Format::Tsv { header } => Box::new(Tsv::new(job.policy.clone(), options, header)),
        };
        Self {
            scanner,
            resolver: resolve::Resolver::new(job),
            window: Vec::new(),
            found: Found::default(),
            base: 0,
            poisoned: false,
            head: None,
        }
    }

    /// Its head was durable before the body was asked for. That may have taken long: it is asked
    /// about again when the body's beginning may leave.
    pub fn goes_after(&mut self, head: head::StillDurable) {
        self.head = Some(Box::new(head));
    }

    /// The same, counting what each rule of the policy does.
    pub fn counting(mut self, counts: Arc<RuleCounts>) -> Self {
        self.resolver.counts = Some(counts);
        self
    }

    /// Takes the next chunk; appends to `out` what may leave now (perhaps nothing).
    ///
    /// # Errors
    /// The first fault of the body; from then on every call fails.
    pub async fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) -> Result<(), Fault> {
        self.step_and_wait(chunk, false, out).await
    }

    /// The body has ended: appends the rest.
    ///
    /// # Errors
    /// As [`Rewriter::push`]; a body that stops in the middle of a value is a fault.
    pub async fn finish(&mut self, out: &mut Vec<u8>) -> Result<Summary, Fault> {
        self.step_and_wait(&[], true, out).await?;
        Ok(self.summary())
    }

    /// As [`Rewriter::push`], without waiting: what it gives may leave after its own records and
    /// those of all earlier segments are durable ([`Ahead`] sees to that).
    ///
    /// # Errors
    /// As [`Rewriter::push`].
    pub fn push_ahead(&mut self, chunk: &[u8]) -> Result<Held, Fault> {
        // Pseudonyms are often longer than what they stand for; an eighth saves most regrowths.
        let mut bytes = Vec::with_capacity(chunk.len() + chunk.len() / 8);
        let durable = self.step(chunk, false, &mut bytes)?;
        Ok(Held::new(bytes, durable, self.resolver.keeper()))
    }

    /// As [`Rewriter::finish`], without waiting.
    ///
    /// # Errors
    /// As [`Rewriter::finish`].
    pub fn finish_ahead(&mut self) -> Result<Held, Fault> {
        let mut bytes = Vec::new();
        let durable = self.step(&[], true, &mut bytes)?;
        Ok(Held::new(bytes, durable, self.resolver.keeper()))
    }

    /// Bytes of the body that have been given out, rewritten: all before the record that is not
    /// whole yet.
    pub fn released(&self) -> u64 {
        self.base
    }

    /// What has been seen so far.
    pub fn summary(&self) -> Summary {
        Summary {
            records: self.found.records,
            ..self.resolver.summary
        }
    }

    async fn step_and_wait(
        &mut self,
        chunk: &[u8],
        last: bool,
        out: &mut Vec<u8>,
    ) -> Result<(), Fault> {
        let start = out.len();
        if let Some(durable) = self.step(chunk, last, out)? {
            // Taken back while it waits. Poisoned meanwhile, so that a wait that fails or is
            // dropped cannot be followed by another step.
            let held = Held::new(out.split_off(start), Some(durable), None);
            self.poisoned = true;
            out.extend_from_slice(&held.await?);
            self.poisoned = false;
        }
        match &self.head {
            Some(head) => head.check(),
            None => Ok(()),
        }
    }

    /// Appends a segment to `out`; it may leave when what this gives has resolved.
    fn step(
        &mut self,
        chunk: &[u8],
        last: bool,
        out: &mut Vec<u8>,
    ) -> Result<Option<Durable>, Fault> {
        if self.poisoned {
            return Err(Fault::new(Code::Internal, Stage::Scan));
        }
        // Poisoned until the step is through, so that one that fails cannot be followed by
        // another.
        self.poisoned = true;
        let mut window = std::mem::take(&mut self.window);
        // The usual chunk is looked at where it lies; only what was left over is copied.
        let bytes = if window.is_empty() {
            chunk
        } else {
            window.extend_from_slice(chunk);
            &window[..]
        };
        self.scanner.scan(bytes, last, &mut self.found)?;
        if self.found.slots.len() > limits::SLOTS {
            return Err(Fault::new(Code::TooManyValues, Stage::Scan).at(self.base));
        }
        let released = self.found.released;
        let ready = self.found.ready();
        let segment = &bytes[..released];
        let mut durable = None;
        if ready == 0 {
            out.extend_from_slice(segment);
        } else {
            let slots = &self.found.slots[..ready];
            self.resolver.resolve(resolve::Segment {
                scanner: &*self.scanner,
                bytes: segment,
                slots,
                base: self.base,
            })?;
            durable = self.resolver.durable()?;
            let answers = self.resolver.answers();
            splice(&*self.scanner, segment, slots, answers.iter(), out);
        }
        self.found.advance(ready);
        self.base += released as u64;
        if window.is_empty() {
            window.extend_from_slice(&chunk[released..]);
        } else {
            window.drain(..released);
        }
        self.window = window;
        self.poisoned = false;
        Ok(durable)
    }
}
