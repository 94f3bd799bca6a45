//! What has arrived, and what is wrong with it: which numbers of each run came, which are missing, came twice or late.
//!
//! Knows records and time stamps it is given; no I/O, no clock, no HTTP. Memory grows with what is wrong, not with what came.

use super::histogram::Histogram;
use super::scan::{Scanned, scan};
use rask_log_forwarder::position::{Range, Ranges};
use rask_record::{parse_timestamp, validate};
use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hasher};

/// How closely records are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// Every record is checked against the letter of the format.
    Full,
    /// Records are only scanned for what is counted.
    Counts,
}

/// Which records are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// None.
    None,
    /// The last so many.
    Last(usize),
    /// All. For tests that know how many come.
    All,
}

/// Arrivals later than this are counted as late, in nanoseconds.
pub const LATE_NANOS: i64 = 1_000_000_000;

/// Texts of violations that are kept; further ones are only counted.
const VIOLATIONS: usize = 100;

/// Batches remembered to see whether one that is repeated has the same bytes.
const BODIES: usize = 64;

/// One record as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// The record without its newline.
    pub line: Vec<u8>,
    /// When, in nanoseconds since the epoch.
    pub received: i64,
}

/// One sequence: the numbers of one run on one stream of one service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sequence {
    /// `service_name`.
    pub service: String,
    /// `stdout` or `stderr`.
    pub stream: String,
    /// Name of the run.
    pub run: String,
    /// Records with a number.
    pub records: u64,
    /// Records whose number had come before.
    pub duplicates: u64,
    /// Records that came, for the first time, after a higher number.
    pub reordered: u64,
    /// The numbers that came.
    pub seen: Ranges,
}

impl Sequence {
    fn add(&mut self, seq: u64) {
        let one = Range::new(seq, seq.saturating_add(1));
        self.records += 1;
        if self.seen.covers(one) {
            self.duplicates += 1;
        } else if seq < self.seen.end() {
            self.reordered += 1;
        }
        self.seen.insert(one);
    }

    /// Different numbers that came.
    pub fn distinct(&self) -> u64 {
        self.seen.as_slice().iter().map(|range| range.end - range.start).sum()
    }

    /// Numbers from `first` on that did not come although a higher one did.
    pub fn missing(&self, first: u64) -> u64 {
        let below: u64 =
            self.seen.as_slice().iter().map(|range| first.clamp(range.start, range.end) - range.start).sum();
        self.seen.end().saturating_sub(first) - (self.distinct() - below)
    }

    /// The holes in what came, from `first` on.
    pub fn holes(&self, first: u64) -> Vec<Range> {
        let (mut from, mut holes) = (first, Vec::new());
        for range in self.seen.as_slice() {
            if range.start > from {
                holes.push(Range::new(from, range.start));
            }
            from = from.max(range.end);
        }
        holes
    }
}

/// Sums over all requests and records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Totals {
    /// Requests to `/v1/aggregate`, refused ones included.
    pub requests: u64,
    /// Batches stored.
    pub batches: u64,
    /// Records stored, malformed ones included.
    pub records: u64,
    /// Records without a mark of `rask gen`.
    pub unmarked: u64,
    /// Records that could not be read or, with [`Detail::Full`], that broke the format.
    pub malformed: u64,
    /// Records that came later than [`LATE_NANOS`] after they were written.
    pub late: u64,
    /// Batches answered with 200 because they were there already.
    pub duplicate_batches: u64,
    /// Batches answered with 409.
    pub overlaps: u64,
    /// Requests that a fault answered.
    pub faults: u64,
    /// Bytes of bodies as they came.
    pub wire_bytes: u64,
    /// Bytes of bodies decompressed.
    pub body_bytes: u64,
    /// Everything that breaks `docs/wire-format.md`, records and headers.
    pub violations: u64,
}

