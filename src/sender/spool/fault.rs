//! Every way in which the store changes the disk, one function for each: the points at which a test lets it fail.
//!
//! In the program these are the calls of the standard library and nothing else. In tests [`faulty`] stands before them: it
//! counts them, refuses them, ends the store between any two of them, and knows what a power loss would leave.

#[cfg(test)]
pub(crate) mod faulty;

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// What is about to happen.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(
    not(test),
    allow(dead_code, reason = "what it happens to is looked at by the faulty disk of the tests only")
)]
enum Effect<'a> {
    Create(&'a Path),
    Write(&'a File, &'a [u8], u64),
    Sync(&'a File),
    SyncDir(&'a Path),
    Rename(&'a Path, &'a Path),
    Remove(&'a Path),
    Truncate,
    Index(&'a Path),
}

#[cfg(not(test))]
#[inline]
fn before(_: Effect<'_>) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
fn before(effect: Effect<'_>) -> io::Result<()> {
    faulty::before(effect)
}

/// Opens a file that `options` may create.
#[inline]
pub(super) fn open(options: &OpenOptions, path: &Path) -> io::Result<File> {
    before(Effect::Create(path))?;
    options.open(path)
}

/// `write_all_at`.
#[inline]
pub(super) fn write_all_at(file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
    before(Effect::Write(file, bytes, at))?;
    file.write_all_at(bytes, at)
}

/// `fdatasync`.
#[inline]
pub(super) fn sync_data(file: &File) -> io::Result<()> {
    before(Effect::Sync(file))?;
    file.sync_data()
}

/// `fsync`.
#[inline]
pub(super) fn sync_all(file: &File) -> io::Result<()> {
    before(Effect::Sync(file))?;
    file.sync_all()
}

/// Makes creations, renames and deletions in a directory durable.
#[inline]
pub(super) fn sync_dir(path: &Path) -> io::Result<()> {
    before(Effect::SyncDir(path))?;
    File::open(path)?.sync_all()
}

/// `ftruncate`.
#[inline]
pub(super) fn set_len(file: &File, len: u64) -> io::Result<()> {
    before(Effect::Truncate)?;
    file.set_len(len)
}

/// `rename`.
#[inline]
pub(super) fn rename(from: &Path, to: &Path) -> io::Result<()> {
    before(Effect::Rename(from, to))?;
    fs::rename(from, to)
}

/// `unlink`.
#[inline]
pub(super) fn remove_file(path: &Path) -> io::Result<()> {
    before(Effect::Remove(path))?;
    fs::remove_file(path)
}

/// Said before sled changes its directory, which it does in its own way.
#[inline]
pub(super) fn index_changes(dir: &Path) -> io::Result<()> {
    before(Effect::Index(dir))
}
