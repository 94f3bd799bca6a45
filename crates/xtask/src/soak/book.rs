//! The account of a soak: which numbers were written, which came, which are set aside, and which are in an announced gap.
//!
//! A hole in a sequence counts as announced when a gap record of the same container arrived between the record before the hole
//! and the one behind it. No I/O; it is filled by the receiver, record by record, in the order of arrival.

use rask::receiver::mark_of;
use rask_log_forwarder::position::{Range, Ranges};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Numbers of one stream of one run.
#[derive(Debug, Default)]
struct Side {
    written: u64,
    seen: Ranges,
    announced: Ranges,
    twice: u64,
    reordered: Ranges,
    /// A gap record came since the last record.
    gap: bool,
    /// A message that is not whole and says so: right only if a gap comes next.
    cut: Option<String>,
}

/// One container's life.
#[derive(Debug, Default)]
struct Run {
    /// Its log may rotate away before it is read: then a hole must be announced.
    ruthless: bool,
    sides: [Side; 2],
    dead: [Ranges; 2],
}

#[derive(Debug, Default)]
struct Inner {
    runs: BTreeMap<String, Run>,
    containers: HashMap<String, String>,
    gap_records: u64,
    records: u64,
    broken: Vec<String>,
}

/// What a judgement adds up to, over the whole soak so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sums {
    pub(super) written: u64,
    pub(super) records: u64,
    pub(super) lost: u64,
    pub(super) announced: u64,
    pub(super) twice: u64,
    pub(super) reordered: u64,
    pub(super) broken: u64,
    pub(super) dead: u64,
    pub(super) gap_records: u64,
}

impl Sums {
    /// What was added since `earlier`.
    pub(super) fn since(self, earlier: Self) -> Self {
        Self {
            written: self.written - earlier.written,
            records: self.records - earlier.records,
            lost: self.lost.saturating_sub(earlier.lost),
            announced: self.announced.saturating_sub(earlier.announced),
            twice: self.twice - earlier.twice,
            reordered: self.reordered.saturating_sub(earlier.reordered),
            broken: self.broken - earlier.broken,
            dead: self.dead.saturating_sub(earlier.dead),
            gap_records: self.gap_records - earlier.gap_records,
        }
    }

    pub(super) fn is_right(self) -> bool {
        self.lost == 0 && self.twice == 0 && self.reordered == 0 && self.broken == 0
    }
}

/// Clones share the account.
#[derive(Clone, Debug, Default)]
pub(super) struct Book(Arc<Mutex<Inner>>);

impl Book {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A container begins a run.
    pub(super) fn open(&self, run: &str, container: &str, ruthless: bool) {
        let mut inner = self.inner();
        inner.containers.insert(container.to_owned(), run.to_owned());
        inner.runs.insert(run.to_owned(), Run { ruthless, ..Run::default() });
    }

    /// These many numbers are in the log, or about to be.
    pub(super) fn written(&self, run: &str, counts: [u64; 2]) {
        if let Some(run) = self.inner().runs.get_mut(run) {
            run.sides[0].written = counts[0];
            run.sides[1].written = counts[1];
        }
    }

    /// Enters a record that the receiver has stored.
    pub(super) fn enter(&self, line: &[u8]) {
        let mut inner = self.inner();
        let inner = &mut *inner;
        inner.records += 1;
        if memchr_find(line, b"\"log_type\":\"gap\"") {
            inner.gap_records += 1;
            let container = text_after(line, b"\"container_id\":\"");
            let run = inner.containers.get(&container).and_then(|run| inner.runs.get_mut(run));
            if let Some(run) = run {
                for side in &mut run.sides {
                    side.gap = true;
                    side.cut = None;
                }
            }
            return;
        }
        let Some(mark) = mark_of(line) else { return };
        let name = String::from_utf8_lossy(mark.run).into_owned();
        let Some(run) = inner.runs.get_mut(&name) else { return };
        let side = &mut run.sides[stream_of(line)];
        inner.broken.extend(side.cut.take());
        let (at, end) = (Range::new(mark.seq, mark.seq + 1), side.seen.end());
        if side.seen.covers(at) {
            side.twice += 1;
            note(&mut inner.broken, || format!("twice: {name} {}", excerpt(line)));
        } else if mark.seq < end {
            side.reordered.insert(at);
        } else if mark.seq > end && side.gap {
            side.announced.insert(Range::new(end, mark.seq));
        }
        side.gap = false;
        side.seen.insert(at);
        if let Some(why) = is_not_whole(line) {
            let why = format!("not whole: {name} seq {}: {why}", mark.seq);
            match run.ruthless && memchr_find(line, b"\"truncated\":\"true\"") {
                true => side.cut = Some(why),
                false => note(&mut inner.broken, || why),
            }
        }
    }

