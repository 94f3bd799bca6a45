//! PostgreSQL's stderr log with a `log_line_prefix` that begins with time and process: the default `%m [%p] `, Debian's
//! `%m [%p] %q%u@%d `, and what is usual behind the process (`user=%u,db=%d,app=%a,client=%h`, `%e`).
//!
//! `2026-11-21 13:00:00.123 UTC [31] postgres@shop ERROR:  relation "x" does not exist`. Each line is a record; DETAIL, HINT,
//! CONTEXT, STATEMENT and their like say so in `fields.kind` and have no level. A line that continues a message begins with
//! a tab and has no prefix at all.

use super::{Format, Refused};
use crate::parser::encode::{Draft, Str};
use crate::parser::fields::Fields;
use crate::parser::level::Level;
use memchr::memchr;

/// Reads a line with a prefix, or one that continues a message.
pub(crate) fn parse<'a>(text: &'a [u8], fields: &mut Fields) -> Result<Draft<'a>, Refused> {
    if text.first() == Some(&b'\t') {
        return Ok(Draft::new(Format::Postgres.service_type(), "plain", Str::Raw(&text[1..])));
    }
    line(text, fields).ok_or("not a PostgreSQL line with time and process in front")
}

fn line<'a>(text: &'a [u8], fields: &mut Fields) -> Option<Draft<'a>> {
    let (time, rest) = time(text)?;
    let (pid, rest) = process(rest)?;
    // Two spaces follow the severity, and hardly anything else.
    let colon = memchr::memchr_iter(b':', rest).find(|at| rest[*at + 1..].starts_with(b"  "))?;
    let start = memchr::memrchr(b' ', &rest[..colon]).map_or(0, |at| at + 1);
    let (word, message) = (&rest[start..colon], &rest[colon + 3..]);
    let severity = severity(word)?;
    let mut draft = Draft::new(Format::Postgres.service_type(), "structured", Str::Raw(message));
    fields.put(b"app_time", Str::Raw(time));
    match severity {
        Severity::Level(level) => {
            draft.level = Some(level);
            if !level.is_called(word) {
                fields.put(b"level", Str::Raw(word));
            }
        }
        Severity::Kind(kind) => fields.put(b"kind", Str::Raw(kind)),
    }
    fields.put(b"pid", Str::Raw(pid));
    prefix(rest[..start].trim_ascii(), &mut draft, fields);
    if let Some(duration) = duration(message) {
        fields.put(b"duration_ms", Str::Raw(duration));
    }
    Some(draft)
}

/// `YYYY-MM-DD HH:MM:SS[.mmm] zone `, and what is behind it.
#[inline]
fn time(text: &[u8]) -> Option<(&[u8], &[u8])> {
    const SHAPE: &[u8; 19] = b"dddd-dd-dd dd:dd:dd";
    let head = text.first_chunk::<19>()?;
    let fits =
        head.iter().zip(SHAPE).all(|(byte, shape)| if *shape == b'd' { byte.is_ascii_digit() } else { byte == shape });
    if !fits {
        return None;
    }
    let mut at = 19;
    if text.get(at) == Some(&b'.') {
        at += 1 + text[at + 1..].iter().take_while(|b| b.is_ascii_digit()).count();
    }
    let zone = text[at..].strip_prefix(b" ")?;
    let len = memchr(b' ', &zone[..zone.len().min(40)])?;
    let is_zone = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b':' | b'/' | b'_');
    (len > 0 && zone[..len].iter().all(is_zone)).then(|| (&text[..at + 1 + len], &zone[len + 1..]))
}

/// `[31] `, `[31-2] ` or `[31]: `: the number, and what is behind.
#[inline]
fn process(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let inner = text.strip_prefix(b"[")?;
    let end = memchr(b']', &inner[..inner.len().min(24)])?;
    let digits = inner[..end].iter().take_while(|b| b.is_ascii_digit()).count();
    let rest = &inner[end + 1..];
    let rest = rest.strip_prefix(b":").unwrap_or(rest).strip_prefix(b" ")?;
    let good = digits > 0 && (digits == end || inner[digits] == b'-');
    good.then(|| (&inner[..digits], rest.trim_ascii_start()))
}

