//! `message key=value key="other value"`: text with pairs behind it, as Rust's `tracing`, Python's `structlog`, Go's `klog` and
//! `logrus` and others write lines for people.
//!
//! The pairs begin at the first key from which on everything up to the end of the line is pairs. A value is bare up to the
//! next space, in quotes (`"…"`, `'…'`), or the debug form of a value: brackets of any kind, with spaces and strings inside
//! (`User { id: 1 }`, `Some("x")`, `{'a': [1, 'b']}`).

use super::Scratch;
use super::slots::{Slots, Text};
use memchr::memchr;

/// Beginnings that are tried; a line with more equals signs in its prose keeps them all in its message.
const TRIES: usize = 8;

/// How bare values end.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Bare {
    /// At a space.
    Word,
    /// Before the next ` key=`: structlog does not quote in versions before 23.
    Phrase,
}

/// Takes the pairs at the end of `text` into `slots`; what is before them.
pub(crate) fn take_tail<'a>(text: &'a [u8], bare: Bare, slots: &mut Slots<'a>, scratch: &mut Scratch) -> &'a [u8] {
    let mut from = 0;
    for _ in 0..TRIES {
        let Some(equals) = memchr(b'=', &text[from..]).map(|at| from + at) else { break };
        from = equals + 1;
        let start = key_start(text, equals);
        if start == equals || (start > 0 && text[start - 1] != b' ') || !walk(text, start, bare, |_, _| {}) {
            continue;
        }
        walk(text, start, bare, |key, value| slots.pair(key, value, scratch));
        return text[..start].trim_ascii_end();
    }
    text
}

/// Takes a list of pairs that all of `text` is, separated by spaces; false, and nothing taken, if it is not.
pub(crate) fn take_all<'a>(text: &'a [u8], slots: &mut Slots<'a>, scratch: &mut Scratch) -> bool {
    walk(text, 0, Bare::Word, |_, _| {}) && walk(text, 0, Bare::Word, |key, value| slots.pair(key, value, scratch))
}

/// What keys of pairs are made of.
pub(crate) fn is_key(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-' | b'/' | b'@' | b'#')
}

fn key_start(text: &[u8], equals: usize) -> usize {
    text[..equals].iter().rposition(|b| !is_key(*b)).map_or(0, |at| at + 1)
}

/// Hands each pair from `at` on to `each`; whether they went on to the end of the line.
fn walk<'a>(text: &'a [u8], mut at: usize, bare: Bare, mut each: impl FnMut(&'a [u8], Text<'a>)) -> bool {
    loop {
        while text.get(at) == Some(&b' ') {
            at += 1;
        }
        if at == text.len() {
            return true;
        }
        let len = text[at..].iter().take_while(|b| is_key(**b)).count();
        if len == 0 || text.get(at + len) != Some(&b'=') {
            return false;
        }
        let Some((value, end)) = value(text, at + len + 1, bare) else { return false };
        each(&text[at..at + len], value);
        at = end;
    }
}

fn value(text: &[u8], start: usize, bare: Bare) -> Option<(Text<'_>, usize)> {
    if let Some(quote @ (b'"' | b'\'')) = text.get(start)
        && let Some(end) = quote_end(text, start, *quote)
        && matches!(text.get(end), None | Some(b' '))
    {
        return Some((Text::Quoted(&text[start + 1..end - 1]), end));
    }
    let mut end = debug_end(text, start)?;
    while bare == Bare::Phrase && end < text.len() && !walk_begins(text, end) {
        let next = end + text[end..].iter().take_while(|b| **b == b' ').count();
        end = (next == text.len()).then_some(next).or_else(|| debug_end(text, next))?;
    }
    Some((Text::Bare(text[start..end].trim_ascii_end()), end))
}

/// Whether a key follows the spaces at `at`.
fn walk_begins(text: &[u8], at: usize) -> bool {
    let rest = text[at..].trim_ascii_start();
    let len = rest.iter().take_while(|b| is_key(**b)).count();
    len > 0 && rest.get(len) == Some(&b'=')
}

/// Behind the quote that ends the string at `start`.
fn quote_end(text: &[u8], start: usize, quote: u8) -> Option<usize> {
    let mut at = start + 1;
    loop {
        match text.get(at)? {
            b'\\' => at += 2,
            byte if *byte == quote => return Some(at + 1),
            _ => at += 1,
        }
    }
}

/// The end of a bare value: a space outside of brackets and strings, but not one before `{`, as in `User { id: 1 }`.
fn debug_end(text: &[u8], start: usize) -> Option<usize> {
    let (mut at, mut depth) = (start, 0usize);
    loop {
        match text.get(at) {
            None => return (depth == 0).then_some(at),
            Some(b'(' | b'[' | b'{') => depth += 1,
            Some(b')' | b']' | b'}') => depth = depth.saturating_sub(1),
            Some(b'"') if at > start || depth > 0 => {
                at = quote_end(text, at, b'"')?;
                continue;
            }
            Some(b' ') if depth == 0 => match text.get(at + 1) {
                Some(b'{') if text[start..at].iter().all(u8::is_ascii_alphanumeric) && at > start => {}
                _ => return Some(at),
            },
            Some(_) => {}
        }
        at += 1;
    }
}
