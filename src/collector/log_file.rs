//! One open generation of a container's log: where it is read to, and what one more read gives.
//!
//! It does not know the other generations, and sends nothing.

use super::input::{FileId, Input};
use super::lines::{Lines, Piece};
use super::watch::Watch;
use crate::limits::READ_PATIENCE;
use crate::metrics::Metrics;
use crate::position::{Generation, Ranges};
use crate::source::Source;
use std::borrow::Cow;
use std::io;
use std::sync::Arc;
use std::time::Instant;

/// Lines that are gone: what is known of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Why, for a person.
    pub reason: Cow<'static, str>,
    /// How many bytes, if known.
    pub bytes: Option<u64>,
    /// Time of the last of them, if known.
    pub to: Option<String>,
    /// The next process finds it out for itself.
    pub found_again: bool,
}

impl Loss {
    /// Nothing is known but the reason.
    pub fn new(reason: impl Into<Cow<'static, str>>) -> Self {
        Self { reason: reason.into(), bytes: None, to: None, found_again: false }
    }

    /// Two losses at one place, the older first, become one. The bytes are then those that are known, at least.
    pub fn join(older: Option<Self>, newer: Self) -> Self {
        let Some(older) = older else { return newer };
        let reason = match older.reason.contains(&*newer.reason) {
            true => older.reason,
            false => format!("{}; {}", older.reason, newer.reason).into(),
        };
        let bytes = match (older.bytes, newer.bytes) {
            (Some(older), Some(newer)) => Some(older + newer),
            (known, None) | (None, known) => known,
        };
        Self { reason, bytes, to: newer.to.or(older.to), found_again: older.found_again && newer.found_again }
    }
}

/// One open generation.
#[derive(Debug)]
pub struct Log {
    pub(super) input: Input,
    /// `None` when the inode belongs to another generation by now (the file was truncated).
    pub(super) id: Option<FileId>,
    /// Nobody writes to it any more: read to its end, it is over.
    pub(super) rotated: bool,
    /// Whose lines; `None` until the first line is complete.
    pub(super) source: Option<Arc<Source>>,
    pub(super) lines: Lines,
    /// What is not to be handed out again; emptied once it is passed.
    pub(super) delivered: Ranges,
    /// To be reported before its next line.
    pub(super) gap: Option<Loss>,
    /// The same, unless it turns out before that to be none.
    pub(super) doubt: Option<Loss>,
    /// It was found, and the events of the directory have still to say whether something was missed before it.
    pub(super) uncertain: bool,
    /// Something newer was delivered before this process began: what is missing of it was delivered, too, or reported.
    pub(super) superseded: bool,
    /// Something of it has been handed out, so that its end must be said.
    begun: bool,
    /// Where to stop reading: the size when the order to stop came.
    pub(super) stop_at: Option<u64>,
    /// Wakes when something is written; only while it is not rotated.
    pub(super) watch: Option<Watch>,
    /// The last read met the end of the file as it was then.
    at_end: bool,
    lag: i64,
    /// Largest size that was seen.
    size: u64,
    /// What it takes on disk, once it has no name.
    unlinked: Option<i64>,
    /// Since when reading it fails.
    failing: Option<Instant>,
    metrics: Metrics,
}

/// What reading a generation on led to.
#[derive(Debug)]
pub enum Step {
    /// Lines, some of which may have been delivered already: [`Log::delivered`].
    Lines(Piece),
    /// Nothing to hand out yet; read on.
    More,
    /// The end, for now or, when [`Log::is_rotated`], for good.
    End,
    /// The file has become shorter than what was read of it.
    Truncated,
}

impl Log {
    /// Nothing is read yet. The gauges count it until it is dropped.
    pub fn new(input: Input, id: FileId, rotated: bool, metrics: &Metrics) -> Self {
        metrics.open_files.inc();
        Self {
            input,
            id: Some(id),
            rotated,
            source: None,
            lines: Lines::default(),
            delivered: Ranges::default(),
            gap: None,
            doubt: None,
            uncertain: false,
            superseded: false,
            begun: false,
            stop_at: None,
            watch: None,
            at_end: false,
            lag: 0,
            size: 0,
            unlinked: None,
            failing: None,
            metrics: metrics.clone(),
        }
    }

    /// Whose lines they are; `None` while the first line is not complete.
    pub fn source(&self) -> Option<&Arc<Source>> {
        self.source.as_ref()
    }

    /// Notes that something of it is handed out.
    pub fn begin(&mut self) {
        self.begun = true;
    }

    /// Whose end must be said, if anything has been handed out.
    pub fn begun_source(&self) -> Option<&Arc<Source>> {
        self.source.as_ref().filter(|_| self.begun)
    }

    /// Whether nobody writes to it any more.
    pub fn is_rotated(&self) -> bool {
        self.rotated
    }

    /// Whether `error`, which reading it has just met, is for good: an archive is damaged, or nobody writes to the file any
    /// more and it has failed for long enough. Any other may pass.
    pub fn has_failed(&mut self, error: &io::Error) -> bool {
        let since = *self.failing.get_or_insert_with(Instant::now);
        let damaged = matches!(self.input, Input::Gzip(_)) && is_damage(error);
        damaged || (self.rotated && since.elapsed() >= READ_PATIENCE)
    }

