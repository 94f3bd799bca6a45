//! What the receiver refuses: set aside, shown, sent again when a person says so; everything else goes on meanwhile.

use crate::harness::{Forwarder, World, messages, numbered, wait, write_numbered};
use rask::layout::{Container, Stream};
use rask::receiver::Fault;
use std::process::{Output, Stdio};

/// Runs `spool …` as a person would: exit code, stdout, stderr.
fn spool(world: &World, args: &[&str]) -> (i32, String, String) {
    let mut command = world.command("app");
    command.arg("spool").args(args).stdout(Stdio::piped()).stderr(Stdio::piped());
    let Output { status, stdout, stderr } = command.output().expect("the binary starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    (status.code().expect("it ends by itself"), text(stdout), text(stderr))
}

fn listing(world: &World) -> serde_json::Value {
    let (code, text, errors) = spool(world, &["ls", "--json"]);
    assert_eq!(code, 0, "{errors}");
    serde_json::from_str(&text).expect("one JSON object")
}

fn dead_letters(world: &World) -> u64 {
    listing(world)["dead_letters"]["letters"].as_u64().expect("a number")
}

/// One way to be refused: what the receiver does, what it answers, why the lines count as dropped.
struct Refusal {
    fault: Fault,
    status: u64,
    reason: &'static str,
}

fn refusals() -> [Refusal; 2] {
    [
        Refusal { fault: Fault::RefuseRecord("poison".into()), status: 400, reason: "refused" },
        Refusal { fault: Fault::MaxBody(20_000), status: 413, reason: "too_large" },
    ]
}

/// Refused by both: its text, and its length, which Docker splits in two.
fn poison(number: u64) -> Vec<u8> {
    format!("poison {number} {}", "x".repeat(25_000)).into_bytes()
}

/// A hundred good lines with two bad ones in the middle, all of them settled.
fn play(world: &World, refusal: &Refusal) -> (Forwarder, Container) {
    world.receiver.set_fault(refusal.fault.clone());
    let mut container = world.container("app");
    write_numbered(&mut container, "line", 0..50);
    for number in 0..2 {
        container.write_line(Stream::Stdout, &poison(number)).expect("written");
    }
    write_numbered(&mut container, "line", 50..100);
    let forwarder = world.forward("app");
    world.wait_for_records(100);
    forwarder.assert_conserved();
    assert_eq!(messages(&world.receiver), numbered("line", 0..100), "everything else goes on, in order");
    (forwarder, container)
}

fn assert_all_are_there(world: &World, lines: u64) {
    world.wait_for_records(lines + 2);
    let arrived = messages(&world.receiver);
    let bad: Vec<_> = arrived.iter().filter(|message| message.starts_with("poison")).map(String::as_bytes).collect();
    assert_eq!(bad, [poison(0), poison(1)], "in order, once, whole");
    let good: Vec<_> = arrived.iter().filter(|message| !message.starts_with("poison")).cloned().collect();
    assert_eq!(good, numbered("line", 0..lines));
    world.receiver.ledger(|ledger| assert_eq!(ledger.violations(), [] as [String; 0]));
}

#[test]
fn dead_letters_are_shown_and_the_running_forwarder_sends_them_again() {
    for refusal in refusals() {
        let world = World::new();
        let (forwarder, mut container) = play(&world, &refusal);
        let seen = listing(&world);
        assert_eq!((&seen["running"], seen["dead_letters"]["lines"].as_u64()), (&true.into(), Some(4)));
        let newest = seen["newest_dead_letters"].as_array().expect("a list");
        assert_eq!(
            newest.iter().map(|letter| letter["status"].as_u64()).collect::<Vec<_>>(),
            [Some(refusal.status); 2]
        );
        assert!(newest.iter().all(|letter| letter["container"] == container.id()));
        let (code, table, _) = spool(&world, &["ls", "--limit", "1"]);
        assert!(code == 0 && table.contains(&refusal.status.to_string()) && table.contains(&container.id()[..12]));
        assert!(table.contains("2 dead letters of 4 lines") && table.contains("1 more are not shown"), "{table}");
        assert!(table.contains("a forwarder is running") && !table.contains("poison"), "no log text: {table}");
        assert!(spool(&world, &["ls", "--text"]).1.contains("poison 1"));
        let (code, records, _) = spool(&world, &["export", "--dead"]);
        let records: Vec<_> = records.lines().map(|line| rask_record::Record::decode(line.as_bytes())).collect();
        let records: Vec<_> =
            records.into_iter().map(|record| record.expect("a record").message.into_bytes()).collect();
        assert_eq!((code, records), (0, vec![poison(0), poison(1)]));

        // It is refused again, and is a dead letter again.
        let (code, _, said) = spool(&world, &["drain"]);
        assert!(code == 0 && said.contains("the running forwarder sends 2 dead letters (4 lines)"), "{code} {said}");
        let dropped = format!("lines_dropped_total{{reason=\"{}\"}}", refusal.reason);
        wait("both are refused again", || forwarder.metrics()[&dropped] == 8.0);
        wait("both are dead again", || dead_letters(&world) == 2);
        forwarder.assert_conserved();

        world.receiver.set_fault(Fault::None);
        assert_eq!(spool(&world, &["drain"]).0, 0);
        write_numbered(&mut container, "line", 100..150);
        assert_all_are_there(&world, 150);
        forwarder.assert_conserved();
        assert_eq!((dead_letters(&world), forwarder.metric("lines_recovered_total")), (0, 8.0));
        let (code, _, said) = spool(&world, &["drain"]);
        assert!(code == 0 && said.contains("there are no dead letters"), "{said}");
        assert_eq!(forwarder.terminate().code(), Some(0));
    }
}

#[test]
fn without_a_forwarder_drain_sends_them_itself() {
    for refusal in refusals() {
        let world = World::new();
        let (forwarder, mut container) = play(&world, &refusal);
        assert_eq!(forwarder.terminate().code(), Some(0));
        assert_eq!(listing(&world)["running"], false);

        world.receiver.stop_listening();
        let (code, _, said) = spool(&world, &["drain", "--timeout", "1"]);
        assert!(code == 69 && said.contains("2 batches wait in the spool"), "{code} {said}");
        let seen = listing(&world);
        assert_eq!((&seen["dead_letters"]["letters"], &seen["segments"][0]["pending_lines"]), (&0.into(), &4.into()));
        let (_, records, _) = spool(&world, &["export"]);
        assert!(records.lines().count() == 2 && records.contains("poison 0") && records.contains("poison 1"));

        world.receiver.start_listening().expect("the port is still ours");
        let (code, _, said) = spool(&world, &["drain"]);
        assert!(code == 1 && said.contains("records of 4 lines were refused again"), "{code} {said}");
        assert_eq!((dead_letters(&world), world.receiver.totals().records), (2, 100));

        world.receiver.set_fault(Fault::None);
        let (code, _, said) = spool(&world, &["drain"]);
        assert!(code == 0 && said.contains("4 lines are delivered; the spool is empty"), "{code} {said}");
        assert_all_are_there(&world, 100);
        // What the forwarder finds is in order: nothing comes twice.
        let forwarder = world.forward("app");
        write_numbered(&mut container, "line", 100..120);
        assert_all_are_there(&world, 120);
        forwarder.assert_conserved();
        assert_eq!((dead_letters(&world), forwarder.metric("lines_recovered_total")), (0, 0.0));
    }
}

/// `drain` also sends what an outage has left in the spool, and a forwarder that cannot answer is not mistaken for none.
#[test]
fn drain_empties_the_spool_of_an_outage() {
    let world = World::new();
    world.receiver.stop_listening();
    let forwarder = world.forward("app");
    let mut container = world.container("app");
    write_numbered(&mut container, "line", 0..300);
    wait("it has read them", || forwarder.metric("lines_read_total") >= 300.0);
    let stopped = forwarder.pid();
    crate::harness::signal(stopped, "STOP");
    let (code, _, said) = spool(&world, &["drain"]);
    // A stopped process has its socket and its lock, and does not answer.
    assert!(code == 69, "{code} {said}");
    crate::harness::signal(stopped, "CONT");
    assert_eq!(forwarder.terminate().code(), Some(0));
    let (_, exported, _) = spool(&world, &["export"]);
    assert_eq!(exported.lines().count(), 300);
    world.receiver.start_listening().expect("the port is still ours");
    let (code, _, said) = spool(&world, &["drain"]);
    assert!(code == 0 && said.contains("300 lines are delivered"), "{code} {said}");
    assert_eq!(messages(&world.receiver), numbered("line", 0..300));
    assert_eq!(listing(&world)["bytes"], 0);
}

#[test]
fn a_closed_pipe_ends_an_export_quietly() {
    let world = World::new();
    world.receiver.stop_listening();
    let forwarder = world.forward("app");
    let mut container = world.container("app");
    write_numbered(&mut container, &"wide ".repeat(100), 0..2000);
    wait("it has read them", || forwarder.metric("lines_read_total") >= 2000.0);
    assert_eq!(forwarder.terminate().code(), Some(0));
    let mut command = world.command("app");
    let mut child =
        command.args(["spool", "export"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
    drop(child.stdout.take());
    let Output { status, stderr, .. } = child.wait_with_output().expect("our child");
    assert_eq!((status.code(), String::from_utf8_lossy(&stderr).as_ref()), (Some(0), ""));
}

/// A receiver that answers 400 to everything is broken: the log does not become dead letters record by record.
#[test]
fn a_receiver_that_refuses_everything_is_held_before_long() {
    let world = World::new();
    world.receiver.set_fault(Fault::Status(400, None));
    let mut container = world.container("app");
    write_numbered(&mut container, "line", 0..2000);
    let log = world.containers().with_file_name("forwarder.log");
    let mut command = world.command("app");
    command.stderr(std::fs::File::create(&log).expect("a file"));
    let forwarder = Forwarder::start(command, &world.state());
    wait("it says so", || {
        forwarder.get("/readyz").is_some_and(|(status, body)| status == 503 && body.contains("every record"))
    });
    let dead = dead_letters(&world);
    assert!((256..260).contains(&dead), "{dead} records were set aside");
    let told = std::fs::read_to_string(&log).expect("text").matches("refuses a record").count();
    assert_eq!(told, 1, "not one by one");
    world.receiver.set_fault(Fault::None);
    world.wait_for_records(2000 - dead);
    forwarder.assert_conserved();
    assert_eq!(spool(&world, &["drain"]).0, 0);
    world.wait_for_records(2000);
    forwarder.assert_conserved();
    let mut arrived = messages(&world.receiver);
    arrived.sort_by_key(|message| message[5..].parse::<u64>().expect("a number"));
    assert_eq!(arrived, numbered("line", 0..2000));
}
