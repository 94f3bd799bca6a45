//! The json-file envelope, byte for byte as moby's `jsonlog` writes it.

use crate::clock::{put, put_rfc3339};
use std::fmt;

/// Bytes after which Docker cuts a message into parts (moby `daemon/logger/copier.go`).
pub const PART_BYTES: usize = 16 << 10;

/// Where a program wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    /// The word in the envelope and in the record.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Appends one entry with its newline. `log` is the message, or the part of one, with its own `\n` if it has one.
/// `attrs` is raw JSON, empty for none. An empty `log` leaves the key out, as Docker does.
pub fn put_envelope(out: &mut Vec<u8>, log: &[u8], stream: Stream, attrs: &str, time: i64) {
    out.push(b'{');
    if !log.is_empty() {
        out.extend_from_slice(b"\"log\":");
        put_string(out, log);
        out.push(b',');
    }
    put(out, format_args!("\"stream\":\"{stream}\","));
    if !attrs.is_empty() {
        put(out, format_args!("\"attrs\":{attrs},"));
    }
    out.extend_from_slice(b"\"time\":\"");
    put_rfc3339(out, time);
    out.extend_from_slice(b"\"}\n");
}

/// Escapes what Go's `encoding/json` escapes for HTML's sake as well; each invalid byte becomes `\ufffd`.
fn put_string(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    for chunk in text.utf8_chunks() {
        for (i, piece) in chunk.valid().split(['\u{2028}', '\u{2029}']).enumerate() {
            if i > 0 {
                // The separator stands just before the piece: its last byte is a8 or a9.
                let before = piece.as_ptr() as usize - chunk.valid().as_ptr() as usize - 1;
                put(out, format_args!("\\u202{}", chunk.valid().as_bytes()[before] & 0x0f));
            }
            put_valid(out, piece.as_bytes());
        }
        for _ in chunk.invalid() {
            out.extend_from_slice(b"\\ufffd");
        }
    }
    out.push(b'"');
}

fn put_valid(out: &mut Vec<u8>, text: &[u8]) {
    let mut clean_from = 0;
    for (i, &byte) in text.iter().enumerate() {
        if byte >= 0x20 && !matches!(byte, b'"' | b'\\' | b'<' | b'>' | b'&') {
            continue;
        }
        out.extend_from_slice(&text[clean_from..i]);
        clean_from = i + 1;
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            _ => put(out, format_args!("\\u{byte:04x}")),
        }
    }
    out.extend_from_slice(&text[clean_from..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn envelope(log: &[u8], attrs: &str) -> String {
        let mut out = Vec::new();
        put_envelope(&mut out, log, Stream::Stderr, attrs, 1_500_000_000);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn as_moby_writes_it() {
        let check = |log: &[u8], want: &str| {
            let want = format!("{{\"log\":\"{want}\",\"stream\":\"stderr\",\"time\":\"1970-01-01T00:00:01.5Z\"}}\n");
            assert_eq!(envelope(log, ""), want);
        };
        check(b"a\n", r"a\n");
        check(b"\n", r"\n");
        check(b"no newline", "no newline");
        // Seen from a real daemon: <&>, tab and \x01.
        check(b"<&> \t\x01\n", r"\u003c\u0026\u003e \u0009\u0001\n");
        check(br#"say "hi" \o/"#, r#"say \"hi\" \\o/"#);
        check(b"\r\n", r"\r\n");
        check(b"\x00\x1b[31m\x7f", "\\u0000\\u001b[31m\x7f");
        check("grüße 🦀 \u{fffd}".as_bytes(), "grüße 🦀 \u{fffd}");
        check("a\u{2028}b\u{2029}".as_bytes(), r"a\u2028b\u2029");
        check("\u{2029}\u{2028}<".as_bytes(), r"\u2029\u2028\u003c");
        check(b"\xff", r"\ufffd");
        // A character cut in two: one replacement for each byte, as Go decodes.
        check(b"\xf0\x9f\xa6", r"\ufffd\ufffd\ufffd");
        check(b"x\xe2\x82y\xc3", r"x\ufffd\ufffdy\ufffd");
    }

    #[test]
    fn keys_that_may_be_absent_or_added() {
        assert_eq!(envelope(b"", ""), "{\"stream\":\"stderr\",\"time\":\"1970-01-01T00:00:01.5Z\"}\n");
        let attrs = r#"{"tag":"x"}"#;
        let want =
            "{\"log\":\"a\",\"stream\":\"stderr\",\"attrs\":{\"tag\":\"x\"},\"time\":\"1970-01-01T00:00:01.5Z\"}\n";
        assert_eq!(envelope(b"a", attrs), want);
    }

    proptest! {
        /// Any bytes give one line of valid JSON that reads back as the text that was valid in them.
        #[test]
        fn any_bytes_read_back(log in prop::collection::vec(any::<u8>(), 1..200)) {
            let line = envelope(&log, "");
            prop_assert_eq!(line.find('\n'), Some(line.len() - 1));
            let value: serde_json::Value = serde_json::from_str(&line).unwrap();
            let want: String = log
                .utf8_chunks()
                .map(|chunk| chunk.valid().to_owned() + &"\u{fffd}".repeat(chunk.invalid().len()))
                .collect();
            prop_assert_eq!(value["log"].as_str().unwrap(), want);
        }
    }
}
