//! Lines of Python's standard library, `structlog` for people, uvicorn, gunicorn, Flask, celery and loguru.
//!
//! | logger | line |
//! |---|---|
//! | logging | `2026-11-21 13:00:00,123 - name - LEVEL - message`, with other separators and orders: below |
//! | logging.basicConfig | `LEVEL:name:message` |
//! | Flask | `[2026-11-21 13:00:00,123] LEVEL in module: message` |
//! | celery | `[2026-11-21 13:00:00,123: LEVEL/MainProcess] message` |
//! | gunicorn, hypercorn | `[2026-11-21 13:00:00 +0000] [7] [LEVEL] message` |
//! | uvicorn | `LEVEL:     message`, the message in column 10; its access lines `10.0.0.1:5000 - "GET / HTTP/1.1" 200 OK` |
//! | structlog | `2026-11-21 13:00:00 [level    ] event     key=value key=value` |
//! | loguru | `2026-11-21 13:00:00.123 \| LEVEL    \| module:function:line - message` |
//!
//! Behind the time of logging: at most one name and a level in capitals, in either order, each alone or in brackets, separated by
//! spaces, ` - ` or ` | `, up to a colon or one more separator. The comma before the milliseconds is Python's own; without it the
//! separators must be ` - ` or ` | `.

use super::access::{self, peer_of};
use super::cut::{bracketed, find, has_shape, is_name, is_number, split};
use super::pairs::{self, Bare};
use super::slots::{Slots, exact};
use super::{Format, Scratch};
use crate::parser::app_time;
use crate::parser::encode::{Draft, Str};
use crate::parser::fields::Fields;
use crate::parser::level::{self, Level};

/// Reads a line of any of them.
pub(crate) fn parse<'a>(text: &'a [u8], scratch: &mut Scratch) -> Option<Draft<'a>> {
    match *text.first()? {
        b'[' if text.get(1).is_some_and(u8::is_ascii_lowercase) => structlog(text, scratch),
        b'[' => in_brackets(text, &mut scratch.fields).or_else(|| {
            scratch.fields.clear();
            django_access(text, &mut scratch.fields)
        }),
        b'0'..=b'9' => structlog(text, scratch),
        b'A'..=b'Z' => named(text, &mut scratch.fields),
        _ => None,
    }
    .or_else(|| {
        scratch.fields.clear();
        logging(text, true, &mut scratch.fields)
    })
}

fn draft(message: &[u8]) -> Draft<'_> {
    Draft::new(Format::Python.service_type(), "structured", Str::Raw(message))
}

/// The levels of the standard library, and loguru's.
fn level_of(word: &[u8]) -> Option<Level> {
    match word {
        b"DEBUG" | b"INFO" | b"WARNING" | b"WARN" | b"ERROR" | b"CRITICAL" | b"FATAL" | b"TRACE" | b"SUCCESS"
        | b"CRIT" => level::of_word(word),
        // `%(levelname)-5.5s`
        b"WARNI" => Some(Level::Warn),
        b"CRITI" => Some(Level::Fatal),
        _ => None,
    }
}

/// Reads uvicorn's lines and `LEVEL:name:message`.
pub(crate) fn named<'a>(text: &'a [u8], fields: &mut Fields) -> Option<Draft<'a>> {
    let (word, rest) = split(text, b':')?;
    let level = level_of(word)?;
    let column = 9usize.checked_sub(word.len())?;
    if column > 0 && rest.len() > column && rest[..column].iter().all(|b| *b == b' ') && rest[column] != b' ' {
        fields.level(Some(level), word);
        let draft = uvicorn_access(&rest[column..], fields).unwrap_or_else(|| draft(&rest[column..]));
        return Some(Draft { level: Some(level), ..draft });
    }
    let (name, message) = split(rest, b':')?;
    if !is_name(name) || matches!(word, b"TRACE" | b"SUCCESS") {
        return None;
    }
    fields.level(Some(level), word);
    fields.push(b"logger", Str::Raw(name));
    let draft = access_in(message, fields).unwrap_or_else(|| draft(message));
    Some(Draft { level: Some(level), ..draft })
}

