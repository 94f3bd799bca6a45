//! The real tailer on real files, real inotify and the real queue. The runtime has one thread, so that nothing is read while
//! a test works on the files; what it does without waiting in between happens "at once" for the tailer.

mod losses;
mod model;
mod siblings;

use super::*;
use crate::buffer::queue::{Receiver, queue};
use crate::limits::READ_BYTES;
use crate::position::{Generation, Range, Ranges};
use crate::source::SourceKey;
use std::fs::{self, File, OpenOptions};
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time::timeout;

const DEADLINE: Duration = Duration::from_secs(10);
const ID: &str = "c0ffee";

/// What came through the queue, line by line.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Got {
    Line { generation: Generation, at: u64, text: Vec<u8> },
    End(Generation),
    Gap(String, Option<u64>),
}

/// A tailer at work on a directory.
struct Rig {
    log: PathBuf,
    metrics: Metrics,
    stop: watch::Sender<bool>,
    queue: Receiver,
    tail: JoinHandle<(Ended, Done)>,
    got: Vec<Got>,
}

impl Rig {
    fn start(dir: &Path, positions: Positions) -> Self {
        Self::with_queue(dir, positions, 100_000, 1 << 20)
    }

    fn with_queue(dir: &Path, positions: Positions, lines: usize, bytes: usize) -> Self {
        let (sender, queue) = queue(lines, bytes);
        let (stop, stopping) = watch::channel(false);
        let (metrics, watcher) = (Metrics::new(), Watcher::start().unwrap());
        let log = log_of(dir);
        let (done, dir) = (Done::new(), dir.into());
        let tail = follow(container(), dir, log.clone(), positions, done, watcher, sender, metrics.clone(), stopping);
        Self { log, metrics, stop, queue, tail: tokio::spawn(tail), got: Vec::new() }
    }

    /// Takes one item, and checks what holds of every one.
    async fn receive(&mut self) -> bool {
        let Some(item) = timeout(DEADLINE, self.queue.recv()).await.expect("nothing came") else { return false };
        match item {
            Item::Chunk(chunk) => {
                let Offsets::File(mut at) = chunk.offsets else { panic!("{chunk:?}") };
                let mut lines = 0;
                for line in chunk.data.split_inclusive(|byte| *byte == b'\n') {
                    let generation = chunk.source.generation;
                    self.got.push(Got::Line { generation, at, text: line.to_vec() });
                    at += line.len() as u64;
                    lines += 1;
                }
                assert_eq!(lines, chunk.lines);
                assert!(lines > 0);
            }
            Item::End(source) => self.got.push(Got::End(source.generation)),
            Item::Over(over) => assert_eq!(over.id, ID),
            Item::Gap(gap) => self.got.push(Got::Gap(gap.reason, gap.bytes)),
        }
        true
    }

    fn lines(&self) -> usize {
        self.got.iter().filter(|got| matches!(got, Got::Line { .. })).count()
    }

    /// Lines and ends.
    fn items(&self) -> usize {
        self.got.iter().filter(|got| !matches!(got, Got::Gap(..))).count()
    }

    /// Waits until that many lines have come since the start.
    async fn lines_come(&mut self, lines: usize) {
        while self.lines() < lines {
            assert!(self.receive().await, "the tail ended after {} of {lines} lines", self.lines());
        }
    }

    async fn end_comes(&mut self, generation: Generation) {
        while !self.got.contains(&Got::End(generation)) {
            assert!(self.receive().await, "the tail ended");
        }
    }

    /// Takes what is left once the tail has ended by itself.
    async fn ends(mut self) -> (Vec<Got>, Ended) {
        while self.receive().await {}
        let (ended, _) = self.tail.await.unwrap();
        assert_eq!(self.metrics.open_files.get(), 0);
        assert_eq!((self.metrics.unlinked_files.get(), self.metrics.unlinked_bytes.get()), (0, 0));
        assert_eq!(self.metrics.lag_bytes.get(), 0);
        let lines = self.got.iter().filter(|got| matches!(got, Got::Line { .. })).count();
        assert_eq!(self.metrics.lines_read.get(), lines as u64);
        (self.got, ended)
    }

