//! Where secrets stand in a text, by built-in rules.
//!
//! Each search goes on behind what the last one found and looks ahead by a bounded number of bytes, so a text takes linear
//! time. In doubt a rule takes too much: what is blacked out in vain is a nuisance, what is not is a leak.

use crate::limits::REGEX_BYTES;
use regex::{Regex, RegexBuilder};
use std::sync::LazyLock;

/// A built-in rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Builtin {
    /// The password of `scheme://user:password@host`.
    UrlPassword,
    /// The token of `Bearer …`.
    Bearer,
    /// The credentials of `Basic …`: base64 with a colon in it.
    Basic,
    /// Keys of AWS, Google, GitHub and Slack, which know themselves by how they begin.
    CloudKey,
    /// What stands behind `password=`, `secret=`, `token=`, `api_key=`, or is a field of such a name.
    Password,
    /// Numbers of payment cards: right issuer, length and check digit (Luhn).
    Card,
    /// E-mail addresses.
    Email,
}

/// Longest URL user and password, and other things that are looked for to the end.
const REACH: usize = 2048;

impl Builtin {
    /// Every rule, in the order in which they are applied: `user:password@host` must not be taken for an address first.
    pub const ALL: [Self; 7] =
        [Self::UrlPassword, Self::Bearer, Self::Basic, Self::CloudKey, Self::Password, Self::Card, Self::Email];

    /// As a person writes it, and as the text that stands for what was found names it.
    pub fn name(self) -> &'static str {
        match self {
            Self::UrlPassword => "url-password",
            Self::Bearer => "bearer",
            Self::Basic => "basic",
            Self::CloudKey => "cloud-key",
            Self::Password => "password",
            Self::Card => "card",
            Self::Email => "email",
        }
    }

    /// The first secret in `text` at or behind `from`: start and end.
    pub(super) fn next(self, text: &str, from: usize) -> Option<(usize, usize)> {
        match self {
            Self::UrlPassword => url_password(text, from),
            Self::Bearer => bearer(text, from),
            Self::Basic => basic(text, from),
            Self::CloudKey => CLOUD_KEY.find_at(text, from).map(|found| (found.start(), found.end())),
            Self::Password => pair(text, from),
            Self::Card => card(text.as_bytes(), from),
            Self::Email => email(text, from),
        }
    }

    /// Where the secret begins in the value of a field of this name, which makes all the rest of it one.
    pub(super) fn by_key(self, key: &str, value: &str) -> Option<usize> {
        let key = key.rsplit_once('#').map_or(key, |(name, _)| name);
        match self {
            Self::Password if !value.is_empty() && !value.starts_with(MARK) => SECRET_KEY.is_match(key).then_some(0),
            Self::Bearer | Self::Basic if ends_with(key, "authorization") => {
                let (scheme, rest) = value.split_once(' ')?;
                let rest = rest.trim_start();
                let mine = scheme.eq_ignore_ascii_case(self.name()) && !rest.is_empty() && !rest.starts_with(MARK);
                mine.then_some(value.len() - rest.len())
            }
            _ => None,
        }
    }
}

/// How a text begins that stands for a secret.
pub(super) const MARK: &str = "[redacted:";

fn pattern(pattern: &str) -> Regex {
    let built = RegexBuilder::new(pattern).dfa_size_limit(REGEX_BYTES).build();
    built.expect("the built-in patterns are tested")
}

static BEARER: LazyLock<Regex> = LazyLock::new(|| pattern(r#"(?i)bearer\s+([^\s"'<>,;\\(){}\[\]]+)"#));
static BASIC: LazyLock<Regex> = LazyLock::new(|| pattern(r"(?i)basic\s+([A-Za-z0-9+/_-]+={0,2})"));
static CLOUD_KEY: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        "(?:AKIA|ASIA)[0-9A-Z]{16}|AIza[0-9A-Za-z_-]{35}|gh[pousr]_[0-9A-Za-z]{36,255}|github_pat_[0-9A-Za-z_]{22,255}\
         |xox[abeoprs]-[0-9A-Za-z-]{10,255}|xapp-[0-9A-Za-z-]{10,255}",
    )
});
const SECRET_NAME: &str =
    "(?:password|passwd|passphrase|pwd|secret(?:[_-]?(?:access[_-]?)?key)?|token|api[_-]?key|private[_-]?key)";
