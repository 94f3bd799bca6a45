//! Characters that Docker's cut at 16 KiB goes through. Unlike json-file, which has a U+FFFD for each of their bytes, other
//! drivers keep the bytes: those before the cut are moved behind it.
//!
//! No I/O, no clock, no tokio.

use crate::limits::DOCKER_PART_BYTES;
use std::borrow::Cow;

/// What waits of one stream's character.
#[derive(Clone, Debug, Default)]
pub(super) struct Seam {
    begun: Vec<u8>,
}

impl Seam {
    /// The next message of the stream with whole characters, and whether it is a part.
    pub(super) fn mend<'a>(&mut self, body: &'a [u8]) -> (Cow<'a, [u8]>, bool) {
        let is_part = is_part(body);
        let (whole, begun) = body.split_at(if is_part { body.len() - begun_at_the_end(body) } else { body.len() });
        if self.begun.is_empty() && begun.is_empty() {
            return (body.into(), is_part);
        }
        let mut mended = std::mem::replace(&mut self.begun, begun.to_vec());
        mended.extend_from_slice(whole);
        (mended.into(), is_part)
    }
}

/// Whether a message is a part: without newline, and of the size at which Docker cuts. What json-file has replaced in it has made
/// it longer.
pub(super) fn is_part(body: &[u8]) -> bool {
    body.len() >= DOCKER_PART_BYTES && !body.ends_with(b"\n")
}

/// How many bytes at the end begin a character without ending it.
fn begun_at_the_end(text: &[u8]) -> usize {
    let last = text.iter().rev().take(3);
    let Some(back) = last.clone().position(|byte| *byte & 0xc0 != 0x80) else { return 0 };
    let length = match text[text.len() - 1 - back] {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => 1,
    };
    if length > back + 1 { back + 1 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn table() {
        let check = |text: &[u8], expected: usize| assert_eq!(begun_at_the_end(text), expected, "{text:x?}");
        check(b"", 0);
        check(b"abc", 0);
        check("é".as_bytes(), 0);
        check(b"a\xc3", 1);
        check(b"\xe2\x82", 2);
        check("😀".as_bytes(), 0);
        check(b"\xf0", 1);
        check(b"\xf0\x9f", 2);
        check(b"a\xf0\x9f\x98", 3);
        // Not UTF-8 in any case.
        check(b"\xff", 0);
        check(b"a\x80\x80\x80", 0);
        check(b"a\x80", 0);
    }

    proptest! {
        /// Whatever the message, its parts say the same before and after, and no character of a text is cut.
        #[test]
        fn nothing_is_lost(text in "[aé€😀]{1,100}", bytes in prop::collection::vec(any::<u8>(), 1..200), is_text: bool, before in 0usize..60) {
            let tail = if is_text { text.into_bytes() } else { bytes };
            let message = [vec![b'x'; DOCKER_PART_BYTES - before], tail].concat();
            // A newline ends the message for Docker.
            let message: Vec<u8> = message.into_iter().filter(|byte| *byte != b'\n').collect();
            let mut parts: Vec<&[u8]> = message.chunks(DOCKER_PART_BYTES).collect();
            if parts.last().is_some_and(|last| last.len() == DOCKER_PART_BYTES) {
                parts.push(b"");
            }
            let (mut seam, mut all) = (Seam::default(), Vec::new());
            for (i, part) in parts.iter().enumerate() {
                let (mended, is_part) = seam.mend(part);
                prop_assert_eq!(is_part, i + 1 < parts.len());
                prop_assert!(!is_text || std::str::from_utf8(&mended).is_ok());
                all.extend_from_slice(&mended);
            }
            prop_assert_eq!(all, message);
        }
    }
}
