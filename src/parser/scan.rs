//! Finds the bytes that matter in a JSON string, eight at a time.
//!
//! A byte is *special* when a JSON string cannot hold it as it is: `"`, `\` and everything below space. Scanning for them is
//! most of what the parser does, so it is done on words: (1) for each of the three classes one subtraction marks the bytes
//! in it, exactly up to and including the first (borrows only travel upwards), and the first is all that is asked for;
//! (2) after a few words without a hit the run is probably long, and blocks of 32 bytes are tested with a fold that the
//! compiler turns into vector code.

const LOW: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// Words looked at before the blocks.
const SHORT_RUN: usize = 4;

/// The eight bytes at `at`, the first in the lowest place.
#[inline(always)]
pub(crate) fn word(text: &[u8], at: usize) -> Option<u64> {
    text.get(at..).and_then(<[u8]>::first_chunk::<8>).map(|bytes| u64::from_le_bytes(*bytes))
}

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

/// Index of the first special byte at or behind `at`, or the length of `text`.
#[inline]
pub(crate) fn special(text: &[u8], mut at: usize) -> usize {
    let mut words = 0;
    while let Some(word) = word(text, at) {
        if let Some(hit) = special_in(word) {
            return at + hit;
        }
        at += 8;
        words += 1;
        if words == SHORT_RUN {
            at = plain_blocks(text, at);
        }
    }
    while at < text.len() && !is_special(text[at]) {
        at += 1;
    }
    at
}

/// Skips blocks of 32 bytes in which nothing is special.
fn plain_blocks(text: &[u8], mut at: usize) -> usize {
    while let Some(block) = text.get(at..).and_then(<[u8]>::first_chunk::<32>) {
        if block.iter().fold(false, |any, byte| any | is_special(*byte)) {
            break;
        }
        at += 32;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn special_is_the_first_special_byte(
            plain in 0usize..200,
            tail in proptest::collection::vec(prop_oneof![any::<u8>(), Just(b'"'), Just(b'\\'), Just(0x1f), Just(0x20)], 0..100),
            at in 0usize..300,
        ) {
            let mut text = vec![b'x'; plain];
            text.extend(&tail);
            let at = at.min(text.len());
            let naive = text[at..].iter().position(|b| is_special(*b)).map_or(text.len(), |i| at + i);
            prop_assert_eq!(special(&text, at), naive);
        }
    }
}
