//! Naive twins of the small cuts that the formats make, as their doc comments say it, byte by byte.

use crate::parser::formats::access::quoted;
use crate::parser::formats::cut::has_shape;
use crate::parser::formats::slots::natural;
use proptest::prelude::*;

fn naive_has_shape(text: &[u8], shape: &[u8]) -> bool {
    text.len() >= shape.len()
        && (0..shape.len()).all(|i| match shape[i] {
            b'd' => text[i].is_ascii_digit(),
            byte => text[i] == byte,
        })
}

/// Walks the value, knowing of each byte whether the backslashes right before it leave it escaped.
fn naive_quoted(text: &[u8]) -> Option<(&[u8], &[u8])> {
    if text.first() != Some(&b'"') {
        return None;
    }
    let mut escaped = false;
    for at in 1..text.len() {
        let ends = at + 1 == text.len() || text[at + 1] == b' ' || text[at + 1] == b',';
        if text[at] == b'"' && !escaped && ends {
            return Some((&text[1..at], &text[at + 1..]));
        }
        escaped = text[at] == b'\\' && !escaped;
    }
    None
}

proptest! {
    #[test]
    fn shapes(text in "[0-9d/: \\[]{0,24}|[0-9]{4}[-/][0-9]{2}[-/][0-9a]{2} [0-9]{2}:[0-9]{2}:[0-9]{2} ?\\[?.{0,4}") {
        let text = text.as_bytes();
        prop_assert_eq!(has_shape(text, b"dddd/dd/dd dd:dd:dd ["), naive_has_shape(text, b"dddd/dd/dd dd:dd:dd ["));
        prop_assert_eq!(has_shape(text, b"dddd-dd-dd dd:dd:dd"), naive_has_shape(text, b"dddd-dd-dd dd:dd:dd"));
        prop_assert_eq!(has_shape(text, b"d:dd"), naive_has_shape(text, b"d:dd"));
        prop_assert_eq!(has_shape(text, b""), naive_has_shape(text, b""));
    }

    #[test]
    fn quotes(text in "\"?[a\\\\\", é]{0,24}") {
        prop_assert_eq!(quoted(text.as_bytes()), naive_quoted(text.as_bytes()));
    }

    #[test]
    fn naturals(text in "[0-9]{0,22}|[0-9+. -]{0,6}|0{0,18}1844674407370955161[0-9]") {
        // `parse` takes a plus sign, and any number of zeros.
        let expected = text.parse::<u64>().ok().filter(|_| !text.starts_with('+') && text.len() <= 20);
        prop_assert_eq!(natural(text.as_bytes()), expected);
    }
}
