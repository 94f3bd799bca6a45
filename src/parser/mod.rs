//! From chunks of Docker's log to NDJSON records.
pub mod formats;

use crate::position::Cover;
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
    /// Lines of the log file that went into the records.
    pub lines: u32,
    /// When the oldest of them was read.
    pub oldest: Option<Instant>,
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
