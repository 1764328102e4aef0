//! The places around a body: what stands in a path, a query string, cookies and header fields.
//!
//! What enters: the texts of one head, each with a scanner of its own. What leaves: the same texts
//! with answers in place, all of them when every record behind them is durable. What can never
//! happen: a pseudonym leaves before that, or when the vault has become another meanwhile.

use std::sync::Arc;

use super::ahead::Held;
use super::keeper::Keeper;
use super::resolve::{Resolver, Segment};
use super::tally::RuleCounts;
use super::{Job, Summary};
use crate::error::{Code, Fault, Stage};
use crate::format::{Found, Scanner, Shape, splice};

/// The texts of one head, looked at and not yet answered.
#[derive(Default)]
pub struct Head(Vec<Text>);

struct Text {
    scanner: Box<dyn Scanner>,
    bytes: Vec<u8>,
    found: Found,
}

impl Text {
    fn segment(&self) -> Segment<'_> {
        Segment {
            scanner: &*self.scanner,
            bytes: &self.bytes,
            slots: &self.found.slots,
            base: 0,
        }
    }
}

impl Head {
    /// Looks at one text.
    ///
    /// # Errors
    /// The scanner's. It has no offset: nobody counts the bytes of a head.
    pub fn look(&mut self, mut scanner: Box<dyn Scanner>, bytes: Vec<u8>) -> Result<(), Fault> {
        let mut found = Found::default();
        scanner.scan(&bytes, true, &mut found).map_err(whole)?;
        self.0.push(Text {
            scanner,
            bytes,
            found,
        });
        Ok(())
    }

    /// Whether everything stays as it came.
    pub fn is_untouched(&self) -> bool {
        self.0.iter().all(|text| text.found.slots.is_empty())
    }

    /// Whether any value wants an answer, and not only to be left out.
    pub fn asks(&self) -> bool {
        let mut slots = self.0.iter().flat_map(|text| &text.found.slots);
        slots.any(|slot| slot.shape != Shape::Extent)
    }

    /// Answers everything. All texts are one record, to tokens of scope `record`
    /// and to what depends on a subject. `most`: bytes of
    /// all of them together.
    ///
    /// # Errors
    /// The first value that has no answer, or [`Code::HeadTooLarge`]: nothing is made durable.
    pub fn answer(
        self,
        job: Job,
        counts: Option<Arc<RuleCounts>>,
        most: usize,
    ) -> Result<Answered, Fault> {
        let keeper = job.keeper.clone();
        let mut resolver = Resolver::new(job);
        resolver.counts = counts;
        resolver.one_record(self.0.iter().map(Text::segment));
        let mut texts = Vec::with_capacity(self.0.len());
        for text in &self.0 {
            let segment = text.segment();
            resolver.resolve(segment).map_err(whole)?;
            let mut out = Vec::new();
            let answers = resolver.answers();
            splice(
                segment.scanner,
                segment.bytes,
                segment.slots,
                answers.iter(),
                &mut out,
            );
            texts.push(out);
        }
        if texts.iter().map(Vec::len).sum::<usize>() > most {
            return Err(Fault::new(Code::HeadTooLarge, Stage::Splice));
        }
        let durable = resolver.durable()?;
        Ok(Answered {
            texts,
            keeper,
            summary: resolver.summary,
            durable: Held::new(Vec::new(), durable, None),
        })
    }
}

/// Texts with their answers, which may not be seen yet.
pub struct Answered {
    texts: Vec<Vec<u8>>,
    keeper: Option<Arc<dyn Keeper>>,
    summary: Summary,
    durable: Held,
}

impl Answered {
    /// The texts, in the order in which they were looked at, once they may leave.
    ///
    /// # Errors
    /// Why they may not.
    pub async fn durable(self) -> Result<(Vec<Vec<u8>>, Summary, Option<StillDurable>), Fault> {
        self.durable.await?;
        Ok((self.texts, self.summary, self.keeper.map(StillDurable)))
    }
}

/// For what is durable, and waits to leave.
pub struct StillDurable(Arc<dyn Keeper>);

impl StillDurable {
    /// Asked again when it leaves.
    ///
    /// # Errors
    /// [`Code::NotReady`]: the vault's store has become another.
    pub fn check(&self) -> Result<(), Fault> {
        if self.0.is_current() {
            return Ok(());
        }
        Err(Fault::new(Code::NotReady, Stage::Resolve))
    }
}

fn whole(fault: Fault) -> Fault {
    Fault {
        offset: None,
        ..fault
    }
}
