//! Access logs in the `common` and `combined` formats of NCSA httpd, which nginx, Apache, gunicorn, morgan, Werkzeug and many
//! others write, alone or with more behind.
//!
//! `[$vhost:$port ]$address $ident $user [$time] "$request" $status $size[ "$referer" "$agent"[ …]]`
//!
//! - Quotes inside of a value are `\x22` (nginx), `\"` (Apache, gunicorn) or nothing (morgan): a quote ends its value only
//!   before a space or the end. `\xHH` is decoded where that gives readable text.
//! - A request that is none (TLS on a plain port, an empty line) stays whole in `fields.request`.
//! - What is behind the agent is named where it says itself what it is (`rt=0.005`), or where nothing else looks so (below);
//!   if one part cannot be named, all of it stays in `fields.extra`.
//!
//! The message is the request and the status. The level is told by the status.
//!
//! Which program it was cannot always be seen. Apache: a virtual host in front, an ident, `\"`, `\xfc` in small letters, no size (`-`),
//! `OPTIONS * HTTP/1.0`, which it sends to itself. Python: a time
//! without zone (Werkzeug, Django). Node: a time as in HTTP (morgan), or an IPv4
//! address written as IPv6. Else nginx.

use super::Format;
use super::cut::{find, has_shape, is_number, split};
use super::slots::{exact, is_method, natural};
use crate::parser::encode::{Draft, Str};
use crate::parser::fields::{Fields, key};
use crate::parser::level::Level;
use memchr::memchr;

/// Bytes in which the time must begin.
const REACH: usize = 320;

/// Reads a line; without a `family` it is told by its habits.
#[inline]
pub(crate) fn parse<'a>(text: &'a [u8], family: Option<Format>, fields: &mut Fields) -> Option<Draft<'a>> {
    let open = memchr(b'[', &text[..text.len().min(REACH)])?;
    let head = text[..open].strip_suffix(b" ")?;
    let (time, rest) = split(&text[open + 1..], b']')?;
    let rest = rest.strip_prefix(b" \"")?;
    if !matches!(time.len(), 20..=35) {
        return None;
    }
    let (request, status_text, rest) = request_end(rest)?;
    let status = natural(status_text).and_then(|status| u16::try_from(status).ok())?;
    let (size, rest) = split(rest, b' ').unwrap_or((rest, b""));
    let response_size = exact(size);
    if size != b"-" && response_size.is_none() {
        return None;
    }
    let from = Client::of(head)?;
    if !fields.app_time(time) {
        return None;
    }
    // Most lines have no escape, which one look tells for all their values.
    let plain = memchr(b'\\', request).is_none() && memchr(b'\\', rest).is_none();
    let mut draft = Draft::new("", "access", if plain { Str::Raw(request) } else { fields.keep_bytes(request) });
    let family = family.unwrap_or_else(|| match plain {
        true => family_of(&from, time, size, if request.starts_with(b"OPTIONS") { request } else { b"" }, b""),
        false => family_of(&from, time, size, request, rest),
    });
    draft.service_type = family.service_type();
    draft.message_tail = status_text;
    draft.level = Some(Level::of_status(status));
    draft.status_code = Some(status);
    draft.response_size = response_size;
    from.put(&mut draft, fields);
    request_of(request, plain, &mut draft, fields);
    if !rest.is_empty() {
        behind_the_size(rest, plain, &mut draft, fields);
    }
    Some(draft)
}

/// The request in its quotes and the status: the first quote that a status follows is the last of the request.
#[inline]
fn request_end(text: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let mut from = 0;
    loop {
        let at = from + memchr(b'"', &text[from..])?;
        if let Some(&[b' ', a, b, c, b' ']) = text.get(at + 1..).and_then(<[u8]>::first_chunk::<5>)
            && [a, b, c].iter().all(u8::is_ascii_digit)
        {
            return Some((&text[..at], &text[at + 2..at + 5], &text[at + 6..]));
        }
        from = at + 1;
    }
}

/// What stands before the time.
struct Client<'a> {
    vhost: &'a [u8],
    address: &'a [u8],
    ident: &'a [u8],
    user: &'a [u8],
}

