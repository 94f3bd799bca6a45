//! From the generator through the layout: what is in the files is what the ledger is to find.

use rask::generate::{Format, Pace, Play, Progress, Sink};
use rask::layout::{Container, Rotation, Spec};
use rask::receiver::{Detail, Keep, Ledger, mark_of};
use rask::stop::Stop;
use rask::verify::Judgement;
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};

fn play(format: Format, count: u64) -> Play {
    Play {
        format,
        pace: Pace { rate: 0, burst: 1 },
        count: Some(count),
        time: None,
        stderr_share: 0.25,
        seq_start: 0,
        size: 0,
        run: "r1".into(),
    }
}

/// The naive twin of a forwarder: parts joined for each stream, every line a record.
fn records(file: &Path, out: &mut String) {
    let mut held = [String::new(), String::new()];
    for line in std::fs::read_to_string(file).unwrap().lines() {
        let entry: Value = serde_json::from_str(line).unwrap();
        let held = &mut held[usize::from(entry["stream"] == "stderr")];
        held.push_str(entry["log"].as_str().unwrap());
        if held.ends_with('\n') {
            let record = json!({
                "service_type": "plain", "log_type": "plain", "message": held.trim_end(), "timestamp": entry["time"],
                "stream": entry["stream"], "container_id": "a".repeat(64), "service_name": "api", "fields": {},
            });
            out.push_str(&format!("{record}\n"));
            held.clear();
        }
    }
}

fn entered(body: &str) -> Ledger {
    let mut ledger = Ledger::new(Detail::Full, Keep::None, None);
    ledger.add_body(body.as_bytes(), rask::clock::now());
    ledger
}

#[test]
fn every_format_plays_exactly_into_a_rotating_log() {
    for format in [Format::Go, Format::Nginx, Format::Postgres, Format::Plain] {
        let dir = tempfile::tempdir().unwrap();
        let rotation = Rotation { max_size: Some(50_000), max_file: 100, compress: false };
        let container = Container::start(dir.path(), Spec { rotation, ..Spec::service("api") }).unwrap();
        let (play, progress) = (Play { size: 200, ..play(format, 2000) }, Progress::default());
        let sink = play.run(Sink::Container(Box::new(container)), &progress, &Stop::new()).unwrap();
        let Sink::Container(mut container) = sink else { panic!("the sink comes back") };
        let rotations = container.log().rotations();
        assert!(rotations >= 5, "{rotations}");
        let mut body = String::new();
        let log = container.log().path().to_owned();
        for i in (1..=rotations).rev() {
            records(&log.with_file_name(format!("{}-json.log.{i}", container.id())), &mut body);
        }
        records(&log, &mut body);
        let ledger = entered(&body);
        assert_eq!(ledger.violations(), [""; 0]);
        assert_eq!((ledger.distinct(), progress.events()), (2000, 2000), "{format:?}");
        let exact = Judgement { missing: 0, duplicates: 0, reordered: 0, late: 0 };
        assert_eq!(Judgement::of(&ledger, 0, Some(2000)), exact, "{format:?}");
        assert_eq!(Judgement::of(&ledger, 0, Some(2001)).missing, 1, "what never came leaves no hole");
        let on_stderr = ledger.sequence("api", "stderr").unwrap().distinct();
        assert!((400..=600).contains(&on_stderr), "a quarter of 2000, give or take: {on_stderr}");

        let (mut lines, mut numbered) = (Vec::new(), 0);
        for line in body.lines() {
            numbered += u64::from(mark_of(line.as_bytes()).is_some());
            if numbered == 700 && mark_of(line.as_bytes()).is_some() {
                continue;
            }
            lines.push(line);
        }
        lines.push(lines[0]);
        let spoiled = Judgement::of(&entered(&(lines.join("\n") + "\n")), 0, Some(2000));
        assert_eq!((spoiled.missing, spoiled.duplicates), (1, 1), "{format:?}");
    }
}

#[test]
fn a_signal_ends_a_slow_play_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let container = Container::start(dir.path(), Spec::service("api")).unwrap();
    let (stop, progress) = (Stop::new(), Progress::default());
    let play = Play { pace: Pace { rate: 1, burst: 1 }, ..play(Format::Plain, u64::MAX) };
    let begin = Instant::now();
    std::thread::scope(|scope| {
        let playing = scope.spawn(|| play.run(Sink::Container(Box::new(container)), &progress, &stop).unwrap());
        while progress.events() == 0 {
            std::thread::yield_now();
        }
        stop.set();
        playing.join().unwrap();
    });
    assert!(begin.elapsed() < Duration::from_millis(900), "{:?}", begin.elapsed());
    assert_eq!(progress.events(), 1);
}

#[test]
fn time_ends_a_play_and_the_pace_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let container = Container::start(dir.path(), Spec::service("api")).unwrap();
    let progress = Progress::default();
    let time = Some(Duration::from_millis(300));
    let play = Play { pace: Pace { rate: 2000, burst: 10 }, time, ..play(Format::Plain, u64::MAX) };
    play.run(Sink::Container(Box::new(container)), &progress, &Stop::new()).unwrap();
    assert!((300..=610).contains(&progress.events()), "600 are due: {}", progress.events());
    assert_eq!(progress.events() % 10, 0, "whole bursts");
}
