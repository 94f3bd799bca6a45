//! PostgreSQL: the stderr log with any `log_line_prefix` in which things can be told apart, and csvlog (`csv`). jsonlog is read
//! by `json`, which knows `error_severity`.
//!
//! `2026-11-21 13:00:00.123 UTC [31] postgres@shop ERROR:  relation "x" does not exist`. Each line is a record; DETAIL, HINT,
//! CONTEXT, STATEMENT and their like say so in `fields.kind` and have no level. A line that continues a message begins with
//! a tab and has no prefix at all.
//!
//! The severity is the first of its words that a colon and two spaces follow. Of the prefix before it are told, in any order and
//! with any brackets around them: a time (`%m %t %n`; a second one is the session's start, `%s`), a process (`%p`, the first
//! number) and the line of its log (`%l`: `[7-2]`, or a second number), `user@database`, pairs (`user=%u,db=%d,app=%a,client=%h`), an
//! SQLSTATE (`%e`), an address with or without a port (`%h %r`), a session (`%c`), a virtual transaction (`%v`). What is none
//! of these stays in `fields.prefix`.

use super::csv;
use super::cut::{find, has_shape, is_number, split};
use super::{Format, Refused};
use crate::parser::app_time;
use crate::parser::encode::{Draft, Str};
use crate::parser::fields::{Fields, key};
use crate::parser::level::Level;
use memchr::memchr;

/// Bytes in which the severity must stand.
const REACH: usize = 512;

/// Bytes in which the first comma of csvlog must stand: a time and the name of a zone.
const CSV_REACH: usize = 64;

/// Reads a line with a prefix, or one that continues a message.
pub(crate) fn parse<'a>(text: &'a [u8], fields: &mut Fields) -> Result<Draft<'a>, Refused> {
    match text.first() {
        Some(b'\t') => Ok(Draft::new(Format::Postgres.service_type(), "plain", Str::Raw(&text[1..]))),
        _ => stderr_or_csv(text, true, fields).ok_or("no PostgreSQL severity behind a prefix"),
    }
}

/// Reads a line of either log.
#[inline]
pub(crate) fn stderr_or_csv<'a>(text: &'a [u8], explicit: bool, fields: &mut Fields) -> Option<Draft<'a>> {
    // Nearly every line: no comma where csvlog's first ends.
    if memchr(b',', &text[..text.len().min(CSV_REACH)]).is_none() {
        return line(text, explicit, fields);
    }
    // Behind the zone of its first column, csvlog has a comma.
    let zone = text.iter().skip(19).take(20).position(|b| *b == b' ').map_or(text.len(), |at| at + 20);
    let end = text.iter().skip(zone).take_while(|b| is_zone(**b)).count() + zone;
    match text.get(end) {
        Some(b',') => csv::parse(text, fields),
        _ => line(text, explicit, fields),
    }
}

fn is_zone(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'/' | b'_')
}

