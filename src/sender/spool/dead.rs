//! Dead letters: records that the receiver refuses for good, with its answer, for a person to look at and send again.
//!
//! They stand in `dead/dead-letters.ndjson`, appended durably. To be sent again the file is renamed to `dead/draining.ndjson`;
//! its letters are taken from there slice by slice, marked when they are durable in the spool, and the file goes when none is
//! left. Marking needs no space, so that a full disk cannot come between. What a crash leaves is a draining file.

use super::letters::{Letter, Line, Lines, MOVED, Seen};
use super::state::State;
use super::{AppendError, DeadLetter, disk, fault};
use crate::source::SourceKey;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Where letters are, below the state directory.
pub(super) const FILE: &str = "dead/dead-letters.ndjson";
/// Letters on their way back into the spool.
pub(super) const DRAINING: &str = "dead/draining.ndjson";
/// Bytes of an answer that are kept.
const ANSWER_BYTES: usize = 2048;
/// What is taken at a time, so that batches need not wait for long.
const SLICE_LETTERS: usize = 64;
const SLICE_BYTES: usize = 1 << 20;
/// How much older than the newest position a letter may be whose own is not on disk: clocks are set back.
const FRESH_MS: u64 = 60_000;

/// What has become of the letters of a drain.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
pub struct Moved {
    /// Letters that are in the spool now.
    pub letters: u64,
    /// Lines of theirs.
    pub lines: u64,
    /// Letters that are still dead.
    pub left: u64,
    /// Lines of the file that are no letters; they are in quarantine when nothing is left.
    pub damaged: u64,
    /// Why some are left.
    pub stopped: Option<String>,
}

/// A drain under way.
struct Moving {
    lines: Lines,
    moved: Moved,
    /// Lines of this file that are no letters.
    damaged: u64,
    /// It is what an earlier drain had left.
    leftover: bool,
    /// The other file is to follow.
    follow: bool,
}

/// Both files, opened when they are first needed.
pub(super) struct DeadLetters {
    dir: PathBuf,
    quarantine: disk::Quarantine,
    file: Option<File>,
    max_bytes: u64,
    len: u64,
    draining_len: u64,
    moving: Option<Moving>,
}

impl DeadLetters {
    /// Looks at what is there.
    pub(super) fn open(dir: &Path, quarantine: disk::Quarantine, max_bytes: u64) -> Self {
        let len = |name| fs::metadata(dir.join(name)).map_or(0, |meta| meta.len());
        let (len, draining_len) = (len(FILE), len(DRAINING));
        Self { dir: dir.into(), quarantine, file: None, max_bytes, len, draining_len, moving: None }
    }

    /// The directory is a new one: looks again at what is there.
    pub(super) fn start_anew(&mut self) {
        let quarantine = disk::Quarantine(self.quarantine.0.clone());
        *self = Self::open(&self.dir.clone(), quarantine, self.max_bytes);
    }

    /// Bytes of both files.
    pub(super) fn bytes(&self) -> u64 {
        self.len + self.draining_len
    }

