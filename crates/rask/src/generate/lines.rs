//! Lines as real programs write them.
//!
//! Where the sequence number and the run's name stand, so that they survive each format's parser:
//!
//! | format | in the line | in the record |
//! |---|---|---|
//! | go | keys `"seq":N`, `"run":"…"` | `fields.seq`, `fields.run` |
//! | nginx | query `?seq=N&run=…` | `path` (access), `message` (error) |
//! | postgres, plain | words `seq=N run=…` | `message` |
//!
//! No I/O, no clock. The same seed gives the same lines.

use crate::clock::{self, put};
use crate::layout::Stream;
use fastrand::Rng;

/// What kind of program writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// A Go service with slog's JSON handler.
    Go,
    /// nginx: combined access log on stdout, error log on stderr.
    Nginx,
    /// PostgreSQL with Debian's log_line_prefix; some errors, each followed by its STATEMENT.
    Postgres,
    /// Timestamp, level word, free text.
    Plain,
}

/// Makes one event after the other.
#[derive(Debug)]
pub struct Lines {
    format: Format,
    run: String,
    size: usize,
    rng: Rng,
}

const METHODS: [&str; 8] = ["GET", "GET", "GET", "GET", "POST", "PUT", "DELETE", "HEAD"];
const PATHS: [&str; 8] = [
    "/",
    "/index.html",
    "/api/v1/orders",
    "/api/v1/orders/8f14e45f/items",
    "/static/app.3c59dc.js",
    "/caf%C3%A9/men%C3%BC",
    "/login",
    "/healthz",
];
const STATUSES: [u16; 12] = [200, 200, 200, 200, 200, 201, 204, 301, 304, 404, 500, 502];
const AGENTS: [&str; 6] = [
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 19_1 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148",
    "curl/8.14.1",
    "Go-http-client/2.0",
    "kube-probe/1.34",
    "-",
];
const USERS: [&str; 4] = ["shop", "billing", "reports", "postgres"];
const WORDS: [&str; 6] = [
    "order placed",
    "cache refreshed",
    "payment provider answered",
    "worker <7> took the job & finished",
    "said \"done\" at C:\\temp",
    "grüße aus Köln ✓",
];

impl Lines {
    /// `run` names the run in every event; `size` pads events to about so many bytes, 0 leaves them as they are.
    pub fn new(format: Format, run: &str, size: usize, seed: u64) -> Self {
        Self { format, run: run.to_owned(), size, rng: Rng::with_seed(seed) }
    }

