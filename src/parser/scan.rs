//! Finds the bytes that matter in a JSON string, sixteen at a time.
//!
//! A byte is *special* when a JSON string cannot hold it as it is: `"`, `\` and everything below space. Scanning for them is
//! most of what the parser does, so it is done on blocks of 16 bytes with SSE2, which every x86_64 has, and in what is shorter
//! on words: for each of the three classes one subtraction marks the bytes in it, exactly up to and including the first
//! (borrows only travel upwards), and the first is all that is asked for.

const LOW: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// Index within `word` of its first special byte.
#[inline(always)]
pub(crate) fn special_in(word: u64) -> Option<usize> {
    let zero = |x: u64| x.wrapping_sub(LOW) & !x;
    let quote = zero(word ^ (LOW * 0x22));
    let backslash = zero(word ^ (LOW * 0x5c));
    let control = word.wrapping_sub(LOW * 0x20) & !word;
    let hit = (quote | backslash | control) & HIGH;
    (hit != 0).then(|| hit.trailing_zeros() as usize / 8)
}

/// Whether `byte` is special.
#[inline(always)]
pub(crate) fn is_special(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

/// Bytes of a block.
pub(crate) const BLOCK: usize = 16;

/// A bit for each special byte of `block`, the first in the lowest place.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
#[allow(unsafe_code)] // measured: 4 to 13 % of all instructions of a line
pub(crate) fn special_in_block(block: &[u8; BLOCK]) -> u32 {
    use std::arch::x86_64::{
        _mm_cmpeq_epi8, _mm_loadu_si128, _mm_min_epu8, _mm_movemask_epi8, _mm_or_si128, _mm_set1_epi8,
    };
    // SAFETY: every x86_64 has SSE2, and the load reads the 16 bytes of `block`, aligned or not.
    unsafe {
        let bytes = _mm_loadu_si128(block.as_ptr().cast());
        let control = _mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(0x1f)), bytes);
        let quote = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'"' as i8));
        let backslash = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'\\' as i8));
        _mm_movemask_epi8(_mm_or_si128(control, _mm_or_si128(quote, backslash))) as u32
    }
}

/// A bit for each special byte of `block`, the first in the lowest place.
#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
pub(crate) fn special_in_block(block: &[u8; BLOCK]) -> u32 {
    naive_special_in_block(block)
}

#[cfg(any(test, not(target_arch = "x86_64")))]
fn naive_special_in_block(block: &[u8; BLOCK]) -> u32 {
    block.iter().rev().fold(0, |mask, byte| mask << 1 | u32::from(is_special(*byte)))
}

/// Bytes of a window: four blocks.
pub(crate) const WINDOW: usize = 4 * BLOCK;

/// The special bytes of a window by their kind: a bit for each, the first in the lowest place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Marks {
    pub(crate) backslashes: u64,
    pub(crate) quotes: u64,
    pub(crate) controls: u64,
}

impl Marks {
    /// Those of a window.
    #[inline(always)]
    pub(crate) fn of(window: &[u8; WINDOW]) -> Self {
        let (blocks, _) = window.as_chunks::<BLOCK>();
        blocks.iter().enumerate().fold(Self::default(), |marks, (i, block)| {
            let [backslashes, quotes, controls] = kinds_in_block(block).map(|mask| u64::from(mask) << (i * BLOCK));
            Self {
                backslashes: marks.backslashes | backslashes,
                quotes: marks.quotes | quotes,
                controls: marks.controls | controls,
            }
        })
    }

    /// Only those of the first `len` bytes.
    #[inline(always)]
    pub(crate) fn of_first(self, len: usize) -> Self {
        let mask = !u64::MAX.checked_shl(len as u32).unwrap_or(0);
        let Self { backslashes, quotes, controls } = self;
        Self { backslashes: backslashes & mask, quotes: quotes & mask, controls: controls & mask }
    }

    /// All of them.
    #[inline(always)]
    pub(crate) fn all(self) -> u64 {
        self.backslashes | self.quotes | self.controls
    }
}

/// A bit for each backslash, quote, control character of `block`.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
#[allow(unsafe_code)] // measured: see `unescape`
fn kinds_in_block(block: &[u8; BLOCK]) -> [u16; 3] {
    use std::arch::x86_64::{_mm_cmpeq_epi8, _mm_loadu_si128, _mm_min_epu8, _mm_movemask_epi8, _mm_set1_epi8};
    // SAFETY: every x86_64 has SSE2, and the load reads the 16 bytes of `block`, aligned or not.
    unsafe {
        let bytes = _mm_loadu_si128(block.as_ptr().cast());
        let backslash = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'\\' as i8));
        let quote = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'"' as i8));
        let control = _mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(0x1f)), bytes);
        [backslash, quote, control].map(|mask| _mm_movemask_epi8(mask) as u16)
    }
}

/// A bit for each backslash, quote, control character of `block`.
#[cfg(not(target_arch = "x86_64"))]
#[inline(always)]
fn kinds_in_block(block: &[u8; BLOCK]) -> [u16; 3] {
    naive_kinds_in_block(block)
}

