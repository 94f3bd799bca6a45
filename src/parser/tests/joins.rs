//! Split messages: content and cover against a naive twin, with both streams mixed.

use super::*;
use crate::limits::{DOCKER_PART_BYTES, JOIN_RANGES};
use crate::position::{Carried, Ranges};
use proptest::prelude::*;
use std::collections::HashMap;

/// One entry as Docker would write it.
#[derive(Clone, Debug)]
struct Piece {
    text: String,
    stdout: bool,
}

/// What Docker makes of messages on two streams: parts of full buffers, mixed, `blank` lines between.
fn lay_out(messages: &[(usize, bool, bool)], order: &[bool]) -> Vec<Option<Piece>> {
    let mut queues = [Vec::new(), Vec::new()];
    for (number, (len, stdout, ended)) in messages.iter().enumerate() {
        let mut text: String = (0..*len).map(|i| char::from(b'a' + ((i + number) % 26) as u8)).collect();
        let queue = &mut queues[usize::from(!stdout)];
        while text.len() >= DOCKER_PART_BYTES {
            let rest = text.split_off(DOCKER_PART_BYTES);
            queue.push(Piece { text, stdout: *stdout });
            text = rest;
        }
        if *ended {
            text.push('\n');
        }
        if !text.is_empty() {
            queue.push(Piece { text, stdout: *stdout });
        }
    }
    let mut order = order.iter().copied().cycle();
    let mut all = Vec::new();
    let mut queues = queues.map(|queue| queue.into_iter().peekable());
    loop {
        let first = usize::from(order.next().unwrap_or_default());
        let Some(piece) = queues[first].next().or_else(|| queues[1 - first].next()) else { return all };
        all.push(Some(piece));
        if all.len() % 5 == 3 {
            all.push(None);
        }
    }
}

/// The naive twin: each stream by itself, text concatenated until an end.
fn twin(pieces: &[Option<Piece>], max: usize) -> Vec<(String, bool, u32)> {
    let mut all = Vec::new();
    for stdout in [true, false] {
        let (mut text, mut lines) = (String::new(), 0);
        for piece in pieces.iter().flatten().filter(|piece| piece.stdout == stdout) {
            text += &piece.text;
            lines += 1;
            if piece.text.ends_with('\n') || piece.text.len() < DOCKER_PART_BYTES {
                all.push((std::mem::take(&mut text), stdout, std::mem::take(&mut lines)));
            }
        }
        if lines > 0 {
            all.push((text, stdout, lines));
        }
    }
    for (text, ..) in &mut all {
        *text = text.trim_end_matches('\n').chars().take(max).collect();
    }
    all.sort();
    all
}

/// What came out, and which bytes of which generation it was made from.
#[derive(Default)]
struct Seen {
    /// Message, whether on stdout, whether flagged as truncated.
    messages: Vec<(String, bool, bool)>,
    covered: HashMap<Generation, Ranges>,
    lines: u64,
}

impl Seen {
    fn take(&mut self, out: &Records) {
        let mut iter = out.cover.iter();
        let mut ranges = Vec::new();
        for record in decode(out) {
            iter.next_into(&mut ranges).unwrap();
            self.cover(out.source.generation, &ranges);
            let message = record["message"].as_str().unwrap().to_string();
            self.messages.push((message, record["stream"] == "stdout", record["fields"].get("truncated").is_some()));
        }
        for (generation, ranges) in &out.carried {
            assert_ne!(*generation, out.source.generation);
            self.cover(*generation, ranges.as_slice());
        }
        self.lines += u64::from(out.lines);
    }

    fn cover(&mut self, generation: Generation, ranges: &[Range]) {
        let all = self.covered.entry(generation).or_default();
        for range in ranges {
            assert!(!all.touches(*range), "covered twice");
            all.insert(*range);
        }
    }
}