impl<'a> Client<'a> {
    #[inline]
    fn of(head: &'a [u8]) -> Option<Self> {
        let (address, rest) = split(head, b' ')?;
        if address.ends_with(b",") {
            return Self::of_several(head);
        }
        if let Some(user) = rest.strip_prefix(b"- ") {
            return (!address.is_empty()).then_some(Self { vhost: b"", address, ident: b"-", user });
        }
        let (second, behind) = split(rest, b' ')?;
        let port = memchr::memrchr(b':', address).is_some_and(|at| is_number(&address[at + 1..]));
        let (vhost, address, ident, user) = match split(behind, b' ') {
            Some((ident, user)) if port || is_addresses(second) => (address, second, ident, user),
            _ => (&b""[..], address, second, behind),
        };
        let all = [address, ident, user].iter().all(|part| !part.is_empty());
        all.then_some(Self { vhost, address, ident, user })
    }

    /// `203.0.113.9, 10.0.0.1 - user`: what came through proxies.
    #[cold]
    fn of_several(head: &'a [u8]) -> Option<Self> {
        let at = find(head, b" - ")?;
        let (address, user) = (&head[..at], &head[at + 3..]);
        // No identity at all tells it from the rest.
        is_addresses(address).then_some(Self { vhost: b"", address, ident: b"", user })
    }

    #[inline]
    fn put(&self, draft: &mut Draft<'a>, fields: &mut Fields) {
        if self.ident.is_empty() {
            let first = split(self.address, b',').map_or(self.address, |(first, _)| first);
            address_of(first, b"remote_addr", draft, fields);
            fields.push(b"remote_addr", Str::Raw(self.address));
            if self.user != b"-" {
                fields.push(b"remote_user", Str::Raw(self.user));
            }
            return;
        }
        if !self.vhost.is_empty() {
            fields.add(key!("vhost"), Str::Raw(self.vhost));
        }
        address_of(self.address, b"remote_addr", draft, fields);
        if self.ident != b"-" {
            fields.add(key!("ident"), Str::Raw(self.ident));
        }
        if self.user != b"-" {
            fields.add(key!("remote_user"), Str::Raw(self.user));
        }
    }
}

#[inline]
fn family_of(from: &Client<'_>, time: &[u8], size: &[u8], request: &[u8], rest: &[u8]) -> Format {
    if has_shape(time, b"dd/") && time.len() == 20 {
        Format::Python
    } else if time.ends_with(b" GMT") || from.address.starts_with(b"::ffff:") {
        Format::Node
    } else if !from.vhost.is_empty()
        || !matches!(from.ident, b"-" | b"")
        || request.starts_with(b"OPTIONS * HTTP/1.0")
        || (size == b"-" && from.address != b"unix:")
        || has_apaches_escape(request)
        || has_apaches_escape(rest)
    {
        Format::Apache
    } else {
        Format::Nginx
    }
}

/// Whether a backslash is escaped otherwise than as nginx does, whose only form is `\xHH` in capitals: `\"`, `\n`, `\xfc`.
fn has_apaches_escape(text: &[u8]) -> bool {
    memchr::memchr_iter(b'\\', text).any(|at| match text[at + 1..] {
        [b'x', a, b, ..] => [a, b].iter().all(u8::is_ascii_hexdigit) && [a, b].iter().any(u8::is_ascii_lowercase),
        [b'"' | b'n' | b't' | b'r' | b'\\', ..] => true,
        _ => false,
    })
}

/// Referer, user agent, and whatever a custom format adds.
#[inline]
fn behind_the_size<'a>(rest: &'a [u8], plain: bool, draft: &mut Draft<'a>, fields: &mut Fields) {
    let mut rest = rest;
    if let Some((referer, behind)) = quoted(rest)
        && let Some((agent, behind)) = behind.strip_prefix(b" ").and_then(quoted)
    {
        if referer != b"-" {
            let referer = if plain { Str::Raw(referer) } else { fields.keep_bytes(referer) };
            fields.add(key!("referer"), referer);
        }
        if agent != b"-" {
            draft.user_agent = Some(if plain { Str::Raw(agent) } else { fields.keep_bytes(agent) });
        }
        rest = behind.trim_ascii_start();
    }
    if rest.is_empty() {
        return;
    }
    if parts(rest).all(|part| part.name_and_value().is_some()) && !twice(rest) {
        for (name, value) in parts(rest).filter_map(|part| part.name_and_value()) {
            if value != b"-" || part_is_unknown(name) {
                fields.push(name, Str::Raw(value));
            }
        }
    } else {
        fields.add(key!("extra"), Str::Raw(rest));
    }
}

