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
    /// Progress is redrawn on one line, for a terminal; else a line each second.
    pub in_place: bool,
}

/// Holes that are told of each sequence.
const HOLES: usize = 20;

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

/// Receives until the expectation is met, its time is over or `stop` is set, and reports to `out`. Whether something came,
/// and all of it exactly once.
pub fn run(options: Options, expectation: &Expectation, stop: &Stop, out: &mut impl Write) -> io::Result<bool> {
    let receiver = Receiver::start(options)?;
    writeln!(out, "listening on {}", receiver.url())?;
    let begin = Instant::now();
    let (mut last, mut quiet_since) = (0, Instant::now());
    let mut shown = Instant::now();
    let every = Duration::from_millis(if expectation.in_place { 200 } else { 1_000 });
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
        if shown.elapsed() >= every {
            shown = Instant::now();
            let text = receiver.ledger(|ledger| progress(ledger, expectation));
            if expectation.in_place {
                write!(out, "\r{text}\x1b[K")?;
                out.flush()?;
            } else {
                writeln!(out, "{text}")?;
            }
        }
    }
    if expectation.in_place {
        writeln!(out)?;
    }
    receiver.stop_listening();
    receiver.ledger(|ledger| report(ledger, expectation, out))
}

fn progress(ledger: &Ledger, expectation: &Expectation) -> String {
    let Judgement { missing, duplicates, reordered, late } = Judgement::of(ledger, expectation.seq_start, None);
    format!(
        "{} records, {missing} missing, {duplicates} twice, {reordered} out of order, {late} late, p50 {}, p99 {}",
        ledger.totals().records,
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
        let holes = sequence.holes(expectation.seq_start);
        for hole in holes.iter().take(HOLES) {
            writeln!(out, "  missing: {} to {}", hole.start, hole.end - 1)?;
        }
        if holes.len() > HOLES {
            writeln!(out, "  and {} more holes", holes.len() - HOLES)?;
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
    let nothing = ledger.distinct() == 0;
    writeln!(
        out,
        "{}: {} missing, {} twice, {} out of order, {} late",
        match (nothing, judgement.is_exact()) {
            (true, _) => "NOTHING CAME",
            (false, true) => "ok",
            (false, false) => "NOT EXACT",
        },
        judgement.missing,
        judgement.duplicates,
        judgement.reordered,
        judgement.late
    )?;
    Ok(judgement.is_exact() && !nothing)
}

/// `1.23 ms`.
pub fn millis(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::TcpStream;

    fn record(seq: u64) -> String {
        let id = "a".repeat(64);
        format!(
            "{{\"service_type\":\"plain\",\"log_type\":\"plain\",\"message\":\"x seq={seq} run=r\",\
             \"timestamp\":\"1970-01-01T00:00:01Z\",\"stream\":\"stdout\",\"container_id\":\"{id}\",\
             \"service_name\":\"api\",\"fields\":{{}}}}\n"
        )
    }

    /// Posts records with these numbers to a verifier that ends by itself; what it said, and its verdict.
    fn verify(seqs: &[u64], in_place: bool) -> (String, bool) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let listen = listener.local_addr().unwrap();
        drop(listener);
        let expectation = Expectation {
            count: Some(seqs.len() as u64),
            time: Some(Duration::from_secs(3)),
            in_place,
            ..Default::default()
        };
        let body: String = seqs.iter().map(|seq| record(*seq)).collect();
        let mut out = Vec::new();
        let verdict = std::thread::scope(|scope| {
            scope.spawn(move || {
                if body.is_empty() {
                    return;
                }
                let mut stream = std::iter::repeat_with(|| TcpStream::connect(listen)).take(3_000).find_map(|stream| {
                    std::thread::sleep(Duration::from_millis(1));
                    stream.ok()
                });
                let stream = stream.as_mut().expect("it listens");
                let length = body.len();
                write!(stream, "POST /v1/aggregate HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}")
                    .unwrap();
                stream.read_to_end(&mut Vec::new()).unwrap();
            });
            let options = Options { listen, detail: crate::receiver::Detail::Counts, ..Options::default() };
            run(options, &expectation, &Stop::new(), &mut out).unwrap()
        });
        (String::from_utf8(out).unwrap(), verdict)
    }

    #[test]
    fn says_what_is_missing_and_judges() {
        let (said, verdict) = verify(&[0, 1, 2], false);
        assert!(verdict && said.contains("ok: 0 missing, 0 twice") && !said.contains('\r'), "{said}");
        let (said, verdict) = verify(&[0, 1, 5, 5, 3], true);
        assert!(!verdict && said.contains("\r5 records, 2 missing, 1 twice, 1 out of order, 5 late"), "{said}");
        assert!(said.contains("missing: 2 to 2\n") && said.contains("missing: 4 to 4\n"), "{said}");
        let (said, verdict) = verify(&[], false);
        assert!(!verdict && said.contains("NOTHING CAME"), "{said}");
    }
}
