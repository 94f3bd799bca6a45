//! One JSON object a line: Go's `slog`, `zap`, `zerolog` and `logrus`, Python's `structlog`, Rust's `tracing`, Node's
//! loggers, Meilisearch, PostgreSQL's jsonlog, nginx where it is set up so, and everything else that writes such lines. Which
//! key means what is in `slots`.
//!
//! Text before the object stays: as the message where the object has none, else as `fields.prefix`.

use super::slots::Slots;
use super::{Format, Refused, Scratch, plain, postgres};
use crate::parser::encode::{Draft, Str};
use crate::parser::json::{Member, Members, Value};
use memchr::memmem;

/// Reads an object; without a `family` it is told by the keys.
#[inline]
pub(crate) fn parse<'a>(text: &'a [u8], family: Option<Format>, scratch: &mut Scratch) -> Result<Draft<'a>, Refused> {
    if is_jsonlog(text) {
        return jsonlog(text, scratch);
    }
    let quotes = scratch.quotes.take(text);
    let read = object(text, quotes.as_slice(), family, scratch);
    scratch.quotes.give_back(quotes);
    read
}

#[inline]
fn object<'a>(
    text: &'a [u8],
    quotes: &[u32],
    family: Option<Format>,
    scratch: &mut Scratch,
) -> Result<Draft<'a>, Refused> {
    let mut members = Members::with(text, quotes)?;
    let mut slots = Slots::new();
    while let Some(member) = members.step()? {
        slots.take(&member, scratch);
    }
    Ok(slots.finish(family, scratch))
}

/// Whether this is PostgreSQL's: its time comes first, with a space behind the date.
#[inline]
fn is_jsonlog(text: &[u8]) -> bool {
    text.get(24) == Some(&b' ')
        && text.starts_with(b"{\"timestamp\":\"")
        && memmem::find(text, b"\"error_severity\":\"").is_some()
}

/// PostgreSQL's jsonlog: the same names in `fields` as for its other logs.
fn jsonlog<'a>(text: &'a [u8], scratch: &mut Scratch) -> Result<Draft<'a>, Refused> {
    let mut members = Members::of(text)?;
    let mut slots = Slots::new();
    while let Some(member) = members.next()? {
        let name: &[u8] = match member.key.inner {
            b"dbname" => b"database",
            b"state_code" => b"sqlstate",
            b"line_num" => b"log_line",
            b"ps" => b"command_tag",
            b"application_name" => b"application",
            b"timestamp" => {
                time(&member, &mut slots, scratch);
                continue;
            }
            _ => {
                duration(&member, scratch);
                slots.take(&member, scratch);
                continue;
            }
        };
        slots.take_as(name, &member, scratch);
    }
    Ok(slots.finish(Some(Format::Postgres), scratch))
}

fn time<'a>(member: &Member<'a>, slots: &mut Slots<'a>, scratch: &mut Scratch) {
    match member.value {
        Value::String(value) if !value.escaped => slots.set_time(value.inner, scratch),
        _ => slots.take(member, scratch),
    }
}

fn duration(member: &Member<'_>, scratch: &mut Scratch) {
    if member.key.inner == b"message"
        && let Value::String(value) = member.value
        && let Some(duration) = postgres::duration(value.inner)
    {
        scratch.fields.push(b"duration_ms", Str::Raw(duration));
    }
}

/// Objects that are tried in a line with text before one.
const TRIES: usize = 4;

/// Reads `text {…}`.
pub(crate) fn behind_text<'a>(text: &'a [u8], family: Option<Format>, scratch: &mut Scratch) -> Option<Draft<'a>> {
    if text.last() != Some(&b'}') {
        return None;
    }
    let at = memmem::find_iter(text, b" {\"").take(TRIES).find(|at| Members::are_good(&text[at + 1..]))?;
    let (before, object) = (text[..at].trim_ascii_end(), &text[at + 1..]);
    let mut slots = Slots::new();
    slots.take_object(object, scratch);
    slots.default_level(plain::level_of(before));
    if !slots.has_time()
        && let Some(time) = plain::leading_time(before)
    {
        slots.set_time(time, scratch);
    }
    match slots.has_message() {
        true => scratch.fields.push(b"prefix", Str::Raw(before)),
        false => slots.set_message(before),
    }
    Some(slots.finish(family, scratch))
}
