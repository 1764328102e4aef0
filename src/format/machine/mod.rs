//! One body of JSON or NDJSON, walked once.
//!
//! What enters: windows of the body. What leaves: slots, released bytes, at most one fault. What
//! can never happen: a byte is looked at again and again because a value arrives in small pieces.
//!
//! Two walks share one state: `bytes` is the grammar of RFC 8259, one byte at a time, and can
//! stop and go on anywhere; `tokens` is much faster, but handles only whole tokens and only what
//! is in order: at anything else it steps back to the token's start and lets `bytes` decide (and
//! `run`, its inner loop, handles only what is ordinary and leaves the rest to `tokens`). So there is one place that accepts or refuses, and one fault for one body. Both report what they
//! see to `events`, which knows places, slots, drops and records.
//!
//! ```text
//! Start → value → End                      `[`: FirstElement → value → After ⇄ Value
//!   value after `:` → After                `{`: FirstKey → Key string → Colon → Value
//! ```
//!
//! Positions are relative to the window's first byte. What lies in released bytes wraps below
//! zero and is never read again, only reported as an absolute offset.

mod bytes;
mod events;
mod place;
mod run;
#[cfg(test)]
mod tests;
mod tokens;

use std::sync::Arc;

use super::number::Number;
use super::{Found, Options, Shape, Slot, valid_utf8};
use crate::error::{Code, Fault, Stage};
use crate::policy::plan::{NO_NAME, NodeId, QUIET};
use crate::policy::{Policy, RecordUnit, RuleId};

/// Where in the grammar the walk stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    // --- between tokens
    /// Before the document, or at a line's start.
    Start,
    /// A value must follow (behind `:`, or behind `,` in an array).
    Value,
    /// Behind `[`.
    FirstElement,
    /// Behind `{`.
    FirstKey,
    /// Behind `,` in an object.
    Key,
    Colon,
    /// Behind a value inside a container.
    After,
    /// Behind the whole text.
    End,
    // --- inside a token
    Text(Escape),
    Number(Number),
    /// Index into `LITERALS` and how many of its bytes have been seen.
    Literal(u8, u8),
}

impl State {
    fn between_tokens(self) -> bool {
        !matches!(self, Self::Text(_) | Self::Number(_) | Self::Literal(..))
    }
}

const LITERALS: [&[u8]; 3] = [b"true", b"false", b"null"];
const NULL: u8 = 2;

/// Where in a string the walk stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Escape {
    None,
    /// Behind `\`.
    Begun,
    /// Behind `\u` and so many digits.
    Hex(u8),
    /// Behind a high surrogate; `\` must follow.
    High,
    /// Behind a high surrogate and `\`; `u` must follow.
    HighBegun,
}

/// One open container (or, at the bottom of the stack, the body).
#[derive(Clone, Copy, Debug)]
struct Frame {
    node: NodeId,
    /// The listed name of the current member.
    name: u16,
    array: bool,
    /// Some member or element so far stays in the output, so a dropped one takes the comma before it.
    survivor: bool,
    role: Role,
}

impl Frame {
    /// A container whose inside is looked at. Where everything passes, no comma matters: a
    /// survivor from the start.
    fn open(node: NodeId, array: bool) -> Self {
        Self {
            node,
            name: NO_NAME,
            array,
            survivor: node == QUIET,
            role: Role::Plain,
        }
    }

    /// The bracket that closes it.
    #[inline(always)]
    fn closing(&self) -> u8 {
        if self.array { b']' } else { b'}' }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Plain,
    /// The whole container is one slot.
    Slot,
    /// The whole container is left out.
    Drop,
    /// A top-level array whose elements are records.
    Stream,
}

/// What becomes of the scalar that is being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Pass,
    Slot,
    Drop,
}

/// A fault before it has its absolute offset and place.
#[derive(Clone, Copy, Debug)]
struct Raise {
    code: Code,
    /// The offset to report.
    at: usize,
    /// How many bytes had to be seen to know.
    seen: usize,
}

