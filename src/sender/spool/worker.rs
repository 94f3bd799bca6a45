//! The store's own thread: all work on files and on sled, so that the pipeline's runtime never waits for a disk.
//!
//! It sleeps without a timeout while nothing is asked and everything is on disk. Appends that wait at the same time share
//! one `fdatasync`. Commits and retirements gather in the [`Inbox`] and are taken along with the next thing asked, or when the
//! checkpoint is due.

use super::checkpoint::Checkpoints;
use super::dead::{DeadLetters, Moved};
use super::journal::Journal;
use super::{AppendError, DeadLetter, FrameId, Recovered, Shared, disk};
use crate::metrics::Metrics;
use crate::position::Ranges;
use crate::sender::batch::Batch;
use crate::source::SourceKey;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError};
use std::time::Instant;
use tokio::sync::oneshot::Sender;

/// Something that a caller waits for.
pub(super) enum Ask {
    Append(Batch, Sender<Result<FrameId, AppendError>>),
    Next(Option<FrameId>, Sender<Option<(FrameId, Batch)>>),
    Left(Batch, Sender<Option<Batch>>),
    Dead(DeadLetter, Sender<Result<(), AppendError>>),
    Drain(Sender<Moved>),
    Sync(Sender<Result<(), AppendError>>),
}

/// What has been said and not yet been taken up. Bounded: a caller waits for each ask, commits merge by source, and a frame
/// must have been handed out before it is retired.
#[derive(Default)]
pub(super) struct Inbox {
    pub(super) asks: VecDeque<Ask>,
    pub(super) commits: HashMap<SourceKey, Ranges>,
    pub(super) retired: BTreeMap<FrameId, u32>,
    /// Sources whose lines come.
    pub(super) begun: Vec<SourceKey>,
    /// When the oldest of `commits` and `retired` was said.
    pub(super) unsaved: Option<Instant>,
    /// The thread sleeps without a timeout.
    pub(super) idle: bool,
    pub(super) end: End,
}

/// Whether the thread is to end.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum End {
    #[default]
    No,
    /// After a last checkpoint.
    Clean,
    /// At once, as if killed. For tests.
    #[cfg_attr(not(test), allow(dead_code, reason = "only tests kill the thread"))]
    Crash,
}

/// The thread's own things.
pub(super) struct Worker {
    pub(super) shared: Arc<Shared>,
    pub(super) checkpoints: Checkpoints,
    pub(super) journal: Journal,
    pub(super) dead: DeadLetters,
    /// Who waits for the end of the drain of dead letters that is under way.
    pub(super) drains: Vec<Sender<Moved>>,
    pub(super) metrics: Metrics,
    pub(super) dir: PathBuf,
    pub(super) max_bytes: u64,
    pub(super) segment_bytes: u64,
    pub(super) spooling: bool,
    /// Containers of which the spool held batches at the start.
    pub(super) spooled: HashSet<String>,
    /// Held for life.
    pub(super) lock: File,
    /// It has been said that the directory is gone and cannot be made anew.
    pub(super) gone: bool,
}

/// Tells the callers that nobody serves them any more, also after a panic.
struct Leaving(Arc<Shared>);

impl Drop for Leaving {
    fn drop(&mut self) {
        let mut inbox = self.0.inbox();
        if inbox.end == End::No {
            inbox.end = End::Clean;
        }
        inbox.asks.clear();
    }
}

/// Whether the lock's file still stands in the directory.
fn is_in(lock: &File, dir: &Path) -> bool {
    let named = std::fs::metadata(dir.join("lock"));
    let held = lock.metadata();
    matches!((named, held), (Ok(named), Ok(held)) if (named.dev(), named.ino()) == (held.dev(), held.ino()))
}

type Waiting = Vec<(FrameId, Sender<Result<FrameId, AppendError>>)>;

