//! Lines that belong together, made one record: stack traces, PostgreSQL's reports, and whatever the label
//! `rask.multiline` says of a container.
//!
//! A [`Group`] is a message with its further lines. It is open while more may come, and over
//!
//! - when a line of its stream comes that is none of its own;
//! - when Docker's time of the next line is more than its pause away. Those times stand in the log, so that lines read a second
//!   time are put together as they were the first time, however fast they are read;
//! - when nothing comes for a while longer than that ([`Group::due`]), the only thing here that depends on the clock;
//! - when it has as many lines, bytes or seconds as a group may have. Nothing is cut: what follows is a group of its own.
//!
//! Only a line that may be followed by others is held back: an error or a warning in text, the head of a trace, a line of
//! PostgreSQL, and with `rask.multiline` every line. Of PostgreSQL's reports that are no errors the next line in the chunk
//! tells, nearly always, that there is nothing to wait for.
//!
//! Lines of different streams are never put together. Of PostgreSQL several groups of one stream may be open, one for each
//! process; they become records in the order in which they were opened, so that later ones wait for an earlier. Else there is
//! one.
//!
//! What a group covers may stand in several generations of the log; it then carries those of the earlier ones (ADR 5). A record must
//! not stand for nothing but what it carries, since nobody could tell it from another: a group that the first line of a generation
//! does not go on with is over, and its record is of the generation before.
//!
//! It writes no records, and knows no time but what it is given.

pub(crate) mod postgres;
pub(crate) mod traces;

use super::envelope::Stream;
use super::formats::Format;
use super::level::Level;
use super::time::{self, Stamp};
use super::universal::Read;
use crate::limits::{COMPILED_BYTES, REPORT_PAUSES};
use crate::limits::{
    LINE_PAUSE, MESSAGE_PAUSE, MULTILINE_AGE, MULTILINE_BYTES, MULTILINE_GROUPS, MULTILINE_LINES, MULTILINE_PAUSE,
    MULTILINE_RANGES,
};
use crate::position::{Carried, Range, Ranges};
use crate::source::Source;
use regex::bytes::Regex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};
use traces::Trace;

/// How lines of a container are put together.
#[derive(Debug, Default)]
pub(crate) enum Rule {
    /// What is known of traces and reports.
    #[default]
    Known,
    /// A message begins with each line that this finds something in.
    Starts(Regex),
    /// Not at all.
    Off,
}

impl Rule {
    /// The label `rask.multiline`: a pattern, `off`, or `auto`.
    ///
    /// # Errors
    /// What is wrong with the pattern.
    pub(crate) fn of_label(label: &str) -> Result<Self, regex::Error> {
        Ok(match label {
            "" | "auto" | "on" | "true" => Self::Known,
            "off" | "false" | "none" => Self::Off,
            pattern => Self::Starts(regex::bytes::RegexBuilder::new(pattern).size_limit(COMPILED_BYTES).build()?),
        })
    }
}

/// What a group is, and so what goes on with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A stack trace, or a line that one may follow.
    Trace(Trace),
    /// A report of this process of PostgreSQL's.
    Report {
        /// `None` where the prefix does not say.
        process: Option<u64>,
        /// Additions nearly always follow, perhaps behind lines of other processes.
        is_error: bool,
    },
    /// What stands between two lines that the label's pattern finds something in.
    Labelled,
}

impl Kind {
    /// Between two lines of one group, as Docker stamped them.
    fn pause(self) -> Duration {
        match self {
            Self::Report { is_error, .. } => REPORT_PAUSES[usize::from(!is_error)],
            Self::Trace(Trace::Line) => LINE_PAUSE,
            Self::Trace(_) | Self::Labelled => MULTILINE_PAUSE,
        }
    }
}

/// Which lines a record stands for.
#[derive(Debug)]
pub(crate) struct Claim {
    /// Whose record it becomes: the source of the last line.
    pub(crate) source: Arc<Source>,
    /// The lines of that source.
    pub(crate) ranges: Ranges,
    /// Those of earlier generations.
    pub(crate) carried: Carried,
    /// Number of all of them.
    pub(crate) lines: u32,
}

