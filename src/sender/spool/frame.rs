//! One frame: a batch as it stands in a segment. Layout in `docs/spool-format.md`.
//!
//! A frame is a fixed head with a checksum of its own, so that its length and its line count can be trusted even when what
//! follows is damaged, and a payload (container, cover, body) with a second checksum. The magic begins with 0xF5, a byte that
//! UTF-8 never holds: no log line can pretend to be a frame.
//!
//! No I/O, no clock.

use super::state::{put_ranges, take_ranges};
use crate::limits;
use crate::position::{Carried, Cover, Generation, Ranges, put_varint, take_varint};
use crate::sender::batch::Batch;
use crate::source::SourceKey;
use bytes::Bytes;
use std::io;

/// Begins every frame.
pub(super) const MAGIC: [u8; 4] = [0xF5, b'R', b'S', b'K'];
/// Bytes of the head.
pub(super) const HEAD_BYTES: usize = 64;
const VERSION: u8 = 1;
/// The body is compressed with zstd.
const ZSTD: u8 = 1;
/// The container id is 32 raw bytes, shown as 64 hexadecimal digits.
const RAW_ID: u8 = 2;
/// Behind the cover, within its length, stands what the batch carries.
const CARRIES: u8 = 4;
/// A dead letter that is sent again.
const AGAIN: u8 = 8;

/// Longest body that is written or believed, uncompressed: one record of the longest line, escaped throughout, with room.
pub(super) const MAX_RAW: usize = 64 << 20;
const MAX_COVER: usize = 16 << 20;
const MAX_CONTAINER: usize = 255;
/// Scratch that survives a large batch; beyond it memory is given back.
const KEEP_BYTES: usize = 2 << 20;

const _: () = assert!(limits::MAX_LINE_BYTES_BOUND * 7 + limits::BATCH_BYTES < MAX_RAW);

/// What the head says, checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    flags: u8,
    container_len: u8,
    pub(super) payload_crc: u32,
    pub(super) id: u64,
    generation: u64,
    oldest_ms: u64,
    pub(super) records: u32,
    pub(super) lines: u32,
    cover_len: u32,
    body_len: u32,
    /// Bytes of the body, uncompressed.
    pub(super) raw_len: u32,
}

impl Head {
    /// Reads a head; `None` when it is damaged, or of a version that this program does not know.
    pub(super) fn read(bytes: &[u8; HEAD_BYTES]) -> Option<Self> {
        if bytes[..4] != MAGIC || u32_at(bytes, 8) != head_crc(bytes) || bytes[4] != VERSION {
            return None;
        }
        let head = Self {
            flags: bytes[5],
            container_len: bytes[6],
            payload_crc: u32_at(bytes, 12),
            id: u64_at(bytes, 16),
            generation: u64_at(bytes, 24),
            oldest_ms: u64_at(bytes, 32),
            records: u32_at(bytes, 40),
            lines: u32_at(bytes, 44),
            cover_len: u32_at(bytes, 48),
            body_len: u32_at(bytes, 52),
            raw_len: u32_at(bytes, 56),
        };
        let known = head.flags & !(ZSTD | RAW_ID | CARRIES | AGAIN) == 0;
        let lengths = head.cover_len as usize <= MAX_COVER
            && head.raw_len as usize <= MAX_RAW
            && head.body_len <= head.raw_len.saturating_add(head.raw_len / 128).saturating_add(1024)
            && (head.flags & RAW_ID == 0 || head.container_len == 32);
        (known && lengths).then_some(head)
    }

    fn write(&self, bytes: &mut [u8]) {
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[4..8].copy_from_slice(&[VERSION, self.flags, self.container_len, 0]);
        bytes[12..16].copy_from_slice(&self.payload_crc.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.id.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.generation.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.oldest_ms.to_le_bytes());
        for (at, value) in
            (40..).step_by(4).zip([self.records, self.lines, self.cover_len, self.body_len, self.raw_len])
        {
            bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        }
        bytes[60..64].fill(0);
        let crc = head_crc(bytes);
        bytes[8..12].copy_from_slice(&crc.to_le_bytes());
    }

