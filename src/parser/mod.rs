//! From chunks of Docker's log to NDJSON records.
//!
//! ```text
//! Chunk ─▶ envelope ─▶ unescape ─▶ join ─▶ multiline ─▶ universal ─▶ formats ─▶ encode ─▶ Records
//!          log, stream,  text       parts   lines that   which one    draft,     one line
//!          time                             belong together           fields     of NDJSON
//! ```
//!
//! Invariants
//! - Parsing never fails. What is not understood is sent as it is, with the reason, and counted.
//! - Every line of a chunk is in exactly one of: the cover of a record, or what it carries (and in `Records::lines`); held by a
//!   join or by a group of lines that belong together ([`Parser::held_lines`]); or counted as dropped (blank, or behind the
//!   end of a message that was cut), in which case its range goes into the next record's cover; of blank lines that end a
//!   generation, nowhere.
//! - What is kept from line to line is kept for a container, not for one generation of its log: a message may be split by a
//!   rotation.
//! - Text is valid UTF-8 from the envelope on, so records are.
//! - The steady state allocates nothing: a line's memory is the parser's, and kept. A line that is held back for others is
//!   copied, which takes about four allocations.
//!
//! It does no I/O and knows no tokio. The present is asked for only where Docker's time of a line is missing; when a group is
//! over though nothing has come, it says ([`Parser::due`]), and is told.

mod ansi;
mod app_time;
#[doc(hidden)]
pub mod bench_support;
mod counts;
mod encode;
mod envelope;
mod fields;
pub mod formats;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz_support;
mod join;
mod json;
pub mod labels;
mod level;
pub mod look;
mod multiline;
pub mod process;
mod quoted;
mod records;
mod release;
mod scan;
mod simd;
mod state;
#[cfg(test)]
mod tests;
mod time;
mod unescape;
mod universal;
mod work;
mod write;

pub use level::Level;
pub use records::{Bounds, Progress, Records};

use crate::buffer::{Chunk, Gap, Offsets};
use crate::metrics::Metrics;
use crate::position::Range;
use crate::source::{Container, Source};
use bytes::Buf;
use counts::Counts;
use formats::{Format, Scratch};
use join::Held;
use look::Note;
use multiline::Rule;
use state::{Silent, State, StreamState};
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use time::Clock;
use work::{Origin, Work};

/// What a person can set.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `RASK_FORMAT`; `None` is automatic.
    pub format: Option<Format>,
    /// `SERVICE_PARSER_MAPPINGS`: service name to format. Goes before `format`; a container's label goes before both.
    pub mappings: Vec<(String, Format)>,
    /// `MAX_LINE_BYTES`: longest message in bytes of text.
    pub max_line_bytes: usize,
    /// What is done with records before they are sent.
    pub process: process::Rules,
}

/// Automatic, with nothing done to the records.
impl Default for Settings {
    fn default() -> Self {
        let max_line_bytes = crate::limits::MAX_LINE_BYTES;
        Self { format: None, mappings: Vec::new(), max_line_bytes, process: process::Rules::default() }
    }
}

/// Turns lines into records, keeping what has to be kept from one line of a source to the next.
#[derive(Debug)]
pub struct Parser {
    settings: Settings,
    containers: Vec<State>,
    work: Work,
    processing: process::Processing,
    /// Containers whose label was complained of.
    warned: HashSet<String>,
}

impl Parser {
    /// A parser that has seen nothing.
    pub fn new(mut settings: Settings, metrics: &Metrics) -> Self {
        let processing = process::Processing::new(std::mem::take(&mut settings.process), metrics);
        let work = Work {
            max_line_bytes: settings.max_line_bytes.max(1),
            text: unescape::Buffer::default(),
            scratch: Scratch::default(),
            counts: Counts::new(metrics),
        };
        Self { settings, containers: Vec::new(), work, processing, warned: HashSet::new() }
    }

    /// Consumes lines from the front of `chunk` and appends their records to `out`, until the chunk is done or `out` is full.
    /// What is left in the chunk is what has not been consumed. (Ranges that are given line by line belong to the last
    /// `chunk.lines` of them.)
    pub fn chunk(&mut self, chunk: &mut Chunk, out: &mut Records, bounds: Bounds) -> Progress {
        debug_assert!(out.source == chunk.source, "records of one source only");
        let at = self.index(&chunk.source);
        let Self { containers, work, .. } = self;
        let state = &mut containers[at];
        state.turn_to(&chunk.source);
        if !state.gaps.is_empty() {
            work.gaps_end(state, &chunk.data, out);
        }
        let (mut taken, mut lines) = (0, 0);
        let progress = loop {
            let rest = &chunk.data[taken..];
            if rest.is_empty() {
                break Progress::Done;
            }
            if out.is_full(bounds) {
                break Progress::Full;
            }
            let (line, len) = match memchr::memchr(b'\n', rest) {
                Some(end) => (&rest[..end], end + 1),
                None => (rest, rest.len()),
            };
            // What it ends is written first, and may be the last record that fits.
            if state.has_groups() && work.settle(state, line, out) {
                continue;
            }
            let range = range_of(chunk, taken, len, lines);
            work.line(state, line, &rest[len..], range, chunk.read_at, out);
            taken += len;
            lines += 1;
        };
        if out.is_empty() {
            out.settle(chunk.source.generation, state.silent.ranges.as_slice());
        }
        chunk.data.advance(taken);
        chunk.lines = chunk.lines.saturating_sub(lines);
        if let Offsets::File(start) = &mut chunk.offsets {
            *start += taken as u64;
        }
        work.counts.flush();
        progress
    }

