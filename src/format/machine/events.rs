//! What a value means: places, slots, drops, records. Both walks report here.
//!
//! What enters: where tokens start and end. What leaves: slots and faults. What can never happen:
//! a dropped member leaves a comma too many or too few.
//!
//! Commas of dropped members: once something of the container stays, a dropped member takes the
//! comma before it. Until then it takes everything up to the next member that stays, or up to
//! the closing bracket. So whatever is dropped, commas stand between what stays.

use super::{Fate, Frame, Machine, Raise, Role, State};
use crate::error::Code;
use crate::format::{Found, Shape};
use crate::policy::RuleId;
use crate::policy::plan::{Container, NodeId, QUIET, Scalar};

impl<const LINES: bool> Machine<LINES> {
    #[inline(always)]
    pub(super) fn top(&mut self) -> &mut Frame {
        self.stack.last_mut().expect("the body's frame stays")
    }

    #[inline(always)]
    pub(super) fn in_array(&self) -> bool {
        self.stack.last().is_some_and(|top| top.array)
    }

    /// The bracket that closes the top container.
    #[inline(always)]
    pub(super) fn closing(&self) -> u8 {
        self.stack.last().map_or(0, Frame::closing)
    }

    /// Before a value at `at`: its node, and the record it may begin.
    #[inline(always)]
    pub(super) fn begin_value(&mut self, at: usize) -> Result<NodeId, Raise> {
        let Frame { array, node, .. } = *self.top();
        if !array {
            return Ok(self.child);
        }
        self.member = at;
        if self.state != State::Value {
            self.pending = at;
        }
        if self.stack.len() == self.record_height {
            self.begin_record(at)?;
        }
        Ok(self.policy.plan.node(node).element)
    }

    /// A scalar begins at `at`: what becomes of it.
    #[inline(always)]
    pub(super) fn begin_scalar(
        &mut self,
        at: usize,
        text: bool,
        id: NodeId,
        found: &mut Found,
    ) -> Result<Fate, Raise> {
        let node = *self.policy.plan.node(id);
        let fate = match node.scalar {
            Scalar::Pass => Fate::Pass,
            Scalar::SlotText if !text => Fate::Pass,
            Scalar::Slot | Scalar::SlotText => Fate::Slot,
            Scalar::Drop => Fate::Drop,
            Scalar::Reject => return Err(Raise::new(Code::RejectedPlace, at)),
            Scalar::Unlisted => return Err(Raise::new(Code::UnlistedPlace, at)),
        };
        match fate {
            Fate::Pass => self.survive(at, found)?,
            Fate::Slot => {
                self.rule = node.rule;
                self.survive(at, found)?;
            }
            Fate::Drop => self.drop(at, node.rule)?,
        }
        Ok(fate)
    }

    /// A scalar of any fate ends before `end` in the byte walk.
    pub(super) fn end_scalar(
        &mut self,
        end: usize,
        shape: Shape,
        found: &mut Found,
    ) -> Result<(), Raise> {
        match self.fate {
            Fate::Pass => {}
            Fate::Slot => {
                let nothing = matches!(self.state, State::Literal(super::NULL, _))
                    || (shape == Shape::Text && end.wrapping_sub(self.token) == 2);
                if !nothing {
                    self.end_slot(self.token, end, shape, found)?;
                }
                self.slot = None;
            }
            Fate::Drop => self.end_drop(end, found),
        }
        self.end_value(end)
    }

    /// A replaced value is whole.
    #[inline(always)]
    pub(super) fn end_slot(
        &mut self,
        start: usize,
        end: usize,
        shape: Shape,
        found: &mut Found,
    ) -> Result<(), Raise> {
        if end.wrapping_sub(start) > self.options.value {
            self.slot = Some(start);
            return Err(Raise {
                code: Code::ValueTooLarge,
                at: end,
                seen: end,
            });
        }
        self.push(start, end, shape, self.rule, found);
        Ok(())
    }

    /// A value is whole: what the grammar expects behind it, and the record it may end.
    #[inline(always)]
    pub(super) fn end_value(&mut self, end: usize) -> Result<(), Raise> {
        let height = self.stack.len();
        self.state = if height == 1 {
            State::End
        } else {
            State::After
        };
        if height == self.record_height {
            return self.end_record(end);
        }
        Ok(())
    }

