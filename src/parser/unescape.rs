//! From the inside of a JSON string to the text it stands for, always valid UTF-8.
//!
//! Every escape of RFC 8259 is understood; a surrogate without its other half becomes U+FFFD, as do bytes that are no UTF-8.
//! Text without escapes is not copied: the answer then is a length of the input.

use super::scan;

/// Where decoded text stands, and the memory for it. Kept by the parser and used for every line.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    /// Always as long as the longest text yet, so that decoding can write blocks; beyond `len` it is rubbish.
    bytes: Vec<u8>,
    len: usize,
    /// For the rare text that is no UTF-8.
    repaired: Vec<u8>,
}

/// Memory kept from one line to the next; what a longer line took is given back.
const KEEP: usize = 256 << 10;

/// Where the decoded text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The first so many bytes of the input.
    Input(usize),
    /// In the buffer.
    Buffer,
}

impl Place {
    /// The text.
    #[inline]
    pub(crate) fn of<'a>(self, input: &'a [u8], buffer: &'a Buffer) -> &'a [u8] {
        match self {
            Self::Input(len) => &input[..len],
            Self::Buffer => &buffer.bytes[..buffer.len],
        }
    }
}

/// Decodes `inner`, the inside of a JSON string; `None` when it holds a quote, a control character or a wrong escape.
///
/// With `newline`, an escaped newline at the very end is left out of the text. Second answer: whether there was one.
#[inline]
pub(crate) fn unescape(inner: &[u8], newline: bool, buffer: &mut Buffer) -> Option<(Place, bool)> {
    let first = scan::special(inner, 0);
    let ends = newline && inner.len() >= 2 && first == inner.len() - 2 && inner.ends_with(b"\\n");
    if first == inner.len() || ends {
        if inner.is_ascii() || std::str::from_utf8(&inner[..first]).is_ok() {
            return Some((Place::Input(first), ends));
        }
        buffer.repair(&inner[..first]);
        return Some((Place::Buffer, ends));
    }
    buffer.make_room(inner.len());
    buffer.len = decode(inner, first, &mut buffer.bytes)?;
    let ends = newline && buffer.bytes[..buffer.len].ends_with(b"\n");
    buffer.len -= usize::from(ends);
    if !buffer.bytes[..buffer.len].is_ascii() && std::str::from_utf8(&buffer.bytes[..buffer.len]).is_err() {
        buffer.repair_self();
    }
    Some((Place::Buffer, ends))
}

impl Buffer {
    fn make_room(&mut self, len: usize) {
        if self.bytes.len() < len + scan::BLOCK {
            self.bytes.resize(len + scan::BLOCK, 0);
        } else if self.bytes.len() > KEEP && len < KEEP / 2 {
            self.bytes.truncate(KEEP);
            self.bytes.shrink_to_fit();
        }
    }

    /// Text that is no UTF-8, with U+FFFD where it is none.
    fn repair(&mut self, text: &[u8]) {
        self.repaired.clear();
        lossy(text, &mut self.repaired);
        self.take_repaired();
    }

    fn repair_self(&mut self) {
        self.repaired.clear();
        lossy(&self.bytes[..self.len], &mut self.repaired);
        self.take_repaired();
    }

    fn take_repaired(&mut self) {
        self.make_room(self.repaired.len());
        self.len = self.repaired.len();
        self.bytes[..self.len].copy_from_slice(&self.repaired);
        if self.repaired.capacity() > KEEP {
            self.repaired = Vec::new();
        }
    }
}

