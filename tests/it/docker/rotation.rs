//! Rotation as the daemon does it, with the forwarder running, lagging, killed and away.

use super::truth::{Truth, siblings};
use super::{Real, assert_all, forward, gaps, ready, unique};
use crate::harness::{World, wait};
use rask::receiver::Fault;
use std::time::Duration;

const ONE_FILE: [&str; 4] = ["--log-opt", "max-size=1m", "--log-opt", "max-file=1"];
const TWO_FILES: [&str; 4] = ["--log-opt", "max-size=1m", "--log-opt", "max-file=2"];
const COMPRESSED: [&str; 6] = ["--log-opt", "max-size=1m", "--log-opt", "max-file=5", "--log-opt", "compress=true"];

/// One file: Docker unlinks the full one, and what was not read survives only in the open descriptor.
#[test]
fn by_unlink() {
    if !ready(&[super::DEBIAN]) {
        return;
    }
    let (world, service) = (World::new(), unique("one"));
    let forwarder = forward(&world, &service, &[]);
    let _container = Real::json_service(&service, &ONE_FILE, 60_000, 20_000);
    assert_all(&world, &service, 60_000);
    forwarder.assert_conserved();
    assert!(forwarder.metric("rotations_total") >= 10.0, "{}", forwarder.metric("rotations_total"));
}

#[test]
fn compressed() {
    if !ready(&[super::DEBIAN]) {
        return;
    }
    let (world, service) = (World::new(), unique("gz"));
    let forwarder = forward(&world, &service, &[]);
    let container = Real::json_service(&service, &COMPRESSED, 60_000, 10_000);
    assert_all(&world, &service, 60_000);
    forwarder.assert_conserved();
    assert!(forwarder.metric("rotations_total") >= 10.0, "{}", forwarder.metric("rotations_total"));
    assert!(siblings(&container.log()).iter().any(|path| path.extension().is_some_and(|it| it == "gz")));
}

/// What was written while nobody read is found in `.N` and `.N.gz`.
#[test]
fn compressed_while_away() {
    if !ready(&[super::DEBIAN]) {
        return;
    }
    let (world, service) = (World::new(), unique("away"));
    let first = forward(&world, &service, &[]);
    let container = Real::json_service(&service, &COMPRESSED, 15_000, 6_000);
    wait("some have come", || world.receiver.totals().records > 500);
    first.kill();
    container.wait_for_its_end();
    let archives = siblings(&container.log()).len() - 1;
    assert!(archives >= 3, "{archives} archives");
    let second = forward(&world, &service, &[]);
    assert_all(&world, &service, 15_000);
    second.assert_conserved();
}

/// All that there is fits into the files, so that a kill may take as long as it likes.
#[test]
fn killed_again_and_again() {
    if !ready(&[super::DEBIAN]) {
        return;
    }
    let (world, service) = (World::new(), unique("kills"));
    let options = ["--log-opt", "max-size=500k", "--log-opt", "max-file=30", "--log-opt", "compress=true"];
    let container = Real::json_service(&service, &options, 25_000, 5_000);
    let mut lives = 0;
    while lives < 5 || is_running(&container) {
        let forwarder = forward(&world, &service, &[]);
        // Different moments of its life; any is right.
        std::thread::sleep(Duration::from_millis(fastrand::u64(20..600)));
        forwarder.kill();
        lives += 1;
    }
    let last = forward(&world, &service, &[]);
    assert_all(&world, &service, 25_000);
    last.assert_conserved();
    assert!(siblings(&container.log()).len() > 8);
}

