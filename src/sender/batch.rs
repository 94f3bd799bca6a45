//! A closed batch: what one request carries. Immutable from here on, so that a retried batch is byte-identical.

use crate::position::Cover;
use crate::source::SourceKey;
use bytes::Bytes;

/// Records of one source, closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Whose lines.
    pub key: SourceKey,
    /// NDJSON, each record ending in `\n`, not compressed.
    pub body: Bytes,
    /// For each record the lines it was made from.
    pub cover: Cover,
    /// Lines of the log that went into the records.
    pub lines: u32,
    /// When the oldest of them was read: milliseconds since the Unix epoch.
    pub oldest_ms: u64,
}

impl Batch {
    /// Number of records.
    pub fn records(&self) -> usize {
        self.cover.len()
    }
}
