//! `fields`: everything of a line that has no key of its own, encoded as it is found.
//!
//! Nothing is lost and the object stays an object: a key that comes a second time is written as `key#2`, the next
//! duplicate as `…#3`, and so on within a record. Keys are recognized by a 64-bit hash of their encoded form; two keys that
//! share one would only lead to a needless `#2`.

use super::app_time;
use super::encode::{Str, escape};
use super::json::{Member, Value};
use super::level::Level;
use super::quoted;
use super::scan;
use super::unescape::{Buffer, unescape};
use std::collections::HashSet;

/// Members of `fields`, encoded, with their scratch memory. Kept by the parser and cleared for every line.
#[derive(Debug, Default)]
pub(crate) struct Fields {
    encoded: Vec<u8>,
    /// Text that stands nowhere in the line (`Str::Kept`).
    kept: Vec<u8>,
    /// Hashes of the keys, and one bit for each by its top bits: a clear bit means a new key.
    hashes: Vec<u64>,
    bits: u64,
    /// The hashes once there are many.
    many: HashSet<u64>,
    duplicates: usize,
    buffer: Buffer,
}

/// A key that is known when compiling, as it is written, with its hash ([`key!`](super::key)).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key {
    /// `,"key":"`
    pub(crate) written: &'static [u8],
    pub(crate) hash: u64,
}

/// The [`Key`] of a literal that needs no escapes.
macro_rules! key {
    ($name:literal) => {
        $crate::parser::fields::Key {
            written: concat!(",\"", $name, "\":\"").as_bytes(),
            hash: const { $crate::parser::fields::hash($name.as_bytes()) },
        }
    };
}
pub(crate) use key;

/// Keys compared one by one.
const FEW: usize = 64;

/// Memory kept from one record to the next.
const KEEP: usize = 64 << 10;

impl Fields {
    /// Forgets everything but the memory.
    #[inline]
    pub(crate) fn clear(&mut self) {
        self.encoded.clear();
        self.kept.clear();
        self.hashes.clear();
        self.bits = 0;
        self.duplicates = 0;
        if self.encoded.capacity() > KEEP || self.kept.capacity() > KEEP || !self.many.is_empty() {
            *self = Self::default();
        }
    }

    /// The members, separated by commas.
    #[inline]
    pub(crate) fn encoded(&self) -> &[u8] {
        &self.encoded
    }

    /// Text that was kept.
    #[inline]
    pub(crate) fn kept(&self, start: u32, end: u32) -> &[u8] {
        &self.kept[start as usize..end as usize]
    }

