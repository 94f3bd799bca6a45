//! Anything: the whole line is the message, and the level is looked for where a logger puts it.
//!
//! That is at the beginning, behind nothing but what loggers put before it: times, numbers, brackets, dotted names,
//! punctuation. The first ordinary word ends the search, so that prose about an error is not one. Taken are words in
//! capitals (`ERROR`), any case in brackets or before a colon (`[warn]`, `error: …`), `level=…`, glog's `E1121 …`, the name of
//! an exception or warning before a colon, and what PHP and npm begin with. A date and time at the front, alone or in brackets,
//! is `fields.app_time` too.

use super::Format;
use super::cut::has_shape;
use crate::parser::ansi;
use crate::parser::app_time;
use crate::parser::encode::{Draft, Str};
use crate::parser::fields::Fields;
use crate::parser::level::{self, Level};

/// Words looked at.
const WORDS: usize = 8;

/// Bytes of the line in which they must begin.
const REACH: usize = 128;

/// Makes a draft of any text.
pub(crate) fn parse<'a>(text: &'a [u8], family: Format, fields: &mut Fields) -> Draft<'a> {
    let mut draft = Draft::new(family.service_type(), "plain", Str::Raw(text));
    draft.level = level_of(text);
    if text.strip_prefix(b"[").unwrap_or(text).first().is_some_and(u8::is_ascii_digit) {
        take_time(text, fields);
    }
    draft
}

#[inline(never)]
fn take_time(text: &[u8], fields: &mut Fields) {
    if let Some(time) = leading_time(text) {
        fields.app_time(time);
    }
}

/// `2026-11-21 13:00:00`, with `T` or a slash, a fraction and an offset.
pub(crate) fn leading_time(text: &[u8]) -> Option<&[u8]> {
    let text = text.strip_prefix(b"[").unwrap_or(text);
    let shaped = has_shape(text, b"dddd-dd-dd dd:dd:dd") || has_shape(text, b"dddd-dd-ddTdd:dd:dd");
    if !shaped && !has_shape(text, b"dddd/dd/dd dd:dd:dd") {
        return None;
    }
    let digits = |from: usize| text.get(from..).unwrap_or_default().iter().take_while(|b| b.is_ascii_digit()).count();
    let mut end = 19;
    if matches!(text.get(end), Some(b'.' | b',')) && digits(end + 1) > 0 {
        end += 1 + digits(end + 1);
    }
    end += match text.get(end..)? {
        [b'Z', ..] => 1,
        [b' ', b'U', b'T', b'C', ..] => 4,
        [b' ', b'+' | b'-', ..] if digits(end + 2) == 4 => 6,
        [b' ', b'+' | b'-', _, _, b':', ..] if digits(end + 5) == 2 => 7,
        [b'+' | b'-', ..] if digits(end + 1) == 4 => 5,
        [b'+' | b'-', _, _, b':', ..] if digits(end + 4) == 2 => 6,
        _ => 0,
    };
    app_time::is_time(&text[..end]).then(|| &text[..end])
}

/// The level at the beginning of `text`.
#[inline]
pub(crate) fn level_of(text: &[u8]) -> Option<Level> {
    let mut at = 0;
    for position in 0..WORDS {
        at = skip_to_word(text, at);
        if at >= text.len().min(REACH) {
            return None;
        }
        let mut len = word_len(&text[at..]);
        // `[time][INFO][name]`
        if (len > 16 || text[at + len - 1] == b']')
            && let Some(end) = text[at..at + len].iter().position(|b| *b == b']')
            && text.get(at + end + 1) == Some(&b'[')
        {
            len = end + 1;
        }
        let word = &text[at..at + len];
        match look(word, position == 0) {
            Look::Found(level) => return Some(level),
            Look::Goes => return behind_a_word(word, &text[at + len..]),
            Look::Stays => at += len,
        }
    }
    None
}

/// What some say with a word in front, or before a tab: `PHP Warning:  …`, `npm ERR! …`, `info⇥…`.
fn behind_a_word(word: &[u8], behind: &[u8]) -> Option<Level> {
    match word {
        b"PHP" | b"npm" => {}
        b"debug" | b"info" | b"warn" | b"error" | b"dpanic" | b"panic" | b"fatal" if behind.starts_with(b"\t") => {
            return level::of_word(word);
        }
        _ => return None,
    }
    let behind = behind.strip_prefix(b" ")?;
    let said = |name: &&[u8]| behind.starts_with(name) && matches!(behind.get(name.len()), Some(b' ' | b':'));
    if word == b"npm" {
        let levels: [&[u8]; 6] = [b"ERR!", b"error", b"WARN", b"warn", b"notice", b"info"];
        return level::of_word(trim(levels.into_iter().find(said)?));
    }
    const PHP: [(&[u8], Level); 7] = [
        (b"Fatal error", Level::Fatal),
        (b"Parse error", Level::Fatal),
        (b"Recoverable fatal error", Level::Error),
        (b"Warning", Level::Warn),
        (b"Deprecated", Level::Warn),
        (b"Notice", Level::Info),
        (b"Strict Standards", Level::Info),
    ];
    PHP.into_iter().find(|(name, _)| said(name)).map(|(_, level)| level)
}

