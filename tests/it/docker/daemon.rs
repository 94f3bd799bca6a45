//! The daemon restarts, is killed, and comes back after a power loss: nothing that it wrote is lost or repeated.

use super::private::Private;
use super::truth::Truth;
use super::{ENDLESS_SERVICE, unique};
use crate::harness::{Forwarder, World, wait};
use std::fs::File;
use std::io::Write;

const PLAIN: (&str, &str) = ("RASK_FORMAT", "plain");

/// Containers go on while the daemon is away.
#[test]
fn restarts_with_live_restore() {
    through_restarts(true);
}

/// Containers end with the daemon and are started again by it.
#[test]
fn restarts_without_live_restore() {
    through_restarts(false);
}

/// A json-file log by its directory and a `local` log by the API, through an orderly restart and a SIGKILL of the daemon.
fn through_restarts(live_restore: bool) {
    let Some(mut daemon) = Private::start(live_restore) else { return };
    let (by_file, by_api) = (World::new(), World::new());
    let (file_service, api_service) = (unique("file"), unique("stream"));
    let first = by_directory(&by_file, &file_service, &daemon);
    let mut command = by_api.command(&api_service);
    command.env("DOCKER_HOST", daemon.socket()).env(PLAIN.0, PLAIN.1);
    let second = Forwarder::start(command, &by_api.state());
    let common = ["--restart", "always"];
    let endless = ["perl", "-e", ENDLESS_SERVICE, "1000"];
    let rotating = ["--log-opt", "max-size=200k", "--log-opt", "max-file=50"];
    let file = daemon.run(&file_service, &[&common[..], &rotating].concat(), &endless);
    let stream = daemon.run(&api_service, &[&common[..], &["--log-driver", "local"]].concat(), &endless);
    let both_go_on = || {
        for world in [&by_file, &by_api] {
            let before = world.receiver.totals().records;
            wait("lines come", || world.receiver.totals().records > before + 800);
        }
    };
    both_go_on();
    daemon.terminate();
    daemon.launch();
    both_go_on();
    daemon.kill();
    daemon.launch();
    both_go_on();
    daemon.must(&["stop", &file, &stream]);
    let truth = Truth::of_files(&daemon.log(&file));
    assert!(truth.len() > 2_400);
    truth.assert_came(&by_file, &file);
    Truth::of_output(&daemon.docker(&["logs", &stream])).assert_came(&by_api, &stream);
    first.assert_conserved();
    second.assert_conserved();
    assert_eq!(first.metric("gaps_total") + second.metric("gaps_total"), 0.0);
}

fn by_directory(world: &World, service: &str, daemon: &Private) -> Forwarder {
    let mut command = world.command(service);
    command.env("DOCKER_CONTAINERS_DIR", daemon.containers()).env(PLAIN.0, PLAIN.1);
    Forwarder::start(command, &world.state())
}

/// What a power loss leaves: a run of NUL bytes and a torn line, behind which the daemon goes on.
#[test]
fn damaged_by_a_power_loss() {
    let Some(mut daemon) = Private::start(false) else { return };
    let (watching, coming) = (World::new(), World::new());
    let service = unique("torn");
    let first = by_directory(&watching, &service, &daemon);
    let id = daemon.run(&service, &[], &["sh", "-c", "for i in $(seq 100); do echo line $i; done; sleep 0.2"]);
    daemon.must(&["wait", &id]);
    watching.wait_for_records(100);
    daemon.terminate();
    let mut log = File::options().append(true).open(daemon.log(&id)).expect("a log");
    log.write_all(&[&[0; 5_000][..], b"{\"log\":\"torn in the mid"].concat()).expect("written");
    daemon.launch();
    daemon.must(&["start", &id]);
    daemon.must(&["wait", &id]);
    let second = by_directory(&coming, &service, &daemon);
    for (world, forwarder) in [(&watching, &first), (&coming, &second)] {
        // The first line of the second run stands behind the torn one, in its line of the file.
        world.wait_for_records(200);
        forwarder.assert_conserved();
        let records = world.receiver.records();
        let (garbage, lines): (Vec<_>, Vec<_>) = records.iter().partition(|record| record.log_type == "raw");
        assert_eq!(garbage.len(), 1);
        assert!(garbage[0].message.contains("torn in the mid") && garbage[0].fields.contains_key("parse_error"));
        let mut came: Vec<_> = lines.iter().map(|record| record.message.as_str()).collect();
        if garbage[0].message.contains("line 1\\n") {
            came.insert(100, "line 1");
        }
        let run = || (1..=100).map(|i| format!("line {i}"));
        assert_eq!(came, run().chain(run()).collect::<Vec<_>>());
        assert_eq!(world.receiver.ledger(|ledger| ledger.violations().to_vec()), [] as [String; 0]);
    }
}
