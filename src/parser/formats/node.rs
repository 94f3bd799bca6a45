//! Text that Node programs write: winston, morgan and Next.js.
//!
//! | program | line |
//! |---|---|
//! | winston, simple | `info: message {"key":"value"}`: the levels of npm in small letters |
//! | winston, printf | `2026-11-21T13:00:00.123Z [label] info: message`, label, dash and brackets as its documentation has them |
//! | log4js | `[2026-11-21T13:00:00.123] [INFO] category - message` |
//! | pino-pretty | `[13:00:00.123] INFO (name/7 on host): message` |
//! | NestJS | `[Nest] 7  - 11/21/2026, 1:00:00 PM     LOG [Context] message` |
//! | morgan dev, tiny, short | `GET /path 200 2.410 ms - 13`, `GET /path 200 13 - 2.410 ms`, `::1 - GET /path HTTP/1.1 200 13 - 2.410 ms` |
//! | Next.js 12, 13 | `info  - message`, `- info message`: also `ready`, `event`, `wait`, `warn`, `error` |
//! | Next.js | ` GET /path 200 in 12ms`; ` ▲ Next.js`, ` ✓ Ready in 2s`, ` ○ Compiling`, ` ⚠ …`, ` ⨯ …`: the message keeps its mark |
//!
//! .NET's console logger begins with `info: ` too, but has a category with a number, `Microsoft.Hosting.Lifetime[14]`, there.

use super::access::address_of;
use super::cut::{bracketed, capital_level, find, has_shape, is_name, is_number, split, word};
use super::slots::{Slots, is_method, is_path, natural};
use super::{Format, Scratch};
use crate::parser::app_time;
use crate::parser::encode::{Draft, Str};
use crate::parser::fields::Fields;
use crate::parser::json::Members;
use crate::parser::level::{self, Level};

/// Reads a line of any of them.
pub(crate) fn parse<'a>(text: &'a [u8], scratch: &mut Scratch) -> Option<Draft<'a>> {
    match *text.first()? {
        b' ' | b'-' | 0xe2 => next(text, &mut scratch.fields),
        b'A'..=b'Z' => access(text, &mut scratch.fields),
        b'0'..=b'9' => winston_at(text, true, scratch).or_else(|| short(text, &mut scratch.fields)),
        b'[' => bracketed_time(text, true, scratch),
        b'a'..=b'z' => winston(text, scratch).or_else(|| next(text, &mut scratch.fields)),
        b':' => short(text, &mut scratch.fields),
        _ => None,
    }
}

/// The levels of npm, which are winston's.
fn level_of(word: &[u8]) -> Option<Level> {
    matches!(word, b"error" | b"warn" | b"info" | b"http" | b"verbose" | b"debug" | b"silly")
        .then(|| level::of_word(word))?
}

/// The same in capitals, which others write too.
fn capital_level_of(word: &[u8], explicit: bool) -> Option<Level> {
    let known = matches!(word, b"ERROR" | b"WARN" | b"INFO" | b"HTTP" | b"VERBOSE" | b"DEBUG" | b"SILLY");
    level_of(word).or_else(|| (explicit && known).then(|| level::of_word(word))?)
}

/// `info: message {…}`
pub(crate) fn winston<'a>(text: &'a [u8], scratch: &mut Scratch) -> Option<Draft<'a>> {
    let (name, rest) = split(&text[..text.len().min(9)], b':').map(|(name, _)| (name, &text[name.len() + 1..]))?;
    let level = level_of(name)?;
    let message = rest.strip_prefix(b" ")?;
    if message.starts_with(b" ") || is_category(message) {
        return None;
    }
    let mut slots = Slots::new();
    slots.set_level(Some(level), name, scratch);
    let message = object_at_the_end(message, &mut slots, scratch);
    slots.set_message(message);
    Some(slots.finish(Some(Format::Node), scratch))
}

/// `Microsoft.Hosting.Lifetime[14]`
fn is_category(text: &[u8]) -> bool {
    split(text, b'[').is_some_and(|(name, rest)| is_name(name) && rest.strip_suffix(b"]").is_some_and(is_number))
}

