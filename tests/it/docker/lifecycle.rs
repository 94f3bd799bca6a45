//! Containers that come, go, pause, and are removed before they are read.

use super::truth::Truth;
use super::{
    DIRECTORY, ENDLESS_SERVICE, JSON_SERVICE, Real, SOCKET, TERMINAL_SERVICE, assert_runs, docker, forward, must,
    ready, run_args, unique,
};
use crate::harness::{Forwarder, World, messages, signal, wait};
use rask::receiver::Fault;
use std::fs::File;

const PLAIN: (&str, &str) = ("RASK_FORMAT", "plain");

/// Writes a line on each stream and is gone 50 ms later.
const BRIEF: &str = "echo out $0; echo err $0 >&2; sleep 0.05";

/// A service that writes without end.
fn endless(service: &str, rate: &str) -> Real {
    Real::perl(service, &[], ENDLESS_SERVICE, &[rate])
}

/// Each one lives 50 ms; its log goes with it.
#[test]
fn brief_lives() {
    if !ready(&[super::DEBIAN]) {
        return;
    }
    let service = unique("brief");
    let by_directory = World::new();
    let first = forward(&by_directory, &service, &[PLAIN]);
    let by_both = World::new();
    let second = forward(&by_both, &service, &[PLAIN, ("DOCKER_HOST", SOCKET)]);
    let run = |n: u32| {
        let args = run_args(&service, &["--rm"], super::DEBIAN, &["sh", "-c", BRIEF, &n.to_string()]);
        must(&args.iter().map(String::as_str).collect::<Vec<_>>());
    };
    (0..6).for_each(run);
    std::thread::scope(|scope| {
        for n in 6..12 {
            scope.spawn(move || run(n));
        }
    });
    for (world, forwarder) in [(&by_directory, &first), (&by_both, &second)] {
        assert_brief(world, 12);
        forwarder.assert_conserved();
        wait("removed containers are forgotten", || forwarder.metric("containers") == 0.0);
        wait("their files are closed", || forwarder.metric("open_files") == 0.0);
    }
}

/// With nothing but the API a log must be there until it is asked for.
#[test]
fn brief_lives_by_the_api_alone() {
    if !ready(&[super::DEBIAN]) {
        return;
    }
    let (service, world) = (unique("brief-api"), World::new());
    let mut command = world.command(&service);
    command.env("DOCKER_HOST", SOCKET).env(PLAIN.0, PLAIN.1);
    let forwarder = Forwarder::start(command, &world.state());
    let run = |n: u32| Real::run(&service, &[], super::DEBIAN, &["sh", "-c", BRIEF, &n.to_string()]);
    let _containers: Vec<_> = (0..6).map(run).collect();
    assert_brief(&world, 6);
    forwarder.assert_conserved();
}

/// Both lines of each of `count` came, once.
fn assert_brief(world: &World, count: u32) {
    world.receiver.wait_until(crate::harness::PATIENCE, |ledger| ledger.totals().records >= u64::from(2 * count));
    let mut expected: Vec<_> = (0..count).flat_map(|n| [format!("err {n}"), format!("out {n}")]).collect();
    let mut came = messages(&world.receiver);
    expected.sort();
    came.sort();
    assert_eq!(came, expected);
}

/// What the daemon wrote before it killed the container is read from the open descriptor, be the directory gone or not.
#[test]
fn removed_and_re_created_in_a_loop() {
    if !ready(&[super::DEBIAN]) {
        return;
    }
    let (service, world) = (unique("loop"), World::new());
    let forwarder = forward(&world, &service, &[PLAIN]);
    let mut all = Vec::new();
    for _ in 0..5 {
        let before = world.receiver.totals().records;
        let container = endless(&service, "2000");
        wait("it is read", || world.receiver.totals().records > before + 300);
        let log = File::open(container.log()).expect("a log");
        container.remove();
        all.push((container.id.clone(), Truth::of_file(log)));
    }
    for (id, truth) in all {
        assert!(truth.len() > 300);
        truth.assert_came(&world, &id);
    }
    forwarder.assert_conserved();
    wait("removed containers are forgotten", || forwarder.metric("containers") == 0.0);
}