#[inline]
fn word_len(text: &[u8]) -> usize {
    let mut len = 1;
    while len < text.len() && (text[len] > b' ' || !matches!(text[len], b' ' | b'\t' | 0x1b)) {
        len += 1;
    }
    len
}

#[inline]
fn skip_to_word(text: &[u8], mut at: usize) -> usize {
    loop {
        match text.get(at) {
            Some(b' ' | b'\t') => at += 1,
            Some(0x1b) => at += ansi::sequence(&text[at..]),
            _ => return at,
        }
    }
}

enum Look {
    Found(Level),
    /// May stand before a level.
    Stays,
    /// Ordinary text begins here.
    Goes,
}

#[inline]
fn look(word: &[u8], first: bool) -> Look {
    // Times, numbers and lone punctuation, at little cost.
    if word[0].is_ascii_digit() || (word.len() == 1 && !word[0].is_ascii_alphabetic()) {
        return Look::Stays;
    }
    let bracketed = matches!(word[0], b'[' | b'(' | b'<' | b'|');
    let core = trim(word);
    let Some(&head) = core.first() else { return Look::Stays };
    if head.is_ascii_digit() {
        return Look::Stays;
    }
    let before_colon = word.last() == Some(&b':');
    // `ERROR:app:text` and `level=error`: only what stands before the first colon or behind the equals sign.
    let name = core.iter().position(|b| matches!(b, b':' | b'=')).map_or(core, |at| match core[at] {
        b'=' if matches!(&core[..at], b"level" | b"lvl" | b"severity") => trim(&core[at + 1..]),
        _ => &core[..at],
    });
    // `fine: nothing to do` is prose in small letters.
    let prose =
        matches!(name, b"fine" | b"log" | b"note" | b"silly" | b"information" | b"verbose" | b"http" | b"success");
    let sure =
        !prose && (name.iter().all(u8::is_ascii_uppercase) || bracketed || before_colon || name.len() < core.len());
    if sure && let Some(level) = level::of_word(name) {
        return Look::Found(level);
    }
    if first && let Some(level) = glog(word) {
        return Look::Found(level);
    }
    // `TypeError: …`, `app.DeprecationWarning: …`, and Laravel's `production.ERROR: …`.
    if before_colon {
        if core.ends_with(b"Error") || core.ends_with(b"Exception") {
            return Look::Found(Level::Error);
        }
        if core.ends_with(b"Warning") {
            return Look::Found(Level::Warn);
        }
        let last = memchr::memrchr(b'.', core).map_or(&b""[..], |at| &core[at + 1..]);
        if let Some(level) = level::of_word(last).filter(|_| last.iter().all(u8::is_ascii_uppercase)) {
            return Look::Found(level);
        }
    }
    if is_of_date(core) {
        return Look::Stays;
    }
    // Ruby's `E, [time #7] ERROR -- …`
    if first && matches!(word, [b'D' | b'I' | b'W' | b'E' | b'F' | b'A', b',']) {
        return Look::Stays;
    }
    let dotted = core.iter().any(|b| matches!(b, b'.' | b':' | b'/')) && !before_colon && word.last() != Some(&b'.');
    if bracketed || dotted { Look::Stays } else { Look::Goes }
}

/// `Sat, 21 Nov 2026 11:00:00 PM UTC`: the words of a time.
fn is_of_date(word: &[u8]) -> bool {
    match word.len() {
        2 => matches!(word, b"AM" | b"PM"),
        3 => {
            app_time::month(word).is_some()
                || matches!(word, b"Mon" | b"Tue" | b"Wed" | b"Thu" | b"Fri" | b"Sat" | b"Sun" | b"UTC" | b"GMT")
        }
        _ => false,
    }
}

/// Without the punctuation around it.
fn trim(word: &[u8]) -> &[u8] {
    let inside = |byte: &u8| byte.is_ascii_alphanumeric() || *byte >= 0x80;
    let start = word.iter().position(inside).unwrap_or(word.len());
    let end = word.iter().rposition(inside).map_or(start, |at| at + 1);
    &word[start..end]
}

