//! Every level finds what a byte loop finds.

use super::*;
use proptest::prelude::*;

fn levels() -> Vec<Level> {
    let mut levels = vec![Level::Portable];
    #[cfg(target_arch = "x86_64")]
    match Level::detect() {
        Level::Avx512 => levels.extend([Level::Avx2, Level::Avx512]),
        Level::Avx2 => levels.push(Level::Avx2),
        Level::Portable => {}
    }
    levels
}

/// Every token, and whether anything was suspect, or a closing quote had a space behind it.
fn index<const LINES: bool>(level: Level, bytes: &[u8]) -> (Vec<u32>, bool, bool) {
    let mut index = Index {
        level,
        ..Index::default()
    };
    let (mut all, mut suspect, mut spaced) = (Vec::new(), false, false);
    while index.fill::<LINES>(bytes) {
        suspect |= index.suspect();
        spaced |= index.odd.spaced != 0;
        for (token, kind) in index.tokens().iter().zip(index.kinds()) {
            assert_eq!(bytes[*token as usize], *kind, "{level:?}");
        }
        all.extend_from_slice(index.tokens());
        index.head = index.tail;
    }
    (all, suspect, spaced)
}

/// The same, one byte after the other.
fn slow<const LINES: bool>(bytes: &[u8]) -> (Vec<u32>, bool, bool) {
    let (mut all, mut suspect, mut spaced) = (Vec::new(), false, false);
    let (mut inside, mut escaped, mut bare, mut closed) = (false, false, false, false);
    // The last block is filled up with spaces.
    let padding = bytes.len().next_multiple_of(64) - bytes.len();
    for (at, byte) in bytes.iter().chain(&b" ".repeat(padding)).enumerate() {
        let (was_escaped, was_bare) = (escaped, bare);
        escaped = *byte == b'\\' && !was_escaped;
        suspect |= *byte == b'\\' || (inside && *byte < 32);
        let quote = *byte == b'"' && !was_escaped;
        let operator =
            matches!(byte | 0x20, b'{' | b'}' | b':' | b',') || (LINES && *byte == b'\n');
        let space = matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
        spaced |= closed && space;
        closed = quote && inside;
        bare = !operator && !space && !quote;
        let token = operator || (!space && !was_bare);
        if token && !inside {
            all.push(at as u32);
        }
        inside ^= quote;
    }
    (all, suspect, spaced)
}

proptest! {
    #[test]
    fn every_level_finds_what_a_byte_loop_finds(bytes in proptest::collection::vec(prop_oneof![
        4 => proptest::sample::select(b"{}[]:,\"\"\"\\ \t\n\r01aet-".to_vec()),
        1 => any::<u8>(),
    ], 0..700)) {
        for level in levels() {
            prop_assert_eq!(index::<false>(level, &bytes), slow::<false>(&bytes), "{:?}", level);
            prop_assert_eq!(index::<true>(level, &bytes), slow::<true>(&bytes), "{:?}", level);
        }
    }
}

#[test]
fn batches_join_without_a_seam() {
    let mut bytes = b"[\"a\\\\\\\"b\", 12345, true, {\"c\": null}]\n".repeat(700);
    bytes.extend_from_slice(&b",".repeat(2 * INDEX_BATCH + 3));
    for level in levels() {
        assert_eq!(
            index::<false>(level, &bytes),
            slow::<false>(&bytes),
            "{level:?}"
        );
        assert_eq!(
            index::<true>(level, &bytes),
            slow::<true>(&bytes),
            "{level:?}"
        );
    }
}

/// Marks and what stands there.
fn marked(level: Level, bytes: &[u8], from: usize, marks: Marks) -> Vec<(usize, u8)> {
    let mut index = Index {
        level,
        ..Index::default()
    };
    index.start(from);
    let mut all = Vec::new();
    while index.fill_marks(bytes, marks) {
        let found = index.tokens().iter().zip(index.kinds());
        all.extend(found.map(|(at, kind)| (*at as usize, *kind)));
        index.head = index.tail;
    }
    all
}

fn slowly_marked(bytes: &[u8], from: usize, marks: Marks) -> Vec<(usize, u8)> {
    let behind = bytes.iter().copied().enumerate().skip(from);
    behind.filter(|(_, b)| marks.0.contains(b)).collect()
}

const ROWS: Marks = Marks([b',', b'\n', b'\r', b'"', 0]);

proptest! {
    #[test]
    fn every_level_finds_the_marks_that_a_byte_loop_finds(bytes in proptest::collection::vec(prop_oneof![
        1 => proptest::sample::select(b",\n\r\"\0\\\t ".to_vec()),
        1 => any::<u8>(),
    ], 0..700), from in 0..80usize, delimiter in proptest::sample::select(b",;\t|".to_vec())) {
        let from = from.min(bytes.len());
        let marks = Marks([delimiter, b'\n', b'\r', b'"', 0]);
        for level in levels() {
            let found = marked(level, &bytes, from, marks);
            prop_assert_eq!(found, slowly_marked(&bytes, from, marks), "{:?}", level);
        }
    }
}

#[test]
fn batches_of_marks_join_without_a_seam() {
    let mut bytes = b"a,\"b\"\"c\",12345\r\n".repeat(900);
    bytes.extend_from_slice(&b",".repeat(2 * INDEX_BATCH + 3));
    for level in levels() {
        assert_eq!(
            marked(level, &bytes, 0, ROWS),
            slowly_marked(&bytes, 0, ROWS),
            "{level:?}"
        );
    }
}
