//! The state directory: creation, lock, free space, and the quarantine where damaged bytes go.
//!
//! Everything is created 0700/0600: the files hold logs.

use super::fault;
use super::segment::read_lenient;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Free space below which nothing is spooled, so that checkpoints never meet a full disk. On a file system of less than
/// eight times this, an eighth of it.
const RESERVE_BYTES: u64 = 16 << 20;
/// Free space that the index needs for a checkpoint.
const INDEX_BYTES: u64 = 2 << 20;
/// What the quarantine may hold; beyond it the oldest of it goes, and that is said.
const QUARANTINE_BYTES: u64 = 64 << 20;

/// Creates a directory and its parents unless it is there.
pub(super) fn create_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Options for a file that only we may read.
pub(super) fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    options
}

/// Takes the lock of a state directory for as long as the file is open; `None` when another process has it.
pub(super) fn lock(dir: &Path) -> io::Result<Option<File>> {
    let file = private().create(true).truncate(false).open(dir.join("lock"))?;
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Bytes that may still be spooled before the reserve begins. A file system that does not say has room.
pub(super) fn room(dir: &Path) -> u64 {
    let Ok(stat) = rustix::fs::statvfs(dir) else { return u64::MAX };
    let reserve = RESERVE_BYTES.min(stat.f_blocks.saturating_mul(stat.f_frsize) / 8);
    stat.f_bavail.saturating_mul(stat.f_frsize).saturating_sub(reserve)
}

/// Whether sled may write: it does not survive a full disk.
pub(super) fn has_room_for_index(dir: &Path) -> bool {
    rustix::fs::statvfs(dir).is_ok_and(|stat| stat.f_bavail.saturating_mul(stat.f_frsize) >= INDEX_BYTES)
}

/// Whether an error says that there is no space.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Milliseconds since the Unix epoch.
pub(super) fn now_ms() -> u64 {
    millis(SystemTime::now())
}

/// Milliseconds from the Unix epoch to `time`.
pub(super) fn millis(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// Names of the entries of a directory, sorted; empty when it cannot be read.
pub(super) fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort_unstable();
    names
}

/// Where damaged state is kept for a person to look at.
#[derive(Debug)]
pub(super) struct Quarantine(pub(super) PathBuf);

impl Quarantine {
    /// Copies `from..to` of a segment to `<segment>-<from>-<to>.bad`, durably. `false` when that has been done before: the
    /// file is also the memory that this damage has been said.
    pub(super) fn copy(&self, segment: u64, file: &File, from: u64, to: u64) -> io::Result<bool> {
        let target = self.0.join(format!("{segment:020}-{from}-{to}.bad"));
        if target.exists() {
            return Ok(false);
        }
        create_dir(&self.0)?;
        let partial = target.with_extension("partial");
        let out = fault::open(private().create(true).truncate(true), &partial)?;
        let mut buffer = vec![0; 64 << 10];
        let mut at = from;
        while at < to {
            let part = (to - at).min(buffer.len() as u64) as usize;
            read_lenient(file, &mut buffer[..part], at);
            fault::write_all_at(&out, &buffer[..part], at - from)?;
            at += part as u64;
        }
        fault::sync_all(&out)?;
        fault::rename(&partial, &target)?;
        fault::sync_dir(&self.0)?;
        self.prune();
        Ok(true)
    }

    /// Moves a file or directory here under `name` and the time. Takes no space.
    pub(super) fn take(&self, path: &Path, name: &str) -> io::Result<()> {
        create_dir(&self.0)?;
        let now = now_ms();
        let free = (0..100).map(|i| self.0.join(format!("{name}-{}", now + i))).find(|target| !target.exists());
        fault::rename(path, &free.ok_or(io::ErrorKind::AlreadyExists)?)?;
        self.prune();
        fault::sync_dir(&self.0)
    }

    fn prune(&self) {
        let mut entries: Vec<_> = names(&self.0)
            .into_iter()
            .filter_map(|name| {
                let path = self.0.join(name);
                let modified = fs::symlink_metadata(&path).and_then(|meta| meta.modified()).ok()?;
                Some((modified, size(&path), path))
            })
            .collect();
        entries.sort_unstable();
        let mut total: u64 = entries.iter().map(|(_, bytes, _)| bytes).sum();
        // The newest stays whatever its size: it has just been said where it is.
        for (_, bytes, path) in entries.iter().rev().skip(1).rev() {
            if total <= QUARANTINE_BYTES {
                return;
            }
            let gone = if path.is_dir() { fs::remove_dir_all(path) } else { fault::remove_file(path) };
            if gone.is_ok() {
                total -= bytes;
                tracing::warn!(path = %path.display(), bytes, "the quarantine is full; its oldest content is deleted");
            }
        }
    }
}

/// Bytes of a file, or of the files of a directory one or two levels deep.
fn size(path: &Path) -> u64 {
    let of = |path: &Path| fs::symlink_metadata(path).map_or(0, |meta| if meta.is_file() { meta.len() } else { 0 });
    let below = names(path).into_iter().map(|name| path.join(name));
    of(path)
        + below.map(|path| of(&path) + names(&path).iter().map(|name| of(&path.join(name))).sum::<u64>()).sum::<u64>()
}
