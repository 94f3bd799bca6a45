//! The log file with its rotation, as moby's `loggerutils/logfile.go`: before a write, a file that has reached `max-size` makes
//! way. With `max-file=1` it is unlinked and a new one created (the freed inode often comes back at once); with more it is
//! renamed along `.1`, `.2`, …, and with `compress` gzipped in the background, the next rotation waiting for the gzip.

use crate::clock::put_rfc3339;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

/// The options `max-size`, `max-file` and `compress` of Docker's json-file driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// Bytes at which the next write rotates; `None` never does.
    pub max_size: Option<u64>,
    /// Files kept, the current one included; at least 1.
    pub max_file: u32,
    /// Whether rotated files are gzipped. Docker refuses it below two files.
    pub compress: bool,
}

/// What Docker does when nothing is set.
impl Default for Rotation {
    fn default() -> Self {
        Self { max_size: None, max_file: 1, compress: false }
    }
}

/// Reads `max-size` as Docker does: decimal units, `10k` is 10,000 bytes.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text[digits.len()..].to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1_000,
        "m" | "mb" => 1_000_000,
        "g" | "gb" => 1_000_000_000,
        _ => return Err(format!("`{text}` is not a size such as 10k, 1m or 1g")),
    };
    let count: u64 = digits.parse().map_err(|_| format!("`{text}` is not a size such as 10k, 1m or 1g"))?;
    count.checked_mul(unit).filter(|bytes| *bytes > 0).ok_or_else(|| format!("`{text}` is out of range"))
}

/// A json-file log that is being written.
#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    file: File,
    size: u64,
    rotation: Rotation,
    rotations: u64,
    last_time: i64,
    /// The gzip of the last rotation; the next one, and the end, wait for it.
    gzip: Option<JoinHandle<io::Result<()>>>,
}

impl LogFile {
    /// Opens `path` for appending, as the daemon does when a container starts.
    pub fn open(path: &Path, rotation: Rotation) -> io::Result<Self> {
        let file = options().append(true).open(path)?;
        let size = file.metadata()?.len();
        Ok(Self { path: path.to_owned(), file, size, rotation, rotations: 0, last_time: 0, gzip: None })
    }

    /// Writes one entry by one `write(2)`, after a rotation if one is due.
    pub fn write(&mut self, entry: &[u8], time: i64) -> io::Result<()> {
        if self.rotation.max_size.is_some_and(|max| self.size >= max) {
            self.rotate()?;
        }
        self.file.write_all(entry)?;
        self.size += entry.len() as u64;
        self.last_time = time;
        Ok(())
    }

    /// Rotates now, whatever the size.
    pub fn rotate(&mut self) -> io::Result<()> {
        self.wait_for_gzip()?;
        let Rotation { max_file, compress, .. } = self.rotation;
        if max_file < 2 {
            gone_is_fine(fs::remove_file(&self.path))?;
        } else {
            let extension = if compress { ".gz" } else { "" };
            gone_is_fine(fs::remove_file(self.numbered(max_file - 1, extension)))?;
            for i in (2..max_file).rev() {
                gone_is_fine(fs::rename(self.numbered(i - 1, extension), self.numbered(i, extension)))?;
            }
            gone_is_fine(fs::rename(&self.path, self.numbered(1, "")))?;
        }
        self.file = options().write(true).truncate(true).open(&self.path)?;
        self.size = 0;
        self.rotations += 1;
        if max_file >= 2 && compress {
            let (from, to, last) = (self.numbered(1, ""), self.numbered(1, ".gz"), self.last_time);
            self.gzip = Some(std::thread::spawn(move || gzip(&from, &to, last)));
        }
        Ok(())
    }

    /// Waits until the gzip of the last rotation is complete.
    pub fn wait_for_gzip(&mut self) -> io::Result<()> {
        match self.gzip.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(_)) => Err(io::Error::other("the gzip thread panicked")),
            None => Ok(()),
        }
    }

    /// Rotations so far.
    pub fn rotations(&self) -> u64 {
        self.rotations
    }

    /// The current file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// `<path>.<i><extension>`.
    fn numbered(&self, i: u32, extension: &str) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(format!(".{i}{extension}"));
        name.into()
    }
}

impl Drop for LogFile {
    fn drop(&mut self) {
        let _ = self.wait_for_gzip();
    }
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.create(true).mode(0o640);
    options
}

