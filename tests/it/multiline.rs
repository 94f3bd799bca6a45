//! Traces and reports through the whole pipeline: one record each, also when the forwarder dies in the middle of them.

use crate::harness::{World, messages, wait};
use rask::layout::{Rotation, Spec, Stream};
use std::time::{Duration, Instant};

fn trace(number: usize) -> Vec<String> {
    let frames = (0..number % 9).map(|frame| format!("\tat com.example.Class{frame}.call(Class{frame}.java:{number})"));
    let head = format!("2026-11-21 13:00:00.123 ERROR request {number} failed");
    let cause = format!("Caused by: java.io.IOException: number {number}");
    [head, format!("java.lang.IllegalStateException: {number}")].into_iter().chain(frames).chain([cause]).collect()
}

#[test]
fn the_last_trace_does_not_wait_for_a_line_behind_it() {
    let world = World::new();
    let mut container = world.container("api");
    let forwarder = world.forward("api");
    container.write_line(Stream::Stdout, b"listening").expect("written");
    world.wait_for_records(1);
    let lines = trace(5);
    let written = Instant::now();
    for line in &lines {
        container.write_line(Stream::Stderr, line.as_bytes()).expect("written");
    }
    world.wait_for_records(2);
    assert!(written.elapsed() < Duration::from_secs(10), "{:?}", written.elapsed());
    assert_eq!(messages(&world.receiver), ["listening", &lines.join("\n")]);
    forwarder.assert_conserved();
    // What may go on is said at a stop all the same.
    container.write_line(Stream::Stderr, b"ERROR the last").expect("written");
    wait("it is read", || forwarder.metric("lines_read_total") > lines.len() as f64 + 1.0);
    assert_eq!(forwarder.terminate().code(), Some(0));
    assert_eq!(messages(&world.receiver).last().map(String::as_str), Some("ERROR the last"));
}

#[test]
fn traces_are_whole_though_the_forwarder_is_killed_in_them() {
    let world = World::new();
    let rotation = Rotation { max_size: Some(50_000), max_file: 50, compress: false };
    let mut container = world.container_as(Spec { rotation, ..Spec::service("api") });
    const TRACES: usize = 400;
    std::thread::scope(|scope| {
        let writer = scope.spawn(move || {
            for number in 0..TRACES {
                for line in trace(number) {
                    container.write_line(Stream::Stderr, line.as_bytes()).expect("written");
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            container.write_line(Stream::Stderr, b"listening").expect("written");
            container
        });
        while !writer.is_finished() {
            let forwarder = world.forward("api");
            std::thread::sleep(Duration::from_millis(fastrand::u64(20..400)));
            forwarder.kill();
        }
        let forwarder = world.forward("api");
        let reached = || messages(&world.receiver).last().is_some_and(|last| last == "listening");
        wait("everything came", reached);
        let expected: Vec<_> = (0..TRACES).map(|number| trace(number).join("\n")).chain(["listening".into()]).collect();
        let got = messages(&world.receiver);
        let first = got.iter().zip(&expected).position(|(got, expected)| got != expected);
        assert_eq!(first.map(|i| (&got[i], &expected[i])), None, "each trace is one record, in order");
        assert_eq!(got.len(), expected.len());
        forwarder.assert_conserved();
        drop(writer.join());
    });
}
