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
mod scan;
mod simd;
#[cfg(test)]
mod tests;
mod time;
mod unescape;
mod universal;

pub use level::Level;
pub use records::{Bounds, Progress, Records};

use crate::buffer::{Chunk, Gap, Offsets};
use crate::metrics::Metrics;
use crate::position::{Carried, Generation, Range, Ranges};
use crate::source::{Container, Source};
use bytes::Buf;
use encode::{Draft, Str};
use envelope::{Entry, Line, Stream};
use formats::{Format, Scratch};
use join::Held;
use look::Note;
use multiline::{Group, Groups, Kind, Message, Rule};
use prometheus::IntCounter;
use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};
use time::{Clock, Stamp};
use universal::Read;

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

/// What is kept of a container.
#[derive(Debug)]
struct State {
    /// The generation that the last lines were of.
    source: Arc<Source>,
    /// Members that are the same in all its records.
    identity: Vec<u8>,
    explicit: Option<Format>,
    rule: Rule,
    process: Option<Box<process::Process>>,
    clock: Clock,
    silent: Silent,
    streams: [StreamState; 2],
    /// The stream whose first group is to be released before the next chunk.
    earlier: Option<Stream>,
    /// To be reported before the next line, whose time says when they end.
    gaps: VecDeque<Gap>,
}

/// Lines that make no record, for the cover of the next one.
#[derive(Debug, Default)]
struct Silent {
    /// Those of the generation that the last lines were of.
    ranges: Ranges,
    /// Of these, parts behind the end of a message that was cut. Read again after a restart they would look like another message.
    cut: Ranges,
    /// Such parts of earlier generations.
    carried: Carried,
}

/// What is kept of one of the two streams.
#[derive(Debug, Default)]
struct StreamState {
    sticky: Option<Format>,
    held: Option<Held>,
    groups: Groups,
}

/// Memory and counters that all sources share.
#[derive(Debug)]
struct Work {
    max_line_bytes: usize,
    text: unescape::Buffer,
    scratch: Scratch,
    counts: Counts,
}