/// Reads a line with a prefix. Unless `explicit`, a time with its zone must be in it; or what can all be told; or nothing,
/// before a severity that nobody else writes so.
pub(crate) fn line<'a>(text: &'a [u8], explicit: bool, fields: &mut Fields) -> Option<Draft<'a>> {
    let mut text = text;
    if text.first() == Some(&b'w') {
        let len = waiting(text);
        if len > 0 {
            fields.add(key!("waiting"), Str::Raw(&text[..len]));
        }
        text = &text[len..];
    }
    // The colons of a time in front are none of a severity's.
    let clock = if has_shape(text, b"dddd-dd-dd dd:dd:dd") { 19 } else { 0 };
    let (start, colon, severity) = severity_in(text, clock)?;
    let (word, message) = (&text[start..colon], &text[colon + 3..]);
    let prefix = text[..start].trim_ascii_end();
    // Of what uvicorn writes, WARNING has two spaces as well.
    if !explicit && ((start == 0 && word == b"WARNING") || message.first() == Some(&b' ')) {
        return None;
    }
    let time = if clock > 0 && start > 28 && has_shape(&text[clock..], b".ddd UTC ") {
        Some((&text[..27], text[28..start].trim_ascii()))
    } else {
        leading_time(prefix)
    };
    let timed = time.is_some() || has_time(prefix);
    if !explicit && !prefix.is_empty() && !timed && !may_be_prefix(prefix) {
        return None;
    }
    // `log_error_verbosity = verbose`
    let (sqlstate, message) = match message.get(5..7) {
        Some(b": ") if is_sqlstate(&message[..5]) => (&message[..5], &message[7..]),
        _ => (&b""[..], message),
    };
    let mut draft = Draft::new(Format::Postgres.service_type(), "structured", Str::Raw(message));
    let mut rest = prefix;
    if let Some((time, behind)) = time {
        fields.app_time(time);
        rest = behind;
    }
    match severity {
        Severity::Level(level) => {
            draft.level = Some(level);
            fields.level(Some(level), word);
        }
        Severity::Kind(kind) => fields.add(key!("kind"), Str::Raw(kind)),
    }
    let mut seen = Seen { time: time.is_some(), ..Seen::default() };
    if let Some((pid, line, behind)) = process(rest) {
        seen.process(pid, line, fields);
        rest = behind;
    }
    if let Some((user, database)) = user_and_database(rest) {
        fields.add(key!("user"), Str::Raw(user));
        fields.add(key!("database"), Str::Raw(database));
    } else if !rest.is_empty() && !prefix_of(rest, &mut seen, &mut draft, fields) && !explicit && !timed {
        return None;
    }
    if !sqlstate.is_empty() {
        fields.add(key!("sqlstate"), Str::Raw(sqlstate));
    }
    if let Some(duration) = duration(message) {
        fields.add(key!("duration_ms"), Str::Raw(duration));
    }
    Some(draft)
}

/// Length of what `pg_ctl` has on its line before the server's first: `waiting for server to start....`
fn waiting(text: &[u8]) -> usize {
    if !text.starts_with(b"waiting for server to ") {
        return 0;
    }
    find(text, b"...").map_or(0, |at| at + text[at..].iter().take_while(|b| **b == b'.').count())
}

/// Whether a prefix without a time may be one: `[31]`, `31`, `app@shop`.
fn may_be_prefix(text: &[u8]) -> bool {
    let process = process(text).is_some_and(|(.., rest)| rest.is_empty()) || is_number(text);
    let named = split(text, b'@').is_some_and(|(user, database)| !user.is_empty() && !database.is_empty());
    process || (named && memchr(b' ', text).is_none())
}

/// Start and colon of the severity, none of whose colons is before `from`.
#[inline]
fn severity_in(text: &[u8], from: usize) -> Option<(usize, usize, Severity)> {
    let head = &text[..text.len().min(REACH)];
    let colons = memchr::memchr_iter(b':', &head[from..]).map(|colon| from + colon);
    colons.filter(|colon| text[*colon + 1..].starts_with(b"  ")).find_map(|colon| {
        let in_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_' || !byte.is_ascii();
        let start = head[..colon].iter().rposition(|byte| !in_word(byte)).map_or(0, |at| at + 1);
        severity(&head[start..colon]).map(|severity| (start, colon, severity))
    })
}