static PAIR: LazyLock<Regex> =
    LazyLock::new(|| pattern(&format!(r#"(?i){SECRET_NAME}(?:(?:\\*["'])?\s*(?:=>|[:=])\s*|\s+')"#)));
static SECRET_KEY: LazyLock<Regex> = LazyLock::new(|| pattern(&format!("(?i){SECRET_NAME}$")));
static EMAIL: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r#"[^\s@<>()\[\]{},;:"'\\=&?|/!*`]+(?:@|%40)[^\s@<>()\[\]{},;:"'\\=&?|/!*`%#]+\.[^\W\d_][^\W_]*[^\W\d_]"#)
});

fn ends_with(text: &str, end: &str) -> bool {
    text.len() >= end.len() && text.as_bytes()[text.len() - end.len()..].eq_ignore_ascii_case(end.as_bytes())
}

/// `scheme://user:password@host`. A password should have its `/`, `?`, `#` and `@` written as `%2F` and so on; many have not.
fn url_password(text: &str, mut from: usize) -> Option<(usize, usize)> {
    loop {
        let start = from + memchr::memmem::find(&text.as_bytes()[from..], b"://")? + 3;
        let scheme = text.as_bytes()[..start - 3].last().is_some_and(u8::is_ascii_alphanumeric);
        let bytes = &text.as_bytes()[start..text.len().min(start + REACH)];
        let stops = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b'"' | b'\'' | b'<' | b'>' | b'`');
        let bytes = &bytes[..bytes.iter().position(stops).unwrap_or(bytes.len())];
        if scheme
            && let Some((from, to)) = password_of(bytes)
            && !text[start + from..].starts_with(MARK)
        {
            return Some((start + from, start + to));
        }
        from = start;
    }
}

/// The password in what stands behind `://`.
fn password_of(bytes: &[u8]) -> Option<(usize, usize)> {
    let end = bytes.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#')).unwrap_or(bytes.len());
    let colon = memchr::memchr(b':', &bytes[..end])?;
    let at = match memchr::memrchr(b'@', &bytes[..end]) {
        Some(at) if at > colon => at,
        Some(_) => return None,
        // A port, or the beginning of a password with one of these in it.
        None if bytes[colon + 1..end].iter().all(u8::is_ascii_digit) => return None,
        None => memchr::memrchr(b'@', bytes)?,
    };
    (at > colon + 1).then_some((colon + 1, at))
}

fn bearer(text: &str, mut from: usize) -> Option<(usize, usize)> {
    loop {
        let token = BEARER.captures_at(text, from)?.get(1)?;
        // `bearer authentication` is prose.
        let name = token.as_str().trim_end_matches(['.', ':', '!', '?']);
        let strange = |byte: u8| !byte.is_ascii_alphabetic() && byte != b'-';
        if !name.starts_with(MARK) && (name.bytes().any(strange) || name.len() >= 20) {
            return Some((token.start(), token.end()));
        }
        from = token.start();
    }
}

fn basic(text: &str, mut from: usize) -> Option<(usize, usize)> {
    loop {
        let token = BASIC.captures_at(text, from)?.get(1)?;
        if base64_has_colon(token.as_str().as_bytes()) {
            return Some((token.start(), token.end()));
        }
        from = token.start();
    }
}

/// Whether what base64 stands for has a colon, as `user:password` has.
fn base64_has_colon(text: &[u8]) -> bool {
    let (mut bits, mut count) = (0u32, 0);
    for byte in text {
        let digit = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return false,
        };
        bits = bits << 6 | u32::from(digit);
        count += 6;
        if count >= 8 {
            count -= 8;
            if (bits >> count) as u8 == b':' {
                return true;
            }
        }
    }
    false
}