#[cfg(any(test, not(target_arch = "x86_64")))]
fn naive_kinds_in_block(block: &[u8; BLOCK]) -> [u16; 3] {
    block.iter().rev().fold([0; 3], |[backslashes, quotes, controls], byte| {
        let is = |mark| u16::from(mark);
        [backslashes << 1 | is(*byte == b'\\'), quotes << 1 | is(*byte == b'"'), controls << 1 | is(*byte < 0x20)]
    })
}

/// Whether all of `text` is ASCII. The standard library's looks at up to 63 bytes at the end one by one.
#[inline]
pub(crate) fn is_ascii(text: &[u8]) -> bool {
    let Some(last) = text.last_chunk::<BLOCK>() else { return text.is_ascii() };
    let (blocks, _) = text.as_chunks::<BLOCK>();
    let any = blocks.iter().fold(u128::from_ne_bytes(*last), |any, block| any | u128::from_ne_bytes(*block));
    any & u128::from_ne_bytes([0x80; BLOCK]) == 0
}

/// The block at `at`.
#[inline(always)]
pub(crate) fn block(text: &[u8], at: usize) -> Option<&[u8; BLOCK]> {
    text.get(at..).and_then(<[u8]>::first_chunk)
}

/// Index of the first special byte at or behind `at`, or the length of `text`.
#[inline]
pub(crate) fn special(text: &[u8], mut at: usize) -> usize {
    while let Some(block) = block(text, at) {
        let hits = special_in_block(block);
        if hits != 0 {
            return at + hits.trailing_zeros() as usize;
        }
        at += BLOCK;
    }
    // What is left is seen again at the end of the last block.
    if let Some(block) = text.last_chunk::<BLOCK>() {
        let hits = special_in_block(block) >> (at + BLOCK - text.len());
        return if hits != 0 { at + hits.trailing_zeros() as usize } else { text.len() };
    }
    special_in_few(text, at)
}

/// Of a text shorter than a block: its beginning and its end, which may overlap, as one or two words.
#[inline(never)] // so that what is before it is small enough to be inlined
fn special_in_few(text: &[u8], at: usize) -> usize {
    let (rest, len) = (text.get(at..).unwrap_or_default(), text.len());
    if let (Some(first), Some(last)) = (rest.first_chunk::<8>(), rest.last_chunk::<8>()) {
        if let Some(hit) = special_in(u64::from_le_bytes(*first)) {
            return at + hit;
        }
        return special_in(u64::from_le_bytes(*last)).map_or(len, |hit| len - 8 + hit);
    }
    if let (Some(first), Some(last)) = (rest.first_chunk::<4>(), rest.last_chunk::<4>()) {
        let both = u64::from(u32::from_le_bytes(*first)) | u64::from(u32::from_le_bytes(*last)) << 32;
        return special_in(both).map_or(len, |hit| if hit < 4 { at + hit } else { len + hit - 8 });
    }
    rest.iter().position(|byte| is_special(*byte)).map_or(len, |hit| at + hit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn special_is_the_first_special_byte(
            plain in prop_oneof![0usize..4, 0usize..20, 0usize..200],
            tail in proptest::collection::vec(prop_oneof![any::<u8>(), Just(b'"'), Just(b'\\'), Just(0x1f), Just(0x20)], 0..40),
            at in prop_oneof![0usize..4, 0usize..300],
        ) {
            let mut text = vec![b'x'; plain];
            text.extend(&tail);
            let at = at.min(text.len());
            let naive = text[at..].iter().position(|b| is_special(*b)).map_or(text.len(), |i| at + i);
            prop_assert_eq!(special(&text, at), naive);
        }

        #[test]
        fn ascii_is_what_the_standard_library_calls_so(len in 0usize..200, at in 0usize..200, byte: u8) {
            let mut text = vec![b'x'; len];
            if let Some(place) = text.get_mut(at) {
                *place = byte;
            }
            prop_assert_eq!(is_ascii(&text), text.is_ascii());
        }

        #[test]
        fn blocks_have_a_bit_for_each_special_byte(block: [u8; BLOCK], few in "[ -#\\[-\\]\\x1e-\\x21]{16}") {
            prop_assert_eq!(special_in_block(&block), naive_special_in_block(&block));
            let few: &[u8; BLOCK] = few.as_bytes().first_chunk().unwrap();
            prop_assert_eq!(special_in_block(few), naive_special_in_block(few));
            prop_assert_eq!(kinds_in_block(&block), naive_kinds_in_block(&block));
            let mut window = [b'x'; WINDOW];
            window[WINDOW - BLOCK..].copy_from_slice(&block);
            window[BLOCK..2 * BLOCK].copy_from_slice(few);
            let expected = [2, 1, 0].map(|kind| {
                u64::from(naive_kinds_in_block(&block)[2 - kind]) << 48 | u64::from(naive_kinds_in_block(few)[2 - kind]) << 16
            });
            let marks = Marks::of(&window);
            prop_assert_eq!([marks.backslashes, marks.quotes, marks.controls], expected);
            prop_assert_eq!(marks.of_first(64), marks);
            prop_assert_eq!(marks.of_first(32).all(), marks.all() & 0xffff_ffff);
        }
    }
}
