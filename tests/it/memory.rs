//! Peak memory where it is tried hardest. That it stays below `PEAK_RSS_BYTES` is asserted at the end of every forwarder
//! of every test, these included; what is asserted here besides is that nothing is lost meanwhile.

use crate::harness::{World, play, play_into, wait};
use rask::generate::{Format, Play, Progress};
use rask::layout::{Container, Rotation, Spec, Stream};
use rask::receiver::{Detail, Fault, Keep, Options};
use std::fs::File;
use std::io::Write;
use std::time::Duration;

/// Bytes of log that a forwarder finds when it starts.
const BACKLOG_BYTES: u64 = 520 << 20;

/// A receiver that counts and keeps nothing.
fn world() -> World {
    World::with(Options { detail: Detail::Counts, keep: Keep::None, ..Options::default() })
}

/// Lines numbered from 0, each of about 1,000 bytes, written a MiB at a time.
fn write_backlog(container: &mut Container, run: &str) -> u64 {
    let mut file = File::options().append(true).open(container.log().path()).expect("the log is there");
    // Hardly to be compressed, and quick to make.
    let noise: String = std::iter::repeat_with(fastrand::alphanumeric).take(1 << 20).collect();
    let (mut written, mut lines, mut block) = (0, 0u64, Vec::new());
    while written < BACKLOG_BYTES {
        block.clear();
        while block.len() < 1 << 20 {
            let pad = fastrand::usize(..noise.len() - 850);
            let line = format!("GET /{} seq={lines} run={run}\n", &noise[pad..pad + 850]);
            rask::layout::put_envelope(&mut block, line.as_bytes(), Stream::Stdout, "", rask::clock::now());
            lines += 1;
        }
        file.write_all(&block).expect("there is space");
        written += block.len() as u64;
    }
    lines
}

fn assert_all(world: &World, lines: u64, patience: Duration) {
    let reached = world.receiver.wait_until(patience, |ledger| ledger.distinct() >= lines);
    world.receiver.ledger(|ledger| {
        let found = (ledger.distinct(), ledger.missing(0), ledger.duplicates(), ledger.reordered());
        assert_eq!(found, (lines, 0, 0, 0), "distinct, missing, twice, out of order; in time: {reached}");
        assert_eq!(ledger.violations(), [] as [String; 0]);
    });
}

/// At full throttle: first while the receiver is away, so that it all goes into the spool and reading stops at its bound, then
/// slowly, then as fast as can be.
#[test]
fn half_a_gigabyte_of_backlog() {
    let world = world();
    let mut container = world.container("app");
    let lines = write_backlog(&mut container, "backlog");
    world.receiver.stop_listening();
    let forwarder = world.forward_with("app", &[("MAX_DISK_USAGE_MB", "64")]);
    wait("the spool has its fill", || forwarder.metric("spool_bytes") > 20e6);
    forwarder.assert_small();
    world.receiver.set_fault(Fault::SlowMs(30));
    world.receiver.start_listening().expect("the port is still ours");
    world.wait_for_records(lines / 20);
    forwarder.assert_small();
    world.receiver.set_fault(Fault::None);
    assert_all(&world, lines, Duration::from_secs(300));
    forwarder.assert_conserved();
}

/// Messages of 1 MiB on both streams, part by part in turn, so that both are held back at once, before and in an outage.
fn the_longest_lines_of(byte: u8) {
    let world = world();
    let forwarder = world.forward("app");
    let mut container = world.container("app");
    const MESSAGES: u64 = 20;
    const PART: usize = rask::layout::PART_BYTES;
    for seq in 0..MESSAGES {
        for part in 0..64 {
            for stream in [Stream::Stdout, Stream::Stderr] {
                let mut text = if part == 0 { format!("seq={seq} run=long ").into_bytes() } else { Vec::new() };
                text.extend_from_slice(b"\x1b[1m"); // What goes does not cost a copy of what stays.
                text.resize(PART, byte);
                container.write_part(stream, &text).expect("written");
            }
        }
        container.write_line(Stream::Stdout, b"").expect("written");
        container.write_line(Stream::Stderr, b"").expect("written");
        if seq == MESSAGES / 2 {
            world.receiver.stop_listening();
            wait("it goes to the spool", || forwarder.metric("spool_bytes") > 0.0);
        }
    }
    world.receiver.start_listening().expect("the port is still ours");
    assert_all(&world, MESSAGES * 2, crate::harness::PATIENCE);
    forwarder.assert_conserved();
}

/// Twice as long in JSON.
#[test]
fn the_longest_lines_of_quotes() {
    the_longest_lines_of(b'"');
}

/// Six times as long in JSON, were they not cut.
#[test]
fn the_longest_lines_of_control_characters() {
    the_longest_lines_of(1);
}

/// 64 rotated files of one of 200 containers are open at once.
#[test]
fn two_hundred_containers_and_many_generations() {
    let world = world();
    let mut containers: Vec<Container> = (1..200).map(|_| world.container("app")).collect();
    let spec = Spec {
        name: "rotated".into(),
        rotation: Rotation { max_size: Some(5_000), max_file: 110, compress: false },
        ..Spec::service("app")
    };
    let progress = Progress::default();
    let run = Play { run: "rotated".into(), ..play(Format::Plain, 2_600, 0) };
    let rotated = play_into(&run, world.container_as(spec), &progress);
    assert!(progress.rotations.load(std::sync::atomic::Ordering::Relaxed) >= 64, "{progress:?}");
    let forwarder = world.forward("app");
    for round in 0..5 {
        for (index, container) in containers.iter_mut().enumerate() {
            let line = format!("seq={round} run=c{index}");
            container.write_line(Stream::Stdout, line.as_bytes()).expect("written");
        }
    }
    assert_all(&world, 2_600 + 5 * 199, crate::harness::PATIENCE);
    assert!(forwarder.metric("containers") >= 200.0);
    forwarder.assert_conserved();
    drop(rotated);
}