impl Worker {
    /// Serves until told to end.
    pub(super) fn run(mut self) {
        let _leaving = Leaving(self.shared.clone());
        if self.dead.has_leftover() {
            self.begin_drain(false);
        }
        loop {
            let inbox = self.wait();
            if inbox.end == End::Crash {
                return;
            }
            let end = inbox.end;
            self.serve(inbox);
            if end == End::Clean {
                if self.checkpoint(true).is_ok() {
                    let _ = self.checkpoints.finish();
                }
                return;
            }
            if self.dead.is_moving() {
                self.drain_some();
            }
            if self.checkpoints.due().is_some_and(|due| Instant::now() >= due) {
                let _ = self.checkpoint(false);
            }
        }
    }

    /// Sleeps until something is asked or a checkpoint is due, and takes everything that was said.
    fn wait(&mut self) -> Inbox {
        let shared = self.shared.clone();
        let mut inbox = shared.inbox();
        loop {
            if !inbox.commits.is_empty() || !inbox.retired.is_empty() {
                self.checkpoints.touch();
            }
            for key in std::mem::take(&mut inbox.begun) {
                self.begin(key);
            }
            let (due, now) = (self.checkpoints.due(), Instant::now());
            let busy = !inbox.asks.is_empty() || self.dead.is_moving();
            if busy || inbox.end != End::No || due.is_some_and(|due| now >= due) {
                let taken = std::mem::take(&mut *inbox);
                inbox.end = taken.end;
                let mut unsaved = shared.unsaved.lock().unwrap_or_else(PoisonError::into_inner);
                *unsaved = unsaved.or(taken.unsaved);
                return taken;
            }
            inbox = match due {
                Some(due) => {
                    // What is said meanwhile is due before a slot that only lags.
                    inbox.idle = self.checkpoints.rests();
                    shared.wake.wait_timeout(inbox, due - now).unwrap_or_else(PoisonError::into_inner).0
                }
                None => {
                    inbox.idle = true;
                    self.journal.rest();
                    shared.wake.wait(inbox).unwrap_or_else(PoisonError::into_inner)
                }
            };
            inbox.idle = false;
        }
    }

    /// The first source of a container is a position, though an empty one. A later one is not: that its beginning is known
    /// would say that nothing is missing before it.
    fn begin(&mut self, key: SourceKey) {
        let state = &mut self.checkpoints.state;
        let known = self.spooled.contains(&key.container)
            || state.positions.keys().any(|known| known.container == key.container);
        if !known {
            state.add(&key, &Ranges::default(), disk::now_ms());
            self.checkpoints.hurry();
        }
    }

    fn serve(&mut self, inbox: Inbox) {
        let now_ms = disk::now_ms();
        for (key, ranges) in &inbox.commits {
            self.checkpoints.state.add(key, ranges, now_ms);
        }
        for (id, lines) in inbox.retired {
            self.journal.retire(&mut self.checkpoints.state, id, lines);
        }
        let (appends, others): (Vec<_>, Vec<_>) =
            inbox.asks.into_iter().partition(|ask| matches!(ask, Ask::Append(..)));
        if !appends.is_empty() {
            self.append(appends);
        }
        self.publish();
        for ask in others {
            match ask {
                Ask::Append(..) => {}
                Ask::Next(after, answer) => {
                    let (frames, found) =
                        (self.journal.totals.frames, self.journal.next(&mut self.checkpoints.state, after));
                    if self.journal.totals.frames != frames {
                        self.checkpoints.touch();
                    }
                    self.publish();
                    let _ = answer.send(found);
                }
                Ask::Left(batch, answer) => {
                    let _ = answer.send(self.checkpoints.state.left_of(batch));
                }
                Ask::Dead(letter, answer) => {
                    let kept = self.stand_somewhere().and_then(|()| self.dead.append(&letter, self.budget()));
                    if kept.is_ok() {
                        self.checkpoints.touch();
                        letter.claims().for_each(|(key, ranges)| self.checkpoints.state.add(&key, ranges, now_ms));
                    }
                    self.publish();
                    let _ = answer.send(kept);
                }
                Ask::Drain(answer) => {
                    self.drains.push(answer);
                    self.begin_drain(true);
                }
                Ask::Sync(answer) => {
                    let _ = answer.send(self.checkpoint(true));
                }
            }
        }
    }