    /// Keeps what the inside of a JSON string stands for.
    pub(crate) fn keep_json(&mut self, inner: &[u8]) -> Str<'static> {
        let start = self.kept.len();
        match unescape(inner, false, &mut self.buffer) {
            Some((place, _)) => self.kept.extend_from_slice(place.of(inner, &self.buffer)),
            None => self.kept.extend_from_slice(inner),
        }
        Str::Kept(start as u32, self.kept.len() as u32)
    }

    /// Keeps a text.
    pub(crate) fn keep(&mut self, text: &[u8]) -> Str<'static> {
        let start = self.kept.len();
        self.kept.extend_from_slice(text);
        Str::Kept(start as u32, self.kept.len() as u32)
    }

    /// Adds a member under a key that needs no escapes. Inlined for its hash, which is a constant where the key is one.
    #[inline(always)]
    pub(crate) fn push(&mut self, key: &[u8], value: Str<'_>) {
        debug_assert!(scan::special(key, 0) == key.len());
        self.push_hashed(key, hash(key), value);
    }

    fn push_hashed(&mut self, key: &[u8], hash: u64, value: Str<'_>) {
        self.key(key, hash);
        self.text(value);
    }

    /// As [`Fields::push`], in one piece, for what many lines have.
    #[inline]
    pub(crate) fn add(&mut self, key: Key, value: Str<'_>) {
        self.known(key);
        self.text(value);
    }

    /// As [`Fields::push`], for formats whose keys are fixed and come once: they need not be remembered.
    #[inline]
    pub(crate) fn put(&mut self, key: &[u8], value: Str<'_>) {
        self.comma();
        self.encoded.push(b'"');
        self.encoded.extend_from_slice(key);
        self.encoded.extend_from_slice(b"\":\"");
        self.text(value);
    }

    /// Adds the application's own time as `app_time`, in RFC 3339 where it is understood. The original stays beside it as
    /// `app_time_raw` only where it says more (an offset). Returns whether it was understood.
    #[inline]
    pub(crate) fn app_time(&mut self, text: &[u8]) -> bool {
        self.known(key!("app_time"));
        if app_time::is_normal(text) {
            self.text(Str::Raw(text));
            return true;
        }
        let more = app_time::normalize(text, &mut self.encoded);
        match more {
            None => self.text(Str::Raw(text)),
            Some(_) => self.encoded.push(b'"'),
        }
        if more == Some(true) {
            self.push(b"app_time_raw", Str::Raw(text));
        }
        more.is_some()
    }

    /// Adds `level`, unless `word` is just the name of the level that was found.
    #[inline]
    pub(crate) fn level(&mut self, found: Option<Level>, word: &[u8]) {
        if !found.is_some_and(|level| level.is_called(word)) {
            self.push(b"level", Str::Raw(word));
        }
    }

    /// Keeps `GET /path 200`, of what there is.
    pub(crate) fn keep_request(&mut self, method: Option<Str<'_>>, path: Option<Str<'_>>, status: u16) -> Str<'static> {
        let start = self.kept.len();
        for part in [method, path].into_iter().flatten() {
            match part {
                Str::Raw(text) => self.kept.extend_from_slice(text),
                Str::Json(inner) => _ = self.keep_json(inner),
                Str::Kept(from, to) => self.kept.extend_from_within(from as usize..to as usize),
            }
            self.kept.push(b' ');
        }
        super::encode::number(&mut self.kept, u64::from(status));
        Str::Kept(start as u32, self.kept.len() as u32)
    }

    /// Adds a member under `name.key`, or `name` alone, both any text.
    #[cold]
    pub(crate) fn push_dynamic(&mut self, name: &[u8], key: &[u8], value: Str<'_>) {
        let mut encoded = Vec::new();
        escape(&mut encoded, name);
        if !key.is_empty() {
            encoded.push(b'.');
            escape(&mut encoded, key);
        }
        self.key(&encoded, hash(&encoded));
        self.text(value);
    }

    /// Keeps the inside of quotes of a CSV value, where a quote is doubled.
    pub(crate) fn keep_doubled(&mut self, inner: &[u8]) -> Str<'static> {
        let start = self.kept.len();
        let mut rest = inner;
        while let Some(at) = memchr::memmem::find(rest, b"\"\"") {
            self.kept.extend_from_slice(&rest[..=at]);
            rest = &rest[at + 2..];
        }
        self.kept.extend_from_slice(rest);
        Str::Kept(start as u32, self.kept.len() as u32)
    }

    /// Keeps what a quoted text stands for (`quoted::decode`).
    pub(crate) fn keep_quoted(&mut self, inner: &[u8]) -> Str<'static> {
        let start = self.kept.len();
        quoted::decode(inner, &mut self.kept);
        Str::Kept(start as u32, self.kept.len() as u32)
    }

    /// Keeps what a text with `\xHH` in it stands for, if that is readable.
    pub(crate) fn keep_bytes<'a>(&mut self, text: &'a [u8]) -> Str<'a> {
        if memchr::memchr(b'\\', text).is_none() {
            return Str::Raw(text);
        }
        let start = self.kept.len();
        if !quoted::decode_bytes(text, &mut self.kept) {
            self.kept.truncate(start);
            return Str::Raw(text);
        }
        Str::Kept(start as u32, self.kept.len() as u32)
    }

    #[inline]
    fn text(&mut self, value: Str<'_>) {
        match value {
            Str::Json(inner) => self.encoded.extend_from_slice(inner),
            Str::Raw(text) => escape(&mut self.encoded, text),
            Str::Kept(start, end) => escape(&mut self.encoded, &self.kept[start as usize..end as usize]),
        }
        self.encoded.push(b'"');
    }

    /// Adds a member under its own key: strings as they are, everything else as its text.
    #[inline]
    pub(crate) fn member(&mut self, member: &Member<'_>) {
        if member.key.escaped {
            return self.strange_key(member);
        }
        if let Value::String(value) = member.value
            && !value.surrogate
            && !member.span.is_empty()
        {
            if self.is_new(hash(member.key.inner)) {
                // `"key":"value"` can be copied in one piece.
                self.comma();
                self.encoded.extend_from_slice(member.span);
            } else {
                self.duplicate(member.key.inner);
                self.encoded.extend_from_slice(value.inner);
                self.encoded.push(b'"');
            }
            return;
        }
        self.key_and_value(member.key.inner, member.value);
    }

    fn key_and_value(&mut self, key: &[u8], value: Value<'_>) {
        self.key(key, hash(key));
        match value {
            Value::Scalar(text) => self.encoded.extend_from_slice(text),
            Value::Nested(text) => escape(&mut self.encoded, text),
            Value::String(value) if value.surrogate => self.mended(value.inner),
            Value::String(value) => self.encoded.extend_from_slice(value.inner),
        }
        self.encoded.push(b'"');
    }

    /// A string that cannot be copied unseen: decoded, where halves of surrogate pairs become U+FFFD, and encoded again.
    fn mended(&mut self, inner: &[u8]) {
        match unescape(inner, false, &mut self.buffer) {
            Some((place, _)) => escape(&mut self.encoded, place.of(inner, &self.buffer)),
            None => escape(&mut self.encoded, inner),
        }
    }

    /// A key with escapes in it, which is brought into its one encoded form first.
    #[cold]
    fn strange_key(&mut self, member: &Member<'_>) {
        let mut key = Vec::new();
        if let Some((place, _)) = unescape(member.key.inner, false, &mut self.buffer) {
            escape(&mut key, place.of(member.key.inner, &self.buffer));
        }
        self.key_and_value(&key, member.value);
    }

    #[inline]
    fn comma(&mut self) {
        if !self.encoded.is_empty() {
            self.encoded.push(b',');
        }
    }

    /// Writes up to the opening quote of the value.
    #[inline]
    fn key(&mut self, key: &[u8], hash: u64) {
        if !self.is_new(hash) {
            return self.duplicate(key);
        }
        self.comma();
        self.encoded.push(b'"');
        self.encoded.extend_from_slice(key);
        self.encoded.extend_from_slice(b"\":\"");
    }

    /// As [`Fields::key`].
    #[inline]
    fn known(&mut self, key: Key) {
        let Key { written, hash } = key;
        if !self.is_new(hash) {
            return self.duplicate(&written[2..written.len() - 3]);
        }
        self.encoded.extend_from_slice(&written[usize::from(self.encoded.is_empty())..]);
    }

    #[cold]
    fn duplicate(&mut self, key: &[u8]) {
        let mut name = key.to_vec();
        loop {
            self.duplicates += 1;
            name.truncate(key.len());
            name.push(b'#');
            super::encode::number(&mut name, self.duplicates as u64 + 1);
            if self.is_new(hash(&name)) {
                break;
            }
        }
        self.comma();
        self.encoded.push(b'"');
        self.encoded.extend_from_slice(&name);
        self.encoded.extend_from_slice(b"\":\"");
    }

    /// Whether no key has had this hash; remembers it.
    #[inline]
    fn is_new(&mut self, hash: u64) -> bool {
        let bit = 1 << (hash >> 58);
        let maybe_known = self.bits & bit != 0;
        self.bits |= bit;
        if self.hashes.len() >= FEW {
            return self.is_new_among_many(hash);
        }
        if maybe_known && self.hashes.contains(&hash) {
            return false;
        }
        self.hashes.push(hash);
        true
    }

    #[cold]
    fn is_new_among_many(&mut self, hash: u64) -> bool {
        if self.many.is_empty() {
            self.many.extend(&self.hashes);
        }
        self.many.insert(hash)
    }
}

