//! One container that writes: its own pace, its own kinds of ugliness, its own thread. Everything it does follows from its seed
//! and the orders it gets.

use super::book::Book;
use super::faults::{Fault, Played};
use fastrand::Rng;
use rask::clock;
use rask::generate::{Format, Lines};
use rask::layout::{Container, Rotation, Spec, Stream};
use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What kind of container.
#[derive(Clone, Debug)]
pub(super) struct Kind {
    pub(super) service: &'static str,
    pub(super) format: Format,
    pub(super) max_file: u32,
    pub(super) compress: bool,
    /// Bytes at which it rotates.
    pub(super) max_size: u64,
    /// Rotates whether or not its lines were read.
    pub(super) ruthless: bool,
}

/// What a writer is told. The answer comes when it is done.
#[derive(Debug)]
pub(super) enum Order {
    /// Writes these many lines as fast as can be.
    Burst(u64),
    /// Rotates now (where that loses nothing, or always if it is ruthless).
    Rotate,
    /// Writes one last line on each stream and waits.
    Pause,
    /// Goes on.
    Resume,
    /// `docker rm -f`, and a new container of the same service.
    Recreate,
    /// `docker restart`: the same id again.
    Restart,
}

/// Handle of a writer. Dropping it ends the thread.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) kind: Kind,
    orders: Option<SyncSender<(Order, SyncSender<State>)>>,
    thread: Option<JoinHandle<()>>,
}

/// Where a writer stands.
#[derive(Clone, Debug)]
pub(super) struct State {
    pub(super) run: String,
    pub(super) counts: [u64; 2],
    pub(super) log: PathBuf,
}

impl Writer {
    pub(super) fn start(
        kind: Kind,
        index: usize,
        seed: u64,
        dir: &Path,
        book: &Book,
        played: &Played,
    ) -> io::Result<Self> {
        let (orders, inbox) = sync_channel(4);
        let mut pen = Pen::new(kind.clone(), index, seed, dir, book.clone(), played.clone())?;
        let thread = std::thread::Builder::new().name(format!("writer-{index}")).spawn(move || {
            if let Err(error) = pen.run(&inbox) {
                panic!("the log of {} cannot be written: {error}", pen.run);
            }
        })?;
        Ok(Self { kind, orders: Some(orders), thread: Some(thread) })
    }