    /// Writes all, syncs once, answers all. After a failure none of the later ones is written: their order counts.
    fn append(&mut self, appends: Vec<Ask>) {
        let mut failed = self.stand_somewhere().err();
        let mut budget = if self.spooling { self.budget() } else { 0 };
        let (mut waiting, mut refused) = (Waiting::new(), Vec::new());
        for ask in appends {
            let Ask::Append(batch, answer) = ask else { continue };
            if self.journal.is_due() && failed.is_none() {
                failed = self.settle(&mut waiting).err();
            }
            let written = match &failed {
                Some(error) => Err(AppendError::clone(error)),
                None => self.journal.write(&mut self.checkpoints.state, &batch, &mut budget),
            };
            match written {
                Ok(id) => waiting.push((id, answer)),
                Err(error) => {
                    failed = Some(error.clone());
                    refused.push((error, answer));
                }
            }
        }
        let failed = self.settle(&mut waiting).err().or(failed);
        self.shared.full.store(failed == Some(AppendError::Full), Relaxed);
        for (error, answer) in refused {
            let _ = answer.send(Err(error));
        }
    }

    /// Makes the state directory anew when somebody has taken it away: files that only we still see keep nothing.
    fn stand_somewhere(&mut self) -> Result<(), AppendError> {
        if is_in(&self.lock, &self.dir) {
            return Ok(());
        }
        let restored = self.restore();
        match &restored {
            Ok(()) => {
                tracing::error!(
                    path = %self.dir.display(),
                    "the state directory was taken away and is made anew; lines in its spool come again after a restart, if the log still has them"
                );
            }
            Err(error) if !self.gone => {
                tracing::error!(path = %self.dir.display(), %error, "the state directory was taken away and cannot be made anew");
            }
            Err(_) => {}
        }
        self.gone = restored.is_err();
        Ok(restored?)
    }

    fn restore(&mut self) -> io::Result<()> {
        disk::create_dir(&self.dir)?;
        let spool = self.dir.join("spool");
        disk::create_dir(&spool)?;
        let lock = disk::lock(&self.dir)?.ok_or_else(|| io::Error::other("another forwarder uses it now"))?;
        let lost = self.journal.totals.lines;
        let (state, metrics) = (&mut self.checkpoints.state, self.metrics.clone());
        let quarantine = disk::Quarantine(self.dir.join("quarantine"));
        let journal = Journal::open(spool, quarantine, self.segment_bytes, metrics, state, &mut Recovered::default())?;
        self.checkpoints.restore()?;
        // From here on the new directory is ours; had anything failed, all of it would be tried again.
        self.lock = lock;
        self.journal = journal;
        self.metrics.lines_dropped.with_label_values(&["spool_corrupt"]).inc_by(lost);
        self.metrics.lines_pending.with_label_values(&["spool"]).sub(lost as i64);
        self.dead.start_anew();
        self.shared.remade.notify_one();
        for drain in self.drains.drain(..) {
            let stopped = Some("the state directory was taken away".to_owned());
            let _ = drain.send(Moved { stopped, ..Moved::default() });
        }
        Ok(())
    }

    fn settle(&mut self, waiting: &mut Waiting) -> Result<(), AppendError> {
        let settled = self.journal.settle();
        self.publish();
        for (id, answer) in waiting.drain(..) {
            let _ = answer.send(settled.clone().map(|()| id));
        }
        settled
    }

    /// Begins to take the dead letters back into the spool.
    fn begin_drain(&mut self, all: bool) {
        match self.dead.begin(all) {
            Ok(true) => {}
            Ok(false) => self.end_drain(None),
            Err(error) => self.end_drain(Some(error.into())),
        }
    }

