//! Lines of Go's loggers that are neither JSON nor logfmt.
//!
//! | logger | line |
//! |---|---|
//! | zap, development | `2026-11-21T13:00:00.123Z⇥INFO⇥db.pool⇥app/main.go:21⇥message⇥{"k": "v"}`: name, caller and object may be missing |
//! | zerolog, console | `2026-11-21T13:00:00Z INF main.go:9 > message key=value`, also with `1:00PM`, `<nil>` or no time |
//! | logrus, terminal | `INFO[0000] message   key=value`, the time also in full; `INFO[0000]main.go:9 main.main() message` |
//! | standard library | `2026/11/21 13:00:00.123456 main.go:21: message`, date and file as flags have it; slog's default handler; chi |
//! | gin | `[GIN] 2026/11/21 - 13:00:00 \| 200 \| 12.3µs \| 10.0.0.1 \| GET "/path"` |

use super::access::{address_of, request_parts};
use super::cut::{bracketed, capital_level, find, has_shape, is_number, split, word};
use super::pairs::{self, Bare};
use super::plain;
use super::slots::{Slots, exact, is_method};
use super::{Format, Scratch};
use crate::parser::app_time;
use crate::parser::encode::{Draft, Str};
use crate::parser::fields::Fields;
use crate::parser::json::Members;
use crate::parser::level::{self, Level};

/// Reads a line of any of them.
pub(crate) fn parse<'a>(text: &'a [u8], scratch: &mut Scratch) -> Option<Draft<'a>> {
    match *text.first()? {
        b'[' => gin(text, &mut scratch.fields),
        b'A'..=b'Z' => logrus(text, scratch).or_else(|| zerolog(text, scratch)),
        b'<' => zerolog(text, scratch),
        b'0'..=b'9' if text.get(4) == Some(&b'/') => standard(text, scratch),
        b'0'..=b'9' => zap(text, scratch).or_else(|| zerolog(text, scratch)),
        _ => None,
    }
}

/// Reads zap's console lines.
pub(crate) fn zap<'a>(text: &'a [u8], scratch: &mut Scratch) -> Option<Draft<'a>> {
    let (time, rest) = split(text, b'\t')?;
    let (word, rest) = split(rest, b'\t').unwrap_or((rest, b""));
    let level = level::of_word(word)?;
    let clock = time.first()?.is_ascii_digit() && memchr::memchr(b':', time).is_some();
    if !clock && !app_time::is_time(time) && find(time, b"e+").is_none_or(|at| at + 4 != time.len()) {
        return None;
    }
    let mut slots = Slots::new();
    slots.set_time(time, scratch);
    slots.set_level(Some(level), word, scratch);
    let (mut rest, mut object) = (rest, None);
    if let Some(at) = memchr::memmem::rfind(rest, b"\t{")
        && rest.ends_with(b"}")
        && Members::are_good(&rest[at + 1..])
    {
        (rest, object) = (&rest[..at], Some(&rest[at + 1..]));
    }
    // What is before the message: a name without spaces, a caller with a line.
    if let Some((first, behind)) = split(rest, b'\t') {
        if is_caller(first) {
            scratch.fields.push(b"caller", Str::Raw(first));
            rest = behind;
        } else if !first.contains(&b' ') {
            scratch.fields.push(b"logger", Str::Raw(first));
            rest = behind;
            if let Some((second, behind)) = split(rest, b'\t').filter(|(second, _)| is_caller(second)) {
                scratch.fields.push(b"caller", Str::Raw(second));
                rest = behind;
            }
        }
    }
    slots.set_message(rest);
    if let Some(object) = object {
        slots.take_object(object, scratch);
    }
    Some(slots.finish(Some(Format::Go), scratch))
}

/// `main.go:21`
fn is_caller(text: &[u8]) -> bool {
    memchr::memrchr(b':', text).is_some_and(|at| is_number(&text[at + 1..]) && text[..at].ends_with(b".go"))
}

