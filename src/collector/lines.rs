//! From reads of any size to pieces of whole lines, with the offset of each.
//!
//! Four steps: the caller appends what it read to [`Lines::space`]; [`Lines::take`] hands out all whole lines there are as
//! one piece; the unfinished last line stays; at the end of a file that nobody continues, [`Lines::take_rest`] gives it too.
//!
//! - A line longer than `MAX_ENVELOPE_BYTES` is cut: a piece of exactly that many bytes without `\n`, of one line; what
//!   follows is the next line. Each piece carries its own offset, so offsets stay exact; and as the cut depends on nothing
//!   but the line's first offset, a reader that begins again there, or at a cut, cuts alike.
//! - Memory handed out is about as large as the lines in it. Large pieces are the read buffer itself, which comes back when
//!   the piece is dropped; small ones are copied out, since a line that held on to 64 KiB would make the queue's bound in
//!   bytes a lie.
//!
//! No I/O, no clock, no tokio.

use crate::limits::{MAX_ENVELOPE_BYTES, READ_BYTES};
use crate::position::{Range, Ranges};
use bytes::Bytes;

/// From this size on a piece is handed out as the buffer that it was read into: it then fills nearly all of it.
const HAND_OVER_BYTES: usize = READ_BYTES / 8 * 7;
/// With less room than this the buffer grows before the next read, in which case it holds the beginning of a very long line.
const SPACE_BYTES: usize = 4 << 10;

const _: () = assert!(HAND_OVER_BYTES > SPACE_BYTES && READ_BYTES * 2 < MAX_ENVELOPE_BYTES);

/// Whole lines, or one that was cut or never ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Piece {
    /// Offset of the first byte.
    pub start: u64,
    /// The lines.
    pub data: Bytes,
    /// How many.
    pub lines: u32,
}

impl Piece {
    /// The offsets it covers.
    pub fn range(&self) -> Range {
        Range::new(self.start, self.start + self.data.len() as u64)
    }

    /// Takes from the front the next run of lines that are not in `delivered`, dropping those that are. A line of which
    /// only a part is in the set is not delivered. `None` once the piece is used up.
    pub fn take_fresh(&mut self, delivered: &Ranges) -> Option<Self> {
        if self.data.is_empty() {
            return None;
        }
        if !delivered.touches(self.range()) {
            return Some(std::mem::take(self));
        }
        // The run, as offsets into `data`.
        let (mut from, mut to, mut lines) = (0, 0, 0);
        while to < self.data.len() {
            let end = memchr::memchr(b'\n', &self.data[to..]).map_or(self.data.len(), |newline| to + newline + 1);
            let line = Range::new(self.start + to as u64, self.start + end as u64);
            match (delivered.covers(line), lines) {
                (true, 0) => from = end,
                (true, _) => break,
                (false, _) => lines += 1,
            }
            to = end;
        }
        let run = Self { start: self.start + from as u64, data: self.data.slice(from..to), lines };
        *self = Self { start: self.start + to as u64, data: self.data.slice(to..), lines: 0 };
        self.lines = self.count();
        (lines > 0).then_some(run)
    }

    /// Lines in `data`, the last of which may have no end.
    fn count(&self) -> u32 {
        let unfinished = self.data.last().is_some_and(|last| *last != b'\n');
        memchr::memchr_iter(b'\n', &self.data).count() as u32 + u32::from(unfinished)
    }
}

/// The bytes of one file that have been read and not yet handed out.
#[derive(Debug, Default)]
pub struct Lines {
    /// The beginning of an unfinished line, then the newest read.
    buf: Vec<u8>,
    /// Offset of `buf[0]`.
    start: u64,
    /// `buf[..searched]` holds no newline.
    searched: usize,
    /// The buffer that was handed out last, to be taken back once nobody else holds it.
    lent: Option<Bytes>,
}

impl Lines {
    /// Nothing read yet; the first byte will be the one at `start`.
    pub fn new(start: u64) -> Self {
        Self { start, ..Self::default() }
    }

    /// Offset behind the last byte handed out.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// Offset behind the last byte read: where to read on.
    pub fn end(&self) -> u64 {
        self.start + self.buf.len() as u64
    }

    /// Where to append what is read next, with room for `READ_BYTES` or a little less. Take all pieces before reading again.
    pub fn space(&mut self) -> &mut Vec<u8> {
        if self.buf.capacity() - self.buf.len() < SPACE_BYTES {
            self.buf.reserve_exact(READ_BYTES);
        }
        &mut self.buf
    }

    /// The whole lines there are; `None` when there is none.
    pub fn take(&mut self) -> Option<Piece> {
        if self.buf.len() >= MAX_ENVELOPE_BYTES {
            let searched = self.searched.min(MAX_ENVELOPE_BYTES);
            if memchr::memchr(b'\n', &self.buf[searched..MAX_ENVELOPE_BYTES]).is_none() {
                return Some(self.hand_out(MAX_ENVELOPE_BYTES));
            }
        }
        match memchr::memrchr(b'\n', &self.buf[self.searched..]) {
            Some(newline) => Some(self.hand_out(self.searched + newline + 1)),
            None => {
                self.searched = self.buf.len();
                None
            }
        }
    }

    /// The unfinished line; `None` when there is none. Only after `take` has given everything else.
    pub fn take_rest(&mut self) -> Option<Piece> {
        (!self.buf.is_empty()).then(|| self.hand_out(self.buf.len()))
    }

