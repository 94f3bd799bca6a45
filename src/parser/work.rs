//! From a line of the file to what is written or held: a whole message, a part of one, a line of a group, what is damaged.
//!
//! The memory that this takes is the parser's and used again for every line.

use super::counts::Counts;
use super::encode::{self, Draft, Str};
use super::envelope::{self, Entry, Line, Stream};
use super::formats::{Format, Scratch};
use super::join::{self, Held};
use super::multiline::Message;
use super::state::{State, StreamState};
use super::time::{self, Stamp};
use super::write::{Wrote, finish, write};
use super::{Level, Records, ansi, unescape, universal};
use crate::buffer::{Chunk, Gap};
use crate::position::{Carried, Range};
use crate::source::Source;
use std::sync::Arc;
use std::time::Instant;

/// Memory and counters that all sources share.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) max_line_bytes: usize,
    pub(super) text: unescape::Buffer,
    pub(super) scratch: Scratch,
    pub(super) counts: Counts,
}

/// Where a message comes from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin<'a> {
    pub(super) ranges: &'a [Range],
    pub(super) lines: u32,
    pub(super) time: &'a Stamp,
    pub(super) stream: Stream,
    pub(super) read_at: Instant,
}

impl Work {
    #[inline]
    pub(super) fn line(
        &mut self,
        state: &mut State,
        line: &[u8],
        next: &[u8],
        range: Range,
        read_at: Instant,
        out: &mut Records,
    ) {
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
    pub(super) fn damaged(
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
    pub(super) fn message(
        &mut self,
        state: &mut State,
        entry: Entry<'_>,
        next: &[u8],
        range: Range,
        read_at: Instant,
        out: &mut Records,
    ) {
        std::mem::swap(&mut self.text.quotes, &mut self.scratch.quotes);
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
        self.scratch.quotes.forget();
    }

    /// A part of a message, or a line where parts are waiting.
    #[cold]
    pub(super) fn piece(
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
    pub(super) fn joined(&mut self, state: &mut State, stream: Stream, held: &mut Held, out: &mut Records) {
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
    pub(super) fn settle(&mut self, state: &mut State, line: &[u8], out: &mut Records) -> bool {
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
    pub(super) fn earlier(&mut self, state: &mut State, chunk: &Chunk) -> Option<Stream> {
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
    pub(super) fn text_of<'a>(&'a self, entry: &Entry<'a>) -> &'a [u8] {
        let text = entry.text(&self.text);
        let text = if entry.ended { text.strip_suffix(b"\r").unwrap_or(text) } else { text };
        &text[..join::floor_char_boundary(text, self.max_line_bytes)]
    }

    /// Writes the record of the first group of a stream.
    pub(super) fn group(&mut self, state: &mut State, stream: Stream, out: &mut Records) {
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
    pub(super) fn gaps_end(&mut self, state: &mut State, lines: &[u8], out: &mut Records) {
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
    pub(super) fn gap(&mut self, state: &State, gap: &Gap, out: &mut Records) {
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
    pub(super) fn garbage(
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
    pub(super) fn message(&self, text: &'a [u8], truncated: bool, source: &'a Arc<Source>) -> Message<'a> {
        let Self { ranges, lines, time, read_at, .. } = *self;
        Message { text, truncated, source, ranges, lines, time, read_at }
    }
}