    /// Bytes that are lost when it is given up now because of `error`, and the time of the last line among them.
    pub fn loss(&self, reason: &'static str, error: &io::Error) -> Loss {
        let read = self.lines.end();
        match &self.input {
            Input::Gzip(gzip) => {
                Loss { bytes: gzip.lost_behind(read, error), to: gzip.last_time(), ..Loss::new(reason) }
            }
            _ => Loss { bytes: self.unread(), ..Loss::new(reason) },
        }
    }

    /// Bytes that were in the file and have not been read, as far as is known: none is not known.
    pub fn unread(&self) -> Option<u64> {
        let size = self.input.size().ok().flatten().unwrap_or(0).max(self.size);
        Some(size.saturating_sub(self.lines.end())).filter(|bytes| *bytes > 0)
    }

    /// Notes a loss to be reported before its next line.
    pub fn lose(&mut self, loss: Loss) {
        self.gap = Some(Loss::join(self.gap.take(), loss));
    }

    /// Lines not to be handed out again.
    pub fn delivered(&self) -> &Ranges {
        &self.delivered
    }

    /// What was doubtful so far is a gap.
    pub(super) fn believe(&mut self) {
        if let Some(doubt) = self.doubt.take() {
            self.lose(doubt);
        }
    }

    /// The gap to be reported before the next line; once.
    pub fn take_gap(&mut self) -> Option<Loss> {
        self.believe();
        self.gap.take()
    }

    /// The unfinished last line.
    pub fn take_rest(&mut self) -> Option<Piece> {
        self.lines.take_rest()
    }

    /// Nobody writes to it any more.
    pub fn rotate(&mut self) {
        self.rotated = true;
        self.watch = None;
    }

    /// Goes on in another file with the same lines.
    pub(super) fn read_on_in(&mut self, input: Input, id: FileId) {
        (self.input, self.id) = (input, Some(id));
    }

    /// Gives up the file: what is not read yet is no more, and the next step is its end.
    pub fn give_up(&mut self) {
        self.input = Input::Gone;
        self.set_lag(0);
        self.set_unlinked(None);
        self.rotate();
    }

    /// Whether there was more in it than could be read.
    pub fn is_given_up(&self) -> bool {
        matches!(self.input, Input::Gone)
    }

    /// Whether more may be read at once: the last read did not meet the end.
    pub fn has_more(&self) -> bool {
        !self.at_end
    }

    /// One read at most.
    ///
    /// # Errors
    /// Those of reading and of inflating.
    pub fn step(&mut self) -> io::Result<Step> {
        if let Some(piece) = self.lines.take() {
            return Ok(Step::Lines(piece));
        }
        // A rotated file is read until a read gives nothing: between the short read and the rotation it may have grown.
        if std::mem::take(&mut self.at_end) && !self.rotated {
            return Ok(Step::End);
        }
        let at = self.lines.end();
        if self.stop_at.is_some_and(|stop| stop <= at) {
            return Ok(Step::End);
        }
        let size = self.input.size()?;
        self.size = self.size.max(size.unwrap_or(0));
        if size.is_some_and(|size| size < at) && !self.rotated {
            return Ok(Step::Truncated);
        }
        if !self.delivered.is_empty() && self.lines.start() >= self.delivered.end() {
            self.delivered = Ranges::default();
        }
        let space = self.lines.space();
        let room = space.capacity() - space.len();
        let Some(n) = self.input.read_at(at, space)? else {
            return Ok(Step::More);
        };
        self.failing = None;
        self.set_lag(size.map_or(0, |size| size.saturating_sub(at + n as u64)));
        if n == 0 {
            return Ok(Step::End);
        }
        self.at_end = n < room && size.is_some();
        Ok(self.lines.take().map_or(Step::More, Step::Lines))
    }

    /// Measures how many bytes are waiting in the file (of an archive that is not known), and whether it still has a name.
    pub fn measure(&mut self) {
        if let Ok(Some(size)) = self.input.size() {
            self.size = self.size.max(size);
            self.set_lag(size.saturating_sub(self.lines.end()));
        }
        if let Ok(bytes) = self.input.unlinked_bytes() {
            self.set_unlinked(bytes.map(gauge_of));
        }
    }

    /// Whether it had no name any more when it was last measured.
    pub fn is_unlinked(&self) -> bool {
        self.unlinked.is_some()
    }

    fn set_lag(&mut self, bytes: u64) {
        let lag = gauge_of(bytes);
        self.metrics.lag_bytes.add(lag - self.lag);
        self.lag = lag;
    }

    fn set_unlinked(&mut self, bytes: Option<i64>) {
        let before = std::mem::replace(&mut self.unlinked, bytes);
        self.metrics.unlinked_files.add(i64::from(bytes.is_some()) - i64::from(before.is_some()));
        self.metrics.unlinked_bytes.add(bytes.unwrap_or(0) - before.unwrap_or(0));
    }

    pub(super) fn generation(&self) -> Option<Generation> {
        self.source.as_ref().map(|source| source.generation)
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.set_lag(0);
        self.set_unlinked(None);
        self.metrics.open_files.dec();
    }
}

fn gauge_of(bytes: u64) -> i64 {
    bytes.min(i64::MAX as u64) as i64
}

/// Whether an error says that an archive is no archive, or not a whole one.
pub fn is_damage(error: &io::Error) -> bool {
    use io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
    matches!(error.kind(), InvalidData | InvalidInput | UnexpectedEof)
}
