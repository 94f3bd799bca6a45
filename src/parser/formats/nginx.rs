//! nginx: access log in the `combined` format (also `common`, and `combined` with anything behind it), and error log.
//!
//! Access: `$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent "$http_referer" "$http_user_agent"`.
//! nginx writes quotes inside of a value as `\x22`; others write `\"`, which is understood as well. A request that is not
//! one (TLS on a plain port, an empty line) stays whole in `fields.request`. The message is the request and the status.
//!
//! Error: `2026/11/21 13:00:00 [error] 31#31: *1 message, client: …, server: …, request: "…", upstream: "…", host: "…"`.

use super::slots::{is_method, natural};
use super::{Format, Refused};
use crate::parser::encode::{Draft, Str};
use crate::parser::fields::Fields;
use crate::parser::level::{self, Level};
use memchr::{memchr, memmem};

/// Reads an access or an error line.
pub(crate) fn parse<'a>(text: &'a [u8], fields: &mut Fields) -> Result<Draft<'a>, Refused> {
    const REFUSED: Refused = "neither an nginx access nor an nginx error line";
    match text.get(4) {
        Some(b'/') if is_error_time(text) => error(text, fields),
        _ => access(text, fields),
    }
    .ok_or(REFUSED)
}

/// Whether the line may be one of ours, by its first bytes.
pub(crate) fn looks_so(text: &[u8]) -> bool {
    let head = &text[..text.len().min(64)];
    is_error_time(text) || memchr(b'[', head).is_some_and(|at| text[..at].windows(3).any(|w| w == b" - "))
}

fn access<'a>(text: &'a [u8], fields: &mut Fields) -> Option<Draft<'a>> {
    let (address, rest) = split(text, b' ')?;
    let open = memchr(b'[', rest)?;
    let user = rest[..open].strip_prefix(b"- ")?.strip_suffix(b" ")?;
    let rest = &rest[open + 1..];
    let time = rest.get(..26)?;
    let time_is_good = time[2] == b'/' && time[6] == b'/' && time[11] == b':' && time[20] == b' ';
    if !time_is_good || address.is_empty() {
        return None;
    }
    let rest = rest[26..].strip_prefix(b"] ")?;
    let (request, rest) = quoted(rest)?;
    let (status_text, rest) = split(rest.strip_prefix(b" ")?, b' ')?;
    let status = natural(status_text).and_then(|status| u16::try_from(status).ok())?;
    let (size, rest) = match split(rest, b' ') {
        Some((size, rest)) => (size, Some(rest)),
        None => (rest, None),
    };
    if status_text.len() != 3 || (size != b"-" && natural(size).is_none()) {
        return None;
    }
    let mut draft = Draft::new(Format::Nginx.service_type(), "access", Str::Raw(request));
    draft.message_tail = status_text;
    draft.level = Some(Level::of_status(status));
    draft.status_code = Some(status);
    draft.response_size = natural(size);
    fields.put(b"app_time", Str::Raw(time));
    address_of(address, b"remote_addr", &mut draft, fields);
    if user != b"-" {
        fields.put(b"remote_user", Str::Raw(user));
    }
    request_of(request, &mut draft, fields);
    if let Some(rest) = rest {
        behind_the_size(rest, &mut draft, fields);
    }
    Some(draft)
}

/// Referer, user agent, and whatever a custom format adds.
fn behind_the_size<'a>(rest: &'a [u8], draft: &mut Draft<'a>, fields: &mut Fields) {
    let mut rest = rest;
    if let Some((referer, behind)) = quoted(rest)
        && let Some((agent, behind)) = behind.strip_prefix(b" ").and_then(quoted)
    {
        if referer != b"-" {
            fields.put(b"referer", Str::Raw(referer));
        }
        if agent != b"-" {
            draft.user_agent = Some(Str::Raw(agent));
        }
        rest = behind.trim_ascii_start();
    }
    if !rest.is_empty() {
        fields.put(b"extra", Str::Raw(rest));
    }
}