/// What stands behind `password=` and the like.
fn pair(text: &str, mut from: usize) -> Option<(usize, usize)> {
    loop {
        let found = PAIR.find_at(text, from)?;
        // SQL's `PASSWORD 'x'`: the quote belongs to the value.
        let sql = found.as_str().ends_with('\'');
        let start = found.end() - usize::from(sql);
        let (start, end) = value_at(text, start);
        if start < end && !text[start..].starts_with(MARK) {
            return Some((start, end));
        }
        from = end.max(found.end());
    }
}

/// The value at `at`: within its quotes, which may be escaped; else up to where a value ends.
fn value_at(text: &str, at: usize) -> (usize, usize) {
    let bytes = text.as_bytes();
    let slashes = bytes[at..].iter().take_while(|byte| **byte == b'\\').count();
    let quote = bytes.get(at + slashes).copied().filter(|byte| matches!(byte, b'"' | b'\''));
    let Some(quote) = quote else { return (at, unquoted_end(text, at)) };
    let start = at + slashes + 1;
    let mut from = start;
    while let Some(next) = memchr::memchr(quote, &bytes[from..]) {
        let next = from + next;
        let before = bytes[start..next].iter().rev().take_while(|byte| **byte == b'\\').count();
        if quote == b'\'' && bytes.get(next + 1) == Some(&quote) {
            // SQL's way to write a quote.
            from = next + 2;
            continue;
        }
        // As deeply escaped as the opening one: more belongs to the value.
        if before <= slashes {
            return (start, next - before);
        }
        from = next + 1;
    }
    (start, text.len())
}

fn unquoted_end(text: &str, at: usize) -> usize {
    let bytes = text.as_bytes();
    let mut end = at;
    while let Some(&byte) = bytes.get(end) {
        let stops = match byte {
            b'"' | b'\'' => true,
            b'&' | b';' | b',' => another_pair(&bytes[end + 1..]),
            byte => byte.is_ascii_whitespace(),
        };
        if stops {
            break;
        }
        end += 1;
    }
    // `token=Bearer abc` without the rule for `Bearer`.
    let word = &text[at..end];
    if (word.eq_ignore_ascii_case("bearer") || word.eq_ignore_ascii_case("basic")) && bytes.get(end) == Some(&b' ') {
        let rest = &bytes[end + 1..];
        return end + 1 + rest.iter().position(u8::is_ascii_whitespace).unwrap_or(rest.len());
    }
    let kept = word.trim_end_matches([')', '}', ']', '>', ',', ';', '&', '\\']);
    at + kept.len()
}

/// Whether `key=` or `key:` follows, or nothing: then the character before does not belong to a value.
fn another_pair(rest: &[u8]) -> bool {
    const KEY: usize = 64;
    let rest = &rest[..rest.len().min(KEY)];
    let inside = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'"' | b'\'');
    let key = rest.iter().take_while(|byte| inside(byte)).count();
    match rest.get(key) {
        None => key == 0,
        Some(b'=' | b':') => true,
        Some(byte) => key == 0 && byte.is_ascii_whitespace(),
    }
}

