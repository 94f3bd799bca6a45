//! Lines of Python's standard library, `structlog` for people, uvicorn, gunicorn, Flask, celery and loguru.
//!
//! | logger | line |
//! |---|---|
//! | logging | `2026-11-21 13:00:00,123 - name - LEVEL - message`, with other separators and orders: below |
//! | logging.basicConfig | `LEVEL:name:message` |
//! | Flask | `[2026-11-21 13:00:00,123] LEVEL in module: message` |
//! | celery | `[2026-11-21 13:00:00,123: LEVEL/MainProcess] message` |
//! | gunicorn, hypercorn | `[2026-11-21 13:00:00 +0000] [7] [LEVEL] message` |
//! | uvicorn | `LEVEL:     message`, the message in column 10; its access lines `10.0.0.1:5000 - "GET / HTTP/1.1" 200 OK` |
//! | structlog | `2026-11-21 13:00:00 [level    ] event     key=value key=value` |
//! | loguru | `2026-11-21 13:00:00.123 \| LEVEL    \| module:function:line - message` |
//!
//! Behind the time of logging: at most one name and a level in capitals, in either order, each alone or in brackets, separated by
//! spaces, ` - ` or ` | `, up to a colon or one more separator. The comma before the milliseconds is Python's own; without it the
//! separators must be ` - ` or ` | `.

use super::access::{self, peer_of};
use super::cut::{bracketed, has_shape, is_name, is_number, split};
use super::pairs::{self, Bare};
use super::slots::{Slots, natural};
use super::{Format, Scratch};
use crate::parser::app_time;
use crate::parser::encode::{Draft, Str};
use crate::parser::fields::Fields;
use crate::parser::level::{self, Level};

/// Reads a line of any of them.
pub(crate) fn parse<'a>(text: &'a [u8], scratch: &mut Scratch) -> Option<Draft<'a>> {
    match *text.first()? {
        b'[' => in_brackets(text, &mut scratch.fields),
        b'0'..=b'9' => structlog(text, scratch).or_else(|| {
            scratch.fields.clear();
            logging(text, &mut scratch.fields)
        }),
        b'A'..=b'Z' => named(text, &mut scratch.fields),
        _ => None,
    }
}

fn draft(message: &[u8]) -> Draft<'_> {
    Draft::new(Format::Python.service_type(), "structured", Str::Raw(message))
}

/// The levels of the standard library, and loguru's.
fn level_of(word: &[u8]) -> Option<Level> {
    match word {
        b"DEBUG" | b"INFO" | b"WARNING" | b"WARN" | b"ERROR" | b"CRITICAL" | b"FATAL" | b"TRACE" | b"SUCCESS" => {
            level::of_word(word)
        }
        _ => None,
    }
}

/// Reads uvicorn's lines and `LEVEL:name:message`.
pub(crate) fn named<'a>(text: &'a [u8], fields: &mut Fields) -> Option<Draft<'a>> {
    let (word, rest) = split(text, b':')?;
    let level = level_of(word)?;
    let column = 9usize.checked_sub(word.len())?;
    if column > 0 && rest.len() > column && rest[..column].iter().all(|b| *b == b' ') && rest[column] != b' ' {
        fields.level(Some(level), word);
        let draft = uvicorn_access(&rest[column..], fields).unwrap_or_else(|| draft(&rest[column..]));
        return Some(Draft { level: Some(level), ..draft });
    }
    let (name, message) = split(rest, b':')?;
    if !is_name(name) || matches!(word, b"TRACE" | b"SUCCESS") {
        return None;
    }
    let mut draft = draft(message);
    draft.level = Some(level);
    fields.level(Some(level), word);
    fields.push(b"logger", Str::Raw(name));
    Some(draft)
}

/// `10.0.0.1:5000 - "GET / HTTP/1.1" 200 OK`
fn uvicorn_access<'a>(text: &'a [u8], fields: &mut Fields) -> Option<Draft<'a>> {
    let at = memchr::memmem::find(&text[..text.len().min(80)], b" - \"")?;
    let (peer, rest) = (&text[..at], &text[at + 4..]);
    let end = memchr::memmem::rfind(rest, b"\" ")?;
    let (request, status) = (&rest[..end], &rest[end + 2..]);
    let (status, reason) = split(status, b' ').unwrap_or((status, b""));
    let number = natural(status).filter(|_| status.len() == 3)?;
    if peer.contains(&b' ') {
        return None;
    }
    let mut draft = draft(request);
    draft.log_type = "access";
    draft.message_tail = status;
    draft.status_code = u16::try_from(number).ok();
    peer_of(peer, b"remote_addr", &mut draft, fields);
    access::request_of(request, false, &mut draft, fields);
    if !reason.is_empty() {
        fields.push(b"reason", Str::Raw(reason));
    }
    Some(draft)
}

