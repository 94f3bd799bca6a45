//! A log file that is open for reading: plain, gzipped by the daemon after a rotation, or gone. Offsets are uncompressed.
//!
//! Reads are plain blocking reads of at most one buffer, nearly always from the page cache. There is no cursor: every read
//! says where, so that a file can be given up and its copy read on.
//!
//! A log may begin with NUL bytes, where data had not reached the disk at a power loss. Its identity is then its first line
//! behind them: two such logs would otherwise be the same.

use super::gzip::Gzip;
use crate::limits::{FINGERPRINT_BYTES, MAX_ENVELOPE_BYTES, NUL_RUN_BYTES};
use crate::position::Generation;
use rustix::buffer::spare_capacity;
use rustix::io::Errno;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Bytes read first to find out whose lines a file holds: most first lines are shorter.
const HEAD_BYTES: usize = 1024;
/// How Docker's entries begin. These bytes stand in no JSON string.
const ENTRY: &[u8] = b"{\"log\":\"";
/// A line of which so many pieces are read is not searched for its beginning.
const LONG_LINE_PIECES: u32 = 16;

/// Which file a name leads to. Of a file that is held open the inode cannot be given to another.
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

#[cfg(test)]
thread_local! {
    /// Inode of a plain file that cannot be read: no real file fails on demand.
    pub static BROKEN: std::cell::Cell<Option<u64>> = const { std::cell::Cell::new(None) };
    /// Inode of a file that cannot be opened.
    pub static CLOSED: std::cell::Cell<Option<u64>> = const { std::cell::Cell::new(None) };
}

/// An open log file.
#[derive(Debug)]
pub enum Input {
    /// As Docker writes it.
    Plain(File),
    /// As Docker compresses it after a rotation.
    Gzip(Gzip),
    /// It is there, but cannot be opened: why, and when it was last written to.
    Closed(Errno, Option<SystemTime>),
    /// Its bytes are no more.
    Gone,
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
        #[cfg(test)]
        if CLOSED.get() == Some(meta.ino()) {
            return Err(Errno::ACCESS.into());
        }
        let id = FileId { dev: meta.dev(), ino: meta.ino() };
        let compressed = path.extension().is_some_and(|extension| extension == "gz");
        let input = if compressed { Self::Gzip(Gzip::new(file)) } else { Self::Plain(file) };
        Ok(Some((input, id)))
    }

    /// The plain file, for watching it.
    pub fn plain(&self) -> Option<&File> {
        match self {
            Self::Plain(file) => Some(file),
            Self::Gzip(_) | Self::Closed(..) | Self::Gone => None,
        }
    }

    /// Size of a plain file.
    ///
    /// # Errors
    /// Those of `fstat`.
    pub fn size(&self) -> io::Result<Option<u64>> {
        self.plain().map(|file| Ok(file.metadata()?.len())).transpose()
    }

    /// When the file was last written to, as far as that is known.
    pub fn modified(&self) -> Option<SystemTime> {
        match self {
            Self::Plain(file) => file.metadata().ok()?.modified().ok(),
            Self::Gzip(gzip) => gzip.file().metadata().ok()?.modified().ok(),
            Self::Closed(_, modified) => *modified,
            Self::Gone => None,
        }
    }

    /// What the file takes on disk if it has no name any more: nobody but us keeps it there.
    ///
    /// # Errors
    /// Those of `fstat`.
    pub fn unlinked_bytes(&self) -> io::Result<Option<u64>> {
        let file = match self {
            Self::Plain(file) => file,
            Self::Gzip(gzip) => gzip.file(),
            Self::Closed(..) | Self::Gone => return Ok(None),
        };
        let meta = file.metadata()?;
        Ok((meta.nlink() == 0).then_some(meta.len()))
    }

    /// The first bytes behind NUL bytes and empty lines, enough for [`Generation::of_head`]: up to some way behind the first
    /// newline. A single NUL when there is nothing else.
    ///
    /// # Errors
    /// Those of reading and of inflating.
    pub fn head(&self) -> io::Result<Vec<u8>> {
        match self {
            Self::Plain(file) => head_of(|at, into| Ok(rustix::io::pread(file, into, at)?)),
            Self::Gzip(gzip) => {
                let mut gzip = gzip.anew();
                head_of(|_, into| gzip.inflate(into))
            }
            Self::Closed(error, _) => Err((*error).into()),
            Self::Gone => Ok(Vec::new()),
        }
    }

    /// Whether a file that nobody writes to ends at `offset` or before.
    ///
    /// # Errors
    /// Those of reading.
    pub fn ends_at(&self, offset: u64) -> io::Result<bool> {
        match self {
            Self::Plain(file) => Ok(file.metadata()?.len() <= offset),
            Self::Gzip(gzip) => gzip.ends_at(offset),
            Self::Closed(error, _) => Err((*error).into()),
            Self::Gone => Ok(true),
        }
    }

    /// Whether the file can have been read up to `offset` as it is now: whether it ends there, or what is handed out by itself
    /// does; as far as that can be told without inflating. Where it does not, other bytes are there now than those that were read.
    pub fn is_whole_up_to(&self, offset: u64) -> bool {
        let Self::Plain(file) = self else { return true };
        is_end_of_piece(file, offset).unwrap_or(true)
    }

    /// Appends bytes that stand at `offset` to `into`, as many as fit without growing it, and says how many: 0 at the end.
    /// `None` means that an archive is being inflated up to `offset` and that the caller is to call again.
    ///
    /// # Errors
    /// Those of reading and of inflating; nothing has been appended then.
    pub fn read_at(&mut self, offset: u64, into: &mut Vec<u8>) -> io::Result<Option<usize>> {
        match self {
            #[cfg(test)]
            Self::Plain(file) if BROKEN.get() == Some(file.metadata()?.ino()) => Err(Errno::IO.into()),
            Self::Plain(file) => Ok(Some(rustix::io::pread(file, spare_capacity(into), offset)?)),
            Self::Gzip(gzip) => gzip.read_at(offset, into),
            Self::Closed(error, _) => Err((*error).into()),
            Self::Gone => Ok(Some(0)),
        }
    }
}