enum Severity {
    Level(Level),
    Kind(&'static [u8]),
}

#[inline]
fn severity(word: &[u8]) -> Option<Severity> {
    Some(match word {
        b"LOG" | b"INFO" | b"NOTICE" => Severity::Level(Level::Info),
        b"ERROR" => Severity::Level(Level::Error),
        b"WARNING" => Severity::Level(Level::Warn),
        b"FATAL" | b"PANIC" => Severity::Level(Level::Fatal),
        b"DEBUG" | b"DEBUG1" | b"DEBUG2" | b"DEBUG3" | b"DEBUG4" | b"DEBUG5" => Severity::Level(Level::Debug),
        b"DETAIL" => Severity::Kind(b"detail"),
        b"HINT" => Severity::Kind(b"hint"),
        b"CONTEXT" => Severity::Kind(b"context"),
        b"STATEMENT" => Severity::Kind(b"statement"),
        b"QUERY" => Severity::Kind(b"query"),
        b"LOCATION" => Severity::Kind(b"location"),
        b"BACKTRACE" => Severity::Kind(b"backtrace"),
        _ => return None,
    })
}

/// What stands between process and severity: `user@database`, pairs, an SQLSTATE; anything else whole in `fields.prefix`.
#[inline]
fn prefix<'a>(text: &'a [u8], draft: &mut Draft<'a>, fields: &mut Fields) {
    if text.is_empty() {
        return;
    }
    let one_word = memchr(b' ', text).is_none();
    if one_word
        && memchr(b'=', text).is_none()
        && let Some(at) = memchr(b'@', text)
    {
        fields.put(b"user", Str::Raw(&text[..at]));
        fields.put(b"database", Str::Raw(&text[at + 1..]));
    } else if text.len() == 5 && text.iter().all(|b| b.is_ascii_digit() || b.is_ascii_uppercase()) {
        fields.put(b"sqlstate", Str::Raw(text));
    } else if memchr(b'=', text).is_none() || !pairs(text, draft, fields) {
        fields.put(b"prefix", Str::Raw(text));
    }
}

/// `user=postgres,db=shop,app=psql,client=10.0.0.7`; false, and nothing done, when there is anything else.
fn pairs<'a>(text: &'a [u8], draft: &mut Draft<'a>, fields: &mut Fields) -> bool {
    let known = |pair: &'a [u8]| -> Option<(&'static [u8], &'a [u8])> {
        let at = memchr(b'=', pair)?;
        let key: &[u8] = match &pair[..at] {
            b"user" => b"user",
            b"db" | b"database" => b"database",
            b"app" | b"application" => b"application",
            b"client" | b"host" => b"client",
            _ => return None,
        };
        Some((key, &pair[at + 1..]))
    };
    if text.split(|b| *b == b',').any(|pair| known(pair).is_none()) {
        return false;
    }
    for (key, value) in text.split(|b| *b == b',').filter_map(known) {
        let is_address = std::str::from_utf8(value).is_ok_and(|value| value.parse::<std::net::IpAddr>().is_ok());
        if key == b"client" && is_address && draft.ip_address.is_none() {
            draft.ip_address = Some(Str::Raw(value));
        } else if !value.is_empty() {
            fields.push(key, Str::Raw(value));
        }
    }
    true
}

/// `duration: 12.345 ms…`.
#[inline]
fn duration(message: &[u8]) -> Option<&[u8]> {
    let rest = message.strip_prefix(b"duration: ")?;
    let len = rest.iter().take_while(|b| b.is_ascii_digit() || **b == b'.').count();
    (len > 0 && rest[len..].starts_with(b" ms")).then(|| &rest[..len])
}