/// With one or two files Docker has deleted what was written in between: that is said, and what is left comes once.
#[test]
fn deleted_while_away() {
    if !ready(&[super::DEBIAN]) {
        return;
    }
    for options in [&ONE_FILE, &TWO_FILES] {
        let (world, service) = (World::new(), unique("gone"));
        let first = forward(&world, &service, &[("RASK_FORMAT", "json")]);
        let container = Real::json_service(&service, options, 20_000, 10_000);
        wait("some have come", || world.receiver.totals().records > 500);
        // Of what is in no checkpoint yet, the next process knows nothing to miss.
        wait("a checkpoint is there", || first.metrics()["spool_sync_seconds_count{kind=\"index\"}"] > 1.0);
        first.kill();
        container.wait_for_its_end();
        let truth = numbers(&container.truth());
        let second = forward(&world, &service, &[("RASK_FORMAT", "json")]);
        wait("the rest comes", || {
            let came = numbers(&Truth::received(&world, &container.id));
            truth.iter().zip(&came).all(|(wrote, came)| came.ends_with(wrote))
        });
        second.assert_conserved();
        assert_eq!(second.metric("gaps_total"), gaps(&world) as f64);
        assert!(gaps(&world) >= 1, "it is said that lines are gone");
        // A beginning without holes, then exactly what was left.
        for (wrote, came) in truth.iter().zip(&numbers(&Truth::received(&world, &container.id))) {
            let (before, rest) = came.split_at(came.len() - wrote.len());
            assert_eq!(rest, wrote);
            assert_eq!(before, (0..before.len() as u64).collect::<Vec<_>>());
            assert!(!before.is_empty() && before.len() < wrote[0] as usize, "{} {}", before.len(), wrote[0]);
        }
    }
}

/// The log rotates out of existence while the receiver is away: the spool has it.
#[test]
fn receiver_away() {
    if !ready(&[super::DEBIAN]) {
        return;
    }
    let (world, service) = (World::new(), unique("outage"));
    let forwarder = forward(&world, &service, &[]);
    let container = Real::json_service(&service, &TWO_FILES, 40_000, 4_000);
    wait("some have come", || world.receiver.totals().records > 1_000);
    world.receiver.stop_listening();
    container.wait_for_its_end();
    assert!(container.truth().len() < 20_000, "most of it is deleted");
    wait("all is read", || forwarder.metric("lines_read_total") >= 40_000.0);
    world.receiver.start_listening().expect("the port is still ours");
    assert_all(&world, &service, 40_000);
    forwarder.assert_conserved();
    assert!(forwarder.metric("spooled_batches_total") > 0.0);
}

/// Without a spool lines wait in the files, also in those that have no name any more.
#[test]
fn lagging() {
    if !ready(&[super::DEBIAN]) {
        return;
    }
    let (world, service) = (World::new(), unique("lag"));
    let forwarder = forward(&world, &service, &[("ENABLE_DISK_FALLBACK", "false")]);
    let container = Real::json_service(&service, &ONE_FILE, 30_000, 6_000);
    wait("some have come", || world.receiver.totals().records > 500);
    world.receiver.set_fault(Fault::Hang);
    container.wait_for_its_end();
    assert!(forwarder.metric("open_files") >= 5.0, "{}", forwarder.metric("open_files"));
    assert!(forwarder.metric("lines_read_total") < 30_000.0);
    world.receiver.set_fault(Fault::None);
    assert_all(&world, &service, 30_000);
    forwarder.assert_conserved();
    wait("what is read is closed", || forwarder.metric("open_files") == 1.0);
}

fn is_running(container: &Real) -> bool {
    super::must(&["inspect", "--format", "{{.State.Running}}", &container.id]) == "true"
}

/// The numbers of the JSON service's lines, which stand in the whole line as in the message.
fn numbers(truth: &Truth) -> [Vec<u64>; 2] {
    let number = |line: &String| {
        let digits = line.split_once("order <").and_then(|(_, rest)| rest.split_once('>')).expect("a number").0;
        digits.parse::<u64>().expect("a number")
    };
    let [out, err] = &truth.0;
    // Every tenth line goes to stderr.
    let count_out = |i: u64| i - i / 10 - 1;
    [out.iter().map(number).map(count_out).collect(), err.iter().map(number).map(|i| i / 10).collect()]
}