impl Raise {
    #[cold]
    fn new(code: Code, at: usize) -> Self {
        Self {
            code,
            at,
            seen: at.wrapping_add(1),
        }
    }
}

/// The life of one body. `LINES`: NDJSON.
pub(super) struct Machine<const LINES: bool> {
    policy: Arc<Policy>,
    options: Options,
    unbounded: bool,
    /// Elements of a top-level array are records.
    split: bool,
    failed: Option<Fault>,

    state: State,
    stack: Vec<Frame>,
    /// Height of the stack when a value is a record: 1, or 2 inside a stream's array.
    record_height: usize,
    /// Node of the member's value that is about to come.
    child: NodeId,
    fate: Fate,
    rule: RuleId,
    /// The string being read is a member name.
    key: bool,
    escaped: bool,
    /// Digits of the `\u` escape so far, and the high surrogate before it.
    unit: u16,
    high: bool,
    scratch: Vec<u8>,

    /// How far the walk has looked.
    looked: usize,
    /// First byte of the string, number or literal being read.
    token: usize,
    /// First byte of the escape being read.
    escape: usize,
    /// First byte of the member (its name) or element being read.
    member: usize,
    /// What must be held until the member's fate is known: its comma, or its first byte.
    pending: usize,
    /// First byte of the slot being read, if there is one.
    slot: Option<usize>,
    /// First byte and rule of the bytes being left out.
    extent: Option<(usize, RuleId)>,
    /// First byte of the record being held, if there is one.
    record: Option<usize>,
    /// From where the record's size counts: its start, and once a document is whole, its end.
    measured: usize,

    /// Absolute offset of the window's first byte.
    base: u64,
    released: usize,
    records: u64,
}

impl<const LINES: bool> Machine<LINES> {
    pub fn new(policy: Arc<Policy>, options: Options) -> Self {
        let unit = policy.record;
        let body = Frame {
            node: policy.plan.body,
            name: NO_NAME,
            array: true,
            survivor: false,
            role: Role::Plain,
        };
        let value = options.value.min(options.record).max(16);
        Self {
            options: Options { value, ..options },
            unbounded: !LINES && unit == RecordUnit::Unbounded,
            split: !LINES && unit == RecordUnit::Auto,
            policy,
            failed: None,
            state: State::Start,
            stack: vec![body],
            record_height: 1,
            child: 0,
            fate: Fate::Pass,
            rule: RuleId::UNLISTED,
            key: false,
            escaped: false,
            unit: 0,
            high: false,
            scratch: Vec::new(),
            looked: 0,
            token: 0,
            escape: 0,
            member: 0,
            pending: 0,
            slot: None,
            extent: None,
            record: LINES.then_some(0),
            measured: 0,
            base: 0,
            released: 0,
            records: 0,
        }
    }

    /// See [`super::Scanner::scan`].
    pub fn scan(&mut self, window: &[u8], last: bool, found: &mut Found) -> Result<(), Fault> {
        if let Some(fault) = &self.failed {
            return Err(fault.clone());
        }
        self.rebase();
        found.released = 0;
        let walked = self.walk(window, last, found);
        match self.settle(walked, if last { window.len() } else { self.looked }) {
            Ok(()) => {
                self.release(window.len(), last, found);
                found.records = self.records;
                Ok(())
            }
            Err(raise) => {
                let fault = self.fault(raise);
                self.failed = Some(fault.clone());
                Err(fault)
            }
        }
    }

    fn walk(&mut self, window: &[u8], last: bool, found: &mut Found) -> Result<(), Raise> {
        let (end, broken) = valid_utf8(window, self.looked, last);
        self.bytes(window, end, true, found)?;
        if self.looked < end {
            self.tokens(window, end, found)?;
            self.bytes(window, end, false, found)?;
        }
        if broken {
            return Err(Raise::new(Code::NotUtf8, end));
        }
        if last {
            self.finish(end, found)
        } else {
            Ok(())
        }
    }