/// A card number: groups of digits, of four and more, with single spaces or hyphens between them.
fn card(text: &[u8], from: usize) -> Option<(usize, usize)> {
    const LONGEST: usize = 19;
    let mut at = from;
    while let Some(skip) = text[at..].iter().position(u8::is_ascii_digit) {
        at += skip;
        let fraction = at >= 2 && text[at - 1] == b'.' && text[at - 2].is_ascii_digit();
        let inside = at > 0 && text[at - 1].is_ascii_digit();
        if !fraction && !inside {
            let mut digits = [0u8; LONGEST];
            let (mut count, mut next, mut group, mut found) = (0, at, 0, None);
            while count < LONGEST
                && let Some(&byte) = text.get(next)
            {
                match byte {
                    b'0'..=b'9' => {
                        digits[count] = byte - b'0';
                        count += 1;
                        next += 1;
                        group += 1;
                        let ends = !text.get(next).is_some_and(u8::is_ascii_digit) && !fraction_follows(text, next);
                        if ends && group >= 3 && is_card(&digits[..count]) {
                            found = Some((at, next));
                        }
                    }
                    b' ' | b'-' if group >= 4 && text.get(next + 1).is_some_and(u8::is_ascii_digit) => {
                        next += 1;
                        group = 0;
                    }
                    _ => break,
                }
            }
            if found.is_some() {
                return found;
            }
        }
        // On to the next group.
        at += text[at..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    }
    None
}

fn fraction_follows(text: &[u8], at: usize) -> bool {
    text.get(at) == Some(&b'.') && text.get(at + 1).is_some_and(u8::is_ascii_digit)
}

/// Issuer, length and check digit.
fn is_card(digits: &[u8]) -> bool {
    if digits.len() < 13 {
        return false;
    }
    let begins = digits[..4].iter().fold(0, |number, digit| number * 10 + u32::from(*digit));
    let length = match begins {
        4000..=4999 => matches!(digits.len(), 13 | 16 | 18 | 19),
        5100..=5599 | 2221..=2720 | 3528..=3589 => digits.len() == 16,
        3400..=3499 | 3700..=3799 => digits.len() == 15,
        3000..=3059 | 3095 | 3600..=3699 | 3800..=3999 => (14..=19).contains(&digits.len()),
        6011 | 6440..=6599 | 6200..=6299 => (16..=19).contains(&digits.len()),
        5000..=5099 | 5600..=5899 | 6300..=6399 | 6700..=6799 => (13..=19).contains(&digits.len()),
        _ => false,
    };
    length && luhn(digits)
}

fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(at, digit)| {
            let digit = u32::from(*digit);
            match at % 2 {
                0 => digit,
                _ if digit > 4 => digit * 2 - 9,
                _ => digit * 2,
            }
        })
        .sum();
    sum.is_multiple_of(10)
}

