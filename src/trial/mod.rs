//! No line lost, none twice: a model of Docker and of what its logs must become, and the real forwarder, play the same random
//! history in one process.
//!
//! [`docker`] writes and rotates real files and knows what was written; [`machine`] is everything from collector to store;
//! `rask::receiver` takes in over HTTP, misbehaves on request, and keeps what came; the store's
//! disk fails, dies between any two changes, and loses power ([`faulty`](crate::sender::spool::fault::faulty)). In the end [`judge`] holds what came
//! against what was written.
//!
//! A history is replayed from its actions and its seed, but not to the instruction: receiver and store have threads of their
//! own. A failure that does not come back at the first replay comes back at one of the next.

mod docker;
mod judge;
mod machine;
mod world;

use docker::Rotation;
use proptest::prelude::*;
use rask::layout::Stream;
use rask::receiver::Fault;
use std::path::Path;
use world::World;

/// A directory in memory where there is one: this is about order and content, not about the disk's speed.
fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap()
}

/// What happens. A `usize` first chooses the container.
#[derive(Clone, Debug)]
enum Action {
    Create(Rotation),
    Remove(usize),
    /// So many lines, on both streams, of this size at most; every so many is one that the receiver may refuse.
    Lines(usize, usize, usize, usize),
    Torn(usize, Stream),
    Part(usize, Stream),
    Garbage(usize),
    Nul(usize, bool),
    /// Whether the forwarder reads everything before.
    Rotate(usize, bool),
    Gzip(usize),
    CatchUp(usize),
    /// Everything read is to be delivered or spooled, unless that cannot be.
    Settle,
    Turns(usize),
    PassMs(u64),
    Receiver(Receiver),
    DiskFull(bool),
    BadSyncs(u32),
    Crash(End),
    /// Dies by itself, so many changes of the disk later.
    CrashAfter(u64, End),
    /// Ends cleanly.
    Stop,
    Start,
    /// Starts and dies while starting, so many changes of the disk later.
    StartAndDie(u64, End),
}

/// How a process dies.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Killed,
    PowerLost,
}

/// What the receiver does from now on.
#[derive(Clone, Debug)]
enum Receiver {
    Accepts,
    /// Nobody listens.
    Away,
    Faulty(Fault),
    /// Answers so many requests, refusing records, and hangs: in the middle of a batch that is being taken apart, perhaps.
    RefusesAndHangs(usize),
    /// Takes so many in and dies before the answer is out.
    LosesAnswers(usize),
}

fn end() -> impl Strategy<Value = End> {
    prop_oneof![Just(End::Killed), Just(End::PowerLost)]
}

fn stream() -> impl Strategy<Value = Stream> {
    prop_oneof![Just(Stream::Stdout), Just(Stream::Stderr)]
}

fn rotation() -> impl Strategy<Value = Rotation> {
    prop_oneof![3 => Just(Rotation::Rename), 2 => Just(Rotation::Unlink), 1 => Just(Rotation::Truncate)]
}

fn receiver() -> impl Strategy<Value = Receiver> {
    prop_oneof![
        4 => Just(Receiver::Accepts),
        2 => Just(Receiver::Away),
        1 => Just(Receiver::Faulty(Fault::Status(500, None))),
        1 => Just(Receiver::Faulty(Fault::Hang)),
        1 => Just(Receiver::Faulty(Fault::Reset)),
        1 => Just(Receiver::Faulty(Fault::SlowMs(130))),
        1 => Just(Receiver::Faulty(Fault::MaxBody(docker::MAX_BODY))),
        1 => Just(Receiver::Faulty(Fault::NeverEndingAnswer)),
        2 => Just(Receiver::Faulty(Fault::RefuseRecord(docker::REFUSED.into()))),
        2 => (1..12usize).prop_map(Receiver::RefusesAndHangs),
        3 => (1..4usize).prop_map(Receiver::LosesAnswers),
    ]
}

