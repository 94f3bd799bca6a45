//! Text of Rust's `tracing_subscriber` (full and compact) and `env_logger`, and of Meilisearch, which is written by the former.
//!
//! | | line |
//! |---|---|
//! | full | `2026-11-21T13:00:00.123456Z  INFO shave{yaks=3}:inner{n=1}: app::http: message key=value` |
//! | compact | `2026-11-21T13:00:00.123456Z  INFO shave:inner: app::http: message key=value` |
//! | env_logger | `[2026-11-21T13:00:00Z INFO  app::http] message` |
//!
//! The level stands in five columns. The target ends in a colon and may be missing; then only a time with six decimals, as no
//! other logger writes it before such a level, makes the line one of Rust's. Before it may stand the thread (`main ThreadId(01) `),
//! behind it the place (`src/main.rs:12: `). Values are not quoted, so one goes on up to the next key (`latency=3 ms status=200`).
//! Spans stay together in `fields.spans`. Without a time, the level flush right in its columns is looked for.

use super::cut::{bracketed, find, is_name, is_number, split, word};
use super::pairs::{self, Bare};
use super::slots::{Slots, exact};
use super::{Format, Scratch, access};
use crate::parser::app_time;
use crate::parser::encode::{Draft, Str};
use crate::parser::level::{self, Level};

/// Reads a line; an explicit `family` also allows one without a time.
pub(crate) fn parse<'a>(text: &'a [u8], family: Option<Format>, scratch: &mut Scratch) -> Option<Draft<'a>> {
    if text.first() == Some(&b'[') {
        return env_logger(text, family, scratch);
    }
    let mut text = text;
    // Of the pretty format, two spaces are in front.
    if text.starts_with(b"  ") && text.get(2).is_some_and(u8::is_ascii_digit) {
        text = &text[2..];
    }
    let (time, rest) = match text.first()? {
        b'0'..=b'9' => {
            let date = if text.get(10) == Some(&b' ') && text[4] == b'-' { 11 } else { 0 };
            let end = date + memchr::memchr(b' ', text.get(date..)?)?;
            (&text[..end], &text[end + 1..])
        }
        b' ' | b'E' | b'D' | b'T' => (&b""[..], text),
        _ if family.is_some() => (&b""[..], text),
        _ => return None,
    };
    if !time.is_empty() && !app_time::is_time(time) {
        return None;
    }
    let (word, behind) = split(rest.trim_ascii_start(), b' ')?;
    let level = level_of(word)?;
    let columns = rest.len() - behind.len() == 6;
    let (mut named, mut behind) = (&b""[..], behind.trim_ascii_start());
    let (mut spans, mut rest_of_it) = self::spans(behind);
    let (mut target, mut message) = self::target(rest_of_it);
    if target.is_empty() {
        (named, behind) = thread(behind);
        (spans, rest_of_it) = self::spans(behind);
        (target, message) = self::target(rest_of_it);
    }
    let (thread, behind) = (named, rest_of_it);
    // Others put a space for the `T` of the time, or no time at all, before levels that are not flush right, or no path behind them.
    let path = || find(target, b"::").is_some() || !spans.is_empty();
    let sure = match time {
        _ if family.is_some() => true,
        b"" => columns && !target.is_empty() && (rest.starts_with(b" ") || path()),
        _ if time[10] == b' ' => columns && !target.is_empty() && (rest.starts_with(b" ") || path()),
        _ => (time.ends_with(b"Z") && time.len() == 27) || !target.is_empty(),
    };
    if !sure || (target.is_empty() && family.is_none() && behind.starts_with(b"[")) {
        return None;
    }
    let mut slots = Slots::new();
    if !time.is_empty() {
        slots.set_time(time, scratch);
    }
    slots.set_level(Some(level), word, scratch);
    if !thread.is_empty() {
        scratch.fields.push(b"thread", Str::Raw(thread));
    }
    if !target.is_empty() {
        scratch.fields.push(b"target", Str::Raw(target));
    }
    if !spans.is_empty() {
        scratch.fields.push(b"spans", Str::Raw(spans));
        members_of_spans(spans, &mut slots, scratch);
    }
    let meilisearch = target.starts_with(b"meilisearch");
    if meilisearch && let Some(at) = find(spans, b" route=") {
        let route = &spans[at + 7..];
        slots.default_path(&route[..memchr::memchr2(b' ', b'}', route).unwrap_or(route.len())]);
    }
    if (meilisearch || target.starts_with(b"actix_web"))
        && let Some(access) = actix(message)
    {
        slots.set_access(access);
    }
    if let Some((place, behind)) = place(message) {
        scratch.fields.push(b"caller", Str::Raw(place));
        message = behind;
    }
    let message = pairs::take_tail(message, Bare::Phrase, &mut slots, scratch);
    slots.set_message(message);
    let told = if meilisearch { Format::Meilisearch } else { Format::Rust };
    Some(slots.finish(Some(family.unwrap_or(told)), scratch))
}