fn email(text: &str, from: usize) -> Option<(usize, usize)> {
    let rest = &text.as_bytes()[from..];
    if memchr::memchr(b'@', rest).is_none() && memchr::memmem::find(rest, b"%40").is_none() {
        return None;
    }
    EMAIL.find_at(text, from).map(|found| (found.start(), found.end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `text` with what each rule finds in brackets.
    fn marked(rule: Builtin, text: &str) -> String {
        let (mut out, mut at) = (String::new(), 0);
        while let Some((start, end)) = rule.next(text, at) {
            assert!(start >= at && end > start, "{rule:?} {text}");
            out += &format!("{}«{}»", &text[at..start], &text[start..end]);
            at = end;
        }
        out + &text[at..]
    }

    #[track_caller]
    fn check(rule: Builtin, expected: &str) {
        let text: String = expected.chars().filter(|c| !matches!(c, '«' | '»')).collect();
        assert_eq!(marked(rule, &text), expected);
    }

    #[test]
    fn passwords_in_urls() {
        let check = |expected| check(Builtin::UrlPassword, expected);
        check("connecting to postgres://app:«s3cret»@db:5432/shop now");
        check("redis://:«p»@cache/0, http://u:«p»@h");
        check("amqp://a:«p/a?s#s@w»@mq/vhost");
        check("http://user@host/ https://host:8080/a@b http://h/ ftp://u:@h");
        check("\"dsn\":\"mysql://u:«p%40»@h/d\"");
        check("://a:b@c");
        check("http://a:«b»@c:1/http://d:«e»@f");
    }

    #[test]
    fn credentials() {
        let bearer = |expected| check(Builtin::Bearer, expected);
        bearer("Authorization: Bearer «eyJhbGciOi.eyJz.SflKxw»");
        bearer("authorization=bearer «abc123», next");
        bearer("bearer authentication failed; Bearer token is missing. The bearer is here");
        bearer("Bearer «abcdefghijklmnopqrstuvwxyz»");
        bearer("bearer bearer «1|laravel»");
        let basic = |expected| check(Builtin::Basic, expected);
        basic("Authorization: Basic «dXNlcjpwYXNz» ok");
        basic("basic «YTpi» basic auth BASIC «YWxhZGRpbjpvcGVuc2VzYW1l»");
        basic("basic functionality works");
    }

    #[test]
    fn keys_of_clouds() {
        let check = |expected| check(Builtin::CloudKey, expected);
        check("key «AKIAIOSFODNN7EXAMPLE» and «ASIAIOSFODNN7EXAMPLE».");
        check("«AIzaSyA1234567890abcdefghijklmnopqrstuv»");
        check("https://«ghp_0123456789abcdefghijklmnopqrstuvwxyz»@github.com");
        check("«github_pat_11ABCDEFG0123456789_abcdefghijklmnop»");
        check("xox-1 «xoxb-123456789012-abcdefABCDEF»");
        check("AKIA1234 ghp_short AIzashort");
    }

    #[test]
    fn pairs() {
        let check = |expected| check(Builtin::Password, expected);
        check("password=«hunter2» user=bob");
        check("DB_PASSWORD=«a,b;c»,user=x");
        check("?token=«abc»&x=1");
        check("{password=«p»}");
        check(r#"{"password":"«hun\"ter»","a":1}"#);
        check(r#"log: {\"client_secret\":\"«x y»\",\"a\":1}"#);
        check("api-key: «abc» apikey='«a b c»' secret => «s»");
        check("ALTER ROLE app PASSWORD '«x''y»'");
        check("aws_secret_access_key = «wJalrXUtnFEMI/K7MDENG»");
        check("token=«Bearer abc» x");
        check("password=\"«never closed»");
        check("tokens=5 max_tokens: 7 password_changed=true password");
        check("password= ");
        check("secret=«a» secret=«b» secret=«é»");
    }

    #[test]
    fn cards() {
        let check = |expected| check(Builtin::Card, expected);
        check("«4111111111111111» «4111 1111 1111 1111», «4111-1111-1111-1111»");
        check("«378282246310005» «5555555555554444» «6011111111111117» «30569309025904» «2223003122003222»");
        check("4111111111111112 1234567812345670 1795266001500000000");
        check("order 1234 «4111 1111 1111 1111» 99");
        check("0.4111111111111111 4111111111111111.5 «4111111111111111».");
        check("00004111111111111111 41111111111111110");
        check("n«4111111111111111»x");
        check("1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5");
    }

    #[test]
    fn addresses() {
        let check = |expected| check(Builtin::Email, expected);
        check("<«a.b+c@x-y.co.uk»>, «bob@example.com».");
        check("email=«bob%40example.com»&x=1");
        check("«größe@müller.de» and «o@1.io»");
        check("app@shop user@localhost @name a@b. react@18.2.0");
        check("\"to\":\"«x@y.org»\"");
    }

    #[test]
    fn fields_by_their_names() {
        let check = |rule: Builtin, key: &str, value: &str, expected: Option<usize>| {
            assert_eq!(rule.by_key(key, value), expected, "{key}={value}");
        };
        check(Builtin::Password, "password", "x", Some(0));
        check(Builtin::Password, "db.PassWord#2", "x", Some(0));
        check(Builtin::Password, "accessToken", "x", Some(0));
        check(Builtin::Password, "tokens", "5", None);
        check(Builtin::Password, "password", "", None);
        check(Builtin::Bearer, "Authorization", "Bearer letters", Some(7));
        check(Builtin::Basic, "Authorization", "Bearer letters", None);
        check(Builtin::Basic, "proxy-authorization", "basic !", Some(6));
        check(Builtin::Email, "password", "x", None);
    }

    #[test]
    fn long_texts_take_linear_time() {
        for part in ["a://b:c", "token=", "bearer ", "1 ", "4111 ", "a@", "password=\"", "basic a", ",a=", "x@y.z,"] {
            let text = part.repeat((1 << 17) / part.len());
            for rule in Builtin::ALL {
                let (mut at, mut rounds) = (0, 0);
                while let Some((_, end)) = rule.next(&text, at) {
                    at = end;
                    rounds += 1;
                }
                assert!(rounds <= text.len());
            }
        }
    }
}
