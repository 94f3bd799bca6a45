//! The log of a container by way of Docker's API: for drivers that write no file we can read (`local`, `journald`, …), and
//! for hosts where the containers directory is closed to us.
//!
//! Each message is rendered as the line that the json-file driver would have written, so that the parser sees one shape:
//! `{"log":"…\n","stream":"…","time":"…"}`. A part of a split message is one without `\n`, here as there; it may be up to three
//! bytes shorter than 16 KiB, since a character that the split cuts goes with the next part as a whole.
//!
//! **Positions** (`docs/wire-format.md`): the offset of a line is its time in nanoseconds, made strictly increasing; the line
//! covers from the end of the line before it to its own offset plus one.
//!
//! **Resuming** (after a restart, or when the connection broke): messages are asked for from a little before the end of what is
//! delivered (or read, within one life), and [`Cursor`] finds the place again.
//!
//! **What the daemon does to a followed log** when its file is rotated, before 23.0 (measured on 20.10.24): it shows lines again,
//! which is seen ([`Repeats`]); and with the driver `local` it passes over lines, at 4,000 a second on a loaded machine. Nothing
//! in the stream tells, but the containers directory does ([`Rotations`]): then what there is is read anew, without following,
//! before anything from the new file is handed on. Where only the API is to be had, such lines are lost.
//!
//! The lag in bytes cannot be known here; the age of the last line (`lag_seconds`) tells it.
//!
//! When the container stops, the stream ends; the task then waits to be told that something happened to the container, and
//! returns when it does not exist any more. While the API is away it is tried again with backoff.

mod cursor;
mod envelope;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz_support;
mod repeats;
mod rotations;
mod seam;

use super::Backoff;
use super::docker::{self, Api, explain};
use super::watch::Watcher;
use crate::buffer::{Chunk, Gap, Item, Offsets, queue};
use crate::limits;
use crate::metrics::Metrics;
use crate::position::{Generation, Range};
use crate::source::{Container, Source};
use bollard::Docker;
use bollard::container::LogOutput;
use bollard::errors::Error;
use bollard::query_parameters::LogsOptions;
use bytes::Bytes;
use cursor::Step;
use envelope::{render, split_time, tty_messages};
use futures_util::{FutureExt, Stream, StreamExt};
use repeats::Repeats;
use rotations::Rotations;
use seam::Seam;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::{Notify, watch};

pub(super) use cursor::Cursor;
pub(super) use envelope::time_text;

/// Longest that the last look at a log takes when the program is told to stop. What is missed is read after the restart.
const LAST_LOOK: Duration = Duration::from_secs(2);

/// Everything that following one container by stream needs.
pub(super) struct Follow {
    pub(super) api: Api,
    pub(super) source: Arc<Source>,
    pub(super) cursor: Cursor,
    pub(super) queue: queue::Sender,
    pub(super) metrics: Metrics,
    /// Signalled when the container was started or removed, or the daemon came back.
    pub(super) again: Arc<Notify>,
    /// Set when the container was removed. Until then it may be one that the daemon does not admit to yet: the directory
    /// shows a container before the API does.
    pub(super) removed: Arc<AtomicBool>,
    pub(super) stop: watch::Receiver<bool>,
    pub(super) kept: Kept,
}

/// What is kept from one message to the next.
#[derive(Default)]
pub(super) struct Kept {
    /// Of stdout and stderr on the connection there is, if its log may be shown twice.
    repeats: Option<[Repeats; 2]>,
    /// Of stdout and stderr.
    seams: [Seam; 2],
    /// Of a log that the daemon may show with holes.
    rotations: Option<Rotations>,
}

impl Kept {
    /// Before the first message of a container whose directory may be in `dir`.
    pub(super) fn new(container: &Container, dir: &Path, watcher: &Watcher) -> Self {
        Self { rotations: Rotations::of(container, dir, watcher), ..Self::default() }
    }
}

/// The source under which a container's streamed log is delivered.
pub(super) fn source(container: Arc<Container>) -> Arc<Source> {
    Arc::new(Source { container, generation: Generation::STREAMED })
}

/// Why reading a stream ended without an error.
enum End {
    /// All that there is has been read: the container is not running, or the connection was cut.
    Eof,
    /// The program stops.
    Stopped,
    /// The cursor asks for the whole log.
    Lost,
    /// The daemon has begun a new file, and may have passed over lines.
    Rotated,
}