/// `[21/Nov/2026 13:00:00] "GET / HTTP/1.1" 200 16351`, as Django's `runserver` writes.
pub(crate) fn django_access<'a>(text: &'a [u8], fields: &mut Fields) -> Option<Draft<'a>> {
    let (time, rest) = bracketed(text)?;
    let rest = rest.strip_prefix(b" \"")?;
    let end = memchr::memmem::rfind(rest, b"\" ")?;
    let (request, (status, size)) = (&rest[..end], split(&rest[end + 2..], b' ')?);
    let number = exact(status).filter(|_| status.len() == 3)?;
    if !has_shape(time, b"dd/") || !app_time::is_time(time) || exact(size).is_none() {
        return None;
    }
    fields.app_time(time);
    let mut draft = draft(request);
    draft.log_type = "access";
    draft.message_tail = status;
    draft.status_code = u16::try_from(number).ok();
    draft.level = draft.status_code.map(Level::of_status);
    draft.response_size = exact(size);
    access::request_of(request, false, &mut draft, fields);
    Some(draft)
}

/// `10.0.0.1:5000 - "GET / HTTP/1.1" 200 OK`
fn uvicorn_access<'a>(text: &'a [u8], fields: &mut Fields) -> Option<Draft<'a>> {
    let at = find(&text[..text.len().min(80)], b" - \"")?;
    let (peer, rest) = (&text[..at], &text[at + 4..]);
    let end = memchr::memmem::rfind(rest, b"\" ")?;
    let (request, status) = (&rest[..end], &rest[end + 2..]);
    let (status, reason) = split(status, b' ').unwrap_or((status, b""));
    let number = exact(status).filter(|_| status.len() == 3)?;
    if peer.contains(&b' ') {
        return None;
    }
    let mut draft = draft(request);
    draft.log_type = "access";
    draft.message_tail = status;
    draft.status_code = u16::try_from(number).ok();
    peer_of(peer, b"remote_addr", &mut draft, fields);
    access::request_of(request, false, &mut draft, fields);
    if !reason.is_empty() {
        fields.push(b"reason", Str::Raw(reason));
    }
    Some(draft)
}

/// Reads what begins with a time in brackets.
pub(crate) fn in_brackets<'a>(text: &'a [u8], fields: &mut Fields) -> Option<Draft<'a>> {
    let (time, rest) = bracketed(text)?;
    if !has_shape(time, b"dddd-dd-dd dd:dd:dd") {
        return None;
    }
    let rest = rest.strip_prefix(b" ")?;
    // celery
    if let Some((time, process)) = find(time, b": ").map(|at| (&time[..at], &time[at + 2..])) {
        let (word, process) = split(process, b'/')?;
        let level = level_of(word).filter(|_| app_time::is_time(time))?;
        fields.app_time(time);
        fields.level(Some(level), word);
        fields.push(b"process", Str::Raw(process));
        return Some(Draft { level: Some(level), ..draft(rest) });
    }
    let (word, pid, name, message) = match bracketed(rest) {
        Some((pid, behind)) if is_number(pid) => {
            let (word, message) = bracketed(behind.strip_prefix(b" ")?)?;
            (word, pid, &b""[..], message.strip_prefix(b" ").unwrap_or(message))
        }
        Some(_) => return None,
        None => {
            let (word, rest) = split(rest, b' ')?;
            let (name, message) = split(rest.strip_prefix(b"in ")?, b':')?;
            (word, &b""[..], name, message.strip_prefix(b" ").unwrap_or(message))
        }
    };
    let level = level_of(word)?;
    if !app_time::is_time(time) {
        return None;
    }
    fields.app_time(time);
    fields.level(Some(level), word);
    if !pid.is_empty() {
        fields.push(b"pid", Str::Raw(pid));
    }
    if !name.is_empty() {
        fields.push(b"module", Str::Raw(name));
    }
    Some(Draft { level: Some(level), ..draft(message) })
}

