//! Lines, chunks, bounds, garbage, selection: all that is not a format's own.

use super::*;
use crate::position::Ranges;
use proptest::prelude::*;

#[test]
fn a_record_to_the_byte() {
    let (mut parser, metrics) = parser(None, 1 << 20);
    let source = source(None);
    let mut out = Records::new(source.clone());
    let line =
        docker("{\"time\":\"2026-11-21T13:00:00Z\",\"level\":\"INFO\",\"msg\":\"hi\",\"n\":1,\"s\":\"x\"}\n", "stderr");
    let len = line.len() as u64;
    let mut chunk = chunk_of(&source, line, 100);
    assert_eq!(parser.chunk(&mut chunk, &mut out, ROOMY), Progress::Done);
    let id = &source.container.id;
    let expected = format!(
        "{{\"service_type\":\"go\",\"log_type\":\"structured\",\"message\":\"hi\",\"level\":\"Info\",\"timestamp\":\"{T}\",\
         \"stream\":\"stderr\",\"container_id\":\"{id}\",\"service_name\":\"api\",\"service_group\":\"shop \\\"a\\\"\",\
         \"fields\":{{\"app_time\":\"2026-11-21T13:00:00Z\",\"n\":\"1\",\"s\":\"x\"}}}}\n"
    );
    assert_eq!(std::str::from_utf8(&out.body).unwrap(), expected);
    assert_eq!(out.ranges.as_slice(), [Range::new(100, 100 + len)]);
    assert_eq!((out.lines, out.records(), chunk.lines, chunk.data.len()), (1, 1, 0, 0));
    assert_eq!(out.oldest, Some(chunk.read_at));
    assert!(matches!(chunk.offsets, Offsets::File(at) if at == 100 + len));
    assert_eq!(metrics.records_parsed.with_label_values(&["json"]).get(), 1);
}

#[test]
fn messages() {
    let check = |log: &str, expected: &str| {
        let (mut parser, _) = parser(None, 1 << 20);
        let source = source(None);
        let mut out = Records::new(source.clone());
        parser.chunk(&mut chunk_of(&source, docker(log, "stdout"), 0), &mut out, ROOMY);
        assert_eq!(decode(&out)[0]["message"], expected, "{log:?}");
    };
    check("\n", "");
    check("hello\r\n", "hello");
    check("last words", "last words");
    check("last words\r", "last words\r");
    check("a\n\n", "a\n");
    check("\x1b[1;31mred\x1b[0m and \x1b]0;title\x07plain\n", "red and plain");
    check("tab\there \u{0}\u{7f}\u{2028}<>&\n", "tab\there \u{0}\u{7f}\u{2028}<>&");
    check("{}\n", "");
}

#[test]
fn a_full_batch_leaves_the_rest_in_the_chunk() {
    let source = source(None);
    let lines: Vec<Vec<u8>> = (0..10).map(|i| docker(&format!("line {i}\n"), "stdout")).collect();
    let data = lines.concat();
    let check = |bounds: Bounds, each: Option<usize>, offsets: Offsets| {
        let (mut parser, _) = parser(None, 1 << 20);
        let mut chunk = chunk_of(&source, data.clone(), 0);
        chunk.offsets = offsets;
        let mut messages = Vec::new();
        let mut all = Ranges::default();
        loop {
            let mut out = Records::new(source.clone());
            let progress = parser.chunk(&mut chunk, &mut out, bounds);
            messages.extend(decode(&out).iter().map(|record| record["message"].as_str().unwrap().to_string()));
            all.union(&out.ranges);
            if progress == Progress::Done {
                break;
            }
            assert!(!out.is_empty());
            assert_eq!(chunk.lines as usize, 10 - messages.len());
            assert!(each.is_none_or(|each| out.records() == each));
        }
        assert_eq!(messages, (0..10).map(|i| format!("line {i}")).collect::<Vec<_>>());
        all
    };
    let total = [Range::new(0, data.len() as u64)];
    assert_eq!(check(Bounds { records: 3, bytes: usize::MAX }, Some(3), Offsets::File(0)).as_slice(), total);
    assert_eq!(check(Bounds { records: usize::MAX, bytes: 1 }, Some(1), Offsets::File(0)).as_slice(), total);
    assert_eq!(check(ROOMY, None, Offsets::File(0)).as_slice(), total);
    // Streamed: the ranges are what they are, here with holes; 32 of them fill a batch.
    let ranges: Vec<Range> = (0..10).map(|i| Range::new(i * 10, i * 10 + 5)).collect();
    let all = check(Bounds { records: 4, bytes: usize::MAX }, Some(4), Offsets::Each(ranges.clone().into()));
    assert_eq!(all.as_slice(), ranges);
}

