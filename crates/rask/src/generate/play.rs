//! The loop that writes events at their pace.

use super::{Format, Lines, Pace};
use crate::clock;
use crate::layout::{Container, Stream};
use crate::stop::Stop;
use fastrand::Rng;
use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What to play.
#[derive(Clone, Debug)]
pub struct Play {
    /// Kind of lines.
    pub format: Format,
    /// How fast.
    pub pace: Pace,
    /// Events after which it ends.
    pub count: Option<u64>,
    /// Time after which it ends.
    pub time: Option<Duration>,
    /// Share of events that go to stderr, 0 to 1.
    pub stderr_share: f64,
    /// First number of each stream.
    pub seq_start: u64,
    /// Bytes to which events are padded; 0 leaves them.
    pub size: usize,
    /// Name of the run.
    pub run: String,
}

/// Events written so far, for whoever watches from another thread.
#[derive(Debug, Default)]
pub struct Progress {
    /// Events on stdout.
    pub stdout: AtomicU64,
    /// Events on stderr.
    pub stderr: AtomicU64,
    /// Rotations of the log.
    pub rotations: AtomicU64,
}

impl Progress {
    /// Events on both streams.
    pub fn events(&self) -> u64 {
        self.stdout.load(Ordering::Relaxed) + self.stderr.load(Ordering::Relaxed)
    }
}

/// Where events go.
#[derive(Debug)]
pub enum Sink {
    /// This process's own standard streams.
    Standard,
    /// A container's log.
    Container(Box<Container>),
}

impl Play {
    /// Writes until the count, the time or `stop` ends it. Returns the sink for what comes after.
    pub fn run(&self, mut sink: Sink, progress: &Progress, stop: &Stop) -> io::Result<Sink> {
        let mut lines = Lines::new(self.format, &self.run, self.size, fastrand::u64(..));
        let (mut rng, mut event, mut pending) = (Rng::new(), Vec::new(), [Vec::new(), Vec::new()]);
        let (begin, mut written) = (Instant::now(), 0);
        let end = self.count.unwrap_or(u64::MAX);
        while written < end && !stop.is_set() && self.time.is_none_or(|time| begin.elapsed() < time) {
            let due = self.pace.due(begin.elapsed()).min(end);
            // A round is bounded, so that an end and a signal are seen at full speed, too.
            let round = due.saturating_sub(written).min(1000);
            for _ in 0..round {
                let stream = if rng.f64() < self.stderr_share { Stream::Stderr } else { Stream::Stdout };
                let counter = [&progress.stdout, &progress.stderr][stream as usize];
                event.clear();
                lines.event(stream, self.seq_start + counter.load(Ordering::Relaxed), clock::now(), &mut event);
                match &mut sink {
                    Sink::Standard => pending[stream as usize].extend_from_slice(&event),
                    Sink::Container(container) => {
                        for line in event.trim_ascii_end().split(|byte| *byte == b'\n') {
                            container.write_line(stream, line)?;
                        }
                        progress.rotations.store(container.log().rotations(), Ordering::Relaxed);
                    }
                }
                counter.fetch_add(1, Ordering::Relaxed);
            }
            written += round;
            flush(&mut pending)?;
            if written >= due && written < end {
                stop.wait(self.wait(written, begin.elapsed()));
            }
        }
        Ok(sink)
    }

    fn wait(&self, written: u64, elapsed: Duration) -> Duration {
        let wait = self.pace.wait(written, elapsed);
        self.time.map_or(wait, |time| wait.min(time.saturating_sub(elapsed)))
    }
}

fn flush(pending: &mut [Vec<u8>; 2]) -> io::Result<()> {
    let [stdout, stderr] = pending;
    if !stdout.is_empty() {
        let mut out = io::stdout().lock();
        out.write_all(stdout)?;
        out.flush()?;
        stdout.clear();
    }
    if !stderr.is_empty() {
        io::stderr().lock().write_all(stderr)?;
        stderr.clear();
    }
    Ok(())
}
