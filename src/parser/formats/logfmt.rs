//! `key=value` pairs from end to end, as Go's `slog` and `logrus` write them as text, and Heroku's router and many others:
//! `time=… level=INFO msg="hello world" n=1`.
//!
//! A value is bare up to the next space, or in double quotes with Go's escapes; a key may be in quotes too. A key without a
//! value is one with an empty value.
//!
//! Automatic is careful, since prose has equals signs in it: every word must be a pair, and there must be a message or a level
//! (that is `go`) or at least three pairs (`logfmt`); keys without a value are taken only beside a message.

use super::pairs::is_key;
use super::slots::{Slots, Text};
use super::{Format, Refused, Scratch, redis};
use crate::parser::encode::Draft;

/// Whether the line begins like one: a short key and `=`.
pub(crate) fn looks_so(text: &[u8]) -> bool {
    let end = text.iter().take(32).position(|b| !is_key(*b)).unwrap_or(0);
    end > 0 && text[end] == b'='
}

/// Pairs that make a line of them without a message and a level.
const MANY: usize = 3;

/// Reads a line of pairs; without a `family` the line must show that it is a log line.
pub(crate) fn parse<'a>(text: &'a [u8], family: Option<Format>, scratch: &mut Scratch) -> Result<Draft<'a>, Refused> {
    const REFUSED: Refused = "not key=value pairs from end to end";
    let mut slots = Slots::new();
    let (mut at, mut pairs, mut bare) = (0, 0, 0);
    while at < text.len() {
        let (key, value, end) = pair(text, at).ok_or(REFUSED)?;
        *(if value.is_some() { &mut pairs } else { &mut bare }) += 1;
        slots.pair(key, value.unwrap_or(Text::Bare(b"")), scratch);
        at = end + text[end..].iter().take_while(|b| **b == b' ').count();
    }
    let enough = match family {
        Some(_) => pairs > 0,
        None if bare > 0 => slots.has_message() && bare < pairs,
        None => slots.is_log_line() || pairs >= MANY,
    };
    if !enough {
        return Err(REFUSED);
    }
    let family = family.unwrap_or_else(|| match slots.is_log_line() {
        true if redis::is_logfmt(text) => Format::Redis,
        true => Format::Go,
        false => Format::Logfmt,
    });
    Ok(slots.finish(Some(family), scratch))
}

/// Key, value if there is one, and where they end.
#[inline]
fn pair(text: &[u8], at: usize) -> Option<(&[u8], Option<Text<'_>>, usize)> {
    let (key, behind) = match text[at] {
        b'"' => {
            let end =
                at + 1 + text[at + 1..].iter().position(|b| !(0x20..0x7f).contains(b) || matches!(b, b'"' | b'\\'))?;
            (text[end] == b'"').then_some((&text[at + 1..end], end + 1))?
        }
        _ => {
            let is_key = |b: &u8| is_key(*b) || *b >= 0x80 || matches!(b, b':' | b'[' | b']' | b'$' | b'+' | b'*');
            let end = text[at..].iter().position(|b| !is_key(b)).map_or(text.len(), |len| at + len);
            (end > at).then_some((&text[at..end], end))?
        }
    };
    match text.get(behind) {
        None | Some(b' ') => {
            let good = text[at] == b'"' || key.iter().all(|b| is_key(*b));
            return good.then_some((key, None, behind));
        }
        Some(b'=') => {}
        Some(_) => return None,
    }
    let start = behind + 1;
    if text.get(start) == Some(&b'"') {
        let end = quote_end(text, start + 1)?;
        return matches!(text.get(end + 1), None | Some(b' '))
            .then(|| (key, Some(Text::Quoted(&text[start + 1..end])), end + 1));
    }
    let end = memchr::memchr(b' ', &text[start..]).map_or(text.len(), |len| start + len);
    Some((key, Some(Text::Bare(&text[start..end])), end))
}

/// The quote that ends the string which began before `at`.
#[inline]
fn quote_end(text: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at += memchr::memchr2(b'"', b'\\', &text[at..])?;
        if text[at] == b'"' {
            return Some(at);
        }
        at += 2;
        if at > text.len() {
            return None;
        }
    }
}
