//! The byte walk: the grammar of RFC 8259, able to stop and go on at any byte.
//!
//! What enters: bytes behind `looked`. What leaves: events. What can never happen: a text passes
//! that the grammar does not allow: this file alone decides that.

use super::{Escape, Fate, LITERALS, Machine, Raise, State};
use crate::error::Code;
use crate::format::number::Number;
use crate::format::text::{plain_length, unescape};
use crate::format::{Found, Shape};

impl<const LINES: bool> Machine<LINES> {
    /// Walks up to `end`; `pause`: only until it stands between tokens (at once, if it does).
    pub(super) fn bytes(
        &mut self,
        window: &[u8],
        end: usize,
        pause: bool,
        found: &mut Found,
    ) -> Result<(), Raise> {
        while self.looked < end && !(pause && self.state.between_tokens()) {
            self.step(window, end, found)?;
        }
        Ok(())
    }

    /// Walks over one token (or white space), or as much of it as there is.
    pub(super) fn token(
        &mut self,
        window: &[u8],
        end: usize,
        found: &mut Found,
    ) -> Result<(), Raise> {
        self.step(window, end, found)?;
        self.bytes(window, end, true, found)
    }

    /// Looks at one byte, or at a run of plain bytes in a string.
    fn step(&mut self, window: &[u8], end: usize, found: &mut Found) -> Result<(), Raise> {
        let at = self.looked;
        let byte = window[at];
        match self.state {
            State::Text(escape) => return self.text(window, end, escape, found),
            State::Number(number) => match number.next(byte) {
                Some(next) => self.state = State::Number(next),
                // The byte belongs to what follows.
                None if number.complete() => return self.end_scalar(at, Shape::Number, found),
                None => return Err(self.malformed(byte, at)),
            },
            State::Literal(which, seen) => {
                let literal = LITERALS[usize::from(which)];
                if literal[usize::from(seen)] != byte {
                    return Err(self.malformed(byte, at));
                }
                self.state = State::Literal(which, seen + 1);
                if usize::from(seen) + 1 == literal.len() {
                    self.end_scalar(at + 1, Shape::Boolean, found)?;
                }
            }
            _ if byte == b'\n' && LINES => match self.state {
                State::Start | State::End => self.end_line(at, at + 1, found)?,
                _ => return Err(self.malformed(byte, at)),
            },
            _ if matches!(byte, b' ' | b'\t' | b'\n' | b'\r') => {}
            State::Colon if byte == b':' => self.state = State::Value,
            State::Key if byte == b'"' => self.begin_key(at),
            State::FirstKey if byte == b'"' => {
                self.pending = at;
                self.begin_key(at);
            }
            State::After if byte == b',' => self.comma(at),
            State::FirstKey if byte == b'}' => self.close(at, found)?,
            State::FirstElement if byte == b']' => self.close(at, found)?,
            State::After if byte == self.closing() => self.close(at, found)?,
            State::Start | State::Value | State::FirstElement => {
                self.value(window, byte, at, found)?;
            }
            _ => return Err(self.malformed(byte, at)),
        }
        self.looked = at + 1;
        Ok(())
    }

    pub(super) fn comma(&mut self, at: usize) {
        self.pending = at;
        self.state = if self.in_array() {
            State::Value
        } else {
            State::Key
        };
    }

    fn value(
        &mut self,
        window: &[u8],
        byte: u8,
        at: usize,
        found: &mut Found,
    ) -> Result<(), Raise> {
        let next = match byte {
            b'{' | b'[' => return self.open(at, byte == b'[', found),
            b'"' => State::Text(Escape::None),
            b't' => State::Literal(0, 1),
            b'f' => State::Literal(1, 1),
            b'n' => State::Literal(super::NULL, 1),
            _ => match Number::start(byte) {
                Some(number) => State::Number(number),
                None if self.base == 0 && at == 0 && window.starts_with(b"\xEF\xBB\xBF") => {
                    return Err(Raise::new(Code::ByteOrderMark, at));
                }
                None => return Err(self.malformed(byte, at)),
            },
        };
        let node = self.begin_value(at)?;
        self.fate = self.begin_scalar(at, byte == b'"', node, found)?;
        self.slot = (self.fate == Fate::Slot).then_some(at).or(self.slot);
        self.state = next;
        self.begin_token(at, false);
        Ok(())
    }