/// What is asked of the daemon.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Look {
    /// What there is, and then what comes.
    Follow,
    /// What there is.
    Now,
    /// What there is, although the program stops.
    Last,
}

impl Follow {
    /// Follows the container until it is removed or the program stops.
    pub(super) async fn run(mut self) {
        let (mut backoff, mut said, mut seen) = (Backoff::default(), None, false);
        while !*self.stop.borrow() {
            let after = self.session(&mut backoff).await;
            seen |= after.as_ref().is_ok_and(|after| !matches!(after, After::Absent));
            match after {
                Ok(After::Reread) => continue,
                Ok(After::Stop) => break,
                Ok(After::Absent) if !seen && !self.removed.load(Ordering::Relaxed) => self.wait(None).await,
                Ok(After::Absent) => {
                    self.queue.send(Item::Over(self.source.container.clone())).await;
                    return;
                }
                Ok(After::Wait) => {
                    said = None;
                    backoff.reset();
                    self.wait(None).await;
                }
                Ok(After::Retry) => self.wait(Some(&mut backoff)).await,
                Err(error) => {
                    let text = explain(&error);
                    if said.as_ref() != Some(&text) {
                        let container = &self.source.container.name;
                        tracing::warn!(container, error = text, "log stream failed; it is tried again");
                        said = Some(text);
                    }
                    let hopeless = matches!(error, Error::DockerResponseServerError { status_code: 501, .. });
                    self.wait((!hopeless).then_some(&mut backoff)).await;
                }
            }
        }
        let _ = tokio::time::timeout(LAST_LOOK, self.last_look()).await;
    }

    /// One connection, from the request to what is to be done after it.
    async fn session(&mut self, backoff: &mut Backoff) -> Result<After, Error> {
        let id = self.source.container.id.clone();
        let Some(docker) = unless_stopped(&mut self.stop, self.api.connect()).await else { return Ok(After::Stop) };
        let docker = docker?;
        let before = self.cursor.end();
        let end = self.look_and_follow(&docker).await;
        if self.cursor.end() != before {
            backoff.reset();
        }
        match end {
            Ok(End::Stopped) => return Ok(After::Stop),
            Ok(End::Lost) => return Ok(After::Reread),
            Ok(End::Rotated) => {
                self.metrics.rotations.inc();
                return Ok(After::Reread);
            }
            Ok(End::Eof) => {}
            Err(Error::DockerResponseServerError { status_code: 404, .. }) => return Ok(After::Absent),
            // Being removed.
            Err(Error::DockerResponseServerError { status_code: 409, .. }) => return Ok(After::Retry),
            Err(error) => return Err(error),
        }
        let running = unless_stopped(&mut self.stop, docker::running(&docker, &id)).await;
        let Some(running) = running else { return Ok(After::Stop) };
        Ok(match running? {
            None => After::Absent,
            Some(true) => After::Retry,
            // A log that ended before the mark was reached holds none of what was asked for: it may hold older clocks.
            Some(false) if self.cursor.give_up_seeking() => After::Reread,
            Some(false) => After::Wait,
        })
    }

    /// Follows the log; one that may be shown with holes is read to its current end before, which goes without.
    async fn look_and_follow(&mut self, docker: &Docker) -> Result<End, Error> {
        if let Some(rotations) = &mut self.kept.rotations {
            rotations.note();
            match self.read(docker, Look::Now).await? {
                End::Eof if self.cursor.give_up_seeking() => return Ok(End::Lost),
                End::Eof => {}
                end => return Ok(end),
            }
        }
        self.read(docker, Look::Follow).await
    }

    /// Reads to the log's current end.
    async fn last_look(&mut self) -> Result<(), Error> {
        let docker = self.api.connect().await?;
        self.read(&docker, Look::Last).await?;
        Ok(())
    }

