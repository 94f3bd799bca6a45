//! Records left out or blacked out, by the configuration and by labels: the books balance and nothing is read twice.

use crate::harness::{Forwarder, PATIENCE, World, bare_command, messages, wait, write_numbered};
use rask::layout::{Rotation, Spec, Stream};
use rask_record::Record;
use std::process::Stdio;

fn suppressed(record: &Record) -> Option<u64> {
    (record.log_type == "suppressed").then(|| record.fields["suppressed_lines"].parse().expect("a number"))
}

#[test]
fn a_log_of_which_every_line_is_left_out_is_not_read_again() {
    let world = World::new();
    let mut container = world.container("app");
    let env = [("RASK_DROP", "^line")];
    let forwarder = world.forward_with("app", &env);
    write_numbered(&mut container, "line", 0..5_000);
    wait("all are left out", || forwarder.metric("lines_dropped_total") == 5_000.0);
    forwarder.assert_conserved();
    assert_eq!(forwarder.metrics()["lines_dropped_total{reason=\"drop\"}"], 5_000.0);
    assert_eq!(forwarder.terminate().code(), Some(0));

    let forwarder = world.forward_with("app", &env);
    write_numbered(&mut container, "other", 0..1);
    world.wait_for_records(1);
    forwarder.assert_conserved();
    assert_eq!(forwarder.metric("lines_read_total"), 1.0);
    assert_eq!(messages(&world.receiver), ["other 0"]);
}

#[test]
fn lines_that_take_turns_come_once_across_kills() {
    let world = World::new();
    let mut container = world.container("app");
    let env = [("RASK_DROP", "[13579]$")];
    for round in 0..3u64 {
        let forwarder = world.forward_with("app", &env);
        write_numbered(&mut container, "line", round * 400..round * 400 + 400);
        world.wait_for_records(round * 200 + 200);
        forwarder.assert_conserved();
        forwarder.kill();
    }
    let even: Vec<String> = (0..1200).step_by(2).map(|number| format!("line {number}")).collect();
    assert_eq!(messages(&world.receiver), even);
}

#[test]
fn flags_and_labels() {
    let world = World::new();
    let mut command = world.command("app");
    command.args(["--min-level", "warn", "--drop=^WARN skip", "--redact", "email"]);
    let labels =
        [("rask.min_level", "off"), ("rask.drop", "("), ("rask.redact", "card"), ("rask.sample", "order:1000000")];
    let labels = labels.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec();
    let (mut bare, mut labelled) =
        (world.container("app"), world.container_as(Spec { labels, name: "labelled".into(), ..Spec::service("app") }));
    let lines = [
        "DEBUG nothing",
        "WARN skip this",
        "ERROR mail bob@example.com card 4111 1111 1111 1111",
        r#"{"level":"info","msg":"sampled","order":"7"}"#,
        r#"{"level":"error","msg":"never sampled","order":"7"}"#,
    ];
    for container in [&mut bare, &mut labelled] {
        for line in lines {
            container.write_line(Stream::Stdout, line.as_bytes()).expect("written");
        }
    }
    let forwarder = Forwarder::start(command, &world.state());
    world.wait_for_records(5);
    forwarder.assert_conserved();
    let of = |id: &str| -> Vec<String> {
        let records = world.receiver.records();
        records.into_iter().filter(|record| record.container_id == id).map(|record| record.message).collect()
    };
    assert_eq!(of(bare.id()), ["ERROR mail [redacted:email] card 4111 1111 1111 1111", "never sampled"]);
    let error = "ERROR mail [redacted:email] card [redacted:card]";
    assert_eq!(of(labelled.id()), ["DEBUG nothing", error, "never sampled"], "a label that is wrong leaves the flag");
    let metrics = forwarder.metrics();
    let dropped = |reason: &str| metrics.get(&format!("lines_dropped_total{{reason=\"{reason}\"}}")).copied();
    assert_eq!((dropped("level"), dropped("drop"), dropped("sample")), (Some(2.0), Some(2.0), Some(1.0)));
    assert_eq!((metrics["redactions_total{rule=\"email\"}"], metrics["redactions_total{rule=\"card\"}"]), (2.0, 1.0));
}

