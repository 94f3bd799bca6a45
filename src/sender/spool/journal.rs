//! The frames, oldest first, in segment files: written at the end, read in order, deleted a segment at a time.
//!
//! Ids run on over the life of the state directory; a segment is named by the id of its first frame, and is written by one
//! process only, so that whatever a crash tore is at the end of a file that nobody appends to. Memory holds a few words for
//! each segment and nothing for a frame: which frames are done with is [`State::retired`], where a frame stands is read from
//! the segment.
//!
//! A segment is in `segments` with what is durable of it; [`Active`] runs ahead by what has been written and not yet synced.

use super::disk::{self, Quarantine};
use super::frame::{Codec, Head, trim};
use super::segment::{self, Found};
use super::state::State;
use super::{AppendError, FrameId, Recovered, fault};
use crate::metrics::Metrics;
use crate::position::{Range, Ranges};
use crate::sender::batch::Batch;
use crate::source::SourceKey;
use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// Covers remembered of frames that were handed out and not yet retired; an older one is read again from its segment.
const HANDED: usize = 64;

/// The durable part of a segment.
#[derive(Debug)]
struct Segment {
    /// Id behind its last frame.
    end: u64,
    len: u64,
    /// Lines of frames not retired.
    lines: u64,
    /// It holds damage of which there is no copy: it is moved to the quarantine, not deleted.
    keep: bool,
}

/// The segment that is written.
struct Active {
    first: u64,
    file: File,
    len: u64,
    /// Written and not yet synced.
    frames: u64,
    lines: u64,
    /// Its end could not be repaired after a failed write: nothing more goes in.
    spent: bool,
}

/// The place in the frames where reading stands: frame `id` is looked for at `at`.
struct Reader {
    first: u64,
    file: File,
    at: u64,
    id: u64,
}

/// What is pending.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) frames: u64,
    pub(super) lines: u64,
    /// Bytes of all segments.
    pub(super) bytes: u64,
}

/// See the module.
pub(super) struct Journal {
    dir: PathBuf,
    quarantine: Quarantine,
    metrics: Metrics,
    segment_bytes: u64,
    segments: BTreeMap<u64, Segment>,
    active: Option<Active>,
    next_id: u64,
    reader: Option<Reader>,
    handed: VecDeque<(u64, u32, Vec<(SourceKey, Ranges)>)>,
    codec: Codec,
    scratch: Vec<u8>,
    pub(super) totals: Totals,
}

impl Journal {
    /// Reads all segments of `dir`. What is found goes to `recovered`, covers to its positions.
    ///
    /// # Errors
    /// When a segment cannot be opened or repaired; damage is not an error.
    pub(super) fn open(
        dir: PathBuf,
        quarantine: Quarantine,
        segment_bytes: u64,
        metrics: Metrics,
        state: &mut State,
        recovered: &mut Recovered,
    ) -> io::Result<Self> {
        let mut journal = Self {
            dir,
            quarantine,
            metrics,
            segment_bytes,
            segments: BTreeMap::new(),
            active: None,
            next_id: 0,
            reader: None,
            handed: VecDeque::new(),
            codec: Codec::default(),
            scratch: Vec::new(),
            totals: Totals::default(),
        };
        let firsts = list(&journal.dir);
        for (i, &first) in firsts.iter().enumerate() {
            state.retired.insert(Range::new(journal.next_id.min(first), first));
            let bound = firsts.get(i + 1).copied();
            journal.scan(first, bound, state, recovered)?;
        }
        // The clock keeps ids apart even from those that only a lost or older copy of the state remembers.
        let now_us = disk::now_ms().saturating_mul(1000);
        journal.next_id = journal.next_id.max(state.retired.end()).max(now_us);
        recovered.frames = journal.totals.frames;
        Ok(journal)
    }

