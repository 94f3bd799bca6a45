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
    /// Before the next ` key=`: structlog does not quote in versions before 23, nor does tracing.
    Phrase,
}

/// Takes the pairs at the end of `text` into `slots`; what is before them.
pub(crate) fn take_tail<'a>(text: &'a [u8], bare: Bare, slots: &mut Slots<'a>, scratch: &mut Scratch) -> &'a [u8] {
    let mut from = 0;
    for _ in 0..TRIES {
        let Some(equals) = memchr(b'=', &text[from..]).map(|at| from + at) else { break };
        from = equals + 1;
        let start = key_start(text, equals);
        let apart = start == 0 || text[start - 1] == b' ';
        if start == equals || !apart || text.get(equals + 1) == Some(&b'=') {
            continue;
        }
        // Where words are pairs, phrases are no other ones.
        let words = walk(text, start, Bare::Word, |_, _| {});
        if !words && (bare == Bare::Word || !walk(text, start, bare, |_, _| {})) {
            continue;
        }
        let before = text[..start].trim_ascii_end();
        if !before.is_empty() {
            slots.message_is_text();
        }
        walk(text, start, if words { Bare::Word } else { bare }, |key, value| slots.pair(key, value, scratch));
        return before;
    }
    text
}

/// Takes a list of pairs that all of `text` is, separated by spaces; false, and nothing taken, if it is not.
pub(crate) fn take_all<'a>(text: &'a [u8], slots: &mut Slots<'a>, scratch: &mut Scratch) -> bool {
    walk(text, 0, Bare::Word, |_, _| {}) && walk(text, 0, Bare::Word, |key, value| slots.pair(key, value, scratch))
}

/// Takes fields as a span of Rust's has them: as [`take_all`], but a value may have spaces in it.
pub(crate) fn take_fields<'a>(text: &'a [u8], slots: &mut Slots<'a>, scratch: &mut Scratch) {
    if walk(text, 0, Bare::Phrase, |_, _| {}) {
        slots.message_is_text();
        walk(text, 0, Bare::Phrase, |key, value| slots.pair(key, value, scratch));
    }
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
        end = match text.get(next) {
            None => next,
            // `relation "x" does not exist`
            Some(b'"') => debug_end(text, quote_end(text, next, b'"')?)?,
            Some(_) => debug_end(text, next)?,
        };
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Whether the value is over behind all of `text`: brackets closed, and no string open. Told from the start for every end.
    fn is_whole(text: &[u8]) -> bool {
        let (mut depth, mut string, mut escaped) = (0usize, false, false);
        for (at, byte) in text.iter().enumerate() {
            match byte {
                _ if escaped => escaped = false,
                b'\\' if string => escaped = true,
                b'"' if string => string = false,
                _ if string => {}
                b'"' => string = at > 0 || depth > 0,
                b'(' | b'[' | b'{' => depth += 1,
                b')' | b']' | b'}' => depth = depth.saturating_sub(1),
                _ => {}
            }
        }
        depth == 0 && !string
    }

    /// The value at `start` up to a space, and where it ends.
    fn naive_value(text: &[u8], start: usize) -> Option<(String, usize)> {
        let quote = text.get(start).filter(|byte| matches!(byte, b'"' | b'\''));
        if let Some(quote) = quote {
            let escaped = |end: usize| text[start + 1..end].iter().rev().take_while(|b| **b == b'\\').count() % 2 == 1;
            let end = (start + 1..text.len()).find(|end| text[*end] == *quote && !escaped(*end));
            if let Some(end) = end.filter(|end| matches!(text.get(end + 1), None | Some(b' '))) {
                return Some((format!("{:?}", Text::Quoted(&text[start + 1..end])), end + 1));
            }
        }
        let structure = |end: usize| {
            end > start && text.get(end + 1) == Some(&b'{') && text[start..end].iter().all(u8::is_ascii_alphanumeric)
        };
        let is_end = |end: usize| end == text.len() || (text[end] == b' ' && !structure(end));
        let end = (start..=text.len()).find(|end| is_end(*end) && is_whole(&text[start..*end]))?;
        Some((format!("{:?}", Text::Bare(text[start..end].trim_ascii_end())), end))
    }

    fn naive_are_pairs(text: &[u8]) -> bool {
        let text = text.strip_prefix(b" ").unwrap_or(text);
        match text.first() {
            None => true,
            Some(b' ') => naive_are_pairs(text),
            Some(_) => {
                let key = text.iter().position(|byte| !is_key(*byte)).unwrap_or(0);
                let end = naive_value(text, key + 1).map(|(_, end)| end);
                key > 0 && text[key] == b'=' && end.is_some_and(|end| naive_are_pairs(&text[end..]))
            }
        }
    }

    /// What is before the first word from which on everything is pairs.
    fn naive_message(text: &[u8]) -> &[u8] {
        let equals = (0..text.len()).filter(|at| text[*at] == b'=').take(TRIES);
        let starts = equals.filter_map(|equals| {
            let start = (0..equals).rev().take_while(|at| is_key(text[*at])).last()?;
            let good = (start == 0 || text[start - 1] == b' ') && text.get(equals + 1) != Some(&b'=');
            good.then_some(start)
        });
        let mut starts = starts.filter(|start| naive_are_pairs(&text[*start..]));
        starts.next().map_or(text, |start| text[..start].trim_ascii_end())
    }

    proptest! {
        #[test]
        fn values(text in "[ab1=\"'\\\\ {}()\\[\\],é]{0,24}|[aB1]{0,3} ?[{(]?[a \"'\\\\]{0,9}[})]?[ a=]{0,4}") {
            let text = text.as_bytes();
            let got = value(text, 0, Bare::Word).map(|(value, end)| (format!("{value:?}"), end));
            prop_assert_eq!(got, naive_value(text, 0));
        }

        #[test]
        fn messages(text in "[ab=\"\\\\ {}]{0,20}|([a-c]{1,3} ){0,3}([a-c.]{0,3}=(\"[a =]{0,4}\"|[a-c]{0,3}|A \\{ b \\})  ?){0,10}") {
            let text = text.as_bytes();
            let (mut slots, mut scratch) = (Slots::new(), Scratch::default());
            prop_assert_eq!(take_tail(text, Bare::Word, &mut slots, &mut scratch), naive_message(text));
        }
    }
}
