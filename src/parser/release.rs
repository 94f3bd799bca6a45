//! Records of what waits for lines that have not come: what is to be written, of which source, and when.
//!
//! Whoever drives the parser asks first of which source the record will be, since records of one source go together, and then has
//! it written.

use super::envelope::Stream;
use super::state::{State, StreamState};
use super::{Parser, Records};
use crate::buffer::Chunk;
use crate::source::{Container, Source};
use std::sync::Arc;
use std::time::Instant;

impl Parser {
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
}