#[test]
fn many_holes_close_a_batch() {
    let (mut parser, _) = parser(None, 1 << 20);
    let source = source(None);
    let data: Vec<u8> = (0..50).flat_map(|i| docker(&format!("{i}\n"), "stdout")).collect();
    let mut chunk = chunk_of(&source, data, 0);
    chunk.offsets = Offsets::Each((0..50).map(|i| Range::new(i * 10, i * 10 + 5)).collect());
    let mut out = Records::new(source);
    assert_eq!(parser.chunk(&mut chunk, &mut out, ROOMY), Progress::Full);
    assert_eq!(out.ranges.as_slice().len(), crate::limits::BATCH_RANGES);
}

#[test]
fn garbage_is_sent_and_blank_lines_are_covered() {
    let (mut parser, metrics) = parser(None, 40);
    let source = source(None);
    let mut data = docker("good\n", "stdout");
    let first = data.len() as u64;
    data.extend(b"\0\0\0\n  \n");
    data.extend(b"{\"log\":\"torn \xff\n");
    data.extend([&b"\0\0"[..], &docker("after NULs\n", "stderr")].concat());
    data.extend(b"x".repeat(50));
    let total = data.len() as u64;
    let mut chunk = chunk_of(&source, data, 0);
    let mut out = Records::new(source);
    assert_eq!(parser.chunk(&mut chunk, &mut out, ROOMY), Progress::Done);
    let records = decode(&out);
    assert_eq!(records.len(), 4);
    assert_eq!(records[1]["message"], "{\"log\":\"torn \u{fffd}");
    assert_eq!(records[1]["log_type"], "raw");
    assert_eq!(records[1]["timestamp"], T, "the last good time");
    assert_eq!(records[1]["fields"], json!({"parse_error": "JSON string without end"}));
    assert_eq!(records[2]["message"], "after NULs");
    assert_eq!(records[3]["message"], "x".repeat(40));
    assert_eq!(records[3]["fields"]["truncated"], "true");
    assert_eq!(out.lines, 4);
    assert_eq!(metrics.lines_dropped.with_label_values(&["blank"]).get(), 2);
    assert_eq!(metrics.parse_failures.with_label_values(&["envelope"]).get(), 2);
    assert_eq!(metrics.records_truncated.get(), 1);
    assert_eq!(out.ranges.as_slice(), [Range::new(0, total)]);
    let (mut iter, mut ranges) = (out.cover.iter(), Vec::new());
    iter.next_into(&mut ranges);
    assert_eq!(ranges, [Range::new(0, first)]);
    iter.next_into(&mut ranges);
    assert_eq!(ranges[0].start, first, "the blank lines go with the record behind them");
}

#[test]
fn long_lines_are_cut_at_a_character() {
    let (mut parser, metrics) = parser(None, 10);
    let source = source(None);
    let mut out = Records::new(source.clone());
    parser.chunk(&mut chunk_of(&source, docker("123456789é tail\n", "stdout"), 0), &mut out, ROOMY);
    let record = &decode(&out)[0];
    assert_eq!(record["message"], "123456789");
    assert_eq!(record["fields"]["truncated"], "true");
    assert_eq!(metrics.records_truncated.get(), 1);
}

