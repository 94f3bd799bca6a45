//! What was rotated away before anybody could read it is announced by a gap record; nothing else is missing, and where
//! nothing can be missing no gap is reported.
//!
//! The writer knows which line stands in which generation, and when the layout deleted that.

use crate::harness::{Forwarder, PATIENCE, World, wait};
use rask::layout::{Container, Rotation, Spec, Stream};
use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What a writer did: the first line of each generation, and when the generation was begun.
#[derive(Debug, Default)]
struct Written {
    generations: Vec<(u64, Instant)>,
}

impl Written {
    /// When the layout deleted the generation in which `line` stands; `None` if it is still there.
    fn deleted(&self, line: u64, max_file: u32) -> Option<Instant> {
        let generation = self.generations.partition_point(|(first, _)| *first <= line) - 1;
        self.generations.get(generation + max_file as usize).map(|(_, begun)| *begun)
    }
}

/// Writes lines `line <n> …` of some 400 bytes, one every `pace`, and calls `before` ahead of each.
fn write(container: &mut Container, lines: u64, pace: Duration, mut before: impl FnMut(&Written, u64)) -> Written {
    let mut written = Written::default();
    let mut next = Instant::now();
    for line in 0..lines {
        before(&written, line);
        let text = format!("line {line} {}", "x".repeat(250 + (line % 97) as usize));
        container.write_line(Stream::Stdout, text.as_bytes()).expect("written");
        if container.log().rotations() as usize + 1 > written.generations.len() {
            written.generations.push((line, Instant::now()));
        }
        if line % 16 == 15 {
            next += pace * 16;
            std::thread::sleep(next.saturating_duration_since(Instant::now()));
        }
    }
    written
}

/// What came: numbers of lines, and `None` for a gap record.
fn arrivals(world: &World) -> Vec<Option<u64>> {
    let number = |record: rask_record::Record| match record.log_type.as_str() {
        "gap" => None,
        _ => Some(record.message.split(' ').nth(1).and_then(|n| n.parse().ok()).expect("a numbered line")),
    };
    world.receiver.records().into_iter().map(number).collect()
}

/// Every line that is missing is announced by a gap just there, and is passed to `missing`; returns the number behind the last line.
fn check_holes(arrivals: &[Option<u64>], mut missing: impl FnMut(u64)) -> u64 {
    let (mut next, mut gap) = (0, false);
    for arrival in arrivals {
        let Some(line) = *arrival else {
            gap = true;
            continue;
        };
        assert!(line >= next, "line {line} came after {next}");
        assert!(line == next || gap, "lines {next}..{line} are missing in silence");
        (next..line).for_each(&mut missing);
        (next, gap) = (line + 1, false);
    }
    next
}

fn spec(max_file: u32, compress: bool) -> Spec {
    Spec { rotation: Rotation { max_size: Some(1_000_000), max_file, compress }, ..Spec::service("api") }
}

/// Waits until positions are on disk: a checkpoint was begun after something had been acknowledged.
fn remembered(forwarder: &Forwarder) {
    wait("something is delivered", || forwarder.metric("lines_delivered_total") > 0.0);
    let checkpoints = || forwarder.metrics()["spool_sync_seconds_count{kind=\"index\"}"];
    let before = checkpoints();
    wait("checkpoints are made", || checkpoints() > before + 1.0);
}

fn killed_while_the_log_rotates_out(max_file: u32, compress: bool) {
    const LINES: u64 = 16_000;
    let world = World::new();
    let mut container = world.container_as(spec(max_file, compress));
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| write(&mut container, LINES, Duration::from_micros(170), |_, _| ()));
        let mut lives = Vec::new();
        while !writer.is_finished() {
            let forwarder = world.forward("api");
            if lives.is_empty() {
                // Of a container of which no position is on disk nobody can know that anything is missing.
                remembered(&forwarder);
            }
            std::thread::sleep(Duration::from_millis(fastrand::u64(20..400)));
            forwarder.kill();
            lives.push(Instant::now());
        }
        let written = writer.join().expect("no panic");
        let forwarder = world.forward("api");
        wait("the last line comes", || arrivals(&world).last() == Some(&Some(LINES - 1)));
        forwarder.assert_conserved();
        let last_start = *lives.last().expect("some");
        let next = check_holes(&arrivals(&world), |line| {
            let deleted = written.deleted(line, max_file);
            assert!(deleted.is_some_and(|at| at < last_start), "line {line} is there, or was open in the last process");
        });
        assert_eq!(next, LINES);
    });
}

