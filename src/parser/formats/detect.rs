//! Which format a line is in, by the line alone.
//!
//! The first bytes decide which few readers may take it (mostly one), and these are tried in a fixed order. So the answer
//! depends on nothing that came before, costs the same for every line, and a stream may change its format with any line. It
//! replaced a format remembered for each stream, which saved nothing and made lines that two readers take depend on history.

use super::cut::has_shape;
use super::{Format, Scratch};
use super::{access, apache, glog, go, json, logfmt, nginx, node, postgres, python, redis, rust, syslog};
use crate::parser::encode::Draft;

/// A line that was taken, and by which format; JSON is always `Json` here.
pub(crate) type Taken<'a> = Option<(Draft<'a>, Format)>;

/// Bytes in which a severity of PostgreSQL's must stand whose prefix has no time in front.
const SEVERITY_REACH: usize = 128;

/// Tries each in turn, from a clean start.
macro_rules! first_of {
    ($scratch:expr, $($reader:expr),+ $(,)?) => {
        None$(.or_else(|| {
            $scratch.fields.clear();
            $reader
        }))+.map(by_family)
    };
}

/// Reads `text` with the first reader that takes it.
#[inline]
pub(crate) fn read<'a>(text: &'a [u8], scratch: &mut Scratch) -> Taken<'a> {
    scratch.fields.clear();
    let taken = match *text.first()? {
        b'{' => json::parse(text, None, scratch).ok().map(|draft| (draft, Format::Json)),
        b'0'..=b'9' => digit(text, scratch),
        first => other(first, text, scratch),
    };
    if taken.is_some() {
        return taken;
    }
    if text.last() == Some(&b'}') {
        scratch.fields.clear();
        return json::behind_text(text, None, scratch).map(|draft| (draft, Format::Json));
    }
    // A severity of PostgreSQL's behind any prefix; what begins with a word in brackets is none.
    if text[0] == b'[' && !text.get(1).is_some_and(u8::is_ascii_digit) {
        return None;
    }
    let head = &text[..text.len().min(SEVERITY_REACH)];
    memchr::memchr_iter(b':', head).find(|at| text[at + 1..].starts_with(b"  "))?;
    behind_any_prefix(text, scratch)
}

#[cold]
fn behind_any_prefix<'a>(text: &'a [u8], scratch: &mut Scratch) -> Taken<'a> {
    first_of!(scratch, postgres::line(text, false, &mut scratch.fields))
}

fn by_family(draft: Draft<'_>) -> (Draft<'_>, Format) {
    (draft, Format::of_service_type(draft.service_type))
}

/// Lines that begin with a digit: a time, an address, a process.
#[inline]
fn digit<'a>(text: &'a [u8], scratch: &mut Scratch) -> Taken<'a> {
    match (text.get(4), text.get(10)) {
        (Some(b'-'), Some(b'T' | b't')) => moment(text, scratch),
        (Some(b'-'), Some(b' ')) => date_and_time(text, scratch),
        (Some(b'/'), Some(b' ')) if nginx::is_error_time(text) => {
            first_of!(scratch, nginx::error(text, &mut scratch.fields), go::standard(text, scratch))
        }
        (Some(b'/'), Some(b' ')) => first_of!(scratch, go::standard(text, scratch)),
        (Some(_), _) if text[1] == b'.' && memchr::memchr(b'\t', &text[..text.len().min(32)]).is_some() => {
            first_of!(scratch, go::zap(text, scratch))
        }
        _ if redis::looks_so(text) => first_of!(scratch, redis::parse(text, &mut scratch.fields).ok()),
        _ => first_of!(
            scratch,
            access::parse(text, None, &mut scratch.fields),
            node::short(text, &mut scratch.fields),
            go::zerolog(text, scratch),
            postgres::line(text, false, &mut scratch.fields).filter(|_| has_shape(text, b"dddddddddd.ddd ")),
        ),
    }
}

