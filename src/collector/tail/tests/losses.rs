//! What is gone and what cannot be read: reported once, with what is known, and only then.

use super::*;
use crate::collector::input::BROKEN;
use crate::limits::{MAX_ENVELOPE_BYTES, OPEN_GENERATIONS};
use proptest::prelude::*;
use std::os::unix::fs::MetadataExt as _;

pub fn gaps(got: &[Got]) -> Vec<(&str, Option<u64>)> {
    let gaps = got.iter().filter_map(|got| match got {
        Got::Gap(reason, bytes) => Some((reason.as_str(), *bytes)),
        _ => None,
    });
    gaps.collect()
}

fn reason(got: &Got) -> Option<&str> {
    match got {
        Got::Gap(reason, _) => Some(reason),
        _ => None,
    }
}

pub fn without_gaps(got: &[Got]) -> Vec<Got> {
    got.iter().filter(|got| reason(got).is_none()).cloned().collect()
}

#[tokio::test]
async fn files_that_came_and_went_between_two_looks_are_a_gap() {
    let dir = TempDir::new().unwrap();
    let log = log_of(dir.path());
    append(&log, b"0\n");
    let mut rig = Rig::start(dir.path(), Positions::default());
    rig.lines_come(1).await;
    for text in [b"1\n", b"2\n", b"3\n"] {
        unlink(&log);
        append(&log, text);
    }
    rig.lines_come(2).await;
    unlink(&log);
    append(&log, b"4\n");
    rig.lines_come(3).await;
    let got = rig.stop().await;
    check(&without_gaps(&got), &all_of(&[b"0\n", b"3\n", b"4\n"]));
    let [(reason, None)] = gaps(&got)[..] else { panic!("{got:?}") };
    assert!(reason.contains("re-created 3 times"), "{reason}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20))]

    /// Rotations in bursts of any length: a gap stands where lines are missing, and there is none when none are.
    #[test]
    fn a_gap_stands_where_files_were_not_seen_and_nowhere_else(
        max_file in 1..5usize,
        bursts in prop::collection::vec((1..7usize, 0..3u64, prop::bool::weighted(0.3)), 1..12),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let dir = TempDir::new().unwrap();
            let log = log_of(dir.path());
            append(&log, b"0\n");
            let mut rig = Rig::start(dir.path(), Positions::default());
            rig.lines_come(1).await;
            tokio::time::sleep(Duration::from_millis(20)).await;
            let (mut next, last) = (1, |rig: &Rig| rig.got.iter().rev().find_map(number));
            for (rotations, pause, catch_up) in bursts {
                for _ in 0..rotations {
                    match max_file {
                        1 => unlink(&log),
                        _ => rotate(&log, max_file),
                    }
                    append(&log, format!("{next}\n").as_bytes());
                    next += 1;
                }
                tokio::time::sleep(Duration::from_millis(pause)).await;
                while catch_up && last(&rig) != Some(next - 1) {
                    rig.receive().await;
                }
            }
            while last(&rig) != Some(next - 1) {
                rig.receive().await;
            }
            let got = rig.stop().await;
            let (mut expected, mut gap, mut missing) = (0, false, false);
            for got in &got {
                gap |= matches!(got, Got::Gap(..));
                let Some(line) = number(got) else { continue };
                assert!(gap || line == expected, "{line} instead of {expected}");
                missing |= line != expected;
                (expected, gap) = (line + 1, false);
            }
            assert!(missing || gaps(&got).is_empty(), "{:?}", gaps(&got));
        });
    }
}

/// The number that a line is.
fn number(got: &Got) -> Option<usize> {
    let Got::Line { text, .. } = got else { return None };
    std::str::from_utf8(text).unwrap().trim().parse().ok()
}

