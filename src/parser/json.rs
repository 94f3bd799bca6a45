//! Walks the members of one JSON object without building anything: keys and values are slices of the line.
//!
//! One pass, no recursion, no allocation. Strings, numbers and literals of the object itself are checked against RFC 8259.
//! Of a nested value only the end is looked for (brackets counted outside strings): its text is carried over as it stands,
//! so a number like 1e400 or a hundred thousand brackets do no harm.
//!
//! Measured against simd-json's tape on a Go `slog` line of 250 bytes: see `benches/parser.rs`, group `json`. The tape also
//! forgets where a value stood, and `fields` wants its text.

use super::scan;
use super::unescape::code_unit;

/// A member of an object.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Member<'a> {
    /// From the opening quote of the key to the end of the value; empty where it is not written so (logfmt).
    pub(crate) span: &'a [u8],
    /// Inside of the key's quotes.
    pub(crate) key: Quoted<'a>,
    /// The value.
    pub(crate) value: Value<'a>,
}

/// The inside of a JSON string, with what is known of its escapes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Quoted<'a> {
    /// Between the quotes.
    pub(crate) inner: &'a [u8],
    /// Whether there is a backslash.
    pub(crate) escaped: bool,
    /// Whether it must be decoded before it is copied: there is half a surrogate pair, perhaps without the other.
    pub(crate) surrogate: bool,
}

/// A value.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Value<'a> {
    /// A string.
    String(Quoted<'a>),
    /// A number, `true`, `false` or `null`.
    Scalar(&'a [u8]),
    /// An object or an array, brackets included.
    Nested(&'a [u8]),
}

/// Why a text is no JSON object; for `fields.parse_error`.
pub(crate) type Broken = &'static str;

/// Iterates over the members of an object.
#[derive(Debug)]
pub(crate) struct Members<'a, 'q> {
    text: &'a [u8],
    at: usize,
    first: bool,
    quotes: &'q [u32],
}

impl<'a, 'q> Members<'a, 'q> {
    /// At the start of `text`, which may begin with white space.
    #[inline]
    pub(crate) fn of(text: &'a [u8]) -> Result<Self, Broken> {
        Self::with(text, &[])
    }

    /// The same, where it is known where the quotes of the text stand, from the first up to a point before which there is no
    /// backslash and no control character.
    #[inline]
    pub(crate) fn with(text: &'a [u8], quotes: &'q [u32]) -> Result<Self, Broken> {
        let at = skip_space(text, 0);
        match text.get(at) {
            Some(b'{') => Ok(Self { text, at: at + 1, first: true, quotes }),
            _ => Err("not a JSON object"),
        }
    }

    /// The next member; `None` when the object has ended and nothing but white space follows.
    #[inline]
    pub(crate) fn next(&mut self) -> Result<Option<Member<'a>>, Broken> {
        self.step()
    }

    /// As [`Members::next`], for the one loop where it matters: inlined, so that the member is not moved.
    #[inline(always)]
    pub(crate) fn step(&mut self) -> Result<Option<Member<'a>>, Broken> {
        let text = self.text;
        let mut at = skip_space(text, self.at);
        match text.get(at) {
            Some(b'}') => {
                self.at = at;
                return if skip_space(text, at + 1) == text.len() {
                    Ok(None)
                } else {
                    Err("text after the JSON object")
                };
            }
            Some(b',') if !self.first => at = skip_space(text, at + 1),
            Some(_) if self.first => {}
            Some(_) => return Err("no comma between JSON members"),
            None => return Err("JSON object without end"),
        }
        self.first = false;
        let start = at;
        let (key, end) = noted(text, at, &mut self.quotes).map_or_else(|| string(text, at), Ok)?;
        at = skip_space(text, end);
        if text.get(at) != Some(&b':') {
            return Err("no colon behind a JSON key");
        }
        at = skip_space(text, at + 1);
        let (value, end) = match noted(text, at, &mut self.quotes) {
            Some((inner, end)) => (Value::String(inner), end),
            None => value(text, at, &mut self.quotes)?,
        };
        self.at = end;
        Ok(Some(Member { span: &text[start..end], key, value }))
    }
}