/// `2026-11-21T13:00:00…`
fn moment<'a>(text: &'a [u8], scratch: &mut Scratch) -> Taken<'a> {
    let end = 19 + text.get(19..)?.iter().take(24).position(|b| matches!(b, b' ' | b'\t'))?;
    if text[end] == b'\t' {
        return first_of!(scratch, go::zap(text, scratch));
    }
    match text[end..].trim_ascii_start().first()? {
        b'A'..=b'Z' => first_of!(
            scratch,
            go::zerolog(text, scratch),
            rust::parse(text, None, scratch),
            syslog::parse(text, scratch).ok(),
        ),
        b'[' => first_of!(scratch, python::structlog(text, scratch), node::winston_at(text, false, scratch)),
        b'?' => first_of!(scratch, go::zerolog(text, scratch)),
        b'-' => first_of!(scratch, node::winston_at(text, false, scratch)),
        _ => first_of!(scratch, node::winston_at(text, false, scratch), syslog::parse(text, scratch).ok()),
    }
}

/// `2026-11-21 13:00:00…`
#[inline]
fn date_and_time<'a>(text: &'a [u8], scratch: &mut Scratch) -> Taken<'a> {
    if text.get(19) == Some(&b',') {
        return first_of!(
            scratch,
            python::logging(text, false, &mut scratch.fields),
            python::structlog(text, scratch),
            node::winston_at(text, false, scratch),
        );
    }
    let end = 19 + text.get(19..)?.iter().take(12).position(|b| matches!(b, b' ' | b'\t'))?;
    if text[end] == b'\t' {
        return first_of!(scratch, go::zap(text, scratch));
    }
    match text.get(end + 1)? {
        b'|' | b'-' if text.get(end + 2) == Some(&b' ') => {
            first_of!(
                scratch,
                python::logging(text, false, &mut scratch.fields),
                node::winston_at(text, false, scratch)
            )
        }
        b'[' => first_of!(
            scratch,
            python::structlog(text, scratch),
            node::winston_at(text, false, scratch),
            postgres::line(text, false, &mut scratch.fields),
        ),
        _ => first_of!(scratch, postgres::stderr_or_csv(text, false, &mut scratch.fields), less_usual(text, scratch),),
    }
}

/// Lines of others that have a space between date and time.
#[cold]
fn less_usual<'a>(text: &'a [u8], scratch: &mut Scratch) -> Option<Draft<'a>> {
    node::winston_at(text, false, scratch)
        .or_else(|| {
            scratch.fields.clear();
            rust::parse(text, None, scratch)
        })
        .or_else(|| {
            scratch.fields.clear();
            go::zerolog(text, scratch)
        })
}

fn other<'a>(first: u8, text: &'a [u8], scratch: &mut Scratch) -> Taken<'a> {
    match first {
        b'A'..=b'Z' => capital(text, scratch),
        b'a'..=b'z' => small(text, scratch),
        b'[' => bracket(text, scratch),
        b'<' => {
            first_of!(
                scratch,
                syslog::parse(text, scratch).ok(),
                postgres::line(text, false, &mut scratch.fields),
                go::zerolog(text, scratch),
            )
        }
        // A virtual host that is empty leaves its space.
        b' ' if text.get(1).is_some_and(|second| second.is_ascii_digit() || *second == b':') => {
            first_of!(scratch, access::parse(text, None, &mut scratch.fields))
        }
        b' ' | b'-' | 0xe2 => {
            first_of!(scratch, node::next(text, &mut scratch.fields), rust::parse(text, None, scratch))
        }
        b':' => {
            first_of!(scratch, access::parse(text, None, &mut scratch.fields), node::short(text, &mut scratch.fields))
        }
        b'_' | b'@' | b'"' => key_value(text, scratch),
        _ => None,
    }
}

/// A level, a month, a method, a key.
fn capital<'a>(text: &'a [u8], scratch: &mut Scratch) -> Taken<'a> {
    let letters = text.iter().take(12).take_while(|b| b.is_ascii_uppercase()).count();
    match text.get(letters)? {
        b':' => first_of!(
            scratch,
            python::named(text, &mut scratch.fields),
            postgres::line(text, false, &mut scratch.fields),
        ),
        b'[' => first_of!(scratch, go::logrus(text, scratch)),
        b' ' => level_or_method(text, &text[letters..], scratch),
        b'|' => first_of!(scratch, python::logging(text, false, &mut scratch.fields)),
        b'0'..=b'9' if letters == 2 => first_of!(scratch, apache::startup(text, &mut scratch.fields)),
        b'0'..=b'9' if letters == 1 => first_of!(scratch, glog::parse(text, None, scratch)),
        _ if syslog::time_len(text).is_some() => first_of!(scratch, syslog::parse(text, scratch).ok()),
        _ => key_value(text, scratch),
    }
}

