//! Follows one container's json-file log: every line from the first byte on, once, in order, through rotations.
//!
//! ```text
//! loop:  reconcile with the directory              (generations: which files, in what order)
//!        oldest open file: read up to 64 KiB       (input)
//!          whole lines → queue, waiting for room   (lines)
//!          at its end: rotated? close it, go on with the next : wait for inotify
//! ```
//!
//! - Lines wait in the file, not in memory: while the queue is full nothing is read. Rotations are still noticed then, and
//!   new files opened, so that what is unlinked stays readable.
//! - [`Item::End`] follows the last line of each generation of which any was handed out, [`Item::Over`] the last line of all.
//!   The parts of a message split across a rotation are parts of two sources here; the parser puts them together.
//! - On the order to stop it reads to where the files ended at that moment. An unfinished last line is handed out only where
//!   nobody will finish it, and a live log gets no end: what is split there is joined by the next process.
//! - Positions are those from before the process started. A container that is followed again in one process, since its
//!   directory had been away, goes on behind what was [`Done`] before.
//!
//! It does not parse, and knows no network.

use super::checkpoint::Positions;
use super::generations::{Done, Generations};
use super::lines::Piece;
use super::log_file::{Loss, Step};
use super::watch::Watcher;
use crate::buffer::queue::Sender;
use crate::buffer::{Chunk, Gap, Item, Offsets};
use crate::metrics::Metrics;
use crate::source::{Container, Source};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::yield_now;
use tokio::time::sleep;

/// How often the lag is measured while the queue is full. While it is not, every read tells.
const MEASURE_INTERVAL: Duration = Duration::from_secs(1);

/// Why following ended. In each case everything readable has been handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// The order to stop came.
    Stopped,
    /// The container's directory is gone.
    Removed,
}

/// Follows the log at `log_path` (usually `dir/<id>-json.log`) of the container whose directory is `dir`, until `stop`
/// turns true (or its sender is gone), or the directory is removed. Lines that `positions` holds are not handed out again, nor
/// those of what is `done`; what is done at the end is returned.
#[expect(clippy::too_many_arguments, reason = "everything a tail needs, each of its own kind")]
pub async fn follow(
    container: Arc<Container>,
    dir: PathBuf,
    log_path: PathBuf,
    positions: Positions,
    done: Done,
    watcher: Watcher,
    queue: Sender,
    metrics: Metrics,
    stop: watch::Receiver<bool>,
) -> (Ended, Done) {
    let generations = Generations::new(container, dir, log_path, positions, done, watcher, metrics.clone());
    let mut tail = Tail { generations, queue, metrics, stop };
    let ended = tail.run().await;
    (ended, tail.generations.into_done())
}

#[derive(Debug)]
struct Tail {
    generations: Generations,
    queue: Sender,
    metrics: Metrics,
    stop: watch::Receiver<bool>,
}

impl Tail {
    async fn run(&mut self) -> Ended {
        loop {
            self.read_to_end().await;
            if self.generations.is_frozen() || self.generations.is_over() {
                return self.over().await;
            }
            tokio::select! {
                () = self.generations.changed() => {}
                _ = self.stop.wait_for(|stop| *stop) => self.generations.freeze(),
            }
        }
    }

    /// Nothing more comes. A gap that no line has come behind is reported all the same.
    async fn over(&mut self) -> Ended {
        if let Some((source, loss)) = self.generations.take_last_loss() {
            self.send_gap(source, loss).await;
        }
        if self.generations.is_frozen() {
            return Ended::Stopped;
        }
        self.send(Item::Over(self.generations.container().clone())).await;
        Ended::Removed
    }

