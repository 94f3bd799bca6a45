//! SIGTERM: everything read is delivered or in the spool, quickly, exit 0.

use crate::harness::{World, messages, numbered, wait, write_numbered};
use rask::receiver::Fault;
use std::time::{Duration, Instant};

#[test]
fn what_was_read_is_delivered_before_it_ends() {
    let world = World::new();
    let forwarder = world.forward("app");
    let mut container = world.container("app");
    write_numbered(&mut container, "line", 0..5_000);
    let begun = Instant::now();
    assert_eq!(forwarder.terminate().code(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    assert_eq!(messages(&world.receiver), numbered("line", 0..5_000), "up to the end of the log at the signal");
}

#[test]
fn in_an_outage_the_rest_waits_in_the_spool() {
    let world = World::new();
    let mut container = world.container("app");
    world.receiver.set_fault(Fault::Hang);
    let forwarder = world.forward("app");
    write_numbered(&mut container, "line", 0..500);
    wait("it has read them", || forwarder.metric("lines_read_total") >= 500.0);
    let begun = Instant::now();
    assert_eq!(forwarder.terminate().code(), Some(0));
    assert!(begun.elapsed() < Duration::from_secs(7), "{:?}", begun.elapsed());
    container.remove().expect("docker rm");
    world.receiver.set_fault(Fault::None);
    let forwarder = world.forward("app");
    world.wait_for_records(500);
    assert_eq!(messages(&world.receiver), numbered("line", 0..500), "although the container is gone");
    forwarder.assert_conserved();
}

#[test]
fn a_restart_repeats_nothing() {
    let world = World::new();
    let mut container = world.container("app");
    for round in 0..4u64 {
        let forwarder = world.forward("app");
        write_numbered(&mut container, "line", round * 300..round * 300 + 300);
        world.wait_for_records(round * 300 + 300);
        assert_eq!(forwarder.terminate().code(), Some(0));
    }
    assert_eq!(messages(&world.receiver), numbered("line", 0..1200));
    let totals = world.receiver.totals();
    assert_eq!((totals.overlaps, totals.duplicate_batches), (0, 0), "it knows by itself where it was");
}

#[test]
fn the_last_lines_of_a_container_that_dies_are_delivered() {
    let world = World::new();
    let _forwarder = world.forward("app");
    for round in 0..20u64 {
        let mut container = world.container("app");
        write_numbered(&mut container, "line", round * 10..round * 10 + 10);
        if round % 2 == 0 {
            container.stop().expect("stopped");
        } else {
            // Wait for the last line: what `docker rm` takes before anybody opened it is gone for every reader.
            world.wait_for_records(round * 10 + 10);
            container.remove().expect("docker rm");
        }
    }
    world.wait_for_records(200);
    let mut all = messages(&world.receiver);
    all.sort_by_key(|message| message[5..].parse::<u64>().expect("a number"));
    assert_eq!(all, numbered("line", 0..200));
}

/// What is in the spool belongs to the receiver, also after the spool has been switched off.
#[test]
fn a_spool_that_was_switched_off_is_still_drained() {
    let world = World::new();
    let mut container = world.container("app");
    world.receiver.stop_listening();
    let forwarder = world.forward("app");
    write_numbered(&mut container, "line", 0..100);
    wait("they are in the spool", || {
        forwarder.metric("lines_pending") >= 100.0 && forwarder.metric("spool_bytes") > 0.0
    });
    assert_eq!(forwarder.terminate().code(), Some(0));
    write_numbered(&mut container, "line", 100..200);
    world.receiver.start_listening().expect("the port is still ours");
    let forwarder = world.forward_with("app", &[("ENABLE_DISK_FALLBACK", "false")]);
    world.wait_for_records(200);
    assert_eq!(messages(&world.receiver), numbered("line", 0..200));
    forwarder.assert_conserved();
    assert_eq!(forwarder.terminate().code(), Some(0));
}

/// `FLUSH_INTERVAL_MS` at both ends of its range.
#[test]
fn extreme_flush_intervals_are_sane() {
    let world = World::new();
    let forwarder = world.forward_with("app", &[("FLUSH_INTERVAL_MS", "0")]);
    let mut container = world.container("app");
    write_numbered(&mut container, "line", 0..200);
    world.wait_for_records(200);
    assert_eq!(forwarder.metric("spooled_batches_total"), 0.0, "a receiver that is well gets it directly");
    assert_eq!(forwarder.terminate().code(), Some(0));

    let forwarder = world.forward_with("app", &[("FLUSH_INTERVAL_MS", "60000")]);
    world.receiver.set_fault(Fault::Hang);
    write_numbered(&mut container, "line", 200..300);
    wait("it has read them", || forwarder.metric("lines_read_total") >= 100.0);
    assert_eq!(forwarder.terminate().code(), Some(0), "what hangs goes to the spool before it ends");
    world.receiver.set_fault(Fault::None);
    let _forwarder = world.forward("app");
    world.wait_for_records(300);
    assert_eq!(messages(&world.receiver), numbered("line", 0..300));
}
