//! The [`State`] in memory and its two durable copies: the cursor slots and the sled index.
//!
//! One good copy is enough for a checkpoint to have succeeded; a broken index is set aside and built anew from memory.

use super::cursor::{self, Cursors};
use super::disk::{self, Quarantine};
use super::index::{Broken, Index};
use super::state::State;
use crate::limits::CHECKPOINT_INTERVAL;
use crate::metrics::Metrics;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

const INDEX: &str = "index";
/// Pause after a failed checkpoint.
const RETRY: Duration = Duration::from_secs(1);
/// Pause before a broken index that could not be built anew is tried again.
const INDEX_RETRY: Duration = Duration::from_secs(60);
/// Bytes of a slot that may be written at every checkpoint; a larger one is written less often, in proportion.
const SLOT_BYTES: usize = 16 << 10;

/// See the module.
pub(super) struct Checkpoints {
    pub(super) state: State,
    dir: PathBuf,
    quarantine: Quarantine,
    metrics: Metrics,
    cursors: Cursors,
    index: Option<Index>,
    /// When a missing index may be tried again.
    index_retry: Instant,
    /// When the slots may be written again, and whether they lack something.
    cursor_due: Instant,
    cursor_behind: bool,
    /// When what is not on disk yet must be.
    due: Option<Instant>,
    saved: Instant,
    failing: bool,
}

impl Checkpoints {
    /// Reads what there is.
    ///
    /// # Errors
    /// When the directory cannot be used; damage is not an error.
    pub(super) fn open(dir: PathBuf, quarantine: Quarantine, metrics: Metrics) -> io::Result<Self> {
        let loaded = cursor::load(&dir)?;
        if loaded.damaged {
            tracing::error!("both cursor slots are damaged; they are moved to quarantine/");
            for name in cursor::SLOTS {
                match quarantine.take(&dir.join(name), name) {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    _ => {}
                }
            }
        }
        let now = Instant::now();
        let mut checkpoints = Self {
            cursors: Cursors::open(&dir, &loaded)?,
            state: loaded.state.unwrap_or_default(),
            dir,
            quarantine,
            metrics,
            index: None,
            index_retry: now,
            cursor_due: now,
            cursor_behind: true,
            due: None,
            saved: now,
            failing: false,
        };
        checkpoints.attach();
        Ok(checkpoints)
    }

    /// Writes everything into a directory that has been made anew.
    ///
    /// # Errors
    /// When the slots cannot be created.
    pub(super) fn restore(&mut self) -> io::Result<()> {
        self.cursors = Cursors::open(&self.dir, &cursor::load(&self.dir)?)?;
        if let Some(index) = self.index.take() {
            index.abandon();
        }
        self.attach();
        self.save_cursor()
    }

    /// Says that the state has changed.
    pub(super) fn touch(&mut self) {
        self.due.get_or_insert_with(|| Instant::now() + CHECKPOINT_INTERVAL);
    }

    /// The state has changed and is to be saved at once.
    pub(super) fn hurry(&mut self) {
        self.due = Some(Instant::now());
    }

    /// It cannot be made now: again after a pause.
    pub(super) fn put_off(&mut self) {
        self.due = Some(Instant::now() + RETRY);
    }

    /// Whether nothing is due but a slot that lags behind the index.
    pub(super) fn rests(&self) -> bool {
        self.due.is_none()
    }

    /// When the next checkpoint is to be made; `None` when everything is on disk.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due.or_else(|| self.cursor_behind.then_some(self.cursor_due))
    }

    /// Opens the index and takes in what it knows; on failure a new one, if that can be had.
    fn attach(&mut self) {
        if !disk::has_room_for_index(&self.dir) {
            return self.without_index("the disk is nearly full");
        }
        for _ in 0..2 {
            let opened = Index::open(&self.dir.join(INDEX)).and_then(|index| match index.load() {
                Ok(state) => Ok((index, state)),
                Err(broken) => {
                    index.abandon();
                    Err(broken)
                }
            });
            match opened {
                Ok((index, state)) => {
                    self.state.merge(state);
                    self.state.prune_all(disk::now_ms());
                    match index.save(&self.state, true) {
                        Ok(()) => return self.index = Some(index),
                        Err(broken) => {
                            index.abandon();
                            self.set_index_aside(&broken);
                        }
                    }
                }
                Err(broken) => self.set_index_aside(&broken),
            }
        }
        self.without_index("it cannot be built anew");
    }

    fn without_index(&mut self, why: &str) {
        tracing::warn!(why, "checkpoints go to the cursor slots only, for now");
        self.index_retry = Instant::now() + INDEX_RETRY;
    }

    fn set_index_aside(&self, broken: &Broken) {
        tracing::error!(error = %broken, "the index is damaged; it is moved to quarantine/ and built anew");
        if let Err(error) = self.quarantine.take(&self.dir.join(INDEX), INDEX) {
            tracing::error!(%error, "the index cannot be moved to quarantine/");
        }
    }

    /// Brings the state to disk. With `all`, both copies are as new as memory; without, the slots may lag a little when the
    /// state is large.
    ///
    /// # Errors
    /// When neither copy could be written. It stays due.
    pub(super) fn save(&mut self, all: bool) -> io::Result<()> {
        let timer = self.metrics.spool_sync_seconds.with_label_values(&["index"]).start_timer();
        let indexed = self.save_index();
        let cursor = if all || !indexed || Instant::now() >= self.cursor_due { self.save_cursor() } else { Ok(()) };
        timer.observe_duration();
        match &cursor {
            Err(error) if !self.failing && !indexed => {
                tracing::error!(%error, "no checkpoint can be written; lines are sent twice if the forwarder stops now");
            }
            Err(error) if !self.failing => tracing::warn!(%error, "the cursor slots cannot be written; the index can"),
            Ok(()) if self.failing => tracing::info!("checkpoints can be written again"),
            _ => {}
        }
        self.failing = cursor.is_err();
        if cursor.is_err() && !indexed {
            self.due = Some(Instant::now() + RETRY);
            self.metrics.checkpoint_age_seconds.set(self.saved.elapsed().as_secs_f64());
            return cursor;
        }
        self.due = None;
        self.saved = Instant::now();
        self.metrics.checkpoint_age_seconds.set(0.0);
        if all { cursor } else { Ok(()) }
    }

    /// After a last [`Self::save`]: brings the other slot up to date as well.
    ///
    /// # Errors
    /// When it cannot be written.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        self.save_cursor()
    }

    fn save_cursor(&mut self) -> io::Result<()> {
        let written = self.cursors.write(&self.state);
        self.cursor_behind = written.is_err();
        let weight = written.as_ref().map_or(SLOT_BYTES * 9, |bytes| *bytes) / SLOT_BYTES;
        self.cursor_due = Instant::now() + CHECKPOINT_INTERVAL * weight as u32;
        written.map(drop)
    }

    /// Whether the index is as new as memory.
    fn save_index(&mut self) -> bool {
        self.cursor_behind = true;
        if self.index.is_none() && Instant::now() >= self.index_retry {
            self.attach();
        } else if !disk::has_room_for_index(&self.dir) {
            return false;
        } else if let Some(index) = self.index.take() {
            match index.save(&self.state, false) {
                Ok(()) => self.index = Some(index),
                Err(broken) => {
                    index.abandon();
                    self.set_index_aside(&broken);
                    self.attach();
                }
            }
        }
        if self.index.is_some() {
            self.state.changed.clear();
        }
        self.index.is_some()
    }
}
