//! The lines of a dead-letter file: writing one, reading them back one after the other. Format: `docs/spool-format.md`.
//!
//! A person may have edited the file, and a crash may have torn it: what is no letter is told apart, never an error. Memory is
//! bounded whatever the file holds. Knows nothing of the spool.

use super::frame::MAX_RAW;
use crate::position::{Carried, Cover, Generation, Ranges};
use crate::sender::batch::Batch;
use crate::source::SourceKey;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, BufRead, BufReader};

/// Stands where a letter began that is in the spool again.
pub(super) const MOVED: u8 = b'#';
/// Longest line that is believed to be a letter: the longest record, quoted once more.
const MAX_LINE: usize = 2 * MAX_RAW;
const MAX_CONTAINER: usize = 255;

/// A letter as it is written.
#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Line {
    /// Milliseconds since the Unix epoch.
    pub(super) time_ms: u64,
    pub(super) status: u16,
    pub(super) answer: String,
    pub(super) container: String,
    pub(super) generation: String,
    pub(super) cover: String,
    /// Generations and covers of earlier files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) carried: Vec<(String, String)>,
    /// Lines of the log that the record was made from. Letters of the first version do not say.
    #[serde(default = "one")]
    pub(super) lines: u32,
    pub(super) record: String,
}

fn one() -> u32 {
    1
}

/// A letter as it is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// When it was refused: milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// Status of the answer.
    pub status: u16,
    /// Start of the answer.
    pub answer: String,
    /// Whose record.
    pub key: SourceKey,
    /// The lines that it was made from.
    pub cover: Ranges,
    /// Lines of earlier generations that it was made from as well.
    pub carried: Carried,
    /// How many they are.
    pub lines: u32,
    /// The record, without its newline.
    pub record: String,
}

impl Letter {
    fn parse(line: &[u8]) -> Option<Self> {
        let line: Line = serde_json::from_slice(line).ok()?;
        let container = line.container.as_bytes();
        let named = !container.is_empty()
            && container.len() <= MAX_CONTAINER
            && container.iter().all(|byte| byte.is_ascii_alphanumeric() || b"_.-".contains(byte));
        let is_record = line.record.starts_with('{')
            && line.record.len() < MAX_RAW
            && !line.record.contains('\n')
            && serde_json::from_str::<serde::de::IgnoredAny>(&line.record).is_ok();
        let key = SourceKey { container: line.container, generation: generation(&line.generation)? };
        let cover = line.cover.parse().ok()?;
        let carried = line.carried.iter().map(|(of, cover)| Some((generation(of)?, cover.parse().ok()?)));
        let carried = carried.collect::<Option<_>>()?;
        let Line { time_ms, status, answer, lines, record, .. } = line;
        (named && is_record).then_some(Self { time_ms, status, answer, key, cover, carried, lines, record })
    }

    /// What the spool takes: a batch of this one record.
    pub(super) fn into_batch(self) -> Batch {
        let mut cover = Cover::default();
        cover.push(self.lines, self.cover.as_slice());
        let mut body = self.record;
        body.push('\n');
        // Those that it carries are settled since it was written, and in no cover that a receiver sees.
        let carried = Carried::default();
        let (lines, oldest_ms) = (self.lines, self.time_ms);
        Batch { key: self.key, body: body.into(), cover, carried, lines, oldest_ms, again: true }
    }
}

fn generation(digits: &str) -> Option<Generation> {
    u64::from_str_radix(Some(digits).filter(|digits| digits.len() == 16)?, 16).ok().map(Generation)
}

/// What a line is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Seen {
    Letter(Box<Letter>),
    /// A letter that is in the spool again.
    Moved,
    /// Torn, damaged, or not ours.
    Damaged,
}

/// Reads a file line by line.
pub(super) struct Lines {
    reader: BufReader<File>,
    at: u64,
    line: Vec<u8>,
}

impl Lines {
    pub(super) fn new(file: File) -> Self {
        Self { reader: BufReader::with_capacity(64 << 10, file), at: 0, line: Vec::new() }
    }

    pub(super) fn file(&self) -> &File {
        self.reader.get_ref()
    }

    /// The next line that is not empty, and where it begins.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn next(&mut self) -> io::Result<Option<(u64, Seen)>> {
        loop {
            let start = self.at;
            let Some(first) = self.take_line()? else { return Ok(None) };
            let seen = match first {
                b'\n' => continue,
                MOVED => Seen::Moved,
                _ => Letter::parse(&self.line).map_or(Seen::Damaged, |letter| Seen::Letter(Box::new(letter))),
            };
            super::frame::trim(&mut self.line);
            return Ok(Some((start, seen)));
        }
    }

    /// Consumes a line and returns its first byte. Only what can be a letter is held.
    fn take_line(&mut self) -> io::Result<Option<u8>> {
        self.line.clear();
        let mut first = None;
        loop {
            let buffer = match self.reader.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                other => other?,
            };
            let Some(&byte) = buffer.first() else { return Ok(first) };
            let (end, len) = match memchr::memchr(b'\n', buffer) {
                Some(at) => (true, at + 1),
                None => (false, buffer.len()),
            };
            let first = first.get_or_insert(byte);
            if *first == b'{' && self.line.len() + len <= MAX_LINE {
                self.line.extend_from_slice(&buffer[..len]);
            } else {
                self.line.clear();
            }
            self.reader.consume(len);
            self.at += len as u64;
            if end {
                return Ok(Some(*first));
            }
        }
    }
}