fn turn(source: &Arc<Source>, generation: u64) -> Arc<Source> {
    Arc::new(Source { container: source.container.clone(), generation: Generation(generation) })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// The log may be rotated between any two lines.
    #[test]
    fn same_as_the_twin(
        messages in proptest::collection::vec((prop_oneof![0usize..50, 16_380usize..16_390, 30_000usize..70_000], any::<bool>(), any::<bool>()), 0..8),
        order in proptest::collection::vec(any::<bool>(), 1..8),
        records in 1usize..4,
        cut in 1usize..20,
        turns in proptest::collection::vec(any::<bool>(), 1..6),
        max in prop_oneof![Just(1usize << 20), 20_000usize..50_000],
    ) {
        let pieces = lay_out(&messages, &order);
        let lines: Vec<Vec<u8>> = pieces.iter().map(|piece| match piece {
            Some(piece) => docker(&piece.text, if piece.stdout { "stdout" } else { "stderr" }),
            None => b"\0\0\n".to_vec(),
        }).collect();
        let (mut parser, metrics) = parser(Some(Format::Plain), max);
        let mut source = source(None);
        let (mut seen, mut at, mut wanted) = (Seen::default(), 0u64, Vec::new());
        for (group, turns) in lines.chunks(cut).zip(turns.iter().cycle()) {
            if *turns {
                parser.end(&source);
                source = turn(&source, source.generation.0 + 1);
                at = 0;
            }
            let data = group.concat();
            let len = data.len() as u64;
            let mut end = at;
            for line in group {
                let range = Range::new(end, end + line.len() as u64);
                end = range.end;
                if !line.starts_with(b"\0") {
                    wanted.push((source.generation, range));
                }
            }
            let mut chunk = chunk_of(&source, data, at);
            loop {
                let mut out = Records::new(source.clone());
                let progress = parser.chunk(&mut chunk, &mut out, Bounds { records, bytes: usize::MAX });
                seen.take(&out);
                if progress == Progress::Done {
                    break;
                }
            }
            at += len;
        }
        let (held, before) = (parser.held_lines() as u64, seen.lines);
        while let Some(source) = parser.waiting(&source.container) {
            let mut out = Records::new(source.clone());
            parser.release(&source, &mut out);
            prop_assert_eq!(out.records(), 1);
            seen.take(&out);
        }
        prop_assert_eq!(seen.lines - before, held);
        prop_assert_eq!(parser.held_lines(), 0);
        for (message, _, truncated) in &seen.messages {
            prop_assert!(*truncated || message.len() < max || max == 1 << 20);
        }
        let mut messages: Vec<_> = seen.messages.into_iter().map(|(text, stdout, _)| (text, stdout)).collect();
        messages.sort();
        prop_assert_eq!(messages, twin(&pieces, max).into_iter().map(|(text, stdout, _)| (text, stdout)).collect::<Vec<_>>());
        let blank = metrics.lines_dropped.with_label_values(&["blank"]).get();
        prop_assert_eq!(seen.lines + blank, lines.len() as u64);
        for (generation, range) in wanted {
            prop_assert!(seen.covered[&generation].covers(range), "{generation} {range:?}");
        }
    }
}