    /// A bracket opens at `at`.
    #[inline(always)]
    pub(super) fn open(&mut self, at: usize, array: bool, found: &mut Found) -> Result<(), Raise> {
        if self.stack.len() > self.options.depth {
            return Err(Raise::new(Code::TooDeep, at));
        }
        if self.split && array && self.stack.len() == 1 {
            let node = self.policy.plan.body;
            self.enter(Frame {
                role: Role::Stream,
                ..Frame::open(node, array)
            });
            self.record_height = 2;
            return Ok(());
        }
        let id = self.begin_value(at)?;
        let node = *self.policy.plan.node(id);
        match node.container {
            Container::Enter => {
                self.survive(at, found)?;
                self.enter(Frame::open(id, array));
            }
            Container::EnterKept => {
                self.survive(at, found)?;
                self.enter(Frame::open(id | 1, array));
            }
            Container::Slot => {
                self.survive(at, found)?;
                self.slot = Some(at);
                self.rule = node.rule;
                self.enter(Frame {
                    role: Role::Slot,
                    ..Frame::open(QUIET, array)
                });
            }
            Container::Drop => {
                self.drop(at, node.rule)?;
                self.enter(Frame {
                    role: Role::Drop,
                    ..Frame::open(QUIET, array)
                });
            }
            Container::Reject => return Err(Raise::new(Code::RejectedPlace, at)),
            Container::Unlisted => return Err(Raise::new(Code::UnlistedPlace, at)),
        }
        Ok(())
    }

    #[inline(always)]
    fn enter(&mut self, frame: Frame) {
        self.stack.push(frame);
        self.state = if frame.array {
            State::FirstElement
        } else {
            State::FirstKey
        };
    }

    /// The bracket at `at` closes the top container (the caller has compared its kind).
    #[inline(always)]
    pub(super) fn close(&mut self, at: usize, found: &mut Found) -> Result<(), Raise> {
        let Frame { survivor, role, .. } = *self.top();
        if !survivor {
            self.end_extent(at, found);
        }
        self.stack.pop();
        match role {
            Role::Plain => {}
            Role::Slot => {
                if let Some(start) = self.slot {
                    self.end_slot(start, at + 1, Shape::Container, found)?;
                }
                self.slot = None;
            }
            Role::Drop => self.end_drop(at + 1, found),
            Role::Stream => {
                self.record_height = 1;
                self.state = State::End;
                return Ok(());
            }
        }
        self.end_value(at + 1)
    }

    // --- drops

    /// The member or element whose value begins at `at` stays.
    #[inline(always)]
    fn survive(&mut self, at: usize, found: &mut Found) -> Result<(), Raise> {
        if self.unbounded {
            self.bound_pending(at)?;
        }
        let member = self.member;
        let top = self.top();
        if !top.survivor {
            top.survivor = true;
            self.end_extent(member, found);
        }
        Ok(())
    }

    /// The member or element whose value begins at `at` is left out.
    #[cold]
    fn drop(&mut self, at: usize, rule: RuleId) -> Result<(), Raise> {
        if self.unbounded {
            self.bound_pending(at)?;
        }
        let start = if self.stack.len() > 1 {
            if self.top().survivor {
                self.pending
            } else {
                self.member
            }
        } else if LINES {
            self.record.unwrap_or(at)
        } else {
            // Nothing is no JSON text.
            let code = if rule == RuleId::UNLISTED {
                Code::UnlistedPlace
            } else {
                Code::RejectedPlace
            };
            return Err(Raise::new(code, at));
        };
        self.extent.get_or_insert((start, rule));
        Ok(())
    }

    #[cold]
    pub(super) fn end_drop(&mut self, end: usize, found: &mut Found) {
        if self.top().survivor {
            self.end_extent(end, found);
        }
    }

    #[inline(always)]
    fn end_extent(&mut self, end: usize, found: &mut Found) {
        if let Some((start, rule)) = self.extent.take()
            && start != end
        {
            self.push(start, end, Shape::Extent, rule, found);
        }
    }

    /// Without records, what waits for a member's fate is bounded here.
    fn bound_pending(&self, at: usize) -> Result<(), Raise> {
        if at.wrapping_sub(self.pending) > self.options.record {
            return Err(Raise::new(Code::RecordTooLarge, at));
        }
        Ok(())
    }

    // --- records

    fn begin_record(&mut self, at: usize) -> Result<(), Raise> {
        if !LINES && !self.unbounded {
            self.bound_pending(at)?;
            self.record = Some(at);
            self.measured = at;
        }
        Ok(())
    }

    fn end_record(&mut self, end: usize) -> Result<(), Raise> {
        if LINES {
            return Ok(()); // The line ends it.
        }
        self.bound_record(end)?;
        self.records += 1;
        if self.record_height == 2 {
            self.record = None;
        }
        self.measured = end;
        Ok(())
    }

    /// A line ends: its last byte (but for the line feed) stands before `at`, the next line
    /// starts at `next`.
    pub(super) fn end_line(
        &mut self,
        at: usize,
        next: usize,
        found: &mut Found,
    ) -> Result<(), Raise> {
        self.bound_record(at)?;
        self.end_extent(next, found);
        self.top().survivor = false;
        self.records += u64::from(self.state == State::End);
        self.record = Some(next);
        self.measured = next;
        self.state = State::Start;
        Ok(())
    }

    fn bound_record(&self, end: usize) -> Result<(), Raise> {
        if self.record.is_some() && end.wrapping_sub(self.measured) > self.options.record {
            return Err(Raise {
                code: Code::RecordTooLarge,
                at: end,
                seen: end,
            });
        }
        Ok(())
    }
}
