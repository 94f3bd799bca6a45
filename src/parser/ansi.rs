//! Terminal escape sequences (ECMA-48), which say how a message looks and not what it says.

/// Length of the escape sequence that `text` begins with. `text` begins with ESC; at least that is taken, so that no ESC
/// stays. An operating system command without its end loses only its first two bytes, since the rest may be the message.
pub(crate) fn sequence(text: &[u8]) -> usize {
    match text.get(1) {
        // Control sequence: parameters, intermediates, one final byte.
        Some(b'[') => {
            let body = text[2..].iter().take_while(|b| matches!(b, 0x20..=0x3f)).count();
            2 + body + usize::from(matches!(text.get(2 + body), Some(0x40..=0x7e)))
        }
        // Operating system command (titles, links) and the other strings: up to BEL or ESC \.
        Some(b']' | b'P' | b'X' | b'^' | b'_') => {
            let end = text[2..].iter().position(|b| matches!(b, 0x07 | 0x1b));
            match end.map(|at| at + 2) {
                Some(at) if text[at] == 0x07 => at + 1,
                Some(at) if text.get(at + 1) == Some(&b'\\') => at + 2,
                _ => 2,
            }
        }
        // Two bytes with intermediates, such as the choice of a character set.
        Some(0x20..=0x2f) => {
            let body = text[1..].iter().take_while(|b| matches!(b, 0x20..=0x2f)).count();
            1 + body + usize::from(matches!(text.get(1 + body), Some(0x30..=0x7e)))
        }
        Some(0x30..=0x7e) => 2,
        _ => 1,
    }
}

/// `text` without escape sequences: itself if there are none, else in `out`.
#[inline]
pub(crate) fn strip<'a>(text: &'a [u8], out: &'a mut Vec<u8>) -> &'a [u8] {
    match memchr::memchr(0x1b, text) {
        None => text,
        Some(at) => strip_from(text, at, out),
    }
}

fn strip_from<'a>(text: &'a [u8], mut at: usize, out: &'a mut Vec<u8>) -> &'a [u8] {
    out.clear();
    let mut from = 0;
    loop {
        out.extend_from_slice(&text[from..at]);
        from = at + sequence(&text[at..]);
        match memchr::memchr(0x1b, &text[from..]) {
            Some(next) => at = from + next,
            None => break,
        }
    }
    out.extend_from_slice(&text[from..]);
    out
}

/// Takes the escape sequences out of `text`, without a copy.
pub(crate) fn strip_in_place(text: &mut Vec<u8>) {
    let Some(first) = memchr::memchr(0x1b, text) else { return };
    let (mut kept, mut at) = (first, first);
    while at < text.len() {
        let from = at + sequence(&text[at..]);
        at = memchr::memchr(0x1b, &text[from..]).map_or(text.len(), |next| from + next);
        text.copy_within(from..at, kept);
        kept += at - from;
    }
    text.truncate(kept);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines() {
        let check = |text: &str, rest: &str| {
            let mut out = b"old".to_vec();
            assert_eq!(std::str::from_utf8(strip(text.as_bytes(), &mut out)), Ok(rest), "{text:?}");
            let mut same = text.as_bytes().to_vec();
            strip_in_place(&mut same);
            assert_eq!(same, rest.as_bytes(), "{text:?}");
        };
        check("plain", "plain");
        check("\x1b[31mred\x1b[0m and \x1b[1mbold", "red and bold");
        check("\x1b\x1b[1m\x1b", "");
        check("a\x1b]0;title\x07b", "ab");
    }

    #[test]
    fn sequences() {
        let check = |text: &str, rest: &str| assert_eq!(&text[sequence(text.as_bytes())..], rest, "{text:?}");
        check("\x1b[31mred", "red");
        check("\x1b[1;38;5;208mx", "x");
        check("\x1b[Kx", "x");
        check("\x1b[", "");
        check("\x1b[31", "");
        check("\x1b[31é", "é");
        check("\x1b]0;title\x07x", "x");
        check("\x1b]8;;http://a\x1b\\x", "x");
        check("\x1b]0;no end", "0;no end");
        check("\x1b(Bx", "x");
        check("\x1b=x", "x");
        check("\x1b", "");
        check("\x1b\nx", "\nx");
        check("\x1bé", "é");
    }
}
