//! A log file that is open for reading: plain, gzipped by the daemon after a rotation, or gone. Offsets are uncompressed.
//!
//! Reads are plain blocking reads of at most one buffer, nearly always from the page cache. There is no cursor: every read
//! says where, so that a file can be given up and its copy read on.

use crate::limits::{FINGERPRINT_BYTES, READ_BYTES};
use crate::position::Generation;
use flate2::read::GzDecoder;
use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Bytes read first to find out whose lines a file holds: most first lines are shorter.
const HEAD_BYTES: usize = 1024;

/// Which file a name leads to. Compared only with files that are held open, whose inode cannot be given to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileId {
    dev: u64,
    ino: u64,
}

impl FileId {
    /// The file that `path` names now; `None` when there is none.
    ///
    /// # Errors
    /// Any but "not found".
    pub fn at(path: &Path) -> io::Result<Option<Self>> {
        match fs::metadata(path) {
            Ok(meta) => Ok(Some(Self { dev: meta.dev(), ino: meta.ino() })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// An open log file.
#[derive(Debug)]
pub enum Input {
    /// As Docker writes it.
    Plain(File),
    /// As Docker compresses it after a rotation.
    Gzip(Gzip),
    /// Its bytes are no more.
    Gone,
}

/// A compressed log file. The decoder is made at the first read, since many archives may be held and one is read.
#[derive(Debug)]
pub struct Gzip {
    file: File,
    decoder: Option<Box<GzDecoder<File>>>,
    /// Uncompressed bytes that the decoder has given.
    at: u64,
}

impl Input {
    /// Opens a plain or, when its name ends in `.gz`, a compressed log; `None` when there is no such file, or what is there
    /// is no file.
    ///
    /// # Errors
    /// Any but "not found".
    pub fn open(path: &Path) -> io::Result<Option<(Self, FileId)>> {
        // Not blocking: somebody may have put a pipe there.
        let flags = rustix::fs::OFlags::NONBLOCK.bits() as i32;
        let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let meta = file.metadata()?;
        if !meta.is_file() {
            return Ok(None);
        }
        let id = FileId { dev: meta.dev(), ino: meta.ino() };
        let compressed = path.extension().is_some_and(|extension| extension == "gz");
        let input = if compressed { Self::Gzip(Gzip { file, decoder: None, at: 0 }) } else { Self::Plain(file) };
        Ok(Some((input, id)))
    }

    /// The plain file, for watching it.
    pub fn plain(&self) -> Option<&File> {
        match self {
            Self::Plain(file) => Some(file),
            Self::Gzip(_) | Self::Gone => None,
        }
    }

    /// Size of a plain file.
    ///
    /// # Errors
    /// Those of `fstat`.
    pub fn size(&self) -> io::Result<Option<u64>> {
        self.plain().map(|file| Ok(file.metadata()?.len())).transpose()
    }

    /// The first bytes, enough for [`Generation::of_head`]: up to some way behind the first newline. Of an archive only
    /// before it is read.
    ///
    /// # Errors
    /// Those of reading and of inflating.
    pub fn head(&self) -> io::Result<Vec<u8>> {
        match self {
            Self::Plain(file) => head_of(|head| {
                let at = head.len() as u64;
                Ok(rustix::io::pread(file, spare_capacity(head), at).map(drop)?)
            }),
            Self::Gzip(gzip) => {
                (&gzip.file).seek(SeekFrom::Start(0))?;
                let mut decoder = GzDecoder::new(&gzip.file);
                head_of(|head| {
                    let room = head.capacity() - head.len();
                    decoder.by_ref().take(room as u64).read_to_end(head).map(drop)
                })
            }
            Self::Gone => Ok(Vec::new()),
        }
    }

    /// Whether a file that nobody writes to ends at `offset` or before. Of an archive the trailer tells, which holds the
    /// size modulo 2^32.
    ///
    /// # Errors
    /// Those of reading.
    pub fn ends_at(&self, offset: u64) -> io::Result<bool> {
        match self {
            Self::Plain(file) => Ok(file.metadata()?.len() <= offset),
            Self::Gzip(Gzip { file, .. }) => {
                let mut trailer = [0; 4];
                let size = file.metadata()?.len();
                file.read_exact_at(&mut trailer, size.saturating_sub(4))?;
                Ok(offset > 0 && u32::from_le_bytes(trailer) == offset as u32)
            }
            Self::Gone => Ok(true),
        }
    }

    /// Appends bytes that stand at `offset` to `into`, as many as fit without growing it, and says how many: 0 at the end.
    /// `None` means that an archive is being inflated up to `offset` and that the caller is to call again.
    ///
    /// # Errors
    /// Those of reading and of inflating; nothing has been appended then.
    pub fn read_at(&mut self, offset: u64, into: &mut Vec<u8>) -> io::Result<Option<usize>> {
        match self {
            Self::Plain(file) => Ok(Some(rustix::io::pread(file, spare_capacity(into), offset)?)),
            Self::Gzip(gzip) => gzip.read_at(offset, into),
            Self::Gone => Ok(Some(0)),
        }
    }
}

/// Reads on, into the room there is, until there is a whole line or enough.
fn head_of(mut read: impl FnMut(&mut Vec<u8>) -> io::Result<()>) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(HEAD_BYTES);
    loop {
        let searched = head.len();
        read(&mut head)?;
        let whole = memchr::memchr(b'\n', &head[searched..]).is_some();
        if whole || head.len() == searched || head.len() >= FINGERPRINT_BYTES {
            head.truncate(FINGERPRINT_BYTES);
            return Ok(head);
        }
        if head.len() == head.capacity() {
            head.reserve_exact(head.len().min(FINGERPRINT_BYTES - head.len()));
        }
    }
}

impl Gzip {
    fn read_at(&mut self, offset: u64, into: &mut Vec<u8>) -> io::Result<Option<usize>> {
        let decoder = match &mut self.decoder {
            Some(decoder) if self.at <= offset => decoder,
            stale => {
                let mut file = self.file.try_clone()?;
                file.seek(SeekFrom::Start(0))?;
                self.at = 0;
                stale.insert(Box::new(GzDecoder::new(file)))
            }
        };
        if self.at < offset {
            let step = (offset - self.at).min(READ_BYTES as u64);
            let skipped = io::copy(&mut decoder.take(step), &mut io::sink())?;
            self.at += skipped;
            return Ok(if skipped == 0 { Some(0) } else { None });
        }
        let (len, room) = (into.len(), into.capacity());
        into.resize(room, 0);
        let read = decoder.read(&mut into[len..]);
        into.truncate(len + read.as_ref().map_or(0, |n| *n));
        self.at += *read.as_ref().unwrap_or(&0) as u64;
        read.map(Some)
    }
}

/// The generation of a log by its first bytes. When nobody writes to it any more, an unfinished first line counts as it
/// is; of an empty file there is none.
pub fn generation(head: &[u8], rotated: bool) -> Option<Generation> {
    Generation::of_head(head).or_else(|| {
        let finished = [head, b"\n"].concat();
        if rotated && !head.is_empty() { Generation::of_head(&finished) } else { None }
    })
}

/// The highest number of a rotated sibling of `log`, plain or compressed; 0 when there is none.
///
/// # Errors
/// Those of listing the directory.
pub fn last_sibling(log: &Path) -> io::Result<u32> {
    let (Some(dir), Some(name)) = (log.parent(), log.file_name()) else { return Ok(0) };
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        entries => entries?,
    };
    let mut last = 0;
    for entry in entries {
        let entry = entry?.file_name();
        let number = entry.as_bytes().strip_prefix(name.as_bytes()).and_then(|rest| rest.strip_prefix(b"."));
        let number = number.map(|number| number.strip_suffix(b".gz").unwrap_or(number));
        let number = number.and_then(|number| std::str::from_utf8(number).ok()?.parse().ok());
        last = last.max(number.unwrap_or(0));
    }
    Ok(last)
}

/// Opens `log` itself (0) or its sibling of that number, preferably not compressed: an archive beside it is in the making.
///
/// # Errors
/// As [`Input::open`].
pub fn open_sibling(log: &Path, number: u32) -> io::Result<Option<(Input, FileId)>> {
    if number == 0 {
        return Input::open(log);
    }
    let sibling = |suffix: &str| {
        let mut path = log.as_os_str().to_owned();
        path.push(format!(".{number}{suffix}"));
        PathBuf::from(path)
    };
    Ok(match Input::open(&sibling(""))? {
        Some(plain) => Some(plain),
        None => Input::open(&sibling(".gz"))?,
    })
}

/// Whether an error is about this process rather than about one file.
pub fn is_shortage(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM))
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use std::io::Write as _;

