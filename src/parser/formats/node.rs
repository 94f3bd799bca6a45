//! Text that Node programs write: winston, morgan and Next.js.
//!
//! | program | line |
//! |---|---|
//! | winston, simple | `info: message {"key":"value"}`: the levels of npm in small letters |
//! | winston, printf | `2026-11-21T13:00:00.123Z [label] info: message`, label and brackets as the formats of its documentation have them |
//! | morgan dev, tiny, short | `GET /path 200 2.410 ms - 13`, `GET /path 200 13 - 2.410 ms`, `::1 - GET /path HTTP/1.1 200 13 - 2.410 ms` |
//! | Next.js | ` GET /path 200 in 12ms`; ` ▲ Next.js`, ` ✓ Ready in 2s`, ` ○ Compiling`, ` ⚠ …`, ` ⨯ …`: the message keeps its mark |
//!
//! .NET's console logger begins with `info: ` too, but has a category with a number, `Microsoft.Hosting.Lifetime[14]`, there.

use super::access::address_of;
use super::cut::{bracketed, is_name, is_number, split, word};
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
        b' ' | 0xe2 => next(text, &mut scratch.fields),
        b'A'..=b'Z' => access(text, &mut scratch.fields),
        b'0'..=b'9' => winston_at(text, scratch).or_else(|| short(text, &mut scratch.fields)),
        b'a'..=b'z' => winston(text, scratch),
        b':' => short(text, &mut scratch.fields),
        _ => None,
    }
}

/// The levels of npm, which are winston's.
fn level_of(word: &[u8]) -> Option<Level> {
    matches!(word, b"error" | b"warn" | b"info" | b"http" | b"verbose" | b"debug" | b"silly")
        .then(|| level::of_word(word))?
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

/// `time [label] level: message`
pub(crate) fn winston_at<'a>(text: &'a [u8], scratch: &mut Scratch) -> Option<Draft<'a>> {
    let date = if text.get(10) == Some(&b' ') { 11 } else { 0 };
    let at = date + memchr::memchr(b' ', text.get(date..)?)?;
    let (time, rest) = (&text[..at], &text[at + 1..]);
    let (label, rest) = match bracketed(rest) {
        // `[info]: message`
        Some((word, behind)) if level_of(word).is_some() && behind.starts_with(b":") => (&b""[..], rest),
        Some((label, behind)) if is_name(label) => (label, behind.strip_prefix(b" ")?),
        _ => (&b""[..], rest),
    };
    let (head, message) = split(rest, b':')?;
    let name = head.strip_prefix(b"[").and_then(|head| head.strip_suffix(b"]")).unwrap_or(head);
    let level = level_of(name).filter(|_| app_time::is_time(time))?;
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

/// Takes an object at the end of `text`; what is before it.
fn object_at_the_end<'a>(text: &'a [u8], slots: &mut Slots<'a>, scratch: &mut Scratch) -> &'a [u8] {
    if text.ends_with(b"}")
        && let Some(at) = memchr::memmem::find(text, b" {\"")
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
    let at = memchr::memmem::find(rest, b" HTTP/")?;
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

/// Status, time and size: `2.410 ms - 13`, `13 - 2.410 ms`, `in 12ms`; `-` is what is not known.
fn measured<'a>(message: &'a [u8], status: &[u8], rest: &'a [u8], fields: &mut Fields) -> Option<Draft<'a>> {
    let number = (status.len() == 3).then(|| natural(status))?.and_then(|status| u16::try_from(status).ok())?;
    let milliseconds = |text: &'a [u8]| (text == b"-").then_some(text).or_else(|| text.strip_suffix(b" ms"));
    let (duration, size) = if let Some(duration) = rest.strip_prefix(b"in ") {
        (duration, None)
    } else {
        let at = memchr::memmem::find(rest, b" - ")?;
        let (first, second) = (&rest[..at], &rest[at + 3..]);
        let duration = milliseconds(second).or_else(|| milliseconds(first))?;
        let size = if duration.as_ptr() == first.as_ptr() { second } else { first };
        (duration, Some(size))
    };
    if size.is_some_and(|size| size != b"-" && natural(size).is_none()) {
        return None;
    }
    let mut draft = Draft::new(Format::Node.service_type(), "access", Str::Raw(message));
    draft.level = Some(Level::of_status(number));
    draft.status_code = Some(number);
    draft.response_size = size.and_then(natural);
    let key: &[u8] = if size.is_some() { b"duration_ms" } else { b"duration" };
    if duration != b"-" {
        fields.push(key, Str::Raw(duration));
    }
    Some(draft)
}

/// Lines of Next.js, with the space in front or without.
pub(crate) fn next<'a>(text: &'a [u8], fields: &mut Fields) -> Option<Draft<'a>> {
    let text = text.trim_ascii_start();
    if text.first()?.is_ascii_uppercase() {
        return access(text, fields).filter(|_| memchr::memmem::find(text, b" in ").is_some());
    }
    let marks =
        [("▲ ", Level::Info), ("✓ ", Level::Info), ("○ ", Level::Info), ("⚠ ", Level::Warn), ("⨯ ", Level::Error)];
    let level = marks.iter().find(|(mark, _)| text.starts_with(mark.as_bytes()))?.1;
    let mut draft = Draft::new(Format::Node.service_type(), "structured", Str::Raw(text));
    draft.level = Some(level);
    Some(draft)
}
