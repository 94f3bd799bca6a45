//! The counting receiver: HTTP/1.1 with keep-alive and nothing else, written for being cheap, since it shares the machine with
//! what is measured. One thread for each connection.
//!
//! It stores nothing. A body counts when all of it is there, just before the answer; then [`Look`] says how closely it is looked
//! at. It answers as a receiver does that recognizes batches, since that is what a forwarder is fastest with.

use memchr::memmem;
use rask::receiver::{Histogram, mark_of};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Longer bodies are a mistake.
const BODY_BYTES: usize = 64 << 20;

/// How closely bodies are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// Newlines are counted.
    Count,
    /// The number in each record is added up as well.
    Marks,
    /// The age of each record is taken, from the time behind this key, for instance `"timestamp":"`.
    Age(&'static str),
}

/// What has come.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    pub(super) records: u64,
    /// Sum of `x-batch-size`; who does not send it claims nothing.
    pub(super) claimed: u64,
    pub(super) seq_sum: u64,
    pub(super) bodies: u64,
    pub(super) bytes: u64,
    pub(super) first: Option<Instant>,
    pub(super) last: Option<Instant>,
    pub(super) ages: Histogram,
}

#[derive(Debug)]
struct Shared {
    look: Look,
    seen: Mutex<Seen>,
    changed: Condvar,
    stopped: AtomicBool,
}

