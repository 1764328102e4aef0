//! The inner loop: ordinary fields of ordinary rows.
//!
//! What enters: marks, at a field's start or inside a bare field. What leaves: slots and extents.
//! What can never happen: this loop refuses something: at whatever is not ordinary it stops before
//! the field's first mark, and `rows` decides.

use super::columns::Whole;
use super::rows::{Ends, Phase, Rows, State};
use crate::format::simd::Index;
use crate::format::{Found, Shape, Slot};
use crate::policy::plan::Scalar;

impl<const TSV: bool> Rows<TSV> {
    /// Walks over ordinary fields, as many as there are in a row.
    pub(super) fn run(&mut self, index: &mut Index, found: &mut Found) {
        let ordinary = self.state == State::Plain
            && !self.escaped
            && self.phase == Phase::Body
            && self.ends == Some(Ends::Feed)
            && self.columns.whole == Whole::Enter;
        if ordinary {
            let done = self.fields(index.tokens(), index.kinds(), found);
            index.skip(done);
        }
    }

    /// Returns how many marks are done with.
    fn fields(&mut self, marks: &[u32], kinds: &[u8], found: &mut Found) -> usize {
        let delimiter = self.delimiter;
        let (mut row, mut field, mut column) = (self.row, self.field, self.column);
        let mut done = 0;
        while let Some(kind) = kinds.get(done) {
            let mut last = done;
            let quoted = !TSV && *kind == b'"';
            if quoted {
                match closing(marks, kinds, done, field) {
                    Some(behind) => last = behind,
                    None => break,
                }
            }
            let end = marks[last] as usize;
            let kind = kinds[last];
            // Where the next row starts, if this one ends here.
            let next = if kind == delimiter {
                None
            } else if kind == b'\n' {
                Some(end + 1)
            } else if kind == b'\r'
                && kinds.get(last + 1) == Some(&b'\n')
                && marks[last + 1] as usize == end + 1
            {
                last += 1;
                Some(end + 2)
            } else {
                break;
            };
            if next.is_some() && end - row > self.options.record {
                break;
            }
            let verdict = self.columns.get(column);
            match verdict.scalar {
                Scalar::Pass => self.survive(field, found),
                Scalar::Slot | Scalar::SlotText => {
                    let length = end - field;
                    if length > self.options.value {
                        break;
                    }
                    self.survive(field, found);
                    let (shape, empty) = if quoted {
                        (Shape::Text, 2)
                    } else {
                        (Shape::Bare, 0)
                    };
                    if length > empty {
                        found.slots.push(Slot {
                            start: field,
                            end,
                            rule: verdict.rule,
                            shape,
                            record: self.records,
                        });
                    }
                }
                Scalar::Drop => self.drop_field(field, end, verdict.rule, found),
                Scalar::Reject | Scalar::Unlisted if end > field => break,
                Scalar::Reject | Scalar::Unlisted => self.survive(field, found),
            }
            done = last + 1;
            match next {
                None => {
                    field = end + 1;
                    column += 1;
                }
                Some(next) => {
                    self.end_extent(end, found);
                    self.records += u64::from(end != row);
                    self.survivor = !self.drops;
                    (row, field, column) = (next, next, 0);
                }
            }
        }
        (self.row, self.field, self.column) = (row, field, column);
        done
    }
}

/// The mark right behind the quote that closes the field whose opening quote is mark `open`, if
/// all of them are known and no quote is doubled.
#[inline(always)]
fn closing(marks: &[u32], kinds: &[u8], open: usize, field: usize) -> Option<usize> {
    if marks[open] as usize != field {
        return None;
    }
    let mut close = open + 1;
    loop {
        match kinds.get(close)? {
            b'"' => break,
            0 => return None,
            _ => close += 1,
        }
    }
    let behind = close + 1;
    let adjacent = *marks.get(behind)? == marks[close] + 1;
    (adjacent && kinds[behind] != b'"').then_some(behind)
}