impl Claim {
    fn new(source: Arc<Source>) -> Self {
        Self { source, ranges: Ranges::default(), carried: Carried::default(), lines: 0 }
    }

    /// How many disjoint ranges it names.
    fn places(&self) -> usize {
        self.ranges.as_slice().len() + self.carried.iter().map(|(_, ranges)| ranges.as_slice().len()).sum::<usize>()
    }

    fn add(&mut self, source: &Arc<Source>, ranges: &[Range], carried: &mut Carried, lines: u32) {
        if self.source != *source {
            let earlier = std::mem::replace(&mut self.source, source.clone());
            self.carried.push((earlier.generation, std::mem::take(&mut self.ranges)));
        }
        self.carried.append(carried);
        for range in ranges {
            self.ranges.insert(*range);
        }
        self.lines += lines;
    }
}

/// A message of the log, perhaps joined from parts already.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message<'a> {
    /// Without its newline and without terminal colours.
    pub(crate) text: &'a [u8],
    pub(crate) truncated: bool,
    pub(crate) source: &'a Arc<Source>,
    pub(crate) ranges: &'a [Range],
    pub(crate) lines: u32,
    pub(crate) time: &'a Stamp,
    pub(crate) read_at: Instant,
}

/// How the next message goes on with a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// By one more line.
    Line(Kind),
    /// By a part of its own, as which it is known in `fields`; its text begins there.
    Part(&'static [u8], usize),
}

/// A message and its further lines.
#[derive(Debug)]
pub(crate) struct Group {
    kind: Kind,
    opened: Kind,
    /// First line, newline, the further lines of it, and then the parts.
    text: Vec<u8>,
    /// Where the first line ends.
    first: usize,
    /// Name and beginning of each part in `text`.
    parts: Vec<(&'static [u8], usize)>,
    claim: Claim,
    truncated: bool,
    time: Stamp,
    read_at: Instant,
    messages: usize,
    /// Of all groups of the stream, the one with the greatest was added to last.
    turn: u64,
    last_time: Duration,
    last_read: Instant,
}

impl Group {
    /// A group of one message.
    fn new(kind: Kind, turn: u64, message: Message<'_>, carried: &mut Carried) -> Self {
        let mut claim = Claim::new(message.source.clone());
        claim.add(message.source, message.ranges, carried, message.lines);
        Self {
            kind,
            opened: kind,
            text: message.text.to_vec(),
            first: message.text.len(),
            parts: Vec::new(),
            claim,
            truncated: message.truncated,
            time: *message.time,
            read_at: message.read_at,
            messages: 1,
            turn,
            last_time: time::since_epoch(message.time),
            last_read: message.read_at,
        }
    }

    /// How a message with this text and time goes on with the group, if it does.
    pub(crate) fn next(&self, text: &[u8], time: &Stamp, rule: &Rule) -> Option<Next> {
        let full = self.messages >= MULTILINE_LINES || self.text.len() + text.len() >= MULTILINE_BYTES;
        let full = full || self.claim.places() >= MULTILINE_RANGES;
        if full || self.truncated || self.is_over_by(time) {
            return None;
        }
        match self.kind {
            Kind::Labelled => {
                let Rule::Starts(pattern) = rule else { return None };
                (!pattern.is_match(text)).then_some(Next::Line(self.kind))
            }
            Kind::Trace(trace) => {
                let close = time::since_epoch(time).saturating_sub(self.last_time) < MESSAGE_PAUSE;
                let next = trace.next(text).or_else(|| close.then(|| trace.message(text))?);
                Some(Next::Line(Kind::Trace(next?)))
            }
            Kind::Report { .. } if text.first() == Some(&b'\t') => Some(Next::Line(self.kind)),
            Kind::Report { process, .. } => {
                let line = postgres::look(text).filter(|line| line.process == process)?;
                Some(Next::Part(line.adds?, line.message))
            }
        }
    }

