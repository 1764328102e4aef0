//! Formats: one room a format, each a resumable push parser. Pure: no clock, no network, no key.
//!
//! What enters: a window of a body's bytes and a policy. What leaves: slots (byte ranges that a
//! rule wants answered) and the number of bytes that are now final. What can never happen: a
//! byte outside a slot changes, or malformed input passes.
//!
//! | room | what it does |
//! |---|---|
//! | [`json`], [`ndjson`] | JSON, whole and by the line: thin, both on `machine` |
//! | [`csv`] | CSV and TSV: rows of fields, by a header's names or by number |
//! | `machine` | the JSON grammar, places, records and drops; a byte walk and a token walk |
//! | `simd` | 64 bytes at a time into bitmaps of tokens or marks; the only file with `unsafe` |
//! | [`events`] | server-sent events: the JSON text of each |
//! | [`form`] | percent-encoded pairs: forms and query strings; `percent` reads and writes them |
//! | [`places`] | places known without looking: captures of a path, cookies, header fields |
//! | `number`, `text` | numbers and strings of RFC 8259, read and written |
//! | [`splice`] | a segment with its answers in place |
//! | [`fuzz`] | fuzz bodies as plain functions |
//!
//! The seams that later formats use:
//! - **nesting**: windows are slices and slots are relative to them, so a scanner can call another
//!   on a part of its own window (a part of multipart, a value that is itself JSON) and add its
//!   own offset to the slots and faults that come back;
//! - **held segments**: a scanner that still needs to patch earlier bytes (a length) releases
//!   nothing until it knows them, and adds a slot for those bytes; slots are sorted before splicing;
//! - **column entry**: resolving works on values and rules, not on bytes of a format, so batches of
//!   columns (Parquet, Arrow) enter at `rewrite::resolve`.

use crate::error::Fault;
use crate::limits;
use crate::policy::RuleId;

pub mod csv;
pub mod events;
pub mod form;
pub mod fuzz;
pub mod json;
mod machine;
pub mod ndjson;
mod number;
mod percent;
pub mod places;
mod simd;
pub mod splice;
mod text;

pub use csv::{Csv, Tsv};
pub use events::EventStream;
pub use form::Form;
pub use json::Json;
pub use ndjson::Ndjson;
pub use places::Places;
pub use splice::splice;

/// A run of bytes that a rule wants answered. Offsets are relative to the window that was
/// passed to [`Scanner::scan`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// First byte of the value (of the whole member, with its separator, when `shape` is [`Shape::Extent`]).
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
    /// [`RuleId::UNLISTED`] for an extent that no rule asked for.
    pub rule: RuleId,
    pub shape: Shape,
    /// Which record of this body the value stands in, counted from 0. (An extent may reach over
    /// several dropped members or records; it counts as in the one where it ends.)
    pub record: u64,
}

/// How the value is written, so that it can be read and written back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A quoted JSON string without escapes, or a quoted CSV field without doubled quotes: the
    /// value is what stands between the quotes.
    Text,
    /// A quoted JSON string with escapes, a CSV field with doubled quotes, a TSV field with
    /// escapes: reading it needs a scratch buffer.
    Escaped,
    /// A field without quotes or escapes: its spelling is its value.
    Bare,
    /// A bare JSON number: its spelling is its value.
    Number,
    /// `true` or `false`.
    Boolean,
    /// An array or object: its raw bytes are its value.
    Container,
    /// Nothing to resolve: these bytes are left out (a dropped member with its separator). One
    /// large dropped value may arrive as several extents.
    Extent,
}

/// What a scan step found.
#[derive(Default, Debug)]
pub struct Found {
    /// Slots in order of `start`, never overlapping: those that the caller left in from earlier
    /// calls, then the new ones.
    pub slots: Vec<Slot>,
    /// Leading bytes of the window that are final: the next window starts behind them. Set afresh
    /// by each call.
    pub released: usize,
    /// How many records have ended so far in this body.
    pub records: u64,
}

impl Found {
    /// Takes away the first `count` slots (those answered and spliced) and the released bytes:
    /// what remains is relative to the next window. `count` is [`Found::ready`].
    pub fn advance(&mut self, count: usize) {
        self.slots.drain(..count);
        for slot in &mut self.slots {
            slot.start -= self.released;
            slot.end -= self.released;
        }
        self.released = 0;
    }

    /// How many leading slots lie wholly in the released bytes.
    pub fn ready(&self) -> usize {
        self.slots.partition_point(|slot| slot.end <= self.released)
    }
}

/// Bounds of one scan; defaults from [`limits`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Bytes of a record, which is held until it is whole (and of anything else that is held).
    pub record: usize,
    /// Nesting of arrays and objects.
    pub depth: usize,
    /// Bytes of a value that a rule replaces.
    pub value: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            record: limits::RECORD,
            depth: limits::DEPTH,
            value: limits::VALUE,
        }
    }
}

/// How far a window is UTF-8, and whether what follows there is wrong (not just cut). Everything
/// before `looked` has been checked; a cut character at the end is not looked at.
fn valid_utf8(window: &[u8], looked: usize, last: bool) -> (usize, bool) {
    match simdutf8::compat::from_utf8(&window[looked..]) {
        Ok(_) => (window.len(), false),
        Err(error) => {
            let end = looked + error.valid_up_to();
            (end, last || error.error_len().is_some())
        }
    }
}

/// A format's push parser over one body.
///
/// Life: `scan(window, false)`* then one `scan(window, true)`. Each call sees *all* bytes that
/// were not released before, plus what has arrived since; the scanner remembers how far it has
/// looked and does not look twice. Slots are pushed once. A slot that reaches behind `released`
/// stays the caller's to keep (its offsets shift by `released`, see [`Found::advance`]).
///
/// The bytes, the slots and the fault of a body do not depend on how it was cut into windows.
/// After a fault every further call returns the same fault.
pub trait Scanner: Send {
    /// Looks at the new bytes of `window`. `last`: no more bytes follow.
    ///
    /// # Errors
    /// The first fault in byte order, with its absolute offset and place. Nothing is released
    /// by the call that fails, and its slots are void.
    fn scan(&mut self, window: &[u8], last: bool, found: &mut Found) -> Result<(), Fault>;

    /// The value of a slot, unescaped, as the derivation sees it. `scratch` is used only when
    /// the written form differs from the value.
    fn value<'a>(&self, raw: &'a [u8], shape: Shape, scratch: &'a mut Vec<u8>) -> &'a [u8];

    /// Writes an answer in this format's own quoting.
    fn write(&self, raw: &[u8], shape: Shape, answer: Answer<'_>, out: &mut Vec<u8>);
}

/// What stands in a slot's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    /// The bytes that came in.
    Keep,
    /// This text, quoted as the format needs (a JSON number stays bare if the text is a number
    /// and the value was one).
    Text(&'a str),
    /// As [`Answer::Text`], but known to hold ASCII letters, digits and underscores only, with a
    /// letter first: nothing that any format would escape or take for a number.
    Word(&'a [u8]),
    /// The format's null (JSON `null`, an empty CSV field).
    Null,
    /// Nothing at all (only for [`Shape::Extent`]).
    Nothing,
}