#[test]
fn lines_over_the_rate_are_told_of_though_none_comes_behind_them() {
    let world = World::new();
    let mut container = world.container("app");
    let env = [("RASK_RATE", "10:20")];
    let forwarder = world.forward_with("app", &env);
    write_numbered(&mut container, "line", 0..500);
    let told = || -> u64 { world.receiver.records().iter().map(|record| suppressed(record).unwrap_or(1)).sum() };
    wait("every line is a record or told of", || told() == 500);
    forwarder.assert_conserved();
    let sent = world.receiver.records().iter().filter(|record| suppressed(record).is_none()).count();
    assert!((20..500).contains(&sent), "{sent}");
    assert_eq!(forwarder.metrics()["lines_dropped_total{reason=\"rate\"}"], (500 - sent) as f64);
    world.receiver.ledger(|ledger| assert_eq!(ledger.violations(), [] as [String; 0]));
    // Nothing of them is left for the next process.
    assert_eq!(forwarder.terminate().code(), Some(0));
    let forwarder = world.forward_with("app", &env);
    write_numbered(&mut container, "next", 0..1);
    assert!(world.receiver.wait_until(PATIENCE, |ledger| ledger.totals().records as usize > sent + 1));
    forwarder.assert_conserved();
    assert_eq!(forwarder.metric("lines_read_total"), 1.0);
}

/// The end of a file tells of what was suppressed in it: the lines of each generation are committed in it.
#[test]
fn the_rate_holds_across_rotations_and_leaves_nothing_behind() {
    let world = World::new();
    let rotation = Rotation { max_size: Some(1 << 40), max_file: 9, compress: false };
    let mut container = world.container_as(Spec { rotation, ..Spec::service("app") });
    let env = [("RASK_RATE", "5"), ("RASK_DROP", "[02468]$")];
    for round in 0..5u64 {
        write_numbered(&mut container, "line", round * 100..round * 100 + 100);
        if round < 4 {
            container.log().rotate().expect("rotated");
        }
    }
    let forwarder = world.forward_with("app", &env);
    let told = || -> u64 { world.receiver.records().iter().map(|record| suppressed(record).unwrap_or(1)).sum() };
    wait("every line is a record, told of, or dropped", || told() == 250);
    forwarder.assert_conserved();
    assert_eq!(forwarder.metrics()["lines_dropped_total{reason=\"drop\"}"], 250.0);
    assert_eq!(forwarder.terminate().code(), Some(0));
    let forwarder = world.forward_with("app", &env);
    write_numbered(&mut container, "other", 1..2);
    wait("the new line has come", || messages(&world.receiver).iter().any(|message| message == "other 1"));
    forwarder.assert_conserved();
    // One dropped line at the end of each file may have had no record behind it.
    let read = forwarder.metric("lines_read_total");
    assert!(read <= 6.0, "{read}");
}

#[test]
fn what_is_suppressed_is_told_of_at_the_end() {
    let world = World::new();
    let mut container = world.container("app");
    let forwarder = world.forward_with("app", &[("RASK_RATE", "1")]);
    write_numbered(&mut container, "line", 0..50);
    wait("they are read", || forwarder.metric("lines_read_total") == 50.0);
    assert_eq!(forwarder.terminate().code(), Some(0));
    let sum: u64 = world.receiver.records().iter().map(|record| suppressed(record).unwrap_or(1)).sum();
    assert_eq!(sum, 50);
}

#[test]
fn a_wrong_pattern_is_said_without_being_shown() {
    let mut command = bare_command();
    command.env("TARGET_SERVICE", "app").env("RASK_REDACT", "email\npin=s3cret(").env("RASK_RATE", "0");
    let output = command.stderr(Stdio::piped()).output().expect("the binary starts");
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(78), "{text}");
    for word in ["RASK_REDACT (environment)", "pattern 2", "character 7", "unclosed group", "RASK_RATE"] {
        assert!(text.contains(word), "{word}: {text}");
    }
    assert!(!text.contains("s3cret"), "{text}");
}
