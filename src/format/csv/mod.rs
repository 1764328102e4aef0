//! CSV (RFC 4180, and what people really send) and TSV (as ClickHouse and PostgreSQL write it).
//!
//! What enters: rows in UTF-8, with or without a header row. What leaves: slots; every row but the
//! header is a record. What can never happen: a body passes that two readers could cut into rows
//! and fields differently (a quote inside a bare field, text behind a closing quote, a carriage
//! return that may or may not end a row, U+0000).
//!
//! `rows` is the one place that accepts or refuses; `run` is the same for what is ordinary, in a
//! row; `columns` says what becomes of a field; `text` reads and writes fields.
//!
//! A policy meets a row as it meets an object whose members are the columns (`$.email`), or, where
//! there is no header row, by number (`$[0]`).

mod columns;
mod rows;
mod run;
#[cfg(test)]
mod tests;
mod text;

use std::sync::Arc;

use super::{Answer, Found, Options, Scanner, Shape};
use crate::error::Fault;
use crate::policy::Policy;
use rows::Rows;

/// How a route's CSV is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dialect {
    /// One of [`Dialect::DELIMITERS`].
    pub delimiter: u8,
    /// The first row names the columns.
    pub header: bool,
}

impl Dialect {
    /// What may stand between fields.
    pub const DELIMITERS: [u8; 4] = [b',', b';', b'\t', b'|'];
}

impl Default for Dialect {
    fn default() -> Self {
        Self {
            delimiter: b',',
            header: true,
        }
    }
}

/// Scans one CSV body. `$` is the row, whatever the policy's `record` says.
pub struct Csv(Rows<false>);

impl Csv {
    pub fn new(policy: Arc<Policy>, options: Options, dialect: Dialect) -> Self {
        Self(Rows::new(policy, options, dialect))
    }
}

impl Scanner for Csv {
    fn scan(&mut self, window: &[u8], last: bool, found: &mut Found) -> Result<(), Fault> {
        self.0.scan(window, last, found)
    }

    fn value<'a>(&self, raw: &'a [u8], shape: Shape, scratch: &'a mut Vec<u8>) -> &'a [u8] {
        text::csv_value(raw, shape, scratch)
    }

    fn write(&self, raw: &[u8], shape: Shape, answer: Answer<'_>, out: &mut Vec<u8>) {
        text::write_csv(raw, shape, answer, self.0.delimiter, out);
    }
}

/// Scans one TSV body. `$` is the row, whatever the policy's `record` says.
pub struct Tsv(Rows<true>);

impl Tsv {
    /// `header`: the first row names the columns.
    pub fn new(policy: Arc<Policy>, options: Options, header: bool) -> Self {
        let delimiter = b'\t';
        Self(Rows::new(policy, options, Dialect { delimiter, header }))
    }
}

impl Scanner for Tsv {
    fn scan(&mut self, window: &[u8], last: bool, found: &mut Found) -> Result<(), Fault> {
        self.0.scan(window, last, found)
    }

    fn value<'a>(&self, raw: &'a [u8], shape: Shape, scratch: &'a mut Vec<u8>) -> &'a [u8] {
        text::tsv_value(raw, shape, scratch)
    }

    fn write(&self, raw: &[u8], shape: Shape, answer: Answer<'_>, out: &mut Vec<u8>) {
        text::write_tsv(raw, shape, answer, out);
    }
}
