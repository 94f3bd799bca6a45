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
    /// Frames not retired.
    pub pending_frames: u64,
    /// Records of pending frames.
    pub pending_records: u64,
    /// Lines of pending frames.
    pub pending_lines: u64,
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

/// Summarizes the state directory `dir`. Payloads are not checked.
///
/// # Errors
/// When it cannot be read.
pub fn list(dir: &Path) -> io::Result<Listing> {
    std::fs::read_dir(dir)?;
    let loaded = cursor::load(dir)?;
    let blind = loaded.damaged;
    let state = loaded.state.unwrap_or_default();
    let mut listing = Listing { quarantined: disk::names(&dir.join("quarantine")), blind, ..Listing::default() };
    for_each_segment(dir, |name, file, first| {
        let mut seen = SegmentListing { name, bytes: file.metadata()?.len(), ..SegmentListing::default() };
        seen.damaged_bytes = for_each_frame(file, first, &mut |_, head| {
            let wanted = !state.is_retired(head.id);
            seen.frames += 1;
            seen.pending_frames += u64::from(wanted);
            seen.pending_records += if wanted { u64::from(head.records) } else { 0 };
            seen.pending_lines += if wanted { u64::from(head.lines) } else { 0 };
            Ok(())
        })?;
        listing.segments.push(seen);
        Ok(())
    })?;
    listing.positions = state.positions.into_iter().map(|(key, entry)| (key, entry.ranges)).collect();
    Ok(listing)
}

/// Shows every batch that waits in the spool to `visit`, oldest first. Returns how many frames are damaged and left out.
///
/// # Errors
/// When the directory cannot be read, and those of `visit`.
pub fn export(dir: &Path, mut visit: impl FnMut(&Batch) -> io::Result<()>) -> io::Result<u64> {
    std::fs::read_dir(dir)?;
    let state: State = cursor::load(dir)?.state.unwrap_or_default();
    let (mut codec, mut payload, mut damaged) = (Codec::default(), Vec::new(), 0);
    for_each_segment(dir, |_, file, first| {
        let lost = for_each_frame(file, first, &mut |at, head| {
            if state.is_retired(head.id) {
                return Ok(());
            }
            segment::read_payload(file, at, head, &mut payload);
            let batch = codec.decode(head, &payload);
            super::frame::trim(&mut payload);
            damaged += u64::from(batch.is_none());
            batch.map_or(Ok(()), |batch| visit(&batch))
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
