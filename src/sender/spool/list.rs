//! What a state directory holds, without its lock and without changing it: for `rask-log-forwarder spool ls` and `spool export`.
//!
//! Reads segments and cursor slots, not the index, which only one process can open; the slots may be a little older. Beside a
//! running forwarder what is seen is what was there a moment ago: a file that goes meanwhile is left out.

use super::frame::{Codec, Head};
use super::letters::{Letter, Lines, Seen};
use super::segment::{self, Found};
use super::state::State;
use super::{cursor, dead, disk, journal};
use crate::position::Ranges;
use crate::sender::batch::Batch;
use crate::source::SourceKey;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// One segment file.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct SegmentListing {
    /// Name of the file.
    pub name: String,
    /// Bytes.
    pub bytes: u64,
    /// Frames, retired ones included.
    pub frames: u64,
    /// Frames of which something is left to be sent.
    pub pending_frames: u64,
    /// Records that are left.
    pub pending_records: u64,
    /// Their lines.
    pub pending_lines: u64,
    /// Their bytes, as [`export`] shows them.
    pub pending_bytes: u64,
    /// Bytes that belong to no frame.
    pub damaged_bytes: u64,
}

/// Segments, positions and quarantine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Oldest first.
    pub segments: Vec<SegmentListing>,
    /// Acknowledged positions.
    pub positions: BTreeMap<SourceKey, Ranges>,
    /// Files and directories in quarantine.
    pub quarantined: Vec<String>,
    /// No cursor slot can be read: positions are not known, and delivered frames look pending.
    pub blind: bool,
}

/// The dead letters as a whole.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct DeadListing {
    /// Letters.
    pub letters: u64,
    /// Lines of the log that they were made from.
    pub lines: u64,
    /// Bytes of their files.
    pub bytes: u64,
    /// Of `letters`, those that a drain has begun with and not taken.
    pub draining: u64,
    /// Lines of the files that are no letters.
    pub damaged: u64,
}

/// Summarizes the state directory `dir`. Payloads are not checked where nothing of them is settled.
///
/// # Errors
/// When it cannot be read.
pub fn list(dir: &Path) -> io::Result<Listing> {
    std::fs::read_dir(dir)?;
    let loaded = cursor::load(dir)?;
    let blind = loaded.damaged;
    let state = loaded.state.unwrap_or_default();
    let mut listing = Listing { quarantined: disk::names(&dir.join("quarantine")), blind, ..Listing::default() };
    let mut reader = Reader::new(&state);
    for_each_segment(dir, |name, file, first| {
        let mut seen = SegmentListing { name, bytes: file.metadata()?.len(), ..SegmentListing::default() };
        seen.damaged_bytes = for_each_frame(file, first, &mut |at, head| {
            seen.frames += 1;
            let (records, lines, bytes) = match reader.pending(file, at, head) {
                Pending::Nothing => return Ok(()),
                Pending::Part(left) => (left.records() as u64, left.lines, left.body.len() as u64),
                Pending::Whole => (u64::from(head.records), head.lines, u64::from(head.raw_len)),
            };
            seen.pending_frames += 1;
            seen.pending_records += records;
            seen.pending_lines += u64::from(lines);
            seen.pending_bytes += bytes;
            Ok(())
        })?;
        listing.segments.push(seen);
        Ok(())
    })?;
    listing.positions = state.positions.into_iter().map(|(key, entry)| (key, entry.ranges)).collect();
    Ok(listing)
}

/// Shows what is left of every batch in the spool to `visit`, oldest first. Returns how many frames are damaged and left out.
///
/// # Errors
/// When the directory cannot be read, and those of `visit`.
pub fn export(dir: &Path, mut visit: impl FnMut(&Batch) -> io::Result<()>) -> io::Result<u64> {
    std::fs::read_dir(dir)?;
    let state: State = cursor::load(dir)?.state.unwrap_or_default();
    let (mut reader, mut damaged) = (Reader::new(&state), 0);
    for_each_segment(dir, |_, file, first| {
        let lost = for_each_frame(file, first, &mut |at, head| {
            if state.is_retired(head.id) {
                return Ok(());
            }
            let batch = reader.batch(file, at, head);
            damaged += u64::from(batch.is_none());
            batch.and_then(|batch| state.left_of(batch)).map_or(Ok(()), |left| visit(&left))
        })?;
        damaged += u64::from(lost > 0);
        Ok(())
    })?;
    Ok(damaged)
}

