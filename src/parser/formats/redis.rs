//! Redis and Valkey: `1:M 21 Nov 2026 13:00:00.123 * Ready to accept connections` (`server.c`, `serverLogRaw`).
//!
//! Process, role (`X` sentinel, `C` child, `S` replica, `M` master), time, and a mark for the level: `.` debug, `-` verbose,
//! `*` notice, `#` warning. A signal's handler writes `1:signal-handler (1795266000) Received SIGTERM …`. With
//! `log-format logfmt` Valkey writes `pid=1 role=primary timestamp="…" level=notice message="…"`.

use super::cut::{has_shape, is_number, split};
use super::{Format, Refused, Scratch, logfmt};
use crate::parser::app_time;
use crate::parser::encode::{Draft, Str};
use crate::parser::fields::Fields;
use crate::parser::level::Level;

/// Whether the line begins with a process and a role.
#[inline]
pub(crate) fn looks_so(text: &[u8]) -> bool {
    let digits = text.iter().take(11).take_while(|b| b.is_ascii_digit()).count();
    digits > 0
        && matches!(text.get(digits..), Some([b':', b'X' | b'C' | b'S' | b'M', b' ', ..] | [b':', b's', b'i', ..]))
}

/// Whether pairs are Valkey's: nobody else begins with these two.
pub(crate) fn is_logfmt(text: &[u8]) -> bool {
    let behind = text.strip_prefix(b"pid=").and_then(|rest| split(rest, b' '));
    behind.is_some_and(|(pid, rest)| is_number(pid) && rest.starts_with(b"role="))
}

/// Reads a line that was asked for.
pub(crate) fn parse_any<'a>(text: &'a [u8], scratch: &mut Scratch) -> Result<Draft<'a>, Refused> {
    match is_logfmt(text) {
        true => logfmt::parse(text, Some(Format::Redis), scratch),
        false => parse(text, &mut scratch.fields),
    }
}

/// Reads a line.
pub(crate) fn parse<'a>(text: &'a [u8], fields: &mut Fields) -> Result<Draft<'a>, Refused> {
    line(text, fields).or_else(|| handler(text, fields)).ok_or("not a Redis line with process, role and time in front")
}

fn line<'a>(text: &'a [u8], fields: &mut Fields) -> Option<Draft<'a>> {
    let (pid, rest) = split(&text[..text.len().min(16)], b':').map(|(pid, _)| (pid, &text[pid.len() + 1..]))?;
    let (role, rest): (&[u8], &[u8]) = match rest {
        [b'X', b' ', rest @ ..] => (b"sentinel", rest),
        [b'C', b' ', rest @ ..] => (b"child", rest),
        [b'S', b' ', rest @ ..] => (b"replica", rest),
        [b'M', b' ', rest @ ..] => (b"master", rest),
        _ => return None,
    };
    // Before version 5 there is no year.
    let (len, known) = match rest.get(7) {
        Some(b'0'..=b'9') if rest.get(9) == Some(&b':') => (19, has_shape(&rest[6..], b" dd:dd:dd.ddd ")),
        _ => (24, has_shape(rest.get(6..)?, b" dddd dd:dd:dd.ddd ")),
    };
    if !is_number(pid) || !known {
        return None;
    }
    let (mark, message) = rest[len + 1..].split_first()?;
    let (level, word): (_, &[u8]) = match mark {
        b'.' => (Level::Debug, b"debug"),
        b'-' => (Level::Debug, b"verbose"),
        b'*' => (Level::Info, b"notice"),
        b'#' => (Level::Warn, b"warning"),
        _ => return None,
    };
    let mut draft = Draft::new(Format::Redis.service_type(), "structured", Str::Raw(message.strip_prefix(b" ")?));
    if app_time::month(&rest[3..6]).is_none() || (!fields.app_time(&rest[..len]) && len == 24) {
        return None;
    }
    draft.level = Some(level);
    fields.level(Some(level), word);
    fields.push(b"pid", Str::Raw(pid));
    fields.push(b"role", Str::Raw(role));
    Some(draft)
}

/// What the handler of a signal writes: a warning without role and mark.
fn handler<'a>(text: &'a [u8], fields: &mut Fields) -> Option<Draft<'a>> {
    let (pid, rest) = split(text, b':')?;
    let (time, message) = split(rest.strip_prefix(b"signal-handler (")?, b')')?;
    if !is_number(pid) || !is_number(time) {
        return None;
    }
    let mut draft = Draft::new(Format::Redis.service_type(), "structured", Str::Raw(message.strip_prefix(b" ")?));
    draft.level = Some(Level::Warn);
    fields.app_time(time);
    fields.push(b"pid", Str::Raw(pid));
    fields.push(b"role", Str::Raw(b"signal-handler"));
    Some(draft)
}
