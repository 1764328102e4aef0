//! Which fault a body has, and where.
//!
//! What enters: what the walk ran into. What leaves: the fault that could be seen first, however
//! the body was cut. What can never happen: a fault shows how far into a record the walk got, or a
//! name that no policy lists.

use super::super::columns::Whole;
use super::{Phase, Raise, Rows, State};
use crate::error::{Code, Fault, Stage};
use crate::policy::plan::Scalar;

impl<const TSV: bool> Rows<TSV> {
    #[cold]
    pub(super) fn malformed(&self, at: usize, seen: usize) -> Raise {
        let code = if TSV {
            Code::MalformedTsv
        } else {
            Code::MalformedCsv
        };
        Raise::new(code, at, seen)
    }

    /// The fault that could be seen first: a bound that was passed before `walked` failed, a
    /// field where none may be.
    pub(super) fn settle(&self, walked: Result<(), Raise>, last: bool) -> Result<(), Raise> {
        let (seen, walked) = match (walked, self.state) {
            (Ok(()), _) if last => return Ok(()),
            (Ok(()), State::Return(at)) => (at, None),
            (Ok(()), _) => (self.looked, None),
            (Err(raise), _) => (raise.seen, Some(raise)),
        };
        if self.phase == Phase::Start || matches!(self.columns.whole, Whole::Refuse(_)) {
            return walked.map_or(Ok(()), Err);
        }
        let inside = self.phase == Phase::Body
            && self.columns.whole == Whole::Enter
            && !matches!(self.state, State::Return(_));
        let first = |code, at| Raise {
            code,
            at,
            seen: at + 1,
        };
        let field = match self.columns.get(self.column).scalar {
            _ if !inside => None,
            Scalar::Reject => Some(first(Code::RejectedPlace, self.field)),
            Scalar::Unlisted => Some(first(Code::UnlistedPlace, self.field)),
            Scalar::Slot | Scalar::SlotText => {
                Some(first(Code::ValueTooLarge, self.field + self.options.value))
            }
            Scalar::Pass | Scalar::Drop => None,
        };
        let record = first(Code::RecordTooLarge, self.row + self.options.record);
        let bounds = field.into_iter().chain([record]);
        let all = bounds.filter(|raise| raise.at < seen).chain(walked);
        all.min_by_key(|raise| raise.seen).map_or(Ok(()), Err)
    }

    #[cold]
    pub(super) fn fault(&self, raise: Raise) -> Fault {
        let place = match (raise.code, self.phase) {
            // How far the walk got into the record must not show.
            (Code::RecordTooLarge, _) | (_, Phase::Start) => String::from("$"),
            (_, _) if self.columns.whole != Whole::Enter => String::from("$"),
            (Code::UnlistedPlace | Code::RejectedPlace, _) | (_, Phase::Body) => {
                self.columns.place(&self.policy.plan, self.column)
            }
            (_, Phase::Header) => String::from("$"),
        };
        Fault::new(raise.code, Stage::Scan)
            .at(self.base + raise.at as u64)
            .place(place)
    }
}
