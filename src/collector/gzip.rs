//! A log that the daemon compressed after a rotation, read at offsets of what it holds.
//!
//! - The decoder is made at the first read, since many archives may be held and one is read.
//! - Members that were put one behind the other are one log, as `gzip` reads them; bytes behind the last that are no member are
//!   passed over, as it does.
//! - Whether an archive is done with is told by its size in the trailer, modulo 2^32, which a log may exceed only where
//!   `max-size` allows it. Docker's `lastTime` in the header could not tell it better: positions are bytes, no times, so
//!   there is nothing to hold it against; and the parts of a split message carry the time of the first of them, so that the last
//!   entry need not be the latest. What it does tell is up to when lines are missing when the archive is damaged.
//! - Memory does not depend on what the archive holds: bytes are inflated into the caller's room, or skipped in steps.

use crate::limits::READ_BYTES;
use flate2::bufread::GzDecoder;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt as _;
use std::sync::Arc;

/// First bytes of a member.
const MAGIC: [u8; 3] = [0x1f, 0x8b, 8];
/// Deflate cannot do better: bytes that one byte of an archive can stand for.
const BEST_RATIO: u64 = 1032;
/// Bytes of an RFC 3339 time in the header that are believed.
const TIME_BYTES: usize = 40;

/// A compressed log file.
#[derive(Debug)]
pub struct Gzip {
    file: Arc<File>,
    decoder: Option<Box<GzDecoder<BufReader<Cursor>>>>,
    /// Uncompressed bytes that the decoder has given.
    at: u64,
}

/// Reads a file from a place on, whoever else reads it.
#[derive(Debug)]
struct Cursor {
    file: Arc<File>,
    at: u64,
}

impl Read for Cursor {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read_at(into, self.at)?;
        self.at += n as u64;
        Ok(n)
    }
}

impl Gzip {
    /// Nothing is read yet.
    pub fn new(file: File) -> Self {
        Self { file: Arc::new(file), decoder: None, at: 0 }
    }

    /// The same archive, to be inflated from its beginning.
    pub fn anew(&self) -> Self {
        Self { file: self.file.clone(), decoder: None, at: 0 }
    }

    /// The archive itself.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// See [`Input::read_at`](super::input::Input::read_at).
    ///
    /// # Errors
    /// Those of reading and of inflating; nothing has been appended then.
    pub fn read_at(&mut self, offset: u64, into: &mut Vec<u8>) -> io::Result<Option<usize>> {
        if self.at > offset {
            *self = self.anew();
        }
        let (len, room) = (into.len(), into.capacity());
        if self.at < offset {
            // One step towards it.
            let mut step = vec![0; (offset - self.at).min(READ_BYTES as u64) as usize];
            return Ok(if self.inflate(&mut step)? == 0 { Some(0) } else { None });
        }
        into.resize(room, 0);
        let read = self.inflate(&mut into[len..]);
        into.truncate(len + read.as_ref().map_or(0, |n| *n));
        read.map(Some)
    }

    /// Inflates the next bytes; 0 at the end. After an error it begins anew.
    ///
    /// # Errors
    /// Those of reading and of inflating.
    pub fn inflate(&mut self, into: &mut [u8]) -> io::Result<usize> {
        // Back in place only when all went well.
        let at = std::mem::take(&mut self.at);
        let mut decoder = self.decoder.take().unwrap_or_else(|| Box::new(self.member(0)));
        loop {
            let n = decoder.read(into)?;
            if n == 0 && !into.is_empty() {
                let reader = decoder.get_ref();
                let next = reader.get_ref().at - reader.buffer().len() as u64;
                let mut magic = [0; 3];
                if self.file.read_at(&mut magic, next)? == magic.len() && magic == MAGIC {
                    *decoder = self.member(next);
                    continue;
                }
            }
            (self.decoder, self.at) = (Some(decoder), at + n as u64);
            return Ok(n);
        }
    }

    fn member(&self, at: u64) -> GzDecoder<BufReader<Cursor>> {
        GzDecoder::new(BufReader::new(Cursor { file: self.file.clone(), at }))
    }

