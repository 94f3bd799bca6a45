//! The receiver is away, slow, hanging, or refuses: nothing is lost, nothing comes twice, order is kept.

use crate::harness::{Forwarder, World, messages, numbered, play, play_into, wait, write_numbered};
use rask::generate::{Format, Progress};
use rask::layout::{Rotation, Spec, Stream};
use rask::receiver::Fault;
use std::io::Write as _;
use std::process::Command;
use std::sync::atomic::Ordering::Relaxed;

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
    container.write_line(Stream::Stdout, &[b'x'; 30_000]).expect("written");
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

/// What the spool has taken, no rotation can take away.
#[test]
fn an_outage_while_the_log_rotates_out_of_existence() {
    for max_file in [1, 2] {
        let world = World::new();
        let progress = Progress::default();
        let forwarder = world.forward("api");
        let rotation = Rotation { max_size: Some(300_000), max_file, compress: false };
        let container = world.container_as(Spec { rotation, ..Spec::service("api") });
        let container = play_into(&play(Format::Go, 500, 0), container, &progress);
        world.wait_for_play("api", &progress);
        world.receiver.stop_listening();
        let container = play_into(&play(Format::Go, 12_000, 4_000), container, &progress);
        assert!(progress.rotations.load(Relaxed) >= 10, "{:?}", progress.rotations);
        wait("everything is in the spool", || forwarder.metrics()["lines_pending{stage=\"spool\"}"] >= 12_000.0);
        world.receiver.start_listening().expect("the port is still ours");
        let _container = play_into(&play(Format::Go, 2_000, 4_000), container, &progress);
        world.assert_exact("api", &progress);
        forwarder.assert_conserved();
        assert_eq!(forwarder.metric("gaps_total"), 0.0);
    }
}

/// Then the log itself is the buffer, and open descriptors keep what Docker deletes.
#[test]
fn a_full_spool_stops_reading_and_deleted_generations_stay_readable() {
    let world = World::new();
    let forwarder = world.forward_with("app", &[("MAX_DISK_USAGE_MB", "10")]);
    let rotation = Rotation { max_size: Some(3_000_000), max_file: 1, compress: false };
    let mut container = world.container_as(Spec { rotation, ..Spec::service("app") });
    world.receiver.stop_listening();
    // Text that does not get much smaller: 26 MB.
    let lines: Vec<String> = (0..3_300)
        .map(|number| {
            format!("{number:06} {}", (0..500).map(|_| format!("{:016x}", fastrand::u64(..))).collect::<String>())
        })
        .collect();
    for (number, line) in lines.iter().enumerate() {
        container.write_line(Stream::Stdout, line.as_bytes()).expect("written");
        if number % 50 == 0 {
            // As fast as Docker may write, but the file must live long enough to be seen.
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
    }
    wait("the spool is full", || {
        forwarder.get("/readyz").is_some_and(|(status, body)| status == 503 && body.contains("full"))
    });
    let (spooled, read) = (forwarder.metric("spool_bytes"), forwarder.metric("lines_read_total"));
    assert!(spooled <= 10_000_000.0, "{spooled}");
    assert!(read < 3_200.0, "it has stopped reading at {read}");
    assert!(forwarder.metric("open_files") >= 2.0, "{}", forwarder.metric("open_files"));
    world.receiver.start_listening().expect("the port is still ours");
    container.write_line(Stream::Stdout, b"the last").expect("written");
    world.wait_for_records(3_301);
    forwarder.assert_conserved();
    let messages = messages(&world.receiver);
    let first_wrong = lines.iter().zip(&messages).position(|(line, message)| line != message);
    assert_eq!((first_wrong, messages.len()), (None, 3_301));
    assert_eq!(forwarder.metric("gaps_total"), 0.0);
    assert!(forwarder.metric("open_files") <= 1.0, "closed once they are read");
}

/// A name may not be known yet when the forwarder starts, and be lost again later: DNS is asked anew for each connection.
#[test]
fn a_name_that_nobody_knows_is_asked_for_again() {
    let world = World::new();
    let hosts = world.containers().with_file_name("hosts");
    let resolver = world.containers().with_file_name("resolv.conf");
    std::fs::write(&hosts, "127.0.0.1 localhost\n").expect("written");
    // Nobody listens there: a name that is not in the file is refused at once.
    std::fs::write(&resolver, "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n").expect("written");
    let forwarder = world.command("app");
    let script = "mount --bind \"$1\" /etc/hosts && mount --bind \"$2\" /etc/resolv.conf && exec \"$3\"";
    let namespace = ["--mount", "--propagation", "private", "sh", "-c"];
    let can = Command::new("unshare").args(namespace).args(["mount --bind /etc/hosts /etc/hosts", "sh"]).status();
    if !can.is_ok_and(|status| status.success()) {
        assert!(std::env::var_os("RASK_REQUIRE_DOCKER").is_none(), "mount namespaces need root");
        let _ = writeln!(std::io::stderr(), "\n*** LEFT OUT: a test of names: mount namespaces need root ***\n");
        return;
    }
    let mut command = Command::new("unshare");
    command.args(namespace).args([script, "sh"]).arg(&hosts).arg(&resolver).arg(forwarder.get_program());
    command.env_clear().envs(forwarder.get_envs().filter_map(|(key, value)| Some((key, value?))));
    let port = world.receiver.address().port();
    command.env("PATH", "/usr/bin:/bin").env("RASK_ENDPOINT", format!("http://receiver:{port}/v1/aggregate"));
    let forwarder = Forwarder::start(command, &world.state());
    let mut container = world.container("app");
    write_numbered(&mut container, "line", 0..50);
    wait("the lines are in the spool", || forwarder.metric("spooled_batches_total") > 0.0);
    assert!(forwarder.metrics()["retries_total{status=\"connect\"}"] >= 1.0);
    // In place: the mount is of this very file.
    std::fs::write(&hosts, "127.0.0.1 localhost receiver\n").expect("written");
    world.wait_for_records(50);
    write_numbered(&mut container, "line", 50..100);
    world.wait_for_records(100);
    assert_eq!(messages(&world.receiver), numbered("line", 0..100));
    forwarder.assert_conserved();
}

/// While the spool drains, fresh lines go behind it: order holds, and the receiver is kept busy.
#[test]
fn a_long_spool_drains_in_order_while_lines_go_on() {
    let world = World::new();
    let progress = Progress::default();
    world.receiver.stop_listening();
    let forwarder = world.forward("api");
    let container = play_into(&play(Format::Go, 60_000, 0), world.container("api"), &progress);
    wait("everything is in the spool", || forwarder.metrics()["lines_pending{stage=\"spool\"}"] >= 60_000.0);
    world.receiver.start_listening().expect("the port is still ours");
    let _container = play_into(&play(Format::Go, 6_000, 3_000), container, &progress);
    world.assert_exact("api", &progress);
    forwarder.assert_conserved();
}