/// `time [label] level: message`, the time also in brackets. Where it is asked for, the level may stand in capitals, or in brackets
/// without a colon.
pub(crate) fn winston_at<'a>(text: &'a [u8], explicit: bool, scratch: &mut Scratch) -> Option<Draft<'a>> {
    let (time, rest) = match bracketed(text) {
        Some((time, rest)) => (time, rest.strip_prefix(b" ")?),
        None => {
            let date = if text.get(10) == Some(&b' ') { 11 } else { 0 };
            let at = date + memchr::memchr(b' ', text.get(date..)?)?;
            (&text[..at], &text[at + 1..])
        }
    };
    let rest = rest.strip_prefix(b"- ").unwrap_or(rest);
    let is_level = |word: &[u8]| capital_level_of(word, explicit).is_some();
    let (label, rest) = match bracketed(rest) {
        // `[info]: message`
        Some((word, behind)) if is_level(word) && (explicit || behind.starts_with(b":")) => (&b""[..], rest),
        Some((label, behind)) if is_name(label) => (label, behind.strip_prefix(b" ")?),
        _ => (&b""[..], rest),
    };
    let (name, message) = match bracketed(rest) {
        Some((name, message)) => (name, message.strip_prefix(b":").or(Some(message).filter(|_| explicit))?),
        None => split(rest, b':')?,
    };
    let level = capital_level_of(name, explicit).filter(|_| app_time::is_time(time))?;
    let mut slots = Slots::new();
    slots.set_time(time, scratch);
    slots.set_level(Some(level), name, scratch);
    if !label.is_empty() {
        scratch.fields.push(b"label", Str::Raw(label));
    }
    let message = object_at_the_end(message.strip_prefix(b" ").unwrap_or(message), &mut slots, scratch);
    slots.set_message(message);
    Some(slots.finish(Some(Format::Node), scratch))
}

/// Reads what begins with a bracket: winston's, log4js', pino-pretty's, NestJS'.
pub(crate) fn bracketed_time<'a>(text: &'a [u8], explicit: bool, scratch: &mut Scratch) -> Option<Draft<'a>> {
    nest(text, scratch).or_else(|| log4js(text, scratch)).or_else(|| pretty(text, scratch)).or_else(|| {
        scratch.fields.clear();
        winston_at(text, explicit, scratch)
    })
}

/// `[Nest] 7  - 11/21/2026, 1:00:00 PM     LOG [Context] message`
pub(crate) fn nest<'a>(text: &'a [u8], scratch: &mut Scratch) -> Option<Draft<'a>> {
    let (pid, rest) = split(text.strip_prefix(b"[Nest] ")?, b' ')?;
    let rest = rest.trim_ascii_start().strip_prefix(b"- ")?;
    let end = find(&rest[..rest.len().min(60)], b"  ")?;
    let (time, (name, message)) = (&rest[..end], word(rest[end..].trim_ascii_start()));
    let level = match name {
        b"LOG" | b"ERROR" | b"WARN" | b"DEBUG" | b"VERBOSE" | b"FATAL" => level::of_word(name),
        _ => None,
    }?;
    if !is_number(pid) || !time.first()?.is_ascii_digit() {
        return None;
    }
    let mut slots = Slots::new();
    slots.set_time(time, scratch);
    slots.set_level(Some(level), name, scratch);
    scratch.fields.push(b"pid", Str::Raw(pid));
    let (context, message) = bracketed(message).filter(|(name, _)| is_name(name)).unwrap_or((b"", message));
    if !context.is_empty() {
        scratch.fields.push(b"context", Str::Raw(context));
    }
    slots.set_message(message.strip_prefix(b" ").unwrap_or(message));
    Some(slots.finish(Some(Format::Node), scratch))
}