    /// Waits for a sign, for the program's stop, or for a pause when there is one.
    async fn wait(&mut self, backoff: Option<&mut Backoff>) {
        let pause = async {
            match backoff {
                Some(backoff) => backoff.pause().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.again.notified() => {}
            _ = self.stop.wait_for(|stop| *stop) => {}
            () = pause => {}
        }
    }

    /// Reads messages into the queue until the stream ends; all that was taken is in the queue when it returns.
    async fn read(&mut self, docker: &Docker, look: Look) -> Result<End, Error> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let follow = look == Look::Follow;
        let options = LogsOptions {
            follow,
            stdout: true,
            stderr: true,
            timestamps: true,
            since: self.cursor.seek(now.as_nanos() as u64),
            ..LogsOptions::default()
        };
        let mut messages = docker.logs(&self.source.container.id, Some(options));
        let mut lines = Lines::default();
        let is_file = ["json-file", "local"].contains(&self.source.container.log_driver.as_str());
        self.kept.repeats = (follow && is_file).then(Default::default);
        loop {
            let first = tokio::select! {
                biased;
                _ = self.stop.wait_for(|stop| *stop), if look != Look::Last => return Ok(End::Stopped),
                () = rotated(&mut self.kept.rotations), if follow => return Ok(End::Rotated),
                message = messages.next() => message,
            };
            let before = (self.cursor.place(), self.kept.seams.clone());
            let mut end = self.take_ready(Some(first), &mut messages, &mut lines);
            // The connection's task hands over piece by piece, and needs its turn to offer the next.
            while end.is_none() && lines.data.len() < limits::READ_BYTES {
                tokio::task::yield_now().await;
                let before = lines.seen;
                end = self.take_ready(messages.next().now_or_never(), &mut messages, &mut lines);
                if lines.seen == before {
                    break;
                }
            }
            if follow && self.kept.rotations.as_ref().is_some_and(Rotations::happened) {
                self.cursor.go_back(before.0);
                self.kept.seams = before.1;
                return Ok(End::Rotated);
            }
            self.send(&mut lines).await;
            if let Some(end) = end {
                return end;
            }
        }
    }

    /// Takes `next` and what else is there now, up to a chunk. `None` within is the end of the stream.
    fn take_ready(
        &mut self,
        mut next: Option<Option<Result<LogOutput, Error>>>,
        messages: &mut (impl Stream<Item = Result<LogOutput, Error>> + Unpin),
        lines: &mut Lines,
    ) -> Option<Result<End, Error>> {
        while let Some(message) = next {
            lines.seen += 1;
            match message {
                None => return Some(Ok(End::Eof)),
                Some(Err(error)) => return Some(Err(error)),
                Some(Ok(output)) => {
                    if !self.take(&output, lines) {
                        return Some(Ok(End::Lost));
                    }
                }
            }
            next = if lines.data.len() < limits::READ_BYTES { messages.next().now_or_never() } else { None };
        }
        None
    }

    /// Takes one message; `false` when the whole log has to be read.
    fn take(&mut self, output: &LogOutput, lines: &mut Lines) -> bool {
        let tty = self.source.container.tty;
        let (stream, message) = match output {
            LogOutput::StdOut { message } if !tty => ("stdout", message),
            LogOutput::StdErr { message } if !tty => ("stderr", message),
            LogOutput::Console { message } if tty => ("stdout", message),
            // The torn end of a broken connection; it comes again.
            _ => return true,
        };
        if tty {
            tty_messages(message).all(|message| self.take_message(message, stream, lines))
        } else {
            self.take_message(message, stream, lines)
        }
    }

    fn take_message(&mut self, message: &[u8], stream: &str, lines: &mut Lines) -> bool {
        let Some((nanos, body)) = split_time(message) else {
            let text = String::from_utf8_lossy(&message[..message.len().min(200)]);
            tracing::warn!(container = self.source.container.name, "the daemon says in the log stream: {text}");
            return true;
        };
        let which = usize::from(stream == "stderr");
        if self.kept.repeats.as_mut().is_some_and(|repeats| repeats[which].is_one(nanos, body)) {
            return true;
        }
        let range = match self.cursor.step(nanos) {
            Step::Skip => return true,
            Step::Lost => return false,
            Step::Line(range) => range,
            Step::Gap(range) => {
                lines.gap = Some((range.start, nanos));
                self.kept.seams = Default::default();
                range
            }
        };
        let (body, is_part) = self.kept.seams[which].mend(body);
        render(&mut lines.data, &body, is_part, stream, nanos);
        lines.ranges.push(range);
        true
    }

