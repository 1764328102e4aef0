//! The token walk: whole tokens that are in order, found by `simd`.
//!
//! What enters: bytes behind `looked`, which stands between tokens. What leaves: the same events
//! as from the byte walk. What can never happen: something is accepted here that `bytes` would
//! refuse: whatever is not plainly in order goes to `bytes`, from the token's first byte.

use std::cell::Cell;

use super::{Fate, Machine, Raise, State};
use crate::format::number::is_number_at;
use crate::format::simd::Index;
use crate::format::text::plain_length;
use crate::format::{Found, Shape};
use crate::policy::plan::NodeId;

/// Windows shorter than this are not worth an index.
const WORTH: usize = 64;

thread_local! {
    /// The thread's index, between two walks. It holds positions only, and only for one walk:
    /// 20 KiB made and cleared for each small body cost more than walking it.
    static SPARE: Cell<Option<Box<Index>>> = const { Cell::new(None) };
}

/// What one look at the next tokens came to.
enum Step {
    /// So many tokens are done with.
    Done(usize),
    /// The byte walk has to look.
    Odd,
}

impl<const LINES: bool> Machine<LINES> {
    /// Walks while whole tokens can be seen; the rest of the window is left to the byte walk.
    pub(super) fn tokens(
        &mut self,
        window: &[u8],
        end: usize,
        found: &mut Found,
    ) -> Result<(), Raise> {
        // The index holds 32-bit positions.
        if end - self.looked < WORTH || u32::try_from(end).is_err() {
            return Ok(());
        }
        let mut index = SPARE.take().unwrap_or_default();
        let walked = self.indexed(&mut index, &window[..end], found);
        SPARE.set(Some(index));
        walked
    }

    fn indexed(
        &mut self,
        index: &mut Index,
        window: &[u8],
        found: &mut Found,
    ) -> Result<(), Raise> {
        index.start(self.looked);
        loop {
            self.run(index, window, found);
            let Some(next) = index.next_four() else {
                if index.fill::<LINES>(window) {
                    continue;
                }
                return Ok(());
            };
            match self.look(window, next, index.suspect(), found)? {
                Step::Done(count) => index.skip(count),
                Step::Odd => {
                    // Between tokens there is only white space.
                    self.looked = self.looked.max(next[0] as usize);
                    self.token(window, window.len(), found)?;
                    if !self.rejoin(index, window, found)? {
                        return Ok(());
                    }
                }
            }
        }
    }

    /// After the byte walk: looks at every byte up to the next token, since what the byte walk
    /// took for a whole token (`1` of `1x`) may be only the front of what the index did. `false`:
    /// the window is used up.
    #[cold]
    fn rejoin(
        &mut self,
        index: &mut Index,
        window: &[u8],
        found: &mut Found,
    ) -> Result<bool, Raise> {
        loop {
            index.skip_to(self.looked);
            if let Some(next) = index.first() {
                self.bytes(window, next, false, found)?;
                return Ok(self.state.between_tokens());
            }
            if !index.fill::<LINES>(window) {
                return Ok(false);
            }
        }
    }

    fn look(
        &mut self,
        window: &[u8],
        next: [u32; 4],
        suspect: bool,
        found: &mut Found,
    ) -> Result<Step, Raise> {
        let at = next[0] as usize;
        let byte = window[at];
        match (self.state, byte) {
            (State::Key | State::FirstKey, b'"') => {
                return self.member(window, next, suspect, found);
            }
            (State::FirstKey, b'}') | (State::FirstElement, b']') => self.close(at, found)?,
            (State::After, b',') => self.comma(at),
            (State::After, _) if byte == self.closing() => self.close(at, found)?,
            (State::Start | State::End, b'\n') if LINES => self.end_line(at, at + 1, found)?,
            (State::Start | State::Value | State::FirstElement, b'{' | b'[') => {
                self.open(at, byte == b'[', found)?;
            }
            (State::Start | State::Value | State::FirstElement, _) => {
                return self.whole_scalar(window, next, suspect, found);
            }
            (State::Colon, b':') => self.state = State::Value,
            _ => return Ok(Step::Odd),
        }
        self.looked = at + 1;
        Ok(Step::Done(1))
    }