fn gone_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// The source goes only when the archive is whole.
fn gzip(from: &Path, to: &Path, last_time: i64) -> io::Result<()> {
    let mut source = match File::open(from) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    let archive = options().read(true).write(true).truncate(true).open(to)?;
    let mut extra = b"{\"lastTime\":\"".to_vec();
    put_rfc3339(&mut extra, last_time);
    extra.extend_from_slice(b"\"}");
    let mut writer = flate2::GzBuilder::new().extra(extra).write(archive, flate2::Compression::default());
    let copied = io::copy(&mut source, &mut writer).and_then(|_| writer.finish());
    fs::remove_file(if copied.is_ok() { from } else { to })?;
    copied.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::fs::MetadataExt;

    /// Writes entries `0\n`, `1\n`, … of two bytes each into a log with room for `max_size` bytes.
    fn play(dir: &Path, rotation: Rotation, entries: u32) -> LogFile {
        let mut log = LogFile::open(&dir.join("x-json.log"), rotation).unwrap();
        for i in 0..entries {
            log.write(format!("{i}\n").as_bytes(), 1_500_000_000 + i64::from(i)).unwrap();
        }
        log.wait_for_gzip().unwrap();
        log
    }

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    fn read(dir: &Path, name: &str) -> String {
        fs::read_to_string(dir.join(name)).unwrap()
    }

    #[test]
    fn sizes() {
        for (text, want) in [("10k", 10_000), ("1m", 1_000_000), ("2G", 2_000_000_000), ("512", 512), ("3kb", 3_000)] {
            assert_eq!(parse_size(text), Ok(want), "{text}");
        }
        for text in ["", "k", "1x", "-1", "0", "1.5m", "99999999999g"] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn without_max_size_nothing_rotates() {
        let dir = tempfile::tempdir().unwrap();
        let log = play(dir.path(), Rotation::default(), 9);
        assert_eq!((log.rotations(), names(dir.path())), (0, vec!["x-json.log".to_owned()]));
        assert_eq!(read(dir.path(), "x-json.log").len(), 18);
    }

    #[test]
    fn one_file_is_unlinked_and_created() {
        let dir = tempfile::tempdir().unwrap();
        let rotation = Rotation { max_size: Some(4), max_file: 1, compress: false };
        let mut log = LogFile::open(&dir.path().join("x-json.log"), rotation).unwrap();
        log.write(b"0\n", 0).unwrap();
        let mut held = File::open(log.path()).unwrap();
        log.write(b"1\n", 0).unwrap();
        assert_eq!(log.rotations(), 0, "the file rotates before the next write, not after this one");
        log.write(b"2\n", 0).unwrap();
        assert_eq!(names(dir.path()), ["x-json.log"]);
        assert_eq!(read(dir.path(), "x-json.log"), "2\n");
        let mut old = String::new();
        held.read_to_string(&mut old).unwrap();
        assert_eq!(old, "0\n1\n", "an open descriptor keeps the old file whole: it was unlinked, not truncated");
        assert_eq!(held.metadata().unwrap().nlink(), 0);
    }

    #[test]
    fn more_files_are_renamed_along() {
        let dir = tempfile::tempdir().unwrap();
        let rotation = Rotation { max_size: Some(4), max_file: 3, compress: false };
        let log = play(dir.path(), rotation, 9);
        assert_eq!(log.rotations(), 4);
        assert_eq!(names(dir.path()), ["x-json.log", "x-json.log.1", "x-json.log.2"]);
        assert_eq!(read(dir.path(), "x-json.log"), "8\n");
        assert_eq!(read(dir.path(), "x-json.log.1"), "6\n7\n");
        assert_eq!(read(dir.path(), "x-json.log.2"), "4\n5\n");
    }

    #[test]
    fn archives_carry_the_last_time() {
        let dir = tempfile::tempdir().unwrap();
        let rotation = Rotation { max_size: Some(4), max_file: 3, compress: true };
        play(dir.path(), rotation, 9);
        assert_eq!(names(dir.path()), ["x-json.log", "x-json.log.1.gz", "x-json.log.2.gz"]);
        let mut archive = flate2::read::GzDecoder::new(File::open(dir.path().join("x-json.log.1.gz")).unwrap());
        let mut text = String::new();
        archive.read_to_string(&mut text).unwrap();
        assert_eq!(text, "6\n7\n");
        let extra = archive.header().unwrap().extra().unwrap();
        assert_eq!(extra, b"{\"lastTime\":\"1970-01-01T00:00:01.500000007Z\"}");
    }

    #[test]
    fn reopening_appends_and_keeps_counting() {
        let dir = tempfile::tempdir().unwrap();
        let rotation = Rotation { max_size: Some(4), max_file: 2, compress: false };
        drop(play(dir.path(), rotation, 2));
        let log = play(dir.path(), rotation, 1);
        assert_eq!(log.rotations(), 1);
        assert_eq!(read(dir.path(), "x-json.log.1"), "0\n1\n");
        assert_eq!(log.path().metadata().unwrap().mode() & 0o777, 0o640);
    }
}