    fn text() -> Vec<u8> {
        (0..20_000).flat_map(|i| format!("line {i}\n").into_bytes()).collect()
    }

    #[track_caller]
    fn check_reads(input: &mut Input, text: &[u8], offset: usize) {
        let mut read = Vec::with_capacity(1000);
        let n = loop {
            if let Some(n) = input.read_at(offset as u64, &mut read).unwrap() {
                break n;
            }
        };
        assert_eq!(read.len(), n);
        assert!(n > 0 || offset >= text.len());
        assert_eq!(read, text[offset.min(text.len())..][..n]);
    }

    #[test]
    fn plain_and_compressed_files_read_alike_at_any_offset() {
        let dir = tempfile::tempdir().unwrap();
        let (plain, gz) = (dir.path().join("log.1"), dir.path().join("log.1.gz"));
        let text = text();
        fs::write(&plain, &text).unwrap();
        let mut encoder = GzEncoder::new(File::create(&gz).unwrap(), Compression::fast());
        encoder.write_all(&text).unwrap();
        encoder.finish().unwrap();
        for path in [&plain, &gz] {
            let (mut input, id) = Input::open(path).unwrap().unwrap();
            assert_eq!(FileId::at(path).unwrap(), Some(id));
            let head = input.head().unwrap();
            assert!(text.starts_with(&head) && head.contains(&b'\n'));
            for offset in [0, 1000, 150_000, 5, text.len() - 3, text.len(), text.len() + 100_000] {
                check_reads(&mut input, &text, offset);
            }
            assert!(input.ends_at(text.len() as u64).unwrap());
            assert!(!input.ends_at(text.len() as u64 - 1).unwrap());
        }
    }