    /// Puts `lines` into the queue and empties it.
    async fn send(&mut self, lines: &mut Lines) {
        let lines = std::mem::take(lines);
        if let Some((from, to)) = lines.gap {
            let gap = Gap {
                container: self.source.container.clone(),
                source: self.source.clone(),
                reason: "the log no longer holds the last line that was read; lines after it may be gone".into(),
                from: Some(time_text(from.saturating_sub(1))),
                to: Some(time_text(to)),
                bytes: None,
            };
            tracing::warn!(container = gap.container.name, from = gap.from, to = gap.to, "gap: {}", gap.reason);
            self.metrics.gaps.inc();
            self.queue.send(Item::Gap(gap)).await;
        }
        if lines.ranges.is_empty() {
            return;
        }
        self.metrics.lines_read.inc_by(lines.ranges.len() as u64);
        self.metrics.bytes_read.inc_by(lines.data.len() as u64);
        let chunk = Chunk {
            source: self.source.clone(),
            data: Bytes::from(lines.data),
            lines: lines.ranges.len() as u32,
            offsets: Offsets::Each(lines.ranges.into()),
            read_at: Instant::now(),
        };
        self.queue.send(Item::Chunk(chunk)).await;
    }
}

async fn rotated(rotations: &mut Option<Rotations>) {
    match rotations {
        Some(rotations) => rotations.next().await,
        None => std::future::pending().await,
    }
}

/// What `work` comes to; `None` when the order to stop is there first. A daemon can take a connection and say nothing.
async fn unless_stopped<T>(stop: &mut watch::Receiver<bool>, work: impl Future<Output = T>) -> Option<T> {
    tokio::select! {
        biased;
        _ = stop.wait_for(|stop| *stop) => None,
        done = work => Some(done),
    }
}

/// What follows a session.
enum After {
    /// Another one, at once.
    Reread,
    /// The program stops.
    Stop,
    /// The daemon knows no such container.
    Absent,
    /// Another one when something has happened to the container: it is not running.
    Wait,
    /// Another one after a pause: the stream ended, but the container is running.
    Retry,
}

/// Lines on their way to becoming a chunk.
#[derive(Default)]
struct Lines {
    /// Messages looked at, new or not.
    seen: usize,
    data: Vec<u8>,
    ranges: Vec<Range>,
    /// Offset up to which the log was known and time of the first line after it, when lines between may be gone.
    /// It stands before all of `data`: a gap is found at the first line behind the mark.
    gap: Option<(u64, u64)>,
}

#[cfg(test)]
mod tests {
    use super::super::fake_daemon::{Daemon, Fake, S};
    use super::*;
    use crate::position::Ranges;
    use tokio::time::timeout;

    const ID: &str = "01ac62866fe459a03f4294168b8e439a83462d94b926dd117f31cd7fe8557da6";
    const BASE: u64 = 1_700_000_000 * S;

    /// A stream of the fake daemon's only container, being followed.
    struct Following {
        items: queue::Receiver,
        again: Arc<Notify>,
        stop: watch::Sender<bool>,
        task: tokio::task::JoinHandle<()>,
        metrics: Metrics,
    }

    impl Following {
        fn start(daemon: &Daemon, tty: bool, committed: Ranges) -> Self {
            let (sender, items) = queue::queue(1000, 1 << 20);
            let (stop, stopped) = watch::channel(false);
            let (again, metrics) = (Arc::new(Notify::new()), Metrics::new());
            let container = Container { tty, log_driver: "local".into(), ..Container::new(ID, "web") };
            let follow = Follow {
                api: Api::Unix(daemon.socket.clone()),
                source: source(Arc::new(container)),
                cursor: Cursor::new(committed),
                queue: sender,
                metrics: metrics.clone(),
                again: again.clone(),
                removed: Arc::default(),
                stop: stopped,
                kept: Kept::default(),
            };
            Self { items, again, stop, metrics, task: tokio::spawn(follow.run()) }
        }

        async fn item(&mut self) -> Option<Item> {
            timeout(Duration::from_secs(10), self.items.recv()).await.expect("an item")
        }

