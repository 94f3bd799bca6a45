//! The receiver is away, slow, hanging, or refuses: nothing is lost, nothing comes twice, order is kept.

use crate::harness::{World, messages, numbered, play, play_into, wait, write_numbered};
use rask::generate::{Format, Progress};
use rask::receiver::Fault;

#[test]
fn an_outage_goes_through_the_spool_in_order() {
    let world = World::new();
    let progress = Progress::default();
    let forwarder = world.forward("api");
    let container = play_into(&play(Format::Go, 2_000, 0), world.container("api"), &progress);
    world.wait_for_play("api", &progress);
    world.receiver.stop_listening();
    let container = play_into(&play(Format::Go, 10_000, 20_000), container, &progress);
    wait("lines are in the spool", || forwarder.metric("spooled_batches_total") > 0.0);
    assert_eq!(forwarder.get("/healthz").map(|(status, _)| status), Some(200), "an outage is no illness");
    world.receiver.start_listening().expect("the port is still ours");
    let container = play_into(&play(Format::Go, 10_000, 20_000), container, &progress);
    world.assert_exact("api", &progress);
    forwarder.assert_conserved();
    assert!(forwarder.metric("retries_total") > 0.0);
    drop(container);
}

#[test]
fn every_fault_of_a_receiver_is_survived() {
    let faults = [
        Fault::Status(500, None),
        Fault::Status(503, Some(1)),
        Fault::Status(429, Some(1)),
        Fault::Status(408, None),
        Fault::Reset,
        Fault::AcceptThenReset,
        Fault::SlowMs(1_500),
        Fault::NeverEndingAnswer,
    ];
    let world = World::new();
    let forwarder = world.forward("app");
    let mut container = world.container("app");
    for (round, fault) in (0u64..).zip(faults) {
        world.receiver.script([fault.clone(), fault]);
        write_numbered(&mut container, "line", round * 100..round * 100 + 100);
        world.wait_for_records((round + 1) * 100);
    }
    assert_eq!(messages(&world.receiver), numbered("line", 0..800));
    forwarder.assert_conserved();
}

#[test]
fn a_hanging_receiver_is_left_after_the_timeout() {
    let world = World::new();
    let forwarder = world.forward_with("app", &[("CONNECTION_TIMEOUT_SECS", "1")]);
    let mut container = world.container("app");
    world.receiver.set_fault(Fault::Hang);
    write_numbered(&mut container, "line", 0..50);
    wait("the stalled batch is in the spool", || forwarder.metric("spooled_batches_total") > 0.0);
    wait("the attempt is given up", || forwarder.metric("retries_total") > 0.0);
    world.receiver.set_fault(Fault::None);
    write_numbered(&mut container, "line", 50..100);
    world.wait_for_records(100);
    assert_eq!(messages(&world.receiver), numbered("line", 0..100));
    forwarder.assert_conserved();
}

#[test]
fn a_refused_record_is_set_aside_and_the_rest_goes_on() {
    let world = World::new();
    world.receiver.set_fault(Fault::RefuseRecord("poison".into()));
    let mut container = world.container("app");
    write_numbered(&mut container, "line", 0..500);
    write_numbered(&mut container, "poison", 0..2);
    write_numbered(&mut container, "line", 500..1000);
    let forwarder = world.forward("app");
    world.wait_for_records(1000);
    assert_eq!(messages(&world.receiver), numbered("line", 0..1000));
    forwarder.assert_conserved();
    assert_eq!(forwarder.metrics()["lines_dropped_total{reason=\"refused\"}"], 2.0);
    let letters = std::fs::read_to_string(world.state().join("dead/dead-letters.ndjson")).expect("dead letters");
    assert_eq!(letters.lines().count(), 2);
    assert!(letters.contains("poison 0") && letters.contains("poison 1") && letters.contains("400"));
}

#[test]
fn a_body_that_is_too_large_is_split() {
    let world = World::new();
    world.receiver.set_fault(Fault::MaxBody(20_000));
    let mut container = world.container("app");
    write_numbered(&mut container, "line", 0..1000);
    container.write_line(rask::layout::Stream::Stdout, &[b'x'; 30_000]).expect("written");
    write_numbered(&mut container, "line", 1000..1100);
    let forwarder = world.forward("app");
    world.wait_for_records(1100);
    assert_eq!(messages(&world.receiver), numbered("line", 0..1100));
    forwarder.assert_conserved();
    assert_eq!(forwarder.metrics()["lines_dropped_total{reason=\"too_large\"}"], 2.0, "two parts of one message");
}

#[test]
fn a_receiver_that_refuses_us_is_held_and_said() {
    let world = World::new();
    world.receiver.set_fault(Fault::Status(401, None));
    let mut container = world.container("app");
    write_numbered(&mut container, "line", 0..10);
    let forwarder = world.forward("app");
    wait("it says so", || {
        forwarder.get("/readyz").is_some_and(|(status, body)| status == 503 && body.contains("refuses"))
    });
    assert_eq!(forwarder.get("/healthz").map(|(status, _)| status), Some(200));
    assert_eq!(world.receiver.totals().records, 0);
    assert_eq!(forwarder.metric("lines_dropped_total"), 0.0);
}

/// Without the spool the source file is the buffer.
#[test]
fn without_a_spool_reading_stops_and_nothing_is_lost() {
    let world = World::new();
    let progress = Progress::default();
    let forwarder = world.forward_with("api", &[("ENABLE_DISK_FALLBACK", "false")]);
    world.receiver.stop_listening();
    let container = play_into(&play(Format::Go, 40_000, 0), world.container("api"), &progress);
    wait("it notices", || forwarder.metric("retries_total") > 0.0);
    assert!(forwarder.metric("lines_read_total") < 40_000.0, "it stops reading");
    world.receiver.start_listening().expect("the port is still ours");
    world.assert_exact("api", &progress);
    forwarder.assert_conserved();
    assert_eq!(forwarder.metric("spooled_batches_total"), 0.0);
    drop(container);
}