/// Reads what begins with a time in brackets.
pub(crate) fn in_brackets<'a>(text: &'a [u8], fields: &mut Fields) -> Option<Draft<'a>> {
    let (time, rest) = bracketed(text)?;
    if !has_shape(time, b"dddd-dd-dd dd:dd:dd") {
        return None;
    }
    let rest = rest.strip_prefix(b" ")?;
    // celery
    if let Some((time, process)) = memchr::memmem::find(time, b": ").map(|at| (&time[..at], &time[at + 2..])) {
        let (word, process) = split(process, b'/')?;
        let level = level_of(word).filter(|_| app_time::is_time(time))?;
        fields.app_time(time);
        fields.level(Some(level), word);
        fields.push(b"process", Str::Raw(process));
        return Some(Draft { level: Some(level), ..draft(rest) });
    }
    let (word, pid, name, message) = match bracketed(rest) {
        Some((pid, behind)) if is_number(pid) => {
            let (word, message) = bracketed(behind.strip_prefix(b" ")?)?;
            (word, pid, &b""[..], message.strip_prefix(b" ").unwrap_or(message))
        }
        Some(_) => return None,
        None => {
            let (word, rest) = split(rest, b' ')?;
            let (name, message) = split(rest.strip_prefix(b"in ")?, b':')?;
            (word, &b""[..], name, message.strip_prefix(b" ").unwrap_or(message))
        }
    };
    let level = level_of(word)?;
    if !app_time::is_time(time) {
        return None;
    }
    fields.app_time(time);
    fields.level(Some(level), word);
    if !pid.is_empty() {
        fields.push(b"pid", Str::Raw(pid));
    }
    if !name.is_empty() {
        fields.push(b"module", Str::Raw(name));
    }
    Some(Draft { level: Some(level), ..draft(message) })
}

/// Reads structlog's lines for people. The level is padded to nine columns in its brackets.
pub(crate) fn structlog<'a>(text: &'a [u8], scratch: &mut Scratch) -> Option<Draft<'a>> {
    let at = memchr::memmem::find(&text[..text.len().min(48)], b" [")?;
    let (word, rest) = bracketed(&text[at + 1..])?;
    if word.len() < 9 || !word[0].is_ascii_lowercase() || !app_time::is_time(&text[..at]) {
        return None;
    }
    let name = word.trim_ascii_end();
    let level = level::of_word(name)?;
    let mut slots = Slots::new();
    slots.set_time(&text[..at], scratch);
    slots.set_level(Some(level), name, scratch);
    let rest = rest.strip_prefix(b" ").unwrap_or(rest);
    let message = pairs::take_tail(rest, Bare::Phrase, &mut slots, scratch).trim_ascii_end();
    // `[name]` behind the event is the logger.
    let named = message.strip_suffix(b"]").and_then(|head| {
        let open = memchr::memrchr(b'[', head)?;
        (is_name(&head[open + 1..]) && open > 0 && head[open - 1] == b' ').then_some((open, &head[open + 1..]))
    });
    match named {
        Some((open, name)) => {
            scratch.fields.push(b"logger", Str::Raw(name));
            slots.set_message(message[..open].trim_ascii_end());
        }
        None => slots.set_message(message),
    }
    Some(slots.finish(Some(Format::Python), scratch))
}

/// Reads the lines of logging and loguru that begin with a time.
pub(crate) fn logging<'a>(text: &'a [u8], fields: &mut Fields) -> Option<Draft<'a>> {
    if !has_shape(text, b"dddd-dd-dd dd:dd:dd") {
        return None;
    }
    let comma = text.get(19) == Some(&b',');
    let end = 19
        + match text.get(19) {
            Some(b',' | b'.') => 1 + text[20..].iter().take_while(|b| b.is_ascii_digit()).count(),
            _ => 0,
        };
    let (time, rest) = (&text[..end], text[end..].strip_prefix(b" ")?);
    let (separator, rest): (&[u8], &[u8]) = match rest {
        [b'-', b' ', rest @ ..] => (b" - ", rest),
        [b'|', b' ', rest @ ..] => (b" | ", rest),
        rest if comma => (b" ", rest),
        _ => return None,
    };
    let (first, rest) = part(rest, separator)?;
    let (second, behind) = part(rest, separator).unwrap_or((b"", rest));
    let (word, name, message) = match (level_of(bare(first)), level_of(bare(second))) {
        (Some(_), _) => {
            // A name only where a colon or a separator ends it; loguru separates it with a dash.
            let dashed = || memchr::memmem::find(rest, b" - ").map(|at| (&rest[..at], &rest[at + 3..]));
            let named = match separator {
                b" " => colon(rest).or_else(|| bracketed(rest).filter(|(name, _)| is_name(name))),
                b" | " => dashed().or(Some((second, behind)).filter(|_| !second.is_empty())),
                _ => Some((second, behind)).filter(|_| !second.is_empty()),
            };
            let (name, message) = named.filter(|(name, _)| is_name(bare(name))).unwrap_or((b"", rest));
            (bare(first), name, message)
        }
        (None, Some(_)) if is_name(bare(first)) || is_number(bare(first)) => (bare(second), first, behind),
        _ => return None,
    };
    let level = level_of(word)?;
    if !app_time::is_time(time) {
        return None;
    }
    fields.app_time(time);
    fields.level(Some(level), word);
    if !name.is_empty() {
        fields.push(b"logger", Str::Raw(bare(name)));
    }
    let message = message.strip_prefix(b": ").or_else(|| message.strip_prefix(b" ")).unwrap_or(message);
    Some(Draft { level: Some(level), ..draft(message) })
}

/// Up to the separator, and behind it; spaces that pad a column are left out.
fn part<'a>(text: &'a [u8], separator: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = match separator {
        b" " => memchr::memchr(b' ', text)?,
        _ => memchr::memmem::find(text, separator)?,
    };
    let behind = &text[at + separator.len()..];
    let behind = if separator == b" " { behind.trim_ascii_start() } else { behind };
    Some((text[..at].trim_ascii_end(), behind))
}

/// A name up to a colon.
fn colon(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = memchr::memmem::find(text, b": ")?;
    is_name(&text[..at]).then_some((&text[..at], &text[at + 2..]))
}

/// Without brackets around it or a colon behind it.
fn bare(text: &[u8]) -> &[u8] {
    let text = text.strip_suffix(b":").unwrap_or(text);
    text.strip_prefix(b"[").and_then(|text| text.strip_suffix(b"]")).map_or(text, <[u8]>::trim_ascii_end)
}
