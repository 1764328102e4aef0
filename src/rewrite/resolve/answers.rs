//! Answers as they are made: marks into buffers that go from segment to segment.
//!
//! What enters: where each answer's text has been written. What leaves: answers to splice. What
//! can never happen: an allocation an answer.

use crate::format::Answer;

/// Where an answer's text stands in its arena.
#[derive(Clone, Copy)]
pub(super) enum Made {
    Keep,
    Null,
    Nothing,
    Text {
        start: usize,
        end: usize,
    },
    /// A pseudonym's text, or where it will stand.
    Word {
        start: usize,
        end: usize,
    },
    /// As the answer to this earlier slot, which is a `Word`.
    Same {
        slot: usize,
    },
}

/// Answers of one segment, in slot order.
pub(in crate::rewrite) struct Answers<'a> {
    pub(super) made: &'a [Made],
    pub(super) arena: &'a str,
    pub(super) words: &'a [u8],
}

impl<'a> Answers<'a> {
    pub(in crate::rewrite) fn iter(&self) -> impl Iterator<Item = Answer<'a>> {
        let (all, arena, words) = (self.made, self.arena, self.words);
        let original = move |made: &'a Made| match made {
            Made::Same { slot } => &all[*slot],
            other => other,
        };
        self.made.iter().map(move |made| match *original(made) {
            Made::Keep => Answer::Keep,
            Made::Null => Answer::Null,
            Made::Same { .. } => unreachable!("what it points at is a word"),
            Made::Nothing => Answer::Nothing,
            Made::Text { start, end } => Answer::Text(&arena[start..end]),
            Made::Word { start, end } => Answer::Word(&words[start..end]),
        })
    }
}
