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
}

impl Batch {
    /// Closes `records`; `oldest_ms` is when the oldest was read, in milliseconds since the Unix epoch.
    pub fn close(records: Records, oldest_ms: u64) -> Self {
        let Records { source, body, cover, carried, lines, .. } = records;
        Self { key: source.key(), body: Bytes::from(body), cover, carried, lines, oldest_ms }
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

    /// What is left when an earlier process was stopped while it took the batch apart, and `settled` is what it has settled of the
    /// source: records leave a batch from the front, so those at the front are left out that are settled, each with the gap
    /// records before it, and no others. `None` when that would leave nothing: all of it is settled, too, when it is a dead
    /// letter that is to be sent again.
    pub fn behind(&self, settled: &Ranges) -> Option<Self> {
        let (mut front, mut whole) = (0, true);
        self.each(|i, _, _, ranges| {
            whole &= ranges.iter().all(|range| settled.covers(*range));
            if whole && !ranges.is_empty() {
                front = i + 1;
            }
        });
        (front < self.records()).then(|| if front == 0 { self.clone() } else { self.split_at(front).1 })
    }

    /// What is left when the receiver already holds `committed`: records whose every range is in it are left out, and of the
    /// others only the uncommitted ranges are claimed. `None` when nothing is left. What the last record carries is left with it.
    pub fn without(&self, committed: &Ranges) -> Option<Self> {
        let mut rest = Part::default();
        let mut open = Vec::new();
        let mut carries = false;
        self.each(|i, record, lines, ranges| {
            open.clear();
            for range in ranges {
                committed.gaps_within(*range, &mut open);
            }
            // A message of which only the beginning is there stands for no bytes of this generation.
            let carrier = i + 1 == self.records() && !self.carried.is_empty();
            if !open.is_empty() || (carrier && ranges.is_empty()) {
                rest.push(record, lines, &open);
                carries = carrier;
            }
        });
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
    fn a_cut_leaves_out_what_is_committed() {
        let whole = batch(&[("a", 1, &[(0, 10)]), ("b", 2, &[(10, 20), (30, 40)]), ("c", 1, &[(20, 30)])]);
        let committed = |text: &str| text.parse::<Ranges>().expect("valid");
        assert_eq!(whole.without(&committed("")), Some(whole.clone()));
        assert_eq!(whole.without(&committed("0-10,20-30")), Some(batch(&[("b", 2, &[(10, 20), (30, 40)])])),);
        assert_eq!(
            whole.without(&committed("0-20")),
            Some(batch(&[("b", 2, &[(30, 40)]), ("c", 1, &[(20, 30)])])),
            "a record that is committed in part claims only the rest"
        );
        assert_eq!(whole.without(&committed("0-50")), None);
    }

    #[test]
    fn what_was_settled_at_the_front_is_left_out() {
        let records: [(&str, u32, &[(u64, u64)]); 4] =
            [("a", 1, &[(0, 10)]), ("gap", 0, &[]), ("b", 2, &[(10, 20), (30, 40)]), ("c", 1, &[(20, 30)])];
        let carried: Carried = vec![(Generation(6), "90-100".parse().expect("valid"))];
        let from = |at: usize| Batch { carried: carried.clone(), ..batch(&records[at..]) };
        let check = |settled: &str, expected: Option<Batch>| {
            assert_eq!(from(0).behind(&settled.parse().expect("valid")), expected, "{settled}");
        };
        check("", Some(from(0)));
        check("0-10", Some(from(1)));
        check("0-20", Some(from(1)));
        check("0-20,30-40", Some(from(3)));
        check("10-40", Some(from(0)));
        check("0-10,20-30", Some(from(1)));
        check("0-40", None);
        assert_eq!(batch(&records[..1]).behind(&"0-10".parse().expect("valid")), None);
    }

    #[test]
    fn what_is_carried_goes_with_the_last_record() {
        let carried: Carried = vec![(Generation(6), "90-100".parse().expect("valid"))];
        let whole = batch(&[("a", 1, &[(0, 10)]), ("b", 2, &[(10, 20)])]);
        let whole = Batch { carried: carried.clone(), ..whole };
        let (first, second) = whole.split().expect("two records");
        assert_eq!((first.carried, second.carried), (Carried::default(), carried.clone()));
        let without = |text: &str| whole.without(&text.parse().expect("valid")).map(|rest| rest.carried);
        assert_eq!(without("0-10"), Some(carried.clone()));
        assert_eq!(without("10-20"), Some(Carried::default()));
        assert_eq!(without("0-20"), None);
        let claims = whole.claims();
        assert_eq!(claims.len(), 2);
        assert_eq!((claims[0].0.generation, claims[0].1.to_string()), (Generation(6), "90-100".into()));
        assert_eq!((claims[1].0.generation, claims[1].1.to_string()), (Generation(7), "0-20".into()));
    }

    #[test]
    fn a_beginning_without_its_rest_is_left_out_by_no_cut() {
        let carried: Carried = vec![(Generation(6), "90-100".parse().expect("valid"))];
        let whole = Batch { carried: carried.clone(), ..batch(&[("a", 1, &[(0, 10)]), ("b", 1, &[])]) };
        let rest = whole.without(&"0-10".parse().expect("valid")).expect("the second record");
        assert_eq!(rest, Batch { carried, ..batch(&[("b", 1, &[])]) });
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
