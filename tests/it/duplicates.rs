//! SIGKILL while a receiver that cannot tell repeated lines takes them in: everything comes, and what comes twice is young.

use crate::harness::{World, play, play_into};
use rask::generate::{Format, Progress};
use rask::receiver::Options;
use std::time::{Duration, Instant};

const RATE: u64 = 3_000;
const KILLS: u64 = 9;
/// How long before a SIGKILL that may have come which comes again.
const RESENT: Duration = Duration::from_millis(200);

/// Watches for `time`, and says how many records had come before the last `RESENT` of it. Where the machine let this thread wait,
/// the forwarder may have waited as well: that is added.
fn old_enough(world: &World, time: Duration) -> u64 {
    let (begun, mut seen, mut pause) = (Instant::now(), Vec::new(), Duration::ZERO);
    let mut last = begun;
    while begun.elapsed() < time {
        seen.push((last, world.receiver.totals().records));
        std::thread::sleep(Duration::from_millis(5));
        pause = pause.max(last.elapsed().saturating_sub(Duration::from_millis(10)));
        last = Instant::now();
    }
    let old = |at: &&(Instant, u64)| at.0.elapsed() >= RESENT + pause;
    seen.iter().rfind(old).or(seen.first()).expect("it was watched").1
}

/// The bound is on the age of what is repeated, of which half is the time between two checkpoints. It is no bound on the number of
/// lines: a forwarder that did not run for a while sends many at once.
#[test]
fn killed_while_a_forgetful_receiver_listens() {
    let world = World::with(Options { forgetful: true, ..Options::default() });
    let progress = Progress::default();
    let container = world.container("api");
    let duplicates = || -> u64 {
        world.receiver.ledger(|ledger| ledger.sequences().iter().map(|sequence| sequence.duplicates).sum())
    };
    let received = || world.receiver.totals().records;
    // Of each kill: lines that were young enough to come again, and lines that did.
    let mut kills = Vec::new();
    let mut before = 0;
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| play_into(&play(Format::Go, RATE * 15, RATE), container, &progress));
        for _ in 0..KILLS {
            let forwarder = world.forward("api");
            let seen = received();
            // What the last one had sent and not noted comes first; then there is something new to be noted.
            world.wait_for_records(seen + RATE / 2);
            let repeated = duplicates() - before;
            before += repeated;
            if let Some((_, again)) = kills.last_mut() {
                *again = repeated;
            }
            let old = old_enough(&world, Duration::from_millis(fastrand::u64(400..700)));
            forwarder.kill();
            kills.push((received() - old, 0));
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
    kills.last_mut().expect("it was killed").1 = duplicates() - before;
    assert!(
        kills.iter().all(|(young, again)| again <= young),
        "records of the last 200 ms, and repeated ones: {kills:?}"
    );
    assert!(kills.iter().any(|(_, again)| *again > 0), "a receiver that recognizes what it has? {kills:?}");
}
