//! Where records end, where that can be known without understanding them.
//!
//! What enters: bytes, from a record's first one on. What leaves: where the record ends. What can
//! never happen: a record that a scanner accepts is cut elsewhere than the scanner does.

use memchr::memchr;

use super::place::Written;

/// Cuts lines and rows.
#[derive(Clone, Copy, Debug)]
pub struct Cutter {
    written: Written,
    delimiter: u8,
}

impl Cutter {
    /// `None` for JSON: an element's end is known only to who has read all before it.
    pub fn new(written: Written, delimiter: u8) -> Option<Self> {
        let delimiter = if written == Written::Tsv {
            b'\t'
        } else {
            delimiter
        };
        (written != Written::Json).then_some(Self { written, delimiter })
    }

    /// One past the first record's line feed; `None`: it is not there yet.
    pub fn end(&self, bytes: &[u8]) -> Option<usize> {
        match self.written {
            Written::Csv => self.walk(bytes).1,
            _ => memchr(b'\n', bytes).map(|at| at + 1),
        }
    }

    /// Fields of a row.
    pub fn fields(&self, row: &[u8]) -> usize {
        match self.written {
            Written::Csv => self.walk(row).0,
            _ => 1 + row.iter().filter(|byte| **byte == self.delimiter).count(),
        }
    }

    /// Fields of the first row so far, and where it ends.
    fn walk(&self, bytes: &[u8]) -> (usize, Option<usize>) {
        let (mut fields, mut start, mut quoted) = (1, true, false);
        let mut at = 0;
        while let Some(byte) = bytes.get(at) {
            at += 1;
            match (quoted, byte) {
                (true, b'"') if bytes.get(at) == Some(&b'"') => at += 1,
                (true, b'"') => quoted = false,
                (true, _) => {}
                (false, b'"') if start => (quoted, start) = (true, false),
                (false, b'\n') => return (fields, Some(at)),
                (false, byte) if *byte == self.delimiter => {
                    fields += 1;
                    start = true;
                }
                (false, _) => start = false,
            }
        }
        (fields, None)
    }

    /// Whether a line is no record: nothing stands in it.
    pub fn is_blank(&self, line: &[u8]) -> bool {
        match self.written {
            Written::Ndjson => line
                .iter()
                .all(|b| matches!(b, b' ' | b'\t' | b'\r' | b'\n')),
            _ => matches!(line, b"" | b"\n" | b"\r\n" | b"\r"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::format::csv::Dialect;
    use crate::format::{Csv, Found, Options, Scanner};
    use crate::policy::{Policy, RecordUnit, Unlisted};

    #[test]
    fn formats_10_rows_end_behind_quotes() {
        let csv = Cutter::new(Written::Csv, b',').unwrap();
        for (bytes, fields, end) in [
            (&b"a,b\nc"[..], 2, Some(4)),
            (b"a,\"b\nc\"\r\nd", 2, Some(9)),
            (b"\"a\"\"\n\",b\n", 2, Some(9)),
            (b"a\"b,\"x\ny\"\n", 2, Some(10)),
            (b"\"a\n", 1, None),
        ] {
            assert_eq!((csv.fields(bytes), csv.end(bytes)), (fields, end));
        }
        assert!(Cutter::new(Written::Json, b',').is_none());
    }

    proptest! {
        /// Whatever the scanner takes, it and the cutter find the same rows.
        #[test]
        fn formats_10_the_cutter_agrees_with_the_scanner(text in "[a\",\r\n]{0,40}") {
            let policy = Policy::compile("p", Unlisted::Keep, RecordUnit::Auto, vec![]).unwrap();
            let dialect = Dialect { header: false, ..Dialect::default() };
            let mut scanner = Csv::new(Arc::new(policy), Options::default(), dialect);
            let text = format!("{text}\n");
            let mut found = Found::default();
            // A row of the carriage return kind has ends of its own, which no cutter knows.
            let returns = text.replace("\r\n", "\n").contains('\r');
            if !returns && scanner.scan(text.as_bytes(), true, &mut found).is_ok() {
                let csv = Cutter::new(Written::Csv, b',').unwrap();
                let (mut rest, mut records) = (text.as_bytes(), 0);
                while let Some(end) = csv.end(rest) {
                    records += u64::from(!csv.is_blank(&rest[..end]));
                    rest = &rest[end..];
                }
                prop_assert!(rest.is_empty());
                prop_assert_eq!(records, found.records);
            }
        }
    }
}
