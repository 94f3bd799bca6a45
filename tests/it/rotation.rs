//! Rotation and what is left behind by it, through the real process: files that come and go while it stands still, NUL runs,
//! descriptors running out, files and directories that cannot be opened for a while.

use crate::harness::{Forwarder, World, messages, numbered, signal, wait, write_numbered};
use rask::layout::{Container, Rotation, Spec, Stream};
use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

fn spec(max_file: u32, compress: bool) -> Spec {
    // Rotated by hand.
    Spec { rotation: Rotation { max_size: Some(1 << 40), max_file, compress }, ..Spec::service("api") }
}

fn gaps(world: &World) -> Vec<String> {
    let records = world.receiver.records().into_iter().filter(|record| record.log_type == "gap");
    records.map(|record| record.fields["gap_reason"].clone()).collect()
}

fn append(container: &mut Container, bytes: &[u8]) {
    let path = container.log().path().to_owned();
    let mut log = fs::OpenOptions::new().append(true).open(path).expect("the log is there");
    log.write_all(bytes).expect("written");
}

#[test]
fn a_log_that_is_re_created_while_the_process_stands_still_is_a_gap() {
    let world = World::new();
    let mut container = world.container_as(spec(1, false));
    let forwarder = world.forward("api");
    write_numbered(&mut container, "line", 0..10);
    world.wait_for_records(10);
    signal(forwarder.pid(), "STOP");
    write_numbered(&mut container, "line", 10..20);
    for round in 2..5 {
        container.log().rotate().expect("rotated");
        write_numbered(&mut container, "line", round * 10..round * 10 + 10);
    }
    signal(forwarder.pid(), "CONT");
    // Generation 1 was open; of the three after it only the last is still there.
    world.wait_for_records(31);
    let all = messages(&world.receiver);
    assert_eq!(all[..20], numbered("line", 0..20));
    assert_eq!(all[21..], numbered("line", 40..50));
    assert!(gaps(&world)[0].contains("re-created 3 times"), "{:?}", gaps(&world));
    forwarder.assert_conserved();
}

/// The ordinary rotation, at any moment, is no gap.
#[test]
fn a_log_that_is_re_created_while_it_is_read_is_none() {
    let world = World::new();
    let forwarder = world.forward("api");
    let mut container = world.container_as(spec(1, false));
    for round in 0..60 {
        write_numbered(&mut container, "line", round * 10..round * 10 + 10);
        world.wait_for_records(round * 10 + 10);
        write_numbered(&mut container, "line", round * 10 + 10..round * 10 + 10);
        container.log().rotate().expect("rotated");
    }
    assert_eq!(messages(&world.receiver), numbered("line", 0..600));
    assert_eq!(forwarder.metric("gaps_total"), 0.0);
    assert_eq!(forwarder.metric("unlinked_files"), forwarder.metric("open_files") - 1.0);
    forwarder.assert_conserved();
}

#[test]
fn nul_runs_anywhere_cost_no_line() {
    let world = World::new();
    let run = vec![0; 1 << 20];
    let mut container = world.container_as(spec(20, false));
    let forwarder = world.forward("api");
    // At the beginning, in the middle (before a line), at the end; then nothing but NUL; then again at the beginning.
    append(&mut container, &run);
    write_numbered(&mut container, "line", 0..10);
    append(&mut container, &run);
    write_numbered(&mut container, "line", 10..20);
    append(&mut container, &run);
    container.log().rotate().expect("rotated");
    append(&mut container, &run);
    container.log().rotate().expect("rotated");
    for round in 2..4 {
        append(&mut container, &run);
        write_numbered(&mut container, "line", round * 10..round * 10 + 10);
        container.log().rotate().expect("rotated");
    }
    world.wait_for_records(40);
    forwarder.assert_conserved();
    assert_eq!(messages(&world.receiver), numbered("line", 0..40));
    // The next process does not mistake one for the other.
    forwarder.kill();
    let forwarder = world.forward("api");
    write_numbered(&mut container, "line", 40..50);
    world.wait_for_records(50);
    forwarder.assert_conserved();
    assert_eq!(messages(&world.receiver), numbered("line", 0..50));
}