#[test]
fn selection() {
    let slog = "{\"level\":\"INFO\",\"msg\":\"hi\",\"time\":\"t\"}";
    let check =
        |mappings: &[(&str, Format)], format: Option<Format>, label: Option<&str>, log: &str, expected: [&str; 2]| {
            let metrics = Metrics::new();
            let mappings = mappings.iter().map(|(service, format)| (service.to_string(), *format)).collect();
            let mut parser = Parser::new(Settings { format, mappings, ..Settings::default() }, &metrics);
            let source = source(label);
            let mut out = Records::new(source.clone());
            parser.chunk(&mut chunk_of(&source, docker(&format!("{log}\n"), "stdout"), 0), &mut out, ROOMY);
            release(&mut parser, &source, &mut out);
            let record = &decode(&out)[0];
            let failed: u64 =
                Format::ALL.iter().map(|f| metrics.parse_failures.with_label_values(&[f.service_type()]).get()).sum();
            assert_eq!(failed, u64::from(record["fields"].get("parse_error").is_some() || expected[0] == "other"));
            let service_type = if expected[0] == "other" { &record["service_type"] } else { &json!(expected[0]) };
            assert_eq!((&record["service_type"], &record["log_type"]), (service_type, &json!(expected[1])));
        };
    check(&[], None, None, slog, ["go", "structured"]);
    check(&[], None, None, "hello", ["plain", "plain"]);
    check(&[], Some(Format::Json), None, slog, ["json", "structured"]);
    check(&[], Some(Format::Plain), None, slog, ["plain", "plain"]);
    check(&[], None, Some("python-structlog"), slog, ["python", "structured"]);
    check(&[], None, Some("auto"), slog, ["go", "structured"]);
    check(&[], None, Some("no such format"), slog, ["go", "structured"]);
    check(&[], Some(Format::Rust), Some("node"), slog, ["node", "structured"]);
    check(&[], Some(Format::Rust), Some("auto"), slog, ["go", "structured"]);
    check(&[("api", Format::Node)], Some(Format::Rust), None, slog, ["node", "structured"]);
    check(&[("api", Format::Node)], Some(Format::Rust), Some("python"), slog, ["python", "structured"]);
    check(&[("web", Format::Node)], None, None, slog, ["go", "structured"]);
    // Not what was asked for: read automatically, and if nothing takes it, still a line of that service.
    check(&[], Some(Format::Nginx), None, "level=info msg=hi n=1", ["other", "structured"]);
    check(&[], Some(Format::Nginx), None, "/docker-entrypoint.sh: ready", ["nginx", "plain"]);
    check(&[], Some(Format::Go), None, "panic: no", ["go", "plain"]);
    check(&[], None, None, "{\"broken\":", ["plain", "plain"]);
}

#[test]
fn a_postgres_message_goes_on_only_behind_one() {
    let (mut parser, _) = parser(None, 1 << 20);
    let source = source(None);
    let mut out = Records::new(source.clone());
    let log = ["\tat Main.java", "2026-11-21 13:00:00.123 UTC [31] LOG:  a", "\tsecond line", "prose", "\tthird"];
    let data: Vec<u8> = log.iter().flat_map(|text| docker(&format!("{text}\n"), "stdout")).collect();
    parser.chunk(&mut chunk_of(&source, data, 0), &mut out, ROOMY);
    let seen: Vec<_> = decode(&out).iter().map(|r| (r["service_type"].clone(), r["message"].clone())).collect();
    let expected =
        [("plain", "\tat Main.java"), ("postgres", "a\nsecond line"), ("plain", "prose"), ("postgres", "third")];
    assert_eq!(seen, expected.map(|(service, message)| (json!(service), json!(message))));
}

#[test]
fn gaps() {
    let (mut parser, _) = parser(None, 1 << 20);
    let source = source(None);
    let mut out = Records::new(source.clone());
    let gap = Gap {
        container: source.container.clone(),
        source: source.clone(),
        reason: "rotated away".into(),
        from: Some("2026-11-21T12:00:00Z".into()),
        to: None,
        bytes: Some(17),
    };
    parser.gap(gap);
    let waiting = parser.waiting(&source.container).expect("the gap");
    parser.release(&waiting, &mut out);
    assert_eq!(parser.waiting(&source.container), None);
    let record = &decode(&out)[0];
    assert_eq!((&record["log_type"], &record["level"]), (&json!("gap"), &json!("Warn")));
    assert_eq!(record["timestamp"], "2026-11-21T12:00:00.000000000Z");
    assert_eq!(
        record["fields"],
        json!({"gap_reason": "rotated away", "gap_from": "2026-11-21T12:00:00Z", "gap_bytes": "17"})
    );
    assert_eq!((out.records(), out.lines, out.ranges.is_empty()), (1, 0, true));
}