        /// The next `count` lines: stream, text and range.
        async fn lines(&mut self, count: usize) -> Vec<(String, String, Range)> {
            let mut lines = Vec::new();
            while lines.len() < count {
                let Some(Item::Chunk(chunk)) = self.item().await else { panic!("not a chunk") };
                let Offsets::Each(ranges) = &chunk.offsets else { panic!("not a stream's offsets") };
                let texts = chunk.data.split_inclusive(|byte| *byte == b'\n');
                assert_eq!((texts.clone().count(), ranges.len()), (chunk.lines as usize, chunk.lines as usize));
                for (text, range) in texts.zip(ranges.iter()) {
                    let line: serde_json::Value = serde_json::from_slice(text).unwrap();
                    assert_eq!(line["time"], time_text(range.end - 1), "these tests have no equal times");
                    let field = |key: &str| line[key].as_str().unwrap().to_owned();
                    lines.push((field("stream"), field("log"), *range));
                }
            }
            assert_eq!(lines.len(), count);
            lines
        }

        /// The next lines must be exactly numbers `from..to` of [`numbered`].
        async fn expect(&mut self, from: u64, to: u64) {
            let lines = self.lines((to - from) as usize).await;
            for (n, (stream, text, range)) in (from..to).zip(lines) {
                assert_eq!(
                    (stream.as_str(), text),
                    (if n % 3 == 0 { "stderr" } else { "stdout" }, format!("line {n}\n"))
                );
                assert_eq!(range, self::range(n));
            }
        }

        /// Nothing is left in the queue, and the task has returned.
        async fn ends(mut self) {
            timeout(Duration::from_secs(10), self.task).await.expect("the task ends").unwrap();
            assert!(self.items.recv().await.is_none());
        }
    }

    /// A line each second.
    fn numbered(from: u64, to: u64) -> impl Iterator<Item = (u64, bool, Vec<u8>)> {
        (from..to).map(|n| (BASE + n * S, n % 3 == 0, format!("line {n}\n").into_bytes()))
    }

    fn range(n: u64) -> Range {
        Range::new(if n == 0 { 0 } else { BASE + (n - 1) * S + 1 }, BASE + n * S + 1)
    }

    fn daemon(tty: bool) -> Daemon {
        let daemon = Daemon::start();
        daemon.create(ID, Fake { name: "web".into(), driver: "local".into(), tty, running: true, ..Fake::default() });
        daemon
    }

    #[tokio::test]
    async fn follows_through_everything_that_happens() {
        let mut daemon = daemon(false);
        daemon.log(ID, numbered(0, 5));
        let mut following = Following::start(&daemon, false, Ranges::default());
        following.expect(0, 5).await;
        daemon.log(ID, numbered(5, 40));
        following.expect(5, 40).await;
        // The connection is cut; lines come meanwhile.
        daemon.cut();
        daemon.log(ID, numbered(40, 50));
        following.expect(40, 50).await;
        // The daemon is away.
        daemon.go_away();
        daemon.log(ID, numbered(50, 60));
        daemon.listen();
        following.again.notify_one();
        following.expect(50, 60).await;
        // The container stops and starts again.
        daemon.log(ID, numbered(60, 61));
        daemon.run(ID, false);
        following.expect(60, 61).await;
        daemon.run(ID, true);
        daemon.log(ID, numbered(61, 63));
        following.again.notify_one();
        following.expect(61, 63).await;
        // It is removed.
        daemon.log(ID, numbered(63, 64));
        daemon.remove(ID);
        following.again.notify_one();
        loop {
            match following.item().await {
                Some(Item::Over(_)) => break,
                // Whether the last line is read before its container is gone is the daemon's affair.
                Some(Item::Chunk(chunk)) => assert_eq!(chunk.lines, 1),
                other => panic!("{other:?}"),
            }
        }
        assert!(following.metrics.lines_read.get() >= 63);
        following.ends().await;
    }

    #[tokio::test]
    async fn resumes_behind_what_was_delivered() {
        let daemon = daemon(false);
        daemon.log(ID, numbered(0, 30));
        let committed = (0..21).chain([22, 23]).map(range).collect();
        let mut following = Following::start(&daemon, false, committed);
        let ranges: Vec<_> = following.lines(7).await.into_iter().map(|(.., range)| range).collect();
        assert_eq!(ranges, [21].into_iter().chain(24..30).map(range).collect::<Vec<_>>());
        assert_eq!(daemon.log_requests(), [(BASE / S + 20) - 10]);
    }