    /// Reads one segment; `bound` is the first id of the next one.
    fn scan(&mut self, first: u64, bound: Option<u64>, state: &mut State, recovered: &mut Recovered) -> io::Result<()> {
        let path = path(&self.dir, first);
        let file = disk::private().open(&path)?;
        let mut segment = Segment { end: first, len: file.metadata()?.len(), lines: 0, keep: false };
        // A process that was killed may have written frames and not synced them. From now on they are relied upon.
        let synced = fault::sync_data(&file);
        if let Err(error) = &synced {
            tracing::warn!(%error, segment = name(first), "a spool segment cannot be synced; its lines are read from the logs as well");
        }
        let mut at = 0;
        loop {
            match segment::find(&file, at, segment.len, &(segment.end..bound.unwrap_or(u64::MAX))) {
                Found::End => break,
                Found::Frame(head) => {
                    state.retired.insert(Range::new(segment.end, head.id));
                    if state.is_retired(head.id) {
                    } else if self.recover(&file, at, &head, synced.is_ok(), recovered) {
                        segment.lines += u64::from(head.lines);
                        self.totals.frames += 1;
                    } else {
                        state.retired.insert(Range::new(head.id, head.id + 1));
                        segment.keep |= !self.set_aside(&file, first, at, at + head.frame_len(), false);
                    }
                    segment.end = head.id + 1;
                    at += head.frame_len();
                }
                Found::Damage(to) if to == segment.len => {
                    // Nothing of a torn write was acknowledged; the last segment is the one that a crash can have torn.
                    segment.keep |= !self.set_aside(&file, first, at, to, bound.is_none());
                    if segment.keep {
                        break;
                    }
                    fault::set_len(&file, at)?;
                    fault::sync_all(&file)?;
                    segment.len = at;
                }
                Found::Damage(to) => {
                    segment.keep |= !self.set_aside(&file, first, at, to, false);
                    at = to;
                }
            }
        }
        self.next_id = segment.end;
        if segment.end == first {
            return if segment.keep { self.quarantine.take(&path, &name(first)) } else { fault::remove_file(&path) };
        }
        self.totals.bytes += segment.len;
        self.totals.lines += segment.lines;
        self.segments.insert(first, segment);
        Ok(())
    }

    /// Counts a frame that is still wanted, and what it covers where that is durable; whether it is whole.
    fn recover(&mut self, file: &File, at: u64, head: &Head, durable: bool, recovered: &mut Recovered) -> bool {
        let lines = u64::from(head.lines);
        recovered.lines += lines;
        self.metrics.lines_recovered.inc_by(lines);
        self.metrics.lines_pending.with_label_values(&["spool"]).add(lines as i64);
        let whole = segment::check(file, at, head, &mut self.scratch);
        let known = head.claims(&self.scratch).filter(|_| whole);
        trim(&mut self.scratch);
        let Some(claims) = known else {
            drop_lines(&self.metrics, lines);
            return false;
        };
        recovered.records += u64::from(head.records);
        recovered.bytes += head.frame_len();
        for (key, ranges) in claims.into_iter().filter(|_| durable) {
            recovered.positions.entry(key).or_default().union(&ranges);
        }
        true
    }

    /// Copies a damaged stretch to the quarantine and says so, once. Whether there is a copy.
    fn set_aside(&self, file: &File, first: u64, from: u64, to: u64, torn: bool) -> bool {
        let (segment, bytes) = (name(first), to - from);
        match self.quarantine.copy(first, file, from, to) {
            Ok(true) if torn => {
                tracing::warn!(
                    segment,
                    offset = from,
                    bytes,
                    "the end of a spool segment is torn, as after a crash; it is in quarantine/"
                );
            }
            Ok(true) => {
                self.metrics.gaps.inc();
                tracing::error!(
                    segment,
                    offset = from,
                    bytes,
                    "a spool segment is damaged; these bytes are in quarantine/"
                );
            }
            Ok(false) => {}
            Err(error) => {
                tracing::error!(segment, offset = from, bytes, %error, "a spool segment is damaged and cannot be copied to quarantine/");
                return false;
            }
        }
        true
    }