    /// Adds the message that goes on so.
    fn add(&mut self, next: Next, turn: u64, message: Message<'_>, carried: &mut Carried) {
        match next {
            Next::Line(kind) => {
                self.kind = kind;
                self.text.push(b'\n');
                // PostgreSQL puts the tab there.
                let tab = matches!(kind, Kind::Report { .. }) && message.text.first() == Some(&b'\t');
                self.text.extend_from_slice(&message.text[usize::from(tab)..]);
            }
            Next::Part(name, start) => {
                self.parts.push((name, self.text.len()));
                self.text.extend_from_slice(&message.text[start..]);
            }
        }
        self.claim.add(message.source, message.ranges, carried, message.lines);
        self.truncated |= message.truncated;
        self.messages += 1;
        self.turn = turn;
        self.last_time = time::since_epoch(message.time);
        self.last_read = message.read_at;
    }

    /// Whether a message of its stream that is not one of its own ends it.
    pub(crate) fn ends_before(&self, text: &[u8]) -> bool {
        let Kind::Report { process, is_error: true } = self.kind else { return true };
        if self.is_stated() {
            return text.first() != Some(&b'\t');
        }
        let of_another =
            text.first() == Some(&b'\t') || postgres::look(text).is_some_and(|line| line.process != process);
        !of_another
    }

    /// Whether the statement has come: always the last of a report, which then has nothing more but lines with a tab in front.
    fn is_stated(&self) -> bool {
        self.parts.last().is_some_and(|(name, _)| *name == b"statement")
    }

    /// Between two of its lines, as Docker stamped them.
    fn pause(&self) -> Duration {
        if self.is_stated() { REPORT_PAUSES[1] } else { self.kind.pause() }
    }

    /// Whether a line with this time of Docker's comes too late to be one of its own.
    pub(crate) fn is_over_by(&self, time: &Stamp) -> bool {
        let now = time::since_epoch(time);
        let began = time::since_epoch(&self.time);
        now.saturating_sub(self.last_time) > self.pause() || now.saturating_sub(began) > MULTILINE_AGE
    }

    /// When it is over though nothing has come: later than any line that it waits for is read, unless the daemon or we are held up.
    pub(crate) fn due(&self) -> Instant {
        self.last_read + 2 * self.pause()
    }

    /// Whose record it becomes.
    pub(crate) fn source(&self) -> &Arc<Source> {
        &self.claim.source
    }

    /// The text that the format reads. Of a trace the further lines are apart; of everything else they are in it.
    pub(crate) fn head(&self) -> &[u8] {
        match self.opened {
            Kind::Report { .. } => &self.text[..self.parts.first().map_or(self.text.len(), |(_, start)| *start)],
            // An object over several lines is read as one.
            Kind::Labelled if self.text.first() == Some(&b'{') => &self.text,
            Kind::Trace(_) | Kind::Labelled => &self.text[..self.first],
        }
    }

    /// The further lines, without the newline before them.
    pub(crate) fn more(&self) -> &[u8] {
        let (Kind::Trace(_) | Kind::Labelled) = self.opened else { return b"" };
        self.text[self.head().len()..].strip_prefix(b"\n").unwrap_or_default()
    }

    /// Name and text of each part.
    pub(crate) fn parts(&self) -> impl Iterator<Item = (&'static [u8], &[u8])> {
        let ends = self.parts.iter().skip(1).map(|(_, start)| *start).chain([self.text.len()]);
        self.parts.iter().zip(ends).map(|((name, start), end)| (*name, &self.text[*start..end]))
    }

    /// Adds to what was read of [`head`](Self::head) what the lines behind it tell.
    pub(crate) fn complete<'a>(&'a self, read: &mut Read<'a>) {
        read.draft.more = self.more();
        let Kind::Trace(trace) = self.kind else { return };
        let Kind::Trace(opened) = self.opened else { return };
        if opened != Trace::Line && self.messages > 1 {
            read.draft.level = read.draft.level.or(Some(Level::Error));
        }
        if read.format == Format::Plain
            && read.failed.is_none()
            && let Some(format) = of_language(opened).or(of_language(trace))
        {
            read.draft.service_type = format.service_type();
        }
    }

