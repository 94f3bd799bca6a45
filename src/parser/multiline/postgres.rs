//! What a line of PostgreSQL's stderr log has to do with the lines around it.
//!
//! A report is written by one `write(2)`: its first line, then DETAIL, HINT, QUERY, CONTEXT, LOCATION, STATEMENT and BACKTRACE, each with a
//! prefix of its own; what contains newlines goes on in lines that begin with a tab (PostgreSQL `elog.c`,
//! `send_message_to_server_log` and `append_with_tabs`). Up to `PIPE_BUF` a pipe keeps such a write whole; of longer ones, lines of
//! several processes may be mixed, so lines are put together by process.

use crate::parser::formats::cut::has_shape;
use memchr::{memchr, memchr_iter};

/// Bytes in which the severity must stand.
const REACH: usize = 512;

/// A line with a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// The process, if the prefix names it in brackets.
    pub(crate) process: Option<u64>,
    /// What of a report it adds, by its name in `fields`; `None` for a first line.
    pub(crate) adds: Option<&'static [u8]>,
    /// A first line that others nearly always follow.
    pub(crate) is_error: bool,
    /// Where the text behind the severity begins.
    pub(crate) message: usize,
}

/// Looks at a line; `None` when it is none with a severity.
pub(crate) fn look(text: &[u8]) -> Option<Line> {
    let head = &text[..text.len().min(REACH)];
    for colon in memchr_iter(b':', head).filter(|colon| text[*colon + 1..].starts_with(b"  ")) {
        let start = head[..colon].iter().rposition(|byte| !byte.is_ascii_alphanumeric()).map_or(0, |at| at + 1);
        let prefix = &head[..start];
        let Some((adds, is_error)) = severity(&head[start..colon]) else { continue };
        // A quote: this is csvlog, whose records are whole.
        return memchr(b'"', prefix).is_none().then(|| Line {
            process: process(prefix),
            adds,
            is_error,
            message: colon + 3,
        });
    }
    None
}

fn severity(word: &[u8]) -> Option<(Option<&'static [u8]>, bool)> {
    Some(match word {
        b"ERROR" | b"FATAL" | b"PANIC" | b"WARNING" => (None, true),
        b"LOG" | b"INFO" | b"NOTICE" | b"DEBUG" => (None, false),
        b"DEBUG1" | b"DEBUG2" | b"DEBUG3" | b"DEBUG4" | b"DEBUG5" => (None, false),
        _ => (Some(addition(word)?), false),
    })
}

fn addition(word: &[u8]) -> Option<&'static [u8]> {
    Some(match word {
        b"DETAIL" => b"detail",
        b"HINT" => b"hint",
        b"CONTEXT" => b"context",
        b"STATEMENT" => b"statement",
        b"QUERY" => b"query",
        b"LOCATION" => b"location",
        b"BACKTRACE" => b"backtrace",
        _ => return None,
    })
}

/// The first number in square brackets, or else in round ones that are no address's: `[31]`, `[31-2]`, `(31)`.
fn process(prefix: &[u8]) -> Option<u64> {
    let number = |at: usize| {
        let inner = &prefix[at + 1..];
        let digits = inner.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let ends = matches!(inner.get(digits), Some(b']' | b')' | b'-'));
        std::str::from_utf8(&inner[..digits]).ok().filter(|_| ends)?.parse().ok()
    };
    let apart = |at: &usize| *at == 0 || prefix[at - 1] == b' ';
    memchr_iter(b'[', prefix).find_map(number).or_else(|| memchr_iter(b'(', prefix).filter(apart).find_map(number))
}

/// Whether a report with this message has one line for sure: what a server says all day long.
pub(crate) fn stands_alone(message: &[u8]) -> bool {
    const BEGINNINGS: [&[u8]; 10] = [
        b"checkpoint ",
        b"connection received",
        b"connection authenticated",
        b"connection authorized",
        b"disconnection: ",
        b"database system ",
        b"listening on ",
        b"restartpoint ",
        b"shutting down",
        b"starting PostgreSQL",
    ];
    BEGINNINGS.iter().any(|beginning| message.starts_with(beginning))
}

/// Whether `entry`, a line of the log file as it stands there, may go on with a report of that stream: by a tab, or by a
/// word that adds to one. Entries in any other form than Docker's may.
pub(crate) fn may_add(entry: &[u8]) -> bool {
    let Some(text) = entry.strip_prefix(b"{\"log\":\"") else { return true };
    if text.starts_with(b"\\t") || text.starts_with(b"\\u0009") {
        return true;
    }
    let head = &text[..text.len().min(REACH)];
    // The colons of a time in front are none of a severity's.
    let from = if has_shape(head, b"dddd-dd-dd dd:dd:dd") { 19 } else { 0 };
    let colons = memchr_iter(b':', &head[from..]).map(|colon| from + colon);
    let mut severities = colons.filter(|colon| head[*colon + 1..].starts_with(b"  ")).filter_map(|colon| {
        let start = head[..colon].iter().rposition(|byte| !byte.is_ascii_uppercase()).map_or(0, |at| at + 1);
        severity(&head[start..colon])
    });
    severities.next().is_some_and(|(adds, _)| adds.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let check = |text: &str, process: Option<u64>, adds: Option<&str>, is_error: bool, message: &str| {
            let line = look(text.as_bytes()).expect(text);
            let adds = adds.map(str::as_bytes);
            assert_eq!((line.process, line.adds, line.is_error), (process, adds, is_error), "{text}");
            assert_eq!(&text[line.message..], message, "{text}");
        };
        check("2026-11-21 13:00:00.123 UTC [31] LOG:  ready", Some(31), None, false, "ready");
        check("2026-11-21 13:00:00.123 UTC [31-2] app@shop ERROR:  no: 5", Some(31), None, true, "no: 5");
        check(
            "2026-11-21 13:00:00 UTC [31] app@shop STATEMENT:  SELECT 1;",
            Some(31),
            Some("statement"),
            false,
            "SELECT 1;",
        );
        check(
            "2026-11-21 13:00:00 UTC:10.0.0.7(5432):u@d:[31]:DETAIL:  Key (a)=(1).",
            Some(31),
            Some("detail"),
            false,
            "Key (a)=(1).",
        );
        check("LOG:  a", None, None, false, "a");
        check("31 FATAL:  role \"x\" does not exist", None, None, true, "role \"x\" does not exist");
        for text in [
            "",
            "\tFROM x",
            "ERROR: one space",
            "INFOS:  x",
            "2026-11-21 13:00:00.000 UTC,\"u\",\"d\",31,\"ERROR:  x\"",
        ] {
            assert_eq!(look(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn entries() {
        let check = |entry: &str, expected: bool| assert_eq!(may_add(entry.as_bytes()), expected, "{entry}");
        check(r#"{"log":"\tFROM x\n","stream":"stderr"}"#, true);
        check(r#"{"log":"2026-11-21 UTC [31] DETAIL:  x\n"}"#, true);
        check(r#"{"log":"2026-11-21 UTC [31] LOG:  DETAIL of x\n"}"#, false);
        check(r#"{"log":"2026-11-21 UTC [31] LOG:  x\n"}"#, false);
        check(r#"{"log":"\n"}"#, false);
        check(r#"{"stream":"stderr","log":"x"}"#, true);
        check("", true);
        assert!(stands_alone(b"checkpoint starting: time") && !stands_alone(b"statement: SELECT 1"));
    }
}
