//! The store: what survives a restart. Batches that wait for the receiver (the **spool**), positions that it has acknowledged
//! (**checkpoints**), records that it refuses (**dead letters**).
//!
//! Batches stand in segment files of our own ([`journal`], [`segment`], [`frame`]); positions and the states of frames in a
//! sled index ([`index`]) and, once more, in two cursor slots ([`cursor`]), so that either can be lost. One thread
//! ([`worker`]) does all of it; [`Store`] is the handle that the sender holds. Formats: `docs/spool-format.md`; why so:
//! `docs/adr/0002-spool-segments-with-sled-index.md`.
//!
//! Invariants:
//! - An append that was answered with an id is on disk, and its batch is given out by [`Store::next`] until it is retired.
//! - Positions on disk are acknowledged ones. The covers of spooled frames are added when the store is opened, from frames that
//!   are whole: so the lines of a frame that got damaged are read from the log again, if it is still there.
//! - Damage is never an error and never deleted: it is copied to `quarantine/`, said once, counted, and passed over.
//!
//! The store does not know receivers, HTTP, or log files.

mod checkpoint;
mod cursor;
mod dead;
mod disk;
pub(crate) mod fault;
mod frame;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz_support;
mod index;
mod journal;
mod letters;
mod list;
mod segment;
mod state;
#[cfg(test)]
mod tests;
mod worker;

use crate::limits;
use crate::metrics::Metrics;
use crate::position::{Carried, Ranges};
use crate::sender::batch::Batch;
use crate::source::SourceKey;
use bytes::Bytes;
use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use worker::{Ask, End, Inbox};

pub use dead::Moved;
pub use letters::Letter;
pub use list::{DeadListing, Listing, SegmentListing, dead_letters, export, list};

/// How the store is opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// State directory; created when it is missing.
    pub dir: PathBuf,
    /// Bound of segments and dead letters together.
    pub max_bytes: u64,
    /// Whether batches are taken; `false`: checkpoints and dead letters only, every append is answered with `Full`. What the
    /// spool holds from before is given out all the same.
    pub spooling: bool,
}

/// Name of a spooled batch; later ones are greater, over the life of the state directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FrameId(pub u64);

/// What was found when the store was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// What need not be read again, by source: acknowledged, or in the spool.
    pub positions: HashMap<SourceKey, Ranges>,
    /// Batches in the spool.
    pub frames: u64,
    /// Lines of theirs, those of damaged frames included (these are also counted as dropped).
    pub lines: u64,
    /// Records of theirs.
    pub records: u64,
    /// Bytes of theirs on disk.
    pub bytes: u64,
}

/// A record that the receiver refuses for good.
#[derive(Clone, Debug)]
pub struct DeadLetter {
    /// Whose.
    pub key: SourceKey,
    /// The lines that it was made from.
    pub cover: Ranges,
    /// Lines of earlier generations that it was made from as well.
    pub carried: Carried,
    /// How many they are.
    pub lines: u32,
    /// The record as it was sent.
    pub record: Bytes,
    /// Status of the answer.
    pub status: u16,
    /// Body of the answer; the first 2 KiB are kept.
    pub answer: String,
}

impl DeadLetter {
    /// What is settled with it.
    fn claims(&self) -> impl Iterator<Item = (SourceKey, &Ranges)> {
        let carried = self.carried.iter().map(|(generation, ranges)| {
            (SourceKey { container: self.key.container.clone(), generation: *generation }, ranges)
        });
        carried.chain([(self.key.clone(), &self.cover)])
    }
}

/// How much is in the spool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Batches not retired.
    pub frames: u64,
    /// Their lines.
    pub lines: u64,
    /// Bytes of all segments and of the dead letters.
    pub bytes: u64,
    /// Bound of `bytes`.
    pub max_bytes: u64,
    /// The last append was answered with [`AppendError::Full`], and no space has been freed since.
    pub full: bool,
}

