//! A segment with its answers in place.
//!
//! What enters: released bytes, their slots, one answer a slot. What leaves: the bytes to send.
//! What can never happen: a byte outside a slot changes or moves.

use super::{Answer, Scanner, Slot};

/// Appends `released` to `out` with each slot's bytes replaced by its answer.
///
/// `slots` are those with `end <= released.len()`, in order and without overlap, as
/// [`Scanner::scan`] gives them; `answers` has one answer a slot, in the same order (extents
/// too: [`Answer::Nothing`], or [`Answer::Keep`] to leave the bytes in).
///
/// # Panics
/// If a slot reaches out of `released` or there are fewer answers than slots: a caller's
/// mistake, which must not become a body with identifiers in it.
pub fn splice<'a, S: Scanner + ?Sized>(
    scanner: &S,
    released: &[u8],
    slots: &[Slot],
    answers: impl IntoIterator<Item = Answer<'a>>,
    out: &mut Vec<u8>,
) {
    out.reserve(released.len() + slots.len() * 16);
    let mut copied = 0;
    let mut answers = answers.into_iter();
    for slot in slots {
        let answer = answers.next().expect("one answer a slot");
        out.extend_from_slice(&released[copied..slot.start]);
        scanner.write(&released[slot.start..slot.end], slot.shape, answer, out);
        copied = slot.end;
    }
    out.extend_from_slice(&released[copied..]);
}
