//! One body of rows, walked once.
//!
//! What enters: windows of the body. What leaves: slots, released bytes, at most one fault. What
//! can never happen: part of a row leaves before the row is whole.
//!
//! The walk goes from mark to mark (delimiters, line ends, quotes or backslashes, U+0000), which
//! `simd` finds wherever they stand, so it can stop and go on at any byte.
//!
//! ```text
//! Plain ── " ─► Quoted ── " ─► Closed ── " ─► Quoted (a doubled quote)
//!   ▲                            │ delimiter, line end
//!   └──── delimiter, LF ─────────┘      CR ─► Return ── LF, or a row of the CR kind ─► Plain
//! Plain ── \ ─► Escape ─► Plain, or behind \N ─► Closed                                  (TSV)
//! ```
//!
//! Separators of dropped columns: as in `machine/events.rs`. Once a field of the row stays, a
//! dropped one takes the delimiter before it; until then it takes everything up to the next field
//! that stays, or up to the row's end.

mod faults;
mod fields;

use std::cell::Cell;
use std::sync::Arc;

use super::Dialect;
use super::columns::{Columns, Whole};
use crate::error::{Code, Fault};
use crate::format::simd::{Index, Marks};
use crate::format::{Found, Options, valid_utf8};
use crate::policy::{Policy, RuleId};

/// Windows shorter than this are not worth an index.
const WORTH: usize = 64;
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

thread_local! {
    /// The thread's index, between two walks, as in `machine/tokens.rs`.
    static SPARE: Cell<Option<Box<Index>>> = const { Cell::new(None) };
}

/// Where in a field the walk stands. Positions are relative to the window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// At the start of a field, or inside a bare one.
    Plain,
    Quoted,
    /// Behind this closing quote, or the first half of a doubled one; in TSV behind `\N`.
    Closed(usize),
    /// Behind this backslash.
    Escape(usize),
    /// Behind an escaped backslash here, which is a mark but means nothing.
    Escaped(usize),
    /// Behind this carriage return, which has ended the row's last field.
    Return(usize),
}

/// How rows end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ends {
    /// With LF or CR LF.
    Feed,
    /// With CR alone.
    Return,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Nothing has been seen: a byte order mark may come.
    Start,
    Header,
    Body,
}

/// A fault before it has its absolute offset and place.
#[derive(Clone, Copy, Debug)]
pub(super) struct Raise {
    code: Code,
    /// The offset to report.
    at: usize,
    /// How many bytes had to be seen to know.
    seen: usize,
}

impl Raise {
    #[cold]
    fn new(code: Code, at: usize, seen: usize) -> Self {
        Self { code, at, seen }
    }
}

/// The life of one body.
pub(super) struct Rows<const TSV: bool> {
    pub(super) delimiter: u8,
    policy: Arc<Policy>,
    pub(super) options: Options,
    header: bool,
    pub(super) columns: Columns,
    /// Some column is left out.
    pub(super) drops: bool,
    failed: Option<Fault>,

    pub(super) phase: Phase,
    pub(super) state: State,
    /// Known from the first row's end.
    pub(super) ends: Option<Ends>,
    /// First byte of the row and of the field, and which field it is.
    pub(super) row: usize,
    pub(super) field: usize,
    pub(super) column: usize,
    /// The field has a doubled quote or an escape.
    pub(super) escaped: bool,
    /// TSV: the field is `\N`.
    null: bool,
    /// Some field of the row stays.
    pub(super) survivor: bool,
    /// First byte and rule of the fields being left out.
    pub(super) extent: Option<(usize, RuleId)>,
    looked: usize,

    /// Absolute offset of the window's first byte.
    base: u64,
    released: usize,
    pub(super) records: u64,
}

impl<const TSV: bool> Rows<TSV> {
    pub fn new(policy: Arc<Policy>, options: Options, dialect: Dialect) -> Self {
        let value = options.value.min(options.record).max(16);
        let columns = Columns::new(&policy.plan, dialect.header);
        Self {
            delimiter: dialect.delimiter,
            options: Options { value, ..options },
            header: dialect.header,
            drops: columns.drops() || dialect.header,
            columns,
            policy,
            failed: None,
            phase: Phase::Start,
            state: State::Plain,
            ends: None,
            row: 0,
            field: 0,
            column: 0,
            escaped: false,
            null: false,
            survivor: false,
            extent: None,
            looked: 0,
            base: 0,
            released: 0,
            records: 0,
        }
    }