/// Why the store cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error(
        "the state directory {path} is in use by another rask-log-forwarder: give each its own DISK_FALLBACK_PATH, or stop the other one"
    )]
    Locked {
        /// The state directory.
        path: PathBuf,
    },
    /// It cannot be created, read or written.
    #[error(
        "the state directory {path} cannot be used ({source}): set DISK_FALLBACK_PATH to a directory, or mount a volume there, that this user may write"
    )]
    Unusable {
        /// The state directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Why something is not on disk.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// `MAX_DISK_USAGE_MB` is reached, the disk is nearly full, or spooling is off.
    #[error("the spool is full")]
    Full,
    /// The disk failed; the spool is as it was before, and can be tried again.
    #[error("the spool cannot be written: {0}")]
    Disk(String),
    /// The store is closed.
    #[error("the spool is closed")]
    Closed,
}

impl From<io::Error> for AppendError {
    fn from(error: io::Error) -> Self {
        if disk::is_full(&error) { Self::Full } else { Self::Disk(error.to_string()) }
    }
}

/// What handles and thread have in common.
#[derive(Default)]
struct Shared {
    inbox: Mutex<Inbox>,
    wake: Condvar,
    frames: AtomicU64,
    lines: AtomicU64,
    bytes: AtomicU64,
    full: AtomicBool,
    /// The last checkpoint failed.
    failing: AtomicBool,
    /// When the oldest of what a checkpoint has taken up, and not yet brought to disk, was said.
    unsaved: Mutex<Option<Instant>>,
    /// Told when there are frames that no append of the handle's owner has put there.
    refilled: tokio::sync::Notify,
    /// Told when the state directory has been made anew.
    remade: tokio::sync::Notify,
}

impl Shared {
    fn inbox(&self) -> MutexGuard<'_, Inbox> {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Ends the thread when the last handle goes.
struct Thread {
    shared: Arc<Shared>,
    join: Mutex<Option<JoinHandle<()>>>,
}

impl Thread {
    fn end(&self, how: End) {
        let mut inbox = self.shared.inbox();
        if inbox.end == End::No {
            inbox.end = how;
        }
        drop(inbox);
        self.shared.wake.notify_all();
        let join = self.join.lock().unwrap_or_else(PoisonError::into_inner).take();
        // One that is to crash may be gone already, as the faulty disk of a test ends it.
        if join.is_some_and(|thread| thread.join().is_err()) && how != End::Crash {
            tracing::error!("the store's thread panicked");
        }
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.end(End::Clean);
    }
}

/// Handle to the store's own thread `rask-store`.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
    thread: Arc<Thread>,
    max_bytes: u64,
}

impl Store {
    /// Locks and reads the state directory, and starts the thread. Reads every segment once: about a second for 1 GB that
    /// is not in the page cache.
    ///
    /// # Errors
    /// When the directory cannot be used or another process has it. Damaged content is not an error.
    pub fn open(options: Options, metrics: Metrics) -> Result<(Self, Recovered), OpenError> {
        let path = options.dir.clone();
        match Self::try_open(options, metrics) {
            Ok(Some(opened)) => Ok(opened),
            Ok(None) => Err(OpenError::Locked { path }),
            Err(source) => Err(OpenError::Unusable { path, source }),
        }
    }