/// Hash of a key: multiply and rotate over its words.
#[inline(always)]
pub(crate) const fn hash(key: &[u8]) -> u64 {
    const K: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut hash = (key.len() as u64).wrapping_mul(K);
    let mut rest = key;
    while let Some((word, behind)) = rest.split_first_chunk::<8>() {
        hash = (hash ^ u64::from_le_bytes(*word)).wrapping_mul(K).rotate_left(29);
        rest = behind;
    }
    let mut last = 0;
    while let Some((byte, behind)) = rest.split_first() {
        last = last << 8 | *byte as u64;
        rest = behind;
    }
    let hash = (hash ^ last).wrapping_mul(K);
    (hash ^ hash >> 32).wrapping_mul(K)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parser::json::Members;

    fn encode(text: &str) -> String {
        let mut fields = Fields::default();
        let mut members = Members::of(text.as_bytes()).unwrap();
        while let Some(member) = members.next().unwrap() {
            fields.member(&member);
        }
        format!("{{{}}}", String::from_utf8(fields.encoded).unwrap())
    }

    #[test]
    fn members() {
        let check = |text: &str, expected: &str| assert_eq!(encode(text), expected, "{text}");
        check("{}", "{}");
        check(r#"{"a":"x","b":1,"c":null}"#, r#"{"a":"x","b":"1","c":"null"}"#);
        check(r#"{"a" : "x"}"#, r#"{"a" : "x"}"#);
        check(r#"{"a":{"b":["c"]}}"#, r#"{"a":"{\"b\":[\"c\"]}"}"#);
        check(r#"{"a":"1","a":"2","a":3,"b":"4"}"#, r#"{"a":"1","a#2":"2","a#3":"3","b":"4"}"#);
        check(r#"{"a#2":"x","a":"1","a":"2"}"#, r#"{"a#2":"x","a":"1","a#3":"2"}"#);
        check(r#"{"":"x","":"y"}"#, r##"{"":"x","#2":"y"}"##);
        check(r#"{"a":"1","\u0061":"2"}"#, r#"{"a":"1","a#2":"2"}"#);
        check(r#"{"a\n\"":"1","\ud800":2}"#, "{\"a\\n\\\"\":\"1\",\"\u{fffd}\":\"2\"}");
        check(r#"{"a":"\ud83d\ude00 \ud800!"}"#, "{\"a\":\"😀 \u{fffd}!\"}");
    }

    #[test]
    fn many_keys_and_many_duplicates_take_no_time() {
        let text: Vec<String> = (0..30_000).map(|i| format!("\"k{}\":\"{i}\"", i % 10_000)).collect();
        let encoded = encode(&format!("{{{}}}", text.join(",")));
        let map: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&encoded).unwrap();
        assert_eq!(map.len(), 30_000);
    }
}
