//! Reading one segment file: which frames stand where, and where it is damaged.
//!
//! Knows bytes and offsets only: not which frames are still wanted, not what becomes of damaged ones. Never writes.

use super::frame::{HEAD_BYTES, Head, MAGIC};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

/// Bytes of one read while a segment is searched or checked.
const CHUNK: usize = 64 << 10;

/// What stands at an offset.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// A frame whose head is right; its payload has not been looked at.
    Frame(Head),
    /// No frame up to this offset, where there is one, or the end.
    Damage(u64),
    /// Nothing more.
    End,
}

/// Looks at offset `at` of a segment of `len` bytes. Only heads with an id in `ids` are believed.
pub(super) fn find(file: &File, at: u64, len: u64, ids: &Range<u64>) -> Found {
    if at >= len {
        return Found::End;
    }
    if let Some(head) = head_at(file, at, len, ids) {
        return Found::Frame(head);
    }
    let mut buffer = vec![0; CHUNK];
    let mut from = at + 1;
    while from + HEAD_BYTES as u64 <= len {
        let want = (len - from).min(CHUNK as u64) as usize;
        read_lenient(file, &mut buffer[..want], from);
        for hit in memchr::memmem::find_iter(&buffer[..want], &MAGIC) {
            let candidate = from + hit as u64;
            if head_at(file, candidate, len, ids).is_some() {
                return Found::Damage(candidate);
            }
        }
        // A magic may straddle two chunks.
        from += (want - MAGIC.len() + 1) as u64;
    }
    Found::Damage(len)
}

fn head_at(file: &File, at: u64, len: u64, ids: &Range<u64>) -> Option<Head> {
    let mut bytes = [0; HEAD_BYTES];
    if at + HEAD_BYTES as u64 > len {
        return None;
    }
    read_lenient(file, &mut bytes, at);
    Head::read(&bytes).filter(|head| ids.contains(&head.id) && at + head.frame_len() <= len)
}

/// Checks the payload of the frame at `at` without holding it, and leaves its container and cover in `prefix`.
pub(super) fn check(file: &File, at: u64, head: &Head, prefix: &mut Vec<u8>) -> bool {
    let mut crc = crc32fast::Hasher::new();
    read_prefix(file, at, head, prefix);
    crc.update(prefix);
    let mut at = at + (HEAD_BYTES + prefix.len()) as u64;
    let mut left = head.payload_len() - head.prefix_len();
    let mut buffer = vec![0; CHUNK.min(left)];
    while left > 0 {
        let part = buffer.len().min(left);
        read_lenient(file, &mut buffer[..part], at);
        crc.update(&buffer[..part]);
        at += part as u64;
        left -= part;
    }
    crc.finalize() == head.payload_crc
}

/// Replaces `prefix` with container and cover of the frame at `at`, unchecked.
pub(super) fn read_prefix(file: &File, at: u64, head: &Head, prefix: &mut Vec<u8>) {
    prefix.clear();
    prefix.resize(head.prefix_len(), 0);
    read_lenient(file, prefix, at + HEAD_BYTES as u64);
}

/// Replaces `payload` with that of the frame at `at`.
pub(super) fn read_payload(file: &File, at: u64, head: &Head, payload: &mut Vec<u8>) {
    payload.clear();
    payload.resize(head.payload_len(), 0);
    read_lenient(file, payload, at + HEAD_BYTES as u64);
}

/// Fills `buffer` from the file. Bytes that cannot be read (behind the end, a bad sector after three attempts) are zero:
/// the checksum then says that they are damaged.
pub(super) fn read_lenient(file: &File, buffer: &mut [u8], at: u64) {
    let mut done = 0;
    let mut failures = 0;
    while done < buffer.len() {
        match file.read_at(&mut buffer[done..], at + done as u64) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) if failures < 2 => failures += 1,
            Err(error) => {
                tracing::error!(%error, offset = at + done as u64, "a spool segment cannot be read here");
                break;
            }
        }
    }
    buffer[done..].fill(0);
}