#[test]
fn removed_while_the_forwarder_stands_still() {
    if !ready(&[super::DEBIAN]) {
        return;
    }
    let (service, world) = (unique("still"), World::new());
    let forwarder = forward(&world, &service, &[PLAIN]);
    let container = endless(&service, "5000");
    wait("it is read", || world.receiver.totals().records > 300);
    let log = File::open(container.log()).expect("a log");
    signal(forwarder.pid(), "STOP");
    let size = || log.metadata().expect("a file").len();
    let before = size();
    wait("it lags", || size() > before + 1_000_000);
    container.remove();
    signal(forwarder.pid(), "CONT");
    Truth::of_file(log).assert_came(&world, &container.id);
    forwarder.assert_conserved();
    wait("the container is forgotten", || forwarder.metric("containers") == 0.0);
}

#[test]
fn removed_while_the_receiver_hangs() {
    if !ready(&[super::DEBIAN]) {
        return;
    }
    let (service, world) = (unique("hang"), World::new());
    let forwarder = forward(&world, &service, &[PLAIN, ("ENABLE_DISK_FALLBACK", "false")]);
    let container = endless(&service, "5000");
    wait("it is read", || world.receiver.totals().records > 300);
    let log = File::open(container.log()).expect("a log");
    world.receiver.set_fault(Fault::Hang);
    // More than fits into the queue and the batches.
    wait("it lags", || forwarder.metric("lag_bytes") > 500_000.0);
    container.remove();
    world.receiver.set_fault(Fault::None);
    Truth::of_file(log).assert_came(&world, &container.id);
    forwarder.assert_conserved();
    wait("the container is forgotten", || forwarder.metric("containers") == 0.0);
}

#[test]
fn replicas_come_and_go() {
    if !ready(&[super::DEBIAN]) {
        return;
    }
    let (service, world) = (unique("replicas"), World::new());
    let forwarder = forward(&world, &service, &[("DOCKER_HOST", SOCKET)]);
    let replica = |run: &str| Real::perl(&service, &[], JSON_SERVICE, &["3000", "1500", run]);
    let (one, two) = (replica("one"), replica("two"));
    one.wait_for_its_end();
    let three = replica("three");
    wait("the first is read", || world.receiver.totals().records >= 3_000);
    wait("nothing of it waits", || forwarder.metric("lag_bytes") == 0.0);
    drop(one);
    let four = replica("four");
    [&two, &three, &four].into_iter().for_each(Real::wait_for_its_end);
    assert_runs(&world, &service, &["one", "two", "three", "four"], 3_000);
    forwarder.assert_conserved();
}

/// The same container runs three times: unobserved, observed from its first line on, and while the forwarder was away.
#[test]
fn started_before_and_after_the_service() {
    if !ready(&[super::DEBIAN]) {
        return;
    }
    let (service, world) = (unique("again"), World::new());
    let container = Real::json_service(&service, &[], 500, 1_000);
    container.wait_for_its_end();
    let start = || {
        must(&["start", &container.id]);
        container.wait_for_its_end();
    };
    let env = [("RASK_FORMAT", "plain")];
    let first = forward(&world, &service, &env);
    container.truth().assert_came(&world, &container.id);
    start();
    container.truth().assert_came(&world, &container.id);
    first.assert_conserved();
    first.kill();
    start();
    let second = forward(&world, &service, &env);
    assert_eq!(container.truth().len(), 1_500);
    container.truth().assert_came(&world, &container.id);
    second.assert_conserved();
}

#[test]
fn a_container_that_restarts_continues() {
    if !ready(&[super::DEBIAN]) {
        return;
    }
    let (world, service) = (World::new(), unique("unfinished"));
    let forwarder = forward(&world, &service, &[]);
    let container = Real::run(&service, &[], super::DEBIAN, &["sh", "-c", "echo first; printf unfinished"]);
    container.wait_for_its_end();
    world.wait_for_records(2);
    must(&["restart", &container.id]);
    container.wait_for_its_end();
    world.wait_for_records(4);
    assert_eq!(
        messages(&world.receiver),
        ["first", "unfinished", "first", "unfinished"],
        "nothing is glued to what came before"
    );
    forwarder.assert_conserved();
}

#[test]
fn paused() {
    if !ready(&[super::DEBIAN]) {
        return;
    }
    let (service, world) = (unique("paused"), World::new());
    let forwarder = forward(&world, &service, &[]);
    let container = Real::json_service(&service, &[], 4_000, 2_000);
    for round in 1..=3 {
        wait("it goes on", || world.receiver.totals().records > round * 500);
        must(&["pause", &container.id]);
        forwarder.assert_conserved();
        must(&["unpause", &container.id]);
    }
    assert_runs(&world, &service, &["test"], 4_000);
    forwarder.assert_conserved();
}

