//! Rotated files that cannot be had when they are looked for, or not under the name they had.

use super::losses::{gaps, without_gaps};
use super::*;
use crate::collector::input::CLOSED;
use crate::limits::{OPEN_GENERATIONS, READ_PATIENCE};
use std::os::unix::fs::MetadataExt as _;

fn inode(path: &Path) -> u64 {
    fs::metadata(path).unwrap().ino()
}

fn halve(path: &Path) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(file.metadata().unwrap().len() / 2).unwrap();
}

/// Of each item, what it is and, of a line, of which file.
fn order(got: &[Got], texts: &[&[u8]]) -> Vec<usize> {
    let number = |got: &Got| match got {
        Got::Line { generation, .. } => texts.iter().position(|text| generation_of(text) == *generation),
        Got::Gap(..) => Some(usize::MAX),
        Got::End(_) => None,
    };
    let mut order: Vec<_> = got.iter().filter_map(number).collect();
    order.dedup();
    order
}

#[tokio::test]
async fn the_gap_of_a_damaged_archive_stands_where_its_lines_would() {
    let dir = TempDir::new().unwrap();
    let log = log_of(dir.path());
    // The first line of the damaged one is long enough that the beginning cannot be read.
    let damaged: Vec<u8> = (0..100_000u32).flat_map(|i| i.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let damaged: Vec<u8> = damaged.into_iter().map(|byte| if byte == b'\n' { b' ' } else { byte }).collect();
    let texts = [numbered(0, 100), numbered(100, 10), numbered(200, 10)];
    append(&sibling(&log, ".3"), &texts[0]);
    append(&sibling(&log, ".2"), &damaged);
    append(&sibling(&log, ".1"), &texts[1]);
    append(&log, &texts[2]);
    gzip(&sibling(&log, ".2"));
    halve(&sibling(&log, ".2.gz"));
    let texts: Vec<&[u8]> = texts.iter().map(Vec::as_slice).collect();
    let first = texts[0].split_inclusive(|byte| *byte == b'\n').next().unwrap().len();
    for known in [format!("0-{first}"), format!("0-{}", texts[0].len())] {
        let mut rig = Rig::start(dir.path(), positions([(texts[0], &known)]));
        rig.lines_come(20).await;
        let got = rig.stop().await;
        let [(reason, None)] = gaps(&got)[..] else { panic!("{:?}", gaps(&got)) };
        assert!(reason.contains("damaged"), "{reason}");
        let order = order(&got, &texts);
        assert!(order.ends_with(&[usize::MAX, 1, 2]), "{order:?}");
    }
    // Where something newer was delivered, this was delivered or reported.
    let rig = Rig::start(dir.path(), positions([(texts[1], &format!("0-{}", texts[1].len()))]));
    let got = rig.stop().await;
    assert_eq!(gaps(&got), []);
    assert_eq!(order(&got, &texts), [0, 2]);
}

#[tokio::test]
async fn newer_files_wait_for_one_that_cannot_be_opened() {
    let dir = TempDir::new().unwrap();
    let log = log_of(dir.path());
    let texts = [numbered(0, 10), numbered(10, 10), numbered(20, 10)];
    append(&sibling(&log, ".2"), &texts[0]);
    append(&sibling(&log, ".1"), &texts[1]);
    append(&log, &texts[2]);
    CLOSED.set(Some(inode(&sibling(&log, ".1"))));
    let mut rig = Rig::start(dir.path(), Positions::default());
    rig.lines_come(10).await;
    tokio::time::sleep(READ_PATIENCE / 4).await;
    assert_eq!(rig.metrics.lines_read.get(), 10);
    CLOSED.set(None);
    rig.lines_come(30).await;
    let all: Vec<&[u8]> = texts.iter().map(Vec::as_slice).collect();
    check(&rig.stop().await, &all_of(&all));
    // For good: it is said, and the newer ones come.
    CLOSED.set(Some(inode(&sibling(&log, ".1"))));
    let mut rig = Rig::start(dir.path(), Positions::default());
    rig.lines_come(20).await;
    let got = rig.stop().await;
    assert_eq!(gaps(&got), [("a rotated log file cannot be read; its lines are lost", None)]);
    assert_eq!(order(&got, &all), [0, usize::MAX, 2]);
    // Not again, nor with a delay, where something newer was delivered.
    let mut rig = Rig::start(dir.path(), positions([(&texts[2], &format!("0-{}", texts[2].len()))]));
    rig.lines_come(10).await;
    assert_eq!(gaps(&rig.stop().await), []);
    CLOSED.set(None);
}

/// Docker deletes it, and the file system gives its inode to the next one.
#[tokio::test]
async fn what_could_not_be_opened_is_not_taken_for_a_newer_file() {
    let dir = TempDir::new().unwrap();
    let log = log_of(dir.path());
    let texts = [numbered(0, 10), numbered(10, 10), numbered(20, 10)];
    let (first, aside) = (sibling(&log, ".1"), dir.path().join("aside"));
    append(&first, &texts[0]);
    append(&log, &texts[1]);
    CLOSED.set(Some(inode(&first)));
    let mut rig = Rig::start(dir.path(), Positions::default());
    tokio::time::sleep(Duration::from_millis(50)).await;
    CLOSED.set(None);
    fs::rename(&first, &aside).unwrap();
    fs::rename(&log, &first).unwrap();
    fs::write(&aside, &texts[2]).unwrap();
    fs::rename(&aside, &log).unwrap();
    rig.lines_come(20).await;
    let got = rig.stop().await;
    assert_eq!(gaps(&got), [("a rotated log file cannot be read; its lines are lost", None)]);
    check(&got[1..], &all_of(&[&texts[1], &texts[2]]));
}

/// It is older than what is being read, so that it was read when its turn was, or reported; whatever keeps it from being known again.
#[tokio::test]
async fn what_was_read_long_ago_need_not_be_opened_again() {
    let dir = TempDir::new().unwrap();
    let log = log_of(dir.path());
    let texts = [numbered(0, 10), numbered(10, 10), numbered(20, 10), numbered(30, 10)];
    append(&log, &texts[0]);
    let mut rig = Rig::start(dir.path(), Positions::default());
    rig.lines_come(10).await;
    rotate(&log, 4);
    append(&log, &texts[1]);
    rig.lines_come(20).await;
    CLOSED.set(Some(inode(&sibling(&log, ".1"))));
    let begun = Instant::now();
    rotate(&log, 4);
    append(&log, &texts[2]);
    rig.lines_come(30).await;
    assert!(begun.elapsed() < READ_PATIENCE, "{:?}", begun.elapsed());
    // Two rotations at once, and as an archive, which is another file.
    gzip(&sibling(&log, ".2"));
    CLOSED.set(Some(inode(&sibling(&log, ".2.gz"))));
    fs::rename(sibling(&log, ".2.gz"), sibling(&log, ".4.gz")).unwrap();
    rotate(&log, 4);
    append(&log, &texts[3]);
    rotate(&log, 4);
    append(&log, b"last\n");
    rig.lines_come(41).await;
    let got = rig.stop().await;
    CLOSED.set(None);
    let all: Vec<&[u8]> = texts.iter().map(Vec::as_slice).chain([&b"last\n"[..]]).collect();
    check(&got, &all_of(&all));
}

#[tokio::test]
async fn a_file_that_turns_up_behind_the_live_log_does_not_stop_it() {
    let dir = TempDir::new().unwrap();
    let log = log_of(dir.path());
    append(&log, b"0\n");
    let mut rig = Rig::start(dir.path(), Positions::default());
    rig.lines_come(1).await;
    append(&sibling(&log, ".1"), b"late\n");
    // A directory event and a clock's tick make it look again.
    CLOSED.set(Some(inode(&log)));
    append(&sibling(&log, ".2"), b"later\n");
    tokio::time::sleep(Duration::from_millis(400)).await;
    CLOSED.set(None);
    append(&log, b"1\n");
    rig.lines_come(2).await;
    rotate(&log, 5);
    append(&log, b"2\n");
    rig.lines_come(5).await;
    let got = rig.stop().await;
    let mut texts: Vec<&[u8]> = got
        .iter()
        .filter_map(|got| match got {
            Got::Line { text, .. } => Some(text.as_slice()),
            _ => None,
        })
        .collect();
    assert_eq!(texts[..2], [b"0\n", b"1\n"]);
    texts.sort_unstable();
    assert_eq!(texts, [b"0\n".as_slice(), b"1\n", b"2\n", b"late\n", b"later\n"]);
}

#[tokio::test]
async fn what_was_compressed_makes_room_by_its_archive() {
    let dir = TempDir::new().unwrap();
    let log = log_of(dir.path());
    let texts: Vec<_> = (0..OPEN_GENERATIONS + 3).map(|i| numbered(i * 2000, 2000)).collect();
    append(&log, &texts[0]);
    let mut rig = Rig::with_queue(dir.path(), Positions::default(), 100_000, 1000);
    for (i, text) in texts.iter().enumerate().skip(1) {
        while rig.metrics.open_files.get() < (i as i64).min(OPEN_GENERATIONS as i64) {
            tokio::task::yield_now().await;
        }
        for n in (1..=i).rev() {
            let _ = fs::rename(sibling(&log, &format!(".{n}.gz")), sibling(&log, &format!(".{}.gz", n + 1)));
        }
        rotate(&log, 2);
        append(&log, text);
        gzip(&sibling(&log, ".1"));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!((rig.metrics.unlinked_files.get(), rig.metrics.unlinked_bytes.get()), (0, 0));
    rig.lines_come(texts.len() * 2000).await;
    let got = rig.stop().await;
    assert_eq!(gaps(&got), []);
    let texts: Vec<&[u8]> = texts.iter().map(Vec::as_slice).collect();
    check(&got, &all_of(&texts));
}

#[tokio::test]
async fn a_log_that_lost_its_end_and_grew_again_has_a_gap() {
    let dir = TempDir::new().unwrap();
    let log = log_of(dir.path());
    let first = b"first line, as it was\n";
    let read = [first.as_slice(), b"read and lost\n"].concat();
    let now = [first.as_slice(), b"another, which is longer\n", b"and one more\n"].concat();
    append(&log, &now);
    let known = format!("0-{}", read.len());
    let mut rig = Rig::start(dir.path(), positions([(&now, &known)]));
    rig.lines_come(2).await;
    let got = rig.stop().await;
    let [(reason, None)] = gaps(&got)[..] else { panic!("{got:?}") };
    assert!(reason.contains("grown again"), "{reason}");
    // Nor is the middle of a run of NUL bytes, which is read in pieces.
    let nuls = [b"first\n".to_vec(), vec![0; 5000], b"last\n".to_vec()].concat();
    fs::write(&log, &nuls).unwrap();
    let rig = Rig::start(dir.path(), positions([(&nuls, "0-3000")]));
    assert_eq!(gaps(&rig.stop().await), []);
    fs::write(&log, &now).unwrap();
    // What a line ends at is no sign of that; nor is the end of a file.
    for known in [first.len(), now.len()] {
        let known = format!("0-{known}");
        let rig = Rig::start(dir.path(), positions([(&now, &known)]));
        let got = rig.stop().await;
        assert_eq!(without_gaps(&got), got);
    }
}

/// Where a line without end was cut, and behind what the daemon left when it was stopped in a line.
#[tokio::test]
async fn a_position_in_a_damaged_line_is_no_sign_of_a_lost_end() {
    let dir = TempDir::new().unwrap();
    let log = log_of(dir.path());
    let endless = [b"first\n".to_vec(), vec![b'x'; 700 << 10], b"\n".to_vec()].concat();
    let torn = b"{\"log\":\"torn in the mid";
    let (behind, last) = (endless.len() + torn.len(), numbered(0, 1));
    let text = [&endless[..], torn, &last, &last].concat();
    append(&log, &text);
    let starts = |got: &[Got]| -> Vec<u64> {
        got.iter().filter_map(|got| if let Got::Line { at, .. } = got { Some(*at) } else { None }).collect()
    };
    let all = starts(&Rig::start(dir.path(), Positions::default()).stop().await);
    assert_eq!(all.len(), 6, "three pieces of the one without end");
    let mut ends = all[1..].to_vec();
    ends.insert(4, behind as u64);
    for at in ends {
        let got = Rig::start(dir.path(), positions([(&text, &format!("0-{at}"))])).stop().await;
        assert_eq!(gaps(&got), [], "{at}");
        let rest: Vec<_> = [at].into_iter().chain(all.iter().copied().filter(|start| *start > at)).collect();
        assert_eq!(starts(&got), rest);
    }
    // Anywhere else in such lines it is.
    for at in [all[2] - 1, all[2] + 1, all[2] + 64, behind as u64 - 1, behind as u64 + 1] {
        let got = Rig::start(dir.path(), positions([(&text, &format!("0-{at}"))])).stop().await;
        assert_eq!(gaps(&got).len(), 1, "{at}");
    }
}

#[tokio::test]
async fn a_gap_is_said_at_a_stop_unless_the_next_process_finds_it() {
    let dir = TempDir::new().unwrap();
    let log = log_of(dir.path());
    append(&sibling(&log, ".1"), b"0\n");
    append(&log, b"1\n");
    let mut rig = Rig::start(dir.path(), Positions::default());
    rig.lines_come(2).await;
    fs::remove_file(sibling(&log, ".1")).unwrap();
    fs::rename(&log, dir.path().join("away")).unwrap();
    append(&sibling(&log, ".1"), b"");
    append(&log, b"never seen");
    fs::remove_file(&log).unwrap();
    append(&log, b"");
    rig.end_comes(generation_of(b"1\n")).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    let got = rig.stop().await;
    let [(reason, None)] = gaps(&got)[..] else { panic!("{got:?}") };
    assert!(reason.contains("faster than it was read"), "{reason}");
    // Nothing known is there any more, and nothing new to say it before: it waits.
    let rig = Rig::start(dir.path(), positions([(b"1\n", "0-2")]));
    assert_eq!(rig.stop().await, []);
    append(&log, b"2\n");
    let rig = Rig::start(dir.path(), positions([(b"1\n", "0-2")]));
    let got = rig.stop().await;
    assert!(matches!(&got[0], Got::Gap(reason, None) if reason.contains("rotated away")), "{got:?}");
}
