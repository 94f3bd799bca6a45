//! What a state directory holds, without its lock and without changing it: for `rask-log-forwarder spool ls`.
//!
//! Reads segments and cursor slots, not the index, which only one process can open; the slots may be a little older.

use super::segment::{self, Found};
use super::{cursor, dead, journal};
use crate::position::Ranges;
use crate::source::SourceKey;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead};
use std::path::Path;

/// One segment file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SegmentListing {
    /// Name of the file.
    pub name: String,
    /// Bytes.
    pub bytes: u64,
    /// Frames, retired ones included.
    pub frames: u64,
    /// Frames not retired.
    pub pending_frames: u64,
    /// Records of pending frames.
    pub pending_records: u64,
    /// Lines of pending frames.
    pub pending_lines: u64,
    /// Bytes that belong to no frame.
    pub damaged_bytes: u64,
}

/// The whole directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Oldest first.
    pub segments: Vec<SegmentListing>,
    /// Lines of the dead-letter file.
    pub dead_letters: u64,
    /// Acknowledged positions.
    pub positions: BTreeMap<SourceKey, Ranges>,
    /// Files and directories in quarantine.
    pub quarantined: Vec<String>,
}

/// Summarizes the state directory `dir`. Payloads are not checked.
///
/// # Errors
/// When it cannot be read. A segment that is deleted meanwhile is left out.
pub fn list(dir: &Path) -> io::Result<Listing> {
    std::fs::read_dir(dir)?;
    let state = cursor::load(dir)?.state.unwrap_or_default();
    let mut listing = Listing { quarantined: super::disk::names(&dir.join("quarantine")), ..Listing::default() };
    let spool = dir.join("spool");
    for first in journal::list(&spool) {
        let name = journal::name(first);
        let file = match File::open(spool.join(&name)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let mut seen = SegmentListing { name, bytes: file.metadata()?.len(), ..SegmentListing::default() };
        let (mut at, mut id) = (0, first);
        loop {
            match segment::find(&file, at, seen.bytes, &(id..u64::MAX)) {
                Found::End => break,
                Found::Damage(to) => {
                    seen.damaged_bytes += to - at;
                    at = to;
                }
                Found::Frame(head) => {
                    let wanted = !state.is_retired(head.id);
                    seen.frames += 1;
                    seen.pending_frames += u64::from(wanted);
                    seen.pending_records += if wanted { u64::from(head.records) } else { 0 };
                    seen.pending_lines += if wanted { u64::from(head.lines) } else { 0 };
                    (at, id) = (at + head.frame_len(), head.id + 1);
                }
            }
        }
        listing.segments.push(seen);
    }
    listing.dead_letters = count_lines(&dir.join(dead::FILE))?;
    listing.positions = state.positions.into_iter().map(|(key, entry)| (key, entry.ranges)).collect();
    Ok(listing)
}

fn count_lines(path: &Path) -> io::Result<u64> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    let (mut reader, mut lines) = (io::BufReader::new(file), 0);
    loop {
        let buffer = reader.fill_buf()?;
        if buffer.is_empty() {
            return Ok(lines);
        }
        lines += memchr::memchr_iter(b'\n', buffer).count() as u64;
        let len = buffer.len();
        reader.consume(len);
    }
}