    /// Appends one, durably.
    ///
    /// # Errors
    /// `Full` beyond the bound or `budget`.
    pub(super) fn append(&mut self, letter: &DeadLetter, budget: u64) -> Result<(), AppendError> {
        let line = Line {
            time_ms: disk::now_ms(),
            status: letter.status,
            answer: letter.answer[..letter.answer.floor_char_boundary(ANSWER_BYTES)].to_owned(),
            container: letter.key.container.clone(),
            generation: letter.key.generation.to_string(),
            cover: letter.cover.to_string(),
            carried: letter.carried.iter().map(|(of, cover)| (of.to_string(), cover.to_string())).collect(),
            lines: letter.lines,
            record: String::from_utf8_lossy(&letter.record).trim_end_matches('\n').to_owned(),
        };
        let mut bytes = serde_json::to_vec(&line).map_err(io::Error::from)?;
        bytes.push(b'\n');
        let len = bytes.len() as u64;
        if self.bytes() + len > self.max_bytes || len > budget {
            return Err(AppendError::Full);
        }
        // Somebody may have edited it, in place or as a new file under its name.
        let is_ours = |file: &File| {
            let (held, named) = (file.metadata(), fs::metadata(self.dir.join(FILE)));
            let id = |meta: fs::Metadata| (meta.dev(), meta.ino(), meta.len());
            matches!((held.map(id), named.map(id)), (Ok(held), Ok(named)) if held == named && held.2 == self.len)
        };
        let file = match self.file.take_if(|file| !is_ours(file)) {
            Some(_) => None,
            None => self.file.as_ref(),
        };
        let file = match file {
            Some(file) => file,
            None => {
                let file = self.prepare()?;
                self.file.insert(file)
            }
        };
        if let Err(error) = fault::write_all_at(file, &bytes, self.len).and_then(|()| fault::sync_data(file)) {
            let cut = fault::set_len(file, self.len);
            if cut.is_err() {
                self.file = None;
            }
            return Err(error.into());
        }
        self.len += len;
        Ok(())
    }

    /// Opens the file and ends a line that a crash has torn.
    fn prepare(&mut self) -> io::Result<File> {
        let path = self.dir.join(FILE);
        let parent = self.dir.join("dead");
        disk::create_dir(&parent)?;
        let file = fault::open(disk::private().create(true).truncate(false), &path)?;
        fault::sync_dir(&parent)?;
        fault::sync_dir(&self.dir)?;
        self.len = file.metadata()?.len();
        let mut last = [b'\n'];
        if self.len > 0 {
            file.read_exact_at(&mut last, self.len - 1)?;
        }
        if last != [b'\n'] {
            fault::write_all_at(&file, b"\n", self.len)?;
            self.len += 1;
        }
        Ok(file)
    }

    /// Whether an earlier drain has left something.
    pub(super) fn has_leftover(&self) -> bool {
        self.moving.is_none() && self.dir.join(DRAINING).exists()
    }

    /// Whether a drain is under way.
    pub(super) fn is_moving(&self) -> bool {
        self.moving.is_some()
    }

    /// Begins a drain of what an earlier one has left, and, if `all`, of the other letters behind it. One that is under way goes
    /// on. `false` when there is nothing.
    ///
    /// # Errors
    /// When a file cannot be renamed or opened; nothing has changed then.
    pub(super) fn begin(&mut self, all: bool) -> io::Result<bool> {
        if let Some(moving) = &mut self.moving {
            moving.follow |= all && moving.leftover;
            return Ok(true);
        }
        let leftover = self.has_leftover();
        if !leftover && !all {
            return Ok(false);
        }
        let Some(moving) = self.enter(leftover)? else { return Ok(false) };
        moving.follow = all && leftover;
        Ok(true)
    }