/// `[2026-11-21T13:00:00.123] [INFO] category - message`
fn log4js<'a>(text: &'a [u8], scratch: &mut Scratch) -> Option<Draft<'a>> {
    let (time, rest) = bracketed(text)?;
    let (name, rest) = bracketed(rest.strip_prefix(b" ")?)?;
    let at = find(rest, b" - ")?;
    let (category, message) = (rest[..at].strip_prefix(b" ")?, &rest[at + 3..]);
    let level = capital_level(name)?;
    // Without a zone, as it writes the time.
    if time.len() != 23 || time[10] != b'T' || !app_time::is_time(time) || !is_name(category) {
        return None;
    }
    let mut slots = Slots::new();
    slots.set_time(time, scratch);
    slots.set_level(Some(level), name, scratch);
    scratch.fields.push(b"category", Str::Raw(category));
    slots.set_message(message);
    Some(slots.finish(Some(Format::Node), scratch))
}

/// `[13:00:00.123] INFO (name/7 on host): message`
fn pretty<'a>(text: &'a [u8], scratch: &mut Scratch) -> Option<Draft<'a>> {
    let (time, rest) = bracketed(text)?;
    let (name, rest) = split(rest.strip_prefix(b" ")?, b' ')?;
    let level = capital_level(name)?;
    let at = find(rest, b"): ")?;
    let inner = rest[..at].strip_prefix(b"(")?;
    let (ids, host) = find(inner, b" on ").map_or((inner, &b""[..]), |at| (&inner[..at], &inner[at + 4..]));
    let (app, pid) = split(ids, b'/').unwrap_or((b"", ids));
    if !is_number(pid) || !(has_shape(time, b"dd:dd:dd.ddd") || app_time::is_time(time)) {
        return None;
    }
    let mut slots = Slots::new();
    slots.set_time(time, scratch);
    slots.set_level(Some(level), name, scratch);
    for (key, value) in [(&b"name"[..], app), (b"pid", pid), (b"hostname", host)] {
        if !value.is_empty() {
            scratch.fields.push(key, Str::Raw(value));
        }
    }
    slots.set_message(&rest[at + 3..]);
    Some(slots.finish(Some(Format::Node), scratch))
}

/// Takes an object at the end of `text`; what is before it.
fn object_at_the_end<'a>(text: &'a [u8], slots: &mut Slots<'a>, scratch: &mut Scratch) -> &'a [u8] {
    if text.ends_with(b"}")
        && let Some(at) = find(text, b" {\"")
        && Members::are_good(&text[at + 1..])
    {
        slots.take_object(&text[at + 1..], scratch);
        return &text[..at];
    }
    text
}

/// `GET /path 200 …`, as morgan and Next.js write it.
pub(crate) fn access<'a>(text: &'a [u8], fields: &mut Fields) -> Option<Draft<'a>> {
    let (method, rest) = split(text, b' ')?;
    let (path, rest) = split(rest, b' ')?;
    let (status, rest) = word(rest);
    if !is_method(method) || !is_path(path) {
        return None;
    }
    measured(text, status, rest, fields).map(|draft| Draft {
        method: Some(Str::Raw(method)),
        path: Some(Str::Raw(path)),
        ..draft
    })
}

/// `address - user GET /path HTTP/1.1 200 13 - 2.410 ms`
pub(crate) fn short<'a>(text: &'a [u8], fields: &mut Fields) -> Option<Draft<'a>> {
    let (address, rest) = split(text, b' ')?;
    let (user, request) = split(rest, b' ')?;
    let (method, rest) = split(request, b' ')?;
    let at = find(rest, b" HTTP/")?;
    let (path, (version, rest)) = (&rest[..at], word(&rest[at + 6..]));
    let (status, rest) = word(rest);
    if !is_method(method) || !is_path(path) {
        return None;
    }
    let draft = measured(request, status, rest, fields)?;
    let mut draft = Draft { method: Some(Str::Raw(method)), path: Some(Str::Raw(path)), ..draft };
    address_of(address, b"remote_addr", &mut draft, fields);
    if user != b"-" {
        fields.push(b"remote_user", Str::Raw(user));
    }
    fields.push(b"http_version", Str::Raw(version));
    Some(draft)
}