/// Reads zerolog's console lines: the levels have three letters.
pub(crate) fn zerolog<'a>(text: &'a [u8], scratch: &mut Scratch) -> Option<Draft<'a>> {
    let date = if text.get(10) == Some(&b' ') && has_shape(text, b"dddd-dd-dd ") { 11 } else { 0 };
    let at = date + memchr::memchr(b' ', text.get(date..)?)?;
    // A time that is left out leaves nothing.
    let (time, rest) = match text[0] {
        b'A'..=b'Z' | b'?' => (&b""[..], text),
        _ => (&text[..at], &text[at + 1..]),
    };
    let (name, rest) = word(rest);
    let level = match name {
        b"TRC" | b"DBG" => Some(Level::Debug),
        b"INF" => Some(Level::Info),
        b"WRN" => Some(Level::Warn),
        b"ERR" => Some(Level::Error),
        b"FTL" | b"PNC" => Some(Level::Fatal),
        b"???" => None,
        _ => return None,
    };
    let known = matches!(time, b"" | b"<nil>");
    if !known && !app_time::is_time(time) && !is_kitchen(time) && !is_clock(time) {
        return None;
    }
    let mut slots = Slots::new();
    if !known {
        slots.set_time(time, scratch);
    }
    slots.set_level(level, name, scratch);
    let mut rest = rest;
    if let Some(at) = find(&rest[..rest.len().min(100)], b" > ").filter(|at| is_caller(&rest[..*at])) {
        scratch.fields.push(b"caller", Str::Raw(&rest[..at]));
        rest = &rest[at + 3..];
    }
    let message = pairs::take_tail(rest, Bare::Word, &mut slots, scratch);
    slots.set_message(message);
    Some(slots.finish(Some(Format::Go), scratch))
}

/// `13:00:00`, with or without a fraction.
fn is_clock(text: &[u8]) -> bool {
    let fraction = text.get(8..).unwrap_or_default();
    has_shape(text, b"dd:dd:dd") && (fraction.is_empty() || (fraction[0] == b'.' && is_number(&fraction[1..])))
}

/// `1:00PM`
fn is_kitchen(text: &[u8]) -> bool {
    has_shape(text, b"d:ddPM")
        || has_shape(text, b"d:ddAM")
        || has_shape(text, b"dd:ddPM")
        || has_shape(text, b"dd:ddAM")
}

/// Reads logrus' lines for terminals.
pub(crate) fn logrus<'a>(text: &'a [u8], scratch: &mut Scratch) -> Option<Draft<'a>> {
    let (name, _) = split(&text[..text.len().min(8)], b'[')?;
    // Four letters, or where that is turned off all of them.
    let level = capital_level(name).filter(|_| {
        matches!(name, b"INFO" | b"WARN" | b"ERRO" | b"DEBU" | b"TRAC" | b"FATA" | b"PANI")
            || matches!(name, b"WARNING" | b"ERROR" | b"DEBUG" | b"TRACE" | b"FATAL" | b"PANIC")
    })?;
    let (time, rest) = bracketed(&text[name.len()..])?;
    let since_start = time.len() >= 4 && is_number(time);
    if !since_start && !app_time::is_time(time) {
        return None;
    }
    let mut slots = Slots::new();
    match since_start {
        true => scratch.fields.push(b"seconds", Str::Raw(time)),
        false => slots.set_time(time, scratch),
    }
    slots.set_level(Some(level), name, scratch);
    let mut rest = rest;
    if let Some((caller, behind)) = split(rest, b' ').filter(|(caller, _)| is_caller(caller)) {
        scratch.fields.push(b"caller", Str::Raw(caller));
        rest = behind;
        if let Some((function, behind)) = split(rest, b' ').filter(|(function, _)| function.ends_with(b"()")) {
            scratch.fields.push(b"func", Str::Raw(function));
            rest = behind;
        }
    }
    let rest = rest.strip_prefix(b" ").unwrap_or(rest);
    let message = pairs::take_tail(rest, Bare::Phrase, &mut slots, scratch);
    slots.set_message(message.trim_ascii_end());
    Some(slots.finish(Some(Format::Go), scratch))
}

