//! Formats: one room a format, each a resumable push parser. Pure: no clock, no network, no key.
//!
//! What enters: a window of a body's bytes and a policy. What leaves: slots (byte ranges that a
//! rule wants answered) and the number of bytes that are now final. What can never happen: a
//! byte outside a slot changes, or malformed input passes.
//!
//! The seams that later formats use:
//! - **nesting**: windows are slices and slots carry a base, so a scanner can call another on a
//!   part of its own window (a part of multipart, a value that is itself JSON);
//! - **held segments**: a scanner that still needs to patch earlier bytes (a length) releases
//!   nothing until it knows them, and adds a slot for those bytes; slots are sorted before splicing;
//! - **column entry**: resolving works on values and rules, not on bytes of a format, so batches of
//!   columns (Parquet, Arrow) enter at `rewrite::resolve`.

use crate::error::Fault;
use crate::policy::RuleId;

pub mod json;
pub mod ndjson;
pub mod splice;

/// A run of bytes that a rule wants answered. Offsets are relative to the window that was
/// passed to [`Scanner::scan`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// First byte of the value (of the whole member, with its separator, when `shape` is [`Shape::Extent`]).
    pub start: usize,
    /// One past the last byte.
    pub end: usize,
    pub rule: RuleId,
    pub shape: Shape,
    /// Which record of this body the value stands in, counted from 0.
    pub record: u64,
}

/// How the value is written, so that it can be read and written back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A quoted JSON string without escapes: the value is what stands between the quotes.
    Text,
    /// A quoted JSON string with escapes: reading it needs a scratch buffer.
    Escaped,
    /// A bare JSON number: its spelling is its value.
    Number,
    /// `true` or `false`.
    Boolean,
    /// An array or object: its raw bytes are its value.
    Container,
    /// Nothing to resolve: these bytes are left out (a dropped member with its separator).
    Extent,
}

/// What a scan step found.
#[derive(Default, Debug)]
pub struct Found {
    /// Slots whose bytes are wholly inside the released part, in order of `start`, and those
    /// still pending behind it.
    pub slots: Vec<Slot>,
    /// Leading bytes of the window that are final: the next window starts behind them.
    pub released: usize,
    /// How many records have ended so far in this body.
    pub records: u64,
}

/// A format's push parser over one body.
///
/// Life: `scan(window, false)`* then one `scan(window, true)`. Each call sees *all* bytes that
/// were not released before, plus what has arrived since; the scanner remembers how far it has
/// looked and does not look twice. Slots are pushed once. A slot that reaches behind `released`
/// stays the caller's to keep (its offsets shift by `released`).
pub trait Scanner: Send {
    /// Looks at the new bytes of `window`. `last`: no more bytes follow.
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
    /// The format's null (JSON `null`, an empty CSV field).
    Null,
    /// Nothing at all (only for [`Shape::Extent`]).
    Nothing,
}