    async fn stop(self) -> Vec<Got> {
        self.stop.send_replace(true);
        let (mut got, ended) = self.ends().await;
        assert_eq!(ended, Ended::Stopped);
        // A live log has no end at a stop; for comparing, it gets one.
        if let Some(Got::Line { generation, .. }) = got.last() {
            got.push(Got::End(*generation));
        }
        got
    }
}

fn container() -> Arc<Container> {
    Arc::new(Container::new(ID, "api"))
}

fn log_of(dir: &Path) -> PathBuf {
    dir.join(format!("{ID}-json.log"))
}

fn sibling(log: &Path, suffix: &str) -> PathBuf {
    let mut path = log.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

fn append(log: &Path, text: &[u8]) {
    OpenOptions::new().append(true).create(true).open(log).unwrap().write_all(text).unwrap();
}

/// `count` lines, numbered from `first` on, of different lengths.
fn numbered(first: usize, count: usize) -> Vec<u8> {
    (first..first + count)
        .flat_map(|i| format!("{{\"log\":\"{i}{}\\n\"}}\n", "x".repeat(i % 239)).into_bytes())
        .collect()
}

/// As Docker does with `max-file` of at least 2.
fn rotate(log: &Path, max_file: usize) {
    for n in (1..max_file - 1).rev() {
        let _ = fs::rename(sibling(log, &format!(".{n}")), sibling(log, &format!(".{}", n + 1)));
    }
    fs::rename(log, sibling(log, ".1")).unwrap();
    File::create(log).unwrap();
}

/// As Docker does with `max-file=1`.
fn unlink(log: &Path) {
    fs::remove_file(log).unwrap();
    File::create(log).unwrap();
}

fn gzip(path: &Path) {
    let mut encoder =
        flate2::write::GzEncoder::new(File::create(sibling(path, ".gz")).unwrap(), flate2::Compression::fast());
    encoder.write_all(&fs::read(path).unwrap()).unwrap();
    encoder.finish().unwrap();
    fs::remove_file(path).unwrap();
}

fn generation_of(text: &[u8]) -> Generation {
    let nuls = text.iter().take_while(|byte| **byte == 0).count();
    let head = &text[nuls..];
    super::super::input::generation(&head[..head.len().min(crate::limits::FINGERPRINT_BYTES)], true).unwrap()
}

/// The lines of one generation as they must come, without those in `delivered`.
fn lines_without(text: &[u8], delivered: &Ranges) -> Vec<Got> {
    let mut at = 0;
    let lines = text.split_inclusive(|byte| *byte == b'\n').map(|line| {
        let start = at;
        at += line.len() as u64;
        (start, line)
    });
    lines
        .filter(|(start, line)| !delivered.covers(Range::new(*start, start + line.len() as u64)))
        .map(|(at, line)| Got::Line { generation: generation_of(text), at, text: line.to_vec() })
        .collect()
}

/// All lines of each generation, each followed by its end.
fn all_of(generations: &[&[u8]]) -> Vec<Got> {
    let one = |text: &&[u8]| [lines_without(text, &Ranges::default()), vec![Got::End(generation_of(text))]].concat();
    generations.iter().flat_map(one).collect()
}

#[track_caller]
fn check(got: &[Got], expected: &[Got]) {
    let first = got.iter().zip(expected).position(|(got, expected)| got != expected);
    let at = first.unwrap_or(got.len().min(expected.len()));
    assert!(
        got == expected,
        "{} items instead of {}; at {at}: {:?} instead of {:?}",
        got.len(),
        expected.len(),
        got.get(at),
        expected.get(at),
    );
}

fn positions<const N: usize>(known: [(&[u8], &str); N]) -> Positions {
    known.into_iter().map(|(text, ranges)| (key(generation_of(text)), ranges.parse().unwrap())).collect()
}

fn key(generation: Generation) -> SourceKey {
    SourceKey { container: ID.into(), generation }
}

#[tokio::test]
async fn lines_come_from_the_first_byte_and_as_they_are_written() {
    let dir = TempDir::new().unwrap();
    let log = log_of(dir.path());
    let text = numbered(0, 1000);
    let (before, after) = text.split_at(numbered(0, 400).len());
    append(&log, before);
    let mut rig = Rig::start(dir.path(), Positions::default());
    rig.lines_come(400).await;
    assert_eq!(rig.metrics.open_files.get(), 1);
    append(&log, after);
    rig.lines_come(1000).await;
    check(&rig.stop().await, &all_of(&[&text]));
}

#[tokio::test]
async fn a_log_that_appears_later_is_read_from_its_first_byte() {
    let dir = TempDir::new().unwrap();
    let mut rig = Rig::start(dir.path(), Positions::default());
    while rig.metrics.registry.gather().is_empty() {
        tokio::task::yield_now().await;
    }
    let text = numbered(0, 3);
    append(&rig.log, &text);
    rig.lines_come(3).await;
    assert_eq!(rig.metrics.rotations.get(), 0);
    check(&rig.stop().await, &all_of(&[&text]));
}

#[tokio::test]
async fn an_unfinished_line_waits_for_its_end() {
    let dir = TempDir::new().unwrap();
    let log = log_of(dir.path());
    append(&log, b"first li");
    let mut rig = Rig::start(dir.path(), Positions::default());
    append(&log, b"ne\nsecond\nthi");
    rig.lines_come(2).await;
    append(&log, b"rd");
    append(&log, b"\nfourth");
    rig.lines_come(3).await;
    let got = rig.stop().await;
    check(&got, &all_of(&[b"first line\nsecond\nthird\n"]));
    // And by the next process.
    append(&log, b" line\n");
    let rig = Rig::start(dir.path(), positions([(b"first line\n", "0-24")]));
    check(&rig.stop().await, &all_of(&[b"first line\nsecond\nthird\nfourth line\n"])[3..]);
}

#[tokio::test]
async fn reading_goes_on_where_delivery_had_come_to_and_skips_what_was_delivered_beyond() {
    let dir = TempDir::new().unwrap();
    let text: Vec<u8> = b"0000\n1111\n2222\n3333\n4444\n5555\n6666\n".to_vec();
    append(&log_of(dir.path()), &text);
    for delivered in ["", "0-10", "0-10,15-20,25-30", "5-10", "10-15", "0-35"] {
        let ranges: Ranges = delivered.parse().unwrap();
        let rig = Rig::start(dir.path(), positions([(&text, delivered)]));
        let mut expected = lines_without(&text, &ranges);
        if !expected.is_empty() {
            expected.push(Got::End(generation_of(&text)));
        }
        check(&rig.stop().await, &expected);
    }
}

#[tokio::test]
async fn rotated_files_that_were_there_before_are_read_first_oldest_first() {
    let dir = TempDir::new().unwrap();
    let log = log_of(dir.path());
    let texts: Vec<_> = (0..4).map(|i| numbered(i * 100, 100)).collect();
    for (text, suffix) in texts.iter().zip([".10", ".2", ".1", ""]) {
        append(&sibling(&log, suffix), text);
    }
    gzip(&sibling(&log, ".10"));
    append(&sibling(&log, ".2.gz"), b"an archive in the making");
    let all: Vec<&[u8]> = texts.iter().map(Vec::as_slice).collect();
    let rig = Rig::start(dir.path(), Positions::default());
    check(&rig.stop().await, &all_of(&all));
    // The first is delivered, of the second a part.
    let whole = format!("0-{}", texts[0].len());
    let part = numbered(100, 60).len();
    let known = positions([(&texts[0], &whole), (&texts[1], &format!("0-{part}"))]);
    let rig = Rig::start(dir.path(), known);
    check(&rig.stop().await, &all_of(&all)[100 + 1 + 60..]);
}

#[tokio::test]
async fn an_archive_is_read_on_from_the_middle() {
    let dir = TempDir::new().unwrap();
    let log = log_of(dir.path());
    let (old, new) = (numbered(0, 20_000), numbered(20_000, 1));
    append(&sibling(&log, ".1"), &old);
    gzip(&sibling(&log, ".1"));
    append(&log, &new);
    let part = numbered(0, 15_000).len();
    let rig = Rig::start(dir.path(), positions([(&old, &format!("0-{part}"))]));
    check(&rig.stop().await, &all_of(&[&old, &new])[15_000..]);
}

#[tokio::test]
async fn a_damaged_archive_gives_what_it_has_and_a_gap() {
    let dir = TempDir::new().unwrap();
    let log = log_of(dir.path());
    let (old, new) = (numbered(0, 20_000), numbered(20_000, 1));
    append(&sibling(&log, ".1"), &old);
    gzip(&sibling(&log, ".1"));
    let archive = sibling(&log, ".1.gz");
    let size = fs::metadata(&archive).unwrap().len();
    OpenOptions::new().write(true).open(&archive).unwrap().set_len(size / 2).unwrap();
    append(&sibling(&log, ".2.gz"), b"no archive at all");
    append(&log, &new);
    let mut rig = Rig::start(dir.path(), Positions::default());
    rig.end_comes(generation_of(&old)).await;
    // It is met again under another name, and not reported again.
    fs::rename(sibling(&log, ".2.gz"), sibling(&log, ".3.gz")).unwrap();
    fs::rename(archive, sibling(&log, ".2.gz")).unwrap();
    rotate(&log, 2);
    append(&log, b"next\n");
    rig.end_comes(generation_of(&new)).await;
    let got = rig.stop().await;
    let gaps: Vec<_> = (0..got.len()).filter(|i| matches!(got[*i], Got::Gap(..))).collect();
    let [0, gap] = gaps[..] else { panic!("{gaps:?}") };
    assert!(gap > 1000);
    check(&got[1..gap], &all_of(&[&old])[..gap - 1]);
    check(&got[got.len() - 4..], &all_of(&[&new, b"next\n"]));
}

#[tokio::test]
async fn more_generations_than_may_be_open_are_read_in_turn() {
    let dir = TempDir::new().unwrap();
    let log = log_of(dir.path());
    let texts: Vec<_> = (0..170).map(|i| numbered(i * 10, 10)).collect();
    for (i, text) in texts[..150].iter().enumerate() {
        append(&sibling(&log, &format!(".{}", 150 - i)), text);
    }
    let mut rig = Rig::with_queue(dir.path(), Positions::default(), 10, 1 << 20);
    for (i, text) in texts[150..].iter().enumerate() {
        append(&log, text);
        rig.lines_come(1 + i).await;
        assert!(rig.metrics.open_files.get() <= 64);
        rotate(&log, 250);
    }
    rig.lines_come(1700).await;
    let texts: Vec<&[u8]> = texts.iter().map(Vec::as_slice).collect();
    check(&rig.stop().await, &all_of(&texts));
}

#[tokio::test]
async fn rotation_by_rename_under_a_fast_writer_loses_nothing() {
    const LINES: usize = 50_000;
    let dir = TempDir::new().unwrap();
    let log = log_of(dir.path());
    let mut rig = Rig::start(dir.path(), Positions::default());
    let path = log.clone();
    let writer = std::thread::spawn(move || {
        let mut texts = vec![Vec::new()];
        let mut file = File::create(&path).unwrap();
        for i in 0..LINES {
            if i % (LINES / 11) == LINES / 11 - 1 && texts.len() <= 10 {
                drop(file);
                rotate(&path, 20);
                file = OpenOptions::new().append(true).open(&path).unwrap();
                texts.push(Vec::new());
            }
            let line = numbered(i, 1);
            file.write_all(&line).unwrap();
            texts.last_mut().unwrap().extend(line);
        }
        texts
    });
    rig.lines_come(LINES).await;
    let texts = writer.join().unwrap();
    assert_eq!(texts.len(), 11);
    let texts: Vec<&[u8]> = texts.iter().map(Vec::as_slice).collect();
    let metrics = rig.metrics.clone();
    check(&rig.stop().await, &all_of(&texts));
    assert_eq!(metrics.rotations.get(), 10);
}

#[tokio::test]
async fn what_was_unlinked_is_read_to_its_end_first() {
    let dir = TempDir::new().unwrap();
    let log = log_of(dir.path());
    let mut texts = Vec::new();
    append(&log, b"");
    let mut rig = Rig::start(dir.path(), Positions::default());
    for i in 0..10 {
        let text = numbered(i * 100, 100);
        // The tailer has the file open when it has seen one line of it; the rest is there when it is unlinked.
        let half = numbered(i * 100, 50).len();
        append(&log, &text[..half]);
        rig.lines_come(i * 100 + 1).await;
        append(&log, &text[half..]);
        unlink(&log);
        texts.push(text);
    }
    append(&log, b"last\n");
    rig.lines_come(1001).await;
    texts.push(b"last\n".to_vec());
    let texts: Vec<&[u8]> = texts.iter().map(Vec::as_slice).collect();
    check(&rig.stop().await, &all_of(&texts));
}

#[tokio::test]
async fn several_rotations_at_once_are_read_in_order() {
    for compress in [false, true] {
        let dir = TempDir::new().unwrap();
        let log = log_of(dir.path());
        let texts: Vec<_> = (0..6).map(|i| numbered(i * 100, 100)).collect();
        append(&log, &texts[0][..numbered(0, 50).len()]);
        let mut rig = Rig::start(dir.path(), Positions::default());
        rig.lines_come(50).await;
        append(&log, &texts[0][numbered(0, 50).len()..]);
        for text in &texts[1..] {
            rotate(&log, 10);
            if compress {
                for n in (1..9).rev() {
                    let _ = fs::rename(sibling(&log, &format!(".{n}.gz")), sibling(&log, &format!(".{}.gz", n + 1)));
                }
                gzip(&sibling(&log, ".1"));
            }
            append(&log, text);
        }
        rig.lines_come(600).await;
        let texts: Vec<&[u8]> = texts.iter().map(Vec::as_slice).collect();
        check(&rig.stop().await, &all_of(&texts));
    }
}

/// Nothing is read while the queue is full; but what is unlinked meanwhile was opened.
#[tokio::test]
async fn files_that_come_and_go_while_the_queue_is_full_are_held() {
    let dir = TempDir::new().unwrap();
    let log = log_of(dir.path());
    let mut texts: Vec<_> = (0..8).map(|i| numbered(i * 2000, 2000)).collect();
    append(&log, &texts[0]);
    let rig = Rig::with_queue(dir.path(), Positions::default(), 100_000, 1000);
    let metrics = rig.metrics.clone();
    for (i, text) in texts.iter().enumerate().skip(1) {
        while metrics.open_files.get() < i as i64 {
            tokio::task::yield_now().await;
        }
        unlink(&log);
        append(&log, text);
    }
    while metrics.open_files.get() < texts.len() as i64 {
        tokio::task::yield_now().await;
    }
    let read = metrics.bytes_read.get();
    assert!(read < texts[0].len() as u64, "{read} bytes were read into a full queue");
    // One read has passed into the empty queue, one waits.
    let waiting = texts.iter().map(Vec::len).sum::<usize>() - metrics.lag_bytes.get() as usize;
    assert!((READ_BYTES..=2 * READ_BYTES).contains(&waiting), "{waiting}");
    // And what is written meanwhile is seen, if not at once.
    append(&log, b"more\n");
    texts[7].extend_from_slice(b"more\n");
    let lag = metrics.lag_bytes.get();
    while metrics.lag_bytes.get() == lag {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(metrics.lag_bytes.get(), lag + 5);
    fs::remove_dir_all(dir.path()).unwrap();
    let (got, ended) = rig.ends().await;
    assert_eq!(ended, Ended::Removed);
    let texts: Vec<&[u8]> = texts.iter().map(Vec::as_slice).collect();
    check(&got, &all_of(&texts));
}

#[tokio::test]
async fn a_removed_container_is_read_to_its_end() {
    let dir = TempDir::new().unwrap();
    let inner = dir.path().join(ID);
    fs::create_dir(&inner).unwrap();
    let text = [numbered(0, 5000), b"no end".to_vec()].concat();
    append(&log_of(&inner), &text);
    let mut rig = Rig::with_queue(&inner, Positions::default(), 100, 1 << 20);
    rig.lines_come(1).await;
    fs::remove_dir_all(&inner).unwrap();
    let (got, ended) = rig.ends().await;
    check(&got, &all_of(&[&text]));
    assert_eq!(ended, Ended::Removed);
}

#[tokio::test]
async fn a_container_without_a_log_can_be_removed_too() {
    let dir = TempDir::new().unwrap();
    let inner = dir.path().join(ID);
    for appears_first in [true, false] {
        if appears_first {
            fs::create_dir(&inner).unwrap();
        }
        let rig = Rig::start(&inner, Positions::default());
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
        if appears_first {
            fs::remove_dir(&inner).unwrap();
        }
        let (got, ended) = rig.ends().await;
        assert_eq!((got, ended), (vec![], Ended::Removed));
    }
}

/// The daemon goes on writing to a log that somebody has removed.
#[tokio::test]
async fn an_unlinked_log_is_followed_until_there_is_another() {
    let dir = TempDir::new().unwrap();
    let log = log_of(dir.path());
    let mut file = File::create(&log).unwrap();
    let mut rig = Rig::start(dir.path(), Positions::default());
    file.write_all(b"one\n").unwrap();
    rig.lines_come(1).await;
    fs::remove_file(&log).unwrap();
    for (i, line) in ["two\n", "three\n"].into_iter().enumerate() {
        file.write_all(line.as_bytes()).unwrap();
        rig.lines_come(2 + i).await;
    }
    append(&log, b"four\n");
    rig.lines_come(4).await;
    check(&rig.stop().await, &all_of(&[b"one\ntwo\nthree\n", b"four\n"]));
}

#[tokio::test]
async fn after_truncation_the_file_is_a_new_generation() {
    let dir = TempDir::new().unwrap();
    let log = log_of(dir.path());
    let (old, new) = (numbered(0, 100), numbered(100, 10));
    append(&log, &old);
    let mut rig = Rig::start(dir.path(), Positions::default());
    rig.lines_come(100).await;
    fs::write(&log, &new).unwrap();
    rig.lines_come(110).await;
    let got = rig.stop().await;
    let gaps: Vec<_> = got.iter().filter(|got| matches!(got, Got::Gap(..))).collect();
    assert_eq!(gaps.len(), 1, "nobody can know whether something is missing");
    let got: Vec<_> = got.iter().filter(|got| !matches!(got, Got::Gap(..))).cloned().collect();
    check(&got, &all_of(&[&old, &new]));
}

/// What logrotate's `copytruncate` does: nothing is missing if the copy is found.
#[tokio::test]
async fn what_was_truncated_before_it_was_read_is_read_in_its_copy() {
    let dir = TempDir::new().unwrap();
    let log = log_of(dir.path());
    let (old, new) = (numbered(0, 100), numbered(100, 10));
    append(&log, &old[..numbered(0, 60).len() + 5]);
    let mut rig = Rig::start(dir.path(), Positions::default());
    rig.lines_come(60).await;
    append(&log, &old[numbered(0, 60).len() + 5..]);
    fs::copy(&log, sibling(&log, ".1")).unwrap();
    fs::write(&log, &new).unwrap();
    rig.lines_come(110).await;
    check(&rig.stop().await, &all_of(&[&old, &new]));
}

#[tokio::test]
async fn a_line_without_end_is_cut_and_the_next_is_whole() {
    let dir = TempDir::new().unwrap();
    let log = log_of(dir.path());
    let cut = crate::limits::MAX_ENVELOPE_BYTES;
    let mut rig = Rig::start(dir.path(), Positions::default());
    append(&log, b"before\n");
    append(&log, &vec![b'x'; 300 << 10]);
    rig.lines_come(2).await;
    append(&log, b"\nafter\n");
    rig.lines_come(4).await;
    let expected: Vec<_> = [
        (0, b"before\n".to_vec()),
        (7, vec![b'x'; cut]),
        (7 + cut as u64, [vec![b'x'; (300 << 10) - cut], b"\n".to_vec()].concat()),
        (7 + (300 << 10) + 1, b"after\n".to_vec()),
    ]
    .map(|(at, text)| Got::Line { generation: generation_of(b"before\n"), at, text })
    .into();
    let got = rig.stop().await;
    check(&got[..4], &expected);
    // The next process cuts at the same place.
    let rig = Rig::start(dir.path(), positions([(b"before\n", "0-7")]));
    check(&rig.stop().await[..3], &expected[1..]);
}

#[tokio::test]
async fn a_container_of_which_every_known_file_is_gone_has_a_gap_before_its_first_line() {
    let dir = TempDir::new().unwrap();
    let (gone, old, new) = (numbered(0, 10), numbered(100, 10), numbered(200, 10));
    append(&sibling(&log_of(dir.path()), ".1"), &old);
    append(&log_of(dir.path()), &new);
    let got = Rig::start(dir.path(), positions([(&gone, "0-10")])).stop().await;
    assert!(matches!(&got[0], Got::Gap(reason, _) if reason.contains("may be missing")), "{:?}", got[0]);
    check(&got[1..], &all_of(&[&old, &new]));
    // But none when one of them is known.
    let known = positions([(&gone, "0-10"), (&old, &format!("0-{}", old.len()))]);
    check(&Rig::start(dir.path(), known).stop().await, &all_of(&[&new]));
}

#[tokio::test]
async fn a_chain_that_has_lost_its_beginning_has_a_gap() {
    let dir = TempDir::new().unwrap();
    let log = log_of(dir.path());
    append(&log, b"0\n");
    let mut rig = Rig::start(dir.path(), Positions::default());
    rig.lines_come(1).await;
    for text in [b"lost\n".as_slice(), b"1\n", b"2\n", b"3\n"] {
        rotate(&log, 3);
        append(&log, text);
    }
    rig.lines_come(4).await;
    // As many as are kept, the rest of the last one read and the first of them included: nothing is missing.
    append(&log, b"end of 3\n");
    for text in [b"4\n", b"5\n", b"6\n"] {
        rotate(&log, 3);
        append(&log, text);
    }
    rig.lines_come(8).await;
    let got = rig.stop().await;
    check(
        &[&got[..2], &got[3..]].concat(),
        &all_of(&[b"0\n", b"1\n", b"2\n", b"3\nend of 3\n", b"4\n", b"5\n", b"6\n"]),
    );
    assert!(matches!(&got[2], Got::Gap(..)), "{:?}", got[2]);
}

#[tokio::test]
async fn without_inotify_the_files_are_looked_at_by_the_clock() {
    let dir = TempDir::new().unwrap();
    let log = log_of(dir.path());
    let (sender, queue) = queue(100, 1000);
    let (stop, stopping) = watch::channel(false);
    let metrics = Metrics::new();
    let tail = follow(
        container(),
        dir.path().into(),
        log.clone(),
        Positions::default(),
        Done::new(),
        Watcher::none(),
        sender,
        metrics.clone(),
        stopping,
    );
    let mut rig = Rig { log, metrics, stop, queue, tail: tokio::spawn(tail), got: Vec::new() };
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    append(&rig.log, b"one\n");
    rig.lines_come(1).await;
    rotate(&rig.log, 2);
    append(&rig.log, b"two\n");
    rig.lines_come(2).await;
    check(&rig.stop().await, &all_of(&[b"one\n", b"two\n"]));
}

#[tokio::test]
async fn a_stop_is_not_the_end_of_a_live_log() {
    let dir = TempDir::new().unwrap();
    let log = log_of(dir.path());
    append(&log, &numbered(0, 3));
    let mut rig = Rig::start(dir.path(), Positions::default());
    rig.lines_come(3).await;
    rig.stop.send_replace(true);
    let (got, ended) = rig.ends().await;
    assert_eq!(ended, Ended::Stopped);
    check(&got, &lines_without(&numbered(0, 3), &Ranges::default()));
}