impl Members<'_, '_> {
    /// Whether `text` is an object of which every member can be read, so that none is lost half-way.
    pub(crate) fn are_good(text: &[u8]) -> bool {
        let Ok(mut members) = Members::of(text) else { return false };
        loop {
            match members.next() {
                Ok(Some(_)) => {}
                Ok(None) => return true,
                Err(_) => return false,
            }
        }
    }
}

#[inline(always)]
fn skip_space(text: &[u8], mut at: usize) -> usize {
    while let Some(b' ' | b'\t' | b'\n' | b'\r') = text.get(at) {
        at += 1;
    }
    at
}

/// The string whose opening quote is at `at`, if it is known where it ends.
#[inline(always)]
fn noted<'a>(text: &'a [u8], at: usize, quotes: &mut &[u32]) -> Option<(Quoted<'a>, usize)> {
    let [open, close, rest @ ..] = *quotes else { return None };
    let close = *close as usize;
    let inner = text.get(at + 1..close).filter(|_| *open as usize == at && close < text.len())?;
    *quotes = rest;
    Some((Quoted { inner, escaped: false, surrogate: false }, close + 1))
}

#[inline]
fn value<'a>(text: &'a [u8], at: usize, quotes: &mut &[u32]) -> Result<(Value<'a>, usize), Broken> {
    let end = match text.get(at) {
        Some(b'"') => return string(text, at).map(|(inner, end)| (Value::String(inner), end)),
        Some(b'{' | b'[') => {
            let end = nested_end(text, at)?;
            while let Some((_, behind)) = quotes.split_first().filter(|(quote, _)| (**quote as usize) < end) {
                *quotes = behind;
            }
            return Ok((Value::Nested(&text[at..end]), end));
        }
        Some(b't') if text[at..].starts_with(b"true") => at + 4,
        Some(b'f') if text[at..].starts_with(b"false") => at + 5,
        Some(b'n') if text[at..].starts_with(b"null") => at + 4,
        Some(b'-' | b'0'..=b'9') => number_end(text, at).ok_or("bad JSON number")?,
        Some(_) => return Err("bad JSON value"),
        None => return Err("JSON object without end"),
    };
    Ok((Value::Scalar(&text[at..end]), end))
}

/// The string whose opening quote is at `at`, and where it ends.
#[inline]
fn string(text: &[u8], at: usize) -> Result<(Quoted<'_>, usize), Broken> {
    if text.get(at) != Some(&b'"') {
        return Err("no JSON string where one must be");
    }
    // Nearly all strings hold no escape.
    let next = scan::special(text, at + 1);
    if text.get(next) == Some(&b'"') {
        return Ok((Quoted { inner: &text[at + 1..next], escaped: false, surrogate: false }, next + 1));
    }
    string_with_escapes(text, at, next)
}

fn string_with_escapes(text: &[u8], at: usize, mut next: usize) -> Result<(Quoted<'_>, usize), Broken> {
    let (mut escaped, mut surrogate) = (false, false);
    loop {
        match text.get(next) {
            Some(b'"') => {
                return Ok((Quoted { inner: &text[at + 1..next], escaped, surrogate }, next + 1));
            }
            Some(b'\\') => {
                escaped = true;
                next += match text.get(next + 1) {
                    Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => 2,
                    Some(b'u') => {
                        let unit = code_unit(text, next).ok_or("bad escape in a JSON string")?;
                        surrogate |= (0xd800..0xe000).contains(&unit);
                        6
                    }
                    _ => return Err("bad escape in a JSON string"),
                };
                next = scan::special(text, next);
            }
            Some(_) => return Err("control character in a JSON string"),
            None => return Err("JSON string without end"),
        }
    }
}

