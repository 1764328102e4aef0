//! What is sent: records of the seeded generator, in the shapes of the loads.
//!
//! What enters: which loads. What leaves: bodies as [`Bytes`], which sending does not copy. What
//! can never happen: two runs with other bodies; a record that the pool does not hold.

use std::collections::HashMap;
use std::ops::Range;

use bytes::Bytes;

use crate::local::generate::{Generator, ResultRecord};
use crate::local::processes::Failure;

/// Different bodies of the load `single`: enough that no cache of recent values holds all.
const SINGLES: usize = 4096;
/// Records of one body of `batch`, and how many such bodies there are.
const BATCH: usize = 100;
const BATCHES: usize = 40;
/// Bodies of `mib`.
const MIBS: usize = 4;

/// What a request carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Load {
    /// One record (600 bytes)
    Single,
    /// 100 records (60 KB)
    Batch,
    /// 1 MiB of records
    Mib,
    /// One large body, streamed (--stream-mib)
    Stream,
    /// One record at a fixed 200 requests a second
    Latency,
}

impl Load {
    pub const ALL: [Load; 5] = [
        Load::Single,
        Load::Batch,
        Load::Mib,
        Load::Stream,
        Load::Latency,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Load::Single => "single",
            Load::Batch => "batch",
            Load::Mib => "mib",
            Load::Stream => "stream",
            Load::Latency => "latency",
        }
    }
}

/// How records stand in a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Json,
    Ndjson,
}

impl Format {
    pub const ALL: [Format; 2] = [Format::Json, Format::Ndjson];

    pub fn name(self) -> &'static str {
        match self {
            Format::Json => "JSON",
            Format::Ndjson => "NDJSON",
        }
    }

    pub fn media(self) -> &'static str {
        match self {
            Format::Json => "application/json",
            Format::Ndjson => "application/x-ndjson",
        }
    }
}

/// Bodies of one load in one format; requests take them in turn.
#[derive(Clone)]
pub struct Bodies {
    pub media: String,
    /// With the number of records in each; 0 where nobody counted.
    pub all: Vec<(Bytes, u64)>,
}

impl Bodies {
    pub fn mean_size(&self) -> f64 {
        let sum: usize = self.all.iter().map(|(body, _)| body.len()).sum();
        sum as f64 / self.all.len() as f64
    }

    pub fn mean_records(&self) -> f64 {
        let sum: u64 = self.all.iter().map(|(_, records)| records).sum();
        sum as f64 / self.all.len() as f64
    }
}

/// The records that all bodies are cut from: one a line.
pub struct Pool {
    text: Bytes,
    lines: Vec<Range<usize>>,
    by_kit: HashMap<String, usize>,
}

impl Pool {
    /// Enough records for these loads.
    ///
    /// # Errors
    /// A record cannot be written as JSON.
    pub fn new(seed: u64, loads: &[Load], stream: usize) -> Result<Self, Failure> {
        let generator = Generator::new(seed);
        let bytes = loads.iter().map(|load| match load {
            Load::Mib => MIBS << 20,
            Load::Stream => stream,
            _ => 0,
        });
        let bytes = bytes.max().unwrap_or(0);
        Self::of(
            (0..).map(|index| generator.result_record(index)),
            |n, size| n < SINGLES.max(BATCH * BATCHES) || size < bytes,
        )
    }

    /// So many records, each of a subject of its own.
    ///
    /// # Errors
    /// As [`Pool::new`].
    pub fn of_new_subjects(seed: u64, records: u64) -> Result<Self, Failure> {
        Self::of_subjects(seed, 0..records)
    }

    /// One record of each of these subjects; the same subject has the same record.
    ///
    /// # Errors
    /// As [`Pool::new`].
    pub fn of_subjects(
        seed: u64,
        subjects: impl IntoIterator<Item = u64>,
    ) -> Result<Self, Failure> {
        let generator = Generator::new(seed);
        let record = |index| ResultRecord {
            subscriber: generator.subscriber(index),
            ..generator.result_record(index)
        };
        Self::of(subjects.into_iter().map(record), |_, _| true)
    }