/// Reads structlog's lines for people. The level is padded to nine columns in its brackets.
pub(crate) fn structlog<'a>(text: &'a [u8], scratch: &mut Scratch) -> Option<Draft<'a>> {
    // Where it is set up without a time, the level comes first.
    let (time, behind) = match text.first() {
        Some(b'[') => (&b""[..], text),
        _ => {
            let at = find(&text[..text.len().min(48)], b" [")?;
            (&text[..at], &text[at + 1..])
        }
    };
    let (word, rest) = bracketed(behind)?;
    if word.len() < 9 || !word[0].is_ascii_lowercase() || !(time.is_empty() || app_time::is_time(time)) {
        return None;
    }
    let name = word.trim_ascii_end();
    let level = level::of_word(name)?;
    let mut slots = Slots::new();
    if !time.is_empty() {
        slots.set_time(time, scratch);
    }
    slots.set_level(Some(level), name, scratch);
    let rest = rest.strip_prefix(b" ").unwrap_or(rest);
    let message = pairs::take_tail(rest, Bare::Phrase, &mut slots, scratch).trim_ascii_end();
    // `[name]` behind the event is the logger.
    let named = message.strip_suffix(b"]").and_then(|head| {
        let open = memchr::memrchr(b'[', head)?;
        (is_name(&head[open + 1..]) && open > 0 && head[open - 1] == b' ').then_some((open, &head[open + 1..]))
    });
    match named {
        Some((open, name)) => {
            scratch.fields.push(b"logger", Str::Raw(name));
            slots.set_message(message[..open].trim_ascii_end());
        }
        None => slots.set_message(message),
    }
    Some(slots.finish(Some(Format::Python), scratch))
}

/// Reads lines of logging and loguru in any layout of the [`Head`]. Automatic takes what shows that it is Python's.
pub(crate) fn logging<'a>(text: &'a [u8], explicit: bool, fields: &mut Fields) -> Option<Draft<'a>> {
    let mut head = Head::default();
    let mut rest = text;
    for _ in 0..ITEMS {
        let separator = separator(&mut rest);
        let before = rest;
        let item = item(&mut rest)?;
        if !head.take(item) {
            return None;
        }
        if head.level.is_some() {
            head.separator = separator;
            head.padded = before;
            break;
        }
    }
    let level = head.level?;
    let message = head.behind_the_level(rest);
    if !explicit && !head.is_pythons(text, message) {
        return None;
    }
    if !head.put(fields) {
        return None;
    }
    let draft = access_in(message, fields).unwrap_or_else(|| draft(message));
    Some(Draft { level: Some(level), ..draft })
}

/// Items of a head that are looked at for a level.
const ITEMS: usize = 6;

/// What stands before the message, in any order: a time, a level in capitals, the logger's name, a place in the source, numbers of
/// process and thread, a thread's name; each alone or in brackets, with spaces, ` - `, ` | `, `:` or `|` between.
#[derive(Default)]
struct Head<'a> {
    time: &'a [u8],
    word: &'a [u8],
    level: Option<Level>,
    name: &'a [u8],
    place: &'a [u8],
    process: &'a [u8],
    thread: &'a [u8],
    /// What stood before the level.
    separator: Separator,
    /// The text from the level on.
    padded: &'a [u8],
    /// A place in braces, which only Airflow writes.
    braces: bool,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum Separator {
    #[default]
    Space,
    Dash,
    Bar,
    Colon,
}

/// Takes a separator from the front.
fn separator(rest: &mut &[u8]) -> Separator {
    let text = rest.trim_ascii_start();
    let (separator, behind) = match text {
        [b'-', b' ', behind @ ..] => (Separator::Dash, behind),
        [b'|', behind @ ..] => (Separator::Bar, behind),
        [b':', behind @ ..] => (Separator::Colon, behind),
        text => (Separator::Space, text),
    };
    *rest = behind.trim_ascii_start();
    separator
}

