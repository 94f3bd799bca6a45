//! The four corpora, as Docker's daemon would have left them on disk: a containers directory with one container and its log.
//!
//! | | what | bytes a line on disk |
//! |---|---|---|
//! | a | a Go service's slog JSON, 33 escapes a line | 336 |
//! | b | nginx, combined | 256 |
//! | c | PostgreSQL's stderr, statements of several lines, errors with their STATEMENT | 171 |
//! | d | plain text of 120 bytes | 186 |
//!
//! Each *event* carries its number as `seq`, once, in a form that survives parsing, and becomes one record: what must arrive is
//! known before anything is measured. An event of c is one to four lines. The same seed gives the same lines, and times are
//! those of a service that writes 100,000 lines a second and has just stopped.

use fastrand::Rng;
use rask::clock;
use rask::layout::{Container, Spec, Stream, put_envelope};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

/// The Compose service of every container here.
pub(super) const SERVICE: &str = "bench";

/// Between two lines, in nanoseconds. Not round, so that all digits of the time change: Docker leaves zeros at its end out.
const LINE_NANOS: i64 = 10_007;

/// One of the four.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Corpus {
    /// Go slog JSON, dense with escapes
    A,
    /// nginx combined
    B,
    /// PostgreSQL stderr with reports of several lines
    C,
    /// Plain text
    D,
}

impl Corpus {
    pub(super) const ALL: [Self; 4] = [Self::A, Self::B, Self::C, Self::D];

    /// For tables.
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::A => "a Go slog JSON",
            Self::B => "b nginx combined",
            Self::C => "c PostgreSQL",
            Self::D => "d plain",
        }
    }

    /// For directories.
    pub(super) fn letter(self) -> &'static str {
        &self.text()[..1]
    }

    fn stream(self) -> Stream {
        if self == Self::C { Stream::Stderr } else { Stream::Stdout }
    }

    /// Appends event number `seq`: its lines, each with its `\n`. `time` is the program's own.
    fn event(self, rng: &mut Rng, seq: u64, time: i64, out: &mut Vec<u8>) {
        match self {
            Self::A => go(rng, seq, time, out),
            Self::B => nginx(rng, seq, time, out),
            Self::C => postgres(rng, seq, time, out),
            Self::D => plain(rng, seq, time, out),
        }
    }

    /// Envelopes of the first lines of so many events, up to their time, which is to be appended with `"}` and a newline.
    pub(super) fn heads(self, count: u64) -> Vec<Vec<u8>> {
        let (mut rng, mut message) = (Rng::with_seed(7), Vec::new());
        let head = |seq| {
            message.clear();
            self.event(&mut rng, seq, clock::now(), &mut message);
            let first = message.split_inclusive(|byte| *byte == b'\n').next().unwrap_or_default();
            let mut envelope = Vec::new();
            put_envelope(&mut envelope, first, self.stream(), "", 0);
            envelope.truncate(envelope.len() - "1970-01-01T00:00:00Z\"}\n".len());
            envelope
        };
        (0..count).map(head).collect()
    }
}

const METHODS: [&str; 4] = ["GET", "GET", "POST", "PUT"];
const PATHS: [&str; 4] = ["/api/v1/orders", "/api/v1/users/17", "/static/app.3f2a.js", "/api/v1/cart/items"];
const STATUSES: [u16; 6] = [200, 200, 200, 201, 404, 502];

fn pick<T: Copy>(rng: &mut Rng, from: &[T]) -> T {
    from[rng.usize(..from.len())]
}

/// Writing to a vector cannot fail.
macro_rules! put {
    ($out:expr, $($text:tt)*) => {{ let _ = write!($out, $($text)*); }};
}