    /// Appends the event numbered `seq`: one line, rarely two, each with its `\n`.
    pub fn event(&mut self, stream: Stream, seq: u64, time: i64, out: &mut Vec<u8>) {
        let from = out.len();
        match (self.format, stream) {
            (Format::Go, _) => self.go(stream, seq, time, from, out),
            (Format::Nginx, Stream::Stdout) => self.nginx_access(seq, time, from, out),
            (Format::Nginx, Stream::Stderr) => self.nginx_error(seq, time, from, out),
            (Format::Postgres, _) => self.postgres(seq, time, from, out),
            (Format::Plain, _) => self.plain(stream, seq, time, from, out),
        }
        out.push(b'\n');
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.rng.usize(..from.len())]
    }

    fn ip(&mut self) -> String {
        if self.rng.u8(..) < 16 {
            return format!("2001:db8::{:x}", self.rng.u16(..));
        }
        format!("10.{}.{}.{}", self.rng.u8(..4), self.rng.u8(..), self.rng.u8(1..255))
    }

    /// Filler that brings the event which began at `from` to `size`, given that `rest` bytes still come.
    fn put_padding(&mut self, from: usize, rest: usize, out: &mut Vec<u8>) {
        let missing = self.size.saturating_sub(out.len() - from + rest);
        out.extend(std::iter::repeat_with(|| self.rng.alphanumeric() as u8).take(missing));
    }

    fn go(&mut self, stream: Stream, seq: u64, time: i64, from: usize, out: &mut Vec<u8>) {
        let level = match stream {
            Stream::Stderr => "ERROR",
            Stream::Stdout => self.pick(&["INFO", "INFO", "INFO", "INFO", "DEBUG", "WARN"]),
        };
        let (method, path, status) = (self.pick(&METHODS), self.pick(&PATHS), self.pick(&STATUSES));
        let message = self.pick(&WORDS).replace('\\', "\\\\").replace('"', "\\\"");
        let (trace, span, micros) = (self.rng.u128(..), self.rng.u64(..), self.rng.u32(80..900_000));
        out.extend_from_slice(b"{\"time\":\"");
        clock::put_rfc3339(out, time);
        put(out, format_args!("\",\"level\":\"{level}\",\"msg\":\"{message}\",\"seq\":{seq},\"run\":\"{}\"", self.run));
        put(out, format_args!(",\"trace_id\":\"{trace:032x}\",\"span_id\":\"{span:016x}\""));
        put(out, format_args!(",\"http\":{{\"method\":\"{method}\",\"path\":\"{path}\",\"status\":{status}}}"));
        put(out, format_args!(",\"took_ms\":{}.{:03},\"cached\":{}", micros / 1000, micros % 1000, self.rng.bool()));
        if level == "ERROR" {
            out.extend_from_slice(b",\"err\":\"dial tcp 10.0.0.7:5432: connect: connection refused\\n\\tretrying\"");
        }
        if self.size > 0 {
            out.extend_from_slice(b",\"pad\":\"");
            self.put_padding(from, 3, out);
            out.push(b'"');
        }
        out.push(b'}');
    }

    fn nginx_access(&mut self, seq: u64, time: i64, from: usize, out: &mut Vec<u8>) {
        let (ip, method, path) = (self.ip(), self.pick(&METHODS), self.pick(&PATHS));
        let (status, bytes, agent) = (self.pick(&STATUSES), self.rng.u32(..40_000), self.pick(&AGENTS));
        let referer = self.pick(&["-", "https://shop.example/"]);
        put(out, format_args!("{ip} - - ["));
        clock::put_nginx(out, time);
        put(out, format_args!("] \"{method} {path}?seq={seq}&run={}", self.run));
        if self.size > 0 {
            out.extend_from_slice(b"&pad=");
            self.put_padding(from, 30 + referer.len() + agent.len(), out);
        }
        put(out, format_args!(" HTTP/1.1\" {status} {bytes} \"{referer}\" \"{agent}\""));
    }

    fn nginx_error(&mut self, seq: u64, time: i64, from: usize, out: &mut Vec<u8>) {
        let (ip, path, connection) = (self.ip(), self.pick(&PATHS), self.rng.u32(1..100_000));
        clock::put_plain(out, time, '/');
        put(out, format_args!(" [error] 29#29: *{connection} connect() failed (111: Connection refused) "));
        put(out, format_args!("while connecting to upstream, client: {ip}, server: shop.example, "));
        put(out, format_args!("request: \"GET {path}?seq={seq}&run={}", self.run));
        if self.size > 0 {
            out.extend_from_slice(b"&pad=");
            self.put_padding(from, 80, out);
        }
        out.extend_from_slice(b" HTTP/1.1\", upstream: \"http://10.0.0.7:8080/\", host: \"shop.example\"");
    }

    fn postgres(&mut self, seq: u64, time: i64, from: usize, out: &mut Vec<u8>) {
        let (pid, user, kind) = (self.rng.u16(60..400), self.pick(&USERS), self.rng.u8(..20));
        let mut prefix = Vec::new();
        clock::put_plain(&mut prefix, time, '-');
        put(&mut prefix, format_args!(".{:03} UTC [{pid}] ", clock::Parts::of(time).nanos / 1_000_000));
        if kind != 0 {
            put(&mut prefix, format_args!("{user}@{user} "));
        }
        out.extend_from_slice(&prefix);
        let (micros, run) = (self.rng.u32(20..90_000), &self.run);
        match kind {
            0 => put(out, format_args!("LOG:  checkpoint complete: wrote {micros} buffers seq={seq} run={run}")),
            1 => put(out, format_args!("ERROR:  duplicate key value violates \"orders_pkey\" seq={seq} run={run}")),
            2 => put(out, format_args!("FATAL:  password authentication failed for \"{user}\" seq={seq} run={run}")),
            _ => {
                put(out, format_args!("LOG:  duration: {}.{:03} ms  statement: ", micros / 1000, micros % 1000));
                put(out, format_args!("SELECT * FROM orders WHERE id = {pid} -- seq={seq} run={run}"));
            }
        }
        if self.size > 0 {
            out.extend_from_slice(b" pad=");
            self.put_padding(from, 1, out);
        }
        if kind == 1 {
            out.push(b'\n');
            out.extend_from_slice(&prefix);
            put(out, format_args!("STATEMENT:  INSERT INTO orders (id, customer) VALUES ({pid}, '{user}')"));
        }
    }

    fn plain(&mut self, stream: Stream, seq: u64, time: i64, from: usize, out: &mut Vec<u8>) {
        let level = match stream {
            Stream::Stderr => "ERROR",
            Stream::Stdout => self.pick(&["INFO", "INFO", "INFO", "DEBUG", "WARN"]),
        };
        let (words, thread) = (self.pick(&WORDS), self.rng.u8(1..9));
        clock::put_plain(out, time, '-');
        put(out, format_args!(" {level} [worker-{thread}] {words} seq={seq} run={}", self.run));
        if self.size > 0 {
            out.extend_from_slice(b" pad=");
            self.put_padding(from, 1, out);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::receiver::mark_of;

    const FORMATS: [Format; 4] = [Format::Go, Format::Nginx, Format::Postgres, Format::Plain];
    const STREAMS: [Stream; 2] = [Stream::Stdout, Stream::Stderr];

    fn event(lines: &mut Lines, stream: Stream, seq: u64) -> String {
        let mut out = Vec::new();
        lines.event(stream, seq, 1_795_267_868_943_906_164, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_event_carries_its_number_and_run_once() {
        for format in FORMATS {
            for stream in STREAMS {
                let mut lines = Lines::new(format, "ab12", 0, 7);
                for seq in 0..500 {
                    let event = event(&mut lines, stream, seq);
                    let marks: Vec<_> = event.lines().filter_map(|line| mark_of(line.as_bytes())).collect();
                    assert_eq!(marks.len(), 1, "{event}");
                    assert_eq!((marks[0].seq, marks[0].run), (seq, &b"ab12"[..]), "{event}");
                    assert!(
                        mark_of(event.lines().next().unwrap().as_bytes()).is_some(),
                        "the number is in the first line"
                    );
                    assert!(event.ends_with('\n'));
                }
            }
        }
    }

    #[test]
    fn size_is_kept_closely() {
        for format in FORMATS {
            for stream in STREAMS {
                let mut lines = Lines::new(format, "ab12", 2000, 7);
                for seq in 0..100 {
                    let event = event(&mut lines, stream, seq);
                    let first = event.lines().next().unwrap().len();
                    assert!((1970..=2030).contains(&first), "{format:?} {stream} {first}");
                }
            }
        }
    }

    #[test]
    fn go_lines_are_json_and_vary() {
        let mut lines = Lines::new(Format::Go, "r", 300, 7);
        let mut messages = std::collections::HashSet::new();
        for seq in 0..200 {
            let value: serde_json::Value = serde_json::from_str(&event(&mut lines, Stream::Stdout, seq)).unwrap();
            assert_eq!(value["seq"], seq);
            assert!(value["http"]["status"].is_u64());
            messages.insert(value["msg"].as_str().unwrap().to_owned());
        }
        assert_eq!(messages.len(), WORDS.len());
    }

    #[test]
    fn postgres_errors_bring_their_statement() {
        let mut lines = Lines::new(Format::Postgres, "r", 0, 7);
        let events: Vec<_> = (0..500).map(|seq| event(&mut lines, Stream::Stderr, seq)).collect();
        let errors: Vec<_> = events.iter().filter(|event| event.contains("ERROR:  ")).collect();
        assert!(!errors.is_empty());
        for error in errors {
            let (first, second) = error.trim_end().split_once('\n').unwrap();
            let prefix = first.split("ERROR:  ").next().unwrap();
            assert!(prefix.starts_with("2026-11-21 13:31:08.943 UTC ["), "{prefix}");
            assert!(second.starts_with(&format!("{prefix}STATEMENT:  ")), "{second}");
        }
    }
}
