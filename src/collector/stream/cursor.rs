//! The numbering of a streamed log, and the way back to where it stood.
//!
//! One number, the end of the last line, is the whole state. When reading starts again, messages come from a little before
//! it, the **mark**, on. Numbering restarts there, and soon agrees with the first one, since it only differs while lines share
//! a nanosecond. The line that ends exactly at the mark proves the place; what follows it is new. When a line beyond the mark
//! comes without that proof (the log was rotated away, the clock was set), the whole log is read again and numbered from its
//! beginning; if the proof is missing even there, lines are gone, and the first one is reported as behind a gap.
//!
//! **Clocks.** Daemons before 23.0 apply `since` to each message, so they hide a new line whose time is more than the overlap
//! before the mark. That takes a clock that was set back by more than [`OVERLAP`] just then. If it still is back when we
//! start, we see it and read the whole log; otherwise such lines are lost: the price of not reading everything at each start,
//! which for `journald` can be gigabytes.
//!
//! No I/O, no clock of its own, no tokio.

use crate::position::{Range, Ranges};

/// How far before the mark messages are asked for, in nanoseconds. Steps of NTP are smaller; ten seconds of a busy log cost
/// the daemon less than a second.
const OVERLAP: u64 = 10 * SECOND;

const SECOND: u64 = 1_000_000_000;

/// The numbering of a streamed log, and the way back to where it stood.
#[derive(Clone, Debug)]
pub(in crate::collector) struct Cursor {
    /// End of the last line; the next one begins here.
    end: u64,
    /// What an earlier life has delivered.
    committed: Ranges,
    seeking: Option<Seeking>,
}

/// Looking for the line that ends at `Cursor::end`.
#[derive(Clone, Copy, Debug)]
struct Seeking {
    /// Numbering of the lines before it.
    end: u64,
    /// Whether the log is read from its beginning.
    whole: bool,
}

/// Where a cursor stood.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    end: u64,
    seeking: Option<Seeking>,
}

/// What is to be done with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It has been read before.
    Skip,
    /// It is new.
    Line(Range),
    /// It is new, and lines between it and the last known one may be gone.
    Gap(Range),
    /// It cannot be placed: the whole log has to be read.
    Lost,
}

impl Cursor {
    /// Goes on where an earlier life had delivered everything.
    pub(in crate::collector) fn new(committed: Ranges) -> Self {
        Self { end: committed.low_water(), committed, seeking: None }
    }

    /// End of the last line.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// Where it stands, for [`go_back`](Self::go_back).
    pub(super) fn place(&self) -> Place {
        Place { end: self.end, seeking: self.seeking }
    }

    /// Takes back the lines that were placed since: they come again.
    pub(super) fn go_back(&mut self, place: Place) {
        (self.end, self.seeking) = (place.end, place.seeking);
    }

    /// Begins a new stream, at `now` (nanoseconds since the epoch): seconds since the epoch from which messages are to be
    /// asked for, 0 for all.
    pub(super) fn seek(&mut self, now: u64) -> i32 {
        let set_back = now.saturating_add(OVERLAP) < self.end;
        let whole = set_back || self.seeking.is_some_and(|seeking| seeking.whole);
        self.seeking = (self.end > 0).then_some(Seeking { end: 0, whole });
        match whole {
            true => 0,
            false => i32::try_from(self.end.saturating_sub(OVERLAP) / SECOND).unwrap_or(i32::MAX),
        }
    }

    /// The log has ended. `true` when the mark was not reached: the next stream must be the whole log.
    pub(super) fn give_up_seeking(&mut self) -> bool {
        match &mut self.seeking {
            Some(seeking) if !seeking.whole => {
                seeking.whole = true;
                true
            }
            // The next stream begins as usual.
            _ => {
                self.seeking = None;
                false
            }
        }
    }

    /// Places the next line of the stream.
    pub(super) fn step(&mut self, nanos: u64) -> Step {
        if let Some(seeking) = &mut self.seeking {
            seeking.end = nanos.max(seeking.end).saturating_add(1);
            if seeking.end < self.end {
                return Step::Skip;
            }
            if seeking.end == self.end {
                self.seeking = None;
                return Step::Skip;
            }
            if !seeking.whole {
                seeking.whole = true;
                return Step::Lost;
            }
            self.seeking = None;
            let range = self.advance(nanos);
            return if self.committed.covers(range) { Step::Skip } else { Step::Gap(range) };
        }
        let range = self.advance(nanos);
        if self.committed.covers(range) { Step::Skip } else { Step::Line(range) }
    }