    /// See [`crate::format::Scanner::scan`].
    pub fn scan(&mut self, window: &[u8], last: bool, found: &mut Found) -> Result<(), Fault> {
        if let Some(fault) = &self.failed {
            return Err(fault.clone());
        }
        self.rebase();
        found.released = 0;
        let walked = self.walk(window, last, found);
        if let Err(raise) = self.settle(walked, last) {
            let fault = self.fault(raise);
            self.failed = Some(fault.clone());
            return Err(fault);
        }
        self.released = if last { window.len() } else { self.row };
        found.released = self.released;
        found.records = self.records;
        Ok(())
    }

    fn walk(&mut self, window: &[u8], last: bool, found: &mut Found) -> Result<(), Raise> {
        let (end, broken) = valid_utf8(window, self.looked, last);
        if self.phase == Phase::Start && end > 0 {
            self.begin(window)?;
        }
        self.marks(&window[..end], found)?;
        self.looked = self.looked.max(end);
        self.pending(&window[..end], found)?;
        if broken {
            return Err(Raise::new(Code::NotUtf8, end, end + 1));
        }
        if last {
            self.finish(window, found)
        } else {
            Ok(())
        }
    }

    /// Before the first row. A byte order mark stays, and is no part of the first field.
    fn begin(&mut self, window: &[u8]) -> Result<(), Raise> {
        if window.starts_with(BYTE_ORDER_MARK) {
            self.looked = BYTE_ORDER_MARK.len();
        }
        (self.row, self.field) = (self.looked, self.looked);
        self.phase = if self.header {
            Phase::Header
        } else {
            Phase::Body
        };
        self.survivor = !self.drops;
        let code = match self.columns.whole {
            Whole::Refuse(true) => Code::RejectedPlace,
            Whole::Refuse(false) => Code::UnlistedPlace,
            _ => return Ok(()),
        };
        Err(Raise::new(code, 0, 1))
    }

    /// Walks over every mark of `window` that has not been looked at.
    fn marks(&mut self, window: &[u8], found: &mut Found) -> Result<(), Raise> {
        let special = if TSV { b'\\' } else { b'"' };
        let marks = [self.delimiter, b'\n', b'\r', special, 0];
        // The index holds 32-bit positions.
        if window.len() - self.looked < WORTH || u32::try_from(window.len()).is_err() {
            for at in self.looked..window.len() {
                if marks.contains(&window[at]) {
                    self.mark(at, window, found)?;
                }
            }
            return Ok(());
        }
        let mut index = SPARE.take().unwrap_or_default();
        let walked = self.indexed(&mut index, Marks(marks), window, found);
        SPARE.set(Some(index));
        walked
    }

    fn indexed(
        &mut self,
        index: &mut Index,
        marks: Marks,
        window: &[u8],
        found: &mut Found,
    ) -> Result<(), Raise> {
        index.start(self.looked);
        loop {
            self.run(index, found);
            match index.first() {
                Some(at) => {
                    self.mark(at, window, found)?;
                    index.skip(1);
                }
                None if index.fill_marks(window, marks) => {}
                None => return Ok(()),
            }
        }
    }