#[test]
fn garbage_and_torn_lines_cost_no_whole_line() {
    let world = World::new();
    let mut container = world.container_as(spec(3, false));
    let forwarder = world.forward("api");
    write_numbered(&mut container, "line", 0..5);
    let garbage: Vec<u8> = (0..100_000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    append(&mut container, &garbage);
    append(&mut container, b"\n");
    write_numbered(&mut container, "line", 5..10);
    append(&mut container, b"{\"log\":\"torn li\n");
    write_numbered(&mut container, "line", 10..15);
    let whole = |all: &[String]| all.iter().filter(|text| text.starts_with("line ")).cloned().collect::<Vec<_>>();
    wait("the last line comes", || messages(&world.receiver).last().is_some_and(|last| last == "line 14"));
    assert_eq!(whole(&messages(&world.receiver)), numbered("line", 0..15));
    forwarder.assert_conserved();
    world.receiver.ledger(|ledger| assert_eq!(ledger.violations(), [] as [String; 0]));
}

/// Opens what it needs only while there are descriptors; nothing is skipped when there are none.
#[test]
fn running_out_of_descriptors_skips_nothing() {
    let world = World::new();
    let mut container = world.container_as(spec(40, false));
    write_numbered(&mut container, "line", 0..10);
    let forwarder = world.forward("api");
    world.wait_for_records(10);
    let open = fs::read_dir(format!("/proc/{}/fd", forwarder.pid())).expect("the process lives").count();
    limit_descriptors(&forwarder, open);
    for round in 1..30 {
        container.log().rotate().expect("rotated");
        write_numbered(&mut container, "line", round * 10..round * 10 + 10);
    }
    std::thread::sleep(std::time::Duration::from_millis(600));
    limit_descriptors(&forwarder, 1024);
    world.wait_for_records(300);
    assert_eq!(messages(&world.receiver), numbered("line", 0..300));
    assert_eq!(forwarder.metric("gaps_total"), 0.0);
    forwarder.assert_conserved();
}

fn limit_descriptors(forwarder: &Forwarder, soft: usize) {
    let limit = format!("--nofile={soft}:1024");
    let set = Command::new("prlimit").args(["--pid", &forwarder.pid().to_string(), &limit]).status();
    assert!(set.expect("prlimit runs").success());
}

/// Something else is in the place of the log, so that it cannot be opened even by root.
#[test]
fn a_log_that_cannot_be_opened_after_a_restart_is_tried_again() {
    let world = World::new();
    let mut container = world.container_as(spec(3, false));
    write_numbered(&mut container, "line", 0..10);
    let forwarder = world.forward("api");
    world.wait_for_records(10);
    assert_eq!(forwarder.terminate().code(), Some(0));
    let log = container.log().path().to_owned();
    let aside = PathBuf::from(format!("{}-aside", log.display()));
    fs::rename(&log, &aside).expect("renamed");
    symlink(&log, &log).expect("a link to itself");
    let forwarder = world.forward("api");
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(forwarder.metric("containers"), 0.0);
    fs::remove_file(&log).expect("removed");
    fs::rename(&aside, &log).expect("renamed");
    write_numbered(&mut container, "line", 10..20);
    world.wait_for_records(20);
    assert_eq!(messages(&world.receiver), numbered("line", 0..20));
}

/// Everything goes and comes back from a copy, as when Docker's data is moved.
#[test]
fn a_containers_directory_that_comes_back_is_not_read_again() {
    let world = World::new();
    let mut container = world.container_as(spec(3, true));
    write_numbered(&mut container, "line", 0..10);
    container.log().rotate().expect("rotated");
    container.log().wait_for_gzip().expect("compressed");
    write_numbered(&mut container, "line", 10..20);
    let forwarder = world.forward("api");
    world.wait_for_records(20);
    let away = world.containers().with_extension("away");
    let copied = Command::new("cp").arg("-a").arg(world.containers()).arg(&away).status();
    assert!(copied.expect("cp runs").success());
    let id = container.id().to_owned();
    drop(container);
    fs::remove_dir_all(world.containers()).expect("removed");
    wait("it is noticed", || forwarder.metric("containers") == 0.0);
    fs::rename(&away, world.containers()).expect("renamed");
    let mut container = Container::start_as(&world.containers(), spec(3, true), &id).expect("started");
    container.write_line(Stream::Stdout, b"line 20").expect("written");
    world.wait_for_records(21);
    forwarder.assert_conserved();
    assert_eq!(messages(&world.receiver), numbered("line", 0..21));
    assert_eq!(forwarder.metric("lines_read_total"), 21.0, "nothing is read twice");
}
