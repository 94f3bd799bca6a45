//! The main job: every line of every format arrives once, in order, in the right form, through rotations.

use crate::harness::{World, play, play_into};
use rask::generate::{Format, Progress};
use rask::layout::{Rotation, Spec};

/// Docker's default keeps one file; what was not read when it is unlinked survives only in an open descriptor, so these lines
/// are paced: the forwarder must keep up, as it would in life.
#[test]
fn every_format_arrives_exactly_once_through_rotations() {
    let world = World::new();
    let rotation = |max_file| Rotation { max_size: Some(200_000), max_file, compress: false };
    let services =
        [("api", Format::Go, 3), ("web", Format::Nginx, 1), ("db", Format::Postgres, 2), ("job", Format::Plain, 5)];
    std::thread::scope(|scope| {
        for (service, format, max_file) in services {
            let world = &world;
            scope.spawn(move || {
                let state = world.state().join(service);
                let mut command = world.command(service);
                command.env("DISK_FALLBACK_PATH", &state);
                let forwarder = crate::harness::Forwarder::start(command, &state);
                let spec = Spec { rotation: rotation(max_file), ..Spec::service(service) };
                let progress = Progress::default();
                play_into(&play(format, 8_000, 2_500), world.container_as(spec), &progress);
                assert!(progress.rotations.load(std::sync::atomic::Ordering::Relaxed) >= 4, "it did rotate");
                world.assert_exact(service, &progress);
                forwarder.assert_conserved();
                assert!(forwarder.metric("rotations_total") >= 4.0);
                assert!(forwarder.terminate().success());
            });
        }
    });
}

#[test]
fn a_backlog_is_read_from_its_first_byte_and_memory_stays_bounded() {
    let world = World::new();
    let progress = Progress::default();
    let container = play_into(&play(Format::Go, 200_000, 0), world.container("api"), &progress);
    let forwarder = world.forward("api");
    world.assert_exact("api", &progress);
    forwarder.assert_conserved();
    forwarder.assert_small();
    drop(container);
}

#[test]
fn compressed_bodies_say_the_same() {
    for compression in ["gzip", "zstd"] {
        let world = World::new();
        let progress = Progress::default();
        let _container = play_into(&play(Format::Nginx, 5_000, 0), world.container("web"), &progress);
        let _forwarder = world.forward_with("web", &[("COMPRESSION", compression)]);
        world.assert_exact("web", &progress);
        let totals = world.receiver.totals();
        assert!(totals.wire_bytes * 3 < totals.body_bytes, "{compression}: {totals:?}");
    }
}
