//! A closed batch: what one request carries. Immutable from here on, so that a retried batch is byte-identical.
//!
//! A batch can be taken apart (after a 413, a 400 or a 409) long after its source is gone: its cover says of each record
//! where it came from, and the newlines of its body say where each record stands. No I/O, no clock.

use crate::parser::Records;
use crate::position::{Carried, Cover, Range, Ranges, fnv1a};
use crate::source::SourceKey;
use bytes::Bytes;
use std::fmt::Write as _;

/// Records of one source, closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Whose lines.
    pub key: SourceKey,
    /// NDJSON, each record ending in `\n`, not compressed.
    pub body: Bytes,
    /// For each record the lines it was made from.
    pub cover: Cover,
    /// Lines of earlier generations that went into the last record: see [`Carried`]. Nearly always empty.
    pub carried: Carried,
    /// Lines of the log that went into the records.
    pub lines: u32,
    /// When the oldest of them was read: milliseconds since the Unix epoch.
    pub oldest_ms: u64,
    /// A dead letter that is sent again: its lines are settled, though the receiver has not got it.
    pub again: bool,
}

impl Batch {
    /// Closes `records`; `oldest_ms` is when the oldest was read, in milliseconds since the Unix epoch.
    pub fn close(records: Records, oldest_ms: u64) -> Self {
        let Records { source, body, cover, carried, lines, .. } = records;
        Self { key: source.key(), body: Bytes::from(body), cover, carried, lines, oldest_ms, again: false }
    }

    /// What is settled once the batch is: its cover, and what it carries.
    pub fn claims(&self) -> Vec<(SourceKey, Ranges)> {
        let mut claims = self.carried_claims();
        claims.push((self.key.clone(), self.cover.ranges()));
        claims
    }

    /// Of the claims, those of earlier generations.
    pub fn carried_claims(&self) -> Vec<(SourceKey, Ranges)> {
        let key = |generation| SourceKey { container: self.key.container.clone(), generation };
        self.carried.iter().map(|(generation, ranges)| (key(*generation), ranges.clone())).collect()
    }

    /// Number of records.
    pub fn records(&self) -> usize {
        self.cover.len()
    }

    /// Value of `x-rask-batch` (`docs/wire-format.md`).
    pub fn header(&self) -> String {
        let (SourceKey { container, generation }, cover) = (&self.key, self.cover.ranges());
        let mut text = String::with_capacity(160);
        let _ = write!(text, "v=1;container={container};generation={generation};cover={cover}");
        if cover.is_empty() {
            let _ = write!(text, ";body={:016x}", fnv1a(&self.body));
        }
        text
    }

    /// Two halves, by number of records; `None` when there is only one record.
    pub fn split(&self) -> Option<(Self, Self)> {
        let middle = self.records() / 2;
        (middle > 0).then(|| self.split_at(middle))
    }

    fn split_at(&self, middle: usize) -> (Self, Self) {
        let mut halves = [Part::default(), Part::default()];
        self.each(|i, record, lines, ranges| halves[usize::from(i >= middle)].push(record, lines, ranges));
        let [first, second] = halves.map(|part| part.into_batch(self));
        (first, Self { carried: self.carried.clone(), ..second })
    }

    /// What is left when `done` is settled: records whose every range is in it are left out, and of the others only the ranges that are
    /// not in it are claimed. A record that stands for no bytes (a gap) goes with the next that does, and stays at the end; one that was
    /// made of carried lines alone is left out when `carried_done`. `None` when nothing is left.
    pub fn without(&self, done: &Ranges, carried_done: bool) -> Option<Self> {
        let mut stays = Vec::with_capacity(self.records());
        self.each(|i, _, _, ranges| {
            let carrier = i + 1 == self.records() && !self.carried.is_empty();
            stays.push(match ranges {
                [] if carrier => Some(!carried_done),
                [] => None,
                _ => Some(!ranges.iter().all(|range| done.covers(*range))),
            });
        });
        let mut next = true;
        stays.iter_mut().rev().for_each(|stays| next = *stays.get_or_insert(next));
        let (mut rest, mut open) = (Part::default(), Vec::new());
        self.each(|i, record, lines, ranges| {
            if stays[i] == Some(true) {
                open.clear();
                ranges.iter().for_each(|range| done.gaps_within(*range, &mut open));
                rest.push(record, lines, &open);
            }
        });
        let carries = stays.last() == Some(&Some(true));
        let carried = if carries { self.carried.clone() } else { Carried::default() };
        (!rest.cover.is_empty()).then(|| Self { carried, ..rest.into_batch(self) })
    }

