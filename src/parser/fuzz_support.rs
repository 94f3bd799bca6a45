//! Oracles of the envelope and of the joiner, for `crates/fuzz` and for the tests below; not for programs.

use super::envelope::{self, Line, Stream};
use super::formats::Format;
use super::time::Clock;
use super::unescape::Buffer;
use super::{Bounds, Parser, Progress, Records, Settings};
use crate::buffer::{Chunk, Offsets};
use crate::limits::DOCKER_PART_BYTES;
use crate::metrics::Metrics;
use crate::position::{Generation, Range, Ranges};
use crate::source::{Container, Source};
use serde_json::Value;
use std::sync::Arc;
use std::time::Instant;

/// One line, read by us and by `serde_json`: where both take it, text, end and stream agree; what `serde_json` takes as an
/// entry, we take. The other way round we are lenient: what is not looked at may be anything.
pub fn envelope(line: &[u8]) {
    if line.contains(&b'\n') {
        return;
    }
    let (mut buffer, mut clock) = (Buffer::default(), Clock::new());
    let ours = match envelope::read(line, &mut buffer, &mut clock) {
        Line::Entry(entry) => {
            let text = std::str::from_utf8(entry.text(&buffer)).expect("the text is UTF-8").to_owned();
            Ok((text, entry.ended, if entry.stream == Stream::Stdout { "stdout" } else { "stderr" }))
        }
        Line::Blank => {
            assert!(line.iter().all(|byte| *byte == 0 || byte.is_ascii_whitespace()), "only nothing is blank");
            Err("blank")
        }
        Line::Garbage(why) => Err(why),
    };
    let theirs = twin(line);
    match (&ours, &theirs) {
        (Ok(ours), Some((text, stream))) => {
            let (text, ended) = text.strip_suffix('\n').map_or((text.as_str(), false), |text| (text, true));
            assert_eq!((ours.0.as_str(), ours.1, ours.2), (text, ended, stream.as_str()));
        }
        // Times are ours to judge.
        (Err(why), Some((_, stream))) if matches!(stream.as_str(), "stdout" | "stderr") => {
            assert!(matches!(*why, "bad time in Docker's entry"), "refused: {why}");
        }
        _ => {}
    }
    records(line);
}

/// `log` and `stream` of an object whose three members are strings.
fn twin(line: &[u8]) -> Option<(String, String)> {
    let nuls = line.iter().take_while(|byte| **byte == 0).count();
    let line = String::from_utf8_lossy(&line[nuls..]);
    let map: serde_json::Map<String, Value> = serde_json::from_str(&line).ok()?;
    map.get("time")?.as_str()?;
    Some((map.get("log")?.as_str()?.into(), map.get("stream")?.as_str()?.into()))
}

/// Any bytes as a log file: each line of the output is an object in valid UTF-8 with its required members, and nothing is
/// covered twice.
pub fn records(file: &[u8]) {
    let (body, covered) = parse(file, Format::Plain, 1 << 20, 7);
    for line in body.split_inclusive(|byte| *byte == b'\n') {
        let text = std::str::from_utf8(line).expect("valid UTF-8");
        let value: Value = serde_json::from_str(text).expect("valid JSON");
        for key in
            ["service_type", "log_type", "message", "timestamp", "stream", "container_id", "service_name", "fields"]
        {
            assert!(value.get(key).is_some(), "{key} is missing");
        }
    }
    assert!(covered.end() <= file.len() as u64, "nothing beyond the end is covered");
}

/// Entries made from `data` (see [`entries`]), read in chunks: the messages are those of a concatenation by hand, in the order in
/// which they end, and the covers partition the input.
pub fn joiner(data: &[u8]) {
    const MAX: usize = 40_000;
    let Some((&cut, data)) = data.split_first() else { return };
    let entries = entries(data);
    let (mut file, mut ends) = (Vec::new(), vec![0]);
    for (stream, text, ended) in &entries {
        let end = if *ended { "\\n" } else { "" };
        file.extend_from_slice(
            format!("{{\"log\":\"{text}{end}\",\"stream\":\"{stream}\",\"time\":\"2026-11-21T13:00:00Z\"}}\n")
                .as_bytes(),
        );
        ends.push(file.len() as u64);
    }
    let (body, covered) = parse(&file, Format::Plain, MAX, usize::from(cut) + 1);
    let messages: Vec<(String, String)> = body
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| {
            let value: Value = serde_json::from_slice(line).expect("valid JSON");
            let text = |key: &str| value[key].as_str().expect("a string").to_owned();
            (text("stream"), text("message"))
        })
        .collect();
    let (expected, held) = by_hand(&entries, MAX);
    assert!(messages == expected, "{:?}", sizes(&messages));
    let lines = ends.windows(2).enumerate().filter(|(i, _)| !held.contains(i));
    let expected: Ranges = lines.map(|(_, ends)| Range::new(ends[0], ends[1])).collect();
    assert_eq!(covered, expected);
}