#[test]
fn an_entry_behind_a_torn_one_is_whole() {
    let (mut parser, metrics) = parser(None, 1 << 20);
    let source = source(None);
    let torn = br#"{"log":"torn {\"log\":\"#;
    for between in [&b""[..], &[0; 300]] {
        let data = [torn, between, &docker("whole\n", "stderr")].concat();
        let len = data.len() as u64;
        let mut out = Records::new(source.clone());
        parser.chunk(&mut chunk_of(&source, data, 0), &mut out, ROOMY);
        let records = decode(&out);
        assert_eq!((&records[0]["log_type"], &records[1]["message"]), (&json!("raw"), &json!("whole")));
        assert!(records[0]["message"].as_str().unwrap().starts_with(r#"{"log":"torn"#));
        assert_eq!((out.lines, out.ranges.as_slice()), (1, &[Range::new(0, len)][..]));
    }
    assert_eq!(metrics.parse_failures.with_label_values(&["envelope"]).get(), 2);
}

fn strange() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        4 => ".{0,30}",
        2 => "[\\PC\\x00-\\x1f]{0,20}",
        1 => Just("{\"level\":\"info\",\"msg\":\"x\",\"n\":".to_string()),
        1 => Just("\"status\":70000,\"fields\":{\"message\":".to_string()),
        1 => Just("2026-11-21 13:00:00.123 UTC [31] ".to_string()),
        1 => Just("LOG:  ".to_string()),
        1 => Just("1.2.3.4 - - [21/Nov/2026:13:00:00 +0000] \"GET / HTTP/1.1\" 200 5 \"".to_string()),
        1 => Just("2026/11/21 13:00:00 [error] 3#3: *1 x, client: ".to_string()),
        1 => Just("level=info msg=\"".to_string()),
        1 => "[{}\\[\\]\",:\\\\a1.\\x1b]{0,12}",
    ];
    proptest::collection::vec(piece, 0..5).prop_map(|pieces| pieces.concat())
}

fn formats() -> impl Strategy<Value = Option<Format>> {
    prop_oneof![Just(None), proptest::sample::select(&Format::ALL[..]).prop_map(Some)]
}

proptest! {
    /// Whatever an application writes becomes one valid record.
    #[test]
    fn any_message(log in strange(), format in formats()) {
        one(format, &log);
    }

    /// Whatever is in the file, every line is accounted for and what goes out is valid.
    #[test]
    fn any_file(parts in proptest::collection::vec(prop_oneof![
        3 => strange().prop_map(|log| docker(&log, "stdout")),
        3 => strange().prop_map(|log| docker(&format!("{log}\n"), "stderr")),
        1 => proptest::collection::vec(any::<u8>(), 0..60),
        1 => Just(b"\0\0\n\n".to_vec()),
        1 => Just(b"{\"log\":\"a\\n\",\"stream\":".to_vec()),
    ], 0..12), format in formats(), max in 1usize..64) {
        let data = parts.concat();
        let (mut parser, metrics) = parser(format, max);
        let source = source(None);
        let mut out = Records::new(source.clone());
        let mut chunk = chunk_of(&source, data, 0);
        let lines = chunk.lines;
        prop_assert_eq!(parser.chunk(&mut chunk, &mut out, ROOMY), Progress::Done);
        release(&mut parser, &source, &mut out);
        decode(&out);
        let blank = metrics.lines_dropped.with_label_values(&["blank"]).get();
        prop_assert_eq!(u64::from(out.lines) + blank, u64::from(lines));
    }

    /// No value of a JSON line is lost: it is in a place of its own or in `fields`.
    #[test]
    fn every_value_is_somewhere(values in proptest::collection::vec(
        ("(msg|message|event|level|lvl|time|ts|status|status_code|path|url|method|bytes|size|ip|trace_id|span_id|req|fields|[a-c]{1,2})",
         prop_oneof!["\"[a-zA-Z0-9 /.:é]{0,10}\"", "[1-9][0-9]{0,8}", Just("null".to_string()), Just("{\"a\":[1,\"b\"]}".to_string())]),
        0..10,
    )) {
        let text: Vec<String> = values.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
        let record = one(None, &format!("{{{}}}", text.join(",")));
        let mut have: Vec<String> = Vec::new();
        for (key, value) in &record {
            match value {
                Value::Object(fields) => have.extend(fields.values().map(|v| v.as_str().unwrap().to_string())),
                Value::String(text) if !["service_type", "log_type"].contains(&key.as_str()) => have.push(text.clone()),
                other => have.push(other.to_string()),
            }
        }
        for (key, value) in &values {
            let value = value.trim_matches('"');
            // Levels are normalized; `fields` of tracing is taken apart.
            let found = have.iter().any(|have| have == value || have.eq_ignore_ascii_case(value));
            prop_assert!(found || key == "fields", "{key}: {value} in {record:?}");
        }
    }
}

#[test]
fn large_and_deep() {
    let long = "x".repeat(1 << 20);
    let record = one(None, &long);
    assert_eq!(record["message"].as_str().unwrap().len(), 1 << 20);
    let deep = format!("{{\"msg\":\"m\",\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
    let record = one(None, &deep);
    assert_eq!(record["fields"]["a"].as_str().unwrap().len(), 200_000);
    let broken = format!("{{\"a\":{}", "{\"a\":".repeat(100_000));
    assert_eq!(one(None, &broken)["message"], broken);
}
