//! Which values of a segment have been seen.
//!
//! What enters: values' raw bytes with their kinds. What leaves: where one like it was put last.
//! What can never happen: anything of a value is kept, or is known beyond its segment.

use crate::pseudonym::KindId;

/// Which values of a segment have been seen, a few of them: the last one of each mark. A value
/// that comes again (an ethnicity, a subject with many rows) is derived once a segment. Holds
/// places of values only, and nothing beyond the segment.
pub(super) struct Recent([u16; Self::MARKS]);

impl Recent {
    /// A power of two. A segment of the usual 64 KiB has some four hundred pseudonyms.
    const MARKS: usize = 256;

    /// Values that are spelt alike have the same mark; two others seldom do, and if somebody
    /// makes them so, they are derived as if nothing were remembered.
    #[inline]
    pub(super) fn mark(kind: KindId, raw: &[u8]) -> usize {
        let eight = |at: usize| {
            let bytes = raw.get(at..).and_then(<[u8]>::first_chunk);
            bytes.map_or(0, |bytes| u64::from_le_bytes(*bytes))
        };
        let last = raw.len().saturating_sub(8);
        let mixed = (eight(0) ^ eight(last / 2).rotate_left(21) ^ eight(last).rotate_left(42))
            .wrapping_add(raw.len() as u64 ^ u64::from(kind.0) << 32)
            .wrapping_mul(0x9E37_79B9_7F4A_7C15);
        (mixed >> 32) as usize % Self::MARKS
    }

    /// Index of the value that was put last under this mark.
    #[inline]
    pub(super) fn get(&self, mark: usize) -> Option<usize> {
        usize::from(self.0[mark]).checked_sub(1)
    }

    /// `count`: one more than its index.
    #[inline]
    pub(super) fn put(&mut self, mark: usize, count: usize) {
        // limits::SLOTS is below; if ever it is not, nothing is remembered.
        self.0[mark] = u16::try_from(count).unwrap_or(0);
    }

    pub(super) fn clear(&mut self) {
        self.0.fill(0);
    }
}

impl Default for Recent {
    fn default() -> Self {
        Self([0; Self::MARKS])
    }
}