/// Shows every dead letter to `visit`, oldest first, and sums them up.
///
/// # Errors
/// When they cannot be read, and those of `visit`.
pub fn dead_letters(dir: &Path, mut visit: impl FnMut(Letter) -> io::Result<()>) -> io::Result<DeadListing> {
    let mut listing = DeadListing::default();
    // In this order, so that a file that is renamed meanwhile is seen at least once.
    let newer = open(&dir.join(dead::FILE))?;
    let older = open(&dir.join(dead::DRAINING))?;
    let inode = |file: &File| file.metadata().map(|meta| meta.ino()).ok();
    let newer = newer.filter(|newer| older.as_ref().and_then(inode) != inode(newer));
    for (file, draining) in [(older, true), (newer, false)] {
        let Some(file) = file else { continue };
        listing.bytes += file.metadata()?.len();
        let mut lines = Lines::new(file);
        while let Some((_, seen)) = lines.next()? {
            match seen {
                Seen::Moved => {}
                Seen::Damaged => listing.damaged += 1,
                Seen::Letter(letter) => {
                    listing.letters += 1;
                    listing.draining += u64::from(draining);
                    listing.lines += u64::from(letter.lines);
                    visit(*letter)?;
                }
            }
        }
    }
    Ok(listing)
}

/// What is left to be sent of a frame.
enum Pending {
    Nothing,
    Part(Batch),
    Whole,
}

/// Reads frames and compares them with the positions.
struct Reader<'a> {
    state: &'a State,
    codec: Codec,
    payload: Vec<u8>,
}

impl<'a> Reader<'a> {
    fn new(state: &'a State) -> Self {
        Self { state, codec: Codec::default(), payload: Vec::new() }
    }

    /// One that is damaged counts as a whole.
    fn pending(&mut self, file: &File, at: u64, head: &Head) -> Pending {
        if self.state.is_retired(head.id) {
            return Pending::Nothing;
        }
        segment::read_prefix(file, at, head, &mut self.payload);
        let claims = head.claims(&self.payload);
        if !claims.is_some_and(|claims| self.state.knows_any(&claims)) {
            return Pending::Whole;
        }
        match self.batch(file, at, head) {
            None => Pending::Whole,
            Some(batch) => self.state.left_of(batch).map_or(Pending::Nothing, Pending::Part),
        }
    }

    /// `None` when it is damaged.
    fn batch(&mut self, file: &File, at: u64, head: &Head) -> Option<Batch> {
        segment::read_payload(file, at, head, &mut self.payload);
        let batch = self.codec.decode(head, &self.payload);
        super::frame::trim(&mut self.payload);
        batch
    }
}

fn for_each_segment(dir: &Path, mut visit: impl FnMut(String, &File, u64) -> io::Result<()>) -> io::Result<()> {
    let spool = dir.join("spool");
    for first in journal::list(&spool) {
        let name = journal::name(first);
        if let Some(file) = open(&spool.join(&name))? {
            visit(name, &file, first)?;
        }
    }
    Ok(())
}

/// Shows the frames of a segment with their offsets; returns the bytes that belong to none.
fn for_each_frame(file: &File, first: u64, visit: &mut dyn FnMut(u64, &Head) -> io::Result<()>) -> io::Result<u64> {
    let (len, mut at, mut id, mut damaged) = (file.metadata()?.len(), 0, first, 0);
    loop {
        match segment::find(file, at, len, &(id..u64::MAX)) {
            Found::End => return Ok(damaged),
            Found::Damage(to) => {
                damaged += to - at;
                at = to;
            }
            Found::Frame(head) => {
                visit(at, &head)?;
                (at, id) = (at + head.frame_len(), head.id + 1);
            }
        }
    }
}

fn open(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
