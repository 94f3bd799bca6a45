//! What travels from the collector to the parser, and the queue that carries it.

pub mod queue;

use crate::position::Range;
use crate::source::{Container, Source};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Instant;

/// Whole lines of one source, each ending in `\n` (the last of a dead source may lack it).
#[derive(Clone, Debug)]
pub struct Chunk {
    /// Whose lines they are.
    pub source: Arc<Source>,
    /// The lines, as Docker wrote them.
    pub data: Bytes,
    /// Where each line stands.
    pub offsets: Offsets,
    /// Number of lines in `data`.
    pub lines: u32,
    /// When the bytes were read: start of the write-to-acknowledgement latency.
    pub read_at: Instant,
}

/// Where the lines of a chunk stand in their source.
#[derive(Clone, Debug)]
pub enum Offsets {
    /// Lines of a file: the first byte of the chunk stands at this offset, the rest follows from the lines' lengths.
    File(u64),
    /// Lines of a streamed log: the range of each line.
    Each(Arc<[Range]>),
}

/// One element of the queue.
#[derive(Clone, Debug)]
pub enum Item {
    /// Lines.
    Chunk(Chunk),
    /// Nothing more comes of this source; what a join holds back may go on in the container's next one.
    End(Arc<Source>),
    /// Nothing more comes of this container: what a join holds back is all there is.
    Over(Arc<Container>),
    /// Bytes were gone before they could be read.
    Gap(Gap),
}

impl Item {
    /// Weight in lines.
    pub fn lines(&self) -> usize {
        match self {
            Self::Chunk(chunk) => chunk.lines as usize,
            Self::End(_) | Self::Over(_) | Self::Gap(_) => 0,
        }
    }

    /// Weight in bytes.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Chunk(chunk) => chunk.data.len(),
            Self::End(_) | Self::Over(_) | Self::Gap(_) => 0,
        }
    }
}

/// What is known of bytes that Docker wrote and that nobody can read any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gap {
    /// Whose log.
    pub container: Arc<Container>,
    /// The source that the following lines belong to; the gap record is delivered before them.
    pub source: Arc<Source>,
    /// Why, for a person.
    pub reason: String,
    /// Time of the last line before the gap, if known (RFC 3339). The parser adds it where it is not.
    pub from: Option<String>,
    /// Time of the first line after the gap, if known (RFC 3339). Likewise.
    pub to: Option<String>,
    /// How many bytes, if known.
    pub bytes: Option<u64>,
}
