//! Text of Rust's `tracing_subscriber` (full and compact) and `env_logger`, and of Meilisearch, which is written by the former.
//!
//! | | line |
//! |---|---|
//! | full | `2026-11-21T13:00:00.123456Z  INFO shave{yaks=3}:inner{n=1}: app::http: message key=value` |
//! | compact | `2026-11-21T13:00:00.123456Z  INFO shave:inner: app::http: message key=value` |
//! | env_logger | `[2026-11-21T13:00:00Z INFO  app::http] message` |
//!
//! The level stands in five columns. The target ends in a colon and may be missing; then only a time with six decimals, as no
//! other logger writes it before such a level, makes the line one of Rust's. Spans stay together in `fields.spans`.

use super::cut::{bracketed, is_name, split};
use super::pairs::{self, Bare};
use super::slots::Slots;
use super::{Format, Scratch};
use crate::parser::app_time;
use crate::parser::encode::{Draft, Str};
use crate::parser::level::{self, Level};
use memchr::memmem;

/// Reads a line; an explicit `family` also allows one without a time.
pub(crate) fn parse<'a>(text: &'a [u8], family: Option<Format>, scratch: &mut Scratch) -> Option<Draft<'a>> {
    if text.first() == Some(&b'[') {
        return env_logger(text, family, scratch);
    }
    let (time, rest) = match text.first()? {
        b'0'..=b'9' => split(text, b' ').filter(|(time, _)| app_time::is_time(time))?,
        _ if family.is_some() => (&b""[..], text),
        _ => return None,
    };
    let (word, rest) = split(rest.trim_ascii_start(), b' ')?;
    let level = level_of(word)?;
    let rest = rest.trim_ascii_start();
    let (spans, behind) = spans(rest);
    let (target, message) = target(behind);
    let sure = family.is_some() || (time.ends_with(b"Z") && time.len() == 27) || !target.is_empty();
    if !sure || (target.is_empty() && family.is_none() && behind.starts_with(b"[")) {
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
    if !spans.is_empty() {
        scratch.fields.push(b"spans", Str::Raw(spans));
        members_of_spans(spans, &mut slots, scratch);
    }
    let message = pairs::take_tail(message, Bare::Word, &mut slots, scratch);
    slots.set_message(message);
    let told = if target.starts_with(b"meilisearch") { Format::Meilisearch } else { Format::Rust };
    Some(slots.finish(Some(family.unwrap_or(told)), scratch))
}

fn level_of(word: &[u8]) -> Option<Level> {
    matches!(word, b"TRACE" | b"DEBUG" | b"INFO" | b"WARN" | b"ERROR").then(|| level::of_word(word))?
}

/// `[time LEVEL target] message`
fn env_logger<'a>(text: &'a [u8], family: Option<Format>, scratch: &mut Scratch) -> Option<Draft<'a>> {
    let (head, message) = bracketed(text)?;
    let (time, rest) = split(head, b' ')?;
    let (word, target) = split(rest, b' ').unwrap_or((rest, b""));
    let level = level_of(word)?;
    let target = target.trim_ascii_start();
    if !app_time::is_time(time) || !(target.is_empty() || is_name(target)) {
        return None;
    }
    let mut slots = Slots::new();
    slots.set_time(time, scratch);
    slots.set_level(Some(level), word, scratch);
    if !target.is_empty() {
        scratch.fields.push(b"target", Str::Raw(target));
    }
    slots.set_message(message.strip_prefix(b" ").unwrap_or(message));
    Some(slots.finish(Some(family.unwrap_or(Format::Rust)), scratch))
}

/// The spans at the front without their last colon, and what is behind.
fn spans(text: &[u8]) -> (&[u8], &[u8]) {
    let none = (&b""[..], text);
    let Some(colon) = memmem::find(text, b": ") else { return none };
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
            let path = memmem::find(first, b"::").is_some();
            let listed = !path && is_name(first) && memmem::find(next, b"::").is_some();
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

/// Gives what spans know of a request to the record: Meilisearch's `HTTP request{method=GET …}`.
fn members_of_spans<'a>(spans: &'a [u8], slots: &mut Slots<'a>, scratch: &mut Scratch) {
    if let Some(open) = memchr::memchr(b'{', spans)
        && let Some(inner) = spans[open + 1..].strip_suffix(b"}")
        && memchr::memchr2(b'{', b'}', inner).is_none()
    {
        pairs::take_all(inner, slots, scratch);
    }
}

/// The target and what is behind its colon.
fn target(text: &[u8]) -> (&[u8], &[u8]) {
    let end = memmem::find(&text[..text.len().min(200)], b": ").filter(|end| is_name(&text[..*end]));
    end.map_or((b"", text), |end| (&text[..end], &text[end + 2..]))
}
