//! Places that are known without looking: captures of a path, one cookie, a whole header field.
//!
//! What enters: a text and where in it the values stand. What leaves: those as slots. What can
//! never happen: an answer ends its segment, its cookie or its field early, or opens another.

use super::percent;
use super::{Answer, Found, Scanner, Shape, Slot};
use crate::error::Fault;
use crate::policy::RuleId;

/// How a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writing {
    /// Segments of a path (RFC 3986, section 3.3): percent-encoded, a plus sign is one.
    Path,
    /// A cookie's value (RFC 6265, section 4.1.1), as it is.
    Cookie,
    /// A field's value (RFC 9110, section 5.5), as it is.
    Field,
}

/// A text whose places are known.
pub struct Places {
    writing: Writing,
    places: Vec<(usize, usize, RuleId)>,
}

impl Places {
    /// `places`: start, end and rule, in order and without overlap.
    pub fn new(writing: Writing, places: Vec<(usize, usize, RuleId)>) -> Self {
        Self { writing, places }
    }

    fn literal(&self, byte: u8) -> bool {
        match self.writing {
            // What may stand in a segment; `;` is read differently by different readers.
            Writing::Path => percent::unreserved(byte) || b"!$&'()*+,=:@".contains(&byte),
            Writing::Cookie => cookie_octet(byte),
            Writing::Field => byte.is_ascii_graphic() || byte == b' ',
        }
    }
}

/// What all readers take for part of one cookie's value (RFC 6265, section 4.1.1).
pub fn cookie_octet(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"\",;\\".contains(&byte)
}

impl Scanner for Places {
    /// All of the text at once; it has no faults.
    fn scan(&mut self, window: &[u8], last: bool, found: &mut Found) -> Result<(), Fault> {
        found.released = 0;
        if last {
            for (start, end, rule) in self.places.drain(..) {
                let escaped = self.writing == Writing::Path && window[start..end].contains(&b'%');
                found.slots.push(Slot {
                    start,
                    end,
                    rule,
                    shape: if escaped { Shape::Escaped } else { Shape::Text },
                    record: 0,
                });
            }
            found.released = window.len();
        }
        Ok(())
    }

    fn value<'a>(&self, raw: &'a [u8], shape: Shape, scratch: &'a mut Vec<u8>) -> &'a [u8] {
        if shape != Shape::Escaped {
            return raw;
        }
        scratch.clear();
        percent::decode(raw, false, scratch);
        scratch
    }

    fn write(&self, raw: &[u8], _: Shape, answer: Answer<'_>, out: &mut Vec<u8>) {
        match answer {
            Answer::Keep => out.extend_from_slice(raw),
            Answer::Word(word) => out.extend_from_slice(word),
            Answer::Null | Answer::Nothing => {}
            Answer::Text(text) => percent::encode(text.as_bytes(), |b| self.literal(b), out),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(writing: Writing, text: &str) -> String {
        let mut out = Vec::new();
        let places = Places::new(writing, vec![]);
        places.write(b"old", Shape::Text, Answer::Text(text), &mut out);
        String::from_utf8(out).expect("ASCII")
    }

    #[test]
    fn formats_03_an_answer_stays_in_its_place() {
        assert_eq!(written(Writing::Path, "a/b c;d"), "a%2Fb%20c%3Bd");
        assert_eq!(written(Writing::Path, "a@b:c"), "a@b:c");
        assert_eq!(written(Writing::Cookie, "a; b=\"c\""), "a%3B%20b=%22c%22");
        assert_eq!(written(Writing::Field, "a b\r\nx: y"), "a b%0D%0Ax: y");
        assert_eq!(written(Writing::Field, "é"), "%C3%A9");
    }

    #[test]
    fn formats_02_a_capture_is_decoded_once() {
        let mut places = Places::new(Writing::Path, vec![(4, 16, RuleId(0))]);
        let (text, mut found) = (b"/v1/ann%40x%2540", Found::default());
        places.scan(text, true, &mut found).expect("no faults");
        let slot = found.slots[0];
        let mut scratch = Vec::new();
        let value = places.value(&text[slot.start..slot.end], slot.shape, &mut scratch);
        assert_eq!(value, b"ann@x%40");
        assert_eq!(found.released, text.len());
    }
}