    /// Bytes of container and cover, which come first in the payload: enough to know what the frame covers.
    pub(super) fn prefix_len(&self) -> usize {
        usize::from(self.container_len) + self.cover_len as usize
    }

    /// Bytes behind the head.
    pub(super) fn payload_len(&self) -> usize {
        self.prefix_len() + self.body_len as usize
    }

    /// Bytes of the whole frame.
    pub(super) fn frame_len(&self) -> u64 {
        (HEAD_BYTES + self.payload_len()) as u64
    }

    /// What the batch settles, from the first [`Self::prefix_len`] bytes of a payload whose checksum is right.
    pub(super) fn claims(&self, prefix: &[u8]) -> Option<Vec<(SourceKey, Ranges)>> {
        let (key, cover, carried) = self.source_and_cover(prefix)?;
        Some(self.batch(key, Bytes::new(), cover, carried).claims())
    }

    fn batch(&self, key: SourceKey, body: Bytes, cover: Cover, carried: Carried) -> Batch {
        let (lines, oldest_ms, again) = (self.lines, self.oldest_ms, self.flags & AGAIN != 0);
        Batch { key, body, cover, carried, lines, oldest_ms, again }
    }

    fn source_and_cover(&self, prefix: &[u8]) -> Option<(SourceKey, Cover, Carried)> {
        let (container, cover) = prefix.get(..self.prefix_len())?.split_at(usize::from(self.container_len));
        let container =
            if self.flags & RAW_ID != 0 { to_hex(container) } else { String::from_utf8(container.into()).ok()? };
        let (cover, mut behind) = Cover::from_front(cover, self.records as usize)?;
        let carried = if self.flags & CARRIES != 0 { take_carried(&mut behind)? } else { Carried::default() };
        let key = SourceKey { container, generation: Generation(self.generation) };
        behind.is_empty().then_some((key, cover, carried))
    }
}

/// varint(count), then for each generation its 8 bytes and its ranges.
fn put_carried(out: &mut Vec<u8>, carried: &Carried) {
    put_varint(out, carried.len() as u64);
    for (generation, ranges) in carried {
        out.extend_from_slice(&generation.0.to_le_bytes());
        put_ranges(out, ranges);
    }
}

fn take_carried(bytes: &mut &[u8]) -> Option<Carried> {
    let mut carried = Carried::default();
    for _ in 0..take_varint(bytes)? {
        let (generation, rest) = bytes.split_first_chunk::<8>()?;
        *bytes = rest;
        carried.push((Generation(u64::from_le_bytes(*generation)), take_ranges(bytes)?));
    }
    Some(carried)
}

fn head_crc(bytes: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&bytes[4..8]);
    crc.update(&bytes[12..HEAD_BYTES]);
    crc.finalize()
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

/// The 32 bytes that `text` writes as 64 lower-case hexadecimal digits; `None` when it is anything else.
pub(super) fn from_hex(text: &str) -> Option<[u8; 32]> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let digits: &[u8; 64] = text.as_bytes().try_into().ok()?;
    let mut raw = [0; 32];
    for (byte, pair) in raw.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(raw)
}

