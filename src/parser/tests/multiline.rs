//! Lines that belong together are one record, and nobody else's lines are in it.

use super::*;
use crate::limits::{LINE_PAUSE, MULTILINE_BYTES, MULTILINE_GROUPS, MULTILINE_LINES, MULTILINE_PAUSE, REPORT_PAUSES};
use crate::parser::multiline::traces::tests::TRACES;
use proptest::prelude::*;
use std::time::Instant;

/// A line of the log: text, stream, and milliseconds since the first.
type Said<'a> = (&'a str, &'a str, u64);

fn line((text, stream, at): Said<'_>) -> Vec<u8> {
    let log = serde_json::to_string(&format!("{text}\n")).unwrap();
    let (minute, second, milli) = (at / 60_000, at / 1000 % 60, at % 1000);
    format!("{{\"log\":{log},\"stream\":\"{stream}\",\"time\":\"2026-11-21T13:{minute:02}:{second:02}.{milli:03}000001Z\"}}\n").into()
}

pub(super) fn labelled(multiline: Option<&str>, generation: u64) -> Arc<Source> {
    let mut container = Container::clone(&source(None).container);
    container.multiline = multiline.map(Into::into);
    Arc::new(Source { container: Arc::new(container), generation: Generation(generation) })
}

/// The records of what was said, which comes in chunks of so many lines each.
fn records(multiline: Option<&str>, said: &[Said<'_>], chunks: &[usize]) -> Vec<Map<String, Value>> {
    let (mut parser, metrics) = parser(None, 1 << 20);
    let source = labelled(multiline, 7);
    let mut out = Records::new(source.clone());
    let (mut rest, mut at) = (said, 0);
    for size in chunks.iter().cycle() {
        let (now, later) = rest.split_at((*size).min(rest.len()));
        let data: Vec<u8> = now.iter().flat_map(|said| line(*said)).collect();
        let len = data.len() as u64;
        let mut chunk = chunk_of(&source, data, at);
        assert_eq!(parser.chunk(&mut chunk, &mut out, ROOMY), Progress::Done);
        assert_eq!(out.lines as usize + parser.held_lines(), said.len() - later.len());
        (rest, at) = (later, at + len);
        if rest.is_empty() {
            break;
        }
    }
    release(&mut parser, &source, &mut out);
    assert_eq!(out.lines as usize, said.len());
    assert_eq!(parser.held_lines(), 0);
    assert_eq!(out.ranges.to_string(), format!("0-{at}"));
    let parsed: u64 =
        Format::ALL.map(|f| metrics.records_parsed.with_label_values(&[f.service_type()]).get()).iter().sum();
    assert_eq!(parsed as usize, out.records());
    decode(&out)
}

#[track_caller]
fn check(said: &[Said<'_>], expected: &[&str]) {
    for chunks in [&[1][..], &[1000], &[2, 3]] {
        let records = records(None, said, chunks);
        let messages: Vec<_> = records.iter().map(|record| record["message"].as_str().unwrap()).collect();
        assert_eq!(messages, expected, "{chunks:?}");
    }
}

#[test]
fn traces_are_whole_and_nothing_else_is_in_them() {
    for trace in TRACES {
        let mut said = vec![("listening", "stderr", 0)];
        said.extend(trace.split('\n').map(|line| (line, "stderr", 1)));
        said.push(("listening again", "stderr", 2));
        check(&said, &["listening", trace, "listening again"]);
        let level = &records(None, &said, &[1])[1]["level"];
        assert!(level == "Error" || level == "Fatal", "{trace}: {level}");
    }
}

#[test]
fn a_trace_belongs_to_the_line_before_it() {
    let said = [
        ("2026-11-21 13:00:00,123 - app.db - ERROR - failed", "stderr", 0),
        ("Traceback (most recent call last):", "stderr", 0),
        ("  File \"a.py\", line 1, in f", "stderr", 0),
        ("ValueError: no", "stderr", 0),
        ("2026-11-21 13:00:00,124 - app.db - ERROR - failed again", "stderr", 1),
        ("2026-11-21 13:00:00,125 - app.db - INFO - fine", "stderr", 2),
    ];
    let trace = said[1..4].iter().map(|said| said.0).collect::<Vec<_>>().join("\n");
    check(&said, &[&format!("failed\n{trace}"), "failed again", "fine"]);
    let record = &records(None, &said, &[1])[0];
    assert_eq!((&record["service_type"], &record["level"]), (&json!("python"), &json!("Error")));
}

/// Nothing marks the further lines of an exception's message but the moment at which they come.
#[test]
fn the_message_of_an_exception_may_have_several_lines() {
    let trace = [
        "Traceback (most recent call last):",
        "  File \"a.py\", line 1, in f",
        "sqlalchemy.exc.ProgrammingError: (psycopg2.errors.UndefinedTable) relation \"x\" does not exist",
        "LINE 1: SELECT * FROM x",
        "                      ^",
        "",
        "[SQL: SELECT * FROM x]",
        "(Background on this error at: https://sqlalche.me/e/20/f405)",
        "and one more line",
    ];
    let whole = trace.join("\n");
    let with = |next: &'static str, later: u64| {
        let mut said: Vec<_> = trace.iter().map(|line| (*line, "stderr", 0)).collect();
        said.push((next, "stderr", later));
        said
    };
    check(&with("prose that comes later", 1), &[&whole, "prose that comes later"]);
    for next in [
        "INFO:     Waiting for application shutdown.",
        "[warn] next",
        "[2026-11-21 13:00:00 +0000] [7] [INFO] Worker exiting",
        "2026-11-21 next",
        "10.0.0.1 - - [21/Nov/2026:13:00:00 +0000] \"GET / HTTP/1.1\" 200 5",
        "{\"level\":\"info\",\"x\":1}",
        "time=2026-11-21T13:00:00Z lvl=x n=1",
    ] {
        assert_eq!(records(None, &with(next, 0), &[1]).len(), 2, "{next}");
    }
    let records = records(None, &with("INFO x", 0), &[1]);
    assert_eq!((&records[0]["service_type"], &records[0]["level"]), (&json!("python"), &json!("Error")));
}

/// The statement is the last of a report, whoever writes next.
#[test]
fn a_report_is_over_with_its_statement() {
    let said = [
        ("2026-11-21 13:00:00.123 UTC [31] ERROR:  no", "stderr", 0),
        ("2026-11-21 13:00:00.123 UTC [31] STATEMENT:  SELECT", "stderr", 0),
        ("\t1", "stderr", 0),
        ("2026-11-21 13:00:00.123 UTC [32] LOG:  other", "stderr", 1),
    ];
    let (mut parser, _) = parser(None, 1 << 20);
    let source = source(None);
    let mut out = Records::new(source.clone());
    let mut chunk = chunk_of(&source, said[..3].iter().flat_map(|said| line(*said)).collect(), 0);
    parser.chunk(&mut chunk, &mut out, ROOMY);
    assert_eq!((out.records(), parser.held_lines()), (0, 3));
    let wait = parser.due().unwrap() - Instant::now();
    assert!(wait <= 2 * REPORT_PAUSES[1], "{wait:?}");
    let at = said[..3].iter().map(|said| line(*said).len() as u64).sum();
    parser.chunk(&mut chunk_of(&source, line(said[3]), at), &mut out, ROOMY);
    assert!(out.records() >= 1, "not held back by it");
    release(&mut parser, &source, &mut out);
    let records = decode(&out);
    assert_eq!(records[0]["fields"]["statement"], "SELECT\n1");
    assert_eq!(records[1]["message"], "other");
}

#[test]
fn streams_do_not_mix() {
    let said = [
        ("panic: boom", "stderr", 0),
        ("\tindented on stdout", "stdout", 0),
        ("", "stderr", 0),
        ("ERROR on stdout", "stdout", 0),
        ("goroutine 1 [running]:", "stderr", 0),
        ("\tat stdout", "stdout", 0),
        ("main.main()", "stderr", 0),
        ("\t/app/main.go:4", "stderr", 0),
    ];
    let mut expected = vec![
        "\tindented on stdout",
        "ERROR on stdout\n\tat stdout",
        "panic: boom\n\ngoroutine 1 [running]:\nmain.main()\n\t/app/main.go:4",
    ];
    for chunks in [&[1][..], &[1000], &[3]] {
        let records = records(None, &said, chunks);
        let mut messages: Vec<_> = records.iter().map(|record| record["message"].as_str().unwrap()).collect();
        messages.sort_unstable();
        expected.sort_unstable();
        assert_eq!(messages, expected);
    }
}

#[test]
fn what_comes_late_is_not_of_it() {
    let pause = LINE_PAUSE.as_millis() as u64;
    check(&[("ERROR a", "stdout", 0), ("  b", "stdout", pause - 1)], &["ERROR a\n  b"]);
    check(&[("ERROR a", "stdout", 0), ("  b", "stdout", pause + 1)], &["ERROR a", "  b"]);
    // Within a trace there is more time.
    let pause = MULTILINE_PAUSE.as_millis() as u64;
    check(&[("ERROR a", "stdout", 0), ("  b", "stdout", 1), ("  c", "stdout", pause)], &["ERROR a\n  b\n  c"]);
    check(&[("ERROR a", "stdout", 0), ("  b", "stdout", 1), ("  c", "stdout", pause + 2)], &["ERROR a\n  b", "  c"]);
    // Nor where the clock of the host was set back, which says nothing.
    check(&[("ERROR a", "stdout", 5000), ("  b", "stdout", 0)], &["ERROR a\n  b"]);
    let long: Vec<_> = (0..50).map(|i| (if i == 0 { "  at f" } else { "  b" }, "stdout", i * 90)).collect();
    let long = [&[("ERROR a", "stdout", 0)][..], &long].concat();
    let first = &records(None, &long, &[1])[0]["message"];
    let lines = first.as_str().unwrap().lines().count();
    assert!((10..40).contains(&lines), "for how long there may be more is bounded: {lines}");
}

#[test]
fn how_many_and_how_long_is_bounded_and_nothing_is_cut() {
    let said: Vec<_> =
        (0..MULTILINE_LINES + 5).map(|i| (if i == 0 { "ERROR a" } else { "  b" }, "stdout", 0)).collect();
    let got = records(None, &said, &[100]);
    assert_eq!(got.len(), 1 + 5);
    assert_eq!(got[0]["message"].as_str().unwrap().lines().count(), MULTILINE_LINES);
    let long = format!("  {}", "x".repeat(MULTILINE_BYTES / 3));
    let said = [("ERROR a", "stdout", 0), (&long, "stdout", 0), (&long, "stdout", 0), (&long, "stdout", 0)];
    check(&said, &[&format!("ERROR a\n{long}\n{long}"), &long]);
}

#[test]
fn reports_of_postgres_are_put_together_by_process() {
    let p = |pid: u32, text: &str| format!("2026-11-21 13:00:00.123 UTC [{pid}] app@shop {text}");
    let texts = [
        p(31, "ERROR:  duplicate key"),
        p(32, "ERROR:  relation \"x\" does not exist at character 15"),
        p(31, "DETAIL:  Key (id)=(1) already exists."),
        p(32, "STATEMENT:  SELECT *"),
        "\t  FROM x".into(),
        "\t WHERE a = 1;".into(),
        p(31, "STATEMENT:  INSERT INTO y"),
        "\t\tVALUES (1);".into(),
        p(33, "LOG:  duration: 12.345 ms  statement: SELECT 1,"),
        "\t2;".into(),
        p(31, "LOG:  ready"),
    ];
    let said: Vec<_> = texts.iter().map(|text| (text.as_str(), "stderr", 0)).collect();
    for chunks in [&[1][..], &[1000], &[2, 3]] {
        let got = records(None, &said, chunks);
        let fields = |i: usize, key: &str| got[i]["fields"].get(key).and_then(Value::as_str);
        let messages: Vec<_> = got.iter().map(|record| record["message"].as_str().unwrap()).collect();
        let expected = [
            "duplicate key",
            "relation \"x\" does not exist at character 15",
            "duration: 12.345 ms  statement: SELECT 1,\n2;",
            "ready",
        ];
        assert_eq!(messages, expected, "in the order of their first lines");
        assert_eq!(fields(0, "detail"), Some("Key (id)=(1) already exists."));
        assert_eq!(fields(0, "statement"), Some("INSERT INTO y\n\tVALUES (1);"));
        assert_eq!(fields(0, "pid"), Some("31"));
        assert_eq!(fields(2, "duration_ms"), Some("12.345"));
        assert_eq!(fields(1, "statement"), Some("SELECT *\n  FROM x\n WHERE a = 1;"));
        assert!(got.iter().all(|record| record["service_type"] == "postgres"));
    }
}

#[test]
fn so_many_reports_at_once_are_open() {
    let texts: Vec<_> = (0..30).map(|pid| format!("2026-11-21 13:00:00 UTC [{pid}] ERROR:  e{pid}")).collect();
    let (mut parser, _) = parser(None, 1 << 20);
    let source = source(None);
    let mut out = Records::new(source.clone());
    let data: Vec<u8> = texts.iter().flat_map(|text| line((text, "stderr", 0))).collect();
    parser.chunk(&mut chunk_of(&source, data, 0), &mut out, ROOMY);
    assert!((1..=MULTILINE_GROUPS).contains(&parser.held_lines()), "{}", parser.held_lines());
    release(&mut parser, &source, &mut out);
    let messages: Vec<_> = decode(&out).iter().map(|record| record["message"].as_str().unwrap().to_owned()).collect();
    assert_eq!(messages, (0..30).map(|pid| format!("e{pid}")).collect::<Vec<_>>());
}

#[test]
fn a_line_that_nothing_can_follow_is_not_held_back() {
    let lines = [
        "listening on port 80",
        "INFO fine",
        "{\"level\":\"error\",\"msg\":\"failed\"}",
        "172.18.0.1 - - [21/Nov/2026:13:00:00 +0000] \"GET / HTTP/1.1\" 500 153 \"-\" \"curl\"",
        "2026/11/21 13:00:00 [error] 31#31: *7 open() failed, client: 172.18.0.1, server: s",
        "2026-11-21 13:00:00.123 UTC [31] LOG:  checkpoint starting: time",
        "2026-11-21 13:00:00.123 UTC [31] LOG:  connection received: host=[local]",
        "  indented, behind nothing",
    ];
    for text in lines {
        let (mut parser, _) = parser(None, 1 << 20);
        let source = source(None);
        let mut out = Records::new(source.clone());
        parser.chunk(&mut chunk_of(&source, line((text, "stderr", 0)), 0), &mut out, ROOMY);
        assert_eq!((out.records(), parser.held_lines()), (1, 0), "{text}");
        assert_eq!(parser.due(), None);
    }
    // Nor where the next line tells that there is no more.
    for text in ["ERROR failed", "2026-11-21 13:00:00.123 UTC [31] LOG:  statement: SELECT 1"] {
        let (mut parser, _) = parser(None, 1 << 20);
        let source = source(None);
        let mut out = Records::new(source.clone());
        let data = [line((text, "stderr", 0)), line(("INFO next", "stderr", 0))].concat();
        let mut chunk = chunk_of(&source, data, 0);
        parser.chunk(&mut chunk, &mut out, Bounds { records: 1, bytes: usize::MAX });
        assert_eq!((out.records(), parser.held_lines()), (1, 0), "{text}");
    }
}

#[test]
fn what_waits_is_due_when_nothing_comes() {
    let (mut parser, _) = parser(None, 1 << 20);
    let source = source(None);
    let mut out = Records::new(source.clone());
    parser.chunk(&mut chunk_of(&source, line(("ERROR a", "stderr", 0)), 0), &mut out, ROOMY);
    let due = parser.due().unwrap();
    let wait = due - Instant::now();
    assert!(wait > LINE_PAUSE && wait <= 2 * LINE_PAUSE, "{wait:?}");
    assert_eq!(parser.overdue(Instant::now()), None);
    assert_eq!(parser.overdue(due).as_ref(), Some(&source));
    parser.release_overdue(&source, due, &mut out);
    assert_eq!((out.records(), parser.due(), parser.open()), (1, None, None));
}

#[test]
fn the_label_says_where_a_message_begins() {
    let said = [
        ("not the beginning", "stdout", 0),
        ("> one", "stdout", 0),
        ("two", "stdout", 1),
        ("", "stdout", 1),
        ("> three", "stdout", 1),
        ("{\"a\":", "stdout", 1),
    ];
    let texts = |label: &str, said: &[Said<'_>]| -> Vec<String> {
        records(Some(label), said, &[2]).iter().map(|record| record["message"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(texts("^> ", &said), ["not the beginning", "> one\ntwo\n", "> three\n{\"a\":"]);
    let object = [
        ("{", "stdout", 0),
        ("  \"msg\": \"hello\",", "stdout", 0),
        ("  \"level\": \"warn\"", "stdout", 0),
        ("}", "stdout", 0),
    ];
    let got = records(Some(r"^\{"), &object, &[3]);
    assert_eq!((got.len(), got[0]["message"].as_str(), got[0]["level"].as_str()), (1, Some("hello"), Some("Warn")));
    assert_eq!(texts("off", &[("ERROR a", "stdout", 0), ("  b", "stdout", 0)]), ["ERROR a", "  b"]);
    // A pattern that is none is as if it was not there.
    assert_eq!(texts("(", &[("ERROR a", "stdout", 0), ("  b", "stdout", 0)]), ["ERROR a\n  b"]);
}

#[test]
fn a_trace_may_be_rotated_in_its_middle() {
    let lines = ["panic: boom", "", "goroutine 1 [running]:", "main.main()", "\t/app/main.go:4", "listening"];
    let whole = lines[..5].join("\n");
    for cut in 1..lines.len() {
        let (mut parser, _) = parser(None, 1 << 20);
        let [first, second] = [1, 2].map(|generation| labelled(None, generation));
        let bytes = |lines: &[&str]| lines.iter().flat_map(|text| line((text, "stderr", 0))).collect::<Vec<u8>>();
        let mut out = Records::new(first.clone());
        parser.chunk(&mut chunk_of(&first, bytes(&lines[..cut]), 0), &mut out, ROOMY);
        parser.end(&first);
        assert_eq!(out.records(), 0);
        let (mut chunk, mut got) = (chunk_of(&second, bytes(&lines[cut..]), 0), Vec::new());
        let seen = |out: &Records| {
            assert!(!out.ranges.is_empty(), "a batch that stands for something");
            let message = decode(out)[0]["message"].clone();
            (message, out.source.generation.0, out.carried.len(), out.lines)
        };
        while let Some(earlier) = parser.earlier(&chunk) {
            let mut out = Records::new(earlier.clone());
            parser.release_earlier(&earlier, &mut out);
            got.push(seen(&out));
        }
        loop {
            let mut out = Records::new(second.clone());
            let one = Bounds { records: 1, bytes: usize::MAX };
            let progress = parser.chunk(&mut chunk, &mut out, one);
            if !out.is_empty() {
                got.push(seen(&out));
            }
            if progress == Progress::Done {
                break;
            }
        }
        let trace = if cut == 5 { (json!(whole), 1, 0, 5) } else { (json!(whole), 2, 1, 5) };
        assert_eq!(got, [trace, (json!("listening"), 2, 0, 1)], "cut at {cut}");
    }
}

/// Each error of one generation is complete when the next begins: none may hide behind another.
#[test]
fn what_is_over_at_a_rotation_is_of_its_own_generation() {
    let (mut parser, _) = parser(None, 1 << 20);
    for generation in 1..5 {
        let source = labelled(None, generation);
        for stream in ["stdout", "stderr"] {
            let mut chunk = chunk_of(&source, line(("ERROR a", stream, 0)), 0);
            let mut released = 0;
            while let Some(earlier) = parser.earlier(&chunk) {
                let mut out = Records::new(earlier.clone());
                parser.release_earlier(&earlier, &mut out);
                assert_eq!((out.source.generation.0, out.records(), out.ranges.is_empty()), (generation - 1, 1, false));
                released += 1;
            }
            assert_eq!(released, if generation > 1 && stream == "stdout" { 2 } else { 0 });
            let mut out = Records::new(source.clone());
            parser.chunk(&mut chunk, &mut out, ROOMY);
            assert_eq!(out.records(), 0);
        }
    }
}

#[test]
fn damage_ends_what_is_open() {
    let (mut parser, _) = parser(None, 1 << 20);
    let source = source(None);
    let mut out = Records::new(source.clone());
    let data = [line(("ERROR a", "stderr", 0)), b"garbage\n".to_vec(), line(("  b", "stderr", 0))].concat();
    parser.chunk(&mut chunk_of(&source, data, 0), &mut out, ROOMY);
    let messages: Vec<_> = decode(&out).iter().map(|record| record["message"].clone()).collect();
    assert_eq!(messages, ["ERROR a", "garbage", "  b"]);
}

proptest! {
    /// However lines come, they are put together the same way, and every one is in a record.
    #[test]
    fn chunks_make_no_difference(
        kinds in prop::collection::vec((0..12usize, 0..2usize, 0..130u64), 1..40),
        chunks in prop::collection::vec(1..6usize, 1..5),
    ) {
        const TEXTS: [&str; 12] = [
            "listening", "ERROR failed", "Traceback (most recent call last):", "  File \"a\"", "ValueError: x", "",
            "panic: x", "goroutine 1 [running]:", "main.main()", "\tat a.b(c:1)",
            "2026-11-21 13:00:00 UTC [7] ERROR:  e", "2026-11-21 13:00:00 UTC [7] DETAIL:  d",
        ];
        let mut at = 0;
        let said: Vec<Said<'_>> = kinds.iter().map(|(text, stream, later)| {
            at += later;
            (TEXTS[*text], ["stdout", "stderr"][*stream], at)
        }).collect();
        let whole = records(None, &said, &[1000]);
        let sorted = |mut records: Vec<Map<String, Value>>| {
            records.sort_by_key(|record| serde_json::to_string(record).unwrap());
            records
        };
        prop_assert_eq!(sorted(records(None, &said, &chunks)), sorted(whole));
    }
}

/// A line that its process did not end.
fn unended(text: &str, stream: &str) -> Vec<u8> {
    format!("{{\"log\":{},\"stream\":\"{stream}\",\"time\":\"{T}\"}}\n", serde_json::to_string(text).unwrap()).into()
}

#[test]
fn last_words_come_behind_what_was_open() {
    let (mut parser, _) = parser(None, 1 << 20);
    let source = source(None);
    let mut out = Records::new(source.clone());
    let data = [docker("ERROR: cannot start\n", "stderr"), unended("bye", "stderr")].concat();
    parser.chunk(&mut chunk_of(&source, data, 0), &mut out, ROOMY);
    release(&mut parser, &source, &mut out);
    let messages: Vec<_> = decode(&out).iter().map(|record| record["message"].clone()).collect();
    assert_eq!(messages, ["ERROR: cannot start", "bye"]);
}

#[test]
fn a_stop_leaves_parts_of_a_line_to_the_next_process() {
    let (mut parser, _) = parser(None, 1 << 20);
    let source = source(None);
    let mut out = Records::new(source.clone());
    let part = "x".repeat(crate::limits::DOCKER_PART_BYTES);
    for (first, second) in [("stdout", "stderr"), ("stderr", "stderr")] {
        let data = [docker("ERROR a\n", first), unended(&part, second)].concat();
        parser.chunk(&mut chunk_of(&source, data, 0), &mut out, ROOMY);
        while let Some(open) = parser.open() {
            parser.release_open(&open, &mut out);
        }
        assert_eq!(decode(&out)[0]["message"], "ERROR a");
        assert_eq!((out.records(), parser.held_lines()), (1, 1));
        parser.forget(&source.container);
        out.reset(source.clone());
    }
}

#[test]
fn more_than_a_group_holds_comes_behind_it() {
    let mut said = vec![
        ("2026-11-21 13:00:00 UTC [7] ERROR:  e", "stderr", 0),
        ("2026-11-21 13:00:00 UTC [7] STATEMENT:  INSERT", "stderr", 0),
    ];
    said.extend((0..MULTILINE_LINES + 5).map(|_| ("\t(1),", "stderr", 0)));
    let got = records(None, &said, &[100]);
    assert_eq!(got[0]["message"], "e");
    assert_eq!(got[0]["fields"]["statement"].as_str().unwrap().lines().count(), MULTILINE_LINES - 1);
    assert_eq!(got.len(), 1 + 7);
}

/// Each place in the log is named in the batch's header.
#[test]
fn a_group_does_not_stand_in_very_many_places() {
    let (mut parser, _) = parser(None, 1 << 20);
    let source = source(None);
    let mut out = Records::new(source.clone());
    let mut data = line(("ERROR a", "stderr", 0));
    for _ in 0..200 {
        data.extend(line(("listening", "stdout", 0)));
        data.extend(line(("\tat a.b(c:1)", "stderr", 0)));
    }
    parser.chunk(&mut chunk_of(&source, data, 0), &mut out, ROOMY);
    release(&mut parser, &source, &mut out);
    let (mut iter, mut ranges, mut most) = (out.cover.iter(), Vec::new(), 0);
    while iter.next_into(&mut ranges).is_some() {
        most = most.max(ranges.len());
    }
    assert!((10..crate::limits::BATCH_RANGES).contains(&most), "{most}");
    assert_eq!(out.lines, 401);
}
