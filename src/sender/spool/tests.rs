//! The store played against a model, killed, torn, flipped, starved of disk. What it promises is in the module's head.

mod drains;

use super::*;
use crate::position::{Cover, Generation, Range};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// A directory in memory where there is one: these tests are about order and content, not about the disk's speed.
fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap()
}

fn run<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
}

fn open_as(dir: &Path, max_bytes: u64, spooling: bool) -> (Store, Recovered, Metrics) {
    let metrics = Metrics::new();
    let options = Options { dir: dir.into(), max_bytes, spooling };
    let (store, recovered) = Store::open(options, metrics.clone()).unwrap();
    (store, recovered, metrics)
}

fn open(dir: &Path) -> (Store, Recovered, Metrics) {
    open_as(dir, 64 << 20, true)
}

fn key(container: u8) -> SourceKey {
    SourceKey { container: format!("{container:02x}").repeat(32), generation: Generation(u64::from(container)) }
}

/// A batch of one source that covers `start..start + records`, with a body that does not compress away.
fn batch_at(container: u8, start: u64, records: u64, bytes: usize) -> Batch {
    let mut random = fastrand::Rng::with_seed(start ^ u64::from(container) << 40);
    let (mut cover, mut body) = (Cover::default(), Vec::new());
    for i in 0..records {
        cover.push(1, &[Range::new(start + i, start + i + 1)]);
        body.extend((0..bytes).map(|_| random.alphanumeric() as u8));
        body.push(b'\n');
    }
    Batch {
        key: key(container),
        body: body.into(),
        cover,
        carried: Vec::new(),
        lines: records as u32,
        oldest_ms: start,
        again: false,
    }
}

fn pending(metrics: &Metrics) -> i64 {
    metrics.lines_pending.with_label_values(&["spool"]).get()
}

fn corrupt(metrics: &Metrics) -> u64 {
    metrics.lines_dropped.with_label_values(&["spool_corrupt"]).get()
}

async fn drain(store: &Store) -> Vec<(FrameId, Batch)> {
    let (mut all, mut after) = (Vec::new(), None);
    while let Some((id, batch)) = store.next(after).await {
        after = Some(id);
        all.push((id, batch));
    }
    all
}

/// Where frames stand: segment, offset, length, id.
fn layout(dir: &Path) -> Vec<(u64, u64, u64, u64)> {
    let (spool, mut all) = (dir.join("spool"), Vec::new());
    for first in journal::list(&spool) {
        let file = fs::File::open(spool.join(journal::name(first))).unwrap();
        let len = file.metadata().unwrap().len();
        let mut at = 0;
        while let segment::Found::Frame(head) = segment::find(&file, at, len, &(first..u64::MAX)) {
            all.push((first, at, head.frame_len(), head.id));
            at += head.frame_len();
        }
    }
    all
}

fn flip(path: &Path, at: u64, bit: u8) {
    let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1 << bit], at).unwrap();
}

fn quarantined(dir: &Path) -> Vec<String> {
    disk::names(&dir.join("quarantine"))
}

#[derive(Clone, Debug)]
enum Action {
    Append {
        container: u8,
        records: u64,
        bytes: usize,
    },
    Next,
    /// Retires the frame with this index among the live ones.
    Retire(usize),
    Commit {
        container: u8,
        records: u64,
    },
    Sync,
    Reopen(End2, Tamper),
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum End2 {
    Close,
    Drop,
    Crash,
}

/// What happens to the files while nobody has them open.
#[derive(Clone, Debug)]
enum Tamper {
    Nothing,
    /// A frame that was being written: its first bytes.
    Torn(prop::sample::Index),
    Garbage(Vec<u8>),
    Flip(prop::sample::Index, prop::sample::Index, u8),
    NoIndex,
    FlipIndex(prop::sample::Index, prop::sample::Index, u8),
    GarbageIndex(prop::sample::Index, Vec<u8>),
    Generating,
    FlipSlot(usize, prop::sample::Index),
}

fn tamper() -> impl Strategy<Value = Tamper> {
    let index = any::<prop::sample::Index>;
    prop_oneof![
        2 => Just(Tamper::Nothing),
        2 => index().prop_map(Tamper::Torn),
        1 => prop::collection::vec(any::<u8>(), 1..200).prop_map(Tamper::Garbage),
        4 => (index(), index(), 0..8u8).prop_map(|(frame, at, bit)| Tamper::Flip(frame, at, bit)),
        1 => Just(Tamper::NoIndex),
        2 => (index(), index(), 0..8u8).prop_map(|(file, at, bit)| Tamper::FlipIndex(file, at, bit)),
        1 => (index(), prop::collection::vec(any::<u8>(), 0..3000)).prop_map(|(file, bytes)| Tamper::GarbageIndex(file, bytes)),
        1 => Just(Tamper::Generating),
        2 => (0..2usize, index()).prop_map(|(slot, at)| Tamper::FlipSlot(slot, at)),
    ]
}

fn action() -> impl Strategy<Value = Action> {
    let end = prop_oneof![Just(End2::Close), Just(End2::Drop), Just(End2::Crash)];
    prop_oneof![
        8 => (1..4u8, 1..30u64, 1..1500usize).prop_map(|(container, records, bytes)| Action::Append { container, records, bytes }),
        3 => Just(Action::Next),
        4 => (0..6usize).prop_map(Action::Retire),
        2 => (1..4u8, 1..50u64).prop_map(|(container, records)| Action::Commit { container, records }),
        2 => Just(Action::Sync),
        3 => (end, tamper()).prop_map(|(end, tamper)| Action::Reopen(end, tamper)),
    ]
}

/// What the store must still know.
#[derive(Default)]
struct Model {
    live: BTreeMap<FrameId, Batch>,
    /// Retired, and a crash may have forgotten it.
    fading: BTreeMap<FrameId, Batch>,
    /// Committed by the receiver: at least what was synced survives, at most what was said.
    synced: HashMap<SourceKey, Ranges>,
    said: HashMap<SourceKey, Ranges>,
    /// Everything that was ever appended or committed.
    ever: HashMap<SourceKey, Ranges>,
    /// sled may not see damage in its files at first: then there is one copy less.
    suspect: bool,
    /// Next offset of each source.
    at: HashMap<u8, u64>,
}

impl Model {
    fn advance(&mut self, container: u8, records: u64) -> u64 {
        let at = self.at.entry(container).or_default();
        *at += records;
        *at - records
    }