    fn try_open(options: Options, metrics: Metrics) -> io::Result<Option<(Self, Recovered)>> {
        let Options { dir, max_bytes, spooling } = options;
        disk::create_dir(&dir)?;
        let Some(lock) = disk::lock(&dir)? else { return Ok(None) };
        let (spool, quarantine) = (dir.join("spool"), || disk::Quarantine(dir.join("quarantine")));
        disk::create_dir(&spool)?;
        let mut checkpoints = checkpoint::Checkpoints::open(dir.clone(), quarantine(), metrics.clone())?;
        let mut recovered = Recovered::default();
        // Several segments even in a small spool, since space is freed by the segment.
        let segment_bytes = (max_bytes / 8).clamp(64 << 10, limits::SEGMENT_BYTES);
        let state = &mut checkpoints.state;
        let journal =
            journal::Journal::open(spool, quarantine(), segment_bytes, metrics.clone(), state, &mut recovered)?;
        let spooled = recovered.positions.keys().map(|key| key.container.clone()).collect();
        if let Err(error) = dead::settle_fresh(&dir, state) {
            tracing::warn!(%error, "the dead letters cannot be read; the newest may become dead letters once more");
        }
        for (key, entry) in &state.positions {
            recovered.positions.entry(key.clone()).or_default().union(&entry.ranges);
        }
        fault::sync_dir(&dir)?;
        metrics.spool_bytes_limit.set(max_bytes.min(i64::MAX as u64) as i64);
        let shared = Arc::new(Shared::default());
        let dead = dead::DeadLetters::open(&dir, quarantine(), (max_bytes / 8).max(1 << 20).min(max_bytes));
        let mut worker = worker::Worker {
            shared: shared.clone(),
            checkpoints,
            journal,
            dead,
            drains: Vec::new(),
            metrics,
            dir,
            max_bytes,
            segment_bytes,
            spooling,
            spooled,
            lock,
            gone: false,
        };
        // What the two copies know apart is now in both; then segments that are done with can go.
        if let Err(error) = worker.checkpoint(true) {
            tracing::warn!(%error, "the first checkpoint failed");
        }
        // Whatever became of it: the sender must know at once that there is something to be sent first.
        worker.publish();
        #[cfg(test)]
        let disk = fault::faulty::current();
        let serve = move || {
            #[cfg(test)]
            fault::faulty::adopt(disk);
            worker.run();
        };
        let join = std::thread::Builder::new().name("rask-store".into()).spawn(serve)?;
        let thread = Arc::new(Thread { shared: shared.clone(), join: Mutex::new(Some(join)) });
        Ok(Some((Self { shared, thread, max_bytes }, recovered)))
    }

    /// Puts a batch behind the others. Durable when it returns; the lines that it covers need not be read again.
    ///
    /// # Errors
    /// Then it is not in the spool, nor is any that was appended after it at the same time.
    pub async fn append(&self, batch: &Batch) -> Result<FrameId, AppendError> {
        self.ask(|answer| Ask::Append(batch.clone(), answer)).await.unwrap_or(Err(AppendError::Closed))
    }

    /// The oldest batch that is not retired and comes after `after`; `None` when there is none, or the store is closed.
    pub async fn next(&self, after: Option<FrameId>) -> Option<(FrameId, Batch)> {
        self.ask(|answer| Ask::Next(after, answer)).await.unwrap_or(None)
    }

    /// What is left to be sent of a batch that [`Self::next`] has given out: the records that are neither delivered nor dead letters yet.
    /// A dead letter that is sent again is left as it is. `Some(None)` when all of it is settled, `None` when the store is closed.
    pub async fn left_of(&self, batch: Batch) -> Option<Option<Batch>> {
        self.ask(|answer| Ask::Left(batch, answer)).await
    }

    /// This batch, of so many lines, was delivered, or its records are dead letters: its cover becomes a position. In any order.
    pub fn retire(&self, id: FrameId, lines: u32) {
        self.say(|inbox| {
            inbox.unsaved.get_or_insert_with(Instant::now);
            inbox.retired.insert(id, lines);
        });
    }

    /// Lines that the receiver has acknowledged: on disk all or none, within [`limits::CHECKPOINT_INTERVAL`], without waiting
    /// for it.
    pub fn commit(&self, settled: Vec<(SourceKey, Ranges)>) {
        self.say(|inbox| {
            inbox.unsaved.get_or_insert_with(Instant::now);
            for (key, ranges) in settled {
                inbox.commits.entry(key).or_default().union(&ranges);
            }
        });
    }