#[derive(Clone, Copy)]
enum Item<'a> {
    Time(&'a [u8]),
    Word(&'a [u8]),
    /// With the bracket that opened it.
    Group(u8, &'a [u8]),
}

/// Takes an item from the front.
fn item<'a>(rest: &mut &'a [u8]) -> Option<Item<'a>> {
    let text = *rest;
    let first = *text.first()?;
    let close = match first {
        b'[' => b']',
        b'(' => b')',
        b'{' => b'}',
        b'<' => b'>',
        _ => {
            if first.is_ascii_digit()
                && let Some(len) = time_len(text)
            {
                *rest = &text[len..];
                return Some(Item::Time(&text[..len]));
            }
            let mut end = 0;
            loop {
                end += text[end..].iter().take(100).position(|b| matches!(b, b' ' | b'|' | b':'))?;
                if text[end] != b':' || !text.get(end + 1).is_some_and(u8::is_ascii_digit) {
                    break;
                }
                end += 1;
            }
            *rest = &text[end..];
            return Some(Item::Word(&text[..end]));
        }
    };
    let end = memchr::memchr(close, &text[..text.len().min(100)])?;
    *rest = &text[end + 1..];
    Some(Item::Group(first, text[1..end].trim_ascii()))
}

/// Length of a date and time at the front, with its fraction and offset. Other forms, by `datefmt`, are no automatic's.
fn time_len(text: &[u8]) -> Option<usize> {
    if !has_shape(text, b"dddd-dd-dd dd:dd:dd") && !has_shape(text, b"dddd-dd-ddTdd:dd:dd") {
        return other_time_len(text);
    }
    let digits = |from: usize| text[from..].iter().take(12).take_while(|b| b.is_ascii_digit()).count();
    let mut end = 19;
    if matches!(text.get(end), Some(b',' | b'.')) {
        end += 1 + digits(end + 1);
    }
    match text.get(end..) {
        Some([b'Z', ..]) => end += 1,
        Some([b'+' | b'-', ..]) if digits(end + 1) == 4 => end += 5,
        Some([b'+' | b'-', _, _, b':', ..]) if digits(end + 4) == 2 => end += 6,
        Some([b' ', b'+' | b'-', ..]) if digits(end + 2) == 4 => end += 6,
        _ => {}
    }
    // Whether it is one, `Head::put` finds out.
    ends_at(text, end).then_some(end)
}

/// `13:00:00`, with or without a fraction, `2026/11/21 13:00:00`, `21/Nov/2026 13:00:00`.
#[cold]
fn other_time_len(text: &[u8]) -> Option<usize> {
    let clock = if has_shape(text, b"dddd/dd/dd ") {
        11
    } else if has_shape(text, b"dd/") && text.get(6) == Some(&b'/') {
        12
    } else {
        0
    };
    let end = clock + 8;
    let fraction = match text.get(end) {
        Some(b',' | b'.') => 1 + text[end + 1..].iter().take_while(|b| b.is_ascii_digit()).count(),
        _ => 0,
    };
    let ends = ends_at(text, end + fraction);
    (ends && has_shape(text.get(clock..)?, b"dd:dd:dd")).then_some(end + fraction)
}

/// Whether a word can end there.
fn ends_at(text: &[u8], end: usize) -> bool {
    !text.get(end).is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
}

/// `app.py:12`
fn is_place(text: &[u8]) -> bool {
    memchr::memrchr(b':', text).is_some_and(|at| text[..at].ends_with(b".py") && is_number(&text[at + 1..]))
}

/// `app.db`: names of modules in small letters, two at least; the last may be a class.
fn is_module(text: &[u8]) -> bool {
    if !text.contains(&b'.') {
        return false;
    }
    let part = |part: &[u8]| {
        part.first().is_some_and(|b| b.is_ascii_alphabetic() || *b == b'_')
            && part.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_')
    };
    let mut parts = text.split(|b| *b == b'.');
    parts.next().is_some_and(|first| part(first) && !first[0].is_ascii_uppercase())
        && parts.all(part)
        && memchr::memrchr(b'.', text).is_some_and(|at| text.len() - at > 2)
}

/// `MainThread`, `Thread-3`, `ThreadPoolExecutor-0_1`
fn is_thread(text: &[u8]) -> bool {
    text.starts_with(b"MainThread") || text.starts_with(b"Thread") || text.starts_with(b"Dummy-")
}