/// A time at the front, with its zone, and what is behind it.
#[inline]
fn leading_time(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let text = text.strip_prefix(b"<").or_else(|| text.strip_prefix(b"[")).unwrap_or(text).trim_ascii_start();
    if !has_shape(text, b"dddd-dd-dd dd:dd:dd") {
        let (word, rest) = split(text, b' ').unwrap_or((text, b""));
        let epoch = has_shape(word, b"dddddddddd.ddd") && word.len() == 14;
        return epoch.then_some((word, rest));
    }
    let mut at = 19;
    if text.get(at) == Some(&b'.') {
        at += 1 + text[at + 1..].iter().take_while(|b| b.is_ascii_digit()).count();
    }
    let zone = text[at..].strip_prefix(b" ")?;
    // An offset may have minutes; behind a name, a colon belongs to the prefix.
    let offset = matches!(zone.first(), Some(b'+' | b'-'));
    let len = zone.iter().take_while(|b| is_zone(**b) || (offset && **b == b':')).count();
    let len = if zone[..len].ends_with(b":") { len - 1 } else { len };
    let behind = zone[len..].trim_ascii_start();
    // What a letter of another script follows is no zone.
    let ends = zone.get(len).is_none_or(u8::is_ascii);
    (len > 0 && ends).then(|| (&text[..at + 1 + len], behind))
}

/// Whether there is a time anywhere.
fn has_time(text: &[u8]) -> bool {
    memchr::memchr_iter(b' ', text).any(|at| leading_time(text[at + 1..].trim_ascii_start()).is_some())
}

/// `[31]`, `[31-2]`, `(31)` or `[31]:` at the front: the process, the line of its log, and what is behind.
#[inline]
fn process(text: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let close = match text.first()? {
        b'[' => b']',
        b'(' => b')',
        _ => return None,
    };
    let digits = |from: usize| from + text[from..].iter().take(24).take_while(|b| b.is_ascii_digit()).count();
    let pid_end = digits(1);
    let (line, end) = match text.get(pid_end) {
        Some(b'-') => (pid_end + 1, digits(pid_end + 1)),
        _ => (pid_end, pid_end),
    };
    if pid_end == 1 || end >= 24 || text.get(end) != Some(&close) {
        return None;
    }
    let rest = &text[end + 1..];
    let rest = rest.strip_prefix(b":").unwrap_or(rest).trim_ascii_start();
    Some((&text[1..pid_end], &text[line..end], rest))
}

/// `user@database` alone, of letters, digits and a few marks that mean nothing in a prefix.
#[inline]
fn user_and_database(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let ordinary = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'@');
    let at = text.iter().position(|b| *b == b'@')?;
    text.iter().all(ordinary).then(|| (&text[..at], &text[at + 1..]))
}

#[derive(Clone, Copy)]
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

/// The level of a severity, as csvlog and jsonlog have it.
pub(crate) fn level_of(word: &[u8]) -> Option<Level> {
    match severity(word)? {
        Severity::Level(level) => Some(level),
        Severity::Kind(_) => None,
    }
}

/// What of a prefix has been found.
#[derive(Clone, Copy, Default)]
struct Seen {
    time: bool,
    start: bool,
    pid: bool,
    line: bool,
    vxid: bool,
    txid: bool,
}

impl Seen {
    #[inline]
    fn process(&mut self, pid: &[u8], line: &[u8], fields: &mut Fields) {
        self.pid = true;
        fields.add(key!("pid"), Str::Raw(pid));
        if !line.is_empty() {
            self.line = true;
            fields.add(key!("log_line"), Str::Raw(line));
        }
    }
}

