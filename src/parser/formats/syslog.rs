//! syslog as text: RFC 5424, RFC 3164, and the lines of files that rsyslog and syslog-ng write, which have no priority.
//!
//! | | line |
//! |---|---|
//! | RFC 5424 | `<34>1 2026-11-21T13:00:00.003Z host app 7 ID47 [example@32473 key="value"] message` |
//! | RFC 3164 | `<34>Nov 21 13:00:00 host app[7]: message` |
//! | without host, tag or time | `<34>Nov 21 13:00:00 app[7]: message`, `<34>Nov 21 13:00:00 host message`, `<34>message` |
//! | files | `Nov 21 13:00:00 host app[7]: message`, `2026-11-21T13:00:00.123456+00:00 host app[7]: message` |
//!
//! The priority is `8 × facility + severity`: the severity becomes `level` (and `fields.level` where the word says more), the
//! facility `fields.facility`. A time without a year stays as it stands. Structured data become fields `id.key`.

use super::cut::{has_shape, is_number, split};
use super::plain;
use super::slots::exact;
use super::{Format, Refused, Scratch};
use crate::parser::app_time;
use crate::parser::encode::{Draft, Str};
use crate::parser::fields::Fields;
use crate::parser::level;
use memchr::memchr;

const SEVERITIES: [&[u8]; 8] = [b"emerg", b"alert", b"crit", b"err", b"warning", b"notice", b"info", b"debug"];

const FACILITIES: [&[u8]; 24] = [
    b"kern",
    b"user",
    b"mail",
    b"daemon",
    b"auth",
    b"syslog",
    b"lpr",
    b"news",
    b"uucp",
    b"cron",
    b"authpriv",
    b"ftp",
    b"ntp",
    b"security",
    b"console",
    b"solaris-cron",
    b"local0",
    b"local1",
    b"local2",
    b"local3",
    b"local4",
    b"local5",
    b"local6",
    b"local7",
];

/// Reads a line of any of them.
pub(crate) fn parse<'a>(text: &'a [u8], scratch: &mut Scratch) -> Result<Draft<'a>, Refused> {
    let fields = &mut scratch.fields;
    match text.first() {
        Some(b'<') => with_priority(text, fields),
        _ => classic(text, fields),
    }
    .ok_or("neither an RFC 5424 nor an RFC 3164 syslog line")
}

fn with_priority<'a>(text: &'a [u8], fields: &mut Fields) -> Option<Draft<'a>> {
    let (priority, rest) =
        split(text.get(1..)?.get(..4.min(text.len() - 1))?, b'>').map(|(p, _)| (p, &text[p.len() + 2..]))?;
    let number = exact(priority).filter(|number| *number < 192)? as usize;
    let (severity, facility) = (number % 8, number / 8);
    let mut draft = match rest.strip_prefix(b"1 ") {
        Some(rest) => modern(rest, fields)?,
        None => match classic(rest, fields) {
            Some(draft) => draft,
            None => untagged(rest, fields)?,
        },
    };
    draft.level = level::of_syslog(severity as u64);
    fields.level(draft.level, SEVERITIES[severity]);
    fields.push(b"facility", Str::Raw(FACILITIES[facility]));
    Some(draft)
}

fn draft(message: &[u8]) -> Draft<'_> {
    Draft::new(Format::Syslog.service_type(), "structured", Str::Raw(message))
}

/// RFC 5424 behind its version; `-` is what is not there.
fn modern<'a>(text: &'a [u8], fields: &mut Fields) -> Option<Draft<'a>> {
    let (time, rest) = split(text, b' ')?;
    let (host, rest) = split(rest, b' ')?;
    let (app, rest) = split(rest, b' ')?;
    let (pid, rest) = split(rest, b' ')?;
    let (id, rest) = split(rest, b' ')?;
    let end = data_end(rest)?;
    if time != b"-" && !app_time::is_time(time) {
        return None;
    }
    if time != b"-" {
        fields.app_time(time);
    }
    for (key, value) in [(&b"hostname"[..], host), (b"app", app), (b"pid", pid), (b"msgid", id)] {
        if value != b"-" {
            fields.push(key, Str::Raw(value));
        }
    }
    if rest[0] == b'[' {
        data(&rest[..end], fields);
    }
    let message = rest[end..].trim_ascii_start();
    Some(draft(message.strip_prefix("\u{feff}".as_bytes()).unwrap_or(message)))
}

/// Where the structured data end.
fn data_end(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    if text.first() == Some(&b'-') {
        return matches!(text.get(1), None | Some(b' ')).then_some(1);
    }
    while text.get(at) == Some(&b'[') {
        let mut quote = false;
        loop {
            match text.get(at)? {
                b'\\' if quote => at += 1,
                b'"' => quote = !quote,
                b']' if !quote => break,
                _ => {}
            }
            at += 1;
        }
        at += 1;
    }
    (at > 0).then_some(at)
}

