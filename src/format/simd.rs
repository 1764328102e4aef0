//! Finds tokens, 64 bytes at a time.
//!
//! What enters: UTF-8, from a point between two tokens. What leaves: the positions of brackets,
//! colons, commas, opening quotes and first bytes of numbers and literals outside strings (on
//! lines: line feeds too); or, for rows, of five given bytes wherever they stand. What can never
//! happen: the levels differ; a test compares them all.
//!
//! This is the only file that may use `unsafe`: it calls functions compiled for instructions that
//! were detected at run time, and loads and stores vectors within bounds that arrays prove.
//!
//! Positions inside strings are never tokens; a closing quote is none either (it is the last byte
//! before the next token that is not white space). `0x0C` and `0x1A` count as operators, because
//! that saves an instruction: the walk looks at every token's byte anyway.

#![allow(unsafe_code)]

use crate::limits::INDEX_BATCH;

/// Tokens that the walk looks at together.
const AHEAD: usize = 4;
/// A batch of nothing but tokens, what was left over, and room for writing in strides.
const ROOM: usize = AHEAD + INDEX_BATCH + 64;

/// Which instructions there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Level {
    fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        {
            use std::arch::is_x86_feature_detected as has;
            if has!("avx2") && has!("pclmulqdq") && has!("bmi1") && has!("bmi2") && has!("popcnt") {
                let wide = has!("avx512f") && has!("avx512bw") && has!("avx512vbmi2");
                return if wide { Self::Avx512 } else { Self::Avx2 };
            }
        }
        Self::Portable
    }
}

/// The tokens of a window, found batch by batch.
pub(super) struct Index {
    tokens: [u32; ROOM],
    /// The byte at each token.
    kinds: [u8; ROOM],
    head: usize,
    tail: usize,
    /// First byte that has not been indexed.
    next: usize,
    carry: Carry,
    odd: Odd,
    level: Level,
}

impl Default for Index {
    fn default() -> Self {
        Self {
            tokens: [0; ROOM],
            kinds: [0; ROOM],
            head: 0,
            tail: 0,
            next: 0,
            carry: Carry::default(),
            odd: Odd::default(),
            level: Level::detect(),
        }
    }
}

impl Index {
    /// Begins anew at `at`, which must stand between two tokens.
    pub fn start(&mut self, at: usize) {
        (self.head, self.tail, self.next) = (0, 0, at);
        self.carry = Carry::default();
        self.odd = Odd::default();
    }

    /// The next four tokens; `None`: fewer are known.
    #[inline(always)]
    pub fn next_four(&self) -> Option<[u32; AHEAD]> {
        self.tokens().first_chunk().copied()
    }

    /// The tokens that are known and not skipped.
    #[inline(always)]
    pub fn tokens(&self) -> &[u32] {
        &self.tokens[self.head..self.tail]
    }

    /// Their bytes.
    #[inline(always)]
    pub fn kinds(&self) -> &[u8] {
        &self.kinds[self.head..self.tail]
    }

    pub fn first(&self) -> Option<usize> {
        self.tokens().first().map(|at| *at as usize)
    }

    #[inline(always)]
    pub fn skip(&mut self, count: usize) {
        self.head += count;
    }

    /// Forgets tokens before `at`.
    pub fn skip_to(&mut self, at: usize) {
        while self.head < self.tail && (self.tokens[self.head] as usize) < at {
            self.head += 1;
        }
    }

    /// Whether strings among the known tokens may hold a backslash or a control character.
    #[inline(always)]
    pub fn suspect(&self) -> bool {
        self.odd.suspect != 0
    }

    /// Nothing suspect, and every string among the known tokens ends right before the next token.
    #[inline(always)]
    pub fn plain(&self) -> bool {
        self.odd.suspect | self.odd.spaced == 0
    }

    /// Indexes one more batch of `window`; `false`: there are no more bytes.
    pub fn fill<const LINES: bool>(&mut self, window: &[u8]) -> bool {
        self.fill_with(window, |index, blocks, at| {
            index.blocks::<LINES>(blocks, at)
        })
    }

