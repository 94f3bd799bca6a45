//! What the parser keeps of a container, and of each of its two streams, from one line to the next.

use super::envelope::Stream;
use super::formats::Format;
use super::join::{self, Held};
use super::multiline::{Group, Groups, Kind, Message, Rule};
use super::process;
use super::time::Clock;
use crate::buffer::Gap;
use crate::position::{Carried, Generation, Ranges};
use crate::source::Source;
use std::collections::VecDeque;
use std::sync::Arc;

/// What is kept of a container.
#[derive(Debug)]
pub(super) struct State {
    /// The generation that the last lines were of.
    pub(super) source: Arc<Source>,
    /// Members that are the same in all its records.
    pub(super) identity: Vec<u8>,
    pub(super) explicit: Option<Format>,
    pub(super) rule: Rule,
    pub(super) process: Option<Box<process::Process>>,
    pub(super) clock: Clock,
    pub(super) silent: Silent,
    pub(super) streams: [StreamState; 2],
    /// The stream whose first group is to be released before the next chunk.
    pub(super) earlier: Option<Stream>,
    /// To be reported before the next line, whose time says when they end.
    pub(super) gaps: VecDeque<Gap>,
}

/// Lines that make no record, for the cover of the next one.
#[derive(Debug, Default)]
pub(super) struct Silent {
    /// Those of the generation that the last lines were of.
    pub(super) ranges: Ranges,
    /// Of these, parts behind the end of a message that was cut. Read again after a restart they would look like another message.
    pub(super) cut: Ranges,
    /// Such parts of earlier generations.
    pub(super) carried: Carried,
}

/// What is kept of one of the two streams.
#[derive(Debug, Default)]
pub(super) struct StreamState {
    pub(super) sticky: Option<Format>,
    pub(super) held: Option<Held>,
    pub(super) groups: Groups,
}

impl State {
    /// The next lines are of this generation.
    #[inline]
    pub(super) fn turn_to(&mut self, source: &Arc<Source>) {
        if !Arc::ptr_eq(&self.source, source) && self.source != *source {
            self.silent.end(self.source.generation);
            self.source = source.clone();
        }
    }

    #[inline]
    pub(super) fn has_groups(&self) -> bool {
        !(self.streams[0].groups.is_empty() && self.streams[1].groups.is_empty())
    }

    /// The first group of each stream. What waits for the rest of a line is younger.
    pub(super) fn groups(&self) -> impl Iterator<Item = (Stream, &Group)> {
        let of = |stream: Stream| Some((stream, self.streams[stream as usize].groups.first()?));
        [Stream::Stdout, Stream::Stderr].into_iter().filter_map(of)
    }

    /// Whether an entry with this text is a part of a message.
    #[inline]
    pub(super) fn is_part(&self, text: &[u8], ended: bool) -> bool {
        // Of a streamed log, nothing else comes without a newline (`collector::stream`).
        join::is_part(text, ended) || (self.source.generation == Generation::STREAMED && !ended)
    }

    pub(super) fn first_group(&self) -> Option<(Stream, &Group)> {
        self.groups().next()
    }

    /// Adds a message to the group that it goes on with; false when there is none.
    #[cold]
    pub(super) fn go_on(&mut self, stream: Stream, message: Message<'_>, carried: &mut Carried) -> bool {
        self.streams[stream as usize].groups.go_on(message, &self.rule, carried)
    }

    /// Opens a group with a message.
    #[cold]
    pub(super) fn open(&mut self, kind: Kind, stream: Stream, message: Message<'_>, carried: &mut Carried) {
        self.streams[stream as usize].groups.open(kind, message, carried);
    }
}

impl Silent {
    /// What follows is of another generation than `of`.
    pub(super) fn end(&mut self, of: Generation) {
        self.ranges = Ranges::default();
        let cut = std::mem::take(&mut self.cut);
        if !cut.is_empty() {
            self.carried.push((of, cut));
        }
    }

    /// The ranges, for the cover of the next record, which carries the rest.
    #[inline]
    pub(super) fn take(&mut self, carried: &mut Carried) -> Ranges {
        if !self.cut.is_empty() || !self.carried.is_empty() {
            self.cut = Ranges::default();
            carried.append(&mut self.carried);
        }
        std::mem::take(&mut self.ranges)
    }
}
