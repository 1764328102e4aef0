//! NDJSON (also JSON Lines): one JSON text a line.
//!
//! What enters: lines, ended by LF or CR LF, the last one perhaps not. What leaves: slots; every
//! line is a record. Lines of white space pass as they are. What can never happen: a line with
//! anything but one whole JSON text passes.

use std::sync::Arc;

use super::machine::Machine;
use super::{Answer, Found, Options, Scanner, Shape, text};
use crate::error::Fault;
use crate::policy::Policy;

/// Scans one NDJSON body. `$` is the line, whatever the policy's `record` says.
pub struct Ndjson(Machine<true>);

impl Ndjson {
    pub fn new(policy: Arc<Policy>, options: Options) -> Self {
        Self(Machine::new(policy, options))
    }
}

impl Scanner for Ndjson {
    fn scan(&mut self, window: &[u8], last: bool, found: &mut Found) -> Result<(), Fault> {
        self.0.scan(window, last, found)
    }

    fn value<'a>(&self, raw: &'a [u8], shape: Shape, scratch: &'a mut Vec<u8>) -> &'a [u8] {
        text::value(raw, shape, scratch)
    }

    fn write(&self, raw: &[u8], shape: Shape, answer: Answer<'_>, out: &mut Vec<u8>) {
        text::write(raw, shape, answer, out);
    }
}