/// One entry for each byte: stream, text, whether it ends its message. Texts of a part's length and of others.
fn entries(data: &[u8]) -> Vec<(&'static str, String, bool)> {
    data.iter()
        .take(24)
        .enumerate()
        .map(|(i, byte)| {
            let stream = if byte & 1 == 0 { "stdout" } else { "stderr" };
            let bytes = [0, 1, 20, DOCKER_PART_BYTES - 1, DOCKER_PART_BYTES, DOCKER_PART_BYTES + 1];
            let letter = char::from(b'a' + (i % 26) as u8);
            (stream, letter.to_string().repeat(bytes[usize::from(byte >> 2) % bytes.len()]), byte & 2 != 0)
        })
        .collect()
}

/// The naive twin: messages that have ended, cut at `max`, and which entries wait for the rest of theirs.
fn by_hand(entries: &[(&'static str, String, bool)], max: usize) -> (Vec<(String, String)>, Vec<usize>) {
    let (mut out, mut held) = (Vec::new(), [(String::new(), Vec::new()), (String::new(), Vec::new())]);
    for (i, (stream, text, ended)) in entries.iter().enumerate() {
        let (whole, waiting) = &mut held[usize::from(*stream == "stderr")];
        whole.push_str(text);
        waiting.push(i);
        if *ended || text.len() < DOCKER_PART_BYTES {
            whole.truncate(max);
            out.push(((*stream).to_owned(), std::mem::take(whole)));
            waiting.clear();
        }
    }
    (out, held.into_iter().flat_map(|(_, waiting)| waiting).collect())
}

fn sizes(messages: &[(String, String)]) -> Vec<(&str, usize)> {
    messages.iter().map(|(stream, message)| (stream.as_str(), message.len())).collect()
}

/// Parses a file in chunks of `lines` lines to its end. Body, and what is covered; asserts that nothing is covered twice.
fn parse(file: &[u8], format: Format, max_line_bytes: usize, lines: usize) -> (Vec<u8>, Ranges) {
    let settings = Settings { format: Some(format), max_line_bytes, ..Settings::default() };
    let mut parser = Parser::new(settings, &Metrics::new());
    let source = Arc::new(Source { container: Arc::new(container()), generation: Generation(1) });
    let (mut body, mut covered) = (Vec::new(), Ranges::default());
    let mut take = |records: &mut Records| {
        let (mut iter, mut ranges) = (records.cover.iter(), Vec::new());
        while iter.next_into(&mut ranges).is_some() {
            for range in &ranges {
                assert!(!covered.touches(*range), "{range:?} is covered twice");
                covered.insert(*range);
            }
        }
        body.extend_from_slice(&records.body);
        records.reset(source.clone());
    };
    let mut records = Records::new(source.clone());
    let bounds = Bounds { records: 3, bytes: 1 << 20 };
    let pieces: Vec<&[u8]> = file.split_inclusive(|byte| *byte == b'\n').collect();
    let mut start = 0;
    for piece in pieces.chunks(lines) {
        let data = piece.concat();
        let offsets = Offsets::File(start);
        start += data.len() as u64;
        let mut chunk = Chunk {
            source: source.clone(),
            data: data.into(),
            offsets,
            lines: piece.len() as u32,
            read_at: Instant::now(),
        };
        while parser.chunk(&mut chunk, &mut records, bounds) == Progress::Full {
            take(&mut records);
        }
    }
    take(&mut records);
    (body, covered)
}

fn container() -> Container {
    Container {
        id: "a".repeat(64),
        name: "a".into(),
        service: "a".into(),
        group: None,
        format: None,
        steering: Default::default(),
        tty: false,
        log_driver: "json-file".into(),
        max_size: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn envelopes() {
        let entry =
            |log: &str| format!("{{\"log\":\"{log}\",\"stream\":\"stdout\",\"time\":\"2026-11-21T13:00:00.1Z\"}}");
        let mut seeds: Vec<Vec<u8>> = [
            entry("hi\\n"),
            entry("\\u003c\\ud83d\\ude00\\\\\\\"x"),
            entry("\\ud83d"),
            "{\"log\":\"torn by a".to_owned() + &entry("b\\n"),
            "\0\0".to_owned() + &entry("a\\n"),
            "{\"stream\":\"stderr\",\"attrs\":{\"a\":[1,{}]},\"time\":\"2026-11-21T13:00:00Z\",\"log\":\"\"}".into(),
            "{\"log\":1}".into(),
        ]
        .map(String::into_bytes)
        .into();
        seeds.push(
            entry("caf\u{e9}").into_bytes().iter().map(|byte| if *byte == 0xc3 { 0xff } else { *byte }).collect(),
        );
        crate::fuzz_support::mutate(&seeds, envelope);
        crate::fuzz_support::mutate(&seeds, records);
    }

    #[test]
    fn joins() {
        crate::fuzz_support::mutate(&[vec![3, 16, 17, 2, 3], vec![0, 16, 16, 16, 16, 18], (0..25).collect()], joiner);
    }
}