    /// The same for marks: bytes that count wherever they stand, so it may begin anywhere.
    pub fn fill_marks(&mut self, window: &[u8], marks: Marks) -> bool {
        self.fill_with(window, |index, blocks, at| match index.level {
            Level::Portable => portable_marks(blocks, at, marks, index),
            // SAFETY: `detect` has seen every feature that the function is compiled for.
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => unsafe { x86::avx2_marks(blocks, at, marks, index) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => unsafe { x86::avx512_marks(blocks, at, marks, index) },
        })
    }

    #[inline(always)]
    fn fill_with(&mut self, window: &[u8], find: impl Fn(&mut Self, &[[u8; 64]], u32)) -> bool {
        let rest = &window[self.next..];
        if rest.is_empty() {
            return false;
        }
        let left = self.tail - self.head;
        self.tokens.copy_within(self.head..self.tail, 0);
        self.kinds.copy_within(self.head..self.tail, 0);
        (self.head, self.tail) = (0, left);
        let batch = &rest[..rest.len().min(INDEX_BATCH)];
        let (blocks, end) = batch.as_chunks::<64>();
        let at = self.next as u32; // The walk does not index windows over 4 GiB.
        // A token that was left over may begin a string that reaches into this batch.
        if left == 0 {
            self.odd = Odd::default();
        }
        find(self, blocks, at);
        if !end.is_empty() && batch.len() == rest.len() {
            let mut padded = [b' '; 64];
            padded[..end.len()].copy_from_slice(end);
            find(self, &[padded], at + (blocks.len() * 64) as u32);
            self.next = window.len();
        } else {
            self.next += blocks.len() * 64;
        }
        true
    }

    fn blocks<const LINES: bool>(&mut self, blocks: &[[u8; 64]], at: u32) {
        match self.level {
            Level::Portable => portable::<LINES>(blocks, at, self),
            // SAFETY: `detect` has seen every feature that the function is compiled for.
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => unsafe { x86::avx2::<LINES>(blocks, at, self) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => unsafe { x86::avx512::<LINES>(blocks, at, self) },
        }
    }

    /// Appends the positions and bytes of the set bits.
    #[inline(always)]
    fn append(&mut self, mut bits: u64, at: u32, block: &[u8; 64]) {
        let count = bits.count_ones() as usize;
        let Some((tokens, kinds)) = self.room() else {
            return;
        };
        // In strides, and always the first two, so that the loop's length is easy to foresee.
        let mut done = 0;
        while done < 16 || done < count {
            let (Some(tokens), Some(kinds)) = (
                tokens[done..].first_chunk_mut::<8>(),
                kinds[done..].first_chunk_mut::<8>(),
            ) else {
                break;
            };
            for token in &mut *tokens {
                *token = bits.trailing_zeros();
                bits &= bits.wrapping_sub(1);
            }
            for (token, kind) in tokens.iter_mut().zip(kinds) {
                *kind = block[(*token % 64) as usize];
                *token = token.wrapping_add(at);
            }
            done += 8;
        }
        self.tail += count;
    }

    /// Where the tokens of one block go. There is always room: `fill` begins with few tokens.
    #[inline(always)]
    fn room(&mut self) -> Option<(&mut [u32; 64], &mut [u8; 64])> {
        let tokens = self.tokens[self.tail..].first_chunk_mut()?;
        let kinds = self.kinds[self.tail..].first_chunk_mut()?;
        Some((tokens, kinds))
    }
}

/// Bytes that rows are made of; none of them is a space, with which the last block is filled up.
#[derive(Clone, Copy, Debug)]
pub(super) struct Marks(pub [u8; 5]);

/// What has been seen in strings since the first known token. Not zero: yes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Odd {
    /// A backslash anywhere, or a control character in a string.
    suspect: u64,
    /// White space behind a closing quote.
    spaced: u64,
}

/// What one block knows of the one before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Carry {
    /// The first byte is escaped (0 or 1).
    escaped: u64,
    /// All ones: the block begins inside a string.
    in_string: u64,
    /// The byte before was part of a number or literal (0 or 1).
    scalar: u64,
    /// The byte before was a closing quote (0 or 1).
    closed: u64,
}

