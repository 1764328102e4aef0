//! What a field and a row come to, once their ends are known.
//!
//! What enters: ends. What leaves: slots, extents, the header's columns, faults of the policy. What
//! can never happen: a dropped field leaves a separator too many or too few.

use super::super::columns::Whole;
use super::super::text;
use super::{Ends, Phase, Raise, Rows, State};
use crate::error::Code;
use crate::format::{Found, Shape, Slot};
use crate::policy::RuleId;
use crate::policy::plan::Scalar;

impl<const TSV: bool> Rows<TSV> {
    /// A field ends before `end`.
    pub(super) fn end_field(
        &mut self,
        end: usize,
        window: &[u8],
        found: &mut Found,
    ) -> Result<(), Raise> {
        let start = self.field;
        let quoted = !TSV && matches!(self.state, State::Closed(_));
        let shape = match (quoted, self.escaped) {
            (_, true) => Shape::Escaped,
            (true, false) => Shape::Text,
            (false, false) => Shape::Bare,
        };
        let nothing = end == start || (shape == Shape::Text && end - start == 2) || self.null;
        (self.state, self.escaped, self.null) = (State::Plain, false, false);
        if self.columns.whole != Whole::Enter {
            return Ok(());
        }
        let header = self.phase == Phase::Header;
        let column = if header {
            let mut scratch = Vec::new();
            let raw = &window[start..end];
            let name = if TSV {
                text::tsv_value(raw, shape, &mut scratch)
            } else {
                text::csv_value(raw, shape, &mut scratch)
            };
            let many = Raise::new(Code::TooManyColumns, start, end);
            self.columns.name(&self.policy.plan, name).ok_or(many)?
        } else {
            self.columns.get(self.column)
        };
        // A field in a column that is refused is refused, unless there is nothing in it; the
        // column itself is refused by its name.
        let seen = if header { end } else { start + 1 };
        match column.scalar {
            Scalar::Drop => self.drop_field(start, end, column.rule, found),
            Scalar::Reject if header || end > start => {
                return Err(Raise::new(Code::RejectedPlace, start, seen));
            }
            Scalar::Unlisted if header || end > start => {
                return Err(Raise::new(Code::UnlistedPlace, start, seen));
            }
            Scalar::Slot | Scalar::SlotText if !header && !nothing => {
                if end - start > self.options.value {
                    return Err(Raise::new(Code::ValueTooLarge, end, end));
                }
                self.survive(start, found);
                let rule = column.rule;
                self.push(start, end, shape, rule, found);
            }
            _ => self.survive(start, found),
        }
        Ok(())
    }

    /// The field at `start` stays.
    #[inline(always)]
    pub(in super::super) fn survive(&mut self, start: usize, found: &mut Found) {
        if !self.survivor {
            self.survivor = true;
            self.end_extent(start, found);
        }
    }

    /// The field is left out, with a separator.
    pub(in super::super) fn drop_field(
        &mut self,
        start: usize,
        end: usize,
        rule: RuleId,
        found: &mut Found,
    ) {
        if self.survivor {
            self.push(start - 1, end, Shape::Extent, rule, found);
        } else {
            self.extent.get_or_insert((start, rule));
        }
    }

    pub(in super::super) fn end_extent(&mut self, end: usize, found: &mut Found) {
        if let Some((start, rule)) = self.extent.take()
            && start != end
        {
            self.push(start, end, Shape::Extent, rule, found);
        }
    }

    /// A row ends before `end`, the next one starts at `next`.
    pub(super) fn end_row(
        &mut self,
        end: usize,
        next: usize,
        ends: Ends,
        found: &mut Found,
    ) -> Result<(), Raise> {
        if end - self.row > self.options.record {
            return Err(Raise::new(Code::RecordTooLarge, end, end));
        }
        if self.phase == Phase::Header && !self.survivor && self.columns.whole == Whole::Enter {
            // Every column is left out: rows of nothing would be blank lines.
            self.columns.whole = Whole::Drop;
            self.columns.rule = self.extent.take().map_or(RuleId::UNLISTED, |e| e.1);
        }
        if self.columns.whole == Whole::Drop {
            let rule = self.columns.rule;
            self.push(self.row, next, Shape::Extent, rule, found);
        } else {
            self.end_extent(end, found);
        }
        if self.phase == Phase::Header {
            self.phase = Phase::Body;
            self.drops = self.columns.drops();
        } else {
            // A blank line is no record.
            self.records += u64::from(end != self.row);
        }
        self.ends = Some(ends);
        self.state = State::Plain;
        (self.row, self.field, self.column) = (next, next, 0);
        self.survivor = !self.drops;
        Ok(())
    }

    #[inline(always)]
    pub(super) fn push(
        &mut self,
        start: usize,
        end: usize,
        shape: Shape,
        rule: RuleId,
        found: &mut Found,
    ) {
        found.slots.push(Slot {
            start,
            end,
            rule,
            shape,
            record: self.records,
        });
    }

    /// A blank line where the header is due: some readers pass over it, others take it for a
    /// column without a name.
    pub(super) fn nameless(&self, at: usize) -> bool {
        self.phase == Phase::Header && at == self.row
    }
}
