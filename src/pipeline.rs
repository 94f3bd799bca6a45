//! The one loop that moves lines: queue → parser → open records → sender.
//!
//! It runs on the same thread as the collector and the connections: handing a line to another core costs more than parsing it
//! (ADR 3). It never blocks; a full sender leaves the queue alone, a full queue stops the collector.
//!
//! It ends when the collector has gone, the queue is empty, and everything is delivered or in the spool; or at the deadline.

use crate::admin::Health;
use crate::buffer::queue::Receiver;
use crate::buffer::{Chunk, Item};
use crate::limits::PULSE;
use crate::metrics::Metrics;
use crate::parser::{Parser, Progress};
use crate::sender::{self, Sender};
use crate::source::Container;
use prometheus::{Gauge, IntGauge};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;

/// How the pipeline ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drained {
    /// Every line that was read is delivered, durable, or held for its remaining parts (and will be read again).
    Clean,
    /// The deadline came first; this many lines are still only in the log files.
    Missed {
        /// Lines parsed, neither delivered nor durable.
        lines: u64,
    },
    /// Something that the pipeline depends on has failed: why.
    Broken(&'static str),
}

/// Everything the loop owns.
pub struct Pipeline {
    queue: Receiver,
    parser: Parser,
    sender: Sender,
    health: Arc<Health>,
    queue_bytes: IntGauge,
    lag_seconds: Gauge,
    /// `lines_pending{stage="queue"}` and `{stage="parser"}`.
    pending: [IntGauge; 2],
}

impl Pipeline {
    /// The loop between `queue` and `sender`, not yet running.
    pub fn new(queue: Receiver, parser: Parser, sender: Sender, metrics: &Metrics, health: Arc<Health>) -> Self {
        let pending = ["queue", "parser"].map(|stage| metrics.lines_pending.with_label_values(&[stage]));
        let (queue_bytes, lag_seconds) = (metrics.queue_bytes.clone(), metrics.lag_seconds.clone());
        Self { queue, parser, sender, health, queue_bytes, lag_seconds, pending }
    }

    /// Runs until drained. Once `stop` turns true the rest must be done within `drain_within`.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>, drain_within: Duration) -> Drained {
        let deadline = async {
            // An error means that whoever could stop us is gone: as good as a stop.
            let _ = stop.wait_for(|stop| *stop).await;
            tokio::time::sleep(drain_within).await;
        };
        tokio::pin!(deadline);
        let mut rest = None;
        let mut open = true;
        loop {
            self.health.beat();
            self.parse_some(&mut rest);
            self.tell_overdue();
            if !open && rest.is_none() {
                while let Some(source) = self.parser.open() {
                    self.parser.release_open(&source, self.sender.records_for(&source));
                }
                while let Some(source) = self.parser.unreported() {
                    self.parser.report(&source, self.sender.records_for(&source));
                }
                self.sender.close_input();
            }
            self.sender.launch();
            self.count_pending(rest.as_ref());
            if !open && rest.is_none() && self.sender.is_drained() {
                return Drained::Clean;
            }
            if self.sender.is_broken() {
                return Drained::Broken("the thread of the state directory failed");
            }
            let overdue = self.parser.overdue_at().map(|(at, _)| at).filter(|_| self.sender.has_room());
            let hungry = open && rest.is_none() && self.sender.has_room();
            // Only while there is nothing left to read, or the rest of a group might be behind it.
            let due = self.parser.due().filter(|_| hungry);
            tokio::select! {
                () = self.sender.event() => {}
                item = self.queue.recv(), if hungry => match item {
                    Some(item) => rest = Some(item),
                    None => open = false,
                },
                () = sender::sleep_until(overdue) => {}
                // A line may be held back for long; that is no reason to look stuck.
                () = tokio::time::sleep(PULSE), if self.parser.held_lines() > 0 => {}
                () = sender::sleep_until(due) => self.release_overdue().await,
                () = &mut deadline => return Drained::Missed { lines: self.sender.undelivered_lines() },
            }
        }
    }

    /// Parses what waits, until the sender has enough, or could send at once what it has.
    fn parse_some(&mut self, rest: &mut Option<Item>) {
        let mut parsed = false;
        while self.sender.has_room() && !(parsed && self.sender.is_idle()) {
            let Some(item) = rest.take().or_else(|| self.queue.try_recv()) else { return };
            parsed = true;
            match item {
                Item::Chunk(chunk) => *rest = self.parse(chunk).map(Item::Chunk),
                Item::End(source) => {
                    if self.parser.suppresses(&source) {
                        self.parser.report(&source, self.sender.records_for(&source));
                    }
                    self.parser.end(&source);
                }
                Item::Over(container) => {
                    self.release(&container);
                    self.parser.forget(&container);
                }
                Item::Gap(gap) => {
                    self.release(&gap.container);
                    self.parser.gap(gap);
                }
            }
        }
    }

    /// Tells of lines over the rate where no line has come behind them for a while.
    fn tell_overdue(&mut self) {
        while self.sender.has_room()
            && let Some((_, source)) = self.parser.overdue_at().filter(|(at, _)| *at <= Instant::now())
        {
            let source = source.clone();
            self.parser.report(&source, self.sender.records_for(&source));
        }
    }

    /// Writes what is held back of a container, since what it waits for does not come.
    fn release(&mut self, container: &Container) {
        while let Some(source) = self.parser.waiting(container) {
            self.parser.release(&source, self.sender.records_for(&source));
        }
    }

    /// Writes the groups that nothing more comes of. After a long sleep of the whole machine, what there is to read is read first.
    async fn release_overdue(&mut self) {
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
        let now = Instant::now();
        while self.queue.depth().0 == 0
            && self.sender.has_room()
            && let Some(source) = self.parser.overdue(now)
        {
            self.parser.release_overdue(&source, now, self.sender.records_for(&source));
        }
    }

    /// Parses until the chunk is done or the sender is full; what is left comes back.
    fn parse(&mut self, mut chunk: Chunk) -> Option<Chunk> {
        while let Some(source) = self.parser.earlier(&chunk) {
            self.parser.release_earlier(&source, self.sender.records_for(&source));
        }
        let bounds = self.sender.bounds();
        let progress = loop {
            let records = self.sender.records_for(&chunk.source);
            let progress = self.parser.chunk(&mut chunk, records, bounds);
            if progress == Progress::Done || !self.sender.has_room() {
                break progress;
            }
        };
        if let Some(time) = self.parser.last_time(&chunk.source) {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            self.lag_seconds.set(now.saturating_sub(time).as_secs_f64());
        }
        (progress == Progress::Full).then_some(chunk)
    }

    fn count_pending(&self, rest: Option<&Item>) {
        let (lines, bytes) = self.queue.depth();
        let parsing = self.parser.held_lines() + rest.map_or(0, Item::lines);
        self.queue_bytes.set(bytes as i64);
        self.pending[0].set(lines as i64);
        self.pending[1].set(parsing as i64);
    }
}
