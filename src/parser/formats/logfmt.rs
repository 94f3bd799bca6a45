//! `key=value` pairs as Go's `slog` and `logrus` write them as text: `time=… level=INFO msg="hello world" n=1`.
//!
//! A value is bare up to the next space, or in double quotes with Go's escapes. A line is taken only when it consists of
//! pairs from end to end and has a message or a level; anything else is prose with an equals sign in it.

use super::slots::Slots;
use super::{Format, Refused, Scratch};
use crate::parser::encode::Draft;
use crate::parser::json::{Member, Quoted, Value};
use crate::parser::scan;

/// Whether the line begins like one: a short key and `=`.
pub(crate) fn looks_so(text: &[u8]) -> bool {
    let end = text.iter().take(32).position(|b| !is_key(*b)).unwrap_or(0);
    end > 0 && text[end] == b'='
}

/// Reads a line of pairs.
pub(crate) fn parse<'a>(text: &'a [u8], scratch: &mut Scratch) -> Result<Draft<'a>, Refused> {
    const REFUSED: Refused = "neither a JSON object nor key=value pairs";
    if !looks_so(text) {
        return Err(REFUSED);
    }
    let mut slots = Slots::new();
    let mut at = 0;
    while at < text.len() {
        let Some((member, end)) = pair(text, at) else { return Err(REFUSED) };
        slots.take(&member, scratch);
        at = end;
        while text.get(at) == Some(&b' ') {
            at += 1;
        }
    }
    if !slots.is_log_line() {
        return Err(REFUSED);
    }
    Ok(slots.finish(Some(Format::Go), scratch))
}

fn is_key(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-' | b'/' | b'@')
}

fn pair(text: &[u8], at: usize) -> Option<(Member<'_>, usize)> {
    let equals = at + text[at..].iter().position(|b| !is_key(*b))?;
    if equals == at || text[equals] != b'=' {
        return None;
    }
    let (inner, end) = match text.get(equals + 1) {
        Some(b'"') => quoted(text, equals + 2)?,
        _ => {
            let len = text[equals + 1..].iter().position(|b| *b == b' ').unwrap_or(text.len() - equals - 1);
            let value = &text[equals + 1..equals + 1 + len];
            // A quote or a backslash in a bare value: not ours to read.
            (scan::special(value, 0) == len).then_some((value, equals + 1 + len))?
        }
    };
    let escaped = memchr::memchr(b'\\', inner).is_some();
    let value = Quoted { inner, escaped, surrogate: escaped };
    let key = Quoted { inner: &text[at..equals], escaped: false, surrogate: false };
    Some((Member { span: b"", key, value: Value::String(value) }, end))
}

/// The inside of a quoted value. Go's quoting and JSON's agree on everything that slog and logrus write, except `\x…`,
/// `\U…`, `\a` and `\v`: with those the line is left as it is.
fn quoted(text: &[u8], start: usize) -> Option<(&[u8], usize)> {
    let mut at = start;
    loop {
        at = scan::special(text, at);
        match text.get(at)? {
            b'"' => break,
            b'\\' => at += if matches!(text.get(at + 1)?, b'x' | b'U' | b'a' | b'v') { return None } else { 2 },
            _ => return None,
        }
    }
    let end = at + 1;
    matches!(text.get(end), None | Some(b' ')).then_some((&text[start..at], end))
}
