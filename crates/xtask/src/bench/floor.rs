//! The floor programs: what the machine takes for the same way of the bytes, when nothing is understood. Each runs as a process
//! of its own, pinned like the forwarder, against the same receiver.
//!
//! *Splice*, the floor of catching up: read 64 KiB, find each line's end and its envelope's tail, put constant metadata in front,
//! post bodies of 256 KiB. A message that is a JSON object becomes the value of `message`, so that its escapes go; text stays the
//! JSON string that it is, since taking its escapes away and putting them back gives the same bytes. No field is looked at; a line
//! comes out as valid JSON all the same (the tests hold it against serde_json).
//!
//! *Echo*, the floor of latency: inotify, read, post what is there, wait for the answer.
//!
//! Made fast, since a slow floor would flatter the forwarder:
//! 1. The tail is found from behind: its parts have fixed lengths but the time.
//! 2. Escapes are found by a mask over 64 bytes, not by one search each; between them 16 bytes are copied at a time, past the
//!    end, into room that is there.
//! 3. The answer to a body is waited for only when the next one is ready; head and body go out by one vectored write.

use std::fs::File;
use std::io::{self, IoSlice, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};

/// Asked of one `read(2)`.
const READ_BYTES: usize = 64 << 10;
/// Of one body.
const BODY_BYTES: usize = 256 << 10;
/// Longest line.
const LINE_BYTES: usize = 256 << 10;
/// Readable behind the input and writable behind the output, so that no copy has to look for the end.
const SLACK: usize = 64;

/// A floor program of `cargo xtask bench`, which starts it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The log to be read
    #[arg(long)]
    log: PathBuf,
    /// The receiver
    #[arg(long)]
    to: SocketAddr,
    /// Follow the log and send its lines as they are, instead of reading it to its end
    #[arg(long)]
    echo: bool,
}

/// Runs it. When all is acknowledged it waits for the end of standard input, so that it can be measured.
pub(crate) fn run(args: &Args) -> io::Result<()> {
    if args.echo {
        return echo(&args.log, args.to);
    }
    splice(&args.log, args.to)?;
    io::copy(&mut io::stdin(), &mut io::sink()).map(drop)
}

/// One connection, one body in the air.
struct Post {
    stream: TcpStream,
    is_open: bool,
}

impl Post {
    fn connect(to: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(to)?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, is_open: false })
    }

    fn send(&mut self, body: &[u8]) -> io::Result<()> {
        self.settle()?;
        let head = format!(
            "POST /v1/aggregate HTTP/1.1\r\nhost: floor\r\ncontent-type: application/x-ndjson\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let mut slices = [IoSlice::new(head.as_bytes()), IoSlice::new(body)];
        let mut rest = &mut slices[..];
        while !rest.is_empty() {
            let n = self.stream.write_vectored(rest)?;
            IoSlice::advance_slices(&mut rest, n);
        }
        self.is_open = true;
        Ok(())
    }

    /// Waits for the answer that is due: the receiver sends each by one write, with a body that ends in `}`.
    fn settle(&mut self) -> io::Result<()> {
        let (mut answer, mut filled) = ([0; 512], 0);
        while std::mem::take(&mut self.is_open) {
            filled += self.stream.read(&mut answer[filled..])?;
            if !answer[..filled].starts_with(b"HTTP/1.1 200") {
                return Err(io::Error::other("the receiver did not answer with 200"));
            }
            self.is_open = answer[filled - 1] != b'}';
        }
        Ok(())
    }
}

/// Whole lines of a file, 64 KiB at a time.
struct Lines {
    file: File,
    buffer: Vec<u8>,
    /// Bytes at the front that belong to a line without its end.
    kept: usize,
}

impl Lines {
    fn open(log: &Path) -> io::Result<Self> {
        Ok(Self { file: File::open(log)?, buffer: vec![0; LINE_BYTES + READ_BYTES + SLACK], kept: 0 })
    }

    /// Shows the lines that the next read completes, with slack behind them; `None` at the end of the file.
    fn next<T>(&mut self, show: impl FnOnce(&[u8], usize) -> io::Result<T>) -> io::Result<Option<T>> {
        let n = self.file.read(&mut self.buffer[self.kept..self.kept + READ_BYTES])?;
        if n == 0 {
            return Ok(None);
        }
        let filled = self.kept + n;
        let whole = memchr::memrchr(b'\n', &self.buffer[..filled]).map_or(0, |at| at + 1);
        let shown = show(&self.buffer, whole)?;
        self.buffer.copy_within(whole..filled, 0);
        self.kept = filled - whole;
        if self.kept > LINE_BYTES {
            return Err(io::Error::other("a line that is too long"));
        }
        Ok(Some(shown))
    }
}