    /// A whole member: name, colon, scalar and what follows it; or name, colon and an opening
    /// bracket.
    fn member(
        &mut self,
        window: &[u8],
        [name, colon, at, next]: [u32; 4],
        suspect: bool,
        found: &mut Found,
    ) -> Result<Step, Raise> {
        let [name, colon, at, next] = [name as usize, colon as usize, at as usize, next as usize];
        let Some(quote) = text_end(window, name, colon, suspect) else {
            return Ok(Step::Odd);
        };
        if window[colon] != b':' {
            return Ok(Step::Odd);
        }
        let from = self.top().node;
        let (child, listed) = self.policy.plan.member(from, window, name + 1, quote);
        self.top().name = listed;
        self.member = name;
        if self.state == State::FirstKey {
            self.pending = name;
        }
        self.child = child;
        self.state = State::Value;
        self.looked = colon + 1;
        let byte = window[at];
        if byte == b'{' || byte == b'[' {
            self.open(at, byte == b'[', found)?;
            self.looked = at + 1;
            return Ok(Step::Done(3));
        }
        let Some(end) = self.scalar(window, at, next, child, suspect, found)? else {
            return Ok(Step::Done(2));
        };
        match window[next] {
            b',' => {
                self.pending = next;
                self.state = State::Key;
            }
            b'}' => self.close(next, found)?,
            _ => {
                self.state = State::After;
                self.looked = end;
                return Ok(Step::Done(3));
            }
        }
        self.looked = next + 1;
        Ok(Step::Done(4))
    }

    /// A scalar that is an element, or the whole text.
    fn whole_scalar(
        &mut self,
        window: &[u8],
        [at, next, ..]: [u32; 4],
        suspect: bool,
        found: &mut Found,
    ) -> Result<Step, Raise> {
        let [at, next] = [at as usize, next as usize];
        if scalar_end(window, at, next, suspect).is_none() {
            return Ok(Step::Odd);
        }
        let node = self.begin_value(at)?;
        let Some(end) = self.scalar(window, at, next, node, suspect, found)? else {
            return Ok(Step::Odd);
        };
        self.end_value(end)?;
        self.looked = end;
        Ok(Step::Done(1))
    }

    /// A scalar at `at`, before the token at `next`: one past its end, or `None` if the byte walk
    /// has to look (nothing has happened then).
    #[inline(always)]
    fn scalar(
        &mut self,
        window: &[u8],
        at: usize,
        next: usize,
        node: NodeId,
        suspect: bool,
        found: &mut Found,
    ) -> Result<Option<usize>, Raise> {
        let Some((end, shape, nothing)) = scalar_end(window, at, next, suspect) else {
            return Ok(None);
        };
        match self.begin_scalar(at, shape == Shape::Text, node, found)? {
            Fate::Pass => {}
            Fate::Slot if nothing => {}
            Fate::Slot => self.end_slot(at, end, shape, found)?,
            Fate::Drop => self.end_drop(end, found),
        }
        Ok(Some(end))
    }
}

/// One past a well-formed scalar, its shape, and whether it is null or the empty string.
#[inline(always)]
pub(super) fn scalar_end(
    window: &[u8],
    at: usize,
    next: usize,
    suspect: bool,
) -> Option<(usize, Shape, bool)> {
    match window[at] {
        b'"' => {
            let end = text_end(window, at, next, suspect)? + 1;
            Some((end, Shape::Text, end - at == 2))
        }
        b'-' | b'0'..=b'9' => {
            let end = before_blanks(window, at, next);
            is_number_at(window, at, end).then_some((end, Shape::Number, false))
        }
        _ => {
            let end = before_blanks(window, at, next);
            match &window[at..end] {
                b"true" | b"false" => Some((end, Shape::Boolean, false)),
                b"null" => Some((end, Shape::Boolean, true)),
                _ => None,
            }
        }
    }
}

/// The closing quote of the string that opens at `open`; `next` is the token behind it. `None`
/// if the string needs a closer look: an escape, or a control character.
#[inline(always)]
pub(super) fn text_end(window: &[u8], open: usize, next: usize, suspect: bool) -> Option<usize> {
    // Between the closing quote and the next token there is only white space.
    let mut quote = next - 1;
    while window[quote] != b'"' {
        quote -= 1;
    }
    if quote <= open {
        return None;
    }
    if suspect {
        let inside = &window[open + 1..quote];
        if plain_length(inside) != inside.len() {
            return None;
        }
    }
    Some(quote)
}

/// `next` without the white space before it.
#[inline(always)]
fn before_blanks(window: &[u8], at: usize, next: usize) -> usize {
    let mut end = next;
    while end > at && matches!(window[end - 1], b' ' | b'\t' | b'\n' | b'\r') {
        end -= 1;
    }
    end
}