    /// Enters a dead letter's record.
    pub(super) fn set_aside(&self, record: &str) {
        let Some(mark) = mark_of(record.as_bytes()) else { return };
        let name = String::from_utf8_lossy(mark.run).into_owned();
        if let Some(run) = self.inner().runs.get_mut(&name) {
            run.dead[stream_of(record.as_bytes())].insert(Range::new(mark.seq, mark.seq + 1));
        }
    }

    /// Whether every number below `counts` has come or is set aside.
    pub(super) fn has(&self, run: &str, counts: [u64; 2]) -> bool {
        self.inner().runs.get(run).is_some_and(|run| {
            (0..2).all(|i| {
                let mut all = run.sides[i].seen.clone();
                all.union(&run.dead[i]);
                all.union(&run.sides[i].announced);
                all.covers(Range::new(0, counts[i]))
            })
        })
    }

    /// Adds up. `lost` counts what is still on its way, too: it means something when everything rests.
    pub(super) fn sums(&self) -> Sums {
        let inner = self.inner();
        let mut sums = Sums {
            records: inner.records,
            gap_records: inner.gap_records,
            broken: inner.broken.len() as u64,
            ..Sums::default()
        };
        for run in inner.runs.values() {
            for (side, dead) in run.sides.iter().zip(&run.dead) {
                let count = |ranges: &[Range]| ranges.iter().map(|range| range.end - range.start).sum::<u64>();
                let mut gone = Vec::new();
                let mut here = side.seen.clone();
                here.union(dead);
                here.gaps_within(Range::new(0, side.written), &mut gone);
                let mut lost = Vec::new();
                for range in &gone {
                    side.announced.gaps_within(*range, &mut lost);
                }
                let (gone, lost) = (count(&gone), count(&lost));
                sums.announced += if run.ruthless { gone - lost } else { 0 };
                sums.lost += if run.ruthless { lost } else { gone };
                sums.written += side.written;
                sums.twice += side.twice;
                sums.reordered += count(&out_of_order(side, dead));
                sums.dead += count(dead.as_slice());
            }
        }
        sums
    }

    /// What is wrong, in words.
    pub(super) fn complaints(&self) -> Vec<String> {
        let inner = self.inner();
        let mut all = inner.broken.clone();
        all.extend(inner.runs.values().flat_map(|run| &run.sides).filter_map(|side| side.cut.clone()));
        for (name, run) in &inner.runs {
            for (i, stream) in ["stdout", "stderr"].into_iter().enumerate() {
                let (side, mut gone) = (&run.sides[i], Vec::new());
                let mut here = side.seen.clone();
                here.union(&run.dead[i]);
                if run.ruthless {
                    here.union(&side.announced);
                }
                let late = out_of_order(side, &run.dead[i]);
                all.extend(
                    late.iter()
                        .take(20)
                        .map(|range| format!("out of order: {name} {stream} {} to {}", range.start, range.end - 1)),
                );
                here.gaps_within(Range::new(0, side.written), &mut gone);
                all.extend(gone.iter().take(20).map(|range| {
                    format!("missing: {name} {stream} {} to {} of {}", range.start, range.end - 1, side.written)
                }));
            }
        }
        all
    }
}

/// Numbers that came after a higher one. One that was set aside before may come late: when positions were lost, it is read anew.
fn out_of_order(side: &Side, dead: &Ranges) -> Vec<Range> {
    let mut late = Vec::new();
    side.reordered.as_slice().iter().for_each(|range| dead.gaps_within(*range, &mut late));
    late
}

/// Complaints that are kept.
const COMPLAINTS: usize = 500;

fn note(broken: &mut Vec<String>, text: impl FnOnce() -> String) {
    if broken.len() < COMPLAINTS {
        broken.push(text());
    }
}

fn excerpt(line: &[u8]) -> String {
    line[..line.len().min(200)].escape_ascii().to_string()
}

fn stream_of(line: &[u8]) -> usize {
    usize::from(memchr_find(line, b"\"stream\":\"stderr\""))
}

fn memchr_find(line: &[u8], needle: &[u8]) -> bool {
    memchr::memmem::find(line, needle).is_some()
}

fn text_after(line: &[u8], key: &[u8]) -> String {
    let from = memchr::memmem::find(line, key).map_or(line.len(), |at| at + key.len());
    let text = line[from..].split(|byte| *byte == b'"').next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned()
}

/// A message that says how long it is (`bytes=N`) must be so long.
fn is_not_whole(line: &[u8]) -> Option<String> {
    let at = memchr::memmem::find(line, b" bytes=")?;
    let digits = line[at + 7..].split(|byte| !byte.is_ascii_digit()).next().unwrap_or_default();
    let want: usize = std::str::from_utf8(digits).ok()?.parse().ok()?;
    let record = rask_record::Record::decode(line).ok()?;
    (record.message.len() != want).then(|| format!("{} of {want} bytes", record.message.len()))
}