#[test]
fn lines_lost_to_kills_are_announced() {
    for (max_file, compress) in [(3, false), (5, false), (3, true), (5, true)] {
        killed_while_the_log_rotates_out(max_file, compress);
    }
}

/// The layout deletes a generation only once it and the next one have been received.
fn killed_while_nothing_rotates_out(max_file: u32, compress: bool) {
    const LINES: u64 = 16_000;
    let world = World::new();
    let mut container = world.container_as(spec(max_file, compress));
    let received = AtomicU64::new(0);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            write(&mut container, LINES, Duration::from_micros(100), |written, line| {
                // The generation behind the one that the next rotation deletes.
                let kept = written.generations.len().saturating_sub(max_file as usize - 2);
                let need = if kept >= 1 && written.generations.len() >= max_file as usize {
                    written.generations[kept].0
                } else {
                    0
                };
                let since = Instant::now();
                while received.load(Ordering::Relaxed) < need.min(line) {
                    assert!(since.elapsed() < PATIENCE * 3, "nothing comes");
                    std::thread::sleep(Duration::from_millis(2));
                }
            })
        });
        while !writer.is_finished() {
            let forwarder = world.forward("api");
            let until = Instant::now() + Duration::from_millis(fastrand::u64(20..600));
            while Instant::now() < until {
                let lines = world.receiver.totals().records;
                received.store(lines, Ordering::Relaxed);
                std::thread::sleep(Duration::from_millis(2));
            }
            forwarder.kill();
        }
        writer.join().expect("no panic");
        let forwarder = world.forward("api");
        wait("the last line comes", || arrivals(&world).last() == Some(&Some(LINES - 1)));
        forwarder.assert_conserved();
        let expected: Vec<_> = (0..LINES).map(Some).collect();
        let arrivals = arrivals(&world);
        let at = arrivals.iter().zip(&expected).position(|(a, b)| a != b);
        assert_eq!((at, arrivals.len()), (None, expected.len()), "{:?}", at.map(|at| &arrivals[at..][..3]));
    });
}

#[test]
fn nothing_is_missing_when_nothing_is_rotated_out_unread() {
    for (max_file, compress) in [(3, false), (5, false), (3, true), (5, true)] {
        killed_while_nothing_rotates_out(max_file, compress);
    }
}

/// A line without end, of which pieces are delivered; then half a line with the first part of a message behind it.
#[test]
fn positions_in_damaged_lines_are_none() {
    let world = World::new();
    let mut container = world.container_as(spec(3, false));
    let append = |container: &mut Container, bytes: &[u8]| {
        let log = std::fs::OpenOptions::new().append(true).open(container.log().path());
        log.expect("the log is there").write_all(bytes).expect("written");
    };
    let forwarder = world.forward("api");
    container.write_line(Stream::Stdout, b"first").expect("written");
    append(&mut container, &vec![b'x'; 600 << 10]);
    world.wait_for_records(3);
    assert_eq!(forwarder.terminate().code(), Some(0));
    let forwarder = world.forward("api");
    append(&mut container, b"\n{\"log\":\"torn in the mid");
    let part = vec![b'p'; 16 << 10];
    container.write_part(Stream::Stdout, &part).expect("written");
    world.wait_for_records(5);
    assert_eq!(forwarder.terminate().code(), Some(0));
    let forwarder = world.forward("api");
    container.write_line(Stream::Stdout, b"and its end").expect("written");
    world.wait_for_records(6);
    forwarder.assert_conserved();
    let records = world.receiver.records();
    assert!(records.iter().all(|record| record.log_type != "gap"), "{:?}", records[3..].first());
    assert_eq!(records[5].message.as_bytes(), [&part[..], b"and its end"].concat());
    world.receiver.ledger(|ledger| assert_eq!(ledger.violations(), [] as [String; 0]));
}