/// What is written, and what happens to the files.
fn files() -> BoxedStrategy<Action> {
    let at = any::<usize>;
    prop_oneof![
        1 => rotation().prop_map(Action::Create),
        1 => at().prop_map(Action::Remove),
        12 => (at(), 1..20usize, 0..400usize, 1..9usize).prop_map(|(at, count, size, refused)| Action::Lines(at, count, size, refused)),
        2 => (at(), stream()).prop_map(|(at, stream)| Action::Torn(at, stream)),
        2 => (at(), stream()).prop_map(|(at, stream)| Action::Part(at, stream)),
        1 => at().prop_map(Action::Garbage),
        1 => (at(), any::<bool>()).prop_map(|(at, ended)| Action::Nul(at, ended)),
        6 => (at(), any::<bool>()).prop_map(|(at, seen)| Action::Rotate(at, seen)),
        2 => at().prop_map(Action::Gzip),
    ]
    .boxed()
}

/// What the forwarder is given to do, and how it ends and begins.
fn lives() -> BoxedStrategy<Action> {
    prop_oneof![
        4 => any::<usize>().prop_map(Action::CatchUp),
        3 => Just(Action::Settle),
        4 => (1..30usize).prop_map(Action::Turns),
        3 => (1..40u64).prop_map(Action::PassMs),
        3 => end().prop_map(Action::Crash),
        4 => (0..40u64, end()).prop_map(|(effects, end)| Action::CrashAfter(effects, end)),
        1 => Just(Action::Stop),
        8 => Just(Action::Start),
        2 => (0..25u64, end()).prop_map(|(effects, end)| Action::StartAndDie(effects, end)),
    ]
    .boxed()
}

/// What the disk does.
fn disk() -> BoxedStrategy<Action> {
    prop_oneof![any::<bool>().prop_map(Action::DiskFull), (1..4u32).prop_map(Action::BadSyncs)].boxed()
}

fn play(actions: Vec<Action>, seed: u64) {
    let mut world = World::new(seed);
    for action in actions {
        world.play(action);
    }
    world.finish();
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 300, max_shrink_time: 120_000, ..ProptestConfig::with_cases(12) })]

    #[test]
    fn every_line_is_delivered_once_whatever_happens(
        actions in prop::collection::vec(prop_oneof![8 => files(), 8 => lives(), 3 => receiver().prop_map(Action::Receiver), 1 => disk()], 1..60),
        seed: u64,
    ) {
        play(actions, seed);
    }
}

/// One history in which the store does everything that it ever does, begun again after every action.
fn fixed() -> Vec<Action> {
    let lines = |count| Action::Lines(0, count, 90, 2);
    let actions = [
        lines(9),
        Action::CatchUp(0),
        Action::Settle,
        Action::PassMs(110),
        Action::Receiver(Receiver::Away),
        lines(7),
        Action::Part(0, Stream::Stdout),
        Action::CatchUp(0),
        Action::Settle,
        Action::Rotate(0, true),
        lines(8),
        Action::CatchUp(0),
        Action::Settle,
        Action::Receiver(Receiver::Faulty(Fault::RefuseRecord(docker::REFUSED.into()))),
        Action::PassMs(150),
        Action::Rotate(0, true),
        lines(5),
        Action::Receiver(Receiver::LosesAnswers(1)),
        Action::CatchUp(0),
        Action::PassMs(110),
        Action::Stop,
    ];
    actions.into_iter().flat_map(|action| [Action::Start, action]).collect()
}

#[test]
fn it_dies_before_every_change_of_the_disk() {
    let mut world = World::new(0);
    fixed().into_iter().for_each(|action| world.play(action));
    let effects = world.effects();
    world.finish();
    assert!(effects > 20, "{effects}");
    let one = |effect: u64, end| {
        let mut world = World::new(effect);
        world.play(Action::CrashAfter(effect, end));
        fixed().into_iter().for_each(|action| world.play(action));
        world.finish();
    };
    // Half of the time is spent waiting.
    std::thread::scope(|scope| {
        for lane in 0..8 {
            let end = if lane % 2 == 0 { End::Killed } else { End::PowerLost };
            scope.spawn(move || (lane / 2..effects + 10).step_by(4).for_each(|effect| one(effect, end)));
        }
    });
}

