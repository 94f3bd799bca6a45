//! A disk that fails on request, and the loss of power.
//!
//! A [`Disk`] belongs to the threads that [`adopt`] it: the one that opens a store, and the store's own. Its files are real;
//! it only stands before each change. What is **durable** is known from the syncs alone: of a file its content when it was last
//! synced, of a directory the names when that was synced. A power loss leaves this, and of everything later a random part:
//! a file's later length and blocks, each on its own, the boundary at any byte; names one operation at a time, a rename whole.
//!
//! sled's files are not looked into. At a power loss its directory stays, or is an earlier copy of it, damaged, or gone: the
//! store claims to need none of it.

use super::Effect;
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

thread_local! {
    static DISK: RefCell<Option<Arc<Disk>>> = const { RefCell::new(None) };
}

/// From now on this thread's stores are on `disk`, or on the real one.
pub(crate) fn adopt(disk: Option<Arc<Disk>>) {
    DISK.set(disk);
}

/// The disk of this thread.
pub(crate) fn current() -> Option<Arc<Disk>> {
    DISK.with_borrow(Clone::clone)
}

pub(super) fn before(effect: Effect<'_>) -> io::Result<()> {
    current().map_or(Ok(()), |disk| disk.before(effect))
}

/// What a thread ends with that goes on after the process has died.
struct Died;

/// See the module.
#[derive(Debug)]
pub(crate) struct Disk(Mutex<State>);

#[derive(Debug)]
struct State {
    dir: PathBuf,
    random: fastrand::Rng,
    effects: u64,
    dies_at: u64,
    dead: bool,
    full: bool,
    bad_syncs: u32,
    sync_takes: Duration,
    unchangeable: bool,
    /// Of every file that was ever created here, by inode, which an open descriptor keeps from being used again.
    files: HashMap<u64, Kept>,
    /// Durable names.
    names: BTreeMap<PathBuf, u64>,
    /// What has been done to names and is not durable.
    pending: Vec<NameOp>,
    /// Is being created; its inode is not known yet.
    creating: Option<PathBuf>,
    index_copy: Option<(PathBuf, tempfile::TempDir)>,
}

#[derive(Debug)]
struct Kept {
    file: File,
    durable: Vec<u8>,
}

#[derive(Clone, Debug)]
enum NameOp {
    Create(PathBuf, u64),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf),
}

impl NameOp {
    fn is_in(&self, dir: &Path) -> bool {
        match self {
            Self::Create(path, _) | Self::Remove(path) | Self::Rename(_, path) => path.parent() == Some(dir),
        }
    }

    fn apply(&self, names: &mut BTreeMap<PathBuf, u64>) {
        match self {
            Self::Create(path, ino) => drop(names.insert(path.clone(), *ino)),
            Self::Remove(path) => drop(names.remove(path)),
            Self::Rename(from, to) => {
                if let Some(ino) = names.remove(from) {
                    names.insert(to.clone(), ino);
                }
            }
        }
    }
}