/// Whether a name is the line's own; of those that are known, `-` is no value.
fn part_is_unknown(name: &[u8]) -> bool {
    !KNOWN.contains(&name)
}

const KNOWN: [&[u8]; 9] = [
    b"request_time",
    b"upstream_connect_time",
    b"upstream_header_time",
    b"upstream_response_time",
    b"upstream_status",
    b"upstream_cache_status",
    b"upstream",
    b"request_id",
    b"x_forwarded_for",
];

/// Whether a name was given to two parts that do not say it themselves: then one of them is something else.
fn twice(rest: &[u8]) -> bool {
    parts(rest).enumerate().any(|(i, part)| {
        let name = part.name_and_value().map(|(name, _)| name);
        parts(rest).take(i).any(|other| other.name_and_value().map(|(name, _)| name) == name)
    })
}

/// A part of what is behind the agent.
#[derive(Clone, Copy)]
struct Part<'a> {
    /// Of `key=value`; else empty.
    key: &'a [u8],
    value: &'a [u8],
    quotes: bool,
    /// How many times stood before.
    times: usize,
}

/// At most this many parts.
const PARTS: usize = 16;

fn parts(rest: &[u8]) -> impl Iterator<Item = Part<'_>> {
    let (mut rest, mut times, mut count) = (rest, 0, 0);
    std::iter::from_fn(move || {
        rest = rest.trim_ascii_start();
        if rest.is_empty() {
            return None;
        }
        count += 1;
        let is_key = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-');
        let key_len = rest.iter().take_while(|b| is_key(b)).count();
        let key = if key_len > 0 && rest.get(key_len) == Some(&b'=') { &rest[..key_len] } else { b"" };
        let behind_key = if key.is_empty() { rest } else { &rest[key_len + 1..] };
        let (value, quotes, behind) = match quoted(behind_key) {
            Some((value, behind)) => (value, true, behind),
            None => {
                let (value, behind) = split(behind_key, b' ').unwrap_or((behind_key, b""));
                (value, false, behind)
            }
        };
        rest = if count == PARTS { b"" } else { behind };
        let part = Part { key: if count == PARTS { b"=" } else { key }, value, quotes, times };
        times += usize::from(key.is_empty() && is_seconds(value));
        Some(part)
    })
}

impl<'a> Part<'a> {
    /// By its key, under nginx's name for it; without one by its looks: the first value in quotes is `X-Forwarded-For`, a number
    /// with three decimals the time of the request and then of the upstream, 32 hexadecimal digits the request's id.
    fn name_and_value(self) -> Option<(&'a [u8], &'a [u8])> {
        let name: &[u8] = match self.key {
            b"=" => return None,
            b"rt" | b"request_time" => b"request_time",
            b"uct" => b"upstream_connect_time",
            b"uht" => b"upstream_header_time",
            b"urt" | b"upstream_response_time" => b"upstream_response_time",
            b"us" => b"upstream_status",
            b"ua" | b"upstream" | b"upstream_addr" => b"upstream",
            b"rid" | b"request_id" | b"req_id" | b"reqid" => b"request_id",
            b"xff" => b"x_forwarded_for",
            b"cs" => b"upstream_cache_status",
            b"" if is_seconds(self.value) && self.times == 0 => b"request_time",
            b"" if (is_seconds(self.value) || (self.value == b"-" && !self.quotes)) && self.times == 1 => {
                b"upstream_response_time"
            }
            b"" if self.value.len() == 32 && self.value.iter().all(u8::is_ascii_hexdigit) => b"request_id",
            b"" if is_host_and_port(self.value) => b"upstream",
            b"" if self.quotes && (self.value == b"-" || is_addresses(self.value)) => b"x_forwarded_for",
            b"" => return None,
            key => key,
        };
        Some((name, self.value))
    }
}

/// `0.005`
fn is_seconds(text: &[u8]) -> bool {
    split(text, b'.').is_some_and(|(whole, rest)| is_number(whole) && rest.len() == 3 && is_number(rest))
}

fn is_host_and_port(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok_and(|text| text.parse::<std::net::SocketAddr>().is_ok())
}

fn is_addresses(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok_and(|text| text.split(", ").all(|ip| ip.parse::<std::net::IpAddr>().is_ok()))
}