/// `10.0.0.1 "GET /x HTTP/1.1" 200 12 "-" "curl/8.5" 0.000123`, as Actix's logger writes by itself, and Meilisearch with it.
#[cold]
fn actix(message: &[u8]) -> Option<Draft<'_>> {
    let (address, rest) = split(message, b' ')?;
    let rest = rest.strip_prefix(b"\"")?;
    let end = find(rest, b"\" ")?;
    let (method, path, _) = access::request_parts(&rest[..end])?;
    let (status, rest) = word(&rest[end + 2..]);
    let (size, rest) = word(rest);
    let status = exact(status).filter(|_| status.len() == 3)?;
    let address = std::str::from_utf8(address).ok().filter(|text| text.parse::<std::net::IpAddr>().is_ok())?;
    let mut draft = Draft::new(Format::Rust.service_type(), "structured", Str::EMPTY);
    (draft.method, draft.path) = (Some(Str::Raw(method)), Some(Str::Raw(path)));
    draft.ip_address = Some(Str::Raw(address.as_bytes()));
    (draft.status_code, draft.response_size) = (u16::try_from(status).ok(), exact(size));
    let agent = access::quoted(rest).and_then(|(_, rest)| access::quoted(rest.strip_prefix(b" ")?));
    draft.user_agent = agent.map(|(agent, _)| agent).filter(|agent| *agent != b"-").map(Str::Raw);
    Some(draft)
}

/// `main ThreadId(01)` or `ThreadId(01)`, and what is behind it.
#[cold]
fn thread(text: &[u8]) -> (&[u8], &[u8]) {
    let none = (&b""[..], text);
    let Some(at) = find(&text[..text.len().min(64)], b"ThreadId(") else { return none };
    let ends = find(&text[at..], b") ").map(|end| at + end + 1);
    let named = text[..at].iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b' ' | b':' | b'#'));
    match ends {
        Some(end) if named && find(&text[..at], b": ").is_none() => (&text[..end], text[end..].trim_ascii_start()),
        _ => none,
    }
}

/// `src/main.rs:12: ` at the front.
fn place(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = memchr::memchr(b':', text)?;
    let end = end + 1 + text[end + 1..].iter().take_while(|b| b.is_ascii_digit()).count();
    if !text[end..].starts_with(b": ") {
        return None;
    }
    let (file, line) = text[..end].split_at(memchr::memrchr(b':', &text[..end])?);
    (file.ends_with(b".rs") && is_number(&line[1..])).then_some((&text[..end], &text[end + 2..]))
}

fn level_of(word: &[u8]) -> Option<Level> {
    matches!(word, b"TRACE" | b"DEBUG" | b"INFO" | b"WARN" | b"ERROR").then(|| level::of_word(word))?
}

