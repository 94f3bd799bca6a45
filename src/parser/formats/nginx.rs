//! nginx: access log (`access`) and error log.
//!
//! Error: `2026/11/21 13:00:00 [error] 31#31: *1 message, client: …, server: …, request: "…", upstream: "…", host: "…"`.

use super::access::{self, address_of, quoted, request_of};
use super::cut::{find, has_shape, split};
use super::slots::natural;
use super::{Format, Refused};
use crate::parser::encode::{Draft, Str};
use crate::parser::fields::Fields;
use crate::parser::level;

/// Reads an access or an error line.
pub(crate) fn parse<'a>(text: &'a [u8], fields: &mut Fields) -> Result<Draft<'a>, Refused> {
    const REFUSED: Refused = "neither an nginx access nor an nginx error line";
    match text.get(4) {
        Some(b'/') if is_error_time(text) => error(text, fields),
        Some(b'x') if text.starts_with(b"nginx: [") => startup(text, fields),
        _ => access::parse(text, Some(Format::Nginx), fields),
    }
    .ok_or(REFUSED)
}

/// Whether the line begins as the error log does.
#[inline]
pub(crate) fn is_error_time(text: &[u8]) -> bool {
    has_shape(text, b"dddd/dd/dd dd:dd:dd [")
}

/// Reads a line of the error log.
pub(crate) fn error<'a>(text: &'a [u8], fields: &mut Fields) -> Option<Draft<'a>> {
    let (word, rest) = split(&text[21..], b']')?;
    let level = level::of_word(word)?;
    let (ids, rest) = split(rest.strip_prefix(b" ")?, b':')?;
    let (pid, tid) = split(ids, b'#')?;
    natural(pid).and(natural(tid))?;
    let mut message = rest.strip_prefix(b" ").unwrap_or(rest);
    fields.app_time(&text[..19]);
    fields.level(Some(level), word);
    fields.put(b"pid", Str::Raw(pid));
    fields.put(b"tid", Str::Raw(tid));
    if let Some((connection, rest)) = message.strip_prefix(b"*").and_then(|rest| split(rest, b' '))
        && natural(connection).is_some()
    {
        fields.put(b"connection", Str::Raw(connection));
        message = rest;
    }
    let mut draft = Draft::new(Format::Nginx.service_type(), "error", Str::Raw(message));
    draft.level = Some(level);
    if let Some(at) = find(message, b", client: ") {
        draft.message = Str::Raw(&message[..at]);
        context(&message[at..], &mut draft, fields);
    }
    Some(draft)
}

/// `nginx: [emerg] message`, which nginx writes while it has no log yet.
pub(crate) fn startup<'a>(text: &'a [u8], fields: &mut Fields) -> Option<Draft<'a>> {
    let (word, message) = split(text.strip_prefix(b"nginx: [")?, b']')?;
    let level = level::of_word(word)?;
    fields.level(Some(level), word);
    let mut draft = Draft::new(Format::Nginx.service_type(), "error", Str::Raw(message.strip_prefix(b" ")?));
    draft.level = Some(level);
    Some(draft)
}

/// `, key: value, key: "value", …`, each key once; from what is not so on, the rest goes to `fields.extra`.
fn context<'a>(mut rest: &'a [u8], draft: &mut Draft<'a>, fields: &mut Fields) {
    const KEYS: [&[u8]; 10] = [
        b"client",
        b"server",
        b"request",
        b"upstream",
        b"host",
        b"referrer",
        b"login",
        b"subrequest",
        b"bytes from/to client",
        b"bytes from/to upstream",
    ];
    let mut seen = [false; KEYS.len()];
    while !rest.is_empty() {
        let pair = rest.strip_prefix(b", ").and_then(|pair| {
            let at = find(pair, b": ")?;
            let number = KEYS.into_iter().position(|key| key == &pair[..at])?;
            let new = !std::mem::replace(&mut seen[number], true);
            new.then_some((KEYS[number], &pair[at + 2..]))
        });
        let Some((key, behind)) = pair else {
            fields.put(b"extra", Str::Raw(rest.strip_prefix(b", ").unwrap_or(rest)));
            return;
        };
        let bare = || behind.split_at(find(behind, b", ").unwrap_or(behind.len()));
        let (value, behind) = in_quotes(behind, &KEYS).or_else(|| quoted(behind)).unwrap_or_else(bare);
        match key {
            b"client" => address_of(value, key, draft, fields),
            b"request" => request_of(value, false, draft, fields),
            b"referrer" => fields.put(b"referer", Str::Raw(value)),
            key => fields.put(key, Str::Raw(value)),
        }
        rest = behind;
    }
}

/// A value in quotes, which nginx leaves alone inside of it: it ends where another key follows, or nothing.
fn in_quotes<'a>(text: &'a [u8], keys: &[&[u8]]) -> Option<(&'a [u8], &'a [u8])> {
    let inner = text.strip_prefix(b"\"")?;
    let ends = |at: &usize| {
        let behind = &inner[at + 1..];
        behind.is_empty()
            || behind.strip_prefix(b", ").is_some_and(|behind| {
                keys.iter().any(|key| behind.strip_prefix(*key).is_some_and(|behind| behind.starts_with(b": ")))
            })
    };
    let end = memchr::memchr_iter(b'"', inner).find(ends)?;
    Some((&inner[..end], &inner[end + 1..]))
}
