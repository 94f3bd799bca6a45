//! What the demo shows: on a terminal a block that is redrawn in place, elsewhere a line a second.

use super::forwarder::Forwarder;
use super::{SERVICES, Writers};
use crate::receiver::{Histogram, Ledger, Receiver};
use crate::verify::millis;
use rask_record::{Level, Record};
use std::fmt::Write as _;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// Records shown.
pub(super) const RECORDS: usize = 10;

const DIM: &str = "\x1b[2m";
const BOLD: &str = "\x1b[1m";
const RED: &str = "\x1b[31m";
const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[33m";
const CYAN: &str = "\x1b[36m";
const OFF: &str = "\x1b[0m";

pub(super) struct Screen {
    is_terminal: bool,
    begin: Instant,
    time: Option<Duration>,
    /// Lines of the block on the terminal.
    drawn: usize,
    last: Snapshot,
}

/// What the last drawing saw, for rates since then.
struct Snapshot {
    at: Instant,
    received: [u64; SERVICES.len()],
    cpu: [Duration; SERVICES.len()],
    latency: Histogram,
}

/// One service at one moment.
#[derive(Clone, Copy, Debug, Default)]
struct Row {
    written: Option<u64>,
    received: u64,
    per_second: f64,
    rotations: Option<u64>,
    missing: u64,
    twice: u64,
    rss: u64,
    cpu: f64,
}

impl Screen {
    pub(super) fn new(time: Option<Duration>) -> Self {
        let now = Instant::now();
        let last =
            Snapshot { at: now, received: Default::default(), cpu: Default::default(), latency: Histogram::default() };
        Self { is_terminal: io::stdout().is_terminal(), begin: now, time, drawn: 0, last }
    }

    /// Time between drawings.
    pub(super) fn interval(&self) -> Duration {
        Duration::from_millis(if self.is_terminal { 500 } else { 1000 })
    }

    pub(super) fn draw(
        &mut self,
        receiver: &Receiver,
        writers: &Writers,
        forwarders: &mut [Forwarder],
    ) -> io::Result<()> {
        // Before the ledger: what is written later must not look as if it were on its way for long.
        let usage: Vec<_> = forwarders.iter().map(|forwarder| forwarder.usage().unwrap_or_default()).collect();
        let progress: Vec<_> = (0..SERVICES.len()).map(|service| writers.progress(service)).collect();
        let (mut rows, latency, records) = receiver.ledger(|ledger| {
            let rows: Vec<Row> = SERVICES.iter().map(|service| counts(ledger, service.name)).collect();
            let records: Vec<_> = ledger.arrivals().filter_map(|arrival| Record::decode(&arrival.line).ok()).collect();
            (rows, ledger.latency().clone(), records)
        });
        let now = Instant::now();
        let elapsed = now.duration_since(self.last.at).as_secs_f64().max(1e-3);
        for (i, row) in rows.iter_mut().enumerate() {
            row.written = progress[i].map(|(written, _)| written);
            row.rotations = progress[i].map(|(_, rotations)| rotations);
            row.per_second = (row.received - self.last.received[i]) as f64 / elapsed;
            row.cpu = usage[i].1.saturating_sub(self.last.cpu[i]).as_secs_f64() / elapsed * 100.0;
            row.rss = usage[i].0;
            (self.last.received[i], self.last.cpu[i]) = (row.received, usage[i].1);
        }
        let recent = latency.since(&self.last.latency);
        (self.last.at, self.last.latency) = (now, latency);
        if self.is_terminal { self.redraw(&rows, &recent, &records) } else { self.line(&rows, &recent, &records) }
    }

    fn redraw(&mut self, rows: &[Row], recent: &Histogram, records: &[Record]) -> io::Result<()> {
        // A terminal that does not know its width says 0.
        let width = rustix::termios::tcgetwinsize(io::stdout()).map_or(0, |size| usize::from(size.ws_col));
        let width = if width == 0 { 100 } else { width };
        let of = self.time.map_or(String::new(), |time| format!(" of {}", time.as_secs()));
        let mut lines = vec![
            format!(
                "{BOLD}rask demo{OFF}  3 services, 3 forwarders, {} s{of}  {DIM}Ctrl-C ends it{OFF}",
                self.seconds()
            ),
            String::new(),
            format!(
                "{DIM}{:8}{:>10}{:>10}{:>10}{:>10}{:>9}{:>7}{:>10}{:>7}{OFF}",
                "service", "written", "received", "lines/s", "rotations", "missing", "twice", "RSS", "CPU"
            ),
        ];
        for (service, row) in SERVICES.iter().zip(rows) {
            let or_dash = |number: Option<u64>| number.map_or("-".to_owned(), |number| number.to_string());
            let color = if row.missing + row.twice > 0 { RED } else { GREEN };
            lines.push(format!(
                "{:8}{:>10}{:>10}{:>10.0}{:>10}{color}{:>9}{:>7}{OFF}{:>7.1} MB{:>6.1}%",
                service.name,
                or_dash(row.written),
                row.received,
                row.per_second,
                or_dash(row.rotations),
                row.missing,
                row.twice,
                row.rss as f64 / 1e6,
                row.cpu
            ));
        }
        lines.push(String::new());
        let (p50, p99) = (millis(recent.quantile(0.5)), millis(recent.quantile(0.99)));
        lines.push(format!("written to received   p50 {BOLD}{p50}{OFF}   p99 {BOLD}{p99}{OFF}"));
        lines.push(String::new());
        lines.extend(records.iter().map(show));
        let mut text = String::new();
        if self.drawn > 0 {
            let _ = write!(text, "\x1b[{}F", self.drawn);
        }
        for line in &lines {
            let _ = writeln!(text, "{}\x1b[K", clip(line, width));
        }
        text.push_str("\x1b[J");
        self.drawn = lines.len();
        write_out(&text)
    }

    fn line(&self, rows: &[Row], recent: &Histogram, records: &[Record]) -> io::Result<()> {
        let sum = |of: fn(&Row) -> u64| rows.iter().map(of).sum::<u64>();
        let rss: Vec<String> = rows.iter().map(|row| format!("{:.1}", row.rss as f64 / 1e6)).collect();
        let mut text = format!(
            "{:>3} s  {:.0} lines/s  received {}  p50 {}  p99 {}  rotations {}  missing {}  twice {}  RSS {} MB\n",
            self.seconds(),
            rows.iter().map(|row| row.per_second).sum::<f64>(),
            sum(|row| row.received),
            millis(recent.quantile(0.5)),
            millis(recent.quantile(0.99)),
            sum(|row| row.rotations.unwrap_or(0)),
            sum(|row| row.missing),
            sum(|row| row.twice),
            rss.join(" + "),
        );
        // A few of them, now and then.
        if self.seconds().is_multiple_of(5) {
            for record in records.iter().take(3) {
                let _ = writeln!(text, "       {}", plain(&show(record)));
            }
        }
        write_out(&text)
    }

    fn seconds(&self) -> u64 {
        self.begin.elapsed().as_secs()
    }

    /// Leaves the block where it is.
    pub(super) fn close(&mut self) -> io::Result<()> {
        if self.drawn > 0 { write_out("\n") } else { Ok(()) }
    }
}

fn write_out(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

fn counts(ledger: &Ledger, service: &str) -> Row {
    let mut row = Row::default();
    for sequence in ledger.sequences().iter().filter(|sequence| sequence.service == service) {
        row.received += sequence.distinct();
        row.missing += sequence.missing(0);
        row.twice += sequence.duplicates;
    }
    row
}

/// Time, level, service, message, and what was found in it.
fn show(record: &Record) -> String {
    let color = match record.level {
        Some(Level::Fatal | Level::Error) => RED,
        Some(Level::Warn) => YELLOW,
        Some(Level::Info) => GREEN,
        _ => DIM,
    };
    let level = record.level.as_ref().map_or("-", Level::as_str);
    let time = record.timestamp.get(11..23).unwrap_or(&record.timestamp);
    let mut text = format!("{DIM}{time}{OFF} {color}{level:5}{OFF} {CYAN}{:4}{OFF} ", record.service_name);
    let printable = record.message.chars().map(|c| if c.is_control() { ' ' } else { c });
    text.extend(printable.take(300));
    if let Some(status) = record.status_code {
        let _ = write!(text, " {DIM}status={status}{OFF}");
    }
    for (key, value) in record.fields.iter().take(3) {
        let short: String = value.chars().filter(|c| !c.is_control()).take(30).collect();
        let _ = write!(text, " {DIM}{key}={short}{OFF}");
    }
    text
}

/// Cuts to `width` columns; escape sequences take none.
fn clip(line: &str, width: usize) -> String {
    let (mut out, mut columns, mut is_escape) = (String::new(), 0, false);
    for c in line.chars() {
        if is_escape || c == '\x1b' {
            is_escape = c != 'm';
        } else if columns == width {
            continue;
        } else {
            columns += 1;
        }
        out.push(c);
    }
    out
}

/// Without escape sequences.
fn plain(line: &str) -> String {
    let mut is_escape = false;
    line.chars()
        .filter(|c| {
            let hidden = is_escape || *c == '\x1b';
            is_escape = hidden && *c != 'm';
            !hidden
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clipping_keeps_escapes() {
        let line = format!("{RED}abc{OFF}def");
        assert_eq!(clip(&line, 4), format!("{RED}abc{OFF}d"));
        assert_eq!(clip(&line, 2), format!("{RED}ab{OFF}"));
        assert_eq!(clip(&line, 9), line);
        assert_eq!(plain(&line), "abcdef");
    }

    #[test]
    fn a_record_on_one_line() {
        let line = br#"{"message":"a\n\u001b[2Jb","level":"Error","timestamp":"2026-11-21T13:31:08.943906164Z","service_name":"db","status_code":500,"fields":{"k":"v\u001b"}}"#;
        let shown = show(&Record::decode(line).unwrap());
        assert_eq!(plain(&shown), "13:31:08.943 Error db   a  [2Jb status=500 k=v");
        assert!(shown.contains(RED));
    }
}
