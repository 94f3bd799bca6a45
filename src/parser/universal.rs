//! Which format a line is read with.
//!
//! - **Explicit** (the container's label, then `SERVICE_PARSER_MAPPINGS`, then `RASK_FORMAT`): that format; a line it refuses
//!   is counted and read automatically. When nothing recognizes it, it is sent as it is, as a line of the service all the
//!   same, with the reason in `fields.parse_error`.
//! - **Automatic**: told by the line alone (`formats::detect`); only a line that continues a PostgreSQL message is one because
//!   of the lines before.

use super::encode::{Draft, Str};
use super::formats::{self, Format, Refused, Scratch, detect, json, plain, postgres};

/// A line read.
#[derive(Debug)]
pub(crate) struct Read<'a> {
    pub(crate) draft: Draft<'a>,
    /// Who took it.
    pub(crate) format: Format,
    /// Who should have taken it and did not.
    pub(crate) failed: Option<Format>,
}

/// Reads `text`; `explicit` is what was asked for, `sticky` the format of the stream's last line that was recognized.
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
        read.draft = plain::parse(text, asked, &mut scratch.fields);
    }
    read
}

#[inline]
fn automatic<'a>(text: &'a [u8], sticky: &mut Option<Format>, scratch: &mut Scratch) -> Read<'a> {
    if let Some((draft, format)) = detect::read(text, scratch) {
        *sticky = Some(format);
        return Read { draft, format, failed: None };
    }
    scratch.fields.clear();
    // A tab continues a PostgreSQL message only where there is one.
    if text.first() == Some(&b'\t')
        && *sticky == Some(Format::Postgres)
        && let Ok(draft) = postgres::parse(text, &mut scratch.fields)
    {
        return Read { draft, format: Format::Postgres, failed: None };
    }
    // An object that is broken is worth saying so; a brace at the start of prose is not.
    let mut failed = None;
    if is_object(text)
        && let Err(why) = json::parse(text, None, scratch)
    {
        scratch.fields.clear();
        scratch.fields.push(b"parse_error", Str::Raw(why.as_bytes()));
        failed = Some(Format::Json);
    }
    Read { draft: plain::parse(text, Format::Plain, &mut scratch.fields), format: Format::Plain, failed }
}

fn is_object(text: &[u8]) -> bool {
    text.strip_prefix(b"{").is_some_and(|rest| rest.trim_ascii_start().first() == Some(&b'"'))
}
