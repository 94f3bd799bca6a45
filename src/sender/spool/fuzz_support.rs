//! Oracle of how damaged state is read; not for programs.

use super::{Batch, Options, Store};
use crate::metrics::Metrics;
use crate::position::{Cover, Generation, Range, Ranges};
use crate::source::SourceKey;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

const FRAMES: u64 = 4;

/// A state directory with four frames and a position, damaged as `data` says: five bytes are one piece of damage (which file,
/// where, and two bytes to be written there, or a cut). Opening it never fails or panics, what is given out was appended, byte
/// by byte and in order, and no line counts as delivered that was neither committed nor is in what is given out.
pub fn spool(data: &[u8]) {
    let dir =
        tempfile::tempdir_in(if Path::new("/dev/shm").is_dir() { Path::new("/dev/shm") } else { Path::new("/tmp") })
            .expect("a directory");
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
    let batches: Vec<Batch> = (0..FRAMES).map(batch).collect();
    let committed: Ranges = [Range::new(0, 50)].into_iter().collect();
    runtime.block_on(async {
        let store = open(dir.path()).0;
        for batch in &batches {
            store.append(batch).await.expect("there is space");
        }
        store.commit(vec![(key(), committed.clone())]);
        store.sync().await.expect("there is space");
        store.close();
    });
    for piece in data.chunks_exact(5).take(16) {
        damage(dir.path(), piece);
    }
    runtime.block_on(async {
        let (store, recovered) = open(dir.path());
        let (mut given, mut after) = (Vec::new(), None);
        while let Some((id, batch)) = store.next(after).await {
            after = Some(id);
            given.push(batch);
        }
        let mut rest = batches.iter();
        for batch in &given {
            assert!(rest.any(|appended| appended == batch), "given out: {batch:?}");
        }
        let mut known = committed;
        given.iter().for_each(|batch| known.union(&batch.cover.ranges()));
        for (source, ranges) in &recovered.positions {
            assert_eq!(*source, key(), "a source of its own making");
            assert!(ranges.as_slice().iter().all(|range| known.covers(*range)), "{ranges} of {known}");
        }
        store.close();
    });
}

fn open(dir: &Path) -> (Store, super::Recovered) {
    let options = Options { dir: dir.into(), max_bytes: 64 << 20, spooling: true };
    Store::open(options, Metrics::new()).expect("damage is no error")
}

fn key() -> SourceKey {
    SourceKey { container: "ab".repeat(32), generation: Generation(7) }
}

/// Lines `100 + 10 i` to `109 + 10 i`, half of the batches compressible.
fn batch(i: u64) -> Batch {
    let (mut cover, mut body) = (Cover::default(), Vec::new());
    let mut rng = fastrand::Rng::with_seed(i);
    for line in 0..10 {
        let start = 100 + i * 10 + line;
        cover.push(1, &[Range::new(start, start + 1)]);
        body.extend((0..30).map(|_| if i.is_multiple_of(2) { b'x' } else { rng.alphanumeric() as u8 }));
        body.push(b'\n');
    }
    Batch { key: key(), body: body.into(), cover, carried: Vec::new(), lines: 10, oldest_ms: i, again: false }
}

fn damage(dir: &Path, piece: &[u8]) {
    let files = files(dir);
    let Some(path) = files.get(usize::from(piece[0] & 0x7f) % files.len().max(1)) else { return };
    let Ok(file) = OpenOptions::new().write(true).open(path) else { return };
    let length = file.metadata().map_or(0, |metadata| metadata.len()).min(4096);
    let at = u64::from(u16::from_be_bytes([piece[1], piece[2]])) % length.max(1);
    let done = if piece[0] & 0x80 == 0 { file.write_all_at(&piece[3..], at) } else { file.set_len(at) };
    done.expect("it is ours");
}

/// Segments, index and cursor slots, in a fixed order.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for dir in [dir.to_owned(), dir.join("spool"), dir.join("index")] {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
        files.extend(entries.filter(|path| path.is_file() && !path.ends_with("lock")));
    }
    files.sort();
    files
}

#[cfg(test)]
mod tests {
    #[test]
    fn damage_of_every_kind() {
        let seeds = [vec![], vec![0, 0, 9, 255, 255], vec![5, 0, 100, 1, 2, 4, 0, 20, 0, 0], vec![0x85, 1, 0, 0, 0]];
        crate::fuzz_support::mutate(&seeds, super::spool);
    }
}
