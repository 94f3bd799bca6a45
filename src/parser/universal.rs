//! Which format a line is read with.
//!
//! - **Explicit** (the container's label, then `SERVICE_PARSER_MAPPINGS`, then `RASK_FORMAT`): that format; a line it refuses
//!   is counted and read automatically. When nothing recognizes it, it is sent as it is, as a line of the service all the
//!   same, with the reason in `fields.parse_error`.
//! - **Automatic**: the format that took the stream's last line is tried first, then all others in a fixed order. Every
//!   format but plain is strict about what it takes, so the order changes the cost and not the answer; only a line that
//!   continues a PostgreSQL message is one because of the line before.

use super::encode::{Draft, Str};
use super::formats::{self, Format, Refused, Scratch, json, logfmt, nginx, plain, postgres};

/// A line read.
#[derive(Debug)]
pub(crate) struct Read<'a> {
    pub(crate) draft: Draft<'a>,
    /// Who took it.
    pub(crate) format: Format,
    /// Who should have taken it and did not.
    pub(crate) failed: Option<Format>,
}

/// Reads `text`; `explicit` is what was asked for, `sticky` the format of the stream's last line.
#[inline]
pub(crate) fn read<'a>(
    text: &'a [u8],
    explicit: Option<Format>,
    sticky: &mut Option<Format>,
    scratch: &mut Scratch,
) -> Read<'a> {
    let Some(format) = explicit else { return automatic(text, sticky, scratch) };
    match formats::parse(format, text, scratch) {
        Ok(draft) => Read { draft, format, failed: None },
        Err(why) => not_as_asked(text, format, why, scratch),
    }
}

#[cold]
fn not_as_asked<'a>(text: &'a [u8], asked: Format, why: Refused, scratch: &mut Scratch) -> Read<'a> {
    // What comes before must not matter to a line that is an exception.
    let mut read = automatic(text, &mut None, scratch);
    read.failed = Some(asked);
    if read.format == Format::Plain {
        scratch.fields.clear();
        scratch.fields.push(b"parse_error", Str::Raw(why.as_bytes()));
        read.draft = plain::parse(text, asked);
    }
    read
}

#[inline]
fn automatic<'a>(text: &'a [u8], sticky: &mut Option<Format>, scratch: &mut Scratch) -> Read<'a> {
    if let Some(format) = *sticky
        && let Some(draft) = attempt(format, text, scratch)
    {
        return Read { draft, format, failed: None };
    }
    for format in [Format::Json, Format::Postgres, Format::Nginx, Format::Go] {
        // A tab continues a PostgreSQL message only where there is one.
        let continues = format == Format::Postgres && text.first() == Some(&b'\t');
        if *sticky != Some(format)
            && !continues
            && let Some(draft) = attempt(format, text, scratch)
        {
            *sticky = Some(format);
            return Read { draft, format, failed: None };
        }
    }
    scratch.fields.clear();
    // An object that is broken is worth saying so; a brace at the start of prose is not.
    let mut failed = None;
    if is_object(text)
        && let Err(why) = json::parse(text, None, scratch)
    {
        scratch.fields.clear();
        scratch.fields.push(b"parse_error", Str::Raw(why.as_bytes()));
        failed = Some(Format::Json);
    }
    Read { draft: plain::parse(text, Format::Plain), format: Format::Plain, failed }
}

/// Reads `text` as `format` if its first bytes look so. JSON tells its family itself; Go here means logfmt.
#[inline]
fn attempt<'a>(format: Format, text: &'a [u8], scratch: &mut Scratch) -> Option<Draft<'a>> {
    let first = *text.first()?;
    let looks_so = match format {
        Format::Json => first == b'{',
        Format::Postgres => first.is_ascii_digit() || first == b'\t',
        Format::Nginx => nginx::looks_so(text),
        Format::Go => logfmt::looks_so(text),
        _ => false,
    };
    if !looks_so {
        return None;
    }
    scratch.fields.clear();
    match format {
        Format::Json => json::parse(text, None, scratch).ok(),
        Format::Postgres => postgres::parse(text, &mut scratch.fields).ok(),
        Format::Nginx => nginx::parse(text, &mut scratch.fields).ok(),
        _ => logfmt::parse(text, scratch).ok(),
    }
}

fn is_object(text: &[u8]) -> bool {
    text.strip_prefix(b"{").is_some_and(|rest| rest.trim_ascii_start().first() == Some(&b'"'))
}
