//! Messages over 16 KiB whose parts stand in different generations of the log: one record each, once, whatever dies meanwhile.

use crate::harness::{PATIENCE, World, messages, wait};
use rask::layout::{Container, Rotation, Spec, Stream};

const PART: usize = 16 << 10;

/// Message `number`: its own letters, in so many whole parts and a rest.
fn message(number: usize, parts: usize) -> String {
    let letters = ('a'..='z').cycle().skip(number % 26);
    format!("{number:06} ").chars().chain(letters).take(parts * PART + 100).collect()
}

/// Writes it as Docker does, rotating behind each part when `rotate` says so.
fn write(container: &mut Container, stream: Stream, message: &str, mut rotate: impl FnMut() -> bool) {
    let (mut rest, mut turn) = (message.as_bytes(), |container: &mut Container| {
        if rotate() {
            container.log().rotate().expect("rotated");
        }
    });
    while rest.len() > PART {
        let (part, behind) = rest.split_at(PART);
        container.write_part(stream, part).expect("written");
        turn(container);
        rest = behind;
    }
    container.write_line(stream, rest).expect("written");
}

fn rotating(world: &World, max_file: u32, compress: bool) -> Container {
    let rotation = Rotation { max_size: Some(100 << 20), max_file, compress };
    world.container_as(Spec { rotation, ..Spec::service("app") })
}

#[test]
fn rotations_between_the_parts() {
    for compress in [false, true] {
        let world = World::new();
        let forwarder = world.forward("app");
        let mut container = rotating(&world, 50, compress);
        let mut expected = Vec::new();
        for number in 0..12 {
            let text = message(number, 1 + number % 4);
            write(&mut container, Stream::Stdout, &text, || number % 3 > 0);
            expected.push(text);
        }
        world.wait_for_records(12);
        forwarder.assert_conserved();
        assert!(messages(&world.receiver) == expected, "{:?}", heads(&world));
        assert!(forwarder.metric("rotations_total") >= 10.0);
        world.receiver.ledger(|ledger| assert_eq!(ledger.violations(), [] as [String; 0]));
    }
}

/// The first part of one stream's message is held through a rotation, while the other stream goes on in both generations.
#[test]
fn a_kill_between_the_parts_and_the_rotation() {
    let world = World::new();
    let mut container = rotating(&world, 10, false);
    let long = message(7, 1);
    let (first, rest) = long.split_at(PART);
    let forwarder = world.forward("app");
    container.write_line(Stream::Stderr, b"before").expect("written");
    container.write_part(Stream::Stdout, first.as_bytes()).expect("written");
    container.write_line(Stream::Stderr, b"between").expect("written");
    container.log().rotate().expect("rotated");
    container.write_line(Stream::Stderr, b"behind").expect("written");
    world.wait_for_records(3);
    forwarder.kill();
    let forwarder = world.forward("app");
    container.write_line(Stream::Stdout, rest.as_bytes()).expect("written");
    world.wait_for_records(4);
    forwarder.assert_conserved();
    assert!(forwarder.terminate().success());
    // Both its lines are settled: nothing of it is read again.
    let forwarder = world.forward("app");
    container.write_line(Stream::Stdout, b"after").expect("written");
    world.wait_for_records(5);
    forwarder.assert_conserved();
    assert_eq!(messages(&world.receiver), ["before", "between", "behind", &long, "after"]);
    assert_eq!(forwarder.metric("lines_read_total"), 1.0);
}

/// Through the spool: the frame knows what its batch carries.
#[test]
fn an_outage_while_the_parts_are_rotated_away() {
    let world = World::new();
    world.receiver.stop_listening();
    let forwarder = world.forward("app");
    let mut container = rotating(&world, 2, false);
    let mut expected = Vec::new();
    for number in 0..6 {
        let text = message(number, 2);
        let spooled = forwarder.metric("spooled_batches_total");
        let mut read = forwarder.metric("lines_read_total");
        write(&mut container, Stream::Stdout, &text, || {
            read += 1.0;
            wait("the part is read", || forwarder.metric("lines_read_total") >= read);
            true
        });
        expected.push(text);
        wait("it is in the spool", || forwarder.metric("spooled_batches_total") > spooled);
    }
    forwarder.kill();
    world.receiver.start_listening().expect("the port is still ours");
    let forwarder = world.forward("app");
    world.wait_for_records(6);
    forwarder.assert_conserved();
    assert!(messages(&world.receiver) == expected, "{:?}", heads(&world));
    assert_eq!(forwarder.metric("lines_read_total"), 0.0, "all of it was in the spool");
    assert_eq!(forwarder.metric("gaps_total"), 0.0);
}

#[test]
fn killed_again_and_again_while_parts_and_rotations_alternate() {
    let world = World::new();
    let mut container = rotating(&world, 400, false);
    let count = 150;
    let expected: Vec<_> = (0..count).map(|number| message(number, 1 + number % 3)).collect();
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for text in &expected {
                write(&mut container, Stream::Stdout, text, || {
                    std::thread::sleep(std::time::Duration::from_millis(8));
                    fastrand::bool()
                });
            }
            container
        });
        while !writer.is_finished() {
            let forwarder = world.forward("app");
            std::thread::sleep(std::time::Duration::from_millis(fastrand::u64(10..300)));
            forwarder.kill();
        }
        let _container = writer.join().expect("written");
        let forwarder = world.forward("app");
        let all = world.receiver.wait_until(PATIENCE, |ledger| ledger.totals().records >= count as u64);
        forwarder.assert_conserved();
        let got = messages(&world.receiver);
        let heads: Vec<_> = got.iter().map(|text| (text.get(..6), text.len())).collect();
        assert!(all && got == expected, "{heads:?}");
    });
}

/// Beginning and length of each message that came.
fn heads(world: &World) -> Vec<(String, usize)> {
    messages(&world.receiver).iter().map(|text| (text.chars().take(10).collect(), text.len())).collect()
}