    /// Writes a batch behind the last; it counts after [`Self::settle`].
    ///
    /// # Errors
    /// `Full` when it is longer than `budget`, from which it is taken otherwise; `Disk` with the segment as it was before.
    pub(super) fn write(&mut self, state: &mut State, batch: &Batch, budget: &mut u64) -> Result<FrameId, AppendError> {
        let id = self.next_id;
        self.codec.encode(id, batch, &mut self.scratch)?;
        let len = self.scratch.len() as u64;
        *budget = budget.checked_sub(len).ok_or(AppendError::Full)?;
        let active = match &mut self.active {
            Some(active) => active,
            none => {
                let file = create(&self.dir, id)?;
                let before = self.segments.last_key_value().map_or(0, |(_, segment)| segment.end);
                state.retired.insert(Range::new(before, id));
                self.segments.insert(id, Segment { end: id, len: 0, lines: 0, keep: false });
                none.insert(Active { first: id, file, len: 0, frames: 0, lines: 0, spent: false })
            }
        };
        if let Err(error) = fault::write_all_at(&active.file, &self.scratch, active.len) {
            active.spent = fault::set_len(&active.file, active.len).is_err();
            return Err(error.into());
        }
        active.len += len;
        active.frames += 1;
        active.lines += u64::from(batch.lines);
        self.next_id += 1;
        trim(&mut self.scratch);
        self.codec.trim();
        Ok(FrameId(id))
    }

    /// Makes durable what has been written.
    ///
    /// # Errors
    /// None of it is: the segment is cut back to what was durable before, and closed, since what a failed sync leaves in
    /// the page cache cannot be trusted.
    pub(super) fn settle(&mut self) -> Result<(), AppendError> {
        let Some(active) = &mut self.active else { return Ok(()) };
        let Some(segment) = self.segments.get_mut(&active.first) else { return Err(AppendError::Closed) };
        if active.frames == 0 {
            if active.spent {
                // Its name may be taken by the file that could not be repaired.
                self.next_id += 1;
                self.active = None;
            }
            return Ok(());
        }
        let timer = self.metrics.spool_sync_seconds.with_label_values(&["segment"]).start_timer();
        let synced = fault::sync_data(&active.file);
        timer.observe_duration();
        if let Err(error) = synced {
            let cut = fault::set_len(&active.file, segment.len).and_then(|()| fault::sync_all(&active.file));
            tracing::error!(%error, cut = cut.is_ok(), segment = name(active.first), "a spool segment cannot be synced; it is closed");
            self.active = None;
            return Err(error.into());
        }
        self.totals.frames += active.frames;
        self.totals.lines += active.lines;
        self.totals.bytes += active.len - segment.len;
        segment.lines += active.lines;
        segment.end = self.next_id;
        segment.len = active.len;
        self.metrics.spooled_batches.inc_by(active.frames);
        self.metrics.lines_pending.with_label_values(&["spool"]).add(active.lines as i64);
        (active.frames, active.lines) = (0, 0);
        if active.spent || active.len >= self.segment_bytes {
            self.active = None;
        }
        Ok(())
    }

    /// Whether the segment has reached its size: settle before the next write.
    pub(super) fn is_due(&self) -> bool {
        self.active.as_ref().is_some_and(|active| active.spent || active.len >= self.segment_bytes)
    }

    /// The oldest frame that is wanted and comes after `after`.
    pub(super) fn next(&mut self, state: &mut State, after: Option<FrameId>) -> Option<(FrameId, Batch)> {
        let mut target = after.map_or(0, |id| id.0.saturating_add(1));
        loop {
            let head = self.seek(state, target)?;
            target = head.id + 1;
            if state.is_retired(head.id) {
                continue;
            }
            let reader = self.reader.as_mut()?;
            let (first, at) = (reader.first, reader.at);
            segment::read_payload(&reader.file, at, &head, &mut self.scratch);
            let batch = self.codec.decode(&head, &self.scratch);
            trim(&mut self.scratch);
            if let Some(batch) = batch {
                self.remember(&head, &batch);
                return Some((FrameId(head.id), batch));
            }
            self.damaged(first, at, at + head.frame_len());
            self.lose(state, first, head.id..head.id + 1, u64::from(head.lines));
        }
    }

    fn remember(&mut self, head: &Head, batch: &Batch) {
        self.handed.retain(|(id, ..)| *id != head.id);
        if self.handed.len() == HANDED {
            self.handed.pop_front();
        }
        self.handed.push_back((head.id, head.lines, batch.claims()));
    }