    /// Calls `visit` with each record's number, bytes (newline included), lines and ranges.
    fn each(&self, mut visit: impl FnMut(usize, &[u8], u32, &[Range])) {
        let (mut iter, mut ranges, mut start) = (self.cover.iter(), Vec::new(), 0);
        for (i, newline) in memchr::memchr_iter(b'\n', &self.body).enumerate() {
            let Some(lines) = iter.next_into(&mut ranges) else { return };
            visit(i, &self.body[start..=newline], lines, &ranges);
            start = newline + 1;
        }
    }
}

/// A part of a batch, being put together.
#[derive(Default)]
struct Part {
    body: Vec<u8>,
    cover: Cover,
    lines: u32,
}

impl Part {
    fn push(&mut self, record: &[u8], lines: u32, ranges: &[Range]) {
        self.body.extend_from_slice(record);
        self.cover.push(lines, ranges);
        self.lines += lines;
    }

    fn into_batch(self, of: &Batch) -> Batch {
        Batch {
            key: of.key.clone(),
            body: self.body.into(),
            cover: self.cover,
            carried: Carried::default(),
            lines: self.lines,
            oldest_ms: of.oldest_ms,
            again: of.again,
        }
    }
}

/// A UUID (version 8) made from the text of `x-rask-batch`, for receivers that know only `x-batch-id`.
pub fn batch_id(header: &str) -> String {
    let hash = |seed: u64| {
        header.bytes().fold(seed, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3).rotate_left(5))
    };
    let (high, low) = (hash(0xcbf2_9ce4_8422_2325), hash(0x9e37_79b9_7f4a_7c15));
    format!(
        "{:08x}-{:04x}-8{:03x}-{:04x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xffff,
        high & 0xfff,
        0x8000 | (low >> 48) & 0x3fff,
        low & 0xffff_ffff_ffff
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::Generation;

    fn batch(records: &[(&str, u32, &[(u64, u64)])]) -> Batch {
        let key = SourceKey { container: "c".repeat(64), generation: Generation(7) };
        let whole = Batch {
            key,
            body: Bytes::new(),
            cover: Cover::default(),
            carried: Carried::default(),
            lines: 0,
            oldest_ms: 5,
            again: false,
        };
        let mut part = Part::default();
        for (text, lines, ranges) in records {
            let ranges: Vec<_> = ranges.iter().map(|(start, end)| Range::new(*start, *end)).collect();
            part.push(format!("{text}\n").as_bytes(), *lines, &ranges);
        }
        part.into_batch(&whole)
    }

    #[test]
    fn halves_hold_every_record_once_with_its_ranges() {
        let whole = batch(&[("a", 1, &[(0, 10)]), ("b", 2, &[(10, 20), (30, 40)]), ("c", 1, &[(20, 30)])]);
        let (first, second) = whole.split().expect("three records");
        assert_eq!(first, batch(&[("a", 1, &[(0, 10)])]));
        assert_eq!(second, batch(&[("b", 2, &[(10, 20), (30, 40)]), ("c", 1, &[(20, 30)])]));
        assert_eq!(first.split(), None);
        assert_eq!(whole.header(), format!("v=1;container={};generation=0000000000000007;cover=0-40", "c".repeat(64)));
    }

    #[test]
    fn what_stands_for_no_bytes_is_told_by_its_body() {
        let gap = batch(&[("a", 0, &[])]);
        // FNV-1a of `a` and a newline, by hand.
        let hash =
            ((0xcbf2_9ce4_8422_2325_u64 ^ 0x61).wrapping_mul(0x0100_0000_01b3) ^ 0x0a).wrapping_mul(0x0100_0000_01b3);
        let name = format!("v=1;container={};generation=0000000000000007;cover=;body={hash:016x}", "c".repeat(64));
        assert_eq!((gap.header(), batch(&[("a", 0, &[])]).header()), (name.clone(), name));
        assert_ne!(gap.header(), batch(&[("b", 0, &[])]).header());
        let (first, second) = batch(&[("a", 0, &[]), ("b", 1, &[(0, 10)])]).split().expect("two records");
        assert_eq!((first.header(), second.header().ends_with(";cover=0-10")), (gap.header(), true));
    }

    #[test]
    fn a_cut_leaves_out_what_is_settled() {
        let whole = batch(&[("a", 1, &[(0, 10)]), ("b", 2, &[(10, 20), (30, 40)]), ("c", 1, &[(20, 30)])]);
        let check = |settled: &str, expected: Option<Batch>| {
            assert_eq!(whole.without(&settled.parse().expect("valid"), false), expected, "{settled}");
        };
        check("", Some(whole.clone()));
        check("0-10,20-30", Some(batch(&[("b", 2, &[(10, 20), (30, 40)])])));
        // A record that is settled in part claims only the rest.
        check("0-20", Some(batch(&[("b", 2, &[(30, 40)]), ("c", 1, &[(20, 30)])])));
        check("0-50", None);
    }

    #[test]
    fn a_gap_goes_with_the_record_behind_it() {
        let (a, gap, b, end) =
            (("a", 1, &[(0, 10)][..]), ("gap", 0, &[][..]), ("b", 1, &[(10, 20)][..]), ("end", 0, &[][..]));
        let check = |records: &[_], settled: &str, left: &[_]| {
            let left = (!left.is_empty()).then(|| batch(left));
            assert_eq!(batch(records).without(&settled.parse().expect("valid"), false), left, "{settled}");
        };
        check(&[a, gap, b], "0-10", &[gap, b]);
        check(&[a, gap, b], "10-20", &[a]);
        check(&[a, gap, b], "0-20", &[]);
        check(&[gap, gap, a, b], "0-10", &[b]);
        check(&[a, gap, b, end], "10-20", &[a, end]);
        // Nobody knows whether it has come.
        check(&[a, end], "0-10", &[end]);
    }

    #[test]
    fn what_is_carried_goes_with_the_last_record() {
        let carried: Carried = vec![(Generation(6), "90-100".parse().expect("valid"))];
        let whole = batch(&[("a", 1, &[(0, 10)]), ("b", 2, &[(10, 20)])]);
        let whole = Batch { carried: carried.clone(), ..whole };
        let (first, second) = whole.split().expect("two records");
        assert_eq!((first.carried, second.carried), (Carried::default(), carried.clone()));
        let without = |text: &str| whole.without(&text.parse().expect("valid"), false).map(|rest| rest.carried);
        assert_eq!(without("0-10"), Some(carried.clone()));
        assert_eq!(without("10-20"), Some(Carried::default()));
        assert_eq!(without("0-20"), None);
        let claims = whole.claims();
        assert_eq!(claims.len(), 2);
        assert_eq!((claims[0].0.generation, claims[0].1.to_string()), (Generation(6), "90-100".into()));
        assert_eq!((claims[1].0.generation, claims[1].1.to_string()), (Generation(7), "0-20".into()));
    }

    #[test]
    fn a_beginning_without_its_rest_is_left_out_when_its_lines_are_settled() {
        let carried: Carried = vec![(Generation(6), "90-100".parse().expect("valid"))];
        let whole = Batch { carried: carried.clone(), ..batch(&[("a", 1, &[(0, 10)]), ("b", 1, &[])]) };
        let settled = "0-10".parse().expect("valid");
        assert_eq!(whole.without(&settled, false), Some(Batch { carried, ..batch(&[("b", 1, &[])]) }));
        assert_eq!(whole.without(&settled, true), None);
        assert_eq!(whole.without(&Ranges::default(), true), Some(batch(&[("a", 1, &[(0, 10)])])));
    }

    #[test]
    fn ids_are_uuids_and_differ() {
        let (one, two) = (batch_id("v=1;cover=0-10"), batch_id("v=1;cover=0-11"));
        assert_ne!(one, two);
        assert_eq!(one.len(), 36);
        assert_eq!(one.as_bytes()[14], b'8');
        assert!(matches!(one.as_bytes()[19], b'8'..=b'b'));
    }
}
