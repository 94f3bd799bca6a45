//! From a message to its record: read with its format, encoded, and judged by what processing asks for.

use super::counts::Counts;
use super::encode::Str;
use super::formats::Scratch;
use super::look::Note;
use super::multiline::{self, Kind};
use super::state::{State, StreamState};
use super::universal::{self, Read};
use super::work::Origin;
use super::{Records, encode};
use crate::position::Carried;

/// Reads a message with its format and appends the record; unless it opens a group, which is said, and nothing is done.
#[inline]
#[expect(clippy::too_many_arguments, reason = "what a message is, where it stands, and what is needed to write it")]
pub(super) fn write(
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
pub(super) enum Wrote {
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
    pub(super) fn carry(self, carried: &mut Carried, out: &mut Records) {
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
pub(super) fn finish(
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