fn splice(log: &Path, to: SocketAddr) -> io::Result<()> {
    let (mut post, mut lines) = (Post::connect(to)?, Lines::open(log)?);
    let prefix = prefix(log);
    let mut body = vec![0; BODY_BYTES + LINE_BYTES + SLACK];
    let mut length = 0;
    let mut show = |input: &[u8], whole: usize| {
        let mut from = 0;
        for end in memchr::memchr_iter(b'\n', &input[..whole]) {
            length = splice_line(input, from, end, prefix.as_bytes(), &mut body, length)
                .ok_or_else(|| io::Error::other("a line that is no entry of Docker's"))?;
            from = end + 1;
            if length >= BODY_BYTES {
                post.send(&body[..length])?;
                length = 0;
            }
        }
        Ok(())
    };
    while lines.next(&mut show)?.is_some() {}
    if length > 0 {
        post.send(&body[..length])?;
    }
    post.settle()
}

/// What is constant: the container and its service, up to the message.
fn prefix(log: &Path) -> String {
    let name = log.file_name().unwrap_or_default().to_string_lossy();
    let id = name.trim_end_matches("-json.log");
    format!("{{\"container_id\":\"{id}\",\"service_name\":\"{}\",\"message\":", super::corpora::SERVICE)
}

const HEAD: &[u8] = b"{\"log\":\"";
/// `","stream":"stdout","time":"`: both streams have six letters.
const MIDDLE: usize = 28;

/// Writes the record of the line `input[from..end]` at `to`; gives its end.
fn splice_line(input: &[u8], from: usize, end: usize, prefix: &[u8], out: &mut [u8], to: usize) -> Option<usize> {
    let line = &input[from..end];
    if !line.starts_with(HEAD) || !line.ends_with(b"\"}") {
        return None;
    }
    let time = memchr::memrchr(b'"', &line[..line.len() - 2])?;
    let tail = (time + 1).checked_sub(MIDDLE)?;
    if !line[tail..].starts_with(b"\",\"stream\":\"") {
        return None;
    }
    let text = HEAD.len()..tail.saturating_sub(if line[..tail].ends_with(b"\\n") { 2 } else { 0 });
    let mut to = put(out, to, prefix);
    if line.get(text.start) == Some(&b'{') {
        to = unescape(&input[from..], text, out, to);
    } else {
        out[to] = b'"';
        to = put(out, to + 1, &line[text]);
        out[to] = b'"';
        to += 1;
    }
    // The stream and the time as they are, and the end.
    to = put(out, to, &line[tail + 1..]);
    out[to] = b'\n';
    Some(to + 1)
}

fn put(out: &mut [u8], to: usize, bytes: &[u8]) -> usize {
    out[to..to + bytes.len()].copy_from_slice(bytes);
    to + bytes.len()
}

/// Copies `input[text]` to `out` at `to` without its escapes, and gives the end of what it wrote. Both have [`SLACK`] behind.
/// A surrogate becomes U+FFFD; Docker writes none.
fn unescape(input: &[u8], text: std::ops::Range<usize>, out: &mut [u8], mut to: usize) -> usize {
    let (mut base, mut at) = (text.start, text.start);
    while base < text.end {
        let block: &[u8; 64] = input[base..].first_chunk().expect("slack");
        let mut mask = backslashes(block);
        if text.end - base < 64 {
            mask &= (1 << (text.end - base)) - 1;
        }
        // What an escape of the block before reaches into this one.
        mask = behind(mask, at.saturating_sub(base));
        while mask != 0 {
            let escape = base + mask.trailing_zeros() as usize;
            copy(input, at..escape, out, to);
            to += escape - at;
            let plain = PLAIN[usize::from(input[escape + 1])];
            if plain != 0 {
                out[to] = plain;
                to += 1;
                at = escape + 2;
            } else {
                to = put_unicode(&input[escape + 2..], out, to);
                at = escape + 6;
            }
            mask = behind(mask, at - base);
        }
        base += 64;
    }
    if at < text.end {
        copy(input, at..text.end, out, to);
        to += text.end - at;
    }
    to
}

/// `mask` without its `n` lowest bits.
fn behind(mask: u64, n: usize) -> u64 {
    if n < 64 { mask & (u64::MAX << n) } else { 0 }
}

/// Sixteen bytes at a time, up to fifteen too many.
fn copy(input: &[u8], from: std::ops::Range<usize>, out: &mut [u8], to: usize) {
    let mut done = 0;
    while done < from.len() {
        let sixteen: &[u8; 16] = input[from.start + done..].first_chunk().expect("slack");
        out[to + done..to + done + 16].copy_from_slice(sixteen);
        done += 16;
    }
}

/// What stands behind a backslash, as the byte that it means; 0 for `u`.
const PLAIN: [u8; 256] = {
    let mut table = [0; 256];
    let pairs = *b"\"\"\\\\//b\x08f\x0cn\nr\rt\t";
    let mut i = 0;
    while i < pairs.len() {
        table[pairs[i] as usize] = pairs[i + 1];
        i += 2;
    }
    table
};

