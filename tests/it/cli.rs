//! The command line as a person meets it: exit codes, errors that name the key, health checks, ports that are taken.

use crate::harness::{Forwarder, World, bare_command, wait, write_numbered};
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Output, Stdio};

fn output(world: &World, args: &[&str], env: &[(&str, &str)]) -> (i32, String) {
    let mut command = world.command("app");
    command.args(args).envs(env.iter().copied()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let Output { status, stdout, stderr } = command.output().expect("the binary starts");
    let text = String::from_utf8_lossy(&stdout).into_owned() + &String::from_utf8_lossy(&stderr);
    (status.code().expect("it ends by itself"), text)
}

#[test]
fn errors_name_every_key_at_once() {
    let world = World::new();
    let env =
        [("BATCH_SIZE", "many"), ("MAX_LINE_BYTES", "3"), ("COMPRESSION", "rar"), ("RASK_TOKEN", "s3cret value\n")];
    let (code, text) = output(&world, &[], &env);
    assert_eq!(code, 78, "{text}");
    assert!(["BATCH_SIZE", "MAX_LINE_BYTES", "COMPRESSION"].iter().all(|key| text.contains(key)), "{text}");
    assert!(!text.contains("s3cret"), "{text}");
    assert_eq!(output(&world, &["--frobnicate"], &[]).0, 64);
    let (code, help) = output(&world, &["--help"], &[]);
    assert!(code == 0 && help.contains("TARGET_SERVICE") && help.contains("Examples"), "{help}");
}

#[test]
fn a_port_that_was_asked_for_is_needed_and_the_default_is_not() {
    let world = World::new();
    let taken = TcpListener::bind("0.0.0.0:0").expect("a free port");
    let port = taken.local_addr().expect("bound").port().to_string();
    let (code, text) = output(&world, &[], &[("METRICS_PORT", &port)]);
    assert_eq!(code, 78, "{text}");
    assert!(text.contains("METRICS_PORT") && text.contains(&port), "{text}");

    // Whether we hold the default port or somebody else does: it is taken.
    let _default = TcpListener::bind("0.0.0.0:9090");
    let mut command = world.command("app");
    command.env_remove("METRICS_PORT");
    let forwarder = Forwarder::start(command, &world.state());
    let mut container = world.container("app");
    write_numbered(&mut container, "line", 0..3);
    world.wait_for_records(3);
    assert_eq!(forwarder.terminate().code(), Some(0));
}

#[test]
fn a_second_forwarder_on_the_same_state_is_refused() {
    let world = World::new();
    let _first = world.forward("app");
    let (code, text) = output(&world, &[], &[]);
    assert_ne!(code, 0);
    assert!(text.contains("DISK_FALLBACK_PATH"), "{text}");
}

#[test]
fn the_health_check_asks_the_running_process() {
    let world = World::new();
    assert_eq!(output(&world, &["healthcheck"], &[]).0, 1, "nobody runs");
    let forwarder = world.forward("app");
    assert_eq!(output(&world, &["healthcheck"], &[]).0, 0);
    assert_eq!(output(&world, &["healthcheck", "--ready"], &[]).0, 0);
    forwarder.kill();
    assert_eq!(output(&world, &["healthcheck"], &[]).0, 1, "the socket it left behind is not mistaken for it");
}

#[test]
fn check_says_what_matches_and_what_is_reachable() {
    let world = World::new();
    let container = world.container("app");
    let (code, text) = output(&world, &["check"], &[("RASK_TOKEN", "s3cret")]);
    assert_eq!(code, 0, "{text}");
    assert!(text.contains(&container.id()[..12]) && text.contains("max-size"), "{text}");
    assert!(!text.contains("s3cret"), "{text}");
    world.receiver.stop_listening();
    let (code, text) = output(&world, &["check"], &[]);
    assert_eq!(code, 69, "{text}");
    assert!(text.contains("RASK_ENDPOINT"), "{text}");
}

#[test]
fn tap_prints_records_and_leaves_no_trace() {
    let world = World::new();
    let mut container = world.container("app");
    write_numbered(&mut container, "line", 0..3);
    let mut command = world.command("app");
    let mut tap = command.arg("tap").stdout(Stdio::piped()).spawn().expect("the binary starts");
    let lines = BufReader::new(tap.stdout.take().expect("piped")).lines();
    let records: Vec<_> =
        lines.take(3).map(|line| rask_record::Record::decode(line.expect("text").as_bytes())).collect();
    tap.kill().expect("our child");
    tap.wait().expect("our child");
    for (number, record) in records.into_iter().enumerate() {
        assert_eq!(record.expect("valid").message, format!("line {number}"));
    }
    assert_eq!(world.receiver.totals().requests, 0);
    assert!(!world.state().exists(), "no state directory");
}

#[test]
fn tap_puts_lines_together_and_does_not_wait_for_more() {
    let world = World::new();
    let mut container = world.container("app");
    for line in ["ERROR failed", "\tat a.b(C.java:1)"] {
        container.write_line(rask::layout::Stream::Stderr, line.as_bytes()).expect("written");
    }
    let mut tap = world.command("app").arg("tap").stdout(Stdio::piped()).spawn().expect("the binary starts");
    let mut line = String::new();
    BufReader::new(tap.stdout.take().expect("piped")).read_line(&mut line).expect("text");
    tap.kill().expect("our child");
    tap.wait().expect("our child");
    let record = rask_record::Record::decode(line.as_bytes()).expect("valid");
    assert_eq!(record.message, "ERROR failed\n\tat a.b(C.java:1)");
}

#[test]
fn metrics_are_what_prometheus_reads() {
    let world = World::new();
    let forwarder = world.forward("app");
    let mut container = world.container("app");
    write_numbered(&mut container, "line", 0..100);
    world.wait_for_records(100);
    forwarder.assert_conserved();
    let metrics = forwarder.metrics();
    assert_eq!(metrics["lines_read_total"], 100.0);
    assert_eq!(metrics["lines_delivered_total"], 100.0);
    assert_eq!(metrics["records_sent_total"], 100.0);
    assert_eq!(metrics["containers"], 1.0);
    assert!(metrics["lag_seconds"] > 0.0 && metrics["lag_seconds"] < 60.0, "{}", metrics["lag_seconds"]);
    assert!(metrics["ack_seconds_count"] >= 1.0);
    assert!(metrics.keys().any(|name| name.starts_with("build_info{version=")));
    wait("the lag is worked off", || forwarder.metric("lag_bytes") == 0.0);
}

#[test]
fn a_missing_target_is_said_by_name() {
    let mut command = bare_command();
    command.env("RASK_ENDPOINT", "http://").stderr(Stdio::piped());
    let output = command.output().expect("the binary starts");
    assert_eq!(output.status.code(), Some(78));
    assert!(String::from_utf8_lossy(&output.stderr).contains("RASK_ENDPOINT"));
}
