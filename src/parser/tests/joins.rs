//! Split messages: content and cover against a naive twin, with both streams mixed.

use super::*;
use crate::limits::DOCKER_PART_BYTES;
use proptest::prelude::*;

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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn same_as_the_twin(
        messages in proptest::collection::vec((prop_oneof![0usize..50, 16_380usize..16_390, 30_000usize..70_000], any::<bool>(), any::<bool>()), 0..8),
        order in proptest::collection::vec(any::<bool>(), 1..8),
        records in 1usize..4,
        cut in 1usize..20,
        max in prop_oneof![Just(1usize << 20), 20_000usize..50_000],
    ) {
        let pieces = lay_out(&messages, &order);
        let lines: Vec<Vec<u8>> = pieces.iter().map(|piece| match piece {
            Some(piece) => docker(&piece.text, if piece.stdout { "stdout" } else { "stderr" }),
            None => b"\0\0\n".to_vec(),
        }).collect();
        let (mut parser, metrics) = parser(Some(Format::Plain), max);
        let source = source(None);
        let (mut seen, mut all, mut at) = (Vec::new(), Ranges::default(), 0u64);
        let mut total = 0;
        let mut take = |out: Records| {
            let mut iter = out.cover.iter();
            let mut ranges = Vec::new();
            let mut lines = 0;
            for record in decode(&out) {
                iter.next_into(&mut ranges).unwrap();
                for range in &ranges {
                    assert!(!all.touches(*range), "covered twice");
                    all.insert(*range);
                    lines += 1;
                }
                let message = record["message"].as_str().unwrap().to_string();
                assert_eq!(record["fields"].get("truncated").is_some(), message.len() == max);
                seen.push((message, record["stream"] == "stdout"));
            }
            assert!(lines <= out.lines + 8);
            total += u64::from(out.lines);
        };
        for group in lines.chunks(cut) {
            let data = group.concat();
            let len = data.len() as u64;
            let mut chunk = chunk_of(&source, data, at);
            loop {
                let mut out = Records::new(source.clone());
                let progress = parser.chunk(&mut chunk, &mut out, Bounds { records, bytes: usize::MAX });
                take(out);
                if progress == Progress::Done {
                    break;
                }
            }
            at += len;
        }
        let held = parser.held_lines();
        let mut out = Records::new(source.clone());
        parser.end(&source, &mut out);
        prop_assert_eq!(out.lines as usize, held);
        prop_assert_eq!(parser.held_lines(), 0);
        take(out);
        let expected = twin(&pieces, max);
        seen.sort();
        prop_assert_eq!(seen, expected.iter().map(|(text, stdout, _)| (text.clone(), *stdout)).collect::<Vec<_>>());
        let blank = metrics.lines_dropped.with_label_values(&["blank"]).get();
        prop_assert_eq!(total + blank, lines.len() as u64);
        // Blank lines behind the last record are in no cover; everything else is.
        let trailing: usize = lines.iter().rev().take_while(|line| line.starts_with(b"\0")).map(Vec::len).sum();
        let reached = at - trailing as u64;
        prop_assert!(reached == 0 || all.covers(Range::new(0, reached)), "{all}");
    }
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