    fn settled(&mut self) {
        self.synced = self.said.clone();
        self.fading.clear();
    }

    fn retire(&mut self, id: FrameId) -> u32 {
        let batch = self.live.remove(&id).unwrap();
        self.said.entry(batch.key.clone()).or_default().union(&batch.cover.ranges());
        let lines = batch.lines;
        self.fading.insert(id, batch);
        lines
    }
}

fn play(actions: Vec<Action>) {
    let dir = scratch();
    // Small segments, so that several are there.
    let (mut store, _, mut metrics) = open_as(dir.path(), 1 << 20, true);
    let mut model = Model::default();
    for action in actions {
        match action {
            Action::Append { container, records, bytes } => {
                let start = model.advance(container, records);
                let batch = batch_at(container, start, records, bytes);
                model.ever.entry(key(container)).or_default().union(&batch.cover.ranges());
                match run(store.append(&batch)) {
                    Ok(id) => {
                        assert!(model.live.last_key_value().is_none_or(|(last, _)| *last < id), "ids run on");
                        assert!(model.fading.last_key_value().is_none_or(|(last, _)| *last < id), "ids run on");
                        model.live.insert(id, batch);
                    }
                    Err(error) => {
                        assert_eq!(error, AppendError::Full);
                        assert!(store.usage().full && store.usage().bytes > 400_000, "{:?}", store.usage());
                    }
                }
            }
            Action::Next => {
                let first = model.live.first_key_value().map(|(id, batch)| (*id, batch.clone()));
                assert_eq!(run(store.next(None)), first);
                if let Some((first, _)) = first {
                    let second = model.live.range(first..).nth(1).map(|(id, batch)| (*id, batch.clone()));
                    assert_eq!(run(store.next(Some(first))), second);
                }
            }
            Action::Retire(which) => {
                if let Some(id) = model.live.keys().nth(which).copied() {
                    store.retire(id, model.retire(id));
                }
            }
            Action::Commit { container, records } => {
                let start = model.advance(container, records);
                let ranges = Ranges::from_iter([Range::new(start, start + records)]);
                store.commit(vec![(key(container), ranges.clone())]);
                model.ever.entry(key(container)).or_default().union(&ranges);
                model.said.entry(key(container)).or_default().union(&ranges);
            }
            Action::Sync => {
                run(store.sync()).unwrap();
                model.settled();
                let lines: u64 = model.live.values().map(|batch| u64::from(batch.lines)).sum();
                assert_eq!((store.usage().frames, store.usage().lines), (model.live.len() as u64, lines));
                assert_eq!(pending(&metrics), lines as i64);
            }
            Action::Reopen(end, tamper) => {
                match end {
                    End2::Close => store.close(),
                    End2::Drop => drop(store),
                    End2::Crash => store.crash(),
                }
                if end != End2::Crash {
                    model.settled();
                }
                let hit = apply(dir.path(), &tamper, &mut model);
                (store, metrics) = reopen(dir.path(), &mut model, hit);
            }
        }
    }
}

/// Does the damage; the frame that it hits, if it hits one.
fn apply(dir: &Path, tamper: &Tamper, model: &mut Model) -> Option<FrameId> {
    let index = dir.join("index");
    let spool = dir.join("spool");
    let last = || journal::list(&spool).last().map(|first| spool.join(journal::name(*first)));
    let append = |bytes: &[u8]| {
        if let Some(path) = last() {
            let len = fs::metadata(&path).unwrap().len();
            fs::OpenOptions::new().write(true).open(path).unwrap().write_all_at(bytes, len).unwrap();
        }
    };
    let pick = |file: &prop::sample::Index| {
        let files: Vec<_> =
            disk::names(&index).into_iter().map(|name| index.join(name)).filter(|path| path.is_file()).collect();
        (!files.is_empty()).then(|| file.get(&files).clone())
    };
    match tamper {
        Tamper::Nothing => {}
        Tamper::Torn(cut) => {
            let mut frame = Vec::new();
            let id = model.live.last_key_value().map_or(u64::MAX / 2, |(id, _)| id.0 + 1);
            frame::Codec::default().encode(id, &batch_at(1, 1 << 50, 3, 100), &mut frame).unwrap();
            append(&frame[..cut.index(frame.len() - 1) + 1]);
        }
        Tamper::Garbage(bytes) => append(bytes),
        Tamper::Flip(frame, at, bit) => {
            let layout = layout(dir);
            if !layout.is_empty() {
                let (first, start, len, id) = *frame.get(&layout);
                flip(&spool.join(journal::name(first)), start + at.index(len as usize) as u64, *bit);
                return Some(FrameId(id));
            }
        }
        Tamper::NoIndex => {
            fs::remove_dir_all(&index).unwrap();
            model.suspect = false;
        }
        Tamper::FlipIndex(file, at, bit) => {
            model.suspect = true;
            if let Some(path) = pick(file) {
                let len = fs::metadata(&path).unwrap().len();
                if len > 0 {
                    flip(&path, at.index(len as usize) as u64, *bit);
                }
            }
        }
        Tamper::GarbageIndex(file, bytes) => {
            model.suspect = true;
            if let Some(path) = pick(file) {
                fs::write(path, bytes).unwrap();
            }
        }
        Tamper::Generating => fs::write(index.join("snap.0000000000001234.generating"), b"half").unwrap(),
        Tamper::FlipSlot(_, _) if model.suspect => {}
        Tamper::FlipSlot(slot, at) => flip(&dir.join(cursor::SLOTS[*slot]), at.index(300) as u64, 3),
    }
    None
}

/// Opens again and compares; the model then becomes what is there.
fn reopen(dir: &Path, model: &mut Model, hit: Option<FrameId>) -> (Store, Metrics) {
    let bad = |name: &String| name.ends_with(".bad");
    let before = quarantined(dir).iter().filter(|name| bad(name)).count();
    let (store, recovered, metrics) = open_as(dir, 1 << 20, true);
    let found: BTreeMap<_, _> = run(drain(&store)).into_iter().collect();
    assert_eq!(recovered.frames, found.len() as u64);
    let last = model.live.keys().chain(model.fading.keys()).max().copied();
    let lost = hit.and_then(|id| model.live.remove(&id));
    for (id, batch) in &model.live {
        assert_eq!(found.get(id), Some(batch), "an acknowledged frame is there");
    }
    for (id, batch) in &found {
        let known = model.live.get(id).or_else(|| model.fading.get(id));
        assert_eq!(known, Some(batch), "nothing is made up, and nothing retired for good comes back");
    }
    for (key, ranges) in &model.synced {
        let have = recovered.positions.get(key).cloned().unwrap_or_default();
        assert!(ranges.as_slice().iter().all(|range| have.covers(*range)), "{key:?}: {have} lacks of {ranges}");
    }
    for batch in found.values() {
        let have = &recovered.positions[&batch.key];
        assert!(batch.cover.ranges().as_slice().iter().all(|range| have.covers(*range)));
    }
    if let Some(lost) = lost {
        assert!(quarantined(dir).iter().filter(|name| bad(name)).count() > before, "damaged bytes are kept");
        // A damaged head at the very end cannot be told from a write that a crash tore: that is a warning.
        assert!(metrics.gaps.get() == 1 || hit == last, "and said");
        let covered = recovered.positions.get(&lost.key).cloned().unwrap_or_default();
        assert!(!covered.touches(lost.cover.ranges().as_slice()[0]), "its lines are read again");
        assert!([0, u64::from(lost.lines)].contains(&corrupt(&metrics)));
    }
    let lines: i64 = found.values().map(|batch| i64::from(batch.lines)).sum();
    assert_eq!(pending(&metrics), lines);
    assert_eq!(metrics.lines_recovered.get(), lines as u64 + corrupt(&metrics), "conservation");
    for (key, ranges) in &recovered.positions {
        let ever = &model.ever[key];
        assert!(ranges.as_slice().iter().all(|range| ever.covers(*range)), "{key:?}: {ranges} is more than {ever}");
    }
    model.fading.clear();
    model.live = found;
    // What was in memory only may be gone; what was found is durable, apart from what live frames cover.
    model.synced = recovered.positions;
    for (key, ranges) in &mut model.synced {
        let live = model.live.values().filter(|batch| batch.key == *key);
        let live = live.fold(Ranges::default(), |mut all, batch| {
            all.union(&batch.cover.ranges());
            all
        });
        let offsets = ranges.as_slice().iter().flat_map(|range| range.start..range.end);
        let left = offsets.map(|offset| Range::new(offset, offset + 1)).filter(|unit| !live.covers(*unit)).collect();
        *ranges = left;
    }
    model.said = model.synced.clone();
    (store, metrics)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn keeps_its_promises(actions in prop::collection::vec(action(), 1..60)) {
        play(actions);
    }
}

#[test]
fn a_torn_write_takes_nothing_with_it() {
    let dir = scratch();
    let (store, _, _) = open(dir.path());
    let batches: Vec<_> = (0..3).map(|i| batch_at(1, i * 10, 10, 40)).collect();
    let ids: Vec<_> = batches.iter().map(|batch| run(store.append(batch)).unwrap()).collect();
    store.close();
    let (first, start, len, _) = layout(dir.path())[2];
    let path = dir.path().join("spool").join(journal::name(first));
    let whole = fs::read(&path).unwrap();
    for cut in (0..len).step_by(7).chain([1, 63, 64, 65, len - 1]) {
        fs::write(&path, &whole[..(start + cut) as usize]).unwrap();
        let (store, recovered, metrics) = open(dir.path());
        assert_eq!(recovered.frames, 2, "cut at {cut}");
        assert_eq!(recovered.positions[&key(1)].to_string(), "0-20");
        assert_eq!(fs::metadata(&path).unwrap().len(), start, "the tail is cut off");
        let kept = dir.path().join("quarantine").join(format!("{first:020}-{start}-{}.bad", start + cut));
        assert_eq!(cut > 0, kept.exists());
        assert_eq!((corrupt(&metrics), metrics.gaps.get()), (0, 0), "nothing acknowledged was lost");
        let new = run(store.append(&batches[2])).unwrap();
        assert!(new > ids[2]);
        let found = run(drain(&store));
        assert_eq!(found.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [ids[0], ids[1], new]);
        assert_eq!(found[2].1, batches[2]);
        store.retire(new, 10);
        store.crash();
        for path in journal::list(&dir.path().join("spool")).iter().skip(1) {
            fs::remove_file(dir.path().join("spool").join(journal::name(*path))).unwrap();
        }
        fs::remove_dir_all(dir.path().join("quarantine")).ok();
    }
}

#[test]
fn damage_while_running_is_passed_over_and_counted() {
    let dir = scratch();
    let (store, _, metrics) = open(dir.path());
    let ids: Vec<_> = (0..5).map(|i| run(store.append(&batch_at(1, i * 10, 10, 40))).unwrap()).collect();
    let layout = layout(dir.path());
    let path = dir.path().join("spool").join(journal::name(layout[0].0));
    flip(&path, layout[1].1 + 100, 2); // payload: the head still tells the lines
    flip(&path, layout[3].1 + 20, 2); // head
    let found: Vec<_> = run(drain(&store)).into_iter().map(|(id, _)| id).collect();
    assert_eq!(found, [ids[0], ids[2], ids[4]]);
    assert_eq!((store.usage().frames, corrupt(&metrics), metrics.gaps.get()), (3, 10, 2));
    for id in found {
        store.retire(id, 10);
    }
    run(store.sync()).unwrap();
    assert_eq!(corrupt(&metrics), 20, "lines under a damaged head are known when the rest is gone");
    assert_eq!((pending(&metrics), store.usage().lines, store.usage().bytes), (0, 0, 0));
    assert_eq!(quarantined(dir.path()).len(), 2);
    store.close();
    let (_store, recovered, metrics) = open(dir.path());
    assert_eq!(recovered.positions[&key(1)].to_string(), "0-10,20-30,40-50", "the lost lines are read again");
    assert_eq!((recovered.frames, metrics.gaps.get()), (0, 0), "said once");
}

#[test]
fn damage_in_the_middle_is_said_once() {
    let dir = scratch();
    let (store, _, _) = open(dir.path());
    for i in 0..4 {
        run(store.append(&batch_at(1, i * 10, 10, 40))).unwrap();
    }
    store.close();
    let layout = layout(dir.path());
    let path = dir.path().join("spool").join(journal::name(layout[0].0));
    fs::OpenOptions::new().write(true).open(&path).unwrap().write_all_at(&[0; 300], layout[1].1 + 10).unwrap();
    for gaps in [1, 0, 0] {
        let (store, recovered, metrics) = open(dir.path());
        assert_eq!((recovered.frames, metrics.gaps.get()), (3, gaps));
        store.crash();
    }
}

#[test]
fn a_full_spool_says_so_and_space_comes_back() {
    let dir = scratch();
    let (store, _, _) = open_as(dir.path(), 1 << 20, true);
    let mut ids = Vec::new();
    let error = loop {
        match run(store.append(&batch_at(1, ids.len() as u64 * 10, 10, 3000))) {
            Ok(id) => ids.push(id),
            Err(error) => break error,
        }
    };
    assert_eq!(error, AppendError::Full);
    let usage = store.usage();
    assert!(usage.full && usage.bytes <= 1 << 20 && usage.bytes > 900_000, "{usage:?}");
    let on_disk: u64 = layout(dir.path()).iter().map(|(_, _, len, _)| len).sum();
    assert_eq!(on_disk, usage.bytes);
    // Retired out of order; only whole segments give space back.
    for id in ids.iter().rev().take(ids.len() / 2) {
        store.retire(*id, 10);
    }
    run(store.sync()).unwrap();
    let after = store.usage();
    assert!(!after.full && after.bytes < usage.bytes * 3 / 4, "{after:?}");
    assert!(run(store.append(&batch_at(2, 0, 1, 10))).is_ok());
    assert_eq!(run(store.next(None)).map(|(id, _)| id), Some(ids[0]));
}

#[test]
fn without_spooling_there_are_positions_and_the_old_frames() {
    let dir = scratch();
    let (store, _, _) = open(dir.path());
    let id = run(store.append(&batch_at(1, 0, 10, 10))).unwrap();
    store.close();
    let (store, recovered, _) = open_as(dir.path(), 1 << 20, false);
    assert_eq!(recovered.frames, 1);
    assert_eq!(run(store.append(&batch_at(1, 10, 10, 10))), Err(AppendError::Full));
    assert_eq!(run(store.next(None)).map(|(id, _)| id), Some(id));
    store.retire(id, 10);
    store.commit(vec![(key(1), Ranges::from_iter([Range::new(10, 20)]))]);
    store.close();
    let (_store, recovered, _) = open_as(dir.path(), 1 << 20, false);
    assert_eq!((recovered.frames, recovered.positions[&key(1)].to_string()), (0, "0-20".into()));
}

#[test]
fn commits_reach_the_disk_by_themselves() {
    let dir = scratch();
    let (store, _, _) = open(dir.path());
    store.commit(vec![(key(1), Ranges::from_iter([Range::new(0, 77)]))]);
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let listing = list(dir.path()).unwrap();
        if listing.positions.get(&key(1)).is_some_and(|ranges| ranges.end() == 77) {
            break;
        }
        assert!(Instant::now() < deadline, "no checkpoint");
        std::thread::yield_now();
    }
    store.crash();
    for lost in ["index", "cursor.a", "cursor.b"] {
        let path = dir.path().join(lost);
        if path.is_dir() { fs::remove_dir_all(path) } else { fs::write(path, b"") }.unwrap();
        let (store, recovered, _) = open(dir.path());
        assert_eq!(recovered.positions[&key(1)].to_string(), "0-77", "without {lost}");
        store.crash();
    }
}

