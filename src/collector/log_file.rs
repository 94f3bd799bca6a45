//! One open generation of a container's log: where it is read to, and what one more read gives.
//!
//! It does not know the other generations, and sends nothing.

use super::input::{FileId, Input};
use super::lines::{Lines, Piece};
use super::watch::Watch;
use crate::metrics::Metrics;
use crate::position::{Generation, Ranges};
use crate::source::Source;
use prometheus::IntGauge;
use std::io;
use std::sync::Arc;

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
    pub(super) gap: Option<&'static str>,
    /// Something of it has been handed out, so that its end must be said.
    begun: bool,
    /// Where to stop reading: the size when the order to stop came.
    pub(super) stop_at: Option<u64>,
    /// Wakes when something is written; only while it is not rotated.
    pub(super) watch: Option<Watch>,
    /// The last read met the end of the file as it was then.
    at_end: bool,
    lag: i64,
    lag_bytes: IntGauge,
    open_files: IntGauge,
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
            begun: false,
            stop_at: None,
            watch: None,
            at_end: false,
            lag: 0,
            lag_bytes: metrics.lag_bytes.clone(),
            open_files: metrics.open_files.clone(),
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

    /// Whether it is a compressed archive.
    pub fn is_archive(&self) -> bool {
        matches!(self.input, Input::Gzip(_))
    }

    /// Lines not to be handed out again.
    pub fn delivered(&self) -> &Ranges {
        &self.delivered
    }

    /// The gap to be reported before the next line; once.
    pub fn take_gap(&mut self) -> Option<&'static str> {
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

    /// Gives up the file: what is not read yet is no more, and the next step is its end.
    pub fn give_up(&mut self) {
        self.input = Input::Gone;
        self.set_lag(0);
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
        self.set_lag(size.map_or(0, |size| size.saturating_sub(at + n as u64)));
        if n == 0 {
            return Ok(Step::End);
        }
        self.at_end = n < room && size.is_some();
        Ok(self.lines.take().map_or(Step::More, Step::Lines))
    }

    /// Measures how many bytes are waiting in the file; of an archive that is not known.
    pub fn measure_lag(&mut self) {
        if let Ok(Some(size)) = self.input.size() {
            self.set_lag(size.saturating_sub(self.lines.end()));
        }
    }

    fn set_lag(&mut self, bytes: u64) {
        let lag = bytes.min(i64::MAX as u64) as i64;
        self.lag_bytes.add(lag - self.lag);
        self.lag = lag;
    }

    pub(super) fn generation(&self) -> Option<Generation> {
        self.source.as_ref().map(|source| source.generation)
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.set_lag(0);
        self.open_files.dec();
    }
}