impl Shared {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Handle of a running receiver; dropping it lets go of the port.
#[derive(Debug)]
pub(super) struct Receiver {
    address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Receiver {
    /// On a free port.
    pub(super) fn start(look: Look) -> io::Result<Self> {
        Self::start_at((Ipv4Addr::LOCALHOST, 0).into(), look)
    }

    pub(super) fn start_at(address: SocketAddr, look: Look) -> io::Result<Self> {
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        let stopped = AtomicBool::new(false);
        let shared = Arc::new(Shared { look, seen: Mutex::default(), changed: Condvar::new(), stopped });
        let served = shared.clone();
        let thread = std::thread::spawn(move || accept(&listener, &served));
        Ok(Self { address, shared, thread: Some(thread) })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(super) fn seen(&self) -> Seen {
        self.shared.seen().clone()
    }

    /// Waits until `records` have come, or more, and says when the last came. `None`: it took longer than `patience`.
    pub(super) fn wait_for(&self, records: u64, patience: Duration) -> Option<Instant> {
        let seen = self.shared.seen();
        let late = |seen: &mut Seen| seen.records < records;
        let waited = self.shared.changed.wait_timeout_while(seen, patience, late);
        let (seen, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        if timeout.timed_out() { None } else { seen.last }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
        let _ = self.thread.take().map(std::thread::JoinHandle::join);
    }
}

fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept() {
        if shared.stopped.load(Ordering::Relaxed) {
            return;
        }
        let shared = shared.clone();
        // A connection that breaks is the sender's to notice: what was not answered it sends again.
        std::thread::spawn(move || serve(stream, &shared));
    }
}

/// What is wanted of a request's head.
#[derive(Debug, PartialEq, Eq)]
struct Head {
    bytes: usize,
    body: usize,
    claimed: u64,
}

/// `None` until the head is whole.
fn read_head(input: &[u8]) -> io::Result<Option<Head>> {
    let Some(end) = memmem::find(input, b"\r\n\r\n") else { return Ok(None) };
    let (mut body, mut claimed) = (0, 0);
    for line in input[..end].split(|byte| *byte == b'\n') {
        let Some(colon) = memchr::memchr(b':', line) else { continue };
        let number = || std::str::from_utf8(&line[colon + 1..]).ok().and_then(|text| text.trim().parse::<u64>().ok());
        let wrong = || io::Error::new(io::ErrorKind::InvalidData, "a header that should be a number");
        if line[..colon].eq_ignore_ascii_case(b"content-length") {
            body = number().and_then(|n| usize::try_from(n).ok()).filter(|n| *n <= BODY_BYTES).ok_or_else(wrong)?;
        } else if line[..colon].eq_ignore_ascii_case(b"x-batch-size") {
            claimed = number().ok_or_else(wrong)?;
        }
    }
    Ok(Some(Head { bytes: end + 4, body, claimed }))
}

fn serve(mut stream: TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut input = vec![0; 1 << 20];
    let mut filled = 0;
    loop {
        let head = loop {
            if let Some(head) = read_head(&input[..filled])? {
                break head;
            }
            match stream.read(&mut input[filled..])? {
                0 => return Ok(()),
                n => filled += n,
            }
        };
        let end = head.bytes + head.body;
        if input.len() < end {
            input.resize(end, 0);
        }
        while filled < end {
            match stream.read(&mut input[filled..])? {
                0 => return Ok(()),
                n => filled += n,
            }
        }
        let records = enter(&input[head.bytes..end], head.claimed, shared);
        answer(&mut stream, records)?;
        input.copy_within(end..filled, 0);
        filled -= end;
    }
}

fn answer(stream: &mut TcpStream, records: u64) -> io::Result<()> {
    let body = format!("{{\"accepted\":{records},\"malformed\":0,\"duplicate\":0}}");
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length";
    stream.write_all(format!("{head}: {}\r\n\r\n{body}", body.len()).as_bytes())
}

/// Counts a body.
fn enter(body: &[u8], claimed: u64, shared: &Shared) -> u64 {
    let (now, clock) = (Instant::now(), rask::clock::now());
    let records = memchr::memchr_iter(b'\n', body).count() as u64;
    let mut seq_sum = 0u64;
    if shared.look == Look::Marks {
        let lines = body.split(|byte| *byte == b'\n');
        seq_sum = lines.filter_map(mark_of).fold(0, |sum, mark| sum.wrapping_add(mark.seq));
    }
    let mut seen = shared.seen();
    if let Look::Age(key) = shared.look {
        let finder = memmem::Finder::new(key);
        for at in finder.find_iter(body) {
            let value = &body[at + key.len()..];
            let value = &value[..memchr::memchr(b'"', value).unwrap_or(0)];
            if let Some(written) = rask_record::parse_timestamp(value) {
                seen.ages.add(clock - written);
            }
        }
    }
    seen.records += records;
    seen.claimed += claimed;
    seen.seq_sum = seen.seq_sum.wrapping_add(seq_sum);
    seen.bodies += 1;
    seen.bytes += body.len() as u64;
    seen.first.get_or_insert(now);
    seen.last = Some(now);
    shared.changed.notify_all();
    records
}

#[cfg(test)]
mod tests {
    use super::*;

    fn post(stream: &mut TcpStream, text: &str) -> String {
        stream.write_all(text.as_bytes()).unwrap();
        let mut answer = vec![0; 500];
        let n = stream.read(&mut answer).unwrap();
        String::from_utf8_lossy(&answer[..n]).into_owned()
    }

    #[test]
    fn counts_on_a_connection_that_is_kept() {
        let receiver = Receiver::start(Look::Marks).unwrap();
        let mut stream = TcpStream::connect(receiver.address()).unwrap();
        let head = "POST / HTTP/1.1\r\nhost: x\r\nX-Batch-Size: 2\r\nContent-Length";
        for _ in 0..2 {
            let answer = post(&mut stream, &format!("{head}: 12\r\n\r\nseq=3\nseq=4\n"));
            assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
            assert!(answer.ends_with("\r\n\r\n{\"accepted\":2,\"malformed\":0,\"duplicate\":0}"), "{answer}");
        }
        assert!(receiver.wait_for(4, Duration::from_secs(5)).is_some());
        assert!(receiver.wait_for(5, Duration::ZERO).is_none());
        let seen = receiver.seen();
        assert_eq!((seen.records, seen.claimed, seen.seq_sum, seen.bodies, seen.bytes), (4, 4, 14, 2, 24));
    }

    #[test]
    fn takes_the_age_behind_the_key() {
        let receiver = Receiver::start(Look::Age("\"time\":\"")).unwrap();
        let mut stream = TcpStream::connect(receiver.address()).unwrap();
        let mut body = br#"{"log":"\"time\":\"1970-01-01T00:00:00Z\"","time":""#.to_vec();
        rask::clock::put_rfc3339(&mut body, rask::clock::now() - 1_000_000_000);
        body.extend_from_slice(b"\"}\n");
        let body = String::from_utf8(body).unwrap();
        post(&mut stream, &format!("POST / HTTP/1.1\r\ncontent-length: {}\r\n\r\n{body}", body.len()));
        let ages = receiver.seen().ages;
        assert_eq!(ages.count(), 1);
        assert!(ages.max() >= Duration::from_secs(1) && ages.max() < Duration::from_secs(60), "{:?}", ages.max());
    }

    #[test]
    fn heads() {
        assert_eq!(read_head(b"POST / HTTP/1.1\r\na: b\r\n").unwrap(), None);
        let want = Head { bytes: 24, body: 7, claimed: 0 };
        assert_eq!(read_head(b"P /\r\ncontent-length:7\r\n\r\nxyz").unwrap(), Some(Head { bytes: 25, ..want }));
        assert!(read_head(b"P /\r\ncontent-length: x\r\n\r\n").is_err());
        assert!(read_head(b"P /\r\ncontent-length: 99999999999\r\n\r\n").is_err());
    }
}
