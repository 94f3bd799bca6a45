//! Messages over 16 KiB, which Docker writes in parts, put together again.
//!
//! A part is an entry whose `log` does not end in a newline. Docker cuts when its buffer of
//! [`DOCKER_PART_BYTES`] is full, so a part that is shorter is no part: the process ended without a last newline, and what
//! it wrote is a message. (A byte that is no UTF-8 is stored as the three bytes of U+FFFD; a part is never shorter for it.)
//! Parts of stdout and stderr may be mixed; each stream is put together on its own. The log may be rotated between two
//! parts: the message then belongs to the generation that holds the last one, and *carries* the lines of the others.
//!
//! A character that the cut went through is lost: before it writes JSON the daemon makes a U+FFFD of every byte that is no UTF-8
//! by itself. What it makes of one character is put together to one U+FFFD here.
//!
//! A message has two bounds: of its text, and, at twice that, of what the text takes as a JSON string, where a quote takes two
//! bytes and a control character six. Without the second one a MiB of binary would be a record of six.
//!
//! This module knows neither Docker's JSON nor the formats.

use super::encode::escaped;
use super::time::Stamp;
use crate::limits::{DOCKER_PART_BYTES, JOIN_RANGES};
use crate::position::{Carried, Range, Ranges};
use crate::source::Source;
use std::sync::Arc;
use std::time::Instant;

const REPLACEMENT: &[u8] = "\u{fffd}".as_bytes();
/// Bytes of the longest character.
const CHARACTER: usize = 4;

/// Parts of one stream waiting for the rest of their message.
#[derive(Debug)]
pub(crate) struct Held {
    /// The text so far, at most as long as a message may be.
    pub(crate) text: Vec<u8>,
    /// Bytes that it takes in JSON.
    escaped: usize,
    /// Whether text was left out.
    pub(crate) truncated: bool,
    /// Whose record it becomes: the source of the last part.
    pub(crate) source: Arc<Source>,
    /// The lines of that source that it is made from.
    pub(crate) ranges: Ranges,
    /// Those of earlier generations.
    pub(crate) carried: Carried,
    /// Number of all of them.
    pub(crate) lines: u32,
    /// Time of the first part.
    pub(crate) time: Stamp,
    /// When the first part was read.
    pub(crate) read_at: Instant,
    /// Its record has been written, and what still comes of the message is passed over.
    pub(crate) spent: bool,
}

/// Whether an entry without a newline is a part, and not the last words of a process.
#[inline]
pub(crate) fn is_part(text: &[u8], ended: bool) -> bool {
    !ended && text.len() >= DOCKER_PART_BYTES
}

impl Held {
    /// Begins a message.
    pub(crate) fn new(source: Arc<Source>, time: Stamp, read_at: Instant) -> Self {
        Self {
            text: Vec::new(),
            escaped: 0,
            truncated: false,
            source,
            ranges: Ranges::default(),
            carried: Carried::default(),
            lines: 0,
            time,
            read_at,
            spent: false,
        }
    }

    /// Adds a part that stands at `range` of `source`, up to `max` bytes in all, and twice as many in JSON.
    pub(crate) fn add(&mut self, part: &[u8], source: &Arc<Source>, range: Range, max: usize) {
        if self.source != *source {
            let earlier = std::mem::replace(&mut self.source, source.clone());
            self.carried.push((earlier.generation, std::mem::take(&mut self.ranges)));
        }
        self.ranges.insert(range);
        self.lines += 1;
        if self.truncated {
            return;
        }
        let part = self.mend(part);
        let fits = fitting(part, (2 * max).saturating_sub(self.escaped)).min(max.saturating_sub(self.text.len()));
        let kept = &part[..floor_char_boundary(part, fits)];
        self.text.extend_from_slice(kept);
        self.escaped += escaped(kept);
        self.truncated = kept.len() < part.len();
    }

    /// Leaves one U+FFFD where a character was cut in two, and gives what is to be added.
    fn mend<'a>(&mut self, part: &'a [u8]) -> &'a [u8] {
        let before = self.text.rchunks_exact(REPLACEMENT.len()).take_while(|bytes| *bytes == REPLACEMENT).count();
        let behind = part.chunks_exact(REPLACEMENT.len()).take_while(|bytes| *bytes == REPLACEMENT).count();
        if before == 0 || behind == 0 || before + behind > CHARACTER {
            return part;
        }
        let over = (before - 1) * REPLACEMENT.len();
        self.text.truncate(self.text.len() - over);
        self.escaped -= over;
        &part[behind * REPLACEMENT.len()..]
    }

    /// Whether more of it would only be noted, and has been noted at as many places as can be.
    pub(crate) fn is_exhausted(&self) -> bool {
        let places = self.ranges.as_slice().len() + self.carried.iter().map(|(_, r)| r.as_slice().len()).sum::<usize>();
        self.truncated && places >= JOIN_RANGES
    }

    /// Lines that wait in it.
    pub(crate) fn waiting(&self) -> usize {
        if self.spent { 0 } else { self.lines as usize }
    }
}

