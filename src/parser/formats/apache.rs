//! Apache httpd: access log (`access`; also with the virtual host in front) and error log.
//!
//! 2.4: `[Sat Nov 21 13:00:00.123456 2026] [core:error] [pid 31:tid 140] (13)Permission denied: [client 10.0.0.1:5000] AH00035: …,
//! referer: http://…`. 2.2 has only the level in the second brackets and no third. Brackets that are not known stay in the message.

use super::access::{self, address_of, peer_of};
use super::cut::{bracketed, find, is_number, split};
use super::{Format, Refused};
use crate::parser::encode::{Draft, Str};
use crate::parser::fields::Fields;
use crate::parser::level;
use memchr::memmem;

/// Reads an access or an error line.
pub(crate) fn parse<'a>(text: &'a [u8], fields: &mut Fields) -> Result<Draft<'a>, Refused> {
    match text.first() {
        Some(b'[') => error(text, fields),
        Some(b'A') if text.starts_with(b"AH") => startup(text, fields),
        _ => access::parse(text, Some(Format::Apache), fields),
    }
    .ok_or("neither an Apache access nor an Apache error line")
}

/// `AH00558: httpd: message`, which it writes while it has no log yet.
pub(crate) fn startup<'a>(text: &'a [u8], fields: &mut Fields) -> Option<Draft<'a>> {
    let (code, _) = split(text, b':')?;
    if code.len() != 7 || !is_number(&code[2..]) || !text[7..].starts_with(b": ") {
        return None;
    }
    fields.push(b"code", Str::Raw(code));
    Some(Draft::new(Format::Apache.service_type(), "error", Str::Raw(text)))
}

/// Reads a line of the error log.
pub(crate) fn error<'a>(text: &'a [u8], fields: &mut Fields) -> Option<Draft<'a>> {
    let (time, rest) = bracketed(text)?;
    let (what, rest) = bracketed(rest.strip_prefix(b" ")?)?;
    let (module, word) = split(what, b':').unwrap_or((b"", what));
    // `trace1` to `trace8`
    let name = word.strip_suffix(b"1").unwrap_or(word);
    let level = level::of_word(if word.starts_with(b"trace") { b"trace" } else { name })?;
    if time.len() < 24 || !time[..3].iter().all(u8::is_ascii_alphabetic) || !fields.app_time(time) {
        return None;
    }
    fields.level(Some(level), word);
    if !module.is_empty() {
        fields.push(b"module", Str::Raw(module));
    }
    let mut rest = rest.strip_prefix(b" ").unwrap_or(rest);
    if let Some((ids, behind)) = bracketed(rest)
        && let Some(ids) = ids.strip_prefix(b"pid ")
    {
        let (pid, tid) = find(ids, b":tid ").map_or((ids, &b""[..]), |at| (&ids[..at], &ids[at + 5..]));
        fields.push(b"pid", Str::Raw(pid));
        if !tid.is_empty() {
            fields.push(b"tid", Str::Raw(tid));
        }
        rest = behind.strip_prefix(b" ").unwrap_or(behind);
    }
    let mut draft = Draft::new(Format::Apache.service_type(), "error", Str::EMPTY);
    draft.level = Some(level);
    // `request.c(312): `, where it is told more
    if let Some((file, behind)) = split(rest, b')').and_then(|(file, behind)| Some((file, behind.strip_prefix(b": ")?)))
        && split(file, b'(').is_some_and(|(name, line)| name.ends_with(b".c") && is_number(line))
    {
        fields.push(b"source", Str::Raw(&rest[..=file.len()]));
        rest = behind;
    }
    // `(13)Permission denied: ` of the system.
    if rest.first() == Some(&b'(')
        && let Some(at) = find(rest, b": [client ").or_else(|| find(rest, b": AH"))
        && let Some((number, why)) = split(&rest[1..at], b')')
        && is_number(number)
    {
        fields.push(b"errno", Str::Raw(number));
        fields.push(b"error", Str::Raw(why));
        rest = &rest[at + 2..];
    }
    if let Some((client, behind)) = bracketed(rest)
        && let Some(client) = client.strip_prefix(b"client ")
    {
        // IPv6 addresses stand before their port without brackets; 2.2, which has no modules, writes no port.
        match memchr::memrchr(b':', client).filter(|at| !module.is_empty() || client[..*at].contains(&b'.')) {
            Some(at) if is_number(&client[at + 1..]) && !client.starts_with(b"[") => {
                address_of(&client[..at], b"host", &mut draft, fields);
                fields.push(b"client", Str::Raw(client));
            }
            _ => peer_of(client, b"client", &mut draft, fields),
        }
        rest = behind.strip_prefix(b" ").unwrap_or(behind);
    }
    if let Some((code, _)) = split(rest, b':')
        && code.starts_with(b"AH")
        && is_number(&code[2..])
    {
        fields.push(b"code", Str::Raw(code));
    }
    if let Some(at) = memmem::rfind(rest, b", referer: ") {
        fields.push(b"referer", Str::Raw(&rest[at + 11..]));
        rest = &rest[..at];
    }
    draft.message = Str::Raw(rest);
    Some(draft)
}