impl<'a> Head<'a> {
    /// Whether the item has a place in the head.
    fn take(&mut self, item: Item<'a>) -> bool {
        match item {
            Item::Time(time) => {
                self.time.is_empty() && {
                    self.time = time;
                    true
                }
            }
            Item::Word(word) => self.word(word),
            Item::Group(_, b"-") => true,
            Item::Group(_, inner) if time_len(inner) == Some(inner.len()) => self.take(Item::Time(inner)),
            Item::Group(b'{', inner) if self.place.is_empty() && is_place(inner) => {
                (self.place, self.braces) = (inner, true);
                true
            }
            Item::Group(_, inner) if self.word(inner) => true,
            // `[INFO 2026-11-21 13:00:00,123 app:6]`
            Item::Group(b'[', inner) if self.time.is_empty() => {
                let mut rest = inner;
                while !rest.is_empty() {
                    let end = memchr::memchr(b' ', rest).unwrap_or(rest.len());
                    let (item, behind) = match time_len(rest) {
                        Some(len) => (Item::Time(&rest[..len]), &rest[len..]),
                        None => (Item::Word(&rest[..end]), &rest[end..]),
                    };
                    if matches!(item, Item::Word(b"")) || !self.take(item) {
                        return false;
                    }
                    rest = behind.trim_ascii_start();
                }
                !self.time.is_empty()
            }
            Item::Group(..) => false,
        }
    }

    fn word(&mut self, word: &'a [u8]) -> bool {
        if self.level.is_none() {
            self.level = level_of(word);
            if self.level.is_some() {
                self.word = word;
                return true;
            }
        }
        let place = if is_number(word) {
            if self.process.is_empty() { &mut self.process } else { &mut self.thread }
        } else if !self.braces && is_place(word) {
            &mut self.place
        } else if matches!(word.first(), Some(b'M' | b'T' | b'D')) && is_thread(word) {
            &mut self.thread
        } else if is_name(word) {
            &mut self.name
        } else {
            return false;
        };
        let free = place.is_empty();
        if free {
            *place = word;
        }
        free
    }