/// Where a message comes from.
#[derive(Clone, Copy, Debug)]
struct Origin<'a> {
    ranges: &'a [Range],
    lines: u32,
    time: &'a Stamp,
    stream: Stream,
    read_at: Instant,
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

    /// Something of the container waits for lines: of which source its record will be. Messages first, which may go on with a
    /// group, then groups, then gaps.
    pub fn waiting(&self, container: &Container) -> Option<Arc<Source>> {
        let state = &self.containers[self.find(container)?];
        let held = state.streams.iter().filter_map(|stream| stream.held.as_ref()).find(|held| !held.spent);
        let waiting = held.map(|held| &held.source).or(state.first_group().map(|(_, group)| group.source()));
        waiting.or(state.suppressed()).or(state.gaps.front().map(|gap| &gap.source)).cloned()
    }

    /// Writes the first thing that [`waits`](Self::waiting), of `source`, since what it waits for does not come.
    pub fn release(&mut self, source: &Arc<Source>, out: &mut Records) {
        debug_assert!(out.source == *source, "records of one source only");
        let Some(at) = self.find(&source.container) else { return };
        let Self { containers, work, .. } = self;
        let state = &mut containers[at];
        for stream in [Stream::Stdout, Stream::Stderr] {
            if let Some(mut held) = state.streams[stream as usize].held.take_if(|held| !held.spent) {
                held.truncated = true;
                work.joined(state, stream, &mut held, out);
                return work.counts.flush();
            }
        }
        if let Some((stream, _)) = state.first_group() {
            work.group(state, stream, out);
            return work.counts.flush();
        }
        self.report(source, out);
    }

    /// When the first group is over if nothing more comes.
    pub fn due(&self) -> Option<Instant> {
        self.containers.iter().flat_map(State::groups).map(|(_, group)| group.due()).min()
    }

    /// A group that is due at `now`: of which source its record will be.
    pub fn overdue(&self, now: Instant) -> Option<Arc<Source>> {
        let mut groups = self.containers.iter().flat_map(State::groups);
        groups.find(|(_, group)| group.due() <= now).map(|(_, group)| group.source().clone())
    }

    /// Writes the first group of `source` that is due at `now`.
    pub fn release_overdue(&mut self, source: &Arc<Source>, now: Instant, out: &mut Records) {
        debug_assert!(out.source == *source, "records of one source only");
        let Some(at) = self.find(&source.container) else { return };
        let Self { containers, work, .. } = self;
        let state = &mut containers[at];
        let due = state.groups().find(|(_, group)| group.due() <= now && group.source() == source);
        if let Some(stream) = due.map(|(stream, _)| stream) {
            work.group(state, stream, out);
            work.counts.flush();
        }
    }

    /// A group of an earlier generation that the first line of `chunk` does not go on with. To be asked for, and
    /// [released](Self::release_earlier), before a chunk is parsed: of which source its record will be.
    pub fn earlier(&mut self, chunk: &Chunk) -> Option<Arc<Source>> {
        let at = self.find(&chunk.source.container)?;
        let Self { containers, work, .. } = self;
        let state = &mut containers[at];
        let is_earlier =
            |stream: &StreamState| stream.groups.first().is_some_and(|group| *group.source() != chunk.source);
        if !state.streams.iter().any(is_earlier) {
            return None;
        }
        state.earlier = work.earlier(state, chunk);
        let of = |stream: Stream| state.streams[stream as usize].groups.first();
        state.earlier.and_then(of).map(|group| group.source().clone())
    }

    /// Writes the group that was [asked for](Self::earlier), of `source`.
    pub fn release_earlier(&mut self, source: &Arc<Source>, out: &mut Records) {
        debug_assert!(out.source == *source, "records of one source only");
        let Some(at) = self.find(&source.container) else { return };
        let Self { containers, work, .. } = self;
        let state = &mut containers[at];
        if let Some(stream) = state.earlier.take() {
            work.group(state, stream, out);
            work.counts.flush();
        }
    }

    /// A group of any container that is open: of which source its record will be.
    pub fn open(&self) -> Option<Arc<Source>> {
        self.containers.iter().find_map(State::first_group).map(|(_, group)| group.source().clone())
    }

    /// Writes the first group of `source`, and leaves alone what waits for the rest of a line.
    pub fn release_open(&mut self, source: &Arc<Source>, out: &mut Records) {
        debug_assert!(out.source == *source, "records of one source only");
        let Some(at) = self.find(&source.container) else { return };
        let Self { containers, work, .. } = self;
        let state = &mut containers[at];
        let first = state.groups().find(|(_, group)| group.source() == source);
        if let Some(stream) = first.map(|(stream, _)| stream) {
            work.group(state, stream, out);
            work.counts.flush();
        }
    }

    /// A gap of any container, or what is to be told of lines over the rate, waits for a line: of which source its record will be.
    pub fn unreported(&self) -> Option<Arc<Source>> {
        let of = |state: &State| state.suppressed().or(state.gaps.front().map(|gap| &gap.source)).cloned();
        self.containers.iter().find_map(of)
    }

    /// Lines over the rate have waited long enough at this moment: they are [told of](Self::report) though no line comes.
    pub fn overdue_at(&self) -> Option<(Instant, &Arc<Source>)> {
        self.containers
            .iter()
            .filter_map(|state| Some((state.tell_at()?, state.suppressed()?)))
            .min_by_key(|(at, _)| *at)
    }

    /// Lines over the rate of this very source that no record has told of.
    pub fn suppresses(&self, source: &Arc<Source>) -> bool {
        self.find(&source.container).is_some_and(|at| self.containers[at].suppressed() == Some(source))
    }

    /// Writes what waits first of the container of `source`, of lines over the rate and gaps, though no line has come behind it.
    pub fn report(&mut self, source: &Arc<Source>, out: &mut Records) {
        let Some(at) = self.find(&source.container) else { return };
        let state = &mut self.containers[at];
        if state.suppressed().is_some() {
            state.tell_suppressed(out);
        } else if let Some(gap) = state.gaps.pop_front() {
            self.work.gap(state, &gap, out);
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

impl State {
    /// The next lines are of this generation.
    #[inline]
    fn turn_to(&mut self, source: &Arc<Source>) {
        if !Arc::ptr_eq(&self.source, source) && self.source != *source {
            self.silent.end(self.source.generation);
            self.source = source.clone();
        }
    }

    #[inline]
    fn has_groups(&self) -> bool {
        !(self.streams[0].groups.is_empty() && self.streams[1].groups.is_empty())
    }

    /// The first group of each stream. What waits for the rest of a line is younger.
    fn groups(&self) -> impl Iterator<Item = (Stream, &Group)> {
        let of = |stream: Stream| Some((stream, self.streams[stream as usize].groups.first()?));
        [Stream::Stdout, Stream::Stderr].into_iter().filter_map(of)
    }

    /// Whether an entry with this text is a part of a message.
    #[inline]
    fn is_part(&self, text: &[u8], ended: bool) -> bool {
        // Of a streamed log, nothing else comes without a newline (`collector::stream`).
        join::is_part(text, ended) || (self.source.generation == Generation::STREAMED && !ended)
    }

    fn first_group(&self) -> Option<(Stream, &Group)> {
        self.groups().next()
    }

    /// Adds a message to the group that it goes on with; false when there is none.
    #[cold]
    fn go_on(&mut self, stream: Stream, message: Message<'_>, carried: &mut Carried) -> bool {
        self.streams[stream as usize].groups.go_on(message, &self.rule, carried)
    }

    /// Opens a group with a message.
    #[cold]
    fn open(&mut self, kind: Kind, stream: Stream, message: Message<'_>, carried: &mut Carried) {
        self.streams[stream as usize].groups.open(kind, message, carried);
    }
}

impl Silent {
    /// What follows is of another generation than `of`.
    fn end(&mut self, of: Generation) {
        self.ranges = Ranges::default();
        let cut = std::mem::take(&mut self.cut);
        if !cut.is_empty() {
            self.carried.push((of, cut));
        }
    }

    /// The ranges, for the cover of the next record, which carries the rest.
    #[inline]
    fn take(&mut self, carried: &mut Carried) -> Ranges {
        if !self.cut.is_empty() || !self.carried.is_empty() {
            self.cut = Ranges::default();
            carried.append(&mut self.carried);
        }
        std::mem::take(&mut self.ranges)
    }
}

impl Work {
    #[inline]
    fn line(&mut self, state: &mut State, line: &[u8], next: &[u8], range: Range, read_at: Instant, out: &mut Records) {
        match envelope::read(line, &mut self.text, &mut state.clock) {
            Line::Entry(entry) if entry.ended && state.streams[entry.stream as usize].held.is_none() => {
                self.message(state, entry, next, range, read_at, out);
            }
            Line::Entry(entry) => self.piece(state, entry, next, range, read_at, out),
            Line::Blank => {
                self.counts.blank += 1;
                state.silent.ranges.insert(range);
            }
            Line::Garbage(why) => self.damaged(state, line, why, next, range, read_at, out),
        }
    }

    /// A line that is no entry. Where the daemon was stopped in the middle of one, the next stands behind it on the same line.
    #[cold]
    #[expect(clippy::too_many_arguments, reason = "what a line is, and where it stands")]
    fn damaged(
        &mut self,
        state: &mut State,
        line: &[u8],
        why: &str,
        next: &[u8],
        range: Range,
        read_at: Instant,
        out: &mut Records,
    ) {
        let whole = envelope::last_beginning(line);
        let Some(Line::Entry(_)) = whole.map(|at| envelope::read(&line[at..], &mut self.text, &mut state.clock)) else {
            return self.garbage(state, line, why, 1, range, read_at, out);
        };
        let (torn, whole) = line.split_at(whole.unwrap_or(0));
        let middle = range.start + torn.len() as u64;
        // One line of the file makes two records; it counts with the second.
        self.garbage(state, torn, why, 0, Range::new(range.start, middle), read_at, out);
        self.line(state, whole, next, Range::new(middle, range.end), read_at, out);
    }

    /// A message in one line: nearly every line.
    #[inline]
    fn message(
        &mut self,
        state: &mut State,
        entry: Entry<'_>,
        next: &[u8],
        range: Range,
        read_at: Instant,
        out: &mut Records,
    ) {
        let text = entry.text(&self.text);
        let text = if entry.ended { text.strip_suffix(b"\r").unwrap_or(text) } else { text };
        let kept = join::floor_char_boundary(text, self.max_line_bytes);
        let one = [range];
        let mut carried = Carried::default();
        let mut all = state.silent.take(&mut carried);
        let ranges = if all.is_empty() {
            &one[..]
        } else {
            all.insert(range);
            all.as_slice()
        };
        let time = *state.clock.stamp();
        let origin = Origin { ranges, lines: 1, time: &time, stream: entry.stream, read_at };
        let truncated = kept < text.len();
        let mut clean = std::mem::take(&mut self.scratch.clean);
        let text = ansi::strip(&text[..kept], &mut clean);
        let went_on = !state.streams[entry.stream as usize].groups.is_empty() && {
            let source = state.source.clone();
            state.go_on(entry.stream, origin.message(text, truncated, &source), &mut carried)
        };
        if !went_on {
            let wrote = write(state, text, truncated, next, origin, &mut self.scratch, &mut self.counts, out);
            if let Wrote::Nothing(kind) = wrote {
                let source = state.source.clone();
                state.open(kind, entry.stream, origin.message(text, truncated, &source), &mut carried);
            }
            wrote.carry(&mut carried, out);
        }
        self.scratch.clean = clean;
    }

    /// A part of a message, or a line where parts are waiting.
    #[cold]
    fn piece(
        &mut self,
        state: &mut State,
        entry: Entry<'_>,
        next: &[u8],
        range: Range,
        read_at: Instant,
        out: &mut Records,
    ) {
        let text = entry.text(&self.text);
        let part = state.is_part(text, entry.ended);
        let stream = &mut state.streams[entry.stream as usize];
        let Some(held) = &mut stream.held else {
            if !part {
                return self.message(state, entry, next, range, read_at, out);
            }
            let mut held = Held::new(state.source.clone(), *state.clock.stamp(), read_at);
            held.add(text, &state.source, range, self.max_line_bytes);
            stream.held = Some(held);
            return;
        };
        if held.spent {
            self.counts.cut += 1;
            state.silent.ranges.insert(range);
            state.silent.cut.insert(range);
            stream.held.take_if(|_| !part);
            return;
        }
        held.add(text, &state.source, range, self.max_line_bytes);
        if entry.ended && !held.truncated && held.text.last() == Some(&b'\r') {
            held.text.pop();
        }
        if part && !held.is_exhausted() {
            return;
        }
        let Some(mut held) = stream.held.take() else { return };
        self.joined(state, entry.stream, &mut held, out);
        if part {
            held.spent = true;
            held.text = Vec::new();
            state.streams[entry.stream as usize].held = Some(held);
        }
    }

    /// Writes the record of a message that was put together.
    fn joined(&mut self, state: &mut State, stream: Stream, held: &mut Held, out: &mut Records) {
        let mut ranges = std::mem::take(&mut held.ranges);
        if held.source == state.source {
            ranges.union(&state.silent.take(&mut held.carried));
        }
        let origin =
            Origin { ranges: ranges.as_slice(), lines: held.lines, time: &held.time, stream, read_at: held.read_at };
        let source = held.source.clone();
        ansi::strip_in_place(&mut held.text);
        let text = &held.text[..];
        let message = origin.message(text, held.truncated, &source);
        if state.go_on(stream, message, &mut held.carried) {
            return;
        }
        let over = |state: &State| {
            let groups = &state.streams[stream as usize].groups;
            groups.is_over_before(Some(text), &held.time, &state.rule)
        };
        while over(state) {
            self.group(state, stream, out);
        }
        let wrote = write(state, text, held.truncated, b"", origin, &mut self.scratch, &mut self.counts, out);
        if let Wrote::Nothing(kind) = wrote {
            state.open(kind, stream, message, &mut held.carried);
        }
        wrote.carry(&mut held.carried, out);
    }

    /// Writes the first group that is over when `line` comes; false when there is none.
    #[cold]
    fn settle(&mut self, state: &mut State, line: &[u8], out: &mut Records) -> bool {
        let over = match envelope::read(line, &mut self.text, &mut state.clock) {
            Line::Blank => None,
            Line::Garbage(_) => state.first_group().map(|(stream, _)| stream),
            Line::Entry(entry) => {
                let mut clean = Vec::new();
                let whole = !state.is_part(entry.text(&self.text), entry.ended);
                let text = ansi::strip(self.text_of(&entry), &mut clean);
                let is_over = |stream: &Stream| {
                    let StreamState { held, groups, .. } = &state.streams[*stream as usize];
                    // A message in parts is told by its beginning.
                    let text = held.as_ref().map_or(text, |held| &held.text);
                    let text = Some(text).filter(|_| *stream == entry.stream && whole);
                    groups.is_over_before(text, state.clock.stamp(), &state.rule)
                };
                [Stream::Stdout, Stream::Stderr].into_iter().find(is_over)
            }
        };
        if let Some(stream) = over {
            self.group(state, stream, out);
        }
        over.is_some()
    }

    /// The stream whose first group is of an earlier generation than `chunk` and over.
    #[cold]
    fn earlier(&mut self, state: &mut State, chunk: &Chunk) -> Option<Stream> {
        let line = chunk.data.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let entry = match envelope::read(line, &mut self.text, &mut state.clock) {
            Line::Entry(entry) => Some(entry),
            Line::Blank | Line::Garbage(_) => None,
        };
        let mut clean = Vec::new();
        let text = entry.as_ref().map_or(&b""[..], |entry| self.text_of(entry));
        let text = ansi::strip(text, &mut clean);
        let its_stream = entry.as_ref().filter(|entry| !state.is_part(entry.text(&self.text), entry.ended));
        let its_stream = its_stream.map(|entry| entry.stream);
        let is_earlier = |stream: &Stream| {
            let StreamState { held, groups, .. } = &state.streams[*stream as usize];
            let its = its_stream == Some(*stream) && held.is_none();
            let text = Some(text).filter(|_| its);
            groups.is_earlier_than(&chunk.source, text, state.clock.stamp(), &state.rule)
        };
        [Stream::Stdout, Stream::Stderr].into_iter().find(is_earlier)
    }

    /// The text of a message in one line, as it is read.
    fn text_of<'a>(&'a self, entry: &Entry<'a>) -> &'a [u8] {
        let text = entry.text(&self.text);
        let text = if entry.ended { text.strip_suffix(b"\r").unwrap_or(text) } else { text };
        &text[..join::floor_char_boundary(text, self.max_line_bytes)]
    }

    /// Writes the record of the first group of a stream.
    fn group(&mut self, state: &mut State, stream: Stream, out: &mut Records) {
        let Some(mut group) = state.streams[stream as usize].groups.pop() else { return };
        let (claim, time, read_at) = group.claim();
        let (time, lines) = (*time, claim.lines);
        let mut ranges = std::mem::take(&mut claim.ranges);
        let mut carried = std::mem::take(&mut claim.carried);
        debug_assert!(claim.source == out.source && !ranges.is_empty(), "a record that stands for lines");
        if state.source == out.source {
            ranges.union(&state.silent.take(&mut carried));
        }
        let origin = Origin { ranges: ranges.as_slice(), lines, time: &time, stream, read_at };
        let sticky = &mut state.streams[stream as usize].sticky;
        let mut read = universal::read(group.head(), state.explicit, sticky, &mut self.scratch);
        for (name, text) in group.parts() {
            self.scratch.fields.push(name, Str::Raw(text));
        }
        group.complete(&mut read);
        let wrote = finish(state, read, group.is_truncated(), origin, &mut self.scratch, &mut self.counts, out);
        wrote.carry(&mut carried, out);
    }

    /// The gaps before `lines` are over: their first line says when.
    #[cold]
    fn gaps_end(&mut self, state: &mut State, lines: &[u8], out: &mut Records) {
        let line = lines.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let known = matches!(envelope::read(line, &mut self.text, &mut state.clock), Line::Entry(_));
        while let Some(mut gap) = state.gaps.pop_front() {
            if known && gap.to.is_none() {
                gap.to = Some(String::from_utf8_lossy(state.clock.stamp()).into_owned());
            }
            self.gap(state, &gap, out);
        }
    }

    /// A record that says what is missing (`docs/wire-format.md`).
    fn gap(&mut self, state: &State, gap: &Gap, out: &mut Records) {
        let fields = &mut self.scratch.fields;
        fields.clear();
        let mut put = |key: &[u8], value: Option<&str>| {
            if let Some(value) = value {
                fields.push(key, Str::Raw(value.as_bytes()));
            }
        };
        put(b"gap_reason", Some(&gap.reason));
        put(b"gap_from", gap.from.as_deref());
        put(b"gap_to", gap.to.as_deref());
        put(b"gap_bytes", gap.bytes.map(|bytes| bytes.to_string()).as_deref());
        let message = format!("log lines are missing: {}", gap.reason);
        let mut draft = Draft::new("rask", "gap", Str::Raw(message.as_bytes()));
        draft.level = Some(Level::Warn);
        let known = [&gap.to, &gap.from].into_iter().flatten().find_map(|time| time::normalize(time.as_bytes()));
        let time = known.unwrap_or_else(|| state.clock.last());
        encode::record(&mut out.body, &draft, fields, &time, Stream::Stderr, &state.identity);
        out.cover(&[], 0, Instant::now());
    }

    /// A line that is no entry of Docker's log.
    #[cold]
    #[expect(clippy::too_many_arguments, reason = "what a line is, and where it stands")]
    fn garbage(
        &mut self,
        state: &mut State,
        line: &[u8],
        why: &str,
        lines: u32,
        range: Range,
        read_at: Instant,
        out: &mut Records,
    ) {
        self.counts.garbage += 1;
        let mut text = Vec::new();
        unescape::lossy(line, &mut text);
        let kept = join::floor_char_boundary(&text, self.max_line_bytes);
        let fields = &mut self.scratch.fields;
        fields.clear();
        fields.push(b"parse_error", Str::Raw(why.as_bytes()));
        if kept < text.len() {
            self.counts.truncated += 1;
            fields.push(b"truncated", Str::Raw(b"true"));
        }
        let start = out.body.len();
        let draft = Draft::new(Format::Plain.service_type(), "raw", Str::Raw(&text[..kept]));
        let mut ranges = state.silent.take(&mut out.carried);
        ranges.insert(range);
        encode::record(&mut out.body, &draft, fields, &state.clock.last(), Stream::Stdout, &state.identity);
        state.redact(start, out);
        out.cover(ranges.as_slice(), lines, read_at);
        // Whoever wrote the log was stopped here: what was held goes on in what is damaged, not behind it.
        for stream in [Stream::Stdout, Stream::Stderr] {
            if let Some(mut held) = state.streams[stream as usize].held.take().filter(|held| !held.spent) {
                held.truncated = true;
                if held.source != state.source {
                    held.carried.push((held.source.generation, std::mem::take(&mut held.ranges)));
                }
                self.joined(state, stream, &mut held, out);
            }
        }
    }
}

impl<'a> Origin<'a> {
    fn message(&self, text: &'a [u8], truncated: bool, source: &'a Arc<Source>) -> Message<'a> {
        let Self { ranges, lines, time, read_at, .. } = *self;
        Message { text, truncated, source, ranges, lines, time, read_at }
    }
}

/// Reads a message with its format and appends the record; unless it opens a group, which is said, and nothing is done.
#[inline]
#[expect(clippy::too_many_arguments, reason = "what a message is, where it stands, and what is needed to write it")]
fn write(
    state: &mut State,
    text: &[u8],
    truncated: bool,
    next: &[u8],
    origin: Origin<'_>,
    scratch: &mut Scratch,
    counts: &mut Counts,
    out: &mut Records,
) -> Wrote {
    let StreamState { sticky, groups, .. } = &mut state.streams[origin.stream as usize];
    let read = universal::read(text, state.explicit, sticky, scratch);
    // Nothing goes on with what was cut.
    let alone = truncated && groups.is_empty();
    let opened = if alone { None } else { multiline::opens(&read, text, groups, &state.rule, origin.stream, next) };
    match opened {
        Some(kind) => Wrote::Nothing(kind),
        None => finish(state, read, truncated, origin, scratch, counts, out),
    }
}

/// What became of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wrote {
    /// A record.
    Record,
    /// None: processing leaves it out.
    LeftOut,
    /// None yet: it opens a group.
    Nothing(Kind),
}