/// `[time LEVEL target] message`
fn env_logger<'a>(text: &'a [u8], family: Option<Format>, scratch: &mut Scratch) -> Option<Draft<'a>> {
    let (head, message) = bracketed(text)?;
    let (time, rest) = match head.first()? {
        b'0'..=b'9' => split(head, b' ')?,
        // Without a time: the level in its five columns.
        _ if head.len() > 6 && head[5] == b' ' && head[6] != b' ' => (&b""[..], head),
        _ => return None,
    };
    let (word, target) = split(rest, b' ').unwrap_or((rest, b""));
    let level = level_of(word)?;
    let target = target.trim_ascii_start();
    if !(time.is_empty() || app_time::is_time(time)) || !(target.is_empty() || is_name(target)) {
        return None;
    }
    let mut slots = Slots::new();
    if !time.is_empty() {
        slots.set_time(time, scratch);
    }
    slots.set_level(Some(level), word, scratch);
    if !target.is_empty() {
        scratch.fields.push(b"target", Str::Raw(target));
    }
    let message = message.strip_prefix(b" ").unwrap_or(message);
    slots.set_message(message);
    if (target.starts_with(b"meilisearch") || target.starts_with(b"actix_web"))
        && let Some(access) = actix(message)
    {
        slots.set_access(access);
    }
    let told = if target.starts_with(b"meilisearch") { Format::Meilisearch } else { Format::Rust };
    Some(slots.finish(Some(family.unwrap_or(told)), scratch))
}

/// The spans at the front without their last colon, and what is behind.
fn spans(text: &[u8]) -> (&[u8], &[u8]) {
    let none = (&b""[..], text);
    let Some(colon) = find(text, b": ") else { return none };
    match memchr::memchr(b'{', &text[..colon]) {
        // Full: `name{key=value}:name: `. A name may have spaces in it, as Meilisearch's have.
        Some(open) => {
            let name = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b':' | b'-' | b'.' | b' ');
            let end = span_end(text, open);
            let found = open > 0 && text[..open].iter().all(name);
            end.filter(|_| found).map_or(none, |end| (&text[..end], text[end + 1..].trim_ascii_start()))
        }
        // Compact: the target is behind, and has two colons where a list of spans has one.
        None => {
            let (first, behind) = (&text[..colon], &text[colon + 2..]);
            let (next, _) = target(behind);
            let path = find(first, b"::").is_some();
            // One colon between two names separates spans.
            let several = memchr::memchr(b':', first).is_some() && !next.is_empty();
            let listed = !path && is_name(first) && (several || find(next, b"::").is_some());
            if listed { (first, behind) } else { none }
        }
    }
}

/// The colon behind the last of the spans, whose first opens at `open`: not one inside of braces or strings, and not one that
/// separates them.
fn span_end(text: &[u8], open: usize) -> Option<usize> {
    let (mut at, mut depth, mut quote) = (open, 0usize, false);
    while let Some(byte) = text.get(at) {
        match byte {
            b'\\' if quote => at += 1,
            b'"' => quote = !quote,
            b'{' | b'[' | b'(' if !quote => depth += 1,
            b'}' | b']' | b')' if !quote => depth = depth.checked_sub(1)?,
            b':' if !quote && depth == 0 && text.get(at + 1) == Some(&b' ') => return Some(at),
            b' ' if !quote && depth == 0 => return None,
            _ => {}
        }
        at += 1;
    }
    None
}

/// Gives what spans know of a request to the record: Meilisearch's `HTTP request{method=GET route=/indexes …}`.
fn members_of_spans<'a>(spans: &'a [u8], slots: &mut Slots<'a>, scratch: &mut Scratch) {
    let mut rest = spans;
    while let Some(open) = memchr::memchr(b'{', rest) {
        let Some(len) = closing(&rest[open..]) else { return };
        let inner = &rest[open + 1..open + len];
        pairs::take_fields(inner, slots, scratch);
        rest = &rest[open + len..];
    }
}

/// Where the brace that `text` begins with is closed.
fn closing(text: &[u8]) -> Option<usize> {
    let (mut at, mut depth, mut quote) = (0, 0usize, false);
    loop {
        match text.get(at)? {
            b'\\' if quote => at += 1,
            b'"' => quote = !quote,
            b'{' if !quote => depth += 1,
            b'}' if !quote && depth == 1 => return Some(at),
            b'}' if !quote => depth -= 1,
            _ => {}
        }
        at += 1;
    }
}

/// The target and what is behind its colon.
fn target(text: &[u8]) -> (&[u8], &[u8]) {
    let end = find(&text[..text.len().min(200)], b": ").filter(|end| is_name(&text[..*end]));
    end.map_or((b"", text), |end| (&text[..end], &text[end + 2..]))
}