/// `GET /path HTTP/1.1` to its parts; anything else to `fields.request`. Of a `plain` one it is known that no escape is in it.
#[inline]
pub(crate) fn request_of<'a>(request: &'a [u8], plain: bool, draft: &mut Draft<'a>, fields: &mut Fields) {
    match request_parts(request) {
        Some((method, path, version)) => {
            draft.method = Some(Str::Raw(method));
            draft.path = Some(if plain { Str::Raw(path) } else { fields.keep_bytes(path) });
            if !version.is_empty() {
                fields.add(key!("http_version"), Str::Raw(version));
            }
        }
        None => {
            // A request line that never came.
            if request.is_empty() && !draft.message_tail.is_empty() {
                draft.message = Str::Raw(std::mem::take(&mut draft.message_tail));
            }
            let request = fields.keep_bytes(request);
            fields.add(key!("request"), request);
        }
    }
}

/// Method, path and version; no version in HTTP/0.9.
#[inline]
pub(crate) fn request_parts(request: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (method, rest) = split(request, b' ')?;
    if !is_method(method) {
        return strange_method(method, rest);
    }
    match memchr::memrchr(b' ', rest) {
        Some(0) => None,
        Some(at) => Some((method, &rest[..at], rest[at + 1..].strip_prefix(b"HTTP/")?)),
        None => rest.starts_with(b"/").then_some((method, rest, b"")),
    }
}

/// `PRI * HTTP/2.0`: a method that is none of the known, in capitals before a path and a version.
#[cold]
fn strange_method<'a>(method: &'a [u8], rest: &'a [u8]) -> Option<(&'a [u8], &'a [u8], &'a [u8])> {
    let at = memchr::memrchr(b' ', rest)?;
    let (path, version) = (&rest[..at], rest[at + 1..].strip_prefix(b"HTTP/")?);
    let good =
        (2..=32).contains(&method.len()) && method.iter().all(|b| b.is_ascii_uppercase() || matches!(b, b'-' | b'_'));
    (good && matches!(path.first(), Some(b'/' | b'*'))).then_some((method, path, version))
}

/// Fills method and path from a request in a JSON access log, if they are still free.
pub(crate) fn fill_request<'a>(request: &'a [u8], draft: &mut Draft<'a>) {
    if let Some((method, path, _)) = request_parts(request) {
        draft.method = draft.method.or(Some(Str::Json(method)));
        draft.path = draft.path.or(Some(Str::Json(path)));
    }
}

/// An address takes its place; anything else goes to `fields` under `key`.
#[inline]
pub(crate) fn address_of<'a>(address: &'a [u8], key: &[u8], draft: &mut Draft<'a>, fields: &mut Fields) {
    let (mut good, mut parted) = (true, false);
    for byte in address.iter().take(46) {
        let part = matches!(byte, b'.' | b':');
        parted |= part;
        good &= part | byte.is_ascii_hexdigit();
    }
    if address.len() <= 45 && good && parted {
        draft.ip_address = Some(Str::Raw(address));
    } else {
        fields.push(key, Str::Raw(address));
    }
}

/// An address with a port: the address takes its place, and both stay in `fields` under `key`.
pub(crate) fn peer_of<'a>(peer: &'a [u8], key: &[u8], draft: &mut Draft<'a>, fields: &mut Fields) {
    if let Some(at) = memchr::memrchr(b':', peer)
        && is_number(&peer[at + 1..])
        && memchr(b'.', &peer[..at]).is_some() | peer[..at].ends_with(b"]")
    {
        let host = peer[..at].strip_prefix(b"[").and_then(|host| host.strip_suffix(b"]")).unwrap_or(&peer[..at]);
        address_of(host, b"host", draft, fields);
        fields.push(key, Str::Raw(peer));
    } else {
        address_of(peer, key, draft, fields);
    }
}

/// The inside of the quotes that `text` begins with, and what is behind them. A quote ends the value only before a space, a
/// comma or the end, and never behind a backslash that is not itself escaped.
#[inline]
pub(crate) fn quoted(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let inner = text.strip_prefix(b"\"")?;
    let mut from = 0;
    loop {
        let at = from + memchr(b'"', &inner[from..])?;
        let backslashes = inner[..at].iter().rev().take_while(|b| **b == b'\\').count();
        if backslashes % 2 == 0 && matches!(inner.get(at + 1), None | Some(b' ' | b',')) {
            return Some((&inner[..at], &inner[at + 1..]));
        }
        from = at + 1;
    }
}