    /// Takes the next letters; the rest after what has been asked meanwhile.
    fn drain_some(&mut self) {
        match self.drain_slice() {
            Ok(true) => {}
            Ok(false) => self.end_drain(None),
            Err(error) => self.end_drain(Some(error)),
        }
        self.publish();
    }

    /// Appends letters as batches of their own, syncs once, marks them. Whether there may be more.
    fn drain_slice(&mut self) -> Result<bool, AppendError> {
        let slice = self.dead.slice()?;
        if slice.is_empty() {
            return Ok(self.dead.finish_file()?);
        }
        let (mut budget, mut written, mut failed) = (self.budget(), Vec::new(), None);
        for (at, letter) in slice {
            let batch = letter.into_batch();
            if self.journal.is_due() {
                self.settle_letters(&mut written)?;
            }
            match self.journal.write(&mut self.checkpoints.state, &batch, &mut budget) {
                Ok(id) => written.push((at, id, batch.lines)),
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        self.settle_letters(&mut written)?;
        failed.map_or(Ok(true), Err)
    }

    /// Makes durable what was written and marks the letters. One that cannot be marked is taken out of the spool again, before
    /// anybody has seen it there: it would be sent once more with every drain.
    fn settle_letters(&mut self, written: &mut Vec<(u64, FrameId, u32)>) -> Result<(), AppendError> {
        self.journal.settle()?;
        let mut marked = Ok(());
        for (at, id, lines) in written.drain(..) {
            if marked.is_ok() {
                marked = self.dead.mark(at, lines);
            }
            if marked.is_ok() {
                self.metrics.lines_recovered.inc_by(u64::from(lines));
            } else {
                self.journal.retire(&mut self.checkpoints.state, id, lines);
                self.checkpoints.hurry();
            }
        }
        let durable = self.dead.settle();
        self.publish();
        self.shared.refilled.notify_one();
        Ok(marked.and(durable)?)
    }

    fn end_drain(&mut self, stopped: Option<AppendError>) {
        let moved = self.dead.end(stopped);
        match &moved.stopped {
            Some(why) => {
                tracing::error!(
                    moved = moved.letters,
                    left = moved.left,
                    "dead letters cannot all be sent again: {why}"
                );
            }
            None if moved.letters > 0 => tracing::info!(letters = moved.letters, "dead letters are sent again"),
            None => {}
        }
        for answer in self.drains.drain(..) {
            let _ = answer.send(moved.clone());
        }
    }

    /// Bytes that may still be written.
    fn budget(&self) -> u64 {
        let used = self.journal.totals.bytes + self.dead.bytes();
        self.max_bytes.saturating_sub(used).min(disk::room(&self.dir))
    }

    /// Saves the state and deletes what it says is done with.
    pub(super) fn checkpoint(&mut self, all: bool) -> Result<(), AppendError> {
        let saved = match self.stand_somewhere() {
            Ok(()) => self.checkpoints.save(all).map_err(AppendError::from),
            Err(error) => {
                self.checkpoints.put_off();
                Err(error)
            }
        };
        self.shared.failing.store(saved.is_err(), Relaxed);
        *self.shared.unsaved.lock().unwrap_or_else(PoisonError::into_inner) = None;
        // On a full disk segments go even so: space is worth more than the risk to send their lines once more.
        if matches!(saved, Ok(()) | Err(AppendError::Full)) {
            self.journal.sweep(&self.checkpoints.state);
            self.publish();
        }
        saved
    }

    pub(super) fn publish(&self) {
        let (totals, shared) = (self.journal.totals, &self.shared);
        let bytes = totals.bytes + self.dead.bytes();
        shared.frames.store(totals.frames, Relaxed);
        shared.lines.store(totals.lines, Relaxed);
        if shared.bytes.swap(bytes, Relaxed) > bytes {
            shared.full.store(false, Relaxed);
        }
        self.metrics.spool_bytes.set(bytes as i64);
    }
}
