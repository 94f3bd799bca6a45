//! `rask verify`: a standing receiving end that judges what it gets.

use crate::receiver::{Ledger, Options, Receiver};
use crate::stop::Stop;
use std::io::{self, Write};
use std::time::{Duration, Instant};

/// What to wait for and what to hold against it.
#[derive(Clone, Debug, Default)]
pub struct Expectation {
    /// Records with a number that must come; then it ends by itself.
    pub count: Option<u64>,
    /// Time after which it ends.
    pub time: Option<Duration>,
    /// First number of each sequence.
    pub seq_start: u64,
    /// Time without a request after which `count` counts as final, so that repeats of the last batches are seen.
    pub quiet: Duration,
}

/// What was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// Numbers that did not come.
    pub missing: u64,
    /// Records that came more than once.
    pub duplicates: u64,
    /// Records that came after a later one of their stream.
    pub reordered: u64,
    /// Records that came more than a second after they were written.
    pub late: u64,
}

impl Judgement {
    /// Judges a ledger. `count` is known from elsewhere: what never came leaves no hole behind the last number.
    pub fn of(ledger: &Ledger, seq_start: u64, count: Option<u64>) -> Self {
        let short = count.map_or(0, |count| count.saturating_sub(ledger.distinct()));
        Self {
            missing: ledger.missing(seq_start).max(short),
            duplicates: ledger.duplicates(),
            reordered: ledger.reordered(),
            late: ledger.totals().late,
        }
    }

    /// Whether every record came exactly once.
    pub fn is_exact(self) -> bool {
        self.missing == 0 && self.duplicates == 0
    }
}

/// Receives until the expectation is met, its time is over or `stop` is set, and reports to `out`. Whether all came exactly once.
pub fn run(options: Options, expectation: &Expectation, stop: &Stop, out: &mut impl Write) -> io::Result<bool> {
    let receiver = Receiver::start(options)?;
    writeln!(out, "listening on {}", receiver.url())?;
    let begin = Instant::now();
    let (mut last, mut quiet_since) = (0, Instant::now());
    let mut shown = Instant::now();
    while !stop.wait(Duration::from_millis(50)) {
        let (requests, distinct) = receiver.ledger(|ledger| (ledger.totals().requests, ledger.distinct()));
        if requests != last {
            (last, quiet_since) = (requests, Instant::now());
        }
        let is_all = expectation.count.is_some_and(|count| distinct >= count);
        if is_all && quiet_since.elapsed() >= expectation.quiet {
            break;
        }
        if expectation.time.is_some_and(|time| begin.elapsed() >= time) {
            break;
        }
        if shown.elapsed() >= Duration::from_secs(1) {
            shown = Instant::now();
            receiver.ledger(|ledger| progress(ledger, expectation, out))?;
        }
    }
    receiver.stop_listening();
    receiver.ledger(|ledger| report(ledger, expectation, out))
}

fn progress(ledger: &Ledger, expectation: &Expectation, out: &mut impl Write) -> io::Result<()> {
    let judgement = Judgement::of(ledger, expectation.seq_start, None);
    writeln!(
        out,
        "{} records, {} missing, {} twice, p50 {}, p99 {}",
        ledger.totals().records,
        judgement.missing,
        judgement.duplicates,
        millis(ledger.latency().quantile(0.5)),
        millis(ledger.latency().quantile(0.99)),
    )
}

fn report(ledger: &Ledger, expectation: &Expectation, out: &mut impl Write) -> io::Result<bool> {
    let judgement = Judgement::of(ledger, expectation.seq_start, expectation.count);
    for sequence in ledger.sequences() {
        writeln!(
            out,
            "{} {} run {}: {} records, {} missing, {} twice, {} out of order",
            sequence.service,
            sequence.stream,
            sequence.run,
            sequence.records,
            sequence.missing(expectation.seq_start),
            sequence.duplicates,
            sequence.reordered,
        )?;
        for hole in sequence.holes(expectation.seq_start).iter().take(5) {
            writeln!(out, "  missing: {} to {}", hole.start, hole.end - 1)?;
        }
    }
    let (totals, latency) = (ledger.totals(), ledger.latency());
    writeln!(
        out,
        "{} records in {} batches, {} without a number, {} malformed; batches repeated {}, overlapping {}",
        totals.records, totals.batches, totals.unmarked, totals.malformed, totals.duplicate_batches, totals.overlaps
    )?;
    writeln!(
        out,
        "written to received: p50 {}, p99 {}, longest {}; {} later than 1 s",
        millis(latency.quantile(0.5)),
        millis(latency.quantile(0.99)),
        millis(latency.max()),
        totals.late
    )?;
    for violation in ledger.violations().iter().take(10) {
        writeln!(out, "violation: {violation}")?;
    }
    writeln!(
        out,
        "{}: {} missing, {} twice, {} out of order, {} late",
        if judgement.is_exact() { "ok" } else { "NOT EXACT" },
        judgement.missing,
        judgement.duplicates,
        judgement.reordered,
        judgement.late
    )?;
    Ok(judgement.is_exact())
}

/// `1.23 ms`.
pub fn millis(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}