/// Reads a head by `read`, which is given where and into what, until there is a whole line or enough.
fn head_of(mut read: impl FnMut(u64, &mut [u8]) -> io::Result<usize>) -> io::Result<Vec<u8>> {
    let mut head = vec![0; HEAD_BYTES];
    let (mut len, mut at) = (0, 0);
    loop {
        if len == head.len() {
            head.resize((2 * len).min(FINGERPRINT_BYTES), 0);
        }
        // The run ends at the same byte for every reader, however much each gets at once.
        let room = if len == 0 { (NUL_RUN_BYTES - at).min(HEAD_BYTES as u64) as usize } else { head.len() - len };
        let n = read(at, &mut head[len..len + room])?;
        at += n as u64;
        let blank = if len == 0 { head[..n].iter().take_while(|byte| matches!(byte, 0 | b'\n')).count() } else { 0 };
        head.copy_within(blank..len + n, 0);
        let fresh = len;
        len += n - blank;
        if len == 0 && at == NUL_RUN_BYTES {
            return Ok(vec![0; FINGERPRINT_BYTES]);
        }
        if n == 0 || len == FINGERPRINT_BYTES || memchr::memchr(b'\n', &head[fresh..len]).is_some() {
            head.truncate(len);
            if len == 0 && at > 0 {
                head.push(0);
            }
            return Ok(head);
        }
    }
}