fn number_end(text: &[u8], mut at: usize) -> Option<usize> {
    let digits = |at: usize| at + text[at..].iter().take_while(|b| b.is_ascii_digit()).count();
    at += usize::from(text[at] == b'-');
    match text.get(at)? {
        b'0' => at += 1,
        b'1'..=b'9' => at = digits(at),
        _ => return None,
    }
    if text.get(at) == Some(&b'.') {
        let end = digits(at + 1);
        if end == at + 1 {
            return None;
        }
        at = end;
    }
    if let Some(b'e' | b'E') = text.get(at) {
        at += 1;
        at += usize::from(matches!(text.get(at), Some(b'+' | b'-')));
        let end = digits(at);
        if end == at {
            return None;
        }
        at = end;
    }
    Some(at)
}

/// Where the object or array that begins at `at` ends.
fn nested_end(text: &[u8], at: usize) -> Result<usize, Broken> {
    let open = text[at];
    let (mut depth, mut next) = (0usize, at);
    while let Some(&byte) = text.get(next) {
        match byte {
            b'"' => {
                next = string(text, next)?.1;
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    return if byte == open + 2 { Ok(next + 1) } else { Err("JSON brackets do not match") };
                }
            }
            b'\\' | 0..=8 | 11 | 12 | 14..=31 => return Err("bad JSON value"),
            _ => {}
        }
        next += 1;
    }
    Err("JSON object without end")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parser::unescape::{Buffer, unescape};
    use proptest::prelude::*;

    fn walk(text: &[u8]) -> Result<Vec<(String, String)>, Broken> {
        walk_noted(text, &[])
    }

    fn walk_noted(text: &[u8], quotes: &[u32]) -> Result<Vec<(String, String)>, Broken> {
        let mut members = Members::with(text, quotes)?;
        let mut all = Vec::new();
        while let Some(member) = members.next()? {
            let value = match member.value {
                Value::String(string) => format!("\"{}\"", String::from_utf8_lossy(string.inner)),
                Value::Scalar(text) | Value::Nested(text) => String::from_utf8_lossy(text).into_owned(),
            };
            all.push((String::from_utf8_lossy(member.key.inner).into_owned(), value));
        }
        Ok(all)
    }

    #[test]
    fn objects() {
        let check = |text: &str, expected: Result<&[(&str, &str)], Broken>| {
            let expected =
                expected.map(|all| all.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect::<Vec<_>>());
            assert_eq!(walk(text.as_bytes()), expected, "{text}");
        };
        check("{}", Ok(&[]));
        check(" { } \r\n", Ok(&[]));
        check(r#"{"a":1,"b" : "x\"y" , "":null}"#, Ok(&[("a", "1"), ("b", r#""x\"y""#), ("", "null")]));
        check(r#"{"a":{"b":[1,"]"]},"c":-0.5e+3}"#, Ok(&[("a", r#"{"b":[1,"]"]}"#), ("c", "-0.5e+3")]));
        check(r#"{"a":1e400,"a":18446744073709551616}"#, Ok(&[("a", "1e400"), ("a", "18446744073709551616")]));
        check(r#"{"a":1"#, Err("JSON object without end"));
        check(r#"{"a":1}x"#, Err("text after the JSON object"));
        check(r#"{"a":01}"#, Err("no comma between JSON members"));
        check(r#"{"a":1.}"#, Err("bad JSON number"));
        check(r#"{"a":-}"#, Err("bad JSON number"));
        check(r#"{"a":1e}"#, Err("bad JSON number"));
        check(r#"{"a":tru}"#, Err("bad JSON value"));
        check(r#"{"a" 1}"#, Err("no colon behind a JSON key"));
        check(r#"{a:1}"#, Err("no JSON string where one must be"));
        check(r#"{,"a":1}"#, Err("no JSON string where one must be"));
        check(r#"{"a":1,}"#, Err("no JSON string where one must be"));
        check(r#"{"a":"\x"}"#, Err("bad escape in a JSON string"));
        check("{\"a\":\"\t\"}", Err("control character in a JSON string"));
        check(r#"{"a":[}}"#, Err("JSON brackets do not match"));
        check(r#"{"a":"#, Err("JSON object without end"));
        check(r#"{"a":"x"#, Err("JSON string without end"));
        check("[1]", Err("not a JSON object"));
        check("", Err("not a JSON object"));
    }

    #[test]
    fn depth_costs_no_stack() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(walk(deep.as_bytes()).unwrap()[0].1.len(), 200_000);
        assert!(walk(&deep.as_bytes()[..100_000]).is_err());
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<i32>().prop_map(|n| serde_json::json!(f64::from(n) / 8.0)),
            ".{0,20}".prop_map(Into::into),
        ];
        leaf.prop_recursive(3, 20, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
                proptest::collection::vec((".{0,8}", inner), 0..4)
                    .prop_map(|all| all.into_iter().collect::<serde_json::Map<_, _>>().into()),
            ]
        })
    }

    proptest! {
        /// What serde_json takes as an object we take, with the same members.
        #[test]
        fn members_of_objects(all in proptest::collection::vec((".{0,8}", json()), 0..6), pretty: bool) {
            let object: serde_json::Map<String, serde_json::Value> = all.into_iter().collect();
            let text = if pretty { serde_json::to_string_pretty(&object) } else { serde_json::to_string(&object) }.unwrap();
            let walked = walk(text.as_bytes()).unwrap();
            prop_assert_eq!(walked.len(), object.len());
            for (key, value) in walked {
                let key: String = serde_json::from_str(&format!("\"{key}\"")).unwrap();
                let value: serde_json::Value = serde_json::from_str(&value).unwrap();
                prop_assert_eq!(&object[&key], &value);
            }
        }

        /// What unescaping has noted of quotes changes nothing, also of a text without its end.
        #[test]
        fn noted_quotes_change_nothing(
            all in proptest::collection::vec((".{0,8}", json()), 0..6),
            odd in "\\{(\"[a/\\\\n\t\"u0]{0,5}\":?[0-9\"e.truefalsn{}\\[\\]+-]{0,6},?){0,4}\\}",
            good: bool,
            end in 0usize..300,
        ) {
            let object: serde_json::Map<String, serde_json::Value> = all.into_iter().collect();
            let text = if good { serde_json::to_string(&object).unwrap() } else { odd };
            let string = serde_json::to_string(&text).unwrap();
            let mut buffer = Buffer::default();
            let inner = &string.as_bytes()[1..string.len() - 1];
            let (place, _) = unescape(inner, true, &mut buffer).unwrap();
            let mut quotes = std::mem::take(&mut buffer.quotes);
            let decoded = place.of(inner, &buffer);
            prop_assert_eq!(decoded, text.as_bytes());
            let noted = quotes.take(decoded);
            let noted = noted.as_slice();
            let odd = text.find(['\\', '\t', '\n']).unwrap_or(text.len());
            prop_assert_eq!(noted.len(), text[..odd].matches('"').count());
            for decoded in [decoded, decoded.get(..end).unwrap_or(decoded)] {
                prop_assert_eq!(walk_noted(decoded, noted), walk(decoded));
            }
        }

        /// What we take, serde_json takes too, as long as nothing is nested, no surrogate is alone and no number is too large.
        #[test]
        fn nothing_else(text in "\\{(\"[a\\\\n\"u0]{0,5}\":?[0-9\"e.truefalsn+-]{0,6},?){0,3}\\}") {
            if let (Ok(_), Err(error)) = (walk(text.as_bytes()), serde_json::from_str::<serde_json::Value>(&text)) {
                prop_assert!(error.to_string().contains("out of range"), "{text} {error}");
            }
        }
    }
}