    fn advance(&mut self, nanos: u64) -> Range {
        let start = self.end;
        self.end = nanos.max(start).saturating_add(1);
        Range::new(start, self.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const S: u64 = SECOND;
    const BASE: u64 = 1_700_000_000 * S;

    /// The numbering as `docs/wire-format.md` says it: offsets, then ranges.
    fn numbered(times: &[u64]) -> Vec<Range> {
        let mut offsets: Vec<u64> = Vec::new();
        for &time in times {
            let least = offsets.last().map_or(0, |last| last + 1);
            offsets.push(time.max(least));
        }
        let start = |i: usize| if i == 0 { 0 } else { offsets[i - 1] + 1 };
        offsets.iter().enumerate().map(|(i, offset)| Range::new(start(i), offset + 1)).collect()
    }

    /// What the daemon sends: `since` applies to each message, or (newer ones) only until the first that passes.
    fn served(times: &[u64], since: i32, newer: bool) -> Vec<u64> {
        let from = since as u64 * S;
        match newer {
            true => times.iter().copied().skip_while(|time| *time < from).collect(),
            false => times.iter().copied().filter(|time| *time >= from).collect(),
        }
    }

    /// Reads all of `times` in as many streams as it takes; what is new, and whether a gap was seen.
    fn read(cursor: &mut Cursor, times: &[u64], newer: bool) -> (Vec<Range>, bool) {
        let (mut new, mut gap) = (Vec::new(), false);
        'stream: for stream in 0.. {
            assert!(stream < 3, "streams without end");
            for time in served(times, cursor.seek(u64::MAX), newer) {
                match cursor.step(time) {
                    Step::Skip => {}
                    Step::Line(range) => new.push(range),
                    Step::Gap(range) => {
                        gap = true;
                        new.push(range);
                    }
                    Step::Lost => continue 'stream,
                }
            }
            if !cursor.give_up_seeking() {
                break;
            }
        }
        (new, gap)
    }

    #[test]
    fn numbering_table() {
        let check = |times: &[u64], ends: &[u64]| {
            let mut cursor = Cursor::new(Ranges::default());
            let (lines, gap) = read(&mut cursor, times, true);
            assert_eq!(lines.iter().map(|range| range.end).collect::<Vec<_>>(), ends, "{times:?}");
            assert!(!gap && lines.windows(2).all(|pair| pair[0].end == pair[1].start) && lines[0].start == 0);
        };
        check(&[5, 9], &[6, 10]);
        check(&[5, 5, 5, 6, 20], &[6, 7, 8, 9, 21]);
        check(&[100, 40, 41, 200], &[101, 102, 103, 201]);
        check(&[0, 0], &[1, 2]);
    }

    #[test]
    fn asks_for_whole_seconds_before_the_mark() {
        let check = |mark: u64, now: u64, since: i32| {
            let committed = [Range::new(0, mark)].into_iter().collect();
            assert_eq!(Cursor::new(committed).seek(now), since, "{mark} {now}");
        };
        check(0, 0, 0);
        check(1, S, 0);
        check(30 * S, 99 * S, 20);
        check(31 * S - 1, 99 * S, 20);
        check(u64::MAX, u64::MAX, i32::MAX);
        // The clock was set back: a little, or beyond the overlap.
        check(30 * S, 21 * S, 20);
        check(30 * S, 19 * S, 0);
    }

    #[test]
    fn rotated_away_is_a_gap() {
        let times: Vec<u64> = (0..10).map(|i| BASE + i * S / 3).collect();
        let committed = [Range::new(0, times[3] + 1)].into_iter().collect::<Ranges>();
        let (lines, gap) = read(&mut Cursor::new(committed.clone()), &times[5..], false);
        assert!(gap);
        assert_eq!((lines[0], lines.len()), (Range::new(times[3] + 1, times[5] + 1), 5));
        let (lines, gap) = read(&mut Cursor::new(committed), &times[2..], false);
        assert!(!gap, "the last delivered line is still there");
        assert_eq!(lines.len(), 6);
    }

    /// Times as logs have them: mostly later, often equal, now and then seconds earlier.
    fn times() -> impl Strategy<Value = Vec<u64>> {
        let step = prop_oneof![
            4 => Just(0i64),
            4 => 1i64..1000,
            4 => 1_000_000i64..300_000_000,
            1 => 1_000_000_000i64..9_000_000_000,
            1 => -9_000_000_000i64..-1,
        ];
        prop::collection::vec(step, 1..60).prop_map(|steps| {
            let (mut now, mut latest) = (BASE, BASE);
            let mut next = |step: i64| {
                now = now.saturating_add_signed(step).max(latest - 9 * S);
                latest = latest.max(now);
                now
            };
            steps.into_iter().map(&mut next).collect()
        })
    }

    proptest! {
        /// A life delivers some lines, all up to a point and some beyond; the next one delivers exactly the others.
        #[test]
        fn resumes_exactly(times in times(), held in prop::collection::vec(any::<bool>(), 60), from in 0usize..60, newer: bool) {
            let all = numbered(&times);
            let done = |i: usize| i < from || !held[i];
            let committed: Ranges = (0..all.len()).filter(|&i| done(i)).map(|i| all[i]).collect();
            let expected: Vec<Range> = (0..all.len()).filter(|&i| !done(i)).map(|i| all[i]).collect();
            let (lines, gap) = read(&mut Cursor::new(committed), &times, newer);
            prop_assert_eq!(lines, expected);
            prop_assert!(!gap);
        }

        /// A connection that breaks after any line costs nothing and repeats nothing.
        #[test]
        fn reconnects_exactly(times in times(), broken in prop::collection::vec(0usize..60, 0..4), newer: bool) {
            let mut cursor = Cursor::new(Ranges::default());
            let mut lines = Vec::new();
            for cut in broken {
                lines.extend(read(&mut cursor, &times[..cut.min(times.len())], newer).0);
            }
            lines.extend(read(&mut cursor, &times, newer).0);
            prop_assert_eq!(lines, numbered(&times));
        }
    }
}