    /// Takes what belongs to the head of what is behind the level; the message.
    fn behind_the_level(&mut self, text: &'a [u8]) -> &'a [u8] {
        let mut rest = text;
        let mut separator = separator(&mut rest);
        // Django's `LEVEL time module process thread message`.
        if self.time.is_empty()
            && let Some(len) = time_len(rest)
        {
            self.time = &rest[..len];
            rest = &rest[len..];
            separator = self::separator(&mut rest);
            self.django(&mut rest);
        }
        // loguru's `module:function:line - message`.
        if separator == Separator::Bar
            && self.name.is_empty()
            && let Some(at) = find(rest, b" - ").filter(|at| is_name(&rest[..*at]))
        {
            self.name = &rest[..at];
            return &rest[at + 3..];
        }
        for _ in 0..3 {
            // Most messages: a word with nothing of a name in it.
            if let Some(end) = rest.iter().position(|b| matches!(b, b' ' | b'.' | b':' | b'|' | b'[' | b'('))
                && rest[end] == b' '
                && !matches!(rest.get(end + 1), Some(b'-' | b'|' | b':'))
            {
                return rest;
            }
            let mut behind = rest;
            let Some(item) = item(&mut behind) else { return rest };
            let tight = behind.first();
            let next = self::separator(&mut behind);
            let good = match item {
                Item::Group(b'[' | b'(', b"-") => true,
                Item::Group(b'[' | b'(' | b'{', inner) => (is_name(inner) || is_place(inner)) && self.word(inner),
                Item::Word(word) if is_place(word) => self.word(word),
                Item::Word(word) => {
                    let ended = match next {
                        Separator::Space => is_module(word),
                        Separator::Colon => tight == Some(&b':') && (separator == next || behind_a_colon(rest, word)),
                        Separator::Dash | Separator::Bar => tight != Some(&b'-'),
                    };
                    let named = ended && self.name.is_empty() && !is_number(word) && is_name(word);
                    named && level_of(word).is_none() && !is_supervisors(word) && self.word(word)
                }
                Item::Time(_) | Item::Group(..) => false,
            };
            if !good {
                return rest;
            }
            rest = behind;
            if next != Separator::Space {
                separator = next;
            }
        }
        rest
    }

    fn django(&mut self, rest: &mut &'a [u8]) {
        let mut words = rest.splitn(4, |b| *b == b' ');
        if let (Some(module), Some(process), Some(thread), Some(message)) =
            (words.next(), words.next(), words.next(), words.next())
            && self.name.is_empty()
            && self.process.is_empty()
            && self.thread.is_empty()
            && is_name(module)
            && is_number(process)
            && is_number(thread)
        {
            (self.name, self.process, self.thread) = (module, process, thread);
            *rest = message;
        }
    }

    /// Whether nobody else writes such a head: a comma before the milliseconds, which log4j and logback write too, but with levels
    /// of five columns; a time and then a separator that is none of a sentence's; what only Airflow and Alembic write.
    fn is_pythons(&self, text: &[u8], message: &[u8]) -> bool {
        let five =
            self.word.len() == 4 && self.padded.get(4..7).is_some_and(|p| p[0] == b' ' && p[1] == b' ' && p[2] != b' ');
        if self.time.is_empty() {
            // `%(levelname)-5.5s`, as Alembic has it.
            let five = five || matches!(self.word, b"WARNI" | b"CRITI");
            return five && self.place.is_empty() && is_module(self.name) && !is_javas(self.name);
        }
        let comma = self.time.get(19) == Some(&b',');
        let separated = matches!(self.separator, Separator::Dash | Separator::Bar) && text[0] != b'[';
        let javas = || five || is_javas(self.name) || self.name == b"main" || class_at_the_end(message);
        self.braces || ((comma || separated) && !javas())
    }

    /// False where the time is none.
    fn put(&self, fields: &mut Fields) -> bool {
        // A clock without a date stays as it is.
        if !self.time.is_empty() && !fields.app_time(self.time) && self.time.get(4) == Some(&b'-') {
            return false;
        }
        fields.level(self.level, self.word);
        let named =
            [(&b"logger"[..], self.name), (b"caller", self.place), (b"pid", self.process), (b"thread", self.thread)];
        for (key, value) in named {
            if !value.is_empty() {
                fields.push(key, Str::Raw(value));
            }
        }
        true
    }
}

/// What supervisord begins its messages with, which have no logger.
fn is_supervisors(word: &[u8]) -> bool {
    matches!(word, b"success" | b"spawned" | b"exited" | b"stopped" | b"spawnerr")
}

/// Whether a space is behind the word and its colon.
fn behind_a_colon(text: &[u8], word: &[u8]) -> bool {
    text.get(word.len()..).is_some_and(|behind| behind.starts_with(b": "))
}

/// `com.example.Main`, `c.e.Main`: a class, in a package that a domain begins.
fn is_javas(name: &[u8]) -> bool {
    let class = || memchr::memrchr(b'.', name).is_some_and(|at| name.get(at + 1).is_some_and(u8::is_ascii_uppercase));
    let domain = match name.first() {
        Some(b'c') => name.starts_with(b"com."),
        Some(b'o') => name.starts_with(b"org."),
        Some(b'n') => name.starts_with(b"net."),
        Some(b'i') => name.starts_with(b"io."),
        Some(b'j') => name.starts_with(b"java") || name.starts_with(b"jdk."),
        _ => false,
    };
    domain || (name.get(1) == Some(&b'.') && class())
}

/// `… (kafka.server.KafkaServer)`
fn class_at_the_end(message: &[u8]) -> bool {
    let inner = message.strip_suffix(b")").and_then(|text| Some(&text[memchr::memrchr(b'(', text)? + 1..]));
    inner.is_some_and(|name| {
        let class = memchr::memrchr(b'.', name).and_then(|at| name.get(at + 1));
        class.is_some_and(u8::is_ascii_uppercase) && is_name(name)
    })
}

/// What an access log of uvicorn's, gunicorn's or Werkzeug's writes through a logger.
fn access_in<'a>(message: &'a [u8], fields: &mut Fields) -> Option<Draft<'a>> {
    if !message.first()?.is_ascii_hexdigit() && !matches!(message[0], b'[' | b':' | b'-') {
        return None;
    }
    if find(&message[..message.len().min(80)], b" - \"").is_some() {
        return uvicorn_access(message, fields);
    }
    find(message, b"] \"")?;
    access::parse(message, Some(Format::Python), fields)
}