impl Disk {
    /// A disk that is well, for a state directory that does not exist yet. `seed` decides what chance decides.
    pub(crate) fn new(dir: &Path, seed: u64) -> Arc<Self> {
        Arc::new(Self(Mutex::new(State {
            dir: dir.into(),
            random: fastrand::Rng::with_seed(seed),
            effects: 0,
            dies_at: u64::MAX,
            dead: false,
            full: false,
            bad_syncs: 0,
            sync_takes: Duration::ZERO,
            unchangeable: false,
            files: HashMap::new(),
            names: BTreeMap::new(),
            pending: Vec::new(),
            creating: None,
            index_copy: None,
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes so far.
    pub(crate) fn effects(&self) -> u64 {
        self.state().effects
    }

    /// The process dies before the change after the next `effects` ones.
    pub(crate) fn die_after(&self, effects: u64) {
        let mut state = self.state();
        state.dies_at = state.effects + effects + 1;
    }

    /// The process dies now: nothing changes any more.
    pub(crate) fn die(&self) {
        self.state().dead = true;
    }

    /// Whether it has died.
    pub(crate) fn is_dead(&self) -> bool {
        self.state().dead
    }

    /// For the next process.
    pub(crate) fn revive(&self) {
        let mut state = self.state();
        (state.dead, state.dies_at) = (false, u64::MAX);
    }

    /// The process does not die by itself after all.
    pub(crate) fn live(&self) {
        self.state().dies_at = u64::MAX;
    }

    /// Whether files can grow.
    pub(crate) fn set_full(&self, full: bool) {
        self.state().full = full;
    }

    /// So many of the next syncs fail.
    pub(crate) fn fail_syncs(&self, count: u32) {
        self.state().bad_syncs = count;
    }

    /// From now on each sync takes so long, and so does each change of the index, which is synced too.
    pub(crate) fn slow_down(&self, sync_takes: Duration) {
        self.state().sync_takes = sync_takes;
    }

    /// Whether bytes that are there cannot be changed, while files can grow.
    pub(crate) fn set_unchangeable(&self, unchangeable: bool) {
        self.state().unchangeable = unchangeable;
    }

    /// Leaves of the files what a power loss might. The process must be dead.
    pub(crate) fn lose_power(&self) {
        self.state().lose_power();
    }

    fn before(&self, effect: Effect<'_>) -> io::Result<()> {
        if let Effect::Sync(_) | Effect::Index(_) = effect {
            let until = Instant::now() + self.state().sync_takes;
            while Instant::now() < until && !self.is_dead() {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        let mut state = self.state();
        state.effects += 1;
        if state.dead || state.effects >= state.dies_at {
            if let (Effect::Write(file, bytes, at), false) = (effect, state.dead) {
                let torn = state.random.usize(..=bytes.len());
                file.write_all_at(&bytes[..torn], at)?;
            }
            state.dead = true;
            drop(state);
            resume_unwind(Box::new(Died));
        }
        state.note_created();
        state.take(effect)
    }
}

impl State {
    fn take(&mut self, effect: Effect<'_>) -> io::Result<()> {
        match effect {
            Effect::Create(path) if !path.exists() => self.creating = Some(path.into()),
            Effect::Write(file, bytes, at) if self.full && at + bytes.len() as u64 > file.metadata()?.len() => {
                let torn = self.random.usize(..bytes.len().max(1));
                file.write_all_at(&bytes[..torn], at)?;
                return Err(io::ErrorKind::StorageFull.into());
            }
            Effect::Write(file, _, at) if self.unchangeable && at < file.metadata()?.len() => {
                return Err(io::Error::other("a failing disk"));
            }
            Effect::Sync(_) if self.bad_syncs > 0 => {
                self.bad_syncs -= 1;
                return Err(io::Error::other("a failing disk"));
            }
            Effect::Sync(file) => {
                if let Some(kept) = self.files.get_mut(&file.metadata()?.ino()) {
                    kept.durable = content(&kept.file);
                }
            }
            Effect::SyncDir(dir) => {
                let (durable, pending) = std::mem::take(&mut self.pending).into_iter().partition(|op| op.is_in(dir));
                self.pending = pending;
                let durable: Vec<NameOp> = durable;
                durable.iter().for_each(|op| op.apply(&mut self.names));
            }
            Effect::Rename(from, to) => self.pending.push(NameOp::Rename(from.into(), to.into())),
            Effect::Remove(path) => self.pending.push(NameOp::Remove(path.into())),
            Effect::Index(dir) if self.random.u8(..) < 32 => {
                let copy = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir())?;
                copy_dir(dir, copy.path());
                self.index_copy = Some((dir.into(), copy));
            }
            _ => {}
        }
        Ok(())
    }

    fn note_created(&mut self) {
        let Some(path) = self.creating.take() else { return };
        let Ok(file) = File::open(&path) else { return };
        let Ok(ino) = file.metadata().map(|meta| meta.ino()) else { return };
        self.files.insert(ino, Kept { file, durable: Vec::new() });
        self.pending.push(NameOp::Create(path, ino));
    }

    fn lose_power(&mut self) {
        self.note_created();
        let mut names = std::mem::take(&mut self.names);
        let mut all = names.clone();
        for op in std::mem::take(&mut self.pending) {
            op.apply(&mut all);
            if self.random.bool() {
                op.apply(&mut names);
            }
        }
        // What stands in no name any more is gone, whatever is left of it on the disk.
        let left: Vec<_> = names.iter().map(|(path, ino)| (path.clone(), self.content_after(*ino))).collect();
        for path in all.keys() {
            let _ = fs::remove_file(path);
        }
        self.files.clear();
        for (path, content) in left {
            fs::write(&path, &content).unwrap();
            let file = File::open(&path).unwrap();
            let ino = file.metadata().unwrap().ino();
            self.files.insert(ino, Kept { file, durable: content });
            self.names.insert(path, ino);
        }
        self.lose_index();
    }

    fn content_after(&mut self, ino: u64) -> Vec<u8> {
        let Some(kept) = self.files.get(&ino) else { return Vec::new() };
        let (old, new) = (&kept.durable, content(&kept.file));
        let random = &mut self.random;
        let len = random.usize(old.len().min(new.len())..=old.len().max(new.len()));
        let mut left: Vec<u8> = (0..len).map(|at| old.get(at).copied().unwrap_or(0)).collect();
        let mut at = 0;
        let half = random.bool();
        while at < len {
            let end = if random.u8(..) < 32 { random.usize(at..len) + 1 } else { len.min((at / 512 + 1) * 512) };
            if half && random.bool() || !half && random.u8(..) < 240 {
                let there = new.len().min(end);
                if at < there {
                    left[at..there].copy_from_slice(&new[at..there]);
                }
            }
            at = end;
        }
        left
    }

    fn lose_index(&mut self) {
        let index = self.dir.join("index");
        let copy = self.index_copy.take().filter(|(dir, _)| *dir == index);
        match (self.random.u8(..4), copy) {
            (0, _) => drop(fs::remove_dir_all(&index)),
            (1, Some((_, copy))) => {
                let _ = fs::remove_dir_all(&index);
                copy_dir(copy.path(), &index);
            }
            (2, _) => self.damage(&index.join("db")),
            _ => {}
        }
    }

    fn damage(&mut self, path: &Path) {
        let Ok(mut bytes) = fs::read(path) else { return };
        for _ in 0..20 {
            if let Some(last) = bytes.len().checked_sub(1) {
                bytes[self.random.usize(..=last)] ^= 1 << self.random.u8(..8);
            }
        }
        bytes.truncate(self.random.usize(bytes.len() / 2..=bytes.len()));
        let _ = fs::write(path, bytes);
    }
}

fn content(file: &File) -> Vec<u8> {
    let len = file.metadata().map_or(0, |meta| meta.len());
    let mut bytes = vec![0; len as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes
}

fn copy_dir(from: &Path, to: &Path) {
    let _ = fs::create_dir_all(to);
    for entry in fs::read_dir(from).into_iter().flatten().flatten() {
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy_dir(&path, &target);
        } else {
            let _ = fs::copy(&path, &target);
        }
    }
}
