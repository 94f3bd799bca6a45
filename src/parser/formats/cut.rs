//! Small cuts of text that several formats make.

use crate::parser::level::{self, Level};
use memchr::{memchr, memmem};

/// What is before and behind the first `at`.
#[inline]
pub(crate) fn split(text: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let at = memchr(at, text)?;
    Some((&text[..at], &text[at + 1..]))
}

/// Where the first `needle` begins. Sought by the first of its bytes that is no space, since preparing a search for more (memmem)
/// takes longer than looking through a line.
#[inline]
pub(crate) fn find<const N: usize>(text: &[u8], needle: &[u8; N]) -> Option<usize> {
    let rare = needle.iter().position(|byte| *byte != b' ').unwrap_or(0);
    let mut from = rare;
    for _ in 0..TRIES {
        let hit = from + memchr(needle[rare], text.get(from..)?)?;
        if text[hit - rare..].first_chunk() == Some(needle) {
            return Some(hit - rare);
        }
        from = hit + 1;
    }
    let rest = from - rare;
    memmem::find(text.get(rest..)?, needle).map(|at| rest + at)
}

/// Wrong hits after which a search is prepared after all.
const TRIES: usize = 16;

/// The text in the brackets at the front, and what is behind them.
#[inline]
pub(crate) fn bracketed(text: &[u8]) -> Option<(&[u8], &[u8])> {
    split(text.strip_prefix(b"[")?, b']')
}

/// The first word and what is behind the space that ends it; without a space, all of it.
#[inline]
pub(crate) fn word(text: &[u8]) -> (&[u8], &[u8]) {
    split(text, b' ').unwrap_or((text, b""))
}

/// Whether there is text, and nothing but digits.
pub(crate) fn is_number(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(u8::is_ascii_digit)
}

/// Whether there is text, and nothing but what names of modules, loggers and threads are made of.
pub(crate) fn is_name(text: &[u8]) -> bool {
    let inside =
        |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b':' | b'-' | b'/' | b'<' | b'>' | b'$');
    text.first().is_some_and(|b| b.is_ascii_alphabetic() || matches!(b, b'_' | b'<')) && text.iter().all(inside)
}

/// The level of a word that loggers write in capitals only.
pub(crate) fn capital_level(word: &[u8]) -> Option<Level> {
    if !word.iter().all(u8::is_ascii_uppercase) {
        return None;
    }
    level::of_word(word)
}

/// Whether `text` begins with the shape: `d` stands for a digit, everything else for itself. Without a branch for each byte, so
/// that it becomes vector code.
#[inline(always)]
pub(crate) fn has_shape<const N: usize>(text: &[u8], shape: &[u8; N]) -> bool {
    text.first_chunk::<N>().is_some_and(|head| {
        head.iter()
            .zip(shape)
            .fold(true, |fits, (byte, shape)| fits & if *shape == b'd' { byte.is_ascii_digit() } else { byte == shape })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn finds_what_memmem_finds(text in "[ :\"a-]{0,40}|[:\"-]{0,40} - \"[: ]{0,9}") {
            let text = text.as_bytes();
            prop_assert_eq!(find(text, b": "), memmem::find(text, b": "));
            prop_assert_eq!(find(text, b" - \""), memmem::find(text, b" - \""));
            prop_assert_eq!(find(text, b"  "), memmem::find(text, b"  "));
            prop_assert_eq!(find(text, b"::"), memmem::find(text, b"::"));
            prop_assert_eq!(find(text, b"\""), memmem::find(text, b"\""));
        }
    }
}
