//! The index: positions and retired frames in sled, under small keys.
//!
//! sled 0.34 is used within five guards (`docs/adr/0002-spool-segments-with-sled-index.md`): leftovers of an interrupted
//! open are deleted first; it never flushes by itself; after its flush the file is synced by us, since it only starts the
//! write-back; it never sees a full disk, which is the caller's care; and every error or panic of it comes out as
//! [`Broken`], upon which the caller sets the directory aside and builds a new one from what it has in memory.

use super::fault;
use super::state::{State, decode_key, encode_entry, encode_key, put_ranges, take_entry, take_ranges};
use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

const CACHE_BYTES: u64 = 1 << 20;
const RETIRED: &[u8] = b"retired";
const VERSION: &[u8] = b"version";

/// The index cannot be used any more; why, in sled's words.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Broken(String);

/// An open index.
pub(super) struct Index {
    db: sled::Db,
    positions: sled::Tree,
    file: File,
    dir: PathBuf,
}

impl Index {
    /// Opens or creates it.
    pub(super) fn open(dir: &Path) -> Result<Self, Broken> {
        for name in super::disk::names(dir) {
            if name.starts_with("snap.") && name.ends_with(".generating") {
                fault::remove_file(&dir.join(name)).map_err(|error| Broken(error.to_string()))?;
            }
        }
        fault::index_changes(dir).map_err(|error| Broken(error.to_string()))?;
        let file_of = || File::open(dir.join("db")).map_err(sled::Error::from);
        guarded(|| {
            let config = sled::Config::new().path(dir).cache_capacity(CACHE_BYTES).flush_every_ms(None);
            let db = open_patiently(&config.mode(sled::Mode::LowSpace))?;
            if db.was_recovered() && db.get(VERSION)?.is_some_and(|version| *version != [1]) {
                return Err(sled::Error::Unsupported("an index of another version".into()));
            }
            db.insert(VERSION, &[1])?;
            Ok(Self { positions: db.open_tree("positions")?, file: file_of()?, db, dir: dir.into() })
        })
    }

    /// Reads everything.
    pub(super) fn load(&self) -> Result<State, Broken> {
        let mut state = State::default();
        let mut whole = true;
        guarded(|| {
            if let Some(value) = self.db.get(RETIRED)? {
                take_ranges(&mut &value[..]).map_or_else(|| whole = false, |retired| state.retired = retired);
            }
            for pair in &self.positions {
                let (key, value) = pair?;
                match decode_key(&key).zip(take_entry(&mut &value[..])) {
                    Some((key, entry)) => drop(state.positions.insert(key, entry)),
                    None => whole = false,
                }
            }
            Ok(())
        })?;
        if whole { Ok(state) } else { Err(Broken("an entry cannot be read".into())) }
    }

    /// Writes the retired frames and the sources in `state.changed`, or all of them; durable when it returns.
    pub(super) fn save(&self, state: &State, all: bool) -> Result<(), Broken> {
        let mut value = Vec::new();
        guarded(|| {
            let others = state.positions.keys().filter(|key| all && !state.changed.contains(key));
            // All or none: what one acknowledgement settled in several generations belongs together.
            let mut batch = sled::Batch::default();
            for key in state.changed.iter().chain(others) {
                value.clear();
                match state.positions.get(key) {
                    Some(entry) => {
                        encode_entry(&mut value, entry);
                        batch.insert(encode_key(key), &value[..]);
                    }
                    None => batch.remove(encode_key(key)),
                }
            }
            self.positions.apply_batch(batch)?;
            // After the positions: a frame must not be known as done before what it covers is known as delivered.
            value.clear();
            put_ranges(&mut value, &state.retired);
            fault::index_changes(&self.dir)?;
            self.db.insert(RETIRED, &value[..])?;
            fault::index_changes(&self.dir)?;
            self.db.flush()?;
            Ok(fault::sync_data(&self.file)?)
        })
    }

    /// Lets go of a broken index: on a thread of its own, since sled flushes when dropped, and may hang doing so.
    pub(super) fn abandon(self) {
        let gone = std::thread::Builder::new().name("rask-index-end".into());
        drop(gone.spawn(move || catch_unwind(AssertUnwindSafe(move || drop(self)))));
    }
}

/// The state directory is ours alone; but a store that this process has just closed may still be letting go of the index.
fn open_patiently(config: &sled::Config) -> sled::Result<sled::Db> {
    for _ in 0..100 {
        match config.open() {
            Err(sled::Error::Io(error)) if error.to_string().contains("could not acquire lock") => {
                std::thread::sleep(Duration::from_millis(10));
            }
            other => return other,
        }
    }
    config.open()
}

fn guarded<T>(work: impl FnOnce() -> Result<T, sled::Error>) -> Result<T, Broken> {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(Broken(error.to_string())),
        Err(_) => Err(Broken("sled panicked".into())),
    }
}