/// Somebody has put a file beside the log that looks like one of its rotated siblings.
#[tokio::test]
async fn a_file_that_no_rotation_has_left_hides_nothing_and_is_no_gap() {
    for suffix in [".1", ".2", ".7", ".7.gz"] {
        let dir = TempDir::new().unwrap();
        let log = log_of(dir.path());
        let stray = sibling(&log, suffix.strip_suffix(".gz").unwrap_or(suffix));
        append(&stray, b"stray\n");
        if suffix.ends_with(".gz") {
            gzip(&stray);
        }
        append(&log, b"0\n");
        let mut rig = Rig::start(dir.path(), Positions::default());
        rig.lines_come(2).await;
        for i in 1..5 {
            unlink(&log);
            append(&log, format!("{i}\n").as_bytes());
            rig.lines_come(2 + i).await;
            tokio::time::sleep(Duration::from_millis(10)).await;
            assert_eq!(gaps(&rig.got), [], "{suffix}");
        }
        for i in 5..8 {
            unlink(&log);
            append(&log, format!("{i}\n").as_bytes());
        }
        rig.lines_come(7).await;
        let got = rig.stop().await;
        let [(reason, None)] = gaps(&got)[..] else { panic!("{suffix}: {got:?}") };
        assert!(reason.contains("re-created 3 times"), "{reason}");
        // Nor does it stand for what was rotated away while nobody was there, if the numbers say so.
        let known = positions([(b"stray\n", "0-6"), (b"7\n", "0-2")]);
        unlink(&log);
        append(&log, b"8\n");
        let got = Rig::start(dir.path(), known).stop().await;
        assert_eq!(gaps(&got).len(), usize::from(suffix.starts_with(".7")), "{suffix}: {got:?}");
    }
}

/// The tail looks again because the queue has room, before the events of the directory have been read.
#[tokio::test]
async fn a_gap_stands_before_what_was_found_with_it() {
    let dir = TempDir::new().unwrap();
    let log = log_of(dir.path());
    append(&log, b"0\n");
    let mut rig = Rig::with_queue(dir.path(), Positions::default(), 2, 1 << 20);
    rig.lines_come(1).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    // The tail is blocked: the queue is full.
    append(&log, b"1\n2\n");
    tokio::time::sleep(Duration::from_millis(50)).await;
    append(&log, b"3\n");
    tokio::time::sleep(Duration::from_millis(50)).await;
    for text in [b"4\n", b"5\n", b"6\n"] {
        unlink(&log);
        append(&log, text);
    }
    rig.lines_come(5).await;
    append(&log, b"7\n");
    rig.lines_come(6).await;
    let got = rig.stop().await;
    check(&without_gaps(&got), &all_of(&[b"0\n1\n2\n3\n", b"6\n7\n"]));
    let gap = got.iter().position(|got| reason(got).is_some()).expect("a gap");
    assert!(matches!(&got[gap + 1], Got::Line { text, .. } if text == b"6\n"), "{got:?}");
}