/// Parts far beyond the longest message, with the other stream between them: the record comes when they stand in too many
/// places, the rest is passed over, and both streams stay in step.
#[test]
fn what_never_ends_is_cut_and_passed_over() {
    let (mut parser, metrics) = parser(Some(Format::Plain), 20_000);
    let source = source(None);
    let part = docker(&"p".repeat(DOCKER_PART_BYTES), "stdout");
    let mut data = Vec::new();
    for i in 0..2 * JOIN_RANGES {
        data.extend_from_slice(&part);
        data.extend_from_slice(&docker(&format!("{i}\n"), "stderr"));
    }
    data.extend_from_slice(&docker("the end\n", "stdout"));
    data.extend_from_slice(&docker("in step\n", "stdout"));
    let len = data.len() as u64;
    let (mut chunk, mut seen) = (chunk_of(&source, data, 0), Seen::default());
    loop {
        let mut out = Records::new(source.clone());
        let progress = parser.chunk(&mut chunk, &mut out, ROOMY);
        assert!(out.ranges.as_slice().len() <= 2 * JOIN_RANGES, "{}", out.ranges.as_slice().len());
        seen.take(&out);
        if progress == Progress::Done {
            break;
        }
    }
    let stdout: Vec<_> = seen.messages.iter().filter(|(_, stdout, _)| *stdout).collect();
    assert_eq!(stdout, [&("p".repeat(20_000), true, true), &("in step".to_owned(), true, false)]);
    let stderr = seen.messages.iter().filter(|(_, stdout, _)| !stdout).map(|(text, ..)| text.clone());
    assert!(stderr.eq((0..2 * JOIN_RANGES).map(|i| i.to_string())));
    assert!(seen.covered[&source.generation].covers(Range::new(0, len)));
    let cut = metrics.lines_dropped.with_label_values(&["cut"]).get();
    assert_eq!(cut as usize, JOIN_RANGES + 1);
    assert_eq!(seen.lines + cut, 4 * JOIN_RANGES as u64 + 2);
}

/// The log is rotated behind a part that is passed over and blank lines: the next record settles the part.
#[test]
fn parts_passed_over_are_settled_by_the_next_generation() {
    let (first, part) = (source(None), docker(&"p".repeat(DOCKER_PART_BYTES), "stdout"));
    let mut data = Vec::new();
    for _ in 0..JOIN_RANGES {
        data.extend_from_slice(&part);
        data.extend_from_slice(&docker("between\n", "stderr"));
    }
    let from = data.len() as u64;
    data.extend_from_slice(&part);
    let to = data.len() as u64;
    data.extend_from_slice(b"\n\n");
    for ended in [true, false] {
        let (mut parser, _) = parser(Some(Format::Plain), 20_000);
        let (mut chunk, mut seen) = (chunk_of(&first, data.clone(), 0), Seen::default());
        let mut progress = Progress::Full;
        while progress == Progress::Full {
            let mut out = Records::new(first.clone());
            progress = parser.chunk(&mut chunk, &mut out, ROOMY);
            seen.take(&out);
        }
        assert_eq!(seen.covered[&first.generation].as_slice(), [Range::new(0, from)]);
        if ended {
            parser.end(&first);
        }
        let next = turn(&first, 8);
        let lines = [docker("in step\n", "stderr"), docker("still\n", "stderr")].concat();
        let (mut chunk, mut out) = (chunk_of(&next, lines, 0), Records::new(next.clone()));
        assert_eq!(parser.chunk(&mut chunk, &mut out, ROOMY), Progress::Full, "what carries is the last");
        let passed: Carried = vec![(first.generation, Ranges::from_iter([Range::new(from, to)]))];
        assert_eq!((decode(&out)[0]["message"].clone(), out.carried), (json!("in step"), passed));
        let mut out = Records::new(next.clone());
        assert_eq!(parser.chunk(&mut chunk, &mut out, ROOMY), Progress::Done);
        assert_eq!((decode(&out)[0]["message"].clone(), out.carried), (json!("still"), Carried::default()));
    }
}