/// A terminal has one stream, and its lines end in `\r\n`.
#[test]
fn with_a_terminal() {
    if !ready(&[super::DEBIAN]) {
        return;
    }
    let (service, world) = (unique("tty"), World::new());
    let forwarder = forward(&world, &service, &[PLAIN]);
    let container = Real::perl(&service, &["-t"], TERMINAL_SERVICE, &[]);
    container.wait_for_its_end();
    let truth = container.truth();
    assert_eq!((truth.0[0].len(), truth.0[1].len()), (3_000, 0));
    truth.assert_came(&world, &container.id);
    forwarder.assert_conserved();
}

#[test]
fn left_out_by_its_label() {
    if !ready(&[super::DEBIAN]) {
        return;
    }
    let (service, world) = (unique("label"), World::new());
    let forwarder = forward(&world, &service, &[("DOCKER_HOST", SOCKET)]);
    let run = |label: &str, word: &str| Real::run(&service, &["--label", label], super::DEBIAN, &["echo", word]);
    let silent = run("rask.enabled=false", "silent");
    silent.wait_for_its_end();
    let heard = run("rask.enabled=true", "heard");
    heard.wait_for_its_end();
    world.wait_for_records(1);
    forwarder.assert_conserved();
    assert_eq!(messages(&world.receiver), ["heard"]);
    assert_eq!(forwarder.metric("containers"), 1.0);
}

#[test]
fn found_by_the_api() {
    if !ready(&[super::DEBIAN]) {
        return;
    }
    let (world, service) = (World::new(), unique("found"));
    let forwarder = forward(&world, &service, &[("DOCKER_HOST", SOCKET)]);
    for round in 1..=3u64 {
        let container = Real::json_service(&service, &[], 100, 1_000);
        container.wait_for_its_end();
        world.wait_for_records(round * 100);
    }
    wait("removed containers are forgotten", || forwarder.metric("containers") == 0.0);
    forwarder.assert_conserved();
    assert_eq!(world.receiver.totals().records, 300);
}

/// The sidecar lives in its service's network namespace, whose interface goes with the service.
#[test]
fn a_service_re_created_under_its_sidecar_is_said_and_collected() {
    if !ready(&[super::DEBIAN]) {
        return;
    }
    let world = World::with(rask::receiver::Options { listen: ([0, 0, 0, 0], 0).into(), ..Default::default() });
    let service = unique("shared");
    let talk = |word: &str| {
        let program = format!("while true; do echo {word}; sleep 0.1; done");
        Real::run(&service, &["--network", "bridge"], super::DEBIAN, &["sh", "-c", &program])
    };
    let first = talk("first");
    let gateway = docker(&["inspect", "--format", "{{.NetworkSettings.Gateway}}", &first.id]);
    let gateway = String::from_utf8_lossy(&gateway.stdout).trim().to_owned();
    let network = format!("container:{}", first.id);
    let target = format!("TARGET_SERVICE={service}");
    let endpoint = format!("RASK_ENDPOINT=http://{gateway}:{}/v1/aggregate", world.receiver.address().port());
    let binary = concat!(env!("CARGO_BIN_EXE_rask-log-forwarder"), ":/rask-log-forwarder:ro");
    let directory = format!("{DIRECTORY}:{DIRECTORY}:ro");
    let options = [
        &[
            "--network",
            &network,
            "-v",
            binary,
            "-v",
            &directory,
            "--read-only",
            "--tmpfs",
            "/state",
            "--cap-drop",
            "ALL",
        ],
        ["-e", &target, "-e", &endpoint, "-e", "DISK_FALLBACK_PATH=/state", "-e", "METRICS_PORT=0"].as_slice(),
    ]
    .concat();
    let sidecar = Real::run(&unique("sidecar"), &options, super::DEBIAN, &["/rask-log-forwarder"]);
    world.wait_for_records(3);
    let healthy =
        |args: &[&str]| sidecar.exec(&[&["/rask-log-forwarder", "healthcheck"], args].concat()).status.success();
    assert!(healthy(&[]) && healthy(&["--ready"]));

    drop(first);
    let _second = talk("second");
    wait("it is not ready", || !healthy(&["--ready"]));
    assert!(healthy(&[]), "nor is it ill");
    let said = || docker(&["logs", &sidecar.id]).stderr;
    wait("it says so", || String::from_utf8_lossy(&said()).contains("the network namespace has lost its interface"));
    wait("it goes on collecting", || {
        // Its own state, which is all that can be looked at: nobody outside reaches it any more.
        let spooled = sidecar.exec(&["sh", "-c", "find /state/spool -name '*.seg' -size +0"]);
        !spooled.stdout.is_empty()
    });
}