/// The whole account. Obtained from a [`Receiver`](super::Receiver), or filled by hand.
#[derive(Debug)]
pub struct Ledger {
    detail: Detail,
    keep: Keep,
    only_run: Option<String>,
    pub(super) totals: Totals,
    pub(super) sequences: Vec<Sequence>,
    latency: Histogram,
    arrivals: VecDeque<Arrival>,
    violations: Vec<String>,
    /// Hashes of the last batches by their `x-rask-batch`.
    bodies: VecDeque<(String, u64)>,
    /// Where the last mark was entered: the next one nearly always belongs there, too.
    last: usize,
}

impl Ledger {
    /// An empty account. With `only_run`, records of other runs are stored but not entered.
    pub fn new(detail: Detail, keep: Keep, only_run: Option<String>) -> Self {
        Self {
            detail,
            keep,
            only_run,
            totals: Totals::default(),
            sequences: Vec::new(),
            latency: Histogram::default(),
            arrivals: VecDeque::new(),
            violations: Vec::new(),
            bodies: VecDeque::new(),
            last: 0,
        }
    }

    /// Enters a body of records, each ended by a newline, received at `now`. Returns how many were well formed and malformed.
    pub fn add_body(&mut self, body: &[u8], now: i64) -> (u64, u64) {
        let (mut well, mut malformed) = (0, 0);
        let lines = body.strip_suffix(b"\n").unwrap_or_else(|| {
            if !body.is_empty() {
                self.violation("the body does not end in a newline".into());
            }
            body
        });
        let mut from = 0;
        for end in memchr::memchr_iter(b'\n', lines).chain((!body.is_empty()).then_some(lines.len())) {
            let count = if self.add_line(&lines[from..end], now) { &mut well } else { &mut malformed };
            *count += 1;
            from = end + 1;
        }
        self.totals.batches += 1;
        self.totals.records += well + malformed;
        self.totals.malformed += malformed;
        (well, malformed)
    }

    fn add_line(&mut self, line: &[u8], now: i64) -> bool {
        let scanned = scan(line);
        let mut is_well = scanned.is_some();
        if self.detail == Detail::Full
            && let Err(violation) = validate(line)
        {
            is_well = false;
            self.violation(format!("{violation}: {}", excerpt(line)));
        } else if scanned.is_none() {
            self.violation(format!("not a record: {}", excerpt(line)));
        }
        if let Some(scanned) = scanned {
            self.enter(&scanned, now);
        }
        match self.keep {
            Keep::None | Keep::Last(0) => return is_well,
            Keep::Last(count) if self.arrivals.len() == count => drop(self.arrivals.pop_front()),
            Keep::Last(_) | Keep::All => {}
        }
        self.arrivals.push_back(Arrival { line: line.to_vec(), received: now });
        is_well
    }

    fn enter(&mut self, scanned: &Scanned<'_>, now: i64) {
        let Some(mark) = scanned.mark else {
            self.totals.unmarked += 1;
            return;
        };
        if self.only_run.as_ref().is_some_and(|run| run.as_bytes() != mark.run) {
            return;
        }
        if let Some(written) = parse_timestamp(scanned.timestamp) {
            self.latency.add(now - written);
            self.totals.late += u64::from(now - written > LATE_NANOS);
        }
        let matches = |sequence: &Sequence| {
            sequence.service.as_bytes() == scanned.service
                && sequence.stream.as_bytes() == scanned.stream
                && sequence.run.as_bytes() == mark.run
        };
        if !self.sequences.get(self.last).is_some_and(matches) {
            self.last = self.sequences.iter().position(matches).unwrap_or_else(|| {
                let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
                let (service, stream, run) = (text(scanned.service), text(scanned.stream), text(mark.run));
                self.sequences.push(Sequence { service, stream, run, ..Sequence::default() });
                self.sequences.len() - 1
            });
        }
        self.sequences[self.last].add(mark.seq);
    }

