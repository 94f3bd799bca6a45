//! Inner parts for `benches/parser.rs`; not for programs.

use super::envelope::{self, Line};
use super::json::Members;
use super::time::Clock;
use super::unescape::Buffer;

/// The envelope reader with its memory.
#[derive(Debug)]
pub struct Envelopes {
    buffer: Buffer,
    clock: Clock,
}

impl Envelopes {
    /// With no memory yet.
    #[allow(clippy::new_without_default)] // made once, in a bench
    pub fn new() -> Self {
        Self { buffer: Buffer::default(), clock: Clock::new() }
    }

    /// Number of entries in `data`, and bytes of their texts.
    pub fn read(&mut self, data: &[u8]) -> (usize, usize) {
        let (mut lines, mut bytes, mut rest) = (0, 0, data);
        while let Some(end) = memchr::memchr(b'\n', rest) {
            if let Line::Entry(entry) = envelope::read(&rest[..end], &mut self.buffer, &mut self.clock) {
                lines += 1;
                bytes += entry.text(&self.buffer).len();
            }
            rest = &rest[end + 1..];
        }
        (lines, bytes)
    }
}

/// Number of members of a JSON object.
pub fn members(text: &[u8]) -> Option<usize> {
    let mut members = Members::of(text).ok()?;
    let mut count = 0;
    while members.next().ok()?.is_some() {
        count += 1;
    }
    Some(count)
}