    fn begin_key(&mut self, at: usize) {
        self.member = at;
        self.state = State::Text(Escape::None);
        self.begin_token(at, true);
    }

    fn begin_token(&mut self, at: usize, key: bool) {
        self.token = at;
        self.key = key;
        self.escaped = false;
        self.high = false;
    }

    /// Inside a string.
    fn text(
        &mut self,
        window: &[u8],
        end: usize,
        escape: Escape,
        found: &mut Found,
    ) -> Result<(), Raise> {
        let mut at = self.looked;
        if escape == Escape::None {
            at += plain_length(&window[at..end]);
            if at == end {
                self.looked = end;
                return Ok(());
            }
        }
        let byte = window[at];
        let next = match (escape, byte) {
            (Escape::None, b'"') => {
                self.looked = at + 1;
                return self.end_text(window, at, found);
            }
            (Escape::None, b'\\') => {
                self.escape = at;
                self.escaped = true;
                Escape::Begun
            }
            (Escape::Begun, b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Escape::None,
            (Escape::Begun | Escape::HighBegun, b'u') => {
                self.unit = 0;
                Escape::Hex(0)
            }
            (Escape::High, b'\\') => Escape::HighBegun,
            (Escape::High | Escape::HighBegun, _) => return Err(self.lone(at)),
            (Escape::Hex(seen), b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => {
                let digit = char::from(byte).to_digit(16).unwrap_or_default();
                self.unit = self.unit << 4 | digit as u16;
                if seen == 3 {
                    self.end_unit(at)?
                } else {
                    Escape::Hex(seen + 1)
                }
            }
            _ => return Err(self.malformed(byte, at)),
        };
        self.state = State::Text(next);
        self.looked = at + 1;
        Ok(())
    }

    /// Four digits are complete.
    fn end_unit(&mut self, at: usize) -> Result<Escape, Raise> {
        let low = (0xDC00..0xE000).contains(&self.unit);
        if low != self.high {
            return Err(self.lone(at));
        }
        self.high = (0xD800..0xDC00).contains(&self.unit);
        if self.high {
            return Ok(Escape::High);
        }
        if self.key && self.unit == 0 {
            return Err(Raise {
                code: Code::NulInName,
                at: self.escape,
                seen: at + 1,
            });
        }
        Ok(Escape::None)
    }

    fn end_text(&mut self, window: &[u8], at: usize, found: &mut Found) -> Result<(), Raise> {
        if !self.key {
            let shape = if self.escaped {
                Shape::Escaped
            } else {
                Shape::Text
            };
            return self.end_scalar(at + 1, shape, found);
        }
        let from = self.top().node;
        let (child, name) = if self.escaped {
            self.scratch.clear();
            unescape(&window[self.token + 1..at], &mut self.scratch);
            let length = self.scratch.len();
            self.policy.plan.member(from, &self.scratch, 0, length)
        } else {
            self.policy.plan.member(from, window, self.token + 1, at)
        };
        self.child = child;
        self.top().name = name;
        self.state = State::Colon;
        Ok(())
    }

    /// Half of a surrogate pair; the fault stands at the escape that has no other half.
    #[cold]
    fn lone(&self, at: usize) -> Raise {
        Raise {
            code: Code::LoneSurrogate,
            at: self.escape,
            seen: at + 1,
        }
    }

    /// The grammar does not allow this byte here. On a line, a line feed inside the text and
    /// anything behind it are faults of the line.
    #[cold]
    fn malformed(&self, byte: u8, at: usize) -> Raise {
        let line = LINES && (byte == b'\n' || self.state == State::End);
        let code = if line {
            Code::MalformedNdjson
        } else {
            Code::MalformedJson
        };
        Raise::new(code, at)
    }
}
