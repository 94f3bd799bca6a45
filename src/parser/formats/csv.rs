//! PostgreSQL's csvlog: 23 columns up to version 12, 24 in 13, 26 from 14 on (documentation, table "csvlog").
//!
//! Values with commas, quotes or newlines are in quotes, a quote inside of them is doubled. Empty is not there.

use super::Format;
use super::access::peer_of;
use super::postgres;
use crate::parser::encode::{Draft, Str};
use crate::parser::fields::Fields;

/// The columns in their order; those that have a place of their own have no name.
const COLUMNS: [&[u8]; 26] = [
    b"", // time
    b"user",
    b"database",
    b"pid",
    b"", // connection_from
    b"session_id",
    b"log_line",
    b"command_tag",
    b"session_start",
    b"vxid",
    b"txid",
    b"", // severity
    b"sqlstate",
    b"", // message
    b"detail",
    b"hint",
    b"internal_query",
    b"internal_query_pos",
    b"context",
    b"statement",
    b"statement_pos",
    b"location",
    b"application",
    b"backend_type",
    b"leader_pid",
    b"query_id",
];

const TIME: usize = 0;
const CLIENT: usize = 4;
const SEVERITY: usize = 11;
const MESSAGE: usize = 13;

/// Reads a line.
pub(crate) fn parse<'a>(text: &'a [u8], fields: &mut Fields) -> Option<Draft<'a>> {
    let time = columns(text).next()?;
    let severity = columns(text).nth(SEVERITY)?;
    let level = postgres::level_of(severity)?;
    if !postgres::is_time(time) || !matches!(columns(text).count(), 23..=26) || !columns(text).all(is_whole) {
        return None;
    }
    let mut draft = Draft::new(Format::Postgres.service_type(), "structured", Str::EMPTY);
    draft.level = Some(level);
    for (number, column) in columns(text).enumerate() {
        if column.is_empty() || column == b"\"\"" {
            continue;
        }
        let plain = column.strip_prefix(b"\"").and_then(|column| column.strip_suffix(b"\""));
        let value = match plain {
            Some(inner) if memchr::memchr(b'"', inner).is_some() => fields.keep_doubled(inner),
            _ => Str::Raw(plain.unwrap_or(column)),
        };
        match number {
            TIME => _ = fields.app_time(column),
            CLIENT => peer_of(plain.unwrap_or(column), b"client", &mut draft, fields),
            SEVERITY => fields.level(Some(level), column),
            MESSAGE => {
                draft.message = value;
                if let Some(duration) = plain.and_then(postgres::duration) {
                    fields.push(b"duration_ms", Str::Raw(duration));
                }
            }
            _ => fields.push(COLUMNS[number], value),
        }
    }
    Some(draft)
}

/// Columns, those in quotes with their quotes.
fn columns(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let mut end = 0;
        if text.first() == Some(&b'"') {
            end = 1;
            // A doubled quote ends one part and begins the next.
            while let Some(at) = memchr::memchr(b'"', &text[end..]) {
                end += at + 1;
                if text.get(end) != Some(&b'"') {
                    break;
                }
                end += 1;
            }
        }
        let comma = memchr::memchr(b',', &text[end..]).map(|at| end + at);
        rest = comma.map(|at| &text[at + 1..]);
        Some(&text[..comma.unwrap_or(text.len())])
    })
}

/// Whether a column in quotes has both of them, and nothing behind.
fn is_whole(column: &[u8]) -> bool {
    let Some(inner) = column.strip_prefix(b"\"") else { return memchr::memchr(b'"', column).is_none() };
    let Some(inner) = inner.strip_suffix(b"\"") else { return false };
    let mut quotes = 0;
    inner.iter().all(|byte| {
        let single = *byte != b'"' && quotes % 2 == 1;
        quotes = if *byte == b'"' { quotes + 1 } else { 0 };
        !single
    }) && quotes % 2 == 0
}
