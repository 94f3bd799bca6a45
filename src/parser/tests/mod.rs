//! The parser as its callers see it: chunks in, records out.

mod docs;
mod formats;
mod joins;
mod lines;
mod multiline;
mod naive;
pub(super) mod samples;

use super::*;
use crate::position::Generation;
use crate::source::Container;
use serde_json::{Map, Value, json};
use std::time::Instant;

const T: &str = "2026-11-21T13:00:00.123456789Z";

pub(super) const ROOMY: Bounds = Bounds { records: usize::MAX, bytes: usize::MAX };

pub(super) fn source(format: Option<&str>) -> Arc<Source> {
    let container = Container {
        name: "shop-api-1".into(),
        group: Some("shop \"a\"".into()),
        format: format.map(Into::into),
        ..Container::new(&("c0ffee".repeat(10) + "beef"), "api")
    };
    Arc::new(Source { container: Arc::new(container), generation: Generation(7) })
}

pub(super) fn parser(format: Option<Format>, max_line_bytes: usize) -> (Parser, Metrics) {
    let metrics = Metrics::new();
    (Parser::new(Settings { format, max_line_bytes, ..Settings::default() }, &metrics), metrics)
}

/// A line of Docker's for a message.
pub(super) fn docker(log: &str, stream: &str) -> Vec<u8> {
    format!("{{\"log\":{},\"stream\":\"{stream}\",\"time\":\"{T}\"}}\n", serde_json::to_string(log).unwrap())
        .into_bytes()
}

pub(super) fn chunk_of(source: &Arc<Source>, data: Vec<u8>, at: u64) -> Chunk {
    let lines = data.split_inclusive(|b| *b == b'\n').count() as u32;
    Chunk { source: source.clone(), data: data.into(), offsets: Offsets::File(at), lines, read_at: Instant::now() }
}

/// The records, decoded, each checked to be what `docs/wire-format.md` asks of every record.
pub(super) fn decode(out: &Records) -> Vec<Map<String, Value>> {
    const ORDER: [&str; 18] = [
        "service_type",
        "log_type",
        "message",
        "level",
        "timestamp",
        "stream",
        "method",
        "path",
        "user_agent",
        "ip_address",
        "status_code",
        "response_size",
        "container_id",
        "service_name",
        "service_group",
        "trace_id",
        "span_id",
        "fields",
    ];
    const ALWAYS: [&str; 8] =
        ["service_type", "log_type", "message", "timestamp", "stream", "container_id", "service_name", "fields"];
    let text = std::str::from_utf8(&out.body).expect("records are UTF-8");
    assert!(text.is_empty() || text.ends_with('\n'));
    let records: Vec<Map<String, Value>> = text.lines().map(|line| serde_json::from_str(line).expect(line)).collect();
    assert_eq!(records.len(), out.records());
    for (record, line) in records.iter().zip(text.lines()) {
        assert!(ALWAYS.iter().all(|key| record.contains_key(*key)), "{line}");
        for (key, value) in record {
            match key.as_str() {
                "fields" => assert!(value.as_object().unwrap().values().all(Value::is_string), "{line}"),
                "status_code" => assert!(value.as_u64().unwrap() <= 65_535, "{line}"),
                "response_size" => assert!(value.is_u64(), "{line}"),
                "level" => {
                    assert!(["Debug", "Info", "Warn", "Error", "Fatal"].contains(&value.as_str().unwrap()), "{line}");
                }
                key => assert!(ORDER.contains(&key) && value.is_string(), "{line}"),
            }
        }
        let head = &line[..line.find(",\"fields\":{").unwrap() + ",\"fields\":".len()];
        let places: Vec<usize> = ORDER.iter().filter_map(|key| head.find(&format!("\"{key}\":"))).collect();
        assert_eq!(places.len(), record.len(), "{line}");
        let found: usize = ORDER.iter().map(|key| head.matches(&format!("\"{key}\":")).count()).sum();
        assert_eq!(places.len(), found, "each key once: {line}");
        assert!(places.is_sorted(), "{line}");
        assert!(crate::parser::time::normalize(record["timestamp"].as_str().unwrap().as_bytes()).is_some(), "{line}");
    }
    records
}

/// One message through a parser of its own.
pub(super) fn one(format: Option<Format>, log: &str) -> Map<String, Value> {
    let (mut parser, _) = parser(format, 1 << 20);
    let source = source(None);
    let mut out = Records::new(source.clone());
    let mut chunk = chunk_of(&source, docker(&format!("{log}\n"), "stdout"), 0);
    assert_eq!(parser.chunk(&mut chunk, &mut out, ROOMY), Progress::Done);
    release(&mut parser, &source, &mut out);
    decode(&out).remove(0)
}

/// Nothing more comes.
pub(super) fn release(parser: &mut Parser, source: &Arc<Source>, out: &mut Records) {
    while let Some(waiting) = parser.waiting(&source.container) {
        assert_eq!(waiting, *source);
        parser.release(source, out);
    }
}
