//! Quoted text of programs that do not write JSON: Go's and Rust's escapes, and the bytes of access logs.

use super::scan;
use super::unescape::code_unit;

/// Whether `inner` may stand in a JSON string as it is: its escapes are JSON's, and nothing needs one more.
pub(crate) fn is_json(inner: &[u8]) -> bool {
    let mut at = 0;
    loop {
        at = scan::special(inner, at);
        match inner.get(at) {
            None => return true,
            Some(b'\\') => match inner.get(at + 1) {
                Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => at += 2,
                Some(b'u') if code_unit(inner, at).is_some() => at += 6,
                _ => return false,
            },
            Some(_) => return false,
        }
    }
}

/// Appends what the inside of a quoted string stands for: the escapes of Go (`\a \v \x41 \u00e9 \U0001f600 \101`), Rust
/// (`\u{e9} \0 \'`) and Python. What is no escape stays as it is; what is no character becomes U+FFFD.
pub(crate) fn decode(inner: &[u8], out: &mut Vec<u8>) {
    let (start, mut at) = (out.len(), 0);
    while let Some(found) = memchr::memchr(b'\\', &inner[at..]) {
        out.extend_from_slice(&inner[at..at + found]);
        at += found;
        at += escape(&inner[at..], out).unwrap_or_else(|| {
            out.push(b'\\');
            1
        });
    }
    out.extend_from_slice(&inner[at..]);
    repair(start, out);
}

/// Bytes given one by one need not make characters.
fn repair(start: usize, out: &mut Vec<u8>) {
    if std::str::from_utf8(&out[start..]).is_err() {
        let text = String::from_utf8_lossy(&out[start..]).into_owned();
        out.truncate(start);
        out.extend_from_slice(text.as_bytes());
    }
}

/// Decodes the escape at the front of `text`; its length.
fn escape(text: &[u8], out: &mut Vec<u8>) -> Option<usize> {
    let digits = |from: usize, len: usize, radix: u32| -> Option<u32> {
        let digits = text.get(from..from + len)?;
        digits.iter().try_fold(0u32, |n, b| Some(n.checked_mul(radix)? + char::from(*b).to_digit(radix)?))
    };
    let simple = match text.get(1)? {
        b'n' => b'\n',
        b't' => b'\t',
        b'r' => b'\r',
        b'a' => 7,
        b'b' => 8,
        b'v' => 11,
        b'f' => 12,
        quote @ (b'"' | b'\\' | b'\'' | b'/') => *quote,
        b'x' => {
            out.push(digits(2, 2, 16)? as u8);
            return Some(4);
        }
        b'u' if text.get(2) == Some(&b'{') => {
            let len = text.iter().take(10).position(|b| *b == b'}')?.checked_sub(3).filter(|len| *len > 0)?;
            push(digits(3, len, 16)?, out);
            return Some(len + 4);
        }
        b'u' => return surrogates(text, digits(2, 4, 16)?, out),
        b'U' => {
            push(digits(2, 8, 16)?, out);
            return Some(10);
        }
        b'0'..=b'3' if digits(1, 3, 8).is_some() => {
            out.push(digits(1, 3, 8)? as u8);
            return Some(4);
        }
        b'0' => 0,
        _ => return None,
    };
    out.push(simple);
    Some(2)
}

fn surrogates(text: &[u8], unit: u32, out: &mut Vec<u8>) -> Option<usize> {
    if (0xd800..0xdc00).contains(&unit)
        && let Some(low @ 0xdc00..=0xdfff) = code_unit(text, 6)
    {
        push(0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00), out);
        return Some(12);
    }
    push(unit, out);
    Some(6)
}

fn push(scalar: u32, out: &mut Vec<u8>) {
    let scalar = char::from_u32(scalar).unwrap_or(char::REPLACEMENT_CHARACTER);
    out.extend_from_slice(scalar.encode_utf8(&mut [0; 4]).as_bytes());
}

/// As nginx and Apache write what a client sent (`\x22`, `\"`, `\\`): appends it, and says whether it is readable text.
pub(crate) fn decode_bytes(text: &[u8], out: &mut Vec<u8>) -> bool {
    let start = out.len();
    let mut at = 0;
    while let Some(found) = memchr::memchr(b'\\', &text[at..]) {
        out.extend_from_slice(&text[at..at + found]);
        at += found;
        match text.get(at + 1) {
            Some(b'x' | b'"' | b'\\') => match escape(&text[at..], out) {
                Some(len) => at += len,
                None => return false,
            },
            _ => return false,
        }
    }
    out.extend_from_slice(&text[at..]);
    std::str::from_utf8(&out[start..]).is_ok() && !out[start..].iter().any(u8::is_ascii_control)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes() {
        let check = |inner: &str, json: bool, expected: &str| {
            let mut out = b"x".to_vec();
            decode(inner.as_bytes(), &mut out);
            assert_eq!(std::str::from_utf8(&out[1..]), Ok(expected), "{inner}");
            assert_eq!(is_json(inner.as_bytes()), json, "{inner}");
        };
        check("plain", true, "plain");
        check(r#"a\"b\\c\n\u00e9\ud83d\ude00"#, true, "a\"b\\c\né😀");
        check(r"\x41\a\v\U0001f600\101\'", false, "A\u{7}\u{b}😀A'");
        check(r"\u{e9}\u{1f600}\0", false, "é😀\0");
        check(r"\xff\xc3\xa9", false, "\u{fffd}é");
        check(r"\ud800 \U00110000", false, "\u{fffd} \u{fffd}");
        check(r"\q \x4 \u{} \", false, r"\q \x4 \u{} \");
        check("a\tb\"c", false, "a\tb\"c");
    }

    #[test]
    fn bytes() {
        let check = |text: &str, expected: Option<&str>| {
            let mut out = Vec::new();
            let good = decode_bytes(text.as_bytes(), &mut out);
            assert_eq!(good.then_some(out.as_slice()), expected.map(str::as_bytes), "{text}");
        };
        check(r"/a\x22b\x5Cc\xC3\xA9", Some("/a\"b\\cé"));
        check(r#"/a\"b\\c"#, Some("/a\"b\\c"));
        check(r"\x16\x03\x01", None);
        check(r"\xff", None);
        check(r"\q", None);
        check(r"\x4", None);
    }
}