/// Parameters to `id.key`; an element without any, and what is not as the RFC has it, to `fields.structured_data`.
fn data(text: &[u8], fields: &mut Fields) {
    let mut rest = text;
    while let Some((name, mut behind)) = rest.strip_prefix(b"[").and_then(|rest| {
        let end = rest.iter().position(|b| matches!(b, b' ' | b']'))?;
        Some((&rest[..end], &rest[end..]))
    }) {
        if behind.first() == Some(&b']') {
            fields.push_dynamic(b"structured_data", b"", Str::Raw(name));
        }
        while let Some((key, value, end)) = parameter(behind) {
            let value = if memchr(b'\\', value).is_some() { fields.keep_quoted(value) } else { Str::Raw(value) };
            fields.push_dynamic(name, key, value);
            behind = &behind[end..];
        }
        let Some(next) = behind.strip_prefix(b"]") else { break };
        rest = next;
    }
    if !rest.is_empty() {
        fields.push_dynamic(b"structured_data", b"", Str::Raw(rest));
    }
}

/// ` key="value"`, and its length.
fn parameter(text: &[u8]) -> Option<(&[u8], &[u8], usize)> {
    let (key, rest) = split(text.strip_prefix(b" ")?, b'=')?;
    let inner = rest.strip_prefix(b"\"")?;
    let mut at = 0;
    loop {
        match inner.get(at)? {
            b'\\' => at += 2,
            b'"' => break,
            _ => at += 1,
        }
    }
    Some((key, &inner[..at], 1 + key.len() + 2 + at + 1))
}

/// What a priority alone makes a line of syslog's: `Nov 21 13:00:00 host message`, or any message.
fn untagged<'a>(text: &'a [u8], fields: &mut Fields) -> Option<Draft<'a>> {
    let mut rest = text;
    if let Some(len) = time_len(text) {
        fields.app_time(&text[..len]);
        let (host, message) = split(&text[len + 1..], b' ')?;
        fields.push(b"hostname", Str::Raw(host));
        rest = message;
    }
    (!rest.is_empty() && rest[0] != b' ').then(|| draft(rest))
}

/// `Nov 21 13:00:00 host app[7]: message`, or with a whole time in front.
fn classic<'a>(text: &'a [u8], fields: &mut Fields) -> Option<Draft<'a>> {
    let len = time_len(text)?;
    let (time, rest) = (&text[..len], &text[len + 1..]);
    let (host, behind) = split(rest, b' ')?;
    // Programs that write to the local socket name no host.
    let (host, (tag, message)) = match tag(rest) {
        Some(local) if host.ends_with(b":") && local.0.len() + 1 == host.len() => (&b""[..], local),
        _ => (host, tag(behind)?),
    };
    if host.ends_with(b":") || host == b"-" || (host.is_empty() && tag.is_empty()) {
        return None;
    }
    // A level in capitals is no program's name.
    if host.is_empty() && (level::of_word(tag).is_some() || text[0].is_ascii_digit()) {
        return None;
    }
    fields.app_time(time);
    if !host.is_empty() {
        fields.push(b"hostname", Str::Raw(host));
    }
    let mut draft = draft(message.strip_prefix(b" ").unwrap_or(message));
    match split(tag, b'[') {
        Some((app, pid)) => {
            fields.push(b"app", Str::Raw(app));
            fields.push(b"pid", Str::Raw(pid.strip_suffix(b"]").unwrap_or(pid)));
        }
        None => fields.push(b"app", Str::Raw(tag)),
    }
    draft.level = plain::level_of(message);
    Some(draft)
}

/// Length of the time that a space ends.
pub(crate) fn time_len(text: &[u8]) -> Option<usize> {
    let short = has_shape(text, b"dddd-dd-ddTdd:dd:dd") || text.get(3) == Some(&b' ');
    if text.first()?.is_ascii_digit() {
        let len = memchr(b' ', &text[..text.len().min(40)])?;
        return (short && app_time::is_time(&text[..len])).then_some(len);
    }
    let day = text.get(4..6)?;
    let good = app_time::month(text.get(..3)?).is_some()
        && (is_number(day) || (day[0] == b' ' && day[1].is_ascii_digit()))
        && has_shape(&text[6..], b" dd:dd:dd ");
    (good && text[3] == b' ').then_some(15)
}

/// `app[7]: ` or `app: `: up to the colon, and what is behind it.
fn tag(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = memchr(b':', &text[..text.len().min(80)])?;
    let tag = &text[..at];
    let good =
        |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'[' | b']' | b'-' | b'_' | b'.' | b'/' | b'(' | b')' | b'@');
    let ends = matches!(text.get(at + 1), None | Some(b' '));
    (at > 0 && ends && tag.iter().all(good)).then(|| (tag, &text[at + 1..]))
}

/// The priority that a record's facility and severity stand for.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn priority_of(
    fields: &serde_json::Map<String, serde_json::Value>,
    level: Option<&serde_json::Value>,
) -> Option<usize> {
    let index = |all: &[&[u8]], name: &str| all.iter().position(|known| *known == name.as_bytes());
    let facility = index(&FACILITIES, fields.get("facility")?.as_str()?)?;
    let word = fields.get("level").or(level)?.as_str()?.to_lowercase();
    Some(facility * 8 + index(&SEVERITIES, if word == "error" { "err" } else { &word })?)
}