    /// Hands out everything there is now.
    async fn read_to_end(&mut self) {
        loop {
            if *self.stop.borrow() && !self.generations.is_frozen() {
                self.generations.freeze();
            }
            self.generations.reconcile();
            if !self.generations.front_may_begin() {
                return;
            }
            match self.step() {
                Ok(Step::Lines(piece)) => {
                    self.hand_out(piece).await;
                    self.let_others_work().await;
                }
                Ok(Step::More) => self.let_others_work().await,
                Ok(Step::Truncated) => self.generations.truncated(),
                Ok(Step::End) => {
                    if !self.end().await {
                        return;
                    }
                }
                Err(error) => {
                    if !self.failed(&error).await {
                        return;
                    }
                }
            }
        }
    }

    /// While there is a backlog: the parser takes each read while it is warm in the cache.
    async fn let_others_work(&mut self) {
        if self.generations.front().is_some_and(|log| log.has_more()) {
            yield_now().await;
        }
    }

    /// One read of the oldest generation.
    fn step(&mut self) -> io::Result<Step> {
        let named = self.generations.name_front()?;
        match self.generations.front() {
            Some(log) if named => log.step(),
            _ => Ok(Step::End),
        }
    }

    /// At the end of the oldest generation: closes it if it is over, and says whether there may be more to read.
    async fn end(&mut self) -> bool {
        let frozen = self.generations.is_frozen();
        let Some(log) = self.generations.front().filter(|log| log.is_rotated() || frozen) else { return false };
        // A live log at a stop is not over: the parts that its joins hold back are read again by the next process.
        let over = log.is_rotated();
        let rest = if over { log.take_rest() } else { None };
        if let Some(rest) = rest {
            self.hand_out(rest).await;
        }
        let source = self.generations.front().and_then(|log| log.begun_source().cloned());
        if let Some(source) = source.filter(|_| over) {
            self.send(Item::End(source)).await;
        }
        self.generations.close_front();
        true
    }

    /// The oldest generation cannot be read: says whether there may be more to read now.
    async fn failed(&mut self, error: &io::Error) -> bool {
        let Some(failure) = self.generations.front_failed(error) else { return false };
        if let Some((source, loss)) = failure {
            self.send_gap(source, loss).await;
        }
        true
    }

    /// Sends the lines of the oldest generation, without those that were delivered before.
    async fn hand_out(&mut self, mut piece: Piece) {
        let read_at = Instant::now();
        let Some(log) = self.generations.front() else { return };
        let Some(source) = log.source().cloned() else { return };
        // Hardly ever anything, and gone once it is passed.
        let delivered = log.delivered().clone();
        if delivered.covers(piece.range()) {
            return;
        }
        log.begin();
        if let Some(loss) = log.take_gap() {
            self.send_gap(source.clone(), loss).await;
        }
        while let Some(Piece { start, data, lines }) = piece.take_fresh(&delivered) {
            let bytes = data.len() as u64;
            let chunk = Chunk { source: source.clone(), data, offsets: Offsets::File(start), lines, read_at };
            self.send(Item::Chunk(chunk)).await;
            self.metrics.lines_read.inc_by(u64::from(lines));
            self.metrics.bytes_read.inc_by(bytes);
        }
    }

    async fn send_gap(&mut self, source: Arc<Source>, loss: Loss) {
        let Loss { reason, bytes, to, .. } = loss;
        tracing::warn!(container = %source.container.name, bytes, "{reason}");
        self.metrics.gap_bytes.inc_by(bytes.unwrap_or(0));
        self.metrics.gaps.inc();
        let container = source.container.clone();
        self.send(Item::Gap(Gap { container, source, reason: reason.into_owned(), from: None, to, bytes })).await;
    }

    /// Waits for room in the queue, and meanwhile opens what appears in the directory, which might not be there later, and
    /// keeps the gauge of what is waiting up to date.
    async fn send(&mut self, item: Item) {
        let Self { generations, queue, .. } = self;
        let Err(item) = queue.try_send(item) else { return };
        let sent = queue.send(item);
        tokio::pin!(sent);
        loop {
            tokio::select! {
                () = &mut sent => return,
                () = generations.files_changed() => generations.reconcile(),
                () = sleep(MEASURE_INTERVAL) => generations.measure(),
            }
        }
    }
}

#[cfg(test)]
mod tests;