/// What stands between time, process and severity; what is not understood, in `fields.prefix`. Whether everything was.
#[inline(never)]
fn prefix_of<'a>(all: &'a [u8], seen: &mut Seen, draft: &mut Draft<'a>, fields: &mut Fields) -> bool {
    // Amazon's `%t:%r:%u@%d:[%p]:`, and `%m|%u|%d|%p|`.
    let separator = *all.first().filter(|b| matches!(b, b':' | b'|')).unwrap_or(&b' ');
    let mut rest = all;
    // Where words that are not understood begin and end.
    let mut unknown: Option<(usize, usize)> = None;
    let mut good = true;
    loop {
        rest = rest.strip_prefix(b":").or_else(|| rest.strip_prefix(b"|")).unwrap_or(rest).trim_ascii_start();
        let at = all.len() - rest.len();
        let first = rest.first();
        let known = first.is_none() || {
            if let Some((time, behind)) = leading_time(rest).filter(|_| !seen.start) {
                match std::mem::replace(&mut seen.time, true) {
                    false => _ = fields.app_time(time),
                    true => {
                        seen.start = true;
                        fields.add(key!("session_start"), Str::Raw(time));
                    }
                }
                rest = behind;
                true
            } else {
                let (token, behind) = split(rest, separator).unwrap_or((rest, b""));
                // Names may have spaces in them: an SQLSTATE or an address may stand behind the last pair.
                let pairs = memchr(b'=', token).and_then(|_| pairs(rest, draft, fields));
                let known = pairs.is_some() || one(token, seen, draft, fields);
                rest = pairs.unwrap_or(behind);
                known
            }
        };
        match &mut unknown {
            Some((start, end)) if known => {
                let words = all[*start..*end].trim_ascii_end();
                fields.add(key!("prefix"), Str::Raw(words.strip_suffix(&[separator]).unwrap_or(words)));
                unknown = None;
            }
            Some((_, end)) => *end = all.len() - rest.len(),
            None if !known => unknown = Some((at, all.len() - rest.len())),
            None => {}
        }
        good &= known;
        if first.is_none() {
            return good;
        }
    }
}

/// One word of a prefix; whether it was understood.
#[inline]
fn one<'a>(token: &'a [u8], seen: &mut Seen, draft: &mut Draft<'a>, fields: &mut Fields) -> bool {
    let token = token.strip_suffix(b":").or_else(|| token.strip_suffix(b",")).unwrap_or(token);
    if let Some((user, database)) = split(token, b'@') {
        fields.add(key!("user"), Str::Raw(user));
        fields.add(key!("database"), Str::Raw(database));
        return true;
    }
    let token = token.strip_suffix(b">").filter(|token| *token == b"[local]").unwrap_or(token);
    if token == b"[local]" {
        fields.add(key!("client"), Str::Raw(token));
        return true;
    }
    let core = token.iter().position(|b| !matches!(b, b'[' | b'(' | b'<' | b'>' | b'|' | b'-'));
    let core = core.map_or(&b""[..], |start| &token[start..]);
    let core = core.strip_suffix(b"]").or_else(|| core.strip_suffix(b">")).unwrap_or(core);
    let core = if token.first() == Some(&b'(') { core.strip_suffix(b")").unwrap_or(core) } else { core };
    if core.is_empty() {
        return true;
    }
    if let Some((pid, line)) = split(core, b'-').filter(|(pid, line)| !seen.pid && is_number(pid) && is_number(line)) {
        seen.process(pid, line, fields);
    } else if !seen.line && split(core, b'-').is_some_and(|(line, rest)| is_number(line) && is_number(rest)) {
        // `[%l-1]`, as pgBadger's documentation has it.
        seen.line = true;
        fields.add(key!("log_line"), Str::Raw(core));
    } else if is_number(core) && !seen.pid {
        seen.process(core, b"", fields);
    } else if is_sqlstate(core) {
        fields.add(key!("sqlstate"), Str::Raw(core));
    } else if is_number(core) && !seen.txid && (seen.vxid || seen.line) {
        seen.txid = true;
        fields.add(key!("txid"), Str::Raw(core));
    } else if is_number(core) && !seen.line {
        seen.line = true;
        fields.add(key!("log_line"), Str::Raw(core));
    } else if is_session(core) {
        fields.add(key!("session_id"), Str::Raw(core));
    } else if split(core, b'/').is_some_and(|(a, b)| is_number(a) && is_number(b)) {
        seen.vxid = true;
        fields.add(key!("vxid"), Str::Raw(core));
    } else {
        return client(core, draft, fields);
    }
    true
}

