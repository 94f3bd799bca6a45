//! SIGKILL at any moment: with a rask receiver nothing is missing and nothing comes twice.

use crate::harness::{World, numbered, play, play_into, wait, write_numbered};
use rask::generate::{Format, Progress};
use rask::layout::{Rotation, Spec};
use rask::receiver::Fault;
use rask_log_forwarder::sender::spool;
use std::time::Duration;

#[test]
fn killed_again_and_again_while_lines_flow() {
    let world = World::new();
    let progress = Progress::default();
    let rotation = Rotation { max_size: Some(1_000_000), max_file: 50, compress: false };
    let container = world.container_as(Spec { rotation, ..Spec::service("api") });
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| play_into(&play(Format::Go, 30_000, 6_000), container, &progress));
        let mut lives = 0;
        while !writer.is_finished() {
            let forwarder = world.forward("api");
            // Different moments of its life; no condition is waited for, any is right.
            std::thread::sleep(Duration::from_millis(fastrand::u64(20..400)));
            forwarder.kill();
            lives += 1;
        }
        assert!(lives >= 5, "{lives} kills");
        let forwarder = world.forward("api");
        world.assert_exact("api", &progress);
        forwarder.assert_conserved();
    });
    assert!(progress.rotations.load(std::sync::atomic::Ordering::Relaxed) >= 5);
}

#[test]
fn killed_while_the_receiver_comes_and_goes() {
    let world = World::new();
    let progress = Progress::default();
    let container = world.container("db");
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| play_into(&play(Format::Postgres, 20_000, 5_000), container, &progress));
        for round in 0.. {
            let forwarder = world.forward("db");
            if round % 2 == 0 {
                world.receiver.stop_listening();
            }
            std::thread::sleep(Duration::from_millis(fastrand::u64(50..900)));
            forwarder.kill();
            if round % 2 == 0 {
                world.receiver.start_listening().expect("the port is still ours");
            }
            if writer.is_finished() && round >= 4 {
                break;
            }
        }
        let forwarder = world.forward("db");
        world.assert_exact("db", &progress);
        forwarder.assert_conserved();
    });
}

/// Whatever dies before the first acknowledgement, the next process knows that the container was being read.
#[test]
fn what_is_gone_is_reported_even_before_the_first_acknowledgement() {
    let world = World::new();
    world.receiver.set_fault(Fault::Hang);
    let rotation = Rotation { max_size: Some(1_000_000), max_file: 1, compress: false };
    let mut container = world.container_as(Spec { rotation, ..Spec::service("app") });
    write_numbered(&mut container, "line", 0..10);
    // Nothing is stored: it dies with everything it has read.
    let forwarder = world.forward_with("app", &[("ENABLE_DISK_FALLBACK", "false")]);
    wait("the lines are on their way", || world.receiver.totals().requests > 0);
    wait("it is noted", || spool::list(&world.state()).is_ok_and(|listing| !listing.positions.is_empty()));
    forwarder.kill();
    container.log().rotate().expect("rotated");
    write_numbered(&mut container, "line", 10..20);
    world.receiver.set_fault(Fault::None);
    let forwarder = world.forward("app");
    world.wait_for_records(11);
    let records = world.receiver.records();
    assert_eq!(records[0].log_type, "gap");
    assert!(records[1..].iter().map(|record| record.message.clone()).eq(numbered("line", 10..20)));
    forwarder.assert_conserved();
}