    /// Whether text was left out.
    pub(crate) fn is_truncated(&self) -> bool {
        self.truncated
    }

    /// What its record stands for, time of the first line, and when that was read.
    pub(crate) fn claim(&mut self) -> (&mut Claim, &Stamp, Instant) {
        (&mut self.claim, &self.time, self.read_at)
    }
}

/// Whose traces look like this, where no one else's do.
fn of_language(trace: Trace) -> Option<Format> {
    Some(match trace {
        Trace::Panic | Trace::Goroutine => Format::Go,
        Trace::Python | Trace::PythonEnd | Trace::PythonMessage(_) => Format::Python,
        Trace::Script | Trace::ScriptSource | Trace::ScriptMark => Format::Node,
        Trace::Rust | Trace::RustMessage => Format::Rust,
        Trace::Line | Trace::Frames => return None,
    })
}

/// The groups of one stream that are open, in the order in which they were opened.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    open: VecDeque<Group>,
    turns: u64,
}

impl Groups {
    /// Whether nothing is open.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// The one whose record is the next.
    pub(crate) fn first(&self) -> Option<&Group> {
        self.open.front()
    }

    /// Takes the first out.
    pub(crate) fn pop(&mut self) -> Option<Group> {
        self.open.pop_front()
    }

    /// Whether the first is of another generation than `source`, and the message with this text, the first of that, is none of its
    /// own; a part of a message has no text yet.
    pub(crate) fn is_earlier_than(&self, source: &Arc<Source>, text: Option<&[u8]>, time: &Stamp, rule: &Rule) -> bool {
        let goes_on = || text.and_then(|text| self.next(text, time, rule)).is_some();
        self.open.front().is_some_and(|group| group.claim.source != *source) && !(self.open.len() == 1 && goes_on())
    }

    /// Lines that wait.
    pub(crate) fn lines(&self) -> usize {
        self.open.iter().map(|group| group.claim.lines as usize).sum()
    }

    /// Opens a group with a message.
    pub(crate) fn open(&mut self, kind: Kind, message: Message<'_>, carried: &mut Carried) {
        self.turns += 1;
        self.open.push_back(Group::new(kind, self.turns, message, carried));
    }

    /// Adds a message to the group that it goes on with; false when there is none.
    pub(crate) fn go_on(&mut self, message: Message<'_>, rule: &Rule, carried: &mut Carried) -> bool {
        let Some((i, next)) = self.next(message.text, message.time, rule) else { return false };
        self.turns += 1;
        self.open[i].add(next, self.turns, message, carried);
        true
    }

    /// Which group a message with this text and time goes on with, and how.
    fn next(&self, text: &[u8], time: &Stamp, rule: &Rule) -> Option<(usize, Next)> {
        // A line without a prefix belongs to what was written last.
        let bare = text.first() == Some(&b'\t');
        let may = |group: &&Group| !bare || group.turn == self.turns;
        let mut groups = self.open.iter().enumerate().filter(|(_, group)| may(group));
        groups.find_map(|(i, group)| Some((i, group.next(text, time, rule)?)))
    }

    /// Whether the first is over when a message with this text and time comes; a part of a message has no text yet.
    pub(crate) fn is_over_before(&self, text: Option<&[u8]>, time: &Stamp, rule: &Rule) -> bool {
        let Some(group) = self.open.front() else { return false };
        let next = text.and_then(|text| self.next(text, time, rule)).map(|(i, _)| i);
        // A line without a prefix that is nobody's, since the group that it would belong to is full, ends them all.
        let bare = |text: &[u8]| text.first() == Some(&b'\t') && next.is_none();
        let ended = text.is_some_and(|text| group.ends_before(text) || bare(text));
        let bytes: usize = self.open.iter().map(|group| group.text.len()).sum();
        let many = self.open.len() >= MULTILINE_GROUPS || (self.open.len() > 1 && bytes >= MULTILINE_BYTES);
        let crowded = text.is_some() && next.is_none() && many;
        next != Some(0) && (ended || group.is_over_by(time) || crowded)
    }
}

