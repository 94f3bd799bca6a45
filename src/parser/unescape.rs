//! From the inside of a JSON string to the text it stands for, always valid UTF-8.
//!
//! Every escape of RFC 8259 is understood; a surrogate without its other half becomes U+FFFD, as do bytes that are no UTF-8.
//! Text without escapes is not copied: the answer then is a length of the input.
//!
//! What is decoded is nearly always JSON in JSON, where every quote is an escape. So where the quotes of the text stand is known
//! on the way, and is noted ([`Quotes`]): whoever reads the text as JSON need not look for the ends of strings.

use super::scan::{self, Marks};

/// Where decoded text stands, and the memory for it. Kept by the parser and used for every line.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    /// As long as the longest text of late, so that decoding can write blocks; beyond `len` it is rubbish.
    bytes: Vec<u8>,
    len: usize,
    /// For the rare text that is no UTF-8.
    repaired: Vec<u8>,
    /// Those of the text that was decoded last.
    pub(crate) quotes: Quotes,
}

/// Where the first quotes of a message stand, up to the first byte that could hide one from who reads the text as JSON, or that no
/// JSON string can hold: a backslash, a control character.
#[derive(Debug, Default)]
pub(crate) struct Quotes {
    /// Longer than what is noted, so that notes are taken without asking for room.
    at: Vec<u32>,
    len: usize,
    /// Nothing is noted any more.
    ended: bool,
    /// Address of the text; nothing of another text is known.
    text: usize,
}

/// Quotes of a text that are noted, or a few less.
const NOTED: usize = 4096;

/// Quotes in a window, each behind a backslash.
const IN_WINDOW: usize = scan::WINDOW / 2;

impl Quotes {
    /// Lends what is known of `text`, which may be the text without its end; to be [given back](Self::give_back).
    #[inline]
    pub(crate) fn take(&mut self, text: &[u8]) -> Self {
        if self.text == text.as_ptr().addr() { std::mem::take(self) } else { Self::default() }
    }

    /// Takes the memory back, and forgets what was in it.
    #[inline]
    pub(crate) fn give_back(&mut self, lent: Self) {
        if !lent.at.is_empty() {
            *self = lent;
        }
        self.forget();
    }

    /// Where they stand, in their order.
    #[inline]
    pub(crate) fn as_slice(&self) -> &[u32] {
        self.at.get(..self.len).unwrap_or_default()
    }

    /// Nothing is known of any text.
    #[inline]
    pub(crate) fn forget(&mut self) {
        (self.len, self.ended, self.text) = (0, false, 0);
    }

    /// Takes a note of what was decoded to `byte` at `at`.
    #[inline]
    fn note(&mut self, byte: u8, at: usize) {
        if self.ended {
            return;
        }
        match self.room() {
            Some(room) if byte == b'"' => {
                room[0] = at as u32;
                self.len += 1;
            }
            _ => self.ended |= scan::is_special(byte),
        }
    }

    /// Room for the quotes of a window; `None` where nothing is noted any more.
    #[inline]
    fn room(&mut self) -> Option<&mut [u32; IN_WINDOW]> {
        if self.ended {
            return None;
        }
        if self.at.is_empty() {
            self.at.resize(NOTED, 0);
        }
        let room = self.at.get_mut(self.len..)?.first_chunk_mut();
        self.ended = room.is_none();
        room
    }
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
    buffer.quotes.forget();
    // Only messages are read as JSON.
    buffer.quotes.ended = !newline;
    // Nearly every line; of one that ends in backslashes and an n, decoding tells.
    let message = inner.strip_suffix(b"\\n").filter(|message| newline && message.last() != Some(&b'\\'));
    let (inner, ends) = message.map_or((inner, false), |message| (message, true));
    let first = scan::special(inner, 0);
    if first == inner.len() {
        if scan::is_ascii(inner) || std::str::from_utf8(inner).is_ok() {
            return Some((Place::Input(first), ends));
        }
        buffer.repair(inner);
        return Some((Place::Buffer, ends));
    }
    buffer.make_room(inner.len());
    buffer.len = decode(inner, first, &mut buffer.bytes, &mut buffer.quotes)?;
    buffer.quotes.text = buffer.bytes.as_ptr().addr();
    let found = newline && !ends && buffer.bytes[..buffer.len].ends_with(b"\n");
    buffer.len -= usize::from(found);
    let ends = ends || found;
    if !scan::is_ascii(&buffer.bytes[..buffer.len]) && std::str::from_utf8(&buffer.bytes[..buffer.len]).is_err() {
        buffer.repair_self();
    }
    Some((Place::Buffer, ends))
}

