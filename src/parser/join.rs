//! Messages over 16 KiB, which Docker writes in parts, put together again.
//!
//! A part is an entry whose `log` does not end in a newline. Docker cuts when its buffer of
//! [`DOCKER_PART_BYTES`] is full, so a part that is shorter is no part: the process ended without a last newline, and what
//! it wrote is a message. (A byte that is no UTF-8 is stored as the three bytes of U+FFFD; a part is never shorter for it.)
//! Parts of stdout and stderr may be mixed; each stream is put together on its own.
//!
//! This module knows neither Docker's JSON nor the formats.

use super::time::Stamp;
use crate::limits::DOCKER_PART_BYTES;
use crate::position::{Range, Ranges};
use std::time::Instant;

/// Parts of one stream waiting for the rest of their message.
#[derive(Debug)]
pub(crate) struct Held {
    /// The text so far, at most as long as a message may be.
    pub(crate) text: Vec<u8>,
    /// Whether text was left out.
    pub(crate) truncated: bool,
    /// The lines it is made from.
    pub(crate) ranges: Ranges,
    pub(crate) lines: u32,
    /// Time of the first part.
    pub(crate) time: Stamp,
    /// When the first part was read.
    pub(crate) read_at: Instant,
}

/// Whether an entry without a newline is a part, and not the last words of a process.
#[inline]
pub(crate) fn is_part(text: &[u8], ended: bool) -> bool {
    !ended && text.len() >= DOCKER_PART_BYTES
}

impl Held {
    /// Begins a message.
    pub(crate) fn new(time: Stamp, read_at: Instant) -> Self {
        Self { text: Vec::new(), truncated: false, ranges: Ranges::default(), lines: 0, time, read_at }
    }

    /// Adds a part that stands at `range`, up to `max` bytes in all.
    pub(crate) fn add(&mut self, part: &[u8], range: Range, max: usize) {
        self.ranges.insert(range);
        self.lines += 1;
        if !self.truncated {
            let kept = floor_char_boundary(part, max.saturating_sub(self.text.len()));
            self.text.extend_from_slice(&part[..kept]);
            self.truncated = kept < part.len();
        }
    }
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

    #[test]
    fn nothing_follows_a_cut() {
        let mut held = Held::new(*b"2026-11-21T13:00:00.123456789Z", Instant::now());
        held.add("aé".as_bytes(), Range::new(0, 10), 2);
        held.add(b"b", Range::new(10, 20), 2);
        assert_eq!((held.text.as_slice(), held.truncated, held.lines), (&b"a"[..], true, 2));
        assert_eq!(held.ranges.as_slice(), [Range::new(0, 20)]);
    }
}