#[tokio::test]
async fn a_rotation_that_was_seen_is_no_gap() {
    let dir = TempDir::new().unwrap();
    let log = log_of(dir.path());
    let mut rig = Rig::start(dir.path(), Positions::default());
    for _ in 0..3 {
        tokio::task::yield_now().await;
    }
    let texts: Vec<_> = (0..100).map(|i| numbered(i, 1)).collect();
    for (i, text) in texts.iter().enumerate() {
        match i {
            0 => {}
            _ if i % 3 == 0 => fs::remove_file(&log).unwrap(),
            _ => unlink(&log),
        }
        if i % 7 == 0 {
            // Created empty, and seen so.
            append(&log, b"");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        append(&log, text);
        rig.lines_come(i + 1).await;
    }
    let texts: Vec<&[u8]> = texts.iter().map(Vec::as_slice).collect();
    check(&rig.stop().await, &all_of(&texts));
}

#[tokio::test]
async fn deleted_files_beyond_the_bound_are_given_up_with_their_size() {
    let dir = TempDir::new().unwrap();
    let log = log_of(dir.path());
    let texts: Vec<_> = (0..OPEN_GENERATIONS + 4).map(|i| numbered(i * 2000, 2000)).collect();
    append(&log, &texts[0]);
    let rig = Rig::with_queue(dir.path(), Positions::default(), 100_000, 1000);
    let metrics = rig.metrics.clone();
    let live = || fs::metadata(&log).unwrap().ino();
    for (i, text) in texts.iter().enumerate().skip(1) {
        while metrics.open_files.get() < (i as i64).min(OPEN_GENERATIONS as i64) {
            tokio::task::yield_now().await;
        }
        if i > OPEN_GENERATIONS {
            // Until the newest is open, too: its inode has a watch.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let before = live();
        unlink(&log);
        append(&log, text);
        assert_ne!(live(), before, "it is held open");
    }
    while metrics.unlinked_files.get() < OPEN_GENERATIONS as i64 - 1 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(metrics.open_files.get(), OPEN_GENERATIONS as i64);
    let kept = &texts[..OPEN_GENERATIONS - 1];
    assert_eq!(metrics.unlinked_bytes.get(), kept.iter().map(Vec::len).sum::<usize>() as i64);
    let got = rig.stop().await;
    let lost: usize = texts[OPEN_GENERATIONS - 1..texts.len() - 1].iter().map(Vec::len).sum();
    let [(_, Some(bytes))] = gaps(&got)[..] else { panic!("{:?}", gaps(&got)) };
    assert_eq!(bytes, lost as u64);
    assert_eq!(metrics.gap_bytes.get(), lost as u64);
    let at = got.iter().position(|got| reason(got).is_some()).unwrap();
    assert!(matches!(&got[at + 1], Got::Line { text, .. } if texts[texts.len() - 1].starts_with(text)));
    let texts: Vec<&[u8]> = kept.iter().chain(texts.last()).map(Vec::as_slice).collect();
    check(&without_gaps(&got), &all_of(&texts));
}

#[tokio::test]
async fn a_file_that_cannot_be_read_is_given_up_after_a_while_if_nobody_writes_to_it() {
    let dir = TempDir::new().unwrap();
    let log = log_of(dir.path());
    let (old, new) = (numbered(0, 10), numbered(10, 10));
    append(&sibling(&log, ".1"), &old);
    append(&log, &new);
    BROKEN.set(Some(fs::metadata(sibling(&log, ".1")).unwrap().ino()));
    let mut rig = Rig::start(dir.path(), Positions::default());
    rig.lines_come(10).await;
    let got = rig.stop().await;
    assert_eq!(gaps(&got), [("a rotated log file cannot be read; its lines are lost", Some(old.len() as u64))]);
    check(&without_gaps(&got), &all_of(&[&new]));
    // At a stop it is left to the next process, and so is what is newer.
    let rig = Rig::start(dir.path(), Positions::default());
    assert_eq!(rig.stop().await, []);
    // The live log is tried for ever.
    BROKEN.set(Some(fs::metadata(&log).unwrap().ino()));
    let mut rig = Rig::start(dir.path(), Positions::default());
    rig.lines_come(10).await;
    tokio::time::sleep(crate::limits::READ_PATIENCE * 2).await;
    append(&log, b"more\n");
    BROKEN.set(None);
    rig.lines_come(21).await;
    let new = [new, b"more\n".to_vec()].concat();
    check(&rig.stop().await, &all_of(&[&old, &new]));
}

#[tokio::test]
async fn of_a_damaged_archive_it_is_said_how_much_is_lost_and_up_to_when() {
    let dir = TempDir::new().unwrap();
    let log = log_of(dir.path());
    let old = numbered(0, 20_000);
    let archive = sibling(&log, ".1.gz");
    let extra = br#"{"lastTime":"2026-11-21T13:00:00.5Z"}"#;
    let file = File::create(&archive).unwrap();
    let mut encoder = flate2::GzBuilder::new().extra(extra.as_slice()).write(file, flate2::Compression::fast());
    encoder.write_all(&old).unwrap();
    encoder.finish().unwrap();
    let mut bytes = fs::read(&archive).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 50].fill(0xff);
    fs::write(&archive, &bytes).unwrap();
    append(&log, b"new\n");
    let (sender, mut queue) = queue(100_000, 100 << 20);
    let (_stop, stopping) = watch::channel(true);
    let (metrics, watcher, done) = (Metrics::new(), Watcher::start().unwrap(), Done::new());
    let (positions, dir) = (Positions::default(), dir.path().into());
    follow(container(), dir, log, positions, done, watcher, sender, metrics.clone(), stopping).await;
    let (mut read, mut gap) = (0, None);
    while let Some(item) = queue.recv().await {
        match item {
            Item::Gap(found) => assert!(gap.replace(found).is_none()),
            Item::Chunk(chunk) if chunk.source.generation == generation_of(&old) => read += chunk.data.len(),
            _ => {}
        }
    }
    let gap = gap.unwrap();
    assert_eq!(gap.to.as_deref(), Some("2026-11-21T13:00:00.5Z"));
    // The unfinished line before the damage was handed out as well.
    assert!(read > 1000);
    assert_eq!(gap.bytes, Some((old.len() - read) as u64));
    assert_eq!(metrics.gap_bytes.get(), (old.len() - read) as u64);
}

/// The daemon crashed while it compressed; then the half archive took the name of the next one.
#[tokio::test]
async fn a_damaged_archive_of_what_was_read_is_no_gap() {
    let dir = TempDir::new().unwrap();
    let log = log_of(dir.path());
    let old = numbered(0, 5000);
    append(&log, &old);
    let mut rig = Rig::start(dir.path(), Positions::default());
    rotate(&log, 3);
    append(&log, b"1\n");
    rig.lines_come(5001).await;
    gzip(&sibling(&log, ".1"));
    fs::rename(sibling(&log, ".1.gz"), sibling(&log, ".2.gz")).unwrap();
    let archive = OpenOptions::new().write(true).open(sibling(&log, ".2.gz")).unwrap();
    archive.set_len(archive.metadata().unwrap().len() / 2).unwrap();
    append(&sibling(&log, ".1.gz.tmp"), b"another in the making");
    rotate(&log, 2);
    append(&log, b"2\n");
    rig.lines_come(5002).await;
    let all = all_of(&[&old, b"1\n", b"2\n"]);
    check(&rig.stop().await, &all);
    // Nor for the next process, which knows that something newer was delivered.
    let whole = format!("0-{}", old.len());
    let rig = Rig::start(dir.path(), positions([(&old, &whole), (b"1\n", "0-2")]));
    check(&rig.stop().await, &all[all.len() - 2..]);
}

#[tokio::test]
async fn a_line_that_inflates_without_end_takes_no_memory() {
    let dir = TempDir::new().unwrap();
    let log = log_of(dir.path());
    let archive = File::create(sibling(&log, ".1.gz")).unwrap();
    let mut encoder = flate2::write::GzEncoder::new(archive, flate2::Compression::fast());
    encoder.write_all(b"first\n").unwrap();
    for _ in 0..16 {
        encoder.write_all(&vec![b'x'; 1 << 20]).unwrap();
    }
    encoder.write_all(b"\nlast\n").unwrap();
    encoder.finish().unwrap();
    append(&log, b"new\n");
    let (sender, mut queue) = queue(100_000, 1 << 20);
    let (_stop, stopping) = watch::channel(true);
    let (metrics, watcher, done) = (Metrics::new(), Watcher::start().unwrap(), Done::new());
    let (positions, dir) = (Positions::default(), dir.path().into());
    let tail = tokio::spawn(follow(container(), dir, log, positions, done, watcher, sender, metrics, stopping));
    let (mut bytes, mut last) = (0, Vec::new());
    while let Some(item) = queue.recv().await {
        let Item::Chunk(chunk) = item else { continue };
        assert!(chunk.data.len() <= MAX_ENVELOPE_BYTES + READ_BYTES);
        bytes += chunk.data.len();
        last = chunk.data.to_vec();
    }
    tail.await.unwrap();
    assert_eq!((bytes, last.as_slice()), (6 + (16 << 20) + 6 + 4, b"new\n".as_slice()));
}

#[tokio::test]
async fn logs_that_begin_with_nul_bytes_are_told_apart() {
    let dir = TempDir::new().unwrap();
    let log = log_of(dir.path());
    let texts: Vec<_> = (0..3).map(|i| [vec![0; 5000], numbered(i * 10, 10)].concat()).collect();
    append(&log, &texts[0]);
    let mut rig = Rig::start(dir.path(), Positions::default());
    rig.lines_come(10).await;
    rotate(&log, 4);
    append(&log, &texts[1][..3000]);
    rig.end_comes(generation_of(&texts[0])).await;
    append(&log, &texts[1][3000..]);
    rig.lines_come(20).await;
    rotate(&log, 4);
    append(&log, &texts[2]);
    rig.lines_come(30).await;
    let all: Vec<&[u8]> = texts.iter().map(Vec::as_slice).collect();
    check(&rig.stop().await, &all_of(&all));
    // And after a restart, in archives.
    gzip(&sibling(&log, ".1"));
    gzip(&sibling(&log, ".2"));
    let whole = format!("0-{}", texts[0].len());
    let rig = Rig::start(dir.path(), positions([(&texts[0], &whole)]));
    check(&rig.stop().await, &all_of(&all)[11..]);
}

/// Nothing that Docker does makes two logs with the same first line but a copy.
#[tokio::test]
async fn a_copy_is_not_read_again_and_what_it_has_beyond_is() {
    let dir = TempDir::new().unwrap();
    let log = log_of(dir.path());
    append(&log, b"0\n1\n");
    let mut rig = Rig::start(dir.path(), Positions::default());
    rig.lines_come(2).await;
    fs::copy(&log, sibling(&log, ".1")).unwrap();
    rotate(&log, 3);
    append(&sibling(&log, ".2"), b"beyond\n");
    append(&log, b"new\n");
    rig.lines_come(3).await;
    rotate(&log, 4);
    append(&log, b"newer\n");
    rig.lines_come(5).await;
    let got = rig.stop().await;
    let texts = got.iter().filter_map(|got| match got {
        Got::Line { text, .. } => Some(text.as_slice()),
        _ => None,
    });
    let mut texts: Vec<_> = texts.collect();
    texts.sort();
    assert_eq!(texts, [b"0\n".as_slice(), b"1\n", b"beyond\n", b"new\n", b"newer\n"]);
}

#[tokio::test]
async fn truncation_says_how_much_was_not_read() {
    let dir = TempDir::new().unwrap();
    let log = log_of(dir.path());
    let old = numbered(0, 5000);
    append(&log, &old);
    let mut rig = Rig::with_queue(dir.path(), Positions::default(), 100_000, 1000);
    while rig.metrics.lag_bytes.get() == 0 {
        tokio::task::yield_now().await;
    }
    fs::write(&log, b"new\n").unwrap();
    while !rig.got.iter().any(|got| matches!(got, Got::Line { text, .. } if text == b"new\n")) {
        rig.receive().await;
    }
    let got = rig.stop().await;
    let read: usize = got.iter().map(|got| if let Got::Line { text, .. } = got { text.len() } else { 0 }).sum();
    let [(reason, Some(bytes))] = gaps(&got)[..] else { panic!("{:?}", gaps(&got)) };
    assert!(reason.contains("truncated"), "{reason}");
    assert_eq!(bytes as usize, old.len() - (read - 4));
}

#[tokio::test]
async fn a_container_that_comes_back_goes_on_where_it_was() {
    let dir = TempDir::new().unwrap();
    let (inner, away) = (dir.path().join(ID), dir.path().join("away"));
    fs::create_dir(&inner).unwrap();
    let log = log_of(&inner);
    append(&sibling(&log, ".1"), b"old\n");
    append(&log, b"0\n");
    let mut rig = Rig::start(&inner, Positions::default());
    rig.lines_come(2).await;
    fs::rename(&inner, &away).unwrap();
    while rig.receive().await {}
    let (ended, done) = rig.tail.await.unwrap();
    assert_eq!(ended, Ended::Removed);
    fs::rename(&away, &inner).unwrap();
    append(&log, b"1\n");
    let (sender, mut queue) = queue(100, 1000);
    let (_stop, stopping) = watch::channel(true);
    let (metrics, watcher, positions) = (Metrics::new(), Watcher::start().unwrap(), Positions::default());
    follow(container(), inner, log, positions, done, watcher, sender, metrics, stopping).await;
    let Some(Item::Chunk(chunk)) = queue.recv().await else { panic!("no chunk") };
    assert_eq!(chunk.data, b"1\n".as_slice());
    assert!(queue.recv().await.is_none());
}
