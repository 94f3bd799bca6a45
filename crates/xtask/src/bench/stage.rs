//! What all parts share: the forwarder, the directory, the report.

use super::measure::Forwarder;
use super::report::Report;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Of one run of the bench.
pub(super) struct Stage {
    pub(super) forwarder: Forwarder,
    pub(super) dir: PathBuf,
    pub(super) is_smoke: bool,
    pub(super) report: Report,
    dirs: u32,
}

impl Stage {
    pub(super) fn new(forwarder: Forwarder, dir: &Path, is_smoke: bool) -> Self {
        Self { forwarder, dir: dir.to_owned(), is_smoke, report: Report::new(is_smoke), dirs: 0 }
    }

    /// A path that is not there yet.
    pub(super) fn new_dir(&mut self) -> PathBuf {
        self.dirs += 1;
        self.dir.join(format!("{:03}", self.dirs))
    }

    /// For `DISK_FALLBACK_PATH`: every run begins without a memory.
    pub(super) fn new_state(&mut self) -> PathBuf {
        self.new_dir().join("state")
    }

    pub(super) fn drop_state(&self, state: &Path) -> io::Result<()> {
        fs::remove_dir_all(state.parent().unwrap_or(state))
    }

    /// What goes on, while it goes on.
    pub(super) fn say(&self, text: &str) {
        super::report::say(text);
    }
}