impl Buffer {
    fn make_room(&mut self, len: usize) {
        if self.bytes.len() < len + WIDE {
            self.bytes.resize(len + WIDE, 0);
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
        self.quotes.forget();
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

/// A window and another, so that copying blocks from anywhere in the first, or to there, stays in bounds.
const WIDE: usize = 2 * scan::WINDOW;

/// Decodes `inner`, which has no special byte before `first`, into `out`, which is [`WIDE`] longer; decoding never lengthens.
///
/// 1. Special bytes are marked 64 at a time, by their kind. Where every backslash has a quote behind it and nothing else is
///    special, as in nearly all windows of JSON in JSON, decoding is to leave the backslashes out.
/// 2. What stands between two backslashes is copied in blocks, whether or not it ends there: what follows overwrites the rest.
/// 3. Any other window is decoded escape by escape.
///
/// On a line of Go's with 40 escapes, 59 instructions for each of them before, when every block was searched anew behind an escape.
fn decode(inner: &[u8], first: usize, out: &mut [u8], quotes: &mut Quotes) -> Option<usize> {
    out.get_mut(..first)?.copy_from_slice(&inner[..first]);
    let (mut read, mut write) = (first, first);
    let mut padded;
    while let Some(rest) = inner.get(read..).filter(|rest| !rest.is_empty()) {
        let wide = match rest.first_chunk::<WIDE>() {
            Some(wide) => wide,
            None => {
                padded = [b' '; WIDE];
                padded[..rest.len()].copy_from_slice(rest);
                &padded
            }
        };
        let (Some(window), Some(room)) = (wide.first_chunk(), out.get_mut(write..)?.first_chunk_mut()) else {
            return None;
        };
        let mut marks = Marks::of(window);
        // A backslash at the end waits for what is behind it.
        let len = rest.len().min(scan::WINDOW - (marks.backslashes >> 63) as usize);
        marks = marks.of_first(len);
        if marks.quotes == marks.backslashes << 1 && marks.controls == 0 {
            let found = match quotes.room() {
                Some(notes) => {
                    let found = without_backslashes(wide, len, marks.backslashes, room, write, notes);
                    quotes.len += found;
                    found
                }
                None => without_backslashes(wide, len, marks.backslashes, room, write, &mut [0; IN_WINDOW]),
            };
            (read, write) = (read + len, write + len - found);
        } else {
            (read, write) = escapes(inner, read, len, marks.all(), out, write, quotes)?;
        }
    }
    Some(write)
}

/// Copies the first `len` bytes of `wide` (at most a window) to `room`, without the backslashes that are marked, each of which
/// has a quote behind it, and notes where the quotes are then, `room` being at `at`. How many they are.
#[inline(always)]
fn without_backslashes(
    wide: &[u8; WIDE],
    len: usize,
    mut backslashes: u64,
    room: &mut [u8; WIDE],
    at: usize,
    notes: &mut [u32; IN_WINDOW],
) -> usize {
    // None of the masks changes anything: they tell the compiler that all is in bounds.
    const MASK: usize = scan::WINDOW - 1;
    let mut copy = |read: usize, write: usize, len: usize| {
        let (from, to) = (read & MASK, write & MASK);
        match len {
            0..=scan::BLOCK => room[to..to + scan::BLOCK].copy_from_slice(&wide[from..from + scan::BLOCK]),
            _ => room[to..to + scan::WINDOW].copy_from_slice(&wide[from..from + scan::WINDOW]),
        }
    };
    let (mut read, mut found) = (0, 0);
    while backslashes != 0 {
        let hit = backslashes.trailing_zeros() as usize;
        // One byte less for each backslash before.
        copy(read, read - found, hit - read);
        notes[found % IN_WINDOW] = (at + hit - found) as u32;
        (read, found) = (hit + 1, found + 1);
        backslashes &= backslashes - 1;
    }
    copy(read, read - found, len - read);
    found
}

/// Decodes the `len` bytes at `read`, in which special ones are marked, and what an escape at their end reaches into; where
/// reading and writing go on.
fn escapes(
    inner: &[u8],
    mut read: usize,
    len: usize,
    mut hits: u64,
    out: &mut [u8],
    mut write: usize,
    quotes: &mut Quotes,
) -> Option<(usize, usize)> {
    let start = read;
    while hits != 0 {
        let hit = start + hits.trailing_zeros() as usize;
        write = copy(inner, read, hit, out, write)?;
        (read, write) = escape(inner, hit, out, write, quotes)?;
        hits &= u64::MAX.checked_shl((read - start) as u32).unwrap_or(0);
    }
    let end = read.max(start + len);
    write = copy(inner, read, end, out, write)?;
    Some((end, write))
}

/// Copies what stands from `read` to `end`, in a block if it fits; where writing goes on.
#[inline(always)]
fn copy(inner: &[u8], read: usize, end: usize, out: &mut [u8], write: usize) -> Option<usize> {
    let len = end.checked_sub(read)?;
    match scan::block(inner, read) {
        Some(block) if len <= scan::BLOCK => *out.get_mut(write..)?.first_chunk_mut()? = *block,
        _ => out.get_mut(write..write + len)?.copy_from_slice(inner.get(read..end)?),
    }
    Some(write + len)
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
fn escape(inner: &[u8], read: usize, out: &mut [u8], write: usize, quotes: &mut Quotes) -> Option<(usize, usize)> {
    let &[b'\\', code] = inner.get(read..)?.first_chunk::<2>()? else { return None };
    let simple = SIMPLE[code as usize];
    let (read, end) = if simple != 0 {
        *out.get_mut(write)? = simple;
        (read + 2, write + 1)
    } else {
        unicode(inner, read, out, write)?
    };
    quotes.note(*out.get(write)?, write);
    Some((read, end))
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
    fn more_quotes_than_are_noted() {
        for count in [1, 31, 32, 33, NOTED - 65, NOTED - 33, NOTED - 32, NOTED - 1, NOTED, NOTED + 40, 3 * NOTED] {
            for odd in ["", "\\t", "é"] {
                let text = format!("{}{odd}a\"b", "\"".repeat(count));
                let inner = serde_json::to_string(&text).unwrap();
                let (mut buffer, inner) = (Buffer::default(), &inner.as_bytes()[1..inner.len() - 1]);
                let (place, _) = unescape(inner, true, &mut buffer).unwrap();
                let mut quotes = std::mem::take(&mut buffer.quotes);
                let decoded = place.of(inner, &buffer);
                assert_eq!(decoded, text.as_bytes(), "{count} {odd}");
                let lent = quotes.take(decoded);
                let noted = lent.as_slice();
                assert!(noted.iter().enumerate().take(count).all(|(i, at)| i == *at as usize), "{count} {odd}");
                let all = if odd == "\\t" { count } else { count + 1 };
                assert!(
                    noted.len() <= all && (noted.len() == all || noted.len() + IN_WINDOW >= NOTED),
                    "{count} {odd}"
                );
            }
        }
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
