//! Records that could not be rewritten: where they stand, and why.
//!
//! What enters: faults. What leaves: one JSON object a line. What can never happen: a value of a
//! record, or a name that the policy does not list.

use serde::Serialize;

use super::sink::Sink;
use super::stop::Stop;
use crate::error::Fault;

/// One line.
#[derive(Serialize)]
struct Line<'a> {
    file: &'a str,
    /// Counted from 1, as they stand in the input; a header row is none.
    record: u64,
    /// First byte of the record, and of what was wrong in it, in the decoded input.
    offset: u64,
    fault: u64,
    /// Bytes left out; 0 where the end was not in sight.
    bytes: u64,
    code: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    place: Option<&'a str>,
}

/// Where a record lies.
#[derive(Clone, Copy, Debug)]
pub struct Spot {
    pub record: u64,
    pub offset: u64,
    pub bytes: u64,
}

pub struct Rejects(pub Sink);

impl Rejects {
    /// # Errors
    /// The disk.
    pub fn add(&mut self, file: &str, spot: Spot, fault: &Fault, at: u64) -> Result<(), Stop> {
        let line = Line {
            file,
            record: spot.record,
            offset: spot.offset,
            fault: at,
            bytes: spot.bytes,
            code: fault.code.name(),
            place: fault.place.as_deref(),
        };
        let mut text = serde_json::to_vec(&line).unwrap_or_default();
        text.push(b'\n');
        self.0.write(&text)
    }
}