/// A batch that was written and not synced when the process was killed is whole for the next one, and must be safe from then on.
#[test]
fn what_was_recovered_survives_the_loss_of_power() {
    std::thread::scope(|scope| {
        for effects in 0..12 {
            scope.spawn(move || {
                for seed in 0..3 {
                    let history = [
                        Action::Create(Rotation::Unlink),
                        Action::Receiver(Receiver::Away),
                        Action::Start,
                        Action::PassMs(5),
                        Action::Lines(1, 12, 90, 2),
                        Action::CrashAfter(effects, End::Killed),
                        Action::CatchUp(1),
                        Action::Settle,
                        Action::Crash(End::Killed),
                        Action::Start,
                        Action::Rotate(1, false),
                        Action::Crash(End::PowerLost),
                    ];
                    play(history.into(), seed);
                }
            });
        }
    });
}

/// Histories that chance plays too seldom. The second container has one file only.
#[test]
fn what_is_safe_and_what_is_gone() {
    let written =
        || vec![Action::Create(Rotation::Unlink), Action::Start, Action::Lines(1, 12, 90, 2), Action::CatchUp(1)];
    let spooled = || [vec![Action::Receiver(Receiver::Away)], written(), vec![Action::Settle]].concat();
    let delivered = || [written(), vec![Action::Settle, Action::PassMs(150)]].concat();
    let histories = [
        // What is in the spool is durable, and its file gone.
        [spooled(), vec![Action::Rotate(1, false), Action::Crash(End::PowerLost)]].concat(),
        // What is in the spool goes first, although no checkpoint can be made.
        [spooled(), vec![Action::Crash(End::Killed), Action::BadSyncs(20), Action::Start, Action::PassMs(20)]].concat(),
        // Lines come and go while nobody reads them: a gap.
        [delivered(), vec![Action::Crash(End::Killed), Action::Lines(1, 3, 9, 9), Action::Rotate(1, false)]].concat(),
        // The forwarder is killed while it holds the first part of a message whose file goes.
        [
            delivered(),
            vec![Action::Part(1, Stream::Stdout), Action::Rotate(1, true), Action::Crash(End::Killed), Action::Start],
        ]
        .concat(),
        // What is damaged ends what was being split.
        vec![Action::Part(0, Stream::Stdout), Action::Garbage(0)],
        // Nothing is left of the only log that it has read; what follows, not even a name of its own, tells of nothing between.
        [
            vec![Action::Start, Action::Lines(0, 1, 0, 1), Action::Rotate(0, true), Action::Lines(0, 1, 0, 1)],
            vec![Action::Rotate(0, false), Action::Lines(0, 16, 136, 5), Action::Rotate(0, false)],
            vec![Action::Nul(0, true), Action::Rotate(0, true)],
        ]
        .concat(),
        // The first part of a message is gone, the rest of it comes behind a line of the other stream.
        [
            vec![Action::Start, Action::Receiver(Receiver::Faulty(Fault::Hang)), Action::Lines(0, 9, 90, 5)],
            vec![Action::Part(0, Stream::Stderr), Action::CatchUp(0), Action::Crash(End::Killed)],
            vec![vec![Action::Rotate(0, false), Action::Lines(0, 5, 9, 9)]; 4].concat(),
        ]
        .concat(),
        // A batch is being taken apart at the end, and stands whole in the spool: it has become a dead letter and some records.
        [
            vec![Action::Receiver(Receiver::RefusesAndHangs(6)), Action::Lines(0, 9, 90, 2), Action::Start],
            vec![Action::CatchUp(0), Action::Settle, Action::Stop, Action::Receiver(Receiver::Accepts)],
        ]
        .concat(),
        // What is truncated is known from before, and perhaps not opened yet.
        [
            vec![Action::Create(Rotation::Truncate), Action::Start, Action::Lines(1, 9, 90, 9), Action::CatchUp(1)],
            vec![Action::Settle, Action::Stop, Action::Start, Action::Rotate(1, true), Action::Lines(1, 9, 90, 9)],
        ]
        .concat(),
        // Nothing but NUL is truncated.
        vec![Action::Create(Rotation::Truncate), Action::Start, Action::Nul(1, true), Action::Rotate(1, false)],
    ];
    std::thread::scope(|scope| {
        for history in histories {
            scope.spawn(move || (0..4).for_each(|seed| play(history.clone(), seed)));
        }
    });
}