    fn hand_out(&mut self, end: usize) -> Piece {
        let start = self.start;
        let data = if end < HAND_OVER_BYTES {
            let data = Bytes::copy_from_slice(&self.buf[..end]);
            self.buf.drain(..end);
            data
        } else {
            let mut next = self.take_back();
            next.extend_from_slice(&self.buf[end..]);
            let mut full = std::mem::replace(&mut self.buf, next);
            full.truncate(end);
            let reusable = full.capacity() <= 2 * READ_BYTES;
            let data = Bytes::from(full);
            self.lent = reusable.then(|| data.clone());
            data
        };
        self.start += end as u64;
        self.searched = 0;
        let mut piece = Piece { start, data, lines: 0 };
        piece.lines = piece.count();
        piece
    }

    /// An empty buffer: the one lent last if it is free, else a new one.
    fn take_back(&mut self) -> Vec<u8> {
        match self.lent.take() {
            Some(mut lent) if lent.is_unique() => {
                lent.clear(); // Only the memory is wanted; converting it would move the bytes.
                lent.into()
            }
            _ => Vec::with_capacity(READ_BYTES),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Cuts a text the naive way: at newlines, and where a line has reached the bound.
    fn naive(text: &[u8]) -> Vec<Range> {
        let (mut cuts, mut start) = (Vec::new(), 0);
        for (i, byte) in text.iter().enumerate() {
            if *byte == b'\n' || i + 1 - start == MAX_ENVELOPE_BYTES {
                cuts.push(Range::new(start as u64, i as u64 + 1));
                start = i + 1;
            }
        }
        if start < text.len() {
            cuts.push(Range::new(start as u64, text.len() as u64));
        }
        cuts
    }

    /// The lines of a piece, and that its bytes are those of the text at its offset.
    fn lines_of(piece: &Piece, text: &[u8]) -> Vec<Range> {
        let at = piece.start as usize;
        assert_eq!(piece.data, text[at..at + piece.data.len()]);
        let mut offset = piece.start;
        let ranges = piece.data.split_inclusive(|byte| *byte == b'\n').map(|line| {
            let range = Range::new(offset, offset + line.len() as u64);
            offset = range.end;
            range
        });
        let ranges: Vec<_> = ranges.collect();
        assert_eq!(ranges.len(), piece.lines as usize);
        ranges
    }

    fn read_all(text: &[u8], reads: &[usize]) -> Vec<Range> {
        let (mut lines, mut found, mut reads) = (Lines::new(0), Vec::new(), reads.iter().cycle());
        while lines.end() < text.len() as u64 {
            let at = lines.end() as usize;
            let room = lines.space();
            let n = (*reads.next().unwrap()).min(room.capacity() - room.len()).min(text.len() - at);
            room.extend_from_slice(&text[at..at + n]);
            while let Some(piece) = lines.take() {
                found.extend(lines_of(&piece, text));
            }
        }
        found.extend(lines.take_rest().iter().flat_map(|piece| lines_of(piece, text)));
        assert_eq!(lines.end(), text.len() as u64);
        found
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn cuts_like_the_naive_twin(
            lengths in prop::collection::vec(prop_oneof![0..40usize, 0..70_000usize, 250_000..600_000usize], 0..8),
            reads in prop::collection::vec(1_000..70_000usize, 1..8),
            ended: bool,
        ) {
            let mut text = Vec::new();
            for (i, length) in lengths.iter().enumerate() {
                text.extend(std::iter::repeat_n(b'a' + i as u8, *length));
                text.push(b'\n');
            }
            if !ended {
                text.pop();
            }
            prop_assert_eq!(read_all(&text, &reads), naive(&text));
        }

        #[test]
        fn fresh_lines_are_those_not_covered(
            lengths in prop::collection::vec(0..4usize, 0..20),
            delivered in prop::collection::vec((0..60u64, 0..12u64), 0..6),
            start in 0..10u64,
        ) {
            let mut text = Vec::new();
            for length in lengths {
                text.extend(std::iter::repeat_n(b'x', length));
                text.push(b'\n');
            }
            let delivered: Ranges = delivered.into_iter().map(|(at, n)| Range::new(at, at + n)).collect();
            let expected: Vec<_> = naive(&text)
                .into_iter()
                .map(|line| Range::new(line.start + start, line.end + start))
                .filter(|line| !delivered.covers(*line))
                .collect();
            let mut piece = Piece { start, data: Bytes::from(text.clone()), lines: 0 };
            piece.lines = piece.count();
            let shifted = [vec![0; start as usize], text].concat();
            let mut found = Vec::new();
            while let Some(run) = piece.take_fresh(&delivered) {
                found.extend(lines_of(&run, &shifted));
            }
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn memory_handed_out_is_about_as_large_as_the_lines() {
        let mut lines = Lines::new(0);
        lines.space().extend_from_slice(b"short\n");
        let memory = lines.buf.as_ptr();
        let piece = lines.take().unwrap();
        assert_ne!(piece.data.as_ptr(), memory, "a short line must not hold the read buffer");
        lines.space().extend(std::iter::repeat_n(b'\n', HAND_OVER_BYTES));
        let memory = lines.buf.as_ptr();
        let piece = lines.take().unwrap();
        assert_eq!(piece.data.as_ptr(), memory, "a large piece must not be copied");
        // And it comes back when it is free.
        drop(piece);
        lines.space().extend(std::iter::repeat_n(b'\n', HAND_OVER_BYTES));
        drop(lines.take());
        assert_eq!(lines.buf.as_ptr(), memory);
        assert_eq!(lines.buf.capacity(), READ_BYTES);
    }
}