    /// Docker's time of the last line of the container of `source`, since the epoch.
    pub fn last_time(&self, source: &Source) -> Option<Duration> {
        let stamp = self.containers[self.find(&source.container)?].clock.known()?;
        Some(time::since_epoch(stamp))
    }

    /// Nothing more comes of this generation. Blank lines behind its last record are in no cover.
    pub fn end(&mut self, source: &Source) {
        if let Some(at) = self.find(&source.container) {
            let state = &mut self.containers[at];
            state.silent.end(state.source.generation);
        }
    }

    /// A gap, to be reported before the next line of the container.
    pub fn gap(&mut self, mut gap: Gap) {
        let at = self.index(&gap.source);
        let state = &mut self.containers[at];
        let known = state.clock.known().map(|stamp| String::from_utf8_lossy(stamp).into_owned());
        gap.from = gap.from.or(known);
        state.gaps.push_back(gap);
        for stream in &mut state.streams {
            stream.held.take_if(|held| held.spent);
        }
    }

    /// Nothing more comes of this container. [Release](Self::release) first what waits.
    pub fn forget(&mut self, container: &Container) {
        if let Some(at) = self.find(container) {
            self.containers.swap_remove(at);
        }
    }

    /// Takes a note of each message from now on.
    pub fn take_notes(&mut self) {
        self.work.counts.notes = Some(Vec::new());
    }

    /// The notes since the last call.
    pub fn notes(&mut self) -> Vec<Note> {
        self.work.counts.notes.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Lines held back by joins and groups at the moment, over all containers.
    pub fn held_lines(&self) -> usize {
        let streams = self.containers.iter().flat_map(|state| &state.streams);
        let of = |stream: &StreamState| stream.held.as_ref().map_or(0, Held::waiting) + stream.groups.lines();
        streams.map(of).sum()
    }

    #[inline]
    fn find(&self, container: &Container) -> Option<usize> {
        let same = |state: &State| std::ptr::eq(&*state.source.container, container);
        let equal = |state: &State| state.source.container.id == container.id;
        self.containers.iter().position(same).or_else(|| self.containers.iter().position(equal))
    }

    fn index(&mut self, source: &Arc<Source>) -> usize {
        if let Some(at) = self.find(&source.container) {
            return at;
        }
        let state = State {
            source: source.clone(),
            identity: encode::identity(&source.container),
            explicit: self.explicit(source),
            rule: self.rule(&source.container),
            process: self.processing.of(&source.container),
            clock: Clock::new(),
            silent: Silent::default(),
            streams: Default::default(),
            earlier: None,
            gaps: VecDeque::new(),
        };
        self.containers.push(state);
        self.containers.len() - 1
    }

    /// The format that somebody asked for: who is nearer to the service goes first.
    fn explicit(&mut self, source: &Source) -> Option<Format> {
        let container = &source.container;
        match container.format.as_deref() {
            None | Some("") => {}
            Some("auto") => return None,
            Some(label) => match Format::from_name(label) {
                Some(format) => return Some(format),
                None => self.warn_of_label(container, label),
            },
        }
        let mapped = self.settings.mappings.iter().find(|(service, _)| *service == container.service);
        mapped.map(|(_, format)| *format).or(self.settings.format)
    }

    /// How its lines are put together.
    fn rule(&mut self, container: &Container) -> Rule {
        let Some(label) = container.multiline.as_deref() else { return Rule::Known };
        Rule::of_label(label).unwrap_or_else(|error| {
            if self.warned.insert(container.id.clone()) {
                tracing::warn!(
                    container = container.name,
                    %error,
                    "the label rask.multiline is neither `auto`, `off` nor a regular expression; left aside"
                );
            }
            Rule::Known
        })
    }

    fn warn_of_label(&mut self, container: &Container, label: &str) {
        if self.warned.insert(container.id.clone()) {
            let known = Format::NAMES.join(", ");
            tracing::warn!(
                container = container.name,
                label,
                known,
                "the label rask.format names no format; left aside"
            );
        }
    }
}

/// Where the line of `len` bytes at `taken` stands, `lines` lines behind the front.
#[inline]
fn range_of(chunk: &Chunk, taken: usize, len: usize, lines: u32) -> Range {
    match &chunk.offsets {
        Offsets::File(start) => {
            let start = start + taken as u64;
            Range { start, end: start + len as u64 }
        }
        Offsets::Each(ranges) => {
            let first = ranges.len().saturating_sub(chunk.lines as usize);
            let range = ranges.get(first + lines as usize).copied();
            debug_assert!(range.is_some(), "a range for each line");
            range.unwrap_or(Range { start: 0, end: 0 })
        }
    }
}
