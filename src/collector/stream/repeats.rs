//! Lines that the daemon shows twice.
//!
//! Daemons before 23.0 open a file that was just rotated in as often as they hear of it, and a followed log then goes back to
//! that file's first line: tens of lines at 4,000 a second, with drivers `local` and `json-file`. Their times are exact to the
//! nanosecond, so a line that is older than the newest one and equal to a recent one, time and text, is that line again.
//! One that is merely older (the clock was set back) is new.
//!
//! No I/O, no clock, no tokio.

use std::collections::VecDeque;

/// Lines that are remembered: several times what was seen to be repeated at 15,000 lines a second.
const RECENT: usize = 2048;

/// The lines of one stream that came last on one connection. Of one, since all parts of a message bear its first one's time,
/// and lines of the other come between them.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    /// Time and checksum, oldest first.
    recent: VecDeque<(u64, u32)>,
    /// Time of the newest line.
    newest: u64,
    /// While lines are being repeated: where in `recent` the next one is looked for.
    at: usize,
}

impl Repeats {
    /// Whether this line, the next one that came, has been shown before.
    pub(super) fn is_one(&mut self, nanos: u64, body: &[u8]) -> bool {
        let line = (nanos, crc32fast::hash(body));
        // Parts of one message share their time and may be equal.
        let is_part = super::seam::is_part(body);
        let may_be = nanos < self.newest || self.at > 0 || (nanos == self.newest && !is_part);
        if may_be && let Some(found) = self.recent.range(self.at..).position(|recent| *recent == line) {
            // Behind the last one begins what is new.
            self.at = (self.at + found + 1) % self.recent.len();
            return true;
        }
        if self.recent.len() == RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(line);
        self.newest = self.newest.max(nanos);
        self.at = 0;
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::DOCKER_PART_BYTES;
    use proptest::prelude::*;

    /// The lines that are taken for new, of what is shown: time and text.
    fn new<'a>(shown: &[(u64, &'a str)]) -> Vec<(u64, &'a str)> {
        let mut repeats = Repeats::default();
        shown.iter().copied().filter(|(nanos, text)| !repeats.is_one(*nanos, text.as_bytes())).collect()
    }

    #[test]
    fn table() {
        let check = |shown: &[(u64, &str)], expected: &[(u64, &str)]| assert_eq!(new(shown), expected);
        let (a, b, c, d) = ((1, "a"), (2, "b"), (3, "c"), (4, "d"));
        check(&[a, b, c, b, c, d], &[a, b, c, d]);
        check(&[a, b, c, b, c, b, c, d], &[a, b, c, d]);
        check(&[a, b, b, c], &[a, b, c]);
        // It was interrupted, and what follows is new.
        check(&[a, b, c, b, d], &[a, b, c, d]);
        // An older time alone is no repetition, nor is an equal text.
        check(&[b, a, c], &[b, a, c]);
        check(&[(1, "a"), (2, "a"), (1, "b")], &[(1, "a"), (2, "a"), (1, "b")]);
        let part = "x".repeat(DOCKER_PART_BYTES);
        let parts = [a, (2, &part), (2, &part), (2, "end"), c];
        check(&parts, &parts);
        check(&[&parts[..], &parts[1..], &[d]].concat(), &[&parts[..], &[d]].concat());
        check(&[&parts[..], &parts[2..], &[d]].concat(), &[&parts[..], &[d]].concat());
    }

    proptest! {
        /// Going back, any number of times, to anywhere within what is remembered changes nothing.
        #[test]
        fn going_back(steps in prop::collection::vec(0..40u64, 1..200), back in prop::collection::vec((0usize..200, 0usize..200), 0..5)) {
            let mut now = 0;
            let lines: Vec<(u64, String)> = steps.iter().enumerate().map(|(i, step)| {
                now += step.saturating_sub(10);
                (now + step, format!("line {i}"))
            }).collect();
            let mut jumps: Vec<(usize, usize)> = back.iter().map(|(a, b)| (*a.max(b) % lines.len(), *a.min(b) % lines.len())).collect();
            jumps.retain(|(from, to)| to <= from);
            jumps.sort();
            let (mut shown, mut at) = (Vec::new(), 0);
            for (from, to) in jumps.into_iter().filter(|(from, to)| from > to) {
                shown.extend(at..=from);
                at = to;
            }
            shown.extend(at..lines.len());
            let mut repeats = Repeats::default();
            let new: Vec<usize> = shown.into_iter().filter(|i| !repeats.is_one(lines[*i].0, lines[*i].1.as_bytes())).collect();
            prop_assert_eq!(new, (0..lines.len()).collect::<Vec<_>>());
        }
    }
}
