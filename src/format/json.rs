//! JSON (RFC 8259).
//!
//! What enters: one JSON text in UTF-8. What leaves: slots of its records. What can never
//! happen: a text passes that RFC 8259 does not allow, or that two readers could read
//! differently (a byte order mark, half a surrogate pair, a member name with U+0000).

use std::sync::Arc;

use super::machine::Machine;
use super::{Answer, Found, Options, Scanner, Shape, text};
use crate::error::Fault;
use crate::policy::Policy;

/// Scans one JSON body. What `$` stands for, and what is held, is the policy's `record`.
pub struct Json(Machine<false>);

impl Json {
    pub fn new(policy: Arc<Policy>, options: Options) -> Self {
        Self(Machine::new(policy, options))
    }
}

impl Scanner for Json {
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