fn go(rng: &mut Rng, seq: u64, time: i64, out: &mut Vec<u8>) {
    let level = pick(rng, &["INFO", "INFO", "INFO", "WARN"]);
    let text =
        pick(rng, &["request completed, answer taken from the cache", "request completed, upstream was asked twice"]);
    out.extend_from_slice(b"{\"time\":\"");
    clock::put_rfc3339(out, time);
    put!(out, "\",\"level\":\"{level}\",\"msg\":\"{text}\",\"seq\":{seq},\"method\":\"{}\"", pick(rng, &METHODS));
    put!(out, ",\"path\":\"{}\",\"status\":{}", pick(rng, &PATHS), pick(rng, &STATUSES));
    put!(out, ",\"request_id\":\"{:016x}\",\"user_id\":\"u-{:06}\"}}\n", rng.u64(..), rng.u32(..1_000_000));
}

fn nginx(rng: &mut Rng, seq: u64, time: i64, out: &mut Vec<u8>) {
    put!(out, "10.0.{}.{} - - [", rng.u8(..), rng.u8(..));
    clock::put_nginx(out, time);
    put!(out, "] \"{} {}?seq={seq} HTTP/1.1\" ", pick(rng, &METHODS), pick(rng, &PATHS));
    put!(out, "{} {} \"-\" ", pick(rng, &STATUSES), rng.u32(..100_000));
    out.extend_from_slice(b"\"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0 Shop\"\n");
}

/// Of twenty events two are errors, each with its STATEMENT, and three are statements of three or four lines.
fn postgres(rng: &mut Rng, seq: u64, time: i64, out: &mut Vec<u8>) {
    let (pid, kind) = (rng.u16(60..400), rng.u8(..20));
    let prefix = |out: &mut Vec<u8>| {
        clock::put_plain(out, time, '-');
        put!(out, ".{:03} UTC [{pid}] app@shop ", clock::Parts::of(time).nanos / 1_000_000);
    };
    prefix(out);
    match kind {
        0 | 1 => {
            put!(out, "ERROR:  duplicate key value violates \"orders_pkey\" seq={seq}\n");
            prefix(out);
            put!(out, "STATEMENT:  INSERT INTO orders (id, customer) VALUES ({pid}, 'shop')\n");
        }
        2..5 => {
            put!(out, "LOG:  statement: SELECT o.id, sum(i.price) -- seq={seq}\n");
            put!(out, "\t  FROM orders o JOIN items i ON i.order_id = o.id AND i.kind < {}\n", rng.u8(..));
            if kind == 4 {
                put!(out, "\t WHERE o.customer = {pid} AND o.placed > now() - interval '1 day'\n");
            }
            put!(out, "\t GROUP BY o.id ORDER BY o.id LIMIT {}\n", rng.u8(..));
        }
        _ => {
            let micros = rng.u32(20..90_000);
            put!(out, "LOG:  duration: {}.{:03} ms  statement: ", micros / 1000, micros % 1000);
            put!(out, "SELECT * FROM users WHERE id={pid} -- seq={seq}\n");
        }
    }
}

fn plain(rng: &mut Rng, seq: u64, time: i64, out: &mut Vec<u8>) {
    clock::put_plain(out, time, '-');
    let level = pick(rng, &["INFO", "INFO", "INFO", "DEBUG", "WARN"]);
    put!(out, " {level} [worker-{}] job {:08} finished after {} ", rng.u8(1..9), rng.u32(..100_000_000), rng.u8(2..9));
    put!(out, "retries in the background, next in {} s seq={seq}\n", rng.u8(10..60));
}

/// A log that waits to be read.
#[derive(Clone, Debug)]
pub(super) struct Backlog {
    /// For `DOCKER_CONTAINERS_DIR`.
    pub(super) containers: PathBuf,
    /// The log itself.
    pub(super) log: PathBuf,
    pub(super) lines: u64,
    /// What must arrive, numbered from 0.
    pub(super) records: u64,
    pub(super) bytes: u64,
}