    /// Age of the oldest acknowledgement that is not on disk: what a receiver that cannot tell repeated lines would get twice
    /// after a crash now. Zero while checkpoints fail, which is said otherwise.
    pub fn unsaved_for(&self) -> Duration {
        if self.shared.failing.load(Relaxed) {
            return Duration::ZERO;
        }
        let said = self.shared.inbox().unsaved;
        let taken = *self.shared.unsaved.lock().unwrap_or_else(PoisonError::into_inner);
        [said, taken].into_iter().flatten().map(|since| since.elapsed()).max().unwrap_or_default()
    }

    /// Lines of this source come. If nothing is known of its container, that is on disk as soon as can be: who starts after a
    /// crash before the first acknowledgement must know that the container was being read, to notice what is gone.
    pub fn begin(&self, key: SourceKey) {
        self.shared.inbox().begun.push(key);
        self.shared.wake.notify_all();
    }

    /// Keeps a refused record, and takes the lines that it was made from as settled. Durable when it returns, but for the position, which
    /// the letter itself tells after a crash. Goes on even when nobody waits for it any more.
    ///
    /// # Errors
    /// `Full` also when the dead letters have an eighth of the bound.
    pub async fn dead_letter(&self, letter: DeadLetter) -> Result<(), AppendError> {
        self.ask(|answer| Ask::Dead(letter, answer)).await.unwrap_or(Err(AppendError::Closed))
    }

    /// Takes the dead letters back into the spool, each as a batch of its own behind the others. What an earlier drain has left
    /// comes first. Goes on even when nobody waits for it any more.
    ///
    /// # Errors
    /// When the store is closed. What stopped a drain half-way is in [`Moved`].
    pub async fn drain_dead_letters(&self) -> Result<Moved, AppendError> {
        self.ask(Ask::Drain).await.ok_or(AppendError::Closed)
    }

    /// Waits until frames have come into the spool by another way than [`Self::append`]. Safe to cancel.
    pub async fn refilled(&self) {
        self.shared.refilled.notified().await;
    }

    /// Waits until the state directory has been made anew, after somebody had taken it away. Safe to cancel.
    pub async fn remade(&self) {
        self.shared.remade.notified().await;
    }

    /// Everything said so far is on disk when it returns.
    ///
    /// # Errors
    /// When it is not.
    pub async fn sync(&self) -> Result<(), AppendError> {
        self.ask(Ask::Sync).await.unwrap_or(Err(AppendError::Closed))
    }

    /// Whether the thread has ended, by itself or since it was told.
    pub fn is_gone(&self) -> bool {
        self.shared.inbox().end != End::No
    }

    /// A few loads. Up to date when the append or `next` that changed it has returned; retired frames count with the next call or
    /// checkpoint, their bytes when their segment goes.
    pub fn usage(&self) -> Usage {
        let shared = &self.shared;
        Usage {
            frames: shared.frames.load(Relaxed),
            lines: shared.lines.load(Relaxed),
            bytes: shared.bytes.load(Relaxed),
            max_bytes: self.max_bytes,
            full: shared.full.load(Relaxed),
        }
    }

    /// Brings everything to disk and ends the thread, for all handles.
    #[allow(clippy::needless_pass_by_value)] // the handle is of no use afterwards
    pub fn close(self) {
        self.thread.end(End::Clean);
    }

    /// Ends the thread as if the process had been killed.
    #[cfg(test)]
    pub(crate) fn crash(self) {
        self.thread.end(End::Crash);
    }

    async fn ask<T>(&self, ask: impl FnOnce(oneshot::Sender<T>) -> Ask) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        {
            let mut inbox = self.shared.inbox();
            if inbox.end != End::No {
                return None;
            }
            inbox.asks.push_back(ask(answer));
        }
        self.shared.wake.notify_all();
        answered.await.ok()
    }

    /// Puts something into the inbox, and wakes the thread only when nothing else would.
    fn say(&self, put: impl FnOnce(&mut Inbox)) {
        let mut inbox = self.shared.inbox();
        put(&mut inbox);
        if std::mem::take(&mut inbox.idle) {
            self.shared.wake.notify_all();
        }
    }
}
