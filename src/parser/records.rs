//! Records of one source on their way into a batch.

use crate::limits::BATCH_RANGES;
use crate::position::{Carried, Cover, Generation, Ranges};
use crate::source::Source;
use std::sync::Arc;
use std::time::Instant;

/// NDJSON records of one source, being filled. Owned by the caller; the parser appends.
#[derive(Debug)]
pub struct Records {
    /// Whose records; a `Records` never mixes sources.
    pub source: Arc<Source>,
    /// The records, each ending in `\n`.
    pub body: Vec<u8>,
    /// For each record the lines it was made from.
    pub cover: Cover,
    /// The same over all records, merged: what `x-rask-batch` names.
    pub ranges: Ranges,
    /// Lines of earlier generations that went into the last record; it is the last because they do.
    pub carried: Carried,
    /// Lines that no record is made from, and that need not wait for one: by generation.
    pub settled: Carried,
    /// Lines of the log file that went into the records.
    pub lines: u32,
    /// When the oldest of them was read.
    pub oldest: Option<Instant>,
}

impl Records {
    /// No records yet.
    pub fn new(source: Arc<Source>) -> Self {
        Self {
            source,
            body: Vec::new(),
            cover: Cover::default(),
            ranges: Ranges::default(),
            carried: Carried::default(),
            settled: Carried::default(),
            lines: 0,
            oldest: None,
        }
    }

    /// Forgets all records and keeps the memory, for records of `source`.
    pub fn reset(&mut self, source: Arc<Source>) {
        self.source = source;
        self.body.clear();
        self.cover.clear();
        self.ranges = Ranges::default();
        self.carried = Carried::default();
        self.settled = Carried::default();
        self.lines = 0;
        self.oldest = None;
    }

    /// Number of records.
    pub fn records(&self) -> usize {
        self.cover.len()
    }

    /// Whether there is no record.
    pub fn is_empty(&self) -> bool {
        self.cover.is_empty()
    }

    /// Whether `bounds`, or the number of ranges that a batch may cover, are reached, or the last record carries lines. The
    /// record that reaches the bound of bytes is still in: a batch holds at least one.
    #[inline]
    pub fn is_full(&self, bounds: Bounds) -> bool {
        self.records() >= bounds.records
            || self.body.len() >= bounds.bytes
            || self.ranges.as_slice().len() >= BATCH_RANGES
            || !self.carried.is_empty()
    }

    /// Notes lines of a generation that no record is made from.
    pub(crate) fn settle(&mut self, generation: Generation, ranges: &[crate::position::Range]) {
        if ranges.is_empty() {
            return;
        }
        let at = self.settled.iter().position(|(have, _)| *have == generation).unwrap_or_else(|| {
            self.settled.push((generation, Ranges::default()));
            self.settled.len() - 1
        });
        for range in ranges {
            self.settled[at].1.insert(*range);
        }
    }

    /// Notes where the record just written comes from.
    #[inline]
    pub(crate) fn cover(&mut self, ranges: &[crate::position::Range], lines: u32, read_at: Instant) {
        self.cover.push(lines, ranges);
        for range in ranges {
            self.ranges.insert(*range);
        }
        self.lines += lines;
        self.oldest = Some(self.oldest.map_or(read_at, |oldest| oldest.min(read_at)));
    }
}

/// When a `Records` is full.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Records.
    pub records: usize,
    /// Bytes of `body`.
    pub bytes: usize,
}

/// Whether a chunk was consumed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The chunk is consumed.
    Done,
    /// The records are full; the rest of the chunk is still in it. Call again with fresh records.
    Full,
}
