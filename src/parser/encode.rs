//! Writes records: JSON by hand into the caller's buffer, keys in the order of `docs/wire-format.md`.
//!
//! Everything that comes in is valid UTF-8 (the envelope's decoding sees to it) and is cut only at ASCII bytes or character
//! boundaries; so what goes out is valid UTF-8, and one line, since control characters are escaped.

use super::ansi;
use super::envelope::Stream;
use super::fields::Fields;
use super::level::Level;
use super::scan;
use super::time::Stamp;

/// A string on its way into a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Str<'a> {
    /// Text.
    Raw(&'a [u8]),
    /// The inside of a valid JSON string, which can be copied.
    Json(&'a [u8]),
    /// Text in the scratch memory, because it is nowhere in the line: start and end.
    Kept(u32, u32),
}

impl Str<'_> {
    /// Nothing.
    pub(crate) const EMPTY: Str<'static> = Str::Raw(b"");
}

/// Hexadecimal identifier, lower case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hex {
    digits: [u8; 32],
    len: u8,
}

impl Hex {
    /// `text` as an identifier of `LEN` digits (at most 32), not all of them zero.
    #[inline]
    pub(crate) fn new<const LEN: usize>(text: &[u8]) -> Option<Self> {
        let text: &[u8; LEN] = text.try_into().ok()?;
        let mut digits = [0; 32];
        // Without a way out in the middle, so that it is done on many bytes at a time.
        let (mut good, mut any) = (true, 0);
        for (digit, byte) in digits.iter_mut().zip(text) {
            let lower = byte | 0x20;
            good &= byte.is_ascii_digit() | (lower.wrapping_sub(b'a') < 6);
            any |= byte ^ b'0';
            *digit = lower;
        }
        (good && any != 0).then_some(Self { digits, len: LEN as u8 })
    }

    fn as_bytes(&self) -> &[u8] {
        &self.digits[..usize::from(self.len)]
    }
}

/// A record but for what is the same for all lines of a stream, and for `fields`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Draft<'a> {
    pub(crate) service_type: &'static str,
    pub(crate) log_type: &'static str,
    pub(crate) message: Str<'a>,
    /// Goes behind the message and a space, if it is not empty.
    pub(crate) message_tail: &'a [u8],
    /// Further lines of the message, behind it and a newline, if there are any.
    pub(crate) more: &'a [u8],
    pub(crate) level: Option<Level>,
    pub(crate) method: Option<Str<'a>>,
    pub(crate) path: Option<Str<'a>>,
    pub(crate) user_agent: Option<Str<'a>>,
    pub(crate) ip_address: Option<Str<'a>>,
    pub(crate) status_code: Option<u16>,
    pub(crate) response_size: Option<u64>,
    pub(crate) trace_id: Option<Hex>,
    pub(crate) span_id: Option<Hex>,
}

impl<'a> Draft<'a> {
    /// Only a message.
    pub(crate) fn new(service_type: &'static str, log_type: &'static str, message: Str<'a>) -> Self {
        Self {
            service_type,
            log_type,
            message,
            message_tail: b"",
            more: b"",
            level: None,
            method: None,
            path: None,
            user_agent: None,
            ip_address: None,
            status_code: None,
            response_size: None,
            trace_id: None,
            span_id: None,
        }
    }
}

/// What is the same for all lines of a source: the members `container_id`, `service_name` and `service_group`, encoded.
pub(crate) fn identity(container: &crate::source::Container) -> Vec<u8> {
    let mut out = Vec::new();
    let mut put = |key: &[u8], value: &str| {
        out.extend_from_slice(key);
        let mut valid = Vec::new();
        super::unescape::lossy(value.as_bytes(), &mut valid);
        escape(&mut out, &valid);
        out.push(b'"');
    };
    put(b",\"container_id\":\"", &container.id);
    put(b",\"service_name\":\"", &container.service);
    if let Some(group) = &container.group {
        put(b",\"service_group\":\"", group);
    }
    out
}

/// Appends a record and its newline.
#[inline]
pub(crate) fn record(
    out: &mut Vec<u8>,
    draft: &Draft<'_>,
    fields: &Fields,
    time: &Stamp,
    stream: Stream,
    identity: &[u8],
) {
    out.extend_from_slice(b"{\"service_type\":\"");
    out.extend_from_slice(draft.service_type.as_bytes());
    out.extend_from_slice(b"\",\"log_type\":\"");
    out.extend_from_slice(draft.log_type.as_bytes());
    out.extend_from_slice(b"\",\"message\":\"");
    message(out, draft, fields);
    if let Some(level) = draft.level {
        out.extend_from_slice(b"\",\"level\":\"");
        out.extend_from_slice(level.as_str().as_bytes());
    }
    out.extend_from_slice(b"\",\"timestamp\":\"");
    out.extend_from_slice(time);
    out.extend_from_slice(match stream {
        Stream::Stdout => b"\",\"stream\":\"stdout\"",
        Stream::Stderr => b"\",\"stream\":\"stderr\"",
    });
    string(out, b",\"method\":\"", draft.method, fields);
    string(out, b",\"path\":\"", draft.path, fields);
    string(out, b",\"user_agent\":\"", draft.user_agent, fields);
    string(out, b",\"ip_address\":\"", draft.ip_address, fields);
    if let Some(status) = draft.status_code {
        out.extend_from_slice(b",\"status_code\":");
        number(out, u64::from(status));
    }
    if let Some(size) = draft.response_size {
        out.extend_from_slice(b",\"response_size\":");
        number(out, size);
    }
    out.extend_from_slice(identity);
    if let Some(id) = draft.trace_id {
        string(out, b",\"trace_id\":\"", Some(Str::Json(id.as_bytes())), fields);
    }
    if let Some(id) = draft.span_id {
        string(out, b",\"span_id\":\"", Some(Str::Json(id.as_bytes())), fields);
    }
    out.extend_from_slice(b",\"fields\":{");
    out.extend_from_slice(fields.encoded());
    out.extend_from_slice(b"}}\n");
}