#[cold]
fn put_unicode(digits: &[u8], out: &mut [u8], to: usize) -> usize {
    let digits = digits.get(..4).and_then(|four| std::str::from_utf8(four).ok());
    let code = digits.and_then(|four| u32::from_str_radix(four, 16).ok()).and_then(char::from_u32);
    let mut bytes = [0; 4];
    put(out, to, code.unwrap_or(char::REPLACEMENT_CHARACTER).encode_utf8(&mut bytes).as_bytes())
}

/// Bit `i` is set where byte `i` is a backslash. Eight bytes at a time: those that are equal become zero, zero becomes its own
/// highest bit (no carry can cross bytes), and a multiplication collects the eight bits.
fn backslashes(block: &[u8; 64]) -> u64 {
    const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    block.as_chunks::<8>().0.iter().enumerate().fold(0, |mask, (i, eight)| {
        let differs = u64::from_le_bytes(*eight) ^ u64::from_le_bytes([b'\\'; 8]);
        let equal = !(((differs & LOW) + LOW) | differs | LOW);
        mask | ((equal >> 7).wrapping_mul(0x0102_0408_1020_4080) >> 56) << (8 * i)
    })
}

fn echo(log: &Path, to: SocketAddr) -> io::Result<()> {
    use rustix::fs::inotify;
    let (mut post, mut lines) = (Post::connect(to)?, Lines::open(log)?);
    let watch = inotify::init(inotify::CreateFlags::CLOEXEC)?;
    inotify::add_watch(&watch, log, inotify::WatchFlags::MODIFY)?;
    let mut events = [0; 4096];
    loop {
        let mut show = |input: &[u8], whole: usize| match whole {
            0 => Ok(()),
            _ => post.send(&input[..whole]).and_then(|()| post.settle()),
        };
        while lines.next(&mut show)?.is_some() {}
        rustix::io::read(&watch, &mut events)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rask::layout::{Stream, put_envelope};
    use serde_json::{Value, json};

    fn spliced(line: &[u8]) -> Option<Vec<u8>> {
        let mut input = line.to_vec();
        input.extend([b'\\'; SLACK]);
        let mut out = vec![0; line.len() + 200];
        let end = splice_line(&input, 0, line.len() - 1, b"{\"service_name\":\"x\",\"message\":", &mut out, 0)?;
        out.truncate(end);
        Some(out)
    }

    /// The naive twin: read by serde_json, and put together anew.
    fn twin(line: &[u8]) -> Value {
        let entry: Value = serde_json::from_slice(line).unwrap();
        let text = entry["log"].as_str().unwrap();
        let text = text.strip_suffix('\n').unwrap_or(text);
        let message = if text.starts_with('{') { serde_json::from_str(text).unwrap() } else { json!(text) };
        json!({"service_name": "x", "message": message, "stream": entry["stream"], "time": entry["time"]})
    }

    fn check(log: &[u8]) {
        let mut line = Vec::new();
        put_envelope(&mut line, log, Stream::Stderr, "", 1_795_267_868_943_906_164);
        let record = spliced(&line).unwrap();
        assert_eq!(record.iter().position(|byte| *byte == b'\n'), Some(record.len() - 1));
        let value: Value = serde_json::from_slice(&record).unwrap();
        assert_eq!(value, twin(&line), "{}", String::from_utf8_lossy(log));
    }

    #[test]
    fn records_are_what_serde_json_makes_of_the_line() {
        check(b"a\n");
        check(b"no newline");
        check(b"says \"hi\" \\ <&> \t\x01 \xc3\xbc \xff\n");
        check(b"{}\n");
        check("{\"a\":\"\\\"\\\\ <&>\u{2028} \\u0041 ü\"}\n".as_bytes());
    }

    /// Texts of every length around the width of a block, with escapes of both lengths anywhere.
    #[test]
    fn escapes_wherever_they_stand() {
        let mut rng = fastrand::Rng::with_seed(7);
        for _ in 0..20_000 {
            let length = rng.usize(..200);
            let pick = |rng: &mut fastrand::Rng| match rng.u8(..8) {
                0 => "\"",
                1 => "\\",
                2 => "<",
                3 => "\r",
                4 => "ü",
                _ => "x",
            };
            let text: String = (0..length).map(|_| pick(&mut rng)).collect();
            check(format!("{}\n", json!({"key": text})).as_bytes());
            check(format!("{text}\n").as_bytes());
        }
    }

    #[test]
    fn what_is_no_entry_is_refused() {
        assert_eq!(spliced(b"plain\n"), None);
        assert_eq!(spliced(b"{\"log\":\"\"}\n"), None);
        assert_eq!(
            spliced(b"{\"log\":\"x\",\"stream\":\"stdout\",\"attrs\":{},\"time\":\"1970-01-01T00:00:00Z\"}\n"),
            None
        );
    }

    #[test]
    fn every_escape_of_one_letter() {
        let text = br#"\"\\\/\b\f\n\r\tx"#;
        let mut input = text.to_vec();
        input.extend([0; SLACK]);
        let mut out = vec![0; 100];
        let end = unescape(&input, 0..text.len(), &mut out, 0);
        assert_eq!(&out[..end], b"\"\\/\x08\x0c\n\r\tx");
    }
}