    /// Notes a breach of `docs/wire-format.md`.
    pub fn violation(&mut self, text: String) {
        self.totals.violations += 1;
        if self.violations.len() < VIOLATIONS {
            self.violations.push(text);
        }
    }

    /// A batch that comes again must come with the same bytes; looks back over the last batches.
    pub(super) fn check_repetition(&mut self, batch: &str, body: &[u8]) {
        let mut hasher = DefaultHasher::new();
        hasher.write(body);
        let hash = hasher.finish();
        match self.bodies.iter().find(|(known, _)| known == batch) {
            Some((_, known)) if *known != hash => self.violation(format!("not the same bytes again: {batch}")),
            Some(_) => {}
            None => {
                self.bodies.truncate(BODIES - 1);
                self.bodies.push_front((batch.to_owned(), hash));
            }
        }
    }

    /// The sums.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// Every sequence, in the order of appearance.
    pub fn sequences(&self) -> &[Sequence] {
        &self.sequences
    }

    /// The sequence of a service's stream; of the first run when there are several.
    pub fn sequence(&self, service: &str, stream: &str) -> Option<&Sequence> {
        self.sequences.iter().find(|sequence| sequence.service == service && sequence.stream == stream)
    }

    /// Records with a number, over all sequences, repeated ones counted once.
    pub fn distinct(&self) -> u64 {
        self.sequences.iter().map(Sequence::distinct).sum()
    }

    /// Numbers that are missing although a higher one came, over all sequences, each counted from `first`.
    pub fn missing(&self, first: u64) -> u64 {
        self.sequences.iter().map(|sequence| sequence.missing(first)).sum()
    }

    /// Records whose number had come before.
    pub fn duplicates(&self) -> u64 {
        self.sequences.iter().map(|sequence| sequence.duplicates).sum()
    }

    /// Records that came after a higher number of their sequence.
    pub fn reordered(&self) -> u64 {
        self.sequences.iter().map(|sequence| sequence.reordered).sum()
    }

    /// From the record's `timestamp` to receipt, of records with a number.
    pub fn latency(&self) -> &Histogram {
        &self.latency
    }

    /// The records kept, oldest first.
    pub fn arrivals(&self) -> impl DoubleEndedIterator<Item = &Arrival> {
        self.arrivals.iter()
    }

    /// The first hundred breaches of the format.
    pub fn violations(&self) -> &[String] {
        &self.violations
    }
}