fn is_sqlstate(text: &[u8]) -> bool {
    text.len() == 5
        && text.iter().all(|b| b.is_ascii_digit() || b.is_ascii_uppercase())
        && text.iter().any(u8::is_ascii_digit)
}

/// `6b01f725.1e59`: start and process in hexadecimal.
fn is_session(text: &[u8]) -> bool {
    let hex = |text: &[u8]| !text.is_empty() && text.iter().all(u8::is_ascii_hexdigit);
    split(text, b'.').is_some_and(|(start, pid)| start.len() == 8 && hex(start) && hex(pid))
}

/// `10.0.0.7`, `10.0.0.7(5432)` or `10.0.0.7:5432`; with a port it stays whole in `fields.client` too.
fn client<'a>(text: &'a [u8], draft: &mut Draft<'a>, fields: &mut Fields) -> bool {
    let port = text.strip_suffix(b")").and_then(|text| split(text, b'(')).filter(|(_, port)| is_number(port));
    let colon = || memchr::memrchr(b':', text).map(|at| (&text[..at], &text[at + 1..])).filter(|(_, p)| is_number(p));
    let is_address = |text: &[u8]| std::str::from_utf8(text).is_ok_and(|text| text.parse::<std::net::IpAddr>().is_ok());
    let host = match port {
        Some((host, _)) => host,
        None if is_address(text) => text,
        None => colon().map_or(text, |(host, _)| host),
    };
    if !is_address(host) {
        return false;
    }
    if draft.ip_address.is_some() || host.len() < text.len() {
        fields.add(key!("client"), Str::Raw(text));
    }
    draft.ip_address = draft.ip_address.or(Some(Str::Raw(host)));
    true
}

/// `user=postgres,db=shop,app=psql,client=10.0.0.7`, with commas or spaces between. What is behind the last pair; `None`, and
/// nothing done, if a key is no name.
fn pairs<'a>(text: &'a [u8], draft: &mut Draft<'a>, fields: &mut Fields) -> Option<&'a [u8]> {
    let commas = memchr(b',', text).is_some();
    let mut rest = text;
    loop {
        let end = match commas {
            true => memchr(b',', rest),
            false => memchr(b' ', rest),
        };
        let last = end.is_none() || (commas && memchr(b'=', &rest[end?..]).is_none());
        // Behind the last pair of a list with commas, a space ends it.
        let end = if last && commas { memchr(b' ', rest) } else { end };
        let (pair, behind) = end.map_or((rest, &b""[..]), |end| (&rest[..end], &rest[end + 1..]));
        let (key, value) = split(pair, b'=')?;
        let key: &[u8] = match key.trim_ascii() {
            b"db" => b"database",
            b"app" | b"application_name" => b"application",
            b"host" | b"remote" => b"client",
            key if !key.is_empty() && key.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_') => key,
            _ => return None,
        };
        if key == b"client" {
            if !value.is_empty() && !client(value, draft, fields) {
                fields.push(key, Str::Raw(value));
            }
        } else if !value.is_empty() || !matches!(key, b"user" | b"database" | b"application") {
            fields.push(key, Str::Raw(value));
        }
        rest = behind.trim_ascii_start();
        if last || memchr(b'=', split(rest, b' ').map_or(rest, |(word, _)| word)).is_none() {
            return Some(rest);
        }
    }
}

/// `duration: 12.345 ms…`
#[inline]
pub(crate) fn duration(message: &[u8]) -> Option<&[u8]> {
    let rest = message.strip_prefix(b"duration: ")?;
    let len = rest.iter().take_while(|b| b.is_ascii_digit() || **b == b'.').count();
    (len > 0 && rest[len..].starts_with(b" ms")).then(|| &rest[..len])
}

/// Whether a text is a time as PostgreSQL writes it.
pub(crate) fn is_time(text: &[u8]) -> bool {
    leading_time(text).is_some_and(|(time, rest)| time.len() == text.len() && rest.is_empty())
        || app_time::is_time(text)
}