    /// Whether it ends at `offset`, by its trailer.
    ///
    /// # Errors
    /// Those of reading.
    pub fn ends_at(&self, offset: u64) -> io::Result<bool> {
        Ok(offset > 0 && self.trailer()? == offset as u32)
    }

    fn trailer(&self) -> io::Result<u32> {
        let mut trailer = [0; 4];
        let size = self.file.metadata()?.len();
        self.file.read_exact_at(&mut trailer, size.saturating_sub(4))?;
        Ok(u32::from_le_bytes(trailer))
    }

    /// How many bytes behind `offset` an archive holds that `error` says is damaged; `None` where the trailer cannot be
    /// believed: because the file was cut off, or since it says what cannot be.
    pub fn lost_behind(&self, offset: u64, error: &io::Error) -> Option<u64> {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            return None;
        }
        let size = u64::from(self.trailer().ok()?);
        let possible = self.file.metadata().ok()?.len().saturating_mul(BEST_RATIO);
        (size > offset && size <= possible).then(|| size - offset)
    }

    /// Time of the newest line in it, as the daemon wrote it into the header: `{"lastTime":"…"}`.
    pub fn last_time(&self) -> Option<String> {
        let extra = self.member(0).header()?.extra()?.to_vec();
        let value: serde_json::Value = serde_json::from_slice(&extra).ok()?;
        let time = value.get("lastTime")?.as_str()?;
        (time.len() <= TIME_BYTES).then(|| time.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, GzBuilder};
    use std::io::Write as _;

    fn member(text: &[u8]) -> Vec<u8> {
        let extra = br#"{"lastTime":"2026-11-21T13:00:00.123456789Z"}"#;
        let mut encoder = GzBuilder::new().extra(extra.as_slice()).write(Vec::new(), Compression::fast());
        encoder.write_all(text).unwrap();
        encoder.finish().unwrap()
    }

    fn archive(bytes: &[u8]) -> Gzip {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        Gzip::new(file)
    }

    fn all(gzip: &mut Gzip, from: u64) -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        loop {
            let mut into = Vec::with_capacity(1000);
            match gzip.read_at(from + text.len() as u64, &mut into)? {
                Some(0) => return Ok(text),
                Some(_) => text.extend(into),
                None => {}
            }
        }
    }

    fn text() -> Vec<u8> {
        (0..20_000).flat_map(|i| format!("line {i}\n").into_bytes()).collect()
    }

    #[test]
    fn members_are_one_log_and_garbage_behind_them_is_passed_over() {
        let text = text();
        let (first, second) = text.split_at(70_001);
        let mut gzip = archive(&[member(first), member(second), b"no member".to_vec()].concat());
        for from in [0, 5, 70_000, 70_001, 150_000, 3, text.len(), text.len() + 5] {
            assert!(all(&mut gzip, from as u64).unwrap() == text[from.min(text.len())..], "{from}");
        }
        assert_eq!(archive(&member(b"")).inflate(&mut [0; 9]).unwrap(), 0);
    }

    #[test]
    fn what_is_known_of_a_damaged_archive() {
        let text = text();
        let whole = member(&text);
        let mut damaged = whole.clone();
        let middle = whole.len() / 2;
        damaged[middle..middle + 40].fill(0xff);
        let mut gzip = archive(&damaged);
        let error = all(&mut gzip, 0).unwrap_err();
        assert_eq!(gzip.lost_behind(1000, &error), Some(text.len() as u64 - 1000));
        assert_eq!(gzip.last_time().as_deref(), Some("2026-11-21T13:00:00.123456789Z"));
        let mut cut = archive(&whole[..middle]);
        let error = all(&mut cut, 0).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(cut.lost_behind(1000, &error), None);
        assert!(cut.last_time().is_some());
        let none = archive(b"no archive");
        assert_eq!((none.lost_behind(0, &io::ErrorKind::InvalidData.into()), none.last_time()), (None, None));
    }
}
