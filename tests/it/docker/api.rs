//! Logs that only Docker's API can read: driver `local`.

use super::truth::Truth;
use super::{Real, SOCKET, TERMINAL_SERVICE, assert_all, docker, forward, ready, unique};
use crate::harness::{World, wait};
use std::time::Duration;

const API: [(&str, &str); 1] = [("DOCKER_HOST", SOCKET)];

#[test]
fn killed_again_and_again() {
    if !ready(&[super::DEBIAN]) {
        return;
    }
    let (world, service) = (World::new(), unique("local"));
    let container = Real::json_service(&service, &["--log-driver", "local"], 20_000, 4_000);
    for _ in 0..6 {
        let forwarder = forward(&world, &service, &API);
        // Different moments of its life; any is right.
        std::thread::sleep(Duration::from_millis(fastrand::u64(50..800)));
        forwarder.kill();
    }
    let last = forward(&world, &service, &API);
    container.wait_for_its_end();
    assert_all(&world, &service, 20_000);
    last.assert_conserved();
    assert_eq!(last.terminate().code(), Some(0));
}

#[test]
fn receiver_away() {
    if !ready(&[super::DEBIAN]) {
        return;
    }
    let (world, service) = (World::new(), unique("local-outage"));
    let forwarder = forward(&world, &service, &API);
    let container = Real::json_service(&service, &["--log-driver", "local"], 20_000, 4_000);
    wait("some have come", || world.receiver.totals().records > 1_000);
    world.receiver.stop_listening();
    container.wait_for_its_end();
    wait("all is read", || forwarder.metric("lines_read_total") >= 20_000.0);
    world.receiver.start_listening().expect("the port is still ours");
    assert_all(&world, &service, 20_000);
    forwarder.assert_conserved();
}

/// The daemon's own follower shows lines twice here, and passes over others.
#[test]
fn rotation() {
    if !ready(&[super::DEBIAN]) {
        return;
    }
    let (world, service) = (World::new(), unique("local-rotates"));
    let forwarder = forward(&world, &service, &API);
    let options = ["--log-driver", "local", "--log-opt", "max-size=200k", "--log-opt", "max-file=20"];
    let container = Real::json_service(&service, &options, 12_000, 3_000);
    container.wait_for_its_end();
    assert_all(&world, &service, 12_000);
    forwarder.assert_conserved();
}

#[test]
fn tty() {
    if !ready(&[super::DEBIAN]) {
        return;
    }
    let (world, service) = (World::new(), unique("local-tty"));
    let _forwarder = forward(&world, &service, &[("DOCKER_HOST", SOCKET), ("RASK_FORMAT", "plain")]);
    let container = Real::perl(&service, &["--log-driver", "local", "-t"], TERMINAL_SERVICE, &[]);
    container.wait_for_its_end();
    let truth = Truth::of_output(&docker(&["logs", &container.id]));
    assert_eq!(truth.len(), 3_000);
    truth.assert_came(&world, &container.id);
}