    /// What distinguishes two of them is the time, at the end.
    #[test]
    fn a_long_first_line_identifies_by_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let mut seen = Vec::new();
        for (len, end) in [(5_000, "one\n"), (5_000, "two\n"), (FINGERPRINT_BYTES + 5, "cut\n"), (5_000, "")] {
            let path = dir.path().join("log");
            let text = ["x".repeat(len).as_str(), end, "more\n"].concat();
            fs::write(&path, &text).unwrap();
            let head = Input::open(&path).unwrap().unwrap().0.head().unwrap();
            assert!(text.as_bytes().starts_with(&head) && head.len() <= FINGERPRINT_BYTES);
            seen.push(Generation::of_head(&head).expect("long enough"));
        }
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), 4);
    }

    #[test]
    fn a_damaged_archive_is_an_error_and_appends_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.1.gz");
        fs::write(&path, b"no gzip at all").unwrap();
        let (mut input, _) = Input::open(&path).unwrap().unwrap();
        let mut into = Vec::with_capacity(100);
        assert!(input.read_at(0, &mut into).is_err());
        assert_eq!(into.len(), 0);
        assert!(input.head().is_err());
    }

    #[test]
    fn only_files_are_opened() {
        let dir = tempfile::tempdir().unwrap();
        assert!(Input::open(dir.path()).unwrap().is_none());
        assert!(Input::open(&dir.path().join("missing")).unwrap().is_none());
    }

    #[test]
    fn a_generation_needs_its_first_line_unless_nobody_writes_any_more() {
        assert_eq!(generation(b"first", false), None);
        assert_eq!(generation(b"first", true), Generation::of_head(b"first\n"));
        assert_eq!(generation(b"first\nsecond", false), Generation::of_head(b"first\n"));
        assert_eq!(generation(b"", true), None);
    }
}
