//! Dead letters: records that the receiver refuses for good, with its answer, for a person to look at and send again.
//!
//! NDJSON in `dead/dead-letters.ndjson`, appended durably; nothing here deletes it.

use super::{AppendError, DeadLetter, disk};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Name of the file below the state directory.
pub(super) const FILE: &str = "dead/dead-letters.ndjson";
/// Bytes of an answer that are kept.
const ANSWER_BYTES: usize = 2048;

#[derive(serde::Serialize)]
struct Line<'a> {
    /// Milliseconds since the Unix epoch.
    time_ms: u64,
    status: u16,
    answer: &'a str,
    container: &'a str,
    generation: String,
    cover: String,
    record: &'a str,
}

/// The file, opened when it is first needed.
pub(super) struct DeadLetters {
    dir: PathBuf,
    file: Option<File>,
    max_bytes: u64,
    pub(super) bytes: u64,
}

impl DeadLetters {
    /// Looks at what is there.
    pub(super) fn open(dir: &Path, max_bytes: u64) -> Self {
        let bytes = std::fs::metadata(dir.join(FILE)).map_or(0, |meta| meta.len());
        Self { dir: dir.into(), file: None, max_bytes, bytes }
    }

    /// Appends one, durably.
    ///
    /// # Errors
    /// `Full` beyond the bound or `budget`.
    pub(super) fn append(&mut self, letter: &DeadLetter, budget: u64) -> Result<(), AppendError> {
        let record = String::from_utf8_lossy(&letter.record);
        let line = Line {
            time_ms: disk::now_ms(),
            status: letter.status,
            answer: &letter.answer[..letter.answer.floor_char_boundary(ANSWER_BYTES)],
            container: &letter.key.container,
            generation: letter.key.generation.to_string(),
            cover: letter.cover.to_string(),
            record: record.trim_end_matches('\n'),
        };
        let mut bytes = serde_json::to_vec(&line).map_err(io::Error::from)?;
        bytes.push(b'\n');
        let len = bytes.len() as u64;
        if self.bytes + len > self.max_bytes || len > budget {
            return Err(AppendError::Full);
        }
        let file = match &self.file {
            Some(file) => file,
            None => {
                let file = self.prepare()?;
                self.file.insert(file)
            }
        };
        if let Err(error) = file.write_all_at(&bytes, self.bytes).and_then(|()| file.sync_data()) {
            let cut = file.set_len(self.bytes);
            if cut.is_err() {
                self.file = None;
            }
            return Err(error.into());
        }
        self.bytes += len;
        Ok(())
    }

    /// Opens the file and ends a line that a crash has torn.
    fn prepare(&mut self) -> io::Result<File> {
        let path = self.dir.join(FILE);
        let parent = self.dir.join("dead");
        disk::create_dir(&parent)?;
        let file = disk::private().create(true).truncate(false).open(path)?;
        disk::sync_dir(&parent)?;
        disk::sync_dir(&self.dir)?;
        self.bytes = file.metadata()?.len();
        let mut last = [b'\n'];
        if self.bytes > 0 {
            file.read_exact_at(&mut last, self.bytes - 1)?;
        }
        if last != [b'\n'] {
            file.write_all_at(b"\n", self.bytes)?;
            self.bytes += 1;
        }
        Ok(file)
    }
}
