//! What keys leave behind on a thread's stack, and how it is wiped.
//!
//! A key on the heap wipes itself when it is dropped. On its way there, and through every
//! computation with it, copies come to lie in stack frames, which nobody wipes when they end.
//!
//! What enters: that a thread has worked with keys. What leaves: a stack without them, below the
//! caller's frame. What can never happen: a thread that has not worked with keys pays for it.

use std::cell::Cell;
use std::hint::black_box;

use zeroize::Zeroize;

/// Words of the stack that a wipe covers: a quarter of a mebibyte, far more than any computation
/// with a key goes down from where a worker waits for work, and an eighth of a thread's stack. It
/// takes some ten microseconds.
const WORDS: usize = 32 * 1024;

thread_local! {
    static TOUCHED: Cell<bool> = const { Cell::new(false) };
}

/// Notes that this thread has worked with a key.
pub fn touched() {
    TOUCHED.set(true);
}

/// Wipes what lies below the caller's frame, if this thread has worked with keys since the last
/// time. Call it where a thread has nothing more to do: from as high up as can be.
pub fn wipe() {
    if TOUCHED.replace(false) {
        below();
    }
}

#[inline(never)]
fn below() {
    let mut words = [0u64; WORDS];
    // By volatile writes: the compiler may not leave them out.
    words.zeroize();
    black_box(&mut words);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_thread_that_has_touched_a_key_wipes() {
        wipe();
        assert!(!TOUCHED.get());
        let _key = crate::secret::Key32::new([1; 32]);
        assert!(TOUCHED.get());
        wipe();
        assert!(!TOUCHED.get());
    }
}