/// Status, time and size: `2.410 ms - 13`, `13 - 2.410 ms`, `in 12ms`; `-` is what is not known, as of a request that was given up.
fn measured<'a>(message: &'a [u8], status: &[u8], rest: &'a [u8], fields: &mut Fields) -> Option<Draft<'a>> {
    let number = match status {
        b"-" => None,
        [_, _, _] => Some(natural(status).and_then(|status| u16::try_from(status).ok())?),
        _ => return None,
    };
    let milliseconds = |text: &'a [u8]| text.strip_suffix(b" ms");
    let (duration, size) = if let Some(duration) = rest.strip_prefix(b"in ") {
        (duration, None)
    } else {
        let at = find(rest, b" - ")?;
        let (first, second) = (&rest[..at], &rest[at + 3..]);
        let duration = milliseconds(second).or_else(|| milliseconds(first))?;
        let size = if duration.as_ptr() == first.as_ptr() { second } else { first };
        (duration, Some(size))
    };
    if size.is_some_and(|size| size != b"-" && natural(size).is_none()) {
        return None;
    }
    let mut draft = Draft::new(Format::Node.service_type(), "access", Str::Raw(message));
    draft.level = Some(number.map_or(Level::Info, Level::of_status));
    draft.status_code = number;
    draft.response_size = size.and_then(natural);
    let key: &[u8] = if size.is_some() { b"duration_ms" } else { b"duration" };
    if duration != b"-" {
        fields.push(key, Str::Raw(duration));
    }
    Some(draft)
}

/// What Next.js sets in front of its lines, and what it means.
const NEXT_MARKS: [(&str, Level); 6] = [
    ("▲ ", Level::Info),
    ("✓ ", Level::Info),
    ("○ ", Level::Info),
    ("⚠ ", Level::Warn),
    ("⨯ ", Level::Error),
    ("» ", Level::Debug),
];

/// Whether a line is one of Next.js's for the space in front of it, and no part of a trace for that.
pub(crate) fn is_next(text: &[u8]) -> bool {
    let Some(rest) = text.strip_prefix(b" ") else { return false };
    let (method, path) = word(rest);
    let is_mark = |(mark, _): &(&str, Level)| rest.trim_ascii_start().starts_with(mark.as_bytes());
    NEXT_MARKS.iter().any(is_mark) || (is_method(method) && is_path(word(path).0))
}

/// Lines of Next.js, with the space in front or without.
pub(crate) fn next<'a>(text: &'a [u8], fields: &mut Fields) -> Option<Draft<'a>> {
    let text = text.trim_ascii_start();
    if text.first()?.is_ascii_uppercase() {
        return access(text, fields).filter(|_| find(text, b" in ").is_some());
    }
    if text.starts_with(b"- ") || text[0].is_ascii_lowercase() {
        return older_next(text, fields);
    }
    let level = NEXT_MARKS.iter().find(|(mark, _)| text.starts_with(mark.as_bytes()))?.1;
    let mut draft = Draft::new(Format::Node.service_type(), "structured", Str::Raw(text));
    draft.level = Some(level);
    Some(draft)
}

/// `info  - message` of Next.js 12, `- info message` of 13, and what both say of their addresses.
fn older_next<'a>(text: &'a [u8], fields: &mut Fields) -> Option<Draft<'a>> {
    let (name, message) = match text.strip_prefix(b"- ") {
        Some(rest) => word(rest),
        None => word(text),
    };
    let message = match text.first() {
        Some(b'-') => message,
        _ => message.trim_ascii_start().strip_prefix(b"- ")?,
    };
    let level = match name {
        b"info" | b"ready" | b"event" | b"wait" => Level::Info,
        b"warn" => Level::Warn,
        b"error" => Level::Error,
        b"trace" => Level::Debug,
        b"Local:" | b"Network:" | b"Environments:" => {
            let mut draft = Draft::new(Format::Node.service_type(), "structured", Str::Raw(text));
            draft.level = Some(Level::Info);
            return Some(draft);
        }
        _ => return None,
    };
    let mut draft = Draft::new(Format::Node.service_type(), "structured", Str::Raw(message));
    draft.level = Some(level);
    fields.level(Some(level), name);
    Some(draft)
}