    /// Takes records as long as it wants `more`, knowing how many there are and their bytes.
    fn of(
        mut records: impl Iterator<Item = ResultRecord>,
        more: impl Fn(usize, usize) -> bool,
    ) -> Result<Self, Failure> {
        let (mut text, mut lines, mut by_kit) = (Vec::new(), Vec::new(), HashMap::new());
        while more(lines.len(), text.len()) {
            let Some(record) = records.next() else {
                break;
            };
            let start = text.len();
            serde_json::to_writer(&mut text, &record)
                .map_err(|error| Failure(format!("a record cannot be written: {error}")))?;
            by_kit.insert(record.kit_id, lines.len());
            lines.push(start..text.len());
            text.push(b'\n');
        }
        Ok(Self {
            text: text.into(),
            lines,
            by_kit,
        })
    }

    pub fn records(&self) -> u64 {
        self.lines.len() as u64
    }

    /// The record with this kit, as it was made.
    pub fn by_kit(&self, kit: &str) -> Option<&[u8]> {
        let line = self.lines.get(*self.by_kit.get(kit)?)?;
        self.text.get(line.clone())
    }

    /// The bodies of a load.
    pub fn bodies(&self, load: Load, format: Format, stream: usize) -> Bodies {
        match load {
            Load::Single | Load::Latency => self.cut(format, SINGLES, |n, _| n >= 1),
            Load::Batch => self.cut(format, BATCHES, |n, _| n >= BATCH),
            Load::Mib => self.cut(format, MIBS, |_, size| size >= 1 << 20),
            Load::Stream => self.cut(format, 1, |_, size| size >= stream),
        }
    }

    /// All records once, so many a body, one a line.
    pub fn batches(&self, records: usize) -> Bodies {
        self.cut(Format::Ndjson, usize::MAX, |n, _| n >= records)
    }

    /// Bodies from the first record on, each as long as `full` says; at most `most`.
    fn cut(&self, format: Format, most: usize, full: impl Fn(usize, usize) -> bool) -> Bodies {
        let mut all = Vec::new();
        let mut from = 0;
        while from < self.lines.len() && all.len() < most {
            let start = self.lines[from].start;
            let rest = &self.lines[from..];
            let whole = (1..=rest.len()).find(|&n| full(n, rest[n - 1].end + 1 - start));
            let lines = &rest[..whole.unwrap_or(rest.len())];
            all.push((self.body(format, lines), lines.len() as u64));
            from += lines.len();
        }
        Bodies {
            media: format.media().to_owned(),
            all,
        }
    }

    fn body(&self, format: Format, lines: &[Range<usize>]) -> Bytes {
        let (first, last) = (lines[0].start, lines[lines.len() - 1].end);
        match format {
            Format::Ndjson => self.text.slice(first..last + 1),
            Format::Json if lines.len() == 1 => self.text.slice(first..last),
            Format::Json => {
                let mut body = Vec::with_capacity(last - first + 2);
                for line in lines {
                    body.push(if body.is_empty() { b'[' } else { b',' });
                    body.extend_from_slice(&self.text[line.clone()]);
                }
                body.push(b']');
                body.into()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_hold_the_records_they_say_in_both_formats() {
        let stream = 3 << 20;
        let pool = Pool::new(7, &[Load::Stream], stream).unwrap();
        for load in Load::ALL {
            for format in Format::ALL {
                let bodies = pool.bodies(load, format, stream);
                let (body, records) = bodies.all.last().unwrap();
                let found = match format {
                    Format::Ndjson => body.split(|b| *b == b'\n').count() - 1,
                    Format::Json => match serde_json::from_slice(body).unwrap() {
                        serde_json::Value::Array(all) => all.len(),
                        _ => 1,
                    },
                };
                assert_eq!(found as u64, *records, "{} {}", load.name(), format.name());
                assert!(load != Load::Stream || body.len() >= stream);
            }
        }
        assert_eq!(
            pool.bodies(Load::Single, Format::Json, 0).all.len(),
            SINGLES
        );
    }

    #[test]
    fn new_subjects_are_all_different() {
        let pool = Pool::of_new_subjects(1, 500).unwrap();
        let subject = |body: &Bytes| {
            let record: serde_json::Value = serde_json::from_slice(body).unwrap();
            record["subscriber_id"].as_str().unwrap().to_owned()
        };
        let bodies = pool.batches(1);
        let distinct: std::collections::HashSet<String> =
            bodies.all.iter().map(|(body, _)| subject(body)).collect();
        assert_eq!(distinct.len(), 500);
        assert_eq!(pool.batches(200).all.len(), 3);
    }
}