    /// Moves the reader to the first frame from `target` on whose head is intact and that is wanted; what is damaged on the way
    /// is set aside.
    fn seek(&mut self, state: &mut State, target: u64) -> Option<Head> {
        let mut target = target;
        loop {
            target = state.wanted_from(target);
            let (first, end, len) = self.holding(target)?;
            target = target.max(first);
            if !self.point(state, first, target)? {
                continue;
            }
            let reader = self.reader.as_mut()?;
            let (at, id) = (reader.at, reader.id);
            match segment::find(&reader.file, at, len, &(id..end)) {
                Found::Frame(head) => {
                    reader.id = head.id;
                    if head.id < target {
                        (reader.at, reader.id) = (at + head.frame_len(), head.id + 1);
                    }
                    self.lose(state, first, id..head.id, 0);
                    if head.id >= target {
                        return Some(head);
                    }
                }
                Found::Damage(to) => {
                    reader.at = to;
                    self.damaged(first, at, to);
                }
                Found::End => {
                    self.reader = None;
                    self.lose(state, first, id..end, 0);
                    target = end;
                }
            }
        }
    }

    /// The segment that holds frame `target`, or the next one: first id, end, length.
    fn holding(&self, target: u64) -> Option<(u64, u64, u64)> {
        let at = self.segments.range(..=target).next_back().filter(|(_, segment)| segment.end > target);
        let behind = || self.segments.range(target..).find(|(first, segment)| segment.end > **first);
        at.or_else(behind).map(|(first, segment)| (*first, segment.end, segment.len))
    }

    /// Opens a segment unless the reader is in it and not beyond `target`. `Some(false)` when the segment is gone.
    fn point(&mut self, state: &mut State, first: u64, target: u64) -> Option<bool> {
        if self.reader.as_ref().is_some_and(|reader| reader.first == first && reader.id <= target) {
            return Some(true);
        }
        self.reader = None;
        match File::open(path(&self.dir, first)) {
            Ok(file) => self.reader = Some(Reader { first, file, at: 0, id: first }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                tracing::error!(segment = name(first), "a spool segment has been taken away");
                let end = self.segments.get(&first)?.end;
                self.lose(state, first, first..end, 0);
                return Some(false);
            }
            Err(error) => {
                tracing::error!(segment = name(first), %error, "a spool segment cannot be opened");
                return None;
            }
        }
        Some(true)
    }

    fn damaged(&mut self, first: u64, from: u64, to: u64) {
        let Some(reader) = &self.reader else { return };
        let copied = self.set_aside(&reader.file, first, from, to, false);
        if let Some(segment) = self.segments.get_mut(&first) {
            segment.keep |= !copied;
        }
    }

    /// Gives up frames that cannot be read. Lines of frames whose head is damaged are counted when the segment goes.
    fn lose(&mut self, state: &mut State, first: u64, ids: std::ops::Range<u64>, lines: u64) {
        let lost = ids.clone().filter(|id| !state.is_retired(*id)).count() as u64;
        state.retired.insert(Range::new(ids.start, ids.end));
        self.totals.frames -= lost.min(self.totals.frames);
        if lost > 0 {
            self.give_up(first, lines);
        }
    }

    fn give_up(&mut self, first: u64, lines: u64) {
        if let Some(segment) = self.segments.get_mut(&first) {
            let lines = lines.min(segment.lines);
            segment.lines -= lines;
            self.totals.lines -= lines;
            drop_lines(&self.metrics, lines);
        }
    }

    /// Takes a frame as delivered: what it covers becomes a position. One that was given up while it was on its way, and counted as
    /// dropped, has come back.
    pub(super) fn retire(&mut self, state: &mut State, id: FrameId, lines: u32) {
        if !self.retire_held(state, id, lines) {
            self.metrics.lines_recovered.inc_by(u64::from(lines));
        }
    }