#[inline]
fn message(out: &mut Vec<u8>, draft: &Draft<'_>, fields: &Fields) {
    match draft.message {
        Str::Json(inner) => out.extend_from_slice(inner),
        Str::Raw(text) => escape_without_ansi(out, text),
        Str::Kept(start, end) => escape_without_ansi(out, fields.kept(start, end)),
    }
    if !draft.message_tail.is_empty() {
        out.push(b' ');
        escape(out, draft.message_tail);
    }
    if !draft.more.is_empty() {
        out.extend_from_slice(b"\\n");
        escape_without_ansi(out, draft.more);
    }
}

#[inline]
fn string(out: &mut Vec<u8>, key: &[u8], value: Option<Str<'_>>, fields: &Fields) {
    let Some(value) = value else { return };
    out.extend_from_slice(key);
    match value {
        Str::Json(inner) => out.extend_from_slice(inner),
        Str::Raw(text) => escape(out, text),
        Str::Kept(start, end) => escape(out, fields.kept(start, end)),
    }
    out.push(b'"');
}

/// Appends `number` in decimal.
pub(crate) fn number(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Appends `text` as the inside of a JSON string.
#[inline]
pub(crate) fn escape(out: &mut Vec<u8>, text: &[u8]) {
    let mut from = 0;
    loop {
        let at = scan::special(text, from);
        out.extend_from_slice(&text[from..at]);
        let Some(&byte) = text.get(at) else { return };
        escape_byte(out, byte);
        from = at + 1;
    }
}

/// As [`escape`], leaving out what only a terminal understands.
#[inline]
fn escape_without_ansi(out: &mut Vec<u8>, text: &[u8]) {
    let mut from = 0;
    loop {
        let at = scan::special(text, from);
        out.extend_from_slice(&text[from..at]);
        let Some(&byte) = text.get(at) else { return };
        if byte == 0x1b {
            from = at + ansi::sequence(&text[at..]);
        } else {
            escape_byte(out, byte);
            from = at + 1;
        }
    }
}

#[inline]
fn escape_byte(out: &mut Vec<u8>, byte: u8) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let short = match byte {
        b'"' | b'\\' => byte,
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        _ => {
            let (high, low) = (HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]);
            out.extend_from_slice(&[b'\\', b'u', b'0', b'0', high, low]);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

/// Bytes that `text` takes inside of a JSON string. An escape character counts for one: it does not get there (`ansi`).
pub(crate) fn escaped(text: &[u8]) -> usize {
    let of = |byte: &u8| match byte {
        b'"' | b'\\' | b'\n' | b'\r' | b'\t' => 2,
        0x1b => 1,
        0x00..=0x1f => 6,
        _ => 1,
    };
    text.iter().map(of).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers() {
        for n in [0, 7, 10, 65_535, u64::MAX] {
            let mut out = Vec::new();
            number(&mut out, n);
            assert_eq!(out, n.to_string().as_bytes());
        }
    }

    #[test]
    fn identifiers() {
        let check = |text: &str, len: usize, expected: Option<&str>| {
            let got = if len == 32 { Hex::new::<32>(text.as_bytes()) } else { Hex::new::<16>(text.as_bytes()) };
            assert_eq!(got.as_ref().map(Hex::as_bytes), expected.map(str::as_bytes), "{text}");
        };
        check("00F067AA0BA902B7", 16, Some("00f067aa0ba902b7"));
        check("00f067aa0ba902b7", 32, None);
        check("0000000000000000", 16, None);
        check("00f067aa0ba902bx", 16, None);
        check("00f067aa0ba902b@", 16, None);
        check("00f067aa0ba902b\u{10}", 16, None);
        check("4bf92f3577b34da6a3ce929d0e0e4736", 32, Some("4bf92f3577b34da6a3ce929d0e0e4736"));
        check("4bf92f3577b34da6a3ce929d0e0e4736", 16, None);
    }

    #[test]
    fn lengths() {
        for byte in (0..=u8::MAX).filter(|byte| *byte != 0x1b) {
            let mut out = Vec::new();
            escape(&mut out, &[byte]);
            assert_eq!(escaped(&[byte]), out.len(), "{byte:#x}");
        }
    }

    proptest! {
        #[test]
        fn escaping_is_undone_by_serde_json(text: String) {
            let mut out = vec![b'"'];
            escape(&mut out, text.as_bytes());
            out.push(b'"');
            prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }

        #[test]
        fn messages_hold_no_escape_character(text in "[\\x1b\\[\\]a-m0-9;\\x07é\\\\\"]{0,40}") {
            let mut out = vec![b'"'];
            escape_without_ansi(&mut out, text.as_bytes());
            out.push(b'"');
            let decoded: String = serde_json::from_slice(&out).unwrap();
            prop_assert!(!decoded.contains('\x1b'));
            if !text.contains('\x1b') {
                prop_assert_eq!(decoded, text);
            }
        }
    }
}