    /// Gives an order and waits until it is carried out.
    pub(super) fn order(&self, order: Order) -> io::Result<State> {
        let (reply, done) = sync_channel(1);
        let orders = self.orders.as_ref().ok_or_else(|| io::Error::other("the writer has ended"))?;
        orders.send((order, reply)).map_err(io::Error::other)?;
        done.recv().map_err(io::Error::other)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A container and what it writes.
struct Pen {
    kind: Kind,
    index: usize,
    lives: u32,
    containers: PathBuf,
    container: Option<Container>,
    lines: Lines,
    run: String,
    counts: [u64; 2],
    /// Bytes in the current file, and the numbers at the end of each file rotated away, newest last.
    size: u64,
    ends: VecDeque<[u64; 2]>,
    rng: Rng,
    rate: u64,
    until: Instant,
    paused: bool,
    book: Book,
    played: Played,
}

impl Pen {
    fn new(kind: Kind, index: usize, seed: u64, dir: &Path, book: Book, played: Played) -> io::Result<Self> {
        let lines = Lines::new(kind.format, "", 0, seed);
        let mut pen = Self {
            kind,
            index,
            lives: 0,
            containers: dir.to_owned(),
            container: None,
            lines,
            run: String::new(),
            counts: [0; 2],
            size: 0,
            ends: VecDeque::new(),
            rng: Rng::with_seed(seed),
            rate: 100,
            until: Instant::now(),
            paused: false,
            book,
            played,
        };
        pen.create()?;
        Ok(pen)
    }

    fn create(&mut self) -> io::Result<()> {
        self.lives += 1;
        self.run = format!("c{}x{}", self.index, self.lives);
        (self.counts, self.size) = ([0; 2], 0);
        self.ends.clear();
        self.lines = Lines::new(self.kind.format, &self.run, 0, self.rng.u64(..));
        let id: String = (0..64).map(|_| self.rng.digit(16)).collect();
        self.book.open(&self.run, &id, self.kind.ruthless);
        self.container = Some(Container::start_as(&self.containers, self.spec(), &id)?);
        Ok(())
    }

    /// No `max-size`: this module decides when to rotate.
    fn spec(&self) -> Spec {
        let Kind { service, max_file, compress, .. } = self.kind;
        let labels = vec![("rask.group".into(), "soak".into())];
        let rotation = Rotation { max_size: None, max_file, compress };
        Spec { labels, rotation, name: format!("soak-{service}-{}", self.index), ..Spec::service(service) }
    }

    fn container(&mut self) -> &mut Container {
        self.container.as_mut().expect("there is one but within `order`")
    }

    fn run(&mut self, inbox: &Receiver<(Order, SyncSender<State>)>) -> io::Result<()> {
        let (mut begun, mut written) = (Instant::now(), 0);
        loop {
            match inbox.try_recv() {
                Ok((order, reply)) => {
                    self.order(&order)?;
                    let log = self.container().log().path().to_owned();
                    let _ = reply.send(State { run: self.run.clone(), counts: self.counts, log });
                    continue;
                }
                Err(TryRecvError::Disconnected) => return Ok(()),
                Err(TryRecvError::Empty) => {}
            }
            if self.until <= Instant::now() {
                let [rates, millis] = [&[0, 20, 200, 500, 1_000, 4_000][..], &[200, 1_000, 3_000, 6_000]];
                self.rate = rates[self.rng.usize(..rates.len())];
                self.until = Instant::now() + Duration::from_millis(millis[self.rng.usize(..millis.len())]);
                (begun, written) = (Instant::now(), 0);
            }
            let due = if self.paused { 0 } else { begun.elapsed().as_millis() as u64 * self.rate / 1000 };
            for _ in written..due {
                self.event()?;
            }
            written = due;
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn order(&mut self, order: &Order) -> io::Result<()> {
        match order {
            Order::Burst(count) => (0..*count).try_for_each(|_| self.event())?,
            Order::Rotate => self.rotate()?,
            Order::Pause => {
                self.paused = true;
                self.line(Stream::Stdout)?;
                self.line(Stream::Stderr)?;
            }
            Order::Resume => {
                self.paused = false;
                self.until = Instant::now();
            }
            Order::Recreate => {
                if let Some(container) = self.container.take() {
                    container.remove()?;
                }
                self.create()?;
            }
            Order::Restart => {
                if let Some(mut container) = self.container.take() {
                    let id = container.id().to_owned();
                    container.log().wait_for_gzip()?;
                    container.stop()?;
                    self.container = Some(Container::start_as(&self.containers, self.spec(), &id)?);
                }
            }
        }
        Ok(())
    }

    /// One event, mostly a line, with a rotation before it when one is due.
    fn event(&mut self) -> io::Result<()> {
        if self.size >= self.kind.max_size {
            self.rotate()?;
        }
        let stream = if self.rng.u8(..10) == 0 { Stream::Stderr } else { Stream::Stdout };
        match self.rng.u32(..20_000) {
            0..20 => self.split(stream),
            20..23 => self.raw(Fault::NulRun, &[0; 300]),
            23..26 => self.raw(Fault::TornLine, b"{\"log\":\"torn by a power los"),
            26..28 => self.raw(Fault::Garbage, b"\xff\xfe no envelope at all\n"),
            28..40 => self.poison(stream),
            _ => self.line(stream),
        }
    }

    fn next(&mut self, stream: Stream) -> u64 {
        let seq = self.counts[stream as usize];
        self.counts[stream as usize] += 1;
        self.book.written(&self.run, self.counts);
        seq
    }

    fn line(&mut self, stream: Stream) -> io::Result<()> {
        let (seq, mut text) = (self.next(stream), Vec::new());
        self.lines.event(stream, seq, clock::now(), &mut text);
        for line in text.trim_ascii_end().split(|byte| *byte == b'\n') {
            self.container().write_line(stream, line)?;
            self.size += line.len() as u64 + 90;
        }
        Ok(())
    }

    /// A line that [`Fault::RefuseRecord`](rask::receiver::Fault::RefuseRecord) refuses.
    fn poison(&mut self, stream: Stream) -> io::Result<()> {
        let seq = self.next(stream);
        let text = format!("poison seq={seq} run={}", self.run);
        self.size += 100;
        self.container().write_line(stream, text.as_bytes())
    }

    /// A message that Docker splits, sometimes with the other stream, or a rotation, between its parts.
    fn split(&mut self, stream: Stream) -> io::Result<()> {
        if !self.played.begin(Fault::SplitMessage) {
            return self.line(stream);
        }
        let bytes = self.rng.usize(17_000..120_000);
        let seq = self.next(stream);
        let mut text = format!("seq={seq} run={} bytes={bytes} ", self.run).into_bytes();
        while text.len() < bytes {
            text.push(b"abcdefgh"[text.len() % 8]);
        }
        self.size += bytes as u64 + 500;
        let way = self.rng.u8(..4);
        if way == 0 {
            return self.container().write_line(stream, &text);
        }
        let (first, rest) = text.split_at(rask::layout::PART_BYTES);
        self.container().write_part(stream, first)?;
        if way < 3 {
            self.line(if stream == Stream::Stdout { Stream::Stderr } else { Stream::Stdout })?;
        } else if self.played.begin(Fault::RotationInSplit) {
            self.rotate()?;
        }
        self.container().write_line(stream, rest)
    }

    fn raw(&mut self, fault: Fault, bytes: &[u8]) -> io::Result<()> {
        if self.played.begin(fault) {
            self.size += bytes.len() as u64;
            self.container().log().write(bytes, clock::now())?;
        }
        // What the daemon writes after a power loss follows on the same line.
        self.line(Stream::Stdout)
    }

    fn rotate(&mut self) -> io::Result<()> {
        let Kind { max_file, ruthless, compress, .. } = self.kind;
        if !ruthless {
            // What the rotation deletes must have come.
            let kept = max_file.saturating_sub(1) as usize;
            let goes = if kept == 0 { Some(self.counts) } else { self.ends.iter().rev().nth(kept - 1).copied() };
            if goes.is_some_and(|counts| !self.book.has(&self.run, counts)) {
                return Ok(());
            }
        }
        self.played.begin(match (max_file, compress) {
            (1, _) => Fault::RotationUnlink,
            (_, true) => Fault::RotationGzip,
            (_, false) => Fault::RotationRename,
        });
        self.container().log().rotate()?;
        self.ends.push_back(self.counts);
        if self.ends.len() > 8 {
            self.ends.pop_front();
        }
        self.size = 0;
        Ok(())
    }
}