/// What a message that has been read opens, if others may follow it, or it comes behind `groups`. `next` is what stands behind
/// its line in the chunk.
#[inline]
pub(crate) fn opens(
    read: &Read<'_>,
    text: &[u8],
    groups: &Groups,
    rule: &Rule,
    stream: Stream,
    next: &[u8],
) -> Option<Kind> {
    match rule {
        Rule::Known => {}
        Rule::Starts(_) => return Some(Kind::Labelled),
        Rule::Off => return None,
    }
    match read.format {
        _ if text.first() == Some(&b'{') => None,
        Format::Postgres => report(read, text, groups, stream, next),
        Format::Plain | Format::Python | Format::Rust | Format::Go | Format::Node | Format::Meilisearch => {
            trace(read, text, stream, next)
        }
        _ => None,
    }
}

#[inline]
fn report(read: &Read<'_>, text: &[u8], groups: &Groups, stream: Stream, next: &[u8]) -> Option<Kind> {
    // Nearly every line: no error, nothing open, and a first line behind it. What was read says so without a second look.
    let calm = matches!(read.draft.level, Some(Level::Debug | Level::Info));
    if calm && groups.is_empty() && entry_of(stream, next).is_some_and(|next| !postgres::may_add(next)) {
        return None;
    }
    looked_at(text, groups, stream, next)
}

fn looked_at(text: &[u8], groups: &Groups, stream: Stream, next: &[u8]) -> Option<Kind> {
    let line = postgres::look(text).filter(|line| line.adds.is_none() || !groups.is_empty())?;
    let may = line.is_error
        || !groups.is_empty()
        || match entry_of(stream, next) {
            Some(next) => postgres::may_add(next),
            None => !postgres::stands_alone(&text[line.message..]),
        };
    may.then_some(Kind::Report { process: line.process, is_error: line.is_error })
}

#[inline]
fn trace(read: &Read<'_>, text: &[u8], stream: Stream, next: &[u8]) -> Option<Kind> {
    if let Some(trace) = traces::opens(text) {
        return Some(Kind::Trace(trace));
    }
    let grave = read.draft.level.is_some_and(|level| level >= Level::Warn) && read.draft.status_code.is_none();
    (grave && may_follow(stream, next)).then_some(Kind::Trace(Trace::Line))
}

/// Whether the first entry of `next`, as it stands in the log file, may be the first line of a trace.
fn may_follow(stream: Stream, next: &[u8]) -> bool {
    let Some(text) = entry_of(stream, next).and_then(|entry| entry.strip_prefix(b"{\"log\":\"")) else { return true };
    // Up to the first escape, which is the newline at the end, or else a colour, a tab or a quote.
    let plain = memchr::memchr2(b'\\', b'"', text).unwrap_or(text.len());
    plain == 0 || Trace::Line.next(&text[..plain]).is_some()
}

/// The first entry of a chunk's rest, if it is there as a whole, and of this stream; perhaps without its stream and time.
fn entry_of(stream: Stream, next: &[u8]) -> Option<&[u8]> {
    /// `"stream":"stderr","time":"2026-11-21T13:00:00.123456789Z"}`, with an offset in place of `Z`.
    const TAIL: usize = 72;
    let entry = &next[..memchr::memchr(b'\n', next)?];
    let tail = &entry[entry.len().saturating_sub(TAIL)..];
    let (usual, name): (&[u8], &[u8]) = match stream {
        Stream::Stdout => (b"\"stream\":\"stdout\",\"time\":", b"\"stream\":\"stdout\""),
        Stream::Stderr => (b"\"stream\":\"stderr\",\"time\":", b"\"stream\":\"stderr\""),
    };
    // Docker writes the time last, so what is before its two quotes tells without a search.
    let time = tail.strip_suffix(b"\"}").and_then(|tail| memchr::memrchr(b'"', tail));
    if let Some(head) = time.and_then(|at| entry[..entry.len() - tail.len() + at].strip_suffix(usual)) {
        return Some(head);
    }
    memchr::memmem::find(tail, name).map(|_| entry)
}
