//! The few things that the ledger wants of a record, found without decoding it: about 200 ns a record.
//!
//! A needle such as `"stream":"` cannot match inside a JSON string, where its quotes would be escaped. It could match a key of
//! the same name inside `fields`; the record's own keys come first in what our forwarder writes, and the first match counts.

use memchr::memmem::Finder;
use std::sync::LazyLock;

/// Number and run of a generated event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark<'a> {
    /// Sequence number on its stream.
    pub seq: u64,
    /// Name of the run; empty when there is none.
    pub run: &'a [u8],
}

/// The number and the run that `rask gen` put into an event, in a raw line or in a record: `seq=N`, `"seq":N`, `"seq":"N"`,
/// `\"seq\":N`, and the same with `run`.
pub fn mark_of(line: &[u8]) -> Option<Mark<'_>> {
    static SEQ: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("seq"));
    static RUN: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("run"));
    let (at, digits) = value_of(line, &SEQ, u8::is_ascii_digit)?;
    let seq = digits.iter().try_fold(0u64, |seq, digit| seq.checked_mul(10)?.checked_add(u64::from(digit - b'0')))?;
    // Nearly always the next word.
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_' || *byte == b'-';
    let run = value_of(&line[at..], &RUN, is_name).or_else(|| value_of(&line[..at], &RUN, is_name));
    Some(Mark { seq, run: run.map_or(&[], |(_, run)| run) })
}

/// The value behind a key, and where it begins.
fn value_of<'a>(line: &'a [u8], key: &Finder<'_>, belongs: impl Fn(&u8) -> bool) -> Option<(usize, &'a [u8])> {
    for at in key.find_iter(line) {
        let before = &line[..at];
        let begins_a_word = before.ends_with(br"\u0026")
            || !before.last().is_some_and(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(byte));
        let rest = &line[at + key.needle().len()..];
        let gap = rest.iter().take(12).take_while(|byte| br#"\":= "#.contains(byte)).count();
        if !begins_a_word || !rest[..gap].iter().any(|byte| b":=".contains(byte)) {
            continue;
        }
        let value = &rest[gap..];
        let length = value.iter().position(|byte| !belongs(byte)).unwrap_or(value.len());
        if length > 0 {
            return Some((at + key.needle().len() + gap, &value[..length]));
        }
    }
    None
}

/// What the ledger wants of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scanned<'a> {
    /// `service_name`.
    pub(super) service: &'a [u8],
    /// `stream`.
    pub(super) stream: &'a [u8],
    /// `timestamp`.
    pub(super) timestamp: &'a [u8],
    /// `rask gen`'s mark.
    pub(super) mark: Option<Mark<'a>>,
}

/// Scans one record. `None` when it is no object or one of the three keys is missing.
pub(super) fn scan(line: &[u8]) -> Option<Scanned<'_>> {
    static SERVICE: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"service_name\":\""));
    static STREAM: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"stream\":\""));
    static TIMESTAMP: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new("\"timestamp\":\""));
    if line.first() != Some(&b'{') || line.last() != Some(&b'}') {
        return None;
    }
    Some(Scanned {
        service: text_after(line, &SERVICE)?,
        stream: text_after(line, &STREAM)?,
        timestamp: text_after(line, &TIMESTAMP)?,
        mark: mark_of(line),
    })
}

fn text_after<'a>(line: &'a [u8], key: &Finder<'_>) -> Option<&'a [u8]> {
    let rest = &line[key.find(line)? + key.needle().len()..];
    rest.get(..memchr::memchr(b'"', rest)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks() {
        let check = |line: &str, want: Option<(u64, &str)>| {
            let mark = mark_of(line.as_bytes());
            assert_eq!(mark, want.map(|(seq, run)| Mark { seq, run: run.as_bytes() }), "{line}");
        };
        check("a seq=12 run=ab_c-1", Some((12, "ab_c-1")));
        check("run=x seq=0", Some((0, "x")));
        check(r#"{"seq":7,"run":"ab"}"#, Some((7, "ab")));
        check(r#"{"fields":{"seq":"7","run":"ab"}}"#, Some((7, "ab")));
        check(r#"{"message":"{\"seq\": 7, \"run\": \"ab\"}"}"#, Some((7, "ab")));
        // Docker's envelope itself, sent raw.
        check(r#"{"message":"{\"log\":\"{\\\"seq\\\":7,\\\"run\\\":\\\"ab\\\"}"}"#, Some((7, "ab")));
        check(r#""GET /a?seq=9&run=ab HTTP/1.1""#, Some((9, "ab")));
        check(r#"/a?seq=9\u0026run=ab "#, Some((9, "ab")));
        check("seq=5", Some((5, "")));
        check("subseq=5 consequence seq: none seq=6 run=a", Some((6, "a")));
        check("seq=18446744073709551615 run=a", Some((u64::MAX, "a")));
        check("seq=18446744073709551616 run=a", None);
        check("seq 5 run a", None);
        check("", None);
        check("seq=", None);
    }

    #[test]
    fn records() {
        let line = br#"{"message":"says \"stream\":\"x\" seq=3 run=r","timestamp":"t","stream":"stderr","service_name":"api"}"#;
        let want =
            Scanned { service: b"api", stream: b"stderr", timestamp: b"t", mark: Some(Mark { seq: 3, run: b"r" }) };
        assert_eq!(scan(line), Some(want));
        assert_eq!(scan(br#"{"timestamp":"t","stream":"stderr"}"#), None);
        assert_eq!(scan(&line[1..]), None);
        assert_eq!(scan(b""), None);
    }
}
