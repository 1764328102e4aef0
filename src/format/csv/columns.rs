//! What becomes of each column's fields.
//!
//! What enters: the header's names, or nothing but the policy. What leaves: one verdict a column.
//! What can never happen: a column beyond the known ones gets another column's verdict, or a name
//! is told that the policy does not list.

use crate::limits;
use crate::policy::RuleId;
use crate::policy::plan::{Container, NO_NAME, NodeId, Plan, RECORD, Scalar};
use crate::policy::selector::write_name;

/// A column's verdict.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    pub scalar: Scalar,
    pub rule: RuleId,
    /// Its listed name; a listed number stands for itself.
    name: u16,
    listed: bool,
}

impl Column {
    fn new(plan: &Plan, node: NodeId, name: u16, listed: bool) -> Self {
        let verdict = plan.node(node);
        Self {
            scalar: verdict.scalar,
            rule: verdict.rule,
            name,
            listed,
        }
    }
}

/// What becomes of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whole {
    /// Their fields are looked at.
    Enter,
    Drop,
    /// Refused at the first one; `true`: by a rule.
    Refuse(bool),
}

/// The columns of one body.
pub(super) struct Columns {
    known: Vec<Column>,
    /// Fields beyond them.
    other: Column,
    record: NodeId,
    named: bool,
    pub whole: Whole,
    /// The rule of [`Whole::Drop`].
    pub rule: RuleId,
}

impl Columns {
    /// `named`: names come from a header row.
    pub fn new(plan: &Plan, named: bool) -> Self {
        let (whole, record) = match plan.node(RECORD).container {
            Container::Enter => (Whole::Enter, RECORD),
            Container::EnterKept => (Whole::Enter, RECORD | 1),
            Container::Drop => (Whole::Drop, RECORD | 1),
            // There is no field in which an answer for a whole row could stand.
            Container::Slot | Container::Reject => (Whole::Refuse(true), RECORD),
            Container::Unlisted => (Whole::Refuse(false), RECORD),
        };
        let column = |at| {
            let (node, listed) = plan.column(record, at);
            Column::new(plan, node, NO_NAME, listed)
        };
        let other = match named {
            true => Column::new(plan, plan.node(record).other, NO_NAME, false),
            false => column(usize::MAX),
        };
        let numbered = if named { 0 } else { plan.columns() };
        Self {
            known: (0..numbered).map(column).collect(),
            other,
            record,
            named,
            whole,
            rule: plan.node(RECORD).rule,
        }
    }

    /// The next column's name, unescaped. `None`: there are too many.
    pub fn name(&mut self, plan: &Plan, name: &[u8]) -> Option<Column> {
        if self.known.len() == limits::COLUMNS {
            return None;
        }
        let (node, listed) = plan.member(self.record, name, 0, name.len());
        let column = Column::new(plan, node, listed, listed != NO_NAME);
        self.known.push(column);
        Some(column)
    }

    #[inline(always)]
    pub fn get(&self, at: usize) -> Column {
        self.known.get(at).copied().unwrap_or(self.other)
    }

    /// Whether a row may lose a field, so that separators matter.
    pub fn drops(&self) -> bool {
        let all = self.known.iter().chain(std::iter::once(&self.other));
        all.into_iter().any(|c| c.scalar == Scalar::Drop)
    }

    /// The column's place in the policy's own notation.
    pub fn place(&self, plan: &Plan, at: usize) -> String {
        let column = self.get(at);
        let mut place = String::from("$");
        match (self.named, column.listed) {
            // Writing into a string cannot fail.
            (true, true) => drop(write_name(&mut place, "", plan.name(column.name))),
            (true, false) => place.push_str(".*"),
            (false, true) => place.push_str(&format!("[{at}]")),
            (false, false) => place.push_str("[*]"),
        }
        place
    }
}