impl Wrote {
    /// What the message carried goes with its record, or else is settled by itself.
    #[inline]
    fn carry(self, carried: &mut Carried, out: &mut Records) {
        if carried.is_empty() {
            return;
        }
        match self {
            Self::Record => out.carried.append(carried),
            Self::LeftOut => {
                for (generation, ranges) in carried.drain(..) {
                    out.settle(generation, ranges.as_slice());
                }
            }
            Self::Nothing(_) => {}
        }
    }
}

/// Appends the record of what has been read, unless processing leaves it out.
#[inline]
fn finish(
    state: &mut State,
    read: Read<'_>,
    truncated: bool,
    origin: Origin<'_>,
    scratch: &mut Scratch,
    counts: &mut Counts,
    out: &mut Records,
) -> Wrote {
    counts.parsed[read.format as usize] += 1;
    if let Some(failed) = read.failed {
        counts.failed[failed as usize] += 1;
    }
    if truncated {
        counts.truncated += 1;
        scratch.fields.push(b"truncated", Str::Raw(b"true"));
    }
    let (start, level) = (out.body.len(), read.draft.level);
    encode::record(&mut out.body, &read.draft, &scratch.fields, origin.time, origin.stream, &state.identity);
    let left_out = if state.process.is_some() { state.process(level, start, &origin, out) } else { None };
    if let Some(notes) = &mut counts.notes {
        let end = origin.ranges.last().map_or(0, |range| range.end);
        notes.push(Note { format: read.format, failed: read.failed, lines: origin.lines, end, left_out });
    }
    if left_out.is_some() {
        return Wrote::LeftOut;
    }
    out.cover(origin.ranges, origin.lines, origin.read_at);
    Wrote::Record
}