/// The inverse of [`from_hex`].
pub(super) fn to_hex(raw: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
    raw.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// Turns batches into frames and back. Holds the compression contexts and scratch, so that the steady state buys no memory;
/// [`Codec::rest`] gives it back.
#[derive(Default)]
pub(super) struct Codec {
    compressor: Option<zstd::bulk::Compressor<'static>>,
    decompressor: Option<zstd::bulk::Decompressor<'static>>,
    packed: Vec<u8>,
}

impl Codec {
    /// Replaces `out` with the frame of `batch`.
    ///
    /// # Errors
    /// When a length is beyond what a frame can hold.
    pub(super) fn encode(&mut self, id: u64, batch: &Batch, out: &mut Vec<u8>) -> io::Result<()> {
        let (raw, cover) = (&batch.body[..], batch.cover.as_bytes());
        let mut carried = Vec::new();
        if !batch.carried.is_empty() {
            put_carried(&mut carried, &batch.carried);
        }
        let cover_len = cover.len() + carried.len();
        let hex = from_hex(&batch.key.container);
        let container = hex.as_ref().map_or(batch.key.container.as_bytes(), |raw| &raw[..]);
        if raw.len() > MAX_RAW || cover_len > MAX_COVER || container.len() > MAX_CONTAINER {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the batch is longer than a frame can be"));
        }
        let zstd = self.compress(raw).is_ok() && self.packed.len() < raw.len();
        let body = if zstd { &self.packed[..] } else { raw };
        out.clear();
        out.reserve(HEAD_BYTES + container.len() + cover_len + body.len());
        out.extend_from_slice(&[0; HEAD_BYTES]);
        for part in [container, cover, &carried, body] {
            out.extend_from_slice(part);
        }
        let head = Head {
            flags: if zstd { ZSTD } else { 0 }
                | if hex.is_some() { RAW_ID } else { 0 }
                | if carried.is_empty() { 0 } else { CARRIES }
                | if batch.again { AGAIN } else { 0 },
            container_len: container.len() as u8,
            payload_crc: crc32fast::hash(&out[HEAD_BYTES..]),
            id,
            generation: batch.key.generation.0,
            oldest_ms: batch.oldest_ms,
            records: batch.cover.len() as u32,
            lines: batch.lines,
            cover_len: cover_len as u32,
            body_len: body.len() as u32,
            raw_len: raw.len() as u32,
        };
        head.write(&mut out[..HEAD_BYTES]);
        Ok(())
    }

    fn compress(&mut self, raw: &[u8]) -> io::Result<()> {
        let compressor = match &mut self.compressor {
            Some(compressor) => compressor,
            none => none.insert(zstd::bulk::Compressor::new(1)?),
        };
        self.packed.clear();
        self.packed.reserve(zstd::zstd_safe::compress_bound(raw.len()));
        compressor.compress_to_buffer(raw, &mut self.packed).map(drop)
    }

    /// The batch of a frame. `None` when the payload's checksum, cover or body is wrong.
    pub(super) fn decode(&mut self, head: &Head, payload: &[u8]) -> Option<Batch> {
        if payload.len() != head.payload_len() || crc32fast::hash(payload) != head.payload_crc {
            return None;
        }
        let (key, cover, carried) = head.source_and_cover(payload)?;
        let body = &payload[head.prefix_len()..];
        let raw_len = head.raw_len as usize;
        let body = if head.flags & ZSTD == 0 { body.to_vec() } else { self.decompress(body, raw_len)? };
        (body.len() == raw_len).then(|| head.batch(key, Bytes::from(body), cover, carried))
    }

    /// Never more than `raw_len` bytes: the vector's capacity is the bound.
    fn decompress(&mut self, body: &[u8], raw_len: usize) -> Option<Vec<u8>> {
        let decompressor = match &mut self.decompressor {
            Some(decompressor) => decompressor,
            none => none.insert(zstd::bulk::Decompressor::new().ok()?),
        };
        let mut raw = Vec::with_capacity(raw_len);
        decompressor.decompress_to_buffer(body, &mut raw).ok()?;
        Some(raw)
    }

    /// Gives back what a large batch has bought.
    pub(super) fn trim(&mut self) {
        trim(&mut self.packed);
    }

    /// Gives back everything: nothing is coming for a while.
    pub(super) fn rest(&mut self) {
        *self = Self::default();
    }
}

/// Empties a scratch buffer, and returns its memory if it has become large.
pub(super) fn trim(scratch: &mut Vec<u8>) {
    scratch.clear();
    scratch.shrink_to(KEEP_BYTES);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::position::Range;
    use proptest::prelude::*;

    fn batch(container: &str, bodies: &[String]) -> Batch {
        let mut cover = Cover::default();
        let mut body = Vec::new();
        for (i, text) in bodies.iter().enumerate() {
            let at = i as u64 * 100;
            cover.push(1, &[Range::new(at, at + 40), Range::new(at + 50, at + 90)][..1 + i % 2]);
            body.extend_from_slice(text.as_bytes());
            body.push(b'\n');
        }
        let key = SourceKey { container: container.into(), generation: Generation(u64::MAX - 7) };
        let carried = Carried::default();
        Batch { key, body: body.into(), cover, carried, lines: 3, oldest_ms: 1_790_000_000_123, again: false }
    }

    fn head_of(frame: &[u8]) -> Option<Head> {
        Head::read(frame.get(..HEAD_BYTES)?.try_into().ok()?)
    }

    proptest! {
        #[test]
        fn comes_back_as_it_was(
            bodies in prop::collection::vec(".{0,200}", 0..40),
            carried in prop::collection::vec((any::<u64>(), 0..900u64, 0..90u64), 0..4),
            id: u64,
            hex: bool,
            again: bool,
        ) {
            let container = if hex { "0123456789abcdef".repeat(4) } else { "a-name_of.theirs".into() };
            let carried = carried.iter().map(|(generation, at, len)| {
                (Generation(*generation), Ranges::from_iter([Range::new(*at, at + len)]))
            });
            let batch = Batch { carried: carried.collect(), again, ..batch(&container, &bodies) };
            let (mut codec, mut frame) = (Codec::default(), Vec::new());
            codec.encode(id, &batch, &mut frame).unwrap();
            let head = head_of(&frame).unwrap();
            prop_assert_eq!(head.id, id);
            prop_assert_eq!(head.frame_len(), frame.len() as u64);
            prop_assert_eq!(head.claims(&frame[HEAD_BYTES..]).unwrap(), batch.claims());
            prop_assert_eq!(codec.decode(&head, &frame[HEAD_BYTES..]).unwrap(), batch);
        }

        #[test]
        fn no_flipped_bit_passes(bodies in prop::collection::vec("[a-f]{0,60}", 1..9), at: prop::sample::Index, bit in 0..8u8) {
            let batch = batch(&"ab".repeat(32), &bodies);
            let (mut codec, mut frame) = (Codec::default(), Vec::new());
            codec.encode(9, &batch, &mut frame).unwrap();
            let at = at.index(frame.len());
            frame[at] ^= 1u8 << bit;
            let decoded = head_of(&frame).and_then(|head| codec.decode(&head, &frame[HEAD_BYTES..]));
            prop_assert_eq!(decoded, None, "flip at {}", at);
        }

        #[test]
        fn garbage_is_not_a_frame(bytes in prop::collection::vec(any::<u8>(), HEAD_BYTES..200)) {
            let mut bytes = bytes;
            bytes[..4].copy_from_slice(&MAGIC);
            prop_assert_eq!(head_of(&bytes), None);
        }
    }

    #[test]
    fn a_bomb_stops_at_the_stated_length() {
        let batch = batch("c", &["x".repeat(1 << 20)]);
        let (mut codec, mut frame) = (Codec::default(), Vec::new());
        codec.encode(1, &batch, &mut frame).unwrap();
        let mut head = head_of(&frame).unwrap();
        assert!(frame.len() < 4096, "compressed");
        head.raw_len = 1000;
        assert_eq!(codec.decode(&head, &frame[HEAD_BYTES..]), None);
    }

    #[test]
    fn a_later_version_is_not_read() {
        let (mut codec, mut frame) = (Codec::default(), Vec::new());
        codec.encode(1, &batch("c", &["x".into()]), &mut frame).unwrap();
        assert!(head_of(&frame).is_some());
        frame[4] = VERSION + 1;
        let crc = head_crc(&frame).to_le_bytes();
        frame[8..12].copy_from_slice(&crc);
        assert_eq!(head_of(&frame), None);
    }
}