/// Appends `text` with U+FFFD for what is no UTF-8.
pub(crate) fn lossy(text: &[u8], out: &mut Vec<u8>) {
    for chunk in text.utf8_chunks() {
        out.extend_from_slice(chunk.valid().as_bytes());
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

/// Decodes `inner`, which has no special byte before `first`, into `out`, which is a block longer; decoding never
/// lengthens. Blocks are copied whether or not they end in the middle at a special byte: what follows overwrites the rest.
fn decode(inner: &[u8], first: usize, out: &mut [u8]) -> Option<usize> {
    out.get_mut(..first)?.copy_from_slice(&inner[..first]);
    let (mut read, mut write) = (first, first);
    while let Some(block) = scan::block(inner, read) {
        out.get_mut(write..write + scan::BLOCK)?.copy_from_slice(block);
        match scan::special_in_block(block) {
            0 => (read, write) = (read + scan::BLOCK, write + scan::BLOCK),
            hits => {
                let hit = hits.trailing_zeros() as usize;
                (read, write) = escape(inner, read + hit, out, write + hit)?;
            }
        }
    }
    while let Some(word) = scan::word(inner, read) {
        out.get_mut(write..write + 8)?.copy_from_slice(&word.to_le_bytes());
        match scan::special_in(word) {
            None => (read, write) = (read + 8, write + 8),
            Some(hit) => (read, write) = escape(inner, read + hit, out, write + hit)?,
        }
    }
    while let Some(&byte) = inner.get(read) {
        if scan::is_special(byte) {
            (read, write) = escape(inner, read, out, write)?;
        } else {
            *out.get_mut(write)? = byte;
            (read, write) = (read + 1, write + 1);
        }
    }
    Some(write)
}

/// What stands for the character behind the backslash; 0 where there is no such escape.
const SIMPLE: [u8; 256] = {
    let mut table = [0; 256];
    table[b'"' as usize] = b'"';
    table[b'\\' as usize] = b'\\';
    table[b'/' as usize] = b'/';
    table[b'b' as usize] = 8;
    table[b'f' as usize] = 12;
    table[b'n' as usize] = b'\n';
    table[b'r' as usize] = b'\r';
    table[b't' as usize] = b'\t';
    table
};

/// Decodes the escape at `read`; where reading and writing go on.
#[inline(always)]
fn escape(inner: &[u8], read: usize, out: &mut [u8], write: usize) -> Option<(usize, usize)> {
    let &[b'\\', code] = inner.get(read..)?.first_chunk::<2>()? else { return None };
    let simple = SIMPLE[code as usize];
    if simple != 0 {
        *out.get_mut(write)? = simple;
        return Some((read + 2, write + 1));
    }
    unicode(inner, read, out, write)
}

#[inline(never)]
fn unicode(inner: &[u8], read: usize, out: &mut [u8], write: usize) -> Option<(usize, usize)> {
    let unit = code_unit(inner, read)?;
    let (scalar, read) = match unit {
        0xd800..=0xdbff => match code_unit(inner, read + 6) {
            Some(low @ 0xdc00..=0xdfff) => (0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00), read + 12),
            _ => (0xfffd, read + 6),
        },
        _ => (unit, read + 6),
    };
    let scalar = char::from_u32(scalar).unwrap_or(char::REPLACEMENT_CHARACTER);
    let len = scalar.encode_utf8(out.get_mut(write..write + 4)?).len();
    Some((read, write + len))
}

/// The value of `\uXXXX` at `at`.
pub(crate) fn code_unit(inner: &[u8], at: usize) -> Option<u32> {
    let &[b'\\', b'u', a, b, c, d] = inner.get(at..)?.first_chunk::<6>()? else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16);
    Some(digit(a)? << 12 | digit(b)? << 8 | digit(c)? << 4 | digit(d)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn run(inner: &[u8]) -> Option<Vec<u8>> {
        let mut buffer = Buffer::default();
        let (place, _) = unescape(inner, false, &mut buffer)?;
        Some(place.of(inner, &buffer).to_vec())
    }

    #[test]
    fn escapes() {
        let check = |inner: &str, expected: Option<&str>| {
            assert_eq!(run(inner.as_bytes()).as_deref(), expected.map(str::as_bytes), "{inner}");
        };
        check("", Some(""));
        check("plain", Some("plain"));
        check(r#"a\"b\\c\/d\be\ff\ng\rh\ti"#, Some("a\"b\\c/d\u{8}e\u{c}f\ng\rh\ti"));
        check(r"\u003cb\u003e \u0026 \u2028", Some("<b> & \u{2028}"));
        check(r"\ud83d\ude00!", Some("😀!"));
        check(r"\ud83d", Some("\u{fffd}"));
        check(r"\ude00x", Some("\u{fffd}x"));
        check(r"\ud83dA", Some("\u{fffd}A"));
        check(r"\ud83d\ud83d\ude00", Some("\u{fffd}😀"));
        check(r"\u0000", Some("\0"));
        check("tail\\", None);
        check(r"\x41", None);
        check(r"\u12", None);
        check(r"\u12g4", None);
        check("a\"b", None);
        check("a\nb", None);
    }

    #[test]
    fn newline_at_the_end() {
        let check = |inner: &str, text: &str, newline: bool| {
            let mut buffer = Buffer::default();
            let (place, ended) = unescape(inner.as_bytes(), true, &mut buffer).unwrap();
            assert_eq!((place.of(inner.as_bytes(), &buffer), ended), (text.as_bytes(), newline), "{inner}");
        };
        check("\\n", "", true);
        check("abc\\n", "abc", true);
        check("abc", "abc", false);
        check("a\\n\\n", "a\n", true);
        check("a\\\\n", "a\\n", false);
        check("é\\n", "é", true);
    }

    /// The naive twin: repair first, let serde_json do the rest. It refuses lone surrogates, which are replaced before.
    fn twin(inner: &[u8]) -> Option<String> {
        let text = String::from_utf8_lossy(inner);
        let (mut units, mut rest) = (String::new(), text.as_ref());
        while let Some(at) = rest.find('\\') {
            units.push_str(&rest[..at]);
            let pair = code_unit(rest.as_bytes(), at);
            let (keep, skip) = match pair {
                Some(0xd800..=0xdbff) if matches!(code_unit(rest.as_bytes(), at + 6), Some(0xdc00..=0xdfff)) => {
                    (true, 12)
                }
                Some(0xd800..=0xdfff) => (false, 6),
                Some(_) => (true, 6),
                None => (true, 2),
            };
            let end = (at + skip).min(rest.len());
            let end = (end..=rest.len()).find(|end| rest.is_char_boundary(*end))?;
            units.push_str(if keep { &rest[at..end] } else { "\\ufffd" });
            rest = &rest[end..];
        }
        units.push_str(rest);
        serde_json::from_str(&format!("\"{units}\"")).ok()
    }

    proptest! {
        #[test]
        fn same_as_serde_json(parts in proptest::collection::vec(prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..12),
            "[ -~]{0,40}".prop_map(String::into_bytes),
            "\\\\[\"\\\\/bfnrtux]".prop_map(String::into_bytes),
            "\\\\u[0-9a-fA-F]{4}".prop_map(String::into_bytes),
            "\\\\u[dD][89abAB][0-9a-f]{2}".prop_map(String::into_bytes),
            "\\\\ud8[0-9a-f]{2}\\\\ud[c-f][0-9a-f]{2}".prop_map(String::into_bytes),
        ], 0..12)) {
            let inner = parts.concat();
            let ours = run(&inner);
            if let Some(text) = &ours {
                prop_assert!(std::str::from_utf8(text).is_ok());
            }
            prop_assert_eq!(ours, twin(&inner).map(String::into_bytes));
        }
    }
}