const FORMATS: usize = Format::ALL.len();

/// Counts of a chunk, added to the metrics at its end: an atomic addition a line would be seen.
#[derive(Debug)]
struct Counts {
    parsed: [u64; FORMATS],
    failed: [u64; FORMATS],
    garbage: u64,
    blank: u64,
    cut: u64,
    truncated: u64,
    /// What became of each message, if somebody wants to know.
    notes: Option<Vec<Note>>,
    metrics: Counters,
}

#[derive(Debug)]
struct Counters {
    parsed: [IntCounter; FORMATS],
    failed: [IntCounter; FORMATS],
    garbage: IntCounter,
    blank: IntCounter,
    cut: IntCounter,
    truncated: IntCounter,
}

impl Counts {
    fn new(metrics: &Metrics) -> Self {
        let label = |format: Format| [format.service_type()];
        let metrics = Counters {
            parsed: Format::ALL.map(|format| metrics.records_parsed.with_label_values(&label(format))),
            failed: Format::ALL.map(|format| metrics.parse_failures.with_label_values(&label(format))),
            garbage: metrics.parse_failures.with_label_values(&["envelope"]),
            blank: metrics.lines_dropped.with_label_values(&["blank"]),
            cut: metrics.lines_dropped.with_label_values(&["cut"]),
            truncated: metrics.records_truncated.clone(),
        };
        Self {
            parsed: [0; FORMATS],
            failed: [0; FORMATS],
            garbage: 0,
            blank: 0,
            cut: 0,
            truncated: 0,
            notes: None,
            metrics,
        }
    }

    fn flush(&mut self) {
        let add = |counter: &IntCounter, count: &mut u64| {
            if *count > 0 {
                counter.inc_by(std::mem::take(count));
            }
        };
        for (counter, count) in self.metrics.parsed.iter().zip(&mut self.parsed) {
            add(counter, count);
        }
        for (counter, count) in self.metrics.failed.iter().zip(&mut self.failed) {
            add(counter, count);
        }
        add(&self.metrics.garbage, &mut self.garbage);
        add(&self.metrics.blank, &mut self.blank);
        add(&self.metrics.cut, &mut self.cut);
        add(&self.metrics.truncated, &mut self.truncated);
    }
}