fn excerpt(line: &[u8]) -> String {
    line[..line.len().min(300)].escape_ascii().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn record(stream: &str, seq: u64, run: &str) -> String {
        let id = "a".repeat(64);
        format!(
            "{{\"service_type\":\"plain\",\"log_type\":\"plain\",\"message\":\"x seq={seq} run={run}\",\
             \"timestamp\":\"1970-01-01T00:00:01Z\",\"stream\":\"{stream}\",\"container_id\":\"{id}\",\
             \"service_name\":\"api\",\"fields\":{{}}}}\n"
        )
    }

    fn ledger(detail: Detail, keep: Keep, only_run: Option<&str>, body: &str) -> Ledger {
        let mut ledger = Ledger::new(detail, keep, only_run.map(str::to_owned));
        ledger.add_body(body.as_bytes(), 1_002_000_000);
        ledger
    }

    #[test]
    fn streams_and_runs_have_their_own_sequences() {
        let body: String = [("stdout", 0, "a"), ("stderr", 0, "a"), ("stdout", 1, "a"), ("stdout", 0, "b")]
            .map(|(stream, seq, run)| record(stream, seq, run))
            .concat();
        let account = ledger(Detail::Full, Keep::None, None, &body);
        assert_eq!(account.sequences().len(), 3);
        assert_eq!(account.sequence("api", "stdout").unwrap().distinct(), 2);
        assert_eq!((account.missing(0), account.duplicates(), account.reordered()), (0, 0, 0));
        assert_eq!(account.totals().records, 4);
        assert_eq!(account.violations(), [""; 0]);
        let only_b = ledger(Detail::Full, Keep::None, Some("b"), &body);
        assert_eq!((only_b.distinct(), only_b.totals().records), (1, 4));
    }

    #[test]
    fn a_lost_beginning_is_missing() {
        let account = ledger(Detail::Counts, Keep::None, None, &record("stdout", 5, "a"));
        assert_eq!((account.missing(0), account.missing(3), account.missing(5), account.missing(9)), (5, 2, 0, 0));
        assert_eq!(account.sequences()[0].holes(0), [Range::new(0, 5)]);
    }

    #[test]
    fn latency_is_from_the_records_timestamp() {
        let account = ledger(Detail::Counts, Keep::None, None, &record("stdout", 0, "a"));
        assert_eq!(account.latency().max().as_millis(), 2);
        assert_eq!(account.totals().late, 0);
        let mut late = Ledger::new(Detail::Counts, Keep::None, None);
        late.add_body(record("stdout", 0, "a").as_bytes(), 2_000_000_001);
        assert_eq!(late.totals().late, 1);
    }

    #[test]
    fn what_breaks_the_format_is_told() {
        let good = record("stdout", 0, "a");
        let lower = good.replace("\"fields\":{}", "\"level\":\"info\",\"fields\":{}");
        let full = ledger(Detail::Full, Keep::None, None, &lower);
        assert_eq!((full.totals().malformed, full.violations().len()), (1, 1));
        assert!(full.violations()[0].contains("`level`"), "{}", full.violations()[0]);
        let counts = ledger(Detail::Counts, Keep::None, None, &lower);
        assert_eq!((counts.totals().malformed, counts.totals().violations), (0, 0));
        for (body, malformed, violations) in
            [("\n", 1, 1), ("garbage\n", 1, 1), (good.trim_end(), 0, 1), ("", 0, 0), ("\n\n", 2, 2)]
        {
            let account = ledger(Detail::Counts, Keep::None, None, body);
            assert_eq!((account.totals().malformed, account.totals().violations), (malformed, violations), "{body:?}");
        }
    }

    #[test]
    fn records_are_kept_as_asked() {
        let body: String = (0..5).map(|seq| record("stdout", seq, "a")).collect();
        let lines = |keep| -> Vec<Vec<u8>> {
            ledger(Detail::Counts, keep, None, &body).arrivals().map(|arrival| arrival.line.clone()).collect()
        };
        assert_eq!(lines(Keep::None).len(), 0);
        assert_eq!(lines(Keep::All).len(), 5);
        assert_eq!(
            lines(Keep::Last(2)),
            [record("stdout", 3, "a").trim_end(), record("stdout", 4, "a").trim_end()]
                .map(|line| line.as_bytes().to_vec())
        );
    }

    proptest! {
        /// Against a plain set of numbers.
        #[test]
        fn counts_agree_with_a_set(seqs in prop::collection::vec(0u64..40, 0..80), first in 0u64..50) {
            let (mut sequence, mut set, mut duplicates, mut reordered) = (Sequence::default(), BTreeSet::new(), 0, 0);
            for seq in &seqs {
                let max = set.last().copied();
                if !set.insert(*seq) {
                    duplicates += 1;
                } else if max.is_some_and(|max| *seq < max) {
                    reordered += 1;
                }
                sequence.add(*seq);
            }
            let end = set.last().map_or(0, |last| last + 1);
            let missing: Vec<u64> = (first..end).filter(|seq| !set.contains(seq)).collect();
            prop_assert_eq!(sequence.distinct(), set.len() as u64);
            prop_assert_eq!((sequence.duplicates, sequence.reordered), (duplicates, reordered));
            prop_assert_eq!(sequence.missing(first), missing.len() as u64);
            let holes: Vec<u64> = sequence.holes(first).iter().flat_map(|hole| hole.start..hole.end).collect();
            prop_assert_eq!(holes, missing);
        }
    }
}