#[test]
fn a_damaged_slot_beside_a_missing_one_is_set_aside() {
    let dir = scratch();
    let (store, _, _) = open(dir.path());
    store.commit(vec![(key(1), Ranges::from_iter([Range::new(0, 77)]))]);
    store.close();
    for (missing, damaged) in [(0, 1), (1, 0)] {
        fs::remove_file(dir.path().join(cursor::SLOTS[missing])).unwrap();
        fs::write(dir.path().join(cursor::SLOTS[damaged]), b"garbage").unwrap();
        let (store, recovered, _) = open(dir.path());
        assert_eq!(recovered.positions[&key(1)].to_string(), "0-77", "from the index");
        assert!(quarantined(dir.path()).iter().any(|name| name.starts_with(cursor::SLOTS[damaged])));
        store.close();
    }
}

#[test]
fn one_process_at_a_time() {
    let dir = scratch();
    let (store, _, _) = open(dir.path());
    let options = Options { dir: dir.path().into(), max_bytes: 1 << 20, spooling: true };
    let error = Store::open(options, Metrics::new()).err().unwrap();
    assert!(matches!(&error, OpenError::Locked { path } if path == dir.path()));
    let text = error.to_string();
    assert!(text.contains("DISK_FALLBACK_PATH") && text.contains(dir.path().to_str().unwrap()), "{text}");
    let other = store.clone();
    store.close();
    assert_eq!(run(other.append(&batch_at(1, 0, 1, 1))), Err(AppendError::Closed));
    assert_eq!(run(other.next(None)), None);
    drop(open(dir.path()));
}