    /// The body has ended.
    fn finish(&mut self, end: usize, found: &mut Found) -> Result<(), Raise> {
        if let State::Number(number) = self.state
            && number.complete()
        {
            self.end_scalar(end, Shape::Number, found)?;
        }
        match self.state {
            State::End if LINES => self.end_line(end, end, found),
            State::End => Ok(()),
            State::Start if LINES => Ok(()),
            _ => Err(Raise {
                code: Code::Truncated,
                at: end,
                seen: end,
            }),
        }
    }

    /// The fault in byte order: a bound that was passed before `walked` failed comes first.
    fn settle(&self, walked: Result<(), Raise>, looked: usize) -> Result<(), Raise> {
        let seen = walked.err().map_or(looked, |raise| raise.seen);
        let value = self
            .slot
            .map(|start| (start.wrapping_add(self.options.value), Code::ValueTooLarge));
        let record = self.held().map(|start| {
            (
                start.wrapping_add(self.options.record),
                Code::RecordTooLarge,
            )
        });
        let passed = |bound: &(usize, Code)| (bound.0 as isize) < seen as isize;
        match value
            .into_iter()
            .chain(record)
            .filter(passed)
            .min_by_key(|b| b.0)
        {
            Some((at, code)) => Err(Raise::new(code, at)),
            None => walked,
        }
    }

    /// From where the size of what is held counts.
    fn held(&self) -> Option<usize> {
        match self.record {
            Some(_) => Some(self.measured),
            None if self.undecided() => Some(self.pending),
            None => None,
        }
    }

    /// Whether a comma or name has been seen whose member's fate is not known.
    fn undecided(&self) -> bool {
        match self.state {
            State::Key | State::Colon | State::Value => true,
            State::Text(_) => self.key,
            _ => false,
        }
    }

    /// Says which bytes are final, and hands over what is known of an open extent.
    fn release(&mut self, length: usize, last: bool, found: &mut Found) {
        let released = if last {
            length
        } else {
            let undecided = self.undecided().then_some(self.pending);
            self.record
                .or(self.slot)
                .or(undecided)
                .unwrap_or(self.looked)
        };
        if let Some((start, rule)) = self.extent
            && start < released
            && !last
        {
            self.push(start, released, Shape::Extent, rule, found);
            self.extent = Some((released, rule));
        }
        self.released = released;
        found.released = released;
    }

    /// Moves every position to the new window.
    fn rebase(&mut self) {
        let by = self.released;
        self.base += by as u64;
        self.released = 0;
        self.looked -= by;
        for position in [
            &mut self.token,
            &mut self.escape,
            &mut self.member,
            &mut self.pending,
            &mut self.measured,
        ] {
            *position = position.wrapping_sub(by);
        }
        self.slot = self.slot.map(|at| at.wrapping_sub(by));
        self.record = self.record.map(|at| at.wrapping_sub(by));
        self.extent = self.extent.map(|(at, rule)| (at.wrapping_sub(by), rule));
    }

    #[inline(always)]
    fn push(&mut self, start: usize, end: usize, shape: Shape, rule: RuleId, found: &mut Found) {
        found.slots.push(Slot {
            start,
            end,
            rule,
            shape,
            record: self.records,
        });
    }

    #[cold]
    fn fault(&self, raise: Raise) -> Fault {
        // Sign-extended: an escape may have begun in bytes that are gone.
        let offset = self.base.wrapping_add(raise.at as isize as i64 as u64);
        let place = match raise.code {
            // How far the walk got into the record must not show.
            Code::RecordTooLarge => String::from("$"),
            _ => self.place(),
        };
        Fault::new(raise.code, Stage::Scan).at(offset).place(place)
    }
}
