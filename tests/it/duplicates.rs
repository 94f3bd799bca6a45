//! SIGKILL while a receiver that cannot tell repeated lines takes them in: everything comes, and what comes twice is young.

use crate::harness::{World, play, play_into};
use rask::generate::{Format, Progress};
use rask::receiver::Options;
use std::time::Duration;

const RATE: u64 = 3_000;
const KILLS: u64 = 9;

/// The bound is on the age of what is repeated: 200 ms of data, of which 100 are the time between two checkpoints, and the batch
/// in the air. A forwarder that did not run for a while sends more than `RATE` when it does: hence the half on top.
#[test]
fn killed_while_a_forgetful_receiver_listens() {
    let world = World::with(Options { forgetful: true, ..Options::default() });
    let progress = Progress::default();
    let container = world.container("api");
    let duplicates = || -> u64 {
        world.receiver.ledger(|ledger| ledger.sequences().iter().map(|sequence| sequence.duplicates).sum())
    };
    let received = || world.receiver.totals().records;
    let mut repeated = Vec::new();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| play_into(&play(Format::Go, RATE * 15, RATE), container, &progress));
        for _ in 0..KILLS {
            let before = duplicates();
            let forwarder = world.forward("api");
            let seen = received();
            // What the last one had sent and not noted comes first; then there is something new to be noted.
            world.wait_for_records(seen + RATE / 2);
            std::thread::sleep(Duration::from_millis(fastrand::u64(400..700)));
            forwarder.kill();
            repeated.push(duplicates() - before);
        }
        let forwarder = world.forward("api");
        writer.join().expect("the log can be written");
        world.wait_for_play("api", &progress);
        forwarder.assert_conserved();
    });
    world.receiver.ledger(|ledger| {
        for sequence in ledger.sequences() {
            assert_eq!(sequence.missing(0), 0, "{}", sequence.stream);
        }
        assert_eq!(ledger.violations(), [] as [String; 0]);
    });
    let most = repeated.iter().max();
    assert!(most <= Some(&(RATE * 3 / 10)), "lines repeated after each kill, at {RATE} a second: {repeated:?}");
}