    /// Whether the frame was here to be retired.
    fn retire_held(&mut self, state: &mut State, id: FrameId, lines: u32) -> bool {
        let FrameId(id) = id;
        let Some((&first, _)) = self.segments.range(..=id).next_back().filter(|(_, segment)| id < segment.end) else {
            return false;
        };
        if state.is_retired(id) {
            return false;
        }
        let known = match self.handed.iter().position(|(handed, ..)| *handed == id) {
            Some(at) => self.handed.remove(at),
            None => self.look_up(state, id),
        };
        let lines = known.as_ref().map_or(lines, |(_, lines, ..)| *lines);
        for (key, ranges) in known.into_iter().flat_map(|(.., claims)| claims) {
            state.add(&key, &ranges, disk::now_ms());
        }
        if state.is_retired(id) {
            return false; // damaged, as looking it up has shown
        }
        state.retired.insert(Range::new(id, id + 1));
        self.totals.frames = self.totals.frames.saturating_sub(1);
        if let Some(segment) = self.segments.get_mut(&first) {
            let lines = u64::from(lines).min(segment.lines);
            segment.lines -= lines;
            self.totals.lines -= lines;
            self.metrics.lines_pending.with_label_values(&["spool"]).sub(lines as i64);
        }
        true
    }

    fn look_up(&mut self, state: &mut State, id: u64) -> Option<(u64, u32, Vec<(SourceKey, Ranges)>)> {
        let head = self.seek(state, id).filter(|head| head.id == id)?;
        let reader = self.reader.as_ref()?;
        let whole = segment::check(&reader.file, reader.at, &head, &mut self.scratch);
        let claims = head.claims(&self.scratch).filter(|_| whole)?;
        Some((id, head.lines, claims))
    }

    /// Deletes the segments of which every frame is retired. The state that says so must be durable.
    pub(super) fn sweep(&mut self, state: &State) {
        let active = self.active.as_ref().map(|active| active.first);
        let done = |(first, segment): (&u64, &Segment)| {
            let used = segment.end > *first || active != Some(*first);
            (used && state.retired.covers(Range::new(*first, segment.end))).then_some(*first)
        };
        let done: Vec<_> = self.segments.iter().filter_map(done).collect();
        for first in done {
            let Some(segment) = self.segments.get(&first) else { continue };
            let (keep, lines, path) = (segment.keep, segment.lines, path(&self.dir, first));
            let gone = if keep { self.quarantine.take(&path, &name(first)) } else { fault::remove_file(&path) };
            if let Err(error) = gone.or_else(|e| if e.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(e) }) {
                tracing::warn!(segment = name(first), %error, "a spool segment cannot be deleted");
                continue;
            }
            self.give_up(first, lines);
            self.totals.bytes -= self.segments.remove(&first).map_or(0, |segment| segment.len);
            if active == Some(first) {
                self.active = None;
            }
            if self.reader.as_ref().is_some_and(|reader| reader.first == first) {
                self.reader = None;
            }
        }
    }

    /// Gives back what memory it can: nothing is coming for a while.
    pub(super) fn rest(&mut self) {
        self.codec.rest();
        self.scratch = Vec::new();
    }
}

fn drop_lines(metrics: &Metrics, lines: u64) {
    if lines > 0 {
        metrics.lines_dropped.with_label_values(&["spool_corrupt"]).inc_by(lines);
        metrics.lines_pending.with_label_values(&["spool"]).sub(lines as i64);
    }
}

/// First ids of the segments in a directory, sorted.
pub(super) fn list(dir: &Path) -> Vec<u64> {
    let first =
        |name: String| name.strip_suffix(".seg").filter(|stem| stem.len() == 20).and_then(|stem| stem.parse().ok());
    disk::names(dir).into_iter().filter_map(first).collect()
}

/// Name of the segment file whose first frame has this id.
pub(super) fn name(first: u64) -> String {
    format!("{first:020}.seg")
}

fn path(dir: &Path, first: u64) -> PathBuf {
    dir.join(name(first))
}

fn create(dir: &Path, first: u64) -> io::Result<File> {
    let file = fault::open(disk::private().create_new(true), &path(dir, first))?;
    fault::sync_dir(dir)?;
    Ok(file)
}