/// `I1121`, the first word of glog and klog.
fn glog(word: &[u8]) -> Option<Level> {
    let (letter, date) = word.split_first()?;
    if date.len() != 4 || !date.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(match letter {
        b'I' => Level::Info,
        b'W' => Level::Warn,
        b'E' => Level::Error,
        b'F' => Level::Fatal,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels() {
        let check = |text: &str, expected: Option<Level>| assert_eq!(level_of(text.as_bytes()), expected, "{text}");
        check("ERROR something broke", Some(Level::Error));
        check("error: something broke", Some(Level::Error));
        check("[warn] careful", Some(Level::Warn));
        check("<Error> x", Some(Level::Error));
        check("[2026-11-21 13:00:00] WARNING in app: x", Some(Level::Warn));
        check("2026-11-21 13:00:00,123 - app.db - INFO - connected", Some(Level::Info));
        check("2026-11-21T13:00:00.123Z  INFO my_app::http: listening", Some(Level::Info));
        check("13:00:00.123 [main] DEBUG com.example.Main - x", Some(Level::Debug));
        check("INFO:     127.0.0.1:5000 - \"GET / HTTP/1.1\" 200 OK", Some(Level::Info));
        check("WARNING:root:disk full", Some(Level::Warn));
        check("\x1b[33mWARN\x1b[0m careful", Some(Level::Warn));
        check("\x1b[2m2026-11-21T13:00:00Z\x1b[0m \x1b[31mERROR\x1b[0m x", Some(Level::Error));
        check("level=error msg=", Some(Level::Error));
        check("E1121 13:00:00.123456       1 main.go:10] x", Some(Level::Error));
        check("[INFO] x", Some(Level::Info));
        check("(info) x", Some(Level::Info));
        check("FATAL", Some(Level::Fatal));
        check("Listening on port 80, ERROR is off", None);
        check("error handling is on", None);
        check("TypeError: x is not a function", Some(Level::Error));
        check("java.lang.IllegalStateException: no", Some(Level::Error));
        check("(node:7) [DEP0005] DeprecationWarning: Buffer() is deprecated", Some(Level::Warn));
        check("[2026-11-21 13:00:00] production.ERROR: boom", Some(Level::Error));
        check("[2026-11-21][13:00:00][app][WARN] x", Some(Level::Warn));
        check("[2026-11-21T13:00:00,123][INFO ][o.e.n.Node] [node-1] started", Some(Level::Info));
        check("I, [2026-11-21T13:00:00.123456 #1]  INFO -- : x", Some(Level::Info));
        check("[2026-11-21 13:00:00.123][1][info][main] [source/server.cc:414] x", Some(Level::Info));
        check("2026-11-21 13:00:00 0 [Note] ready", Some(Level::Info));
        check("Terror: of the deep", None);
        check("TypeErrors: 3", None);
        check("example.com: up", None);
        check("the last Exception: none", None);
        check("there was an ERROR", None);
        check("Nov 21 13:00:00.123  INFO app: x", Some(Level::Info));
        check("Sat, 21 Nov 2026 23:07:59 ERROR    x", Some(Level::Error));
        check("11/21/2026 11:07:59 PM WARNING x", Some(Level::Warn));
        check("2026-11-21 13:00:00 UTC [error] x", Some(Level::Error));
        check("May I have an ERROR", None);
        check("Mar the ERROR", None);
        check("[21-Nov-2026 13:00:00 UTC] PHP Fatal error:  Uncaught x in /a.php:3", Some(Level::Fatal));
        check("PHP Warning:  x in /a.php on line 3", Some(Level::Warn));
        check("PHP Warnings are off", None);
        check("PHP 8.3 started", None);
        check("npm ERR! code ELIFECYCLE", Some(Level::Error));
        check("npm warn deprecated glob@7", Some(Level::Warn));
        check("npm errors: 3", None);
        check("info\t2026-11-21T13:00:00.123Z\tx", Some(Level::Info));
        check("name\terror\tcount", None);
        check("Error handling is on", None);
        check("information is here", None);
        check("INFOS x", None);
        check("EINFO x", None);
        check("1 2 3 4 5 6 7 8 ERROR", None);
        check("", None);
        check("   ", None);
        check("[] () ERROR x", Some(Level::Error));
        check("http://example.com/ERROR", None);
        check("fine: nothing to do", None);
        check("panic: runtime error: index out of range", Some(Level::Fatal));
    }
}