/// One bit a byte of the block.
struct Masks {
    quote: u64,
    backslash: u64,
    operator: u64,
    space: u64,
    control: u64,
}

impl Carry {
    /// The tokens of one block. `prefix_xor`: bit n of the result is the parity of bits 0 to n.
    #[inline(always)]
    fn tokens(&mut self, masks: &Masks, odd: &mut Odd, prefix_xor: impl FnOnce(u64) -> u64) -> u64 {
        let mut quote = masks.quote;
        if masks.backslash | self.escaped != 0 {
            quote &= !self.escape(masks.backslash);
        }
        // Opening quotes and what follows them, without the closing quotes.
        let in_string = prefix_xor(quote) ^ self.in_string;
        self.in_string = ((in_string as i64) >> 63) as u64;
        let scalar = !(masks.operator | masks.space);
        let bare = scalar & !quote;
        let start = scalar & !(bare << 1 | self.scalar);
        self.scalar = bare >> 63;
        let closing = quote & !in_string;
        odd.suspect |= masks.backslash | (masks.control & in_string);
        odd.spaced |= masks.space & (closing << 1 | self.closed);
        self.closed = closing >> 63;
        (masks.operator | start) & !(in_string ^ quote)
    }

    /// Which bytes are escaped by the backslash before them.
    #[cold]
    fn escape(&mut self, backslash: u64) -> u64 {
        let mut escaped = self.escaped;
        let mut left = backslash & !escaped;
        self.escaped = 0;
        while left != 0 {
            let first = left & left.wrapping_neg();
            escaped |= first << 1;
            self.escaped = first >> 63;
            left &= !(first | first << 1);
        }
        escaped
    }
}

fn portable<const LINES: bool>(blocks: &[[u8; 64]], mut at: u32, index: &mut Index) {
    for block in blocks {
        let masks = portable_masks::<LINES>(block);
        let bits = index.carry.tokens(&masks, &mut index.odd, |mut bits| {
            for shift in [1, 2, 4, 8, 16, 32] {
                bits ^= bits << shift;
            }
            bits
        });
        index.append(bits, at, block);
        at += 64;
    }
}

