//! Oracles of what Docker's API streams; not for programs.

use super::{render, split_time, time_text, tty_messages};
use serde_json::Value;

/// Any bytes as a message and as a TTY's output: what is rendered is one line of JSON that says the same, a time reads back,
/// and the messages of a TTY are pieces of its line, in order.
pub fn api_stream(data: &[u8]) {
    let lossy = String::from_utf8_lossy(data);
    let mut line = Vec::new();
    render(&mut line, data, false, "stdout", 1_700_000_000_123_456_789);
    assert_eq!(memchr::memchr(b'\n', &line), Some(line.len() - 1), "one line");
    let value: Value = serde_json::from_str(&String::from_utf8_lossy(&line)).expect("JSON");
    let log = value["log"].as_str().expect("a string");
    assert!(log == lossy || log.strip_suffix('\n') == Some(&lossy), "{log:?} is not {lossy:?}");
    assert!(log.ends_with('\n'), "no part");
    assert_eq!(value["time"], "2023-11-14T22:13:20.123456789Z");
    if let Some((nanos, rest)) = split_time(data) {
        assert!(data.ends_with(rest));
        let text = time_text(nanos) + " ";
        assert_eq!(split_time(text.as_bytes()), Some((nanos, &b""[..])), "{text}");
    }
    let mut at = 0;
    for message in tty_messages(data) {
        assert!(!message.is_empty(), "it would never end");
        assert_eq!(&data[at..at + message.len()], message);
        at += message.len();
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn messages() {
        let time = "2026-11-21T13:32:37.672982723Z ";
        let part = "x".repeat(crate::limits::DOCKER_PART_BYTES);
        let seeds = [
            format!("{time}hello\n"),
            format!("{time}{part}{time}rest\r\n"),
            format!("{time}{part}{time}rest\r{time}next\n"),
            "2026-11-21T13:32:37+01:00 zone \u{7}\"\\\t\n".into(),
            "0000-01-01T00:00:00Z early\n".into(),
            String::new(),
        ];
        crate::fuzz_support::mutate(&seeds.map(String::into_bytes), super::api_stream);
    }
}