    fn enter(&mut self, leftover: bool) -> io::Result<Option<&mut Moving>> {
        let draining = self.dir.join(DRAINING);
        if !leftover {
            match fault::rename(&self.dir.join(FILE), &draining) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
                other => other?,
            }
            self.file = None;
            (self.draining_len, self.len) = (self.len, 0);
            fault::sync_dir(&self.dir.join("dead"))?;
        }
        let lines = Lines::new(disk::private().open(draining)?);
        Ok(Some(self.moving.insert(Moving { lines, moved: Moved::default(), damaged: 0, leftover, follow: false })))
    }

    /// The next letters with their places; empty at the end.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(super) fn slice(&mut self) -> io::Result<Vec<(u64, Letter)>> {
        let (mut slice, mut bytes) = (Vec::new(), 0);
        let Some(moving) = &mut self.moving else { return Ok(slice) };
        while slice.len() < SLICE_LETTERS && bytes < SLICE_BYTES {
            match moving.lines.next()? {
                None => break,
                Some((_, Seen::Moved)) => {}
                Some((_, Seen::Damaged)) => moving.damaged += 1,
                Some((at, Seen::Letter(letter))) => {
                    bytes += letter.record.len();
                    slice.push((at, *letter));
                }
            }
        }
        Ok(slice)
    }

    /// Marks a letter that is durable in the spool: its place and lines.
    ///
    /// # Errors
    /// When that cannot be written: it is still a letter.
    pub(super) fn mark(&mut self, at: u64, lines: u32) -> io::Result<()> {
        let Some(moving) = &mut self.moving else { return Ok(()) };
        fault::write_all_at(moving.lines.file(), &[MOVED], at)?;
        moving.moved.letters += 1;
        moving.moved.lines += u64::from(lines);
        Ok(())
    }

    /// Makes the marks durable.
    ///
    /// # Errors
    /// When they are not: after a loss of power the letters would be sent once more.
    pub(super) fn settle(&self) -> io::Result<()> {
        self.moving.as_ref().map_or(Ok(()), |moving| fault::sync_data(moving.lines.file()))
    }

    /// Ends the file whose letters have all been taken. `true` when the other file has taken its place.
    ///
    /// # Errors
    /// When it cannot be deleted or moved away.
    pub(super) fn finish_file(&mut self) -> io::Result<bool> {
        let Some(moving) = &mut self.moving else { return Ok(false) };
        let draining = self.dir.join(DRAINING);
        if moving.damaged > 0 {
            self.quarantine.take(&draining, "dead-letters.ndjson")?;
            tracing::error!(lines = moving.damaged, "dead letters are torn or damaged; their file is in quarantine/");
        } else {
            fault::remove_file(&draining)?;
            fault::sync_dir(&self.dir.join("dead"))?;
        }
        self.draining_len = 0;
        moving.moved.damaged += std::mem::take(&mut moving.damaged);
        if !std::mem::take(&mut moving.follow) {
            return Ok(false);
        }
        let moved = moving.moved.clone();
        let next = self.enter(false)?;
        Ok(next.map(|next| next.moved = moved).is_some())
    }

    /// Ends the drain. What could not be moved stays where the next one finds it.
    pub(super) fn end(&mut self, stopped: Option<AppendError>) -> Moved {
        let mut moved = self.moving.take().map(|moving| moving.moved).unwrap_or_default();
        if stopped.is_some() {
            moved.left = [DRAINING, FILE].iter().map(|name| count(&self.dir.join(name))).sum();
        }
        moved.stopped = stopped.map(|why| why.to_string());
        moved
    }
}

/// Takes the lines of new letters as settled: a process that was killed may have written a letter and not its position. Old ones are
/// left alone: of a generation that was forgotten nothing must be known again.
///
/// # Errors
/// When a file cannot be read, or not be synced: what a killed process wrote may stand in the page cache only.
pub(super) fn settle_fresh(dir: &Path, state: &mut State) -> io::Result<()> {
    let Some(newest) = state.positions.values().map(|entry| entry.updated_ms).max() else { return Ok(()) };
    let since = newest.saturating_sub(FRESH_MS);
    for name in [DRAINING, FILE] {
        let file = match File::open(dir.join(name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other?,
        };
        if disk::millis(file.metadata()?.modified()?) < since {
            continue;
        }
        fault::sync_data(&file)?;
        let mut lines = Lines::new(file);
        while let Some((_, seen)) = lines.next()? {
            if let Seen::Letter(letter) = seen
                && letter.time_ms >= since
            {
                let Letter { key, cover, carried, time_ms, .. } = *letter;
                for (generation, ranges) in carried.into_iter().chain([(key.generation, cover)]) {
                    state.add(&SourceKey { container: key.container.clone(), generation }, &ranges, time_ms);
                }
            }
        }
    }
    Ok(())
}

/// Letters in a file that are not in the spool again.
fn count(path: &Path) -> u64 {
    let Ok(file) = File::open(path) else { return 0 };
    let (mut lines, mut letters) = (Lines::new(file), 0);
    while let Ok(Some((_, seen))) = lines.next() {
        letters += u64::from(matches!(seen, Seen::Letter(_)));
    }
    letters
}