/// Whether a line ends at `offset`, or a piece of one: a run of NUL bytes may end anywhere, a torn line where an entry begins behind
/// it, and a line without end is cut every `MAX_ENVELOPE_BYTES`. The end of the file is one, too.
fn is_end_of_piece(file: &File, offset: u64) -> io::Result<bool> {
    let (mut at, mut piece) = (offset, Vec::new());
    for _ in 0..LONG_LINE_PIECES {
        let Some(last) = at.checked_sub(1) else { return Ok(true) };
        let mut around = [0; 1 + ENTRY.len()];
        let n = rustix::io::pread(file, &mut around[..], last)?;
        if n < 2 || around[0] == b'\n' || &around[1..] == ENTRY || (around[0] == 0 && at == offset) {
            return Ok(true);
        }
        // Nor is it the end of such a cut, unless there is as much of the line before it.
        let Some(from) = at.checked_sub(MAX_ENVELOPE_BYTES as u64) else { return Ok(false) };
        piece.resize(MAX_ENVELOPE_BYTES, 0);
        file.read_exact_at(&mut piece, from)?;
        if memchr::memchr(b'\n', &piece).is_some() {
            return Ok(false);
        }
        at = from;
    }
    Ok(true)
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
    let [plain, archive] = ["", ".gz"].map(|suffix| sibling(log, number, suffix));
    if let Some(plain) = Input::open(&plain)? {
        return Ok(Some(plain));
    }
    let archive = Input::open(&archive)?;
    // A rotation in between has put another file there, whose archive has only begun; where the plain file is gone once the
    // archive is open, that is complete.
    Ok(Input::open(&plain)?.or(archive))
}

/// What stands for a sibling that `error` kept from being opened; `None` when it is not there any more.
pub fn closed_sibling(log: &Path, number: u32, error: &io::Error) -> Option<(Input, FileId)> {
    let mut found = ["", ".gz"].into_iter().map(|suffix| fs::metadata(sibling(log, number, suffix)).ok());
    let meta = found.find_map(|meta| meta)?;
    let errno = Errno::from_io_error(error).unwrap_or(Errno::IO);
    Some((Input::Closed(errno, meta.modified().ok()), FileId { dev: meta.dev(), ino: meta.ino() }))
}

fn sibling(log: &Path, number: u32, suffix: &str) -> PathBuf {
    let mut path = log.as_os_str().to_owned();
    path.push(format!(".{number}{suffix}"));
    path.into()
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
    fn what_precedes_the_first_line_is_no_part_of_its_identity() {
        let dir = tempfile::tempdir().unwrap();
        let head = |text: &[u8]| {
            let (plain, gz) = (dir.path().join("log.1"), dir.path().join("log.1.gz"));
            fs::write(&plain, text).unwrap();
            let mut encoder = GzEncoder::new(File::create(&gz).unwrap(), Compression::fast());
            encoder.write_all(text).unwrap();
            encoder.finish().unwrap();
            let [plain, gz] = [plain, gz].map(|path| Input::open(&path).unwrap().unwrap().0.head().unwrap());
            assert_eq!(generation(&plain, true), generation(&gz, true));
            plain
        };
        let nuls = |n: usize| vec![0; n];
        for n in [1, 1023, 1024, 1025, 5000, 1 << 20] {
            assert_eq!(head(&[nuls(n), b"first\nsecond\n".to_vec()].concat()), b"first\nsecond\n", "{n}");
            assert_eq!(head(&[nuls(n), b"\n\n".to_vec(), nuls(7), b"first\n".to_vec()].concat()), b"first\n", "{n}");
            assert_eq!(head(&nuls(n)), [0], "{n}");
        }
        assert!(text().starts_with(&head(&[nuls(500), text()].concat())));
        assert_eq!(head(b""), b"");
        let beyond = [nuls(NUL_RUN_BYTES as usize + 1), b"first\n".to_vec()].concat();
        assert_eq!(Generation::of_head(&head(&beyond)), Generation::of_head(&nuls(FINGERPRINT_BYTES)));
        assert_eq!(generation(&[0], false), None);
        assert!(generation(&[0], true).is_some());
    }

    #[test]
    fn a_generation_needs_its_first_line_unless_nobody_writes_any_more() {
        assert_eq!(generation(b"first", false), None);
        assert_eq!(generation(b"first", true), Generation::of_head(b"first\n"));
        assert_eq!(generation(b"first\nsecond", false), Generation::of_head(b"first\n"));
        assert_eq!(generation(b"", true), None);
    }
}