impl Backlog {
    /// At least `lines` lines of `corpus` in a new directory below `dir`.
    pub(super) fn write(corpus: Corpus, dir: &Path, lines: u64) -> io::Result<Self> {
        let mut backlog = Self::empty(&dir.join(corpus.letter()))?;
        let mut file = BufWriter::with_capacity(1 << 20, File::create(&backlog.log)?);
        let (mut rng, mut event, mut envelope) = (Rng::with_seed(7), Vec::new(), Vec::new());
        let mut time = clock::now() - LINE_NANOS * i64::try_from(lines).unwrap_or(0);
        while backlog.lines < lines {
            event.clear();
            corpus.event(&mut rng, backlog.records, time, &mut event);
            for line in event.split_inclusive(|byte| *byte == b'\n') {
                envelope.clear();
                put_envelope(&mut envelope, line, corpus.stream(), "", time);
                file.write_all(&envelope)?;
                backlog.bytes += envelope.len() as u64;
                backlog.lines += 1;
                time += LINE_NANOS;
            }
            backlog.records += 1;
        }
        // What is still to be written to the disk would be written while something is measured.
        file.into_inner()?.sync_all()?;
        Ok(backlog)
    }

    /// The same log again and again, until it has `bytes`.
    pub(super) fn repeated(&self, dir: &Path, bytes: u64) -> io::Result<Self> {
        let mut backlog = Self::empty(dir)?;
        let mut file = File::create(&backlog.log)?;
        while backlog.bytes < bytes {
            backlog.bytes += io::copy(&mut File::open(&self.log)?, &mut file)?;
            backlog.lines += self.lines;
            backlog.records += self.records;
        }
        file.sync_all()?;
        Ok(backlog)
    }

    fn empty(dir: &Path) -> io::Result<Self> {
        let containers = dir.join("containers");
        let mut container = Container::start(&containers, Spec::service(SERVICE))?;
        let log = container.log().path().to_owned();
        Ok(Self { containers, log, lines: 0, records: 0, bytes: 0 })
    }

    /// Sum of all numbers, when each record comes once.
    pub(super) fn seq_sum(&self) -> u64 {
        self.records * self.records.saturating_sub(1) / 2
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rask::receiver::mark_of;

    #[test]
    fn lines_are_as_long_as_they_are_said_to_be() {
        let dir = tempfile::tempdir().unwrap();
        for (corpus, want) in Corpus::ALL.into_iter().zip([336.0, 256.0, 171.0, 186.0]) {
            let backlog = Backlog::write(corpus, dir.path(), 20_000).unwrap();
            let text = std::fs::read_to_string(&backlog.log).unwrap();
            assert_eq!((text.len() as u64, text.lines().count() as u64), (backlog.bytes, backlog.lines));
            let mean = backlog.bytes as f64 / backlog.lines as f64;
            assert!((mean / want - 1.0).abs() < 0.03, "{corpus:?} {mean}");
        }
    }

    #[test]
    fn go_has_33_escapes_a_line() {
        for head in Corpus::A.heads(50) {
            assert_eq!(head.iter().filter(|byte| **byte == b'\\').count(), 33);
        }
    }

    #[test]
    fn heads_want_nothing_but_a_time() {
        for head in Corpus::ALL.into_iter().flat_map(|corpus| corpus.heads(50)) {
            let entry: serde_json::Value = serde_json::from_slice(&[&head[..], b"now\"}\n"].concat()).unwrap();
            assert_eq!(entry["time"], "now");
            let log = entry["log"].as_str().unwrap();
            assert_eq!(log.find('\n'), Some(log.len() - 1), "{log}");
        }
    }

    #[test]
    fn every_event_has_its_number_once_and_in_front() {
        for corpus in Corpus::ALL {
            let mut rng = Rng::with_seed(7);
            for seq in 0..300 {
                let mut event = Vec::new();
                corpus.event(&mut rng, seq, 1_795_267_868_943_906_164, &mut event);
                let marks: Vec<_> = event.split(|byte| *byte == b'\n').map(|l| mark_of(l).map(|m| m.seq)).collect();
                assert_eq!(marks[0], Some(seq), "{}", String::from_utf8_lossy(&event));
                assert!(marks[1..].iter().all(Option::is_none));
            }
        }
    }
}