/// A level with a time or a name behind it, or a method of HTTP.
fn level_or_method<'a>(text: &'a [u8], behind: &[u8], scratch: &mut Scratch) -> Taken<'a> {
    match behind.trim_ascii_start().first()? {
        b'0'..=b'9' | b'[' => first_of!(scratch, python::logging(text, false, &mut scratch.fields)),
        _ => first_of!(
            scratch,
            node::access(text, &mut scratch.fields),
            rust::parse(text, None, scratch),
            go::zerolog(text, scratch),
        ),
    }
}

/// A key, a level, a host.
fn small<'a>(text: &'a [u8], scratch: &mut Scratch) -> Taken<'a> {
    if text.starts_with(b"nginx: [") {
        return first_of!(scratch, nginx::startup(text, &mut scratch.fields));
    }
    if logfmt::looks_so(text) {
        return key_value(text, scratch);
    }
    let end = memchr::memchr2(b' ', b':', &text[..text.len().min(255)])?;
    let behind = &text[end + 1..];
    if text[end] == b':' && end <= 7 && behind.first() == Some(&b' ') {
        return first_of!(scratch, node::winston(text, scratch), host(text, behind, scratch));
    }
    if end <= 5 && matches!(behind, [b'-', b' ', ..] | [b' ', b'-', ..]) && !behind.starts_with(b"- -") {
        return first_of!(scratch, node::next(text, &mut scratch.fields), host(text, behind, scratch));
    }
    first_of!(scratch, host(text, behind, scratch))
}

/// Access lines of a client that is a name, or with a virtual host in front.
fn host<'a>(text: &'a [u8], behind: &[u8], scratch: &mut Scratch) -> Option<Draft<'a>> {
    let digit = behind.first().is_some_and(u8::is_ascii_digit);
    let may_be = behind.starts_with(b"- ") || digit || text[..text.len() - behind.len()].ends_with(b":");
    if !may_be {
        return None;
    }
    access::parse(text, None, &mut scratch.fields)
}

fn bracket<'a>(text: &'a [u8], scratch: &mut Scratch) -> Taken<'a> {
    match text.get(1)? {
        b'0'..=b'9' if text.get(11) == Some(&b'T') => {
            first_of!(
                scratch,
                rust::parse(text, None, scratch),
                node::bracketed_time(text, false, scratch),
                python::logging(text, false, &mut scratch.fields),
            )
        }
        b'0'..=b'9' if text.get(3) == Some(&b'/') => {
            first_of!(scratch, python::django_access(text, &mut scratch.fields))
        }
        b'0'..=b'9' => first_of!(
            scratch,
            python::in_brackets(text, &mut scratch.fields),
            python::logging(text, false, &mut scratch.fields),
            rust::parse(text, None, scratch),
            node::bracketed_time(text, false, scratch),
            postgres::line(text, false, &mut scratch.fields),
        ),
        b'N' => first_of!(scratch, node::nest(text, scratch)),
        b'G' => first_of!(scratch, go::gin(text, &mut scratch.fields)),
        b'A'..=b'Z' => {
            first_of!(
                scratch,
                apache::error(text, &mut scratch.fields),
                rust::parse(text, None, scratch),
                python::logging(text, false, &mut scratch.fields)
            )
        }
        // The level in its nine columns.
        b'a'..=b'z' if text.get(9..11) == Some(b" ]") => first_of!(scratch, python::structlog(text, scratch)),
        _ => None,
    }
}

fn key_value<'a>(text: &'a [u8], scratch: &mut Scratch) -> Taken<'a> {
    first_of!(scratch, logfmt::parse(text, None, scratch).ok())
}