/// Reads lines of package `log`, and of `slog`, whose default handler writes through it.
pub(crate) fn standard<'a>(text: &'a [u8], scratch: &mut Scratch) -> Option<Draft<'a>> {
    if !has_shape(text, b"dddd/dd/dd dd:dd:dd") {
        return None;
    }
    let end = 19
        + match text.get(19) {
            Some(b'.') => 1 + text[20..].iter().take_while(|b| b.is_ascii_digit()).count(),
            _ => 0,
        };
    let mut rest = text[end..].strip_prefix(b" ")?;
    let mut slots = Slots::new();
    slots.set_time(&text[..end], scratch);
    if let Some(at) = find(&rest[..rest.len().min(200)], b": ").filter(|at| is_caller(&rest[..*at])) {
        scratch.fields.push(b"caller", Str::Raw(&rest[..at]));
        rest = &rest[at + 2..];
    }
    let (name, behind) = word(rest);
    match capital_level(name.get(..name.iter().position(|b| matches!(b, b'+' | b'-')).unwrap_or(name.len()))?) {
        Some(level) if matches!(&name[..4.min(name.len())], b"INFO" | b"WARN" | b"ERRO" | b"DEBU") => {
            slots.set_level(Some(level), name, scratch);
            rest = pairs::take_tail(behind, Bare::Word, &mut slots, scratch);
        }
        _ => match chi(rest) {
            Some(access) => slots.set_access(access),
            None => slots.default_level(plain::level_of(rest)),
        },
    }
    slots.set_message(rest);
    Some(slots.finish(Some(Format::Go), scratch))
}

/// `[host/id-000001] "GET http://host/path HTTP/1.1" from 10.0.0.1:5000 - 200 4B in 12.3µs`, as chi's logger writes.
fn chi(message: &[u8]) -> Option<Draft<'_>> {
    let message = bracketed(message).map_or(message, |(_, behind)| behind.trim_ascii_start());
    let inner = message.strip_prefix(b"\"")?;
    let end = find(inner, b"\" from ")?;
    let (method, path, _) = request_parts(&inner[..end])?;
    let (peer, rest) = word(&inner[end + 7..]);
    let (status, rest) = word(rest.strip_prefix(b"- ")?);
    let (size, rest) = word(rest);
    let status_code = u16::try_from(exact(status).filter(|_| status.len() == 3)?).ok()?;
    rest.strip_prefix(b"in ")?;
    let host = memchr::memrchr(b':', peer).filter(|at| is_number(&peer[at + 1..])).map_or(peer, |at| &peer[..at]);
    let host = host.strip_prefix(b"[").and_then(|host| host.strip_suffix(b"]")).unwrap_or(host);
    let is_address = std::str::from_utf8(host).is_ok_and(|host| host.parse::<std::net::IpAddr>().is_ok());
    let mut draft = Draft::new(Format::Go.service_type(), "structured", Str::EMPTY);
    (draft.method, draft.path) = (Some(Str::Raw(method)), Some(Str::Raw(path)));
    draft.ip_address = is_address.then_some(Str::Raw(host));
    (draft.status_code, draft.response_size) = (Some(status_code), size.strip_suffix(b"B").and_then(exact));
    Some(draft)
}

/// Reads gin's access lines.
pub(crate) fn gin<'a>(text: &'a [u8], fields: &mut Fields) -> Option<Draft<'a>> {
    if let Some(message) = text.strip_prefix(b"[GIN-debug] ") {
        let mut draft = Draft::new(Format::Go.service_type(), "structured", Str::Raw(message));
        draft.level = plain::level_of(message);
        fields.push(b"mode", Str::Raw(b"debug"));
        return Some(draft);
    }
    let rest = text.strip_prefix(b"[GIN] ")?;
    if !has_shape(rest, b"dddd/dd/dd - dd:dd:dd | ddd |") {
        return None;
    }
    let status = exact(&rest[24..27]).and_then(|status| u16::try_from(status).ok())?;
    let (duration, behind) = split(&rest[29..], b'|')?;
    let (address, behind) = split(behind, b'|')?;
    let (method, path) = split(behind.trim_ascii_start(), b' ')?;
    let path = path.trim_ascii_start();
    let path = path.strip_prefix(b"\"").and_then(|path| path.strip_suffix(b"\"")).unwrap_or(path);
    if !is_method(method) {
        return None;
    }
    // Date and clock with three bytes too many between them.
    let mut time = *b"dddd/dd/dd dd:dd:dd";
    time[..10].copy_from_slice(&rest[..10]);
    time[11..].copy_from_slice(&rest[13..21]);
    fields.app_time(&time);
    let mut draft = Draft::new(Format::Go.service_type(), "access", Str::EMPTY);
    draft.message = fields.keep_request(Some(Str::Raw(method)), Some(Str::Raw(path)), status);
    draft.level = Some(Level::of_status(status));
    (draft.method, draft.path, draft.status_code) = (Some(Str::Raw(method)), Some(Str::Raw(path)), Some(status));
    fields.push(b"duration", Str::Raw(duration.trim_ascii()));
    address_of(address.trim_ascii(), b"remote_addr", &mut draft, fields);
    Some(draft)
}