fn request_of<'a>(request: &'a [u8], draft: &mut Draft<'a>, fields: &mut Fields) {
    if let Some((method, rest)) = split(request, b' ')
        && is_method(method)
        && let Some(at) = memchr::memrchr(b' ', rest)
        && let Some(version) = rest[at + 1..].strip_prefix(b"HTTP/")
    {
        draft.method = Some(Str::Raw(method));
        draft.path = Some(Str::Raw(&rest[..at]));
        fields.put(b"http_version", Str::Raw(version));
    } else {
        fields.put(b"request", Str::Raw(request));
    }
}

fn address_of<'a>(address: &'a [u8], key: &[u8], draft: &mut Draft<'a>, fields: &mut Fields) {
    let digits = |byte: &u8| byte.is_ascii_hexdigit() || matches!(byte, b'.' | b':');
    if address.len() <= 45 && address.iter().all(digits) && address.iter().any(|b| matches!(b, b'.' | b':')) {
        draft.ip_address = Some(Str::Raw(address));
    } else {
        fields.put(key, Str::Raw(address));
    }
}

fn is_error_time(text: &[u8]) -> bool {
    const SHAPE: &[u8; 21] = b"dddd/dd/dd dd:dd:dd [";
    text.first_chunk::<21>().is_some_and(|head| {
        head.iter().zip(SHAPE).all(|(byte, shape)| if *shape == b'd' { byte.is_ascii_digit() } else { byte == shape })
    })
}

fn error<'a>(text: &'a [u8], fields: &mut Fields) -> Option<Draft<'a>> {
    let (word, rest) = split(&text[21..], b']')?;
    let level = level::of_word(word)?;
    let (ids, rest) = split(rest.strip_prefix(b" ")?, b':')?;
    let (pid, tid) = split(ids, b'#')?;
    natural(pid).and(natural(tid))?;
    let mut message = rest.strip_prefix(b" ").unwrap_or(rest);
    fields.put(b"app_time", Str::Raw(&text[..19]));
    if !level.is_called(word) {
        fields.put(b"level", Str::Raw(word));
    }
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
    if let Some(at) = memmem::find(message, b", client: ") {
        draft.message = Str::Raw(&message[..at]);
        context(&message[at..], &mut draft, fields);
    }
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
            let at = memmem::find(pair, b": ")?;
            let number = KEYS.into_iter().position(|key| key == &pair[..at])?;
            let new = !std::mem::replace(&mut seen[number], true);
            new.then_some((KEYS[number], &pair[at + 2..]))
        });
        let Some((key, behind)) = pair else {
            fields.put(b"extra", Str::Raw(rest.strip_prefix(b", ").unwrap_or(rest)));
            return;
        };
        let (value, behind) =
            quoted(behind).unwrap_or_else(|| behind.split_at(memmem::find(behind, b", ").unwrap_or(behind.len())));
        match key {
            b"client" => address_of(value, key, draft, fields),
            b"request" => request_of(value, draft, fields),
            b"referrer" => fields.put(b"referer", Str::Raw(value)),
            key => fields.put(key, Str::Raw(value)),
        }
        rest = behind;
    }
}

#[inline]
fn split(text: &[u8], at: u8) -> Option<(&[u8], &[u8])> {
    let at = memchr(at, text)?;
    Some((&text[..at], &text[at + 1..]))
}

/// The inside of the quotes that `text` begins with, and what is behind them.
#[inline]
fn quoted(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let inner = text.strip_prefix(b"\"")?;
    let mut from = 0;
    loop {
        let at = from + memchr(b'"', &inner[from..])?;
        let backslashes = inner[..at].iter().rev().take_while(|b| **b == b'\\').count();
        if backslashes % 2 == 0 {
            return Some((&inner[..at], &inner[at + 1..]));
        }
        from = at + 1;
    }
}