#[test]
fn an_unusable_directory_is_named() {
    let dir = scratch();
    let file = dir.path().join("file");
    fs::write(&file, b"").unwrap();
    let options = Options { dir: file.join("state"), max_bytes: 1 << 20, spooling: true };
    let text = Store::open(options, Metrics::new()).err().unwrap().to_string();
    assert!(text.contains("file/state") && text.contains("DISK_FALLBACK_PATH"), "{text}");
}

#[test]
fn only_we_may_read_it() {
    use std::os::unix::fs::PermissionsExt;
    let dir = scratch();
    let state = dir.path().join("state");
    let (store, _, _) = open(&state);
    run(store.append(&batch_at(1, 0, 1, 1))).unwrap();
    run(store.dead_letter(letter(1, "r"))).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    let segment = state.join("spool").join(journal::name(layout(&state)[0].0));
    for path in [state.clone(), state.join("spool"), state.join("dead")] {
        assert_eq!(mode(&path), 0o700, "{}", path.display());
    }
    for path in [segment, state.join(dead::FILE), state.join("cursor.a"), state.join("lock")] {
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
}

fn letter(container: u8, record: &str) -> DeadLetter {
    DeadLetter {
        key: key(container),
        cover: Ranges::from_iter([Range::new(5, 9)]),
        carried: Vec::new(),
        lines: 2,
        record: Bytes::from(format!("{record}\n")),
        status: 422,
        answer: "ä".repeat(3000),
    }
}

#[test]
fn dead_letters_are_kept_line_by_line() {
    let dir = scratch();
    let path = dir.path().join(dead::FILE);
    for round in 1..=2 {
        let (store, _, _) = open_as(dir.path(), 2 << 20, true);
        run(store.dead_letter(letter(1, r#"{"message":"a \"quoted\" one"}"#))).unwrap();
        assert_eq!(store.usage().bytes, fs::metadata(&path).unwrap().len(), "they count");
        store.close();
        let lines = fs::read_to_string(&path).unwrap();
        let lines: Vec<serde_json::Value> = lines.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        assert_eq!(lines.len(), round);
        let totals = dead_letters(dir.path(), |_| Ok(())).unwrap();
        assert_eq!((totals.letters as usize, totals.damaged as usize), (round, round - 1));
        let last = &lines[round - 1];
        assert_eq!(last["record"], r#"{"message":"a \"quoted\" one"}"#);
        assert_eq!((last["status"].as_u64(), last["cover"].as_str()), (Some(422), Some("5-9")));
        assert_eq!(last["answer"].as_str().unwrap().len(), 2048);
        // A crash in the next one.
        let len = fs::metadata(&path).unwrap().len();
        fs::OpenOptions::new().write(true).open(&path).unwrap().write_all_at(b"{\"time", len).unwrap();
    }
    let (store, _, _) = open_as(dir.path(), 2 << 20, true);
    let long = "x".repeat(100_000);
    let refused = (0..20).filter(|_| run(store.dead_letter(letter(1, &long))) == Err(AppendError::Full)).count();
    assert_eq!(refused, 10, "bounded at 1 MiB here");
}

#[test]
fn the_listing_needs_no_lock() {
    let dir = scratch();
    let (store, _, _) = open(dir.path());
    let ids: Vec<_> = (0..3).map(|i| run(store.append(&batch_at(1, i * 10, 10, 40))).unwrap()).collect();
    store.retire(ids[1], 10);
    run(store.sync()).unwrap();
    let listing = list(dir.path()).unwrap();
    let segment = &listing.segments[0];
    assert_eq!(
        (segment.frames, segment.pending_frames, segment.pending_records, segment.pending_lines),
        (3, 2, 20, 20)
    );
    assert_eq!((segment.bytes, segment.damaged_bytes), (store.usage().bytes, 0));
    assert_eq!(segment.pending_bytes, 20 * 41);
    assert_eq!(listing.positions[&key(1)].to_string(), "10-20");
    assert!(list(&dir.path().join("nowhere")).is_err());
}

/// Frames that were settled in part, or as a whole and are not yet retired.
#[test]
fn of_a_frame_in_parts_the_rest_is_shown() {
    let dir = scratch();
    let (store, _, _) = open(dir.path());
    let batches: Vec<_> = (0..3).map(|i| batch_at(1, i * 10, 10, 40)).collect();
    for batch in &batches {
        run(store.append(batch)).unwrap();
    }
    store.commit(vec![(key(1), Ranges::from_iter([Range::new(10, 13), Range::new(20, 30)]))]);
    run(store.sync()).unwrap();
    let (expected, mut shown) = ([batches[0].body.clone(), batches[1].body.slice(3 * 41..)], Vec::new());
    let show = |batch: &Batch| {
        shown.push(batch.body.clone());
        Ok(())
    };
    assert_eq!((export(dir.path(), show).unwrap(), &shown[..]), (0, &expected[..]));
    let segment = &list(dir.path()).unwrap().segments[0];
    let left = (segment.pending_frames, segment.pending_records, segment.pending_lines, segment.pending_bytes);
    assert_eq!((segment.frames, left), (3, (2, 17, 17, 17 * 41)));
    // The head is whole: it still says what was in it.
    let (first, at, ..) = layout(dir.path())[1];
    flip(&dir.path().join("spool").join(journal::name(first)), at + 200, 3);
    assert_eq!(list(dir.path()).unwrap().segments[0].pending_records, 20);
}

#[test]
fn appends_that_wait_together_share_a_sync() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _, metrics) = open(dir.path());
    let batches: Vec<_> = (0..32).map(|i| batch_at(1, i * 10, 10, 40)).collect();
    let ids: Vec<_> = run(async {
        let tasks: Vec<_> = batches
            .into_iter()
            .map(|batch| {
                let store = store.clone();
                tokio::spawn(async move { store.append(&batch).await })
            })
            .collect();
        let mut ids = Vec::new();
        for task in tasks {
            ids.push(task.await.unwrap());
        }
        ids
    });
    assert!(ids.windows(2).all(|pair| pair[0].as_ref().unwrap() < pair[1].as_ref().unwrap()), "in order of asking");
    let syncs = metrics.spool_sync_seconds.with_label_values(&["segment"]).get_sample_count();
    assert!(syncs <= 4, "{syncs} syncs for 32 appends");
    assert_eq!(metrics.spooled_batches.get(), 32);
}

/// Needs root, for a small file system of its own.
#[test]
fn a_full_disk_stops_the_spool_and_not_the_checkpoints() {
    let dir = scratch();
    let at = dir.path().join("small");
    fs::create_dir(&at).unwrap();
    let options = rustix::cstr!("size=8m");
    if let Err(error) = rustix::mount::mount("tmpfs", &at, "tmpfs", rustix::mount::MountFlags::empty(), options) {
        eprintln!("skipped: no file system can be mounted here ({error})");
        return;
    }
    let outcome = std::panic::catch_unwind(|| on_a_full_disk(&at));
    rustix::mount::unmount(&at, rustix::mount::UnmountFlags::DETACH).unwrap();
    outcome.unwrap();
}

fn on_a_full_disk(at: &Path) {
    let state = at.join("state");
    let (store, _, _) = open_as(&state, 1 << 30, true);
    let mut ids = Vec::new();
    let error = loop {
        match run(store.append(&batch_at(1, ids.len() as u64 * 10, 10, 5000))) {
            Ok(id) => ids.push(id),
            Err(error) => break error,
        }
    };
    assert_eq!(error, AppendError::Full);
    assert!(ids.len() > 50, "{}", ids.len());
    let mut known = state::State::default();
    let mut journal = a_journal(&at.join("journal"), &mut known);
    let first = journal.write(&mut known, &batch_at(1, 0, 10, 500), &mut { u64::MAX }).unwrap();
    journal.settle().unwrap();
    // Somebody else takes the rest, the reserve included.
    let filler = fs::File::create(at.join("filler")).unwrap();
    let mut end = 0;
    while filler.write_all_at(&[7; 4096], end).is_ok() {
        end += 4096;
    }
    store.commit(vec![(key(2), Ranges::from_iter([Range::new(0, 99)]))]);
    run(store.sync()).unwrap();
    assert_eq!(run(store.append(&batch_at(2, 99, 1, 10))), Err(AppendError::Full));
    store.crash();
    let (store, recovered, _) = open_as(&state, 1 << 30, true);
    assert_eq!((recovered.frames, recovered.positions[&key(2)].end()), (ids.len() as u64, 99));
    for (id, batch) in run(drain(&store)) {
        store.retire(id, batch.lines);
    }
    run(store.sync()).unwrap();
    assert_eq!(store.usage().bytes, 0, "space comes back even so");
    run(store.append(&batch_at(2, 99, 1, 10))).unwrap();
    store.close();
    // A write that fails half-way leaves the segment as it was.
    let long = batch_at(1, 10, 10, 50_000);
    let mut end = 0;
    while filler.write_all_at(&[7; 4096], end).is_ok() {
        end += 4096;
    }
    assert_eq!(journal.write(&mut known, &long, &mut { u64::MAX }), Err(AppendError::Full));
    fs::remove_file(at.join("filler")).unwrap();
    drop(filler);
    let second = journal.write(&mut known, &long, &mut { u64::MAX }).unwrap();
    journal.settle().unwrap();
    assert_eq!(journal.next(&mut known, None).map(|(id, _)| id), Some(first));
    assert_eq!(journal.next(&mut known, Some(first)), Some((second, long)));
    let segment = at.join("journal").join(journal::name(first.0));
    assert_eq!(fs::metadata(segment).unwrap().len(), journal.totals.bytes);
    drop(journal);
    let (store, recovered, _) = open_as(&state, 1 << 30, true);
    assert_eq!((recovered.frames, recovered.positions[&key(2)].end()), (1, 100));
    assert_eq!(recovered.positions[&key(1)].end(), ids.len() as u64 * 10);
    store.close();
}

fn a_journal(dir: &Path, state: &mut state::State) -> journal::Journal {
    fs::create_dir(dir).unwrap();
    let quarantine = disk::Quarantine(dir.join("quarantine"));
    journal::Journal::open(dir.into(), quarantine, 1 << 20, Metrics::new(), state, &mut Recovered::default()).unwrap()
}

const CHILD_DIR: &str = "RASK_TEST_SPOOL_DIR";

/// Not a test of its own: what [`survives_sigkill`] runs and kills. Prints what is durable, once it is.
#[test]
fn child_of_survives_sigkill() {
    use std::io::Write;
    let Some(dir) = std::env::var_os(CHILD_DIR) else { return };
    let (store, recovered, _) = open_as(Path::new(&dir), 256 << 20, true);
    let mut out = std::io::stdout();
    let mut say = |what: String| out.write_all(what.as_bytes()).unwrap();
    let mut at = recovered.positions.get(&key(1)).map_or(0, Ranges::end);
    let mut random = fastrand::Rng::new();
    run(async {
        let mut after = None;
        loop {
            let records = random.u64(1..40);
            let batch = batch_at(1, at, records, 100);
            let id = store.append(&batch).await.unwrap();
            say(format!("\nappended {} {at}-{}\n", id.0, at + records));
            at += records;
            if random.u8(..4) == 0
                && let Some((id, batch)) = store.next(after).await
            {
                say(format!("\nretiring {}\n", id.0));
                store.retire(id, batch.lines);
                after = Some(id);
            }
            if random.u8(..16) == 0 {
                let ranges = Ranges::from_iter([Range::new(0, random.u64(..1000))]);
                store.commit(vec![(key(2), ranges.clone())]);
                store.sync().await.unwrap();
                say(format!("\ncommitted {}\n", ranges.end()));
            }
        }
    });
}

#[test]
fn survives_sigkill() {
    use std::io::Read;
    use std::process::{Command, Stdio};
    let dir = tempfile::tempdir().unwrap();
    let rounds = std::env::var("RASK_TEST_KILLS").ok().and_then(|n| n.parse().ok()).unwrap_or(6);
    let name = format!("{}::child_of_survives_sigkill", module_path!().split_once("::").unwrap().1);
    let (mut live, mut maybe, mut appended, mut committed) = (BTreeMap::new(), BTreeMap::new(), Ranges::default(), 0);
    for round in 0..rounds {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", &name, "--nocapture", "--test-threads=1"])
            .env(CHILD_DIR, dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // How long it lives is the point, not a synchronisation: from during its open to some hundred appends.
        std::thread::sleep(Duration::from_millis(fastrand::u64(5..300)));
        child.kill().unwrap();
        let mut said = String::new();
        child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
        assert!(!child.wait().unwrap().success());
        let whole = said.rfind('\n').map_or("", |end| &said[..=end]);
        for line in whole.lines() {
            match line.split(' ').collect::<Vec<_>>()[..] {
                ["appended", id, range] => {
                    let ranges: Ranges = range.parse().unwrap();
                    appended.union(&ranges);
                    live.insert(FrameId(id.parse().unwrap()), ranges);
                }
                ["retiring", id] => {
                    let id = FrameId(id.parse().unwrap());
                    maybe.insert(id, live.remove(&id).unwrap_or_default());
                }
                ["committed", end] => committed = committed.max(end.parse().unwrap()),
                _ => {}
            }
        }
        let (store, recovered, metrics) = open_as(dir.path(), 256 << 20, true);
        let found: BTreeMap<_, _> =
            run(drain(&store)).into_iter().map(|(id, batch)| (id, batch.cover.ranges())).collect();
        for (id, ranges) in &live {
            assert_eq!(found.get(id), Some(ranges), "round {round}: frame {id:?} was acknowledged");
        }
        let have = recovered.positions.get(&key(1)).cloned().unwrap_or_default();
        assert!(
            appended.as_slice().iter().all(|range| have.covers(*range)),
            "round {round}: {have} lacks of {appended}"
        );
        assert!(recovered.positions.get(&key(2)).map_or(0, Ranges::end) >= committed);
        assert_eq!((corrupt(&metrics), metrics.gaps.get()), (0, 0), "a crash is not damage");
        assert!(!quarantined(dir.path()).iter().any(|name| name.starts_with("index") || name.starts_with("cursor")));
        store.close();
        // What was written but not said any more, and what was retired and forgotten.
        live = found;
        maybe.retain(|id, _| live.contains_key(id));
        appended = have;
    }
    assert!(!appended.is_empty(), "the children did something");
}

/// The sender must not send anything before what the spool holds, even when the first checkpoint of a life fails.
#[test]
fn what_is_in_the_spool_is_known_before_anything_can_be_saved() {
    let scratch = scratch();
    let dir = scratch.path().join("state");
    let disk = fault::faulty::Disk::new(&dir, 1);
    fault::faulty::adopt(Some(disk.clone()));
    let (store, ..) = open(&dir);
    run(store.append(&batch_at(1, 0, 3, 10))).unwrap();
    disk.die();
    store.crash();
    disk.revive();
    disk.fail_syncs(u32::MAX);
    let (store, recovered, _) = open(&dir);
    assert_eq!((recovered.frames, store.usage().frames, store.usage().lines), (1, 1, 3));
    assert!(run(store.sync()).is_err(), "the disk does fail");
    disk.die();
    store.crash();
    fault::faulty::adopt(None);
}