fn portable_marks(blocks: &[[u8; 64]], mut at: u32, marks: Marks, index: &mut Index) {
    const LOW: u64 = u64::from_le_bytes([127; 8]);
    for block in blocks {
        let mut bits = 0;
        for (n, eight) in block.as_chunks::<8>().0.iter().enumerate() {
            let word = u64::from_le_bytes(*eight);
            // The high bit of each byte that is zero once the mark has been taken from it.
            let is = |mark: u8| {
                let other = word ^ u64::from_le_bytes([mark; 8]);
                !(((other & LOW) + LOW) | other) & !LOW
            };
            let high = marks.0.into_iter().fold(0, |high, mark| high | is(mark));
            bits |= ((high >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56) << (8 * n);
        }
        index.append(bits, at, block);
        at += 64;
    }
}

fn portable_masks<const LINES: bool>(block: &[u8; 64]) -> Masks {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    let mut masks = Masks {
        quote: 0,
        backslash: 0,
        operator: 0,
        space: 0,
        control: 0,
    };
    for (n, eight) in block.as_chunks::<8>().0.iter().enumerate() {
        let word = u64::from_le_bytes(*eight);
        // The high bit of each byte of `word` that is below `bound` (bound at most 128).
        let below = |word: u64, bound: u64| {
            let low = (word & (ONES * 127)) + ONES * (128 - bound);
            !(low | word) & (ONES << 7)
        };
        let is = |word: u64, byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
        // Gathers the eight high bits into the lowest byte.
        let bits = |high: u64| ((high >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56) << (8 * n);
        let curled = word | (ONES * 0x20);
        let line = if LINES { is(word, b'\n') } else { 0 };
        let operator = is(curled, b'{') | is(curled, b'}') | is(curled, b':') | is(curled, b',');
        let space = is(word, b' ') | is(word, b'\t') | is(word, b'\n') | is(word, b'\r');
        masks.quote |= bits(is(word, b'"'));
        masks.backslash |= bits(is(word, b'\\'));
        masks.operator |= bits(operator | line);
        masks.space |= bits(space);
        masks.control |= bits(below(word, 32));
    }
    masks
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{Index, Marks, Masks};

    /// For each low half of a byte: the one operator (`| 0x20`) or white space that ends in it.
    const OPERATORS: [i8; 16] = lookup(b":{,}");
    const SPACES: [i8; 16] = lookup(b" \t\n\r");

    const fn lookup(bytes: &[u8; 4]) -> [i8; 16] {
        let mut table = [0; 16];
        let mut n = 0;
        while n < bytes.len() {
            table[(bytes[n] & 15) as usize] = bytes[n] as i8;
            n += 1;
        }
        table
    }

    /// Parity of all lower bits: carry-less multiplication by all ones.
    #[inline]
    #[target_feature(enable = "pclmulqdq")]
    fn prefix_xor(bits: u64) -> u64 {
        let product = _mm_clmulepi64_si128::<0>(_mm_set_epi64x(0, bits as i64), _mm_set1_epi8(-1));
        _mm_cvtsi128_si64(product) as u64
    }

    #[target_feature(enable = "avx2,pclmulqdq,bmi1,bmi2,popcnt")]
    pub fn avx2<const LINES: bool>(blocks: &[[u8; 64]], mut at: u32, index: &mut Index) {
        let table = |bytes: [i8; 16]| {
            // SAFETY: sixteen bytes are loaded from sixteen.
            _mm256_broadcastsi128_si256(unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) })
        };
        let (operators, spaces) = (table(OPERATORS), table(SPACES));
        for block in blocks {
            let mut masks = Masks {
                quote: 0,
                backslash: 0,
                operator: 0,
                space: 0,
                control: 0,
            };
            for (n, half) in block.as_chunks::<32>().0.iter().enumerate() {
                // SAFETY: 32 bytes are loaded from 32.
                let bytes = unsafe { _mm256_loadu_si256(half.as_ptr().cast()) };
                let bits = |found| u64::from(_mm256_movemask_epi8(found) as u32) << (32 * n);
                let is = |byte| bits(_mm256_cmpeq_epi8(bytes, _mm256_set1_epi8(byte)));
                let curled = _mm256_or_si256(bytes, _mm256_set1_epi8(0x20));
                let operator = _mm256_cmpeq_epi8(curled, _mm256_shuffle_epi8(operators, bytes));
                let space = _mm256_cmpeq_epi8(bytes, _mm256_shuffle_epi8(spaces, bytes));
                let low = _mm256_min_epu8(bytes, _mm256_set1_epi8(31));
                masks.quote |= is(b'"' as i8);
                masks.backslash |= is(b'\\' as i8);
                masks.operator |= bits(operator) | if LINES { is(b'\n' as i8) } else { 0 };
                masks.space |= bits(space);
                masks.control |= bits(_mm256_cmpeq_epi8(low, bytes));
            }
            let bits = index
                .carry
                .tokens(&masks, &mut index.odd, |bits| prefix_xor(bits));
            index.append(bits, at, block);
            at += 64;
        }
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi2,avx2,pclmulqdq,bmi1,bmi2,popcnt")]
    pub fn avx512<const LINES: bool>(blocks: &[[u8; 64]], mut at: u32, index: &mut Index) {
        let table = |bytes: [i8; 16]| {
            // SAFETY: sixteen bytes are loaded from sixteen.
            _mm512_broadcast_i32x4(unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) })
        };
        let (operators, spaces) = (table(OPERATORS), table(SPACES));
        let count_up: [u8; 64] = std::array::from_fn(|n| n as u8);
        // SAFETY: 64 bytes are loaded from 64.
        let count_up = unsafe { _mm512_loadu_si512(count_up.as_ptr().cast()) };
        for block in blocks {
            // SAFETY: 64 bytes are loaded from 64.
            let bytes = unsafe { _mm512_loadu_si512(block.as_ptr().cast()) };
            let is = |byte| _mm512_cmpeq_epi8_mask(bytes, _mm512_set1_epi8(byte));
            let curled = _mm512_or_si512(bytes, _mm512_set1_epi8(0x20));
            let operator = _mm512_cmpeq_epi8_mask(curled, _mm512_shuffle_epi8(operators, bytes));
            let masks = Masks {
                quote: is(b'"' as i8),
                backslash: is(b'\\' as i8),
                operator: operator | if LINES { is(b'\n' as i8) } else { 0 },
                space: _mm512_cmpeq_epi8_mask(bytes, _mm512_shuffle_epi8(spaces, bytes)),
                control: _mm512_cmplt_epu8_mask(bytes, _mm512_set1_epi8(32)),
            };
            let bits = index
                .carry
                .tokens(&masks, &mut index.odd, |bits| prefix_xor(bits));
            compress(bits, bytes, count_up, at, index);
            at += 64;
        }
    }

    /// Appends the positions and bytes of the set bits.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi2,avx2,popcnt")]
    fn compress(bits: u64, bytes: __m512i, count_up: __m512i, at: u32, index: &mut Index) {
        let count = bits.count_ones() as usize;
        let Some((tokens, kinds)) = index.room() else {
            return;
        };
        let found = _mm512_maskz_compress_epi8(bits, bytes);
        // SAFETY: 64 bytes are stored into 64.
        unsafe { _mm512_storeu_si512(kinds.as_mut_ptr().cast(), found) };
        // The numbers 0 to 63 whose bit is set, pushed together, widened, moved to `at`.
        let mut packed = _mm512_maskz_compress_epi8(bits, count_up);
        for (n, sixteen) in tokens.as_chunks_mut::<16>().0.iter_mut().enumerate() {
            if n >= 2 && n * 16 >= count {
                break;
            }
            let wide = _mm512_cvtepu8_epi32(_mm512_castsi512_si128(packed));
            let moved = _mm512_add_epi32(wide, _mm512_set1_epi32(at as i32));
            // SAFETY: sixteen numbers are stored into sixteen.
            unsafe { _mm512_storeu_si512(sixteen.as_mut_ptr().cast(), moved) };
            packed = _mm512_alignr_epi64::<2>(packed, packed);
        }
        index.tail += count;
    }

    #[target_feature(enable = "avx512f,avx512bw,avx512vbmi2,avx2,pclmulqdq,bmi1,bmi2,popcnt")]
    pub fn avx512_marks(blocks: &[[u8; 64]], mut at: u32, marks: Marks, index: &mut Index) {
        let count_up: [u8; 64] = std::array::from_fn(|n| n as u8);
        // SAFETY: 64 bytes are loaded from 64.
        let count_up = unsafe { _mm512_loadu_si512(count_up.as_ptr().cast()) };
        let marks = marks.0.map(|mark| _mm512_set1_epi8(mark as i8));
        for block in blocks {
            // SAFETY: 64 bytes are loaded from 64.
            let bytes = unsafe { _mm512_loadu_si512(block.as_ptr().cast()) };
            let mut bits = 0;
            for mark in marks {
                bits |= _mm512_cmpeq_epi8_mask(bytes, mark);
            }
            compress(bits, bytes, count_up, at, index);
            at += 64;
        }
    }

    #[target_feature(enable = "avx2,pclmulqdq,bmi1,bmi2,popcnt")]
    pub fn avx2_marks(blocks: &[[u8; 64]], mut at: u32, marks: Marks, index: &mut Index) {
        let marks = marks.0.map(|mark| _mm256_set1_epi8(mark as i8));
        for block in blocks {
            let mut bits = 0;
            for (n, half) in block.as_chunks::<32>().0.iter().enumerate() {
                // SAFETY: 32 bytes are loaded from 32.
                let bytes = unsafe { _mm256_loadu_si256(half.as_ptr().cast()) };
                let mut found = _mm256_setzero_si256();
                for mark in marks {
                    found = _mm256_or_si256(found, _mm256_cmpeq_epi8(bytes, mark));
                }
                bits |= u64::from(_mm256_movemask_epi8(found) as u32) << (32 * n);
            }
            index.append(bits, at, block);
            at += 64;
        }
    }
}

#[cfg(test)]
mod tests;