/// The daemon died while it wrote the second part; behind the torn line the service begins anew.
#[test]
fn damage_ends_what_is_held() {
    let (mut parser, _) = parser(Some(Format::Plain), 1 << 20);
    let first = source(None);
    let part = docker(&"p".repeat(DOCKER_PART_BYTES), "stdout");
    let mut out = Records::new(first.clone());
    parser.chunk(&mut chunk_of(&first, part.clone(), 0), &mut out, ROOMY);
    assert!(out.is_empty());
    let next = turn(&first, 8);
    let torn = [br#"{"log":"pppp"#.as_slice(), &docker("hello\n", "stdout")].concat();
    let (len, mut out) = (torn.len() as u64, Records::new(next.clone()));
    parser.chunk(&mut chunk_of(&next, torn, 0), &mut out, ROOMY);
    let records = decode(&out);
    let messages: Vec<_> = records.iter().map(|record| record["message"].as_str().unwrap().len()).collect();
    assert_eq!(messages, [12, DOCKER_PART_BYTES, 5], "torn, held, whole");
    assert_eq!(records[1]["fields"], json!({"truncated": "true"}));
    assert_eq!(out.ranges.as_slice(), [Range::new(0, len)]);
    assert_eq!(out.carried, [(first.generation, Ranges::from_iter([Range::new(0, part.len() as u64)]))]);
    assert_eq!((out.lines, parser.held_lines()), (2, 0));
}

#[test]
fn a_gap_is_written_at_the_end_although_no_line_comes() {
    let (mut parser, _) = parser(None, 1 << 20);
    let source = source(None);
    let gap = Gap {
        container: source.container.clone(),
        source: source.clone(),
        reason: "rotated away".into(),
        from: None,
        to: None,
        bytes: None,
    };
    parser.gap(gap);
    let mut out = Records::new(source.clone());
    assert_eq!(parser.unreported(), Some(source.clone()));
    parser.report(&source, &mut out);
    assert_eq!((decode(&out)[0]["log_type"].clone(), parser.unreported()), (json!("gap"), None));
}

#[test]
fn a_gap_ends_what_is_held() {
    let (mut parser, _) = parser(Some(Format::Plain), 1 << 20);
    let source = source(None);
    let part = docker(&"p".repeat(DOCKER_PART_BYTES), "stdout");
    let mut out = Records::new(source.clone());
    parser.chunk(&mut chunk_of(&source, part.clone(), 0), &mut out, ROOMY);
    assert!(out.is_empty());
    let next = turn(&source, 8);
    let waiting = parser.waiting(&next.container).expect("the part");
    assert_eq!(waiting, source);
    parser.release(&waiting, &mut out);
    let gap = Gap {
        container: next.container.clone(),
        source: next.clone(),
        reason: "rotated away".into(),
        from: None,
        to: None,
        bytes: None,
    };
    parser.gap(gap);
    assert_eq!(decode(&out)[0]["fields"], json!({"truncated": "true"}));
    assert_eq!(out.ranges.as_slice(), [Range::new(0, part.len() as u64)]);
    let mut out = Records::new(next.clone());
    parser.chunk(&mut chunk_of(&next, docker("rest\n", "stdout"), 0), &mut out, ROOMY);
    let records = decode(&out);
    assert_eq!((&records[0]["log_type"], &records[1]["message"]), (&json!("gap"), &json!("rest")));
    assert_eq!(records[0]["fields"], json!({"gap_reason": "rotated away", "gap_from": T, "gap_to": T}));
}

#[test]
fn the_other_stream_passes() {
    let (mut parser, _) = parser(None, 1 << 20);
    let source = source(None);
    let part = "p".repeat(DOCKER_PART_BYTES);
    let lines = [docker(&part, "stdout"), docker("passing\n", "stderr"), docker("end\r\n", "stdout")];
    let starts: Vec<u64> = lines
        .iter()
        .scan(0, |at, line| {
            *at += line.len() as u64;
            Some(*at)
        })
        .collect();
    let mut out = Records::new(source.clone());
    parser.chunk(&mut chunk_of(&source, lines[..2].concat(), 0), &mut out, ROOMY);
    assert_eq!(decode(&out)[0]["message"], "passing");
    assert_eq!(out.ranges.as_slice(), [Range::new(starts[0], starts[1])], "a hole where the part stands");
    assert_eq!(parser.held_lines(), 1);
    let mut out = Records::new(source.clone());
    parser.chunk(&mut chunk_of(&source, lines[2].clone(), starts[1]), &mut out, ROOMY);
    assert_eq!(decode(&out)[0]["message"], format!("{part}end"));
    assert_eq!(out.ranges.as_slice(), [Range::new(0, starts[0]), Range::new(starts[1], starts[2])]);
    assert_eq!((out.lines, parser.held_lines()), (2, 0));
}