    /// A mark at `at`.
    fn mark(&mut self, at: usize, window: &[u8], found: &mut Found) -> Result<(), Raise> {
        self.pending(window, found)?;
        let byte = window[at];
        match (self.state, byte) {
            (State::Escaped(here), _) if here == at => self.state = State::Plain,
            (State::Return(_), b'\n') if self.ends == Some(Ends::Return) => {
                return Err(self.malformed(at, at + 1));
            }
            (State::Return(_), b'\n') => self.end_row(at - 1, at + 1, Ends::Feed, found)?,
            (_, 0) => return Err(Raise::new(Code::NulInRow, at, at + 1)),
            (State::Quoted, b'"') if !TSV => self.state = State::Closed(at),
            (State::Quoted, _) => {}
            (State::Closed(_), b'"') if !TSV => {
                self.escaped = true;
                self.state = State::Quoted;
            }
            (State::Plain, b'"') if !TSV && at == self.field => self.state = State::Quoted,
            (State::Plain, b'\\') if TSV => self.state = State::Escape(at),
            (State::Plain | State::Closed(_), b'\n') => {
                if self.ends == Some(Ends::Return) || self.nameless(at) {
                    return Err(self.malformed(at, at + 1));
                }
                self.end_field(at, window, found)?;
                self.end_row(at, at + 1, Ends::Feed, found)?;
            }
            (State::Plain | State::Closed(_), b'\r') => {
                if self.nameless(at) {
                    return Err(self.malformed(at, at + 1));
                }
                self.end_field(at, window, found)?;
                self.state = State::Return(at);
            }
            (State::Plain | State::Closed(_), delimiter) if delimiter == self.delimiter => {
                self.end_field(at, window, found)?;
                self.column += 1;
                self.field = at + 1;
            }
            _ => return Err(self.malformed(at, at + 1)),
        }
        Ok(())
    }

    /// Looks at what stands behind a closing quote, backslash or carriage return, once it is there.
    fn pending(&mut self, window: &[u8], found: &mut Found) -> Result<(), Raise> {
        match self.state {
            State::Plain | State::Quoted | State::Escaped(_) => Ok(()),
            State::Closed(at) => match window.get(at + 1) {
                None | Some(b'\n' | b'\r') => Ok(()),
                Some(b'"') if !TSV => Ok(()),
                Some(byte) if *byte == self.delimiter => Ok(()),
                Some(0) => Err(Raise::new(Code::NulInRow, at + 1, at + 2)),
                Some(_) => Err(self.malformed(at + 1, at + 2)),
            },
            State::Escape(at) => {
                match window.get(at + 1) {
                    None => return Ok(()),
                    Some(b'N') if at == self.field => {
                        self.null = true;
                        self.state = State::Closed(at + 1);
                        return self.pending(window, found);
                    }
                    Some(b'\\') => self.state = State::Escaped(at + 1),
                    Some(b'b' | b'f' | b'n' | b'r' | b't' | b'v' | b'\'') => {
                        self.state = State::Plain;
                    }
                    Some(_) => return Err(self.malformed(at, at + 2)),
                }
                self.escaped = true;
                Ok(())
            }
            State::Return(at) => match window.get(at + 1) {
                None | Some(b'\n') => Ok(()),
                Some(_) => self.lone_return(at, at + 2, found),
            },
        }
    }

    /// A carriage return without a line feed ends rows only in a body where all rows end so.
    fn lone_return(&mut self, at: usize, seen: usize, found: &mut Found) -> Result<(), Raise> {
        if TSV || self.ends == Some(Ends::Feed) {
            return Err(self.malformed(at, seen));
        }
        self.end_row(at, at + 1, Ends::Return, found)
    }

    /// The body has ended.
    fn finish(&mut self, window: &[u8], found: &mut Found) -> Result<(), Raise> {
        let end = window.len();
        match self.state {
            State::Quoted => return Err(Raise::new(Code::UnclosedQuote, self.field, end)),
            State::Escape(at) => return Err(self.malformed(at, end)),
            State::Return(at) => return self.lone_return(at, end, found),
            State::Plain | State::Closed(_) | State::Escaped(_) => {}
        }
        if self.row == end {
            return Ok(());
        }
        // The last row needs no line end.
        self.end_field(end, window, found)?;
        self.end_row(end, end, self.ends.unwrap_or(Ends::Feed), found)
    }

    /// Moves every position to the new window. What is held begins with the row.
    fn rebase(&mut self) {
        let by = self.released;
        self.base += by as u64;
        self.released = 0;
        for position in [&mut self.looked, &mut self.row, &mut self.field] {
            *position -= by;
        }
        self.state = match self.state {
            State::Closed(at) => State::Closed(at - by),
            State::Escape(at) => State::Escape(at - by),
            State::Escaped(at) => State::Escaped(at - by),
            State::Return(at) => State::Return(at - by),
            state => state,
        };
        self.extent = self.extent.map(|(at, rule)| (at - by, rule));
    }
}