/// Bytes at the front of `text` that take at most `max` in JSON.
fn fitting(text: &[u8], max: usize) -> usize {
    if 6 * text.len() <= max || escaped(text) <= max {
        return text.len();
    }
    let mut room = max;
    let fits = |byte: &&u8| {
        let left = room.checked_sub(escaped(std::slice::from_ref(*byte)));
        room = left.unwrap_or(0);
        left.is_some()
    };
    text.iter().take_while(fits).count()
}

/// Largest length up to `max` at which `text`, which is UTF-8, can be cut.
pub(crate) fn floor_char_boundary(text: &[u8], max: usize) -> usize {
    if max >= text.len() {
        return text.len();
    }
    (0..=max).rev().find(|at| text[*at] & 0xc0 != 0x80).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::Generation;

    #[test]
    fn cutting() {
        let check =
            |text: &str, max: usize, expected: usize| assert_eq!(floor_char_boundary(text.as_bytes(), max), expected);
        check("abc", 3, 3);
        check("abc", 2, 2);
        check("aé", 2, 1);
        check("😀", 3, 0);
        check("", 0, 0);
        check("abc", 0, 0);
    }

    #[test]
    fn parts() {
        assert!(is_part(&[b'x'; DOCKER_PART_BYTES], false));
        assert!(!is_part(&[b'x'; DOCKER_PART_BYTES], true));
        assert!(!is_part(&[b'x'; DOCKER_PART_BYTES - 1], false));
    }

    fn source(generation: u64) -> Arc<Source> {
        let source = crate::parser::tests::source(None);
        Arc::new(Source { container: source.container.clone(), generation: Generation(generation) })
    }

    fn held(source: &Arc<Source>) -> Held {
        Held::new(source.clone(), *b"2026-11-21T13:00:00.123456789Z", Instant::now())
    }

    #[test]
    fn nothing_follows_a_cut() {
        let source = source(1);
        let mut held = held(&source);
        held.add("aé".as_bytes(), &source, Range::new(0, 10), 2);
        held.add(b"b", &source, Range::new(10, 20), 2);
        assert_eq!((held.text.as_slice(), held.truncated, held.lines), (&b"a"[..], true, 2));
        assert_eq!(held.ranges.as_slice(), [Range::new(0, 20)]);
    }

    #[test]
    fn what_is_much_longer_in_json_is_cut() {
        let source = source(1);
        let check = |parts: &[&[u8]], expected: usize| {
            let mut held = held(&source);
            for (at, part) in (0..).zip(parts) {
                held.add(part, &source, Range::new(at, at + 1), 12);
            }
            let all: usize = parts.iter().map(|part| part.len()).sum();
            assert_eq!((held.text.len(), held.truncated), (expected, expected < all), "{parts:?}");
        };
        check(&[b"\"\"\"\"\"\"", b"\\\\\\\\\\\\"], 12);
        check(&[b"\x01\x01\x01", b"\x01"], 4);
        check(&[b"\x01\x01\x01", b"\x01\x01"], 4);
        check(&[b"\x01\x01\x01\x01", b"a"], 4);
        check(&[b"\x01\x01\x01abc", b"def"], 9);
        check(&[b"\x1b[1m\x1b[0m", b"\x1b[1m"], 12);
        check(&["\x01\x01\x01abcdé".as_bytes(), "é".as_bytes()], 9);
    }

    #[test]
    fn lines_of_earlier_generations_are_carried() {
        let (first, second, third) = (source(1), source(2), source(3));
        let mut held = held(&first);
        held.add(b"a", &first, Range::new(5, 6), 100);
        held.add(b"b", &second, Range::new(0, 1), 100);
        held.add(b"c", &second, Range::new(1, 2), 100);
        held.add(b"d", &third, Range::new(0, 4), 100);
        assert_eq!((held.text.as_slice(), held.lines, &held.source), (&b"abcd"[..], 4, &third));
        assert_eq!(held.ranges.as_slice(), [Range::new(0, 4)]);
        let carried: Vec<_> = held.carried.iter().map(|(g, ranges)| (g.0, ranges.to_string())).collect();
        assert_eq!(carried, [(1, "5-6".to_owned()), (2, "0-2".to_owned())]);
    }

    #[test]
    fn a_character_that_was_cut_is_one_replacement() {
        let check = |first: &str, second: &str, expected: &str| {
            let source = source(1);
            let mut held = held(&source);
            held.add(first.as_bytes(), &source, Range::new(0, 1), 100);
            held.add(second.as_bytes(), &source, Range::new(1, 2), 100);
            assert_eq!(std::str::from_utf8(&held.text), Ok(expected), "{first:?} {second:?}");
        };
        check("a\u{fffd}", "\u{fffd}b", "a\u{fffd}b");
        check("a\u{fffd}\u{fffd}\u{fffd}", "\u{fffd}b", "a\u{fffd}b");
        check("a\u{fffd}", "b", "a\u{fffd}b");
        check("é", "\u{fffd}", "é\u{fffd}");
        check("\u{fffd}\u{fffd}", "\u{fffd}\u{fffd}\u{fffd}", "\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}");
    }

    #[test]
    fn what_is_cut_and_scattered_is_exhausted() {
        let source = source(1);
        let mut held = held(&source);
        for i in 0..JOIN_RANGES as u64 {
            assert!(!held.is_exhausted());
            held.add(b"0123456789", &source, Range::new(i * 2, i * 2 + 1), 100);
        }
        assert!(held.is_exhausted());
    }
}
