//! Whether the daemon has begun a new file of a log that it streams to us.
//!
//! Before 23.0 the follower of driver `local` can pass over lines when the file is rotated, while a log that is only read shows
//! them all. What comes from the new file comes after the rotation, so a look at the file's identity before a chunk is handed
//! on tells in time. It takes the containers directory; where that cannot be seen, nothing is ever noticed.
//!
//! It reads no log.

use super::super::watch::{Watch, Watcher};
use crate::source::Container;
use inotify::WatchMask;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// The log's current file.
#[derive(Debug)]
pub(super) struct Rotations {
    file: PathBuf,
    watcher: Watcher,
    watch: Option<Watch>,
    known: Option<Identity>,
}

/// Inode, which may be used again, and time of creation where the file system has it.
type Identity = (u64, Option<SystemTime>);

impl Rotations {
    /// Of a container's log in the containers directory `dir`, if its driver is one that needs it.
    pub(super) fn of(container: &Container, dir: &Path, watcher: &Watcher) -> Option<Self> {
        (container.log_driver == "local").then(|| Self {
            file: dir.join(&container.id).join("local-logs/container.log"),
            watcher: watcher.clone(),
            watch: None,
            known: None,
        })
    }

    /// Takes note of which file it is now.
    pub(super) fn note(&mut self) {
        if self.watch.as_ref().is_none_or(Watch::ended) {
            let dir = self.file.parent().unwrap_or(&self.file);
            self.watch = self.watcher.watch(dir, WatchMask::CREATE | WatchMask::MOVED_TO).ok();
        }
        self.known = self.identity();
    }

    /// Whether it is another one since. In the middle of a rotation there is none, which is to be noticed as well as noted.
    pub(super) fn happened(&self) -> bool {
        self.identity() != self.known
    }

    /// Waits until it is another one. Safe to cancel.
    pub(super) async fn next(&mut self) {
        while !self.happened() {
            match &mut self.watch {
                Some(watch) => {
                    watch.changed().await;
                    watch.take_names();
                }
                None => std::future::pending().await,
            }
        }
    }

    fn identity(&self) -> Option<Identity> {
        let file = std::fs::metadata(&self.file).ok()?;
        Some((file.ino(), file.created().ok()))
    }
}