    #[tokio::test]
    async fn reports_a_gap_once() {
        let daemon = daemon(false);
        daemon.log(ID, numbered(0, 30));
        daemon.rotate(ID, 25);
        let mut following = Following::start(&daemon, false, (0..21).map(range).collect());
        let Some(Item::Gap(gap)) = following.item().await else { panic!("no gap") };
        assert_eq!((gap.from, gap.to), (Some(time_text(BASE + 20 * S)), Some(time_text(BASE + 25 * S))));
        let lines = following.lines(5).await;
        assert_eq!(lines[0].2, Range::new(range(20).end, range(25).end));
        assert_eq!(lines[4].2, range(29));
        daemon.cut();
        daemon.log(ID, numbered(30, 31));
        following.expect(30, 31).await;
        assert_eq!(following.metrics.gaps.get(), 1);
    }

    /// As daemons before 23.0 do when the file is rotated.
    #[tokio::test]
    async fn a_daemon_that_goes_back_repeats_nothing() {
        let daemon = daemon(false);
        daemon.log(ID, numbered(0, 20));
        daemon.log(ID, numbered(14, 25));
        let mut following = Following::start(&daemon, false, Ranges::default());
        following.expect(0, 25).await;
        daemon.log(ID, numbered(24, 30));
        following.expect(25, 30).await;
    }

    /// The bytes of a character before and behind a cut, each with its stream's other lines between them.
    #[tokio::test]
    async fn a_character_that_is_cut_goes_with_the_next_part() {
        let daemon = daemon(false);
        let part = |begin: &[u8], end: &[u8]| {
            [begin, &vec![b'x'; limits::DOCKER_PART_BYTES - begin.len() - end.len()], end].concat()
        };
        let messages = [
            (false, part(b"", b"\xf0\x9f")),
            (true, part(b"", b"\xc3")),
            (false, part(b"\x98\x80", b"\xe2")),
            (true, b"\xa9 err".to_vec()),
            (false, b"\x82\xac out".to_vec()),
        ];
        daemon.log(ID, (0..).zip(messages).map(|(n, (stderr, body))| (BASE + n * S, stderr, body)));
        let mut following = Following::start(&daemon, false, Ranges::default());
        let lines = following.lines(5).await;
        let seen: Vec<_> = lines.iter().map(|(stream, text, _)| (stream.as_str(), text.replace('x', ""))).collect();
        let expected = [("stdout", ""), ("stderr", ""), ("stdout", "😀"), ("stderr", "é err\n"), ("stdout", "€ out\n")];
        assert_eq!(seen, expected.map(|(stream, text)| (stream, text.to_owned())));
        let lengths = [lines[0].1.len(), lines[1].1.len(), lines[2].1.len()];
        let full = limits::DOCKER_PART_BYTES;
        assert_eq!(lengths, [full - 2, full - 1, full - 1 + 2]);
    }

    #[tokio::test]
    async fn takes_a_last_look_when_told_to_stop() {
        let daemon = daemon(false);
        let mut following = Following::start(&daemon, false, Ranges::default());
        daemon.log(ID, numbered(0, 1));
        following.expect(0, 1).await;
        daemon.log(ID, numbered(1, 3));
        following.stop.send(true).unwrap();
        following.expect(1, 3).await;
        following.ends().await;
    }

    /// Whatever the daemon was asked last, it never answers.
    #[tokio::test]
    async fn a_daemon_that_hangs_does_not_hold_up_the_end() {
        let check = async |question| {
            let daemon = daemon(false);
            daemon.run(ID, false);
            daemon.hang_at(question);
            let following = Following::start(&daemon, false, Ranges::default());
            daemon.until_it_hangs().await;
            following.stop.send(true).unwrap();
            following.ends().await;
        };
        tokio::join!(check("version"), check("logs"), check("json"));
    }

    #[tokio::test]
    async fn parts_of_a_tty() {
        let daemon = daemon(true);
        let full = vec![b'x'; limits::DOCKER_PART_BYTES];
        let messages = [full.clone(), full, b"end\r\n".to_vec(), b"next\r\n".to_vec()];
        daemon.log(ID, (0..).zip(messages).map(|(n, body)| (BASE + n * S, false, body)));
        let mut following = Following::start(&daemon, true, Ranges::default());
        let lines = following.lines(4).await;
        let lengths: Vec<_> = lines.iter().map(|(stream, text, _)| (stream.as_str(), text.len())).collect();
        let part = ("stdout", limits::DOCKER_PART_BYTES);
        assert_eq!(lengths, [part, part, ("stdout", 5), ("stdout", 6)]);
    }
}
