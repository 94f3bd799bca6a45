//! Blacks out secrets in a record that is written already: in every string value that comes from the line, keys aside.
//!
//! Rules see the text that a value stands for, not its escapes. A value that is JSON itself (a nested object, kept in `fields`
//! as its text) is taken apart: the rules see each string in it, and it stays JSON.

use super::rules::{Rules, compile, lines};
use super::secrets::{Builtin, MARK};
use crate::metrics::Metrics;
use crate::parser::encode::escape;
use crate::parser::json::{Members, Value};
use crate::parser::unescape::{Buffer, unescape};
use prometheus::IntCounter;
use regex::Regex;
use std::sync::Arc;

/// Levels of JSON in strings of JSON that are taken apart.
const DEPTH: usize = 4;
/// Longest name of a pattern.
const NAME_BYTES: usize = 32;
/// Between a pattern and what it is replaced by.
const ARROW: &str = " => ";

/// What is blacked out, in order.
#[derive(Clone, Debug, Default)]
pub struct Redactions(Vec<Redaction>);

/// One rule.
#[derive(Clone, Debug)]
struct Redaction {
    /// For the metric.
    name: String,
    /// What is written instead; `$1` in a custom one is the first group.
    instead: String,
    find: Find,
}

#[derive(Clone)]
enum Find {
    Builtin(Builtin),
    Custom(Regex),
}

/// Without the pattern, which may be a secret.
impl std::fmt::Debug for Find {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Builtin(builtin) => builtin.fmt(f),
            Self::Custom(_) => f.write_str("Custom(…)"),
        }
    }
}

impl Redactions {
    /// `off`; else lines, each of them names of built-in rules (`email, card`, or `all`) or `name=regex`, or
    /// `name=regex => replacement`.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.trim() == super::rules::OFF {
            return Ok(Self::default());
        }
        let (mut builtins, mut customs) = (Vec::new(), Vec::new());
        for (at, line) in lines(text)?.into_iter().enumerate() {
            if line.contains('=') {
                let custom = Redaction::custom(line).map_err(|problem| format!("pattern {} {problem}", at + 1))?;
                if customs.iter().any(|have: &Redaction| have.name == custom.name) {
                    return Err(format!("pattern {} has the name of an earlier one, {:?}", at + 1, custom.name));
                }
                customs.push(custom);
                continue;
            }
            for name in line.split(',').map(str::trim).filter(|name| !name.is_empty()) {
                match Builtin::ALL.into_iter().find(|builtin| builtin.name() == name) {
                    _ if name == "all" => builtins.extend(Builtin::ALL),
                    Some(builtin) => builtins.push(builtin),
                    None => return Err(unknown(at + 1)),
                }
            }
        }
        // A pattern of a person is written for the line as it is: it comes first.
        let builtins = Builtin::ALL.into_iter().filter(|builtin| builtins.contains(builtin)).map(Redaction::builtin);
        Ok(Self(customs.into_iter().chain(builtins).collect()))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Names of the rules, for a person.
    pub fn names(&self) -> String {
        self.0.iter().map(|rule| rule.name.as_str()).collect::<Vec<_>>().join(",")
    }

    /// These and those of a label, whose own patterns are counted together: a container must not make metrics.
    pub(super) fn with_label(&self, label: Self) -> Self {
        let (mut customs, mut builtins): (Vec<_>, Vec<_>) = (Vec::new(), Vec::new());
        let label = label.0.into_iter().map(|rule| match rule.find {
            Find::Custom(_) => Redaction { name: "label".to_owned(), ..rule },
            Find::Builtin(_) => rule,
        });
        for rule in self.0.iter().cloned().chain(label) {
            match rule.find {
                Find::Custom(_) => customs.push(rule),
                Find::Builtin(builtin) => builtins.push(builtin),
            }
        }
        let builtins = Builtin::ALL.into_iter().filter(|builtin| builtins.contains(builtin)).map(Redaction::builtin);
        Self(customs.into_iter().chain(builtins).collect())
    }
}

fn unknown(line: usize) -> String {
    let names: Vec<_> = Builtin::ALL.into_iter().map(Builtin::name).collect();
    format!(
        "line {line} holds a name that is no rule; rules are {} and all; a pattern of your own has a line to itself: name=regex",
        names.join(", ")
    )
}

impl Redaction {
    fn builtin(builtin: Builtin) -> Self {
        let name = builtin.name().to_owned();
        Self { instead: format!("{MARK}{name}]"), name, find: Find::Builtin(builtin) }
    }

    fn custom(line: &str) -> Result<Self, String> {
        let (name, rest) = line.split_once('=').unwrap_or((line, ""));
        let name = name.trim();
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
        if name.is_empty() || name.len() > NAME_BYTES || !name.bytes().all(plain) {
            return Err("has no name in front: small letters, digits, - and _, then =".to_owned());
        }
        if Builtin::ALL.iter().any(|builtin| builtin.name() == name) || matches!(name, "all" | "label") {
            return Err(format!("is called {name:?}, which is a rule already; give it another name"));
        }
        let (pattern, instead) = match rest.rsplit_once(ARROW) {
            Some((pattern, instead)) => (pattern.trim(), instead.trim().to_owned()),
            None => (rest.trim(), format!("{MARK}{name}]")),
        };
        let regex = compile(pattern)?;
        if regex.is_match("") {
            return Err("matches the empty text, and so everywhere; ask for at least one character".to_owned());
        }
        Ok(Self { name: name.to_owned(), instead, find: Find::Custom(regex) })
    }

    /// Replaces what is found; the answer is how often.
    fn apply(&self, text: &str, out: &mut String) -> u64 {
        let (mut at, mut hits) = (0, 0);
        match &self.find {
            Find::Builtin(builtin) => {
                while let Some((start, end)) = builtin.next(text, at) {
                    out.push_str(&text[at..start]);
                    out.push_str(&self.instead);
                    (at, hits) = (end, hits + 1);
                }
            }
            Find::Custom(regex) if self.instead.contains('$') => {
                for groups in regex.captures_iter(text) {
                    let whole = groups.get_match();
                    out.push_str(&text[at..whole.start()]);
                    groups.expand(&self.instead, out);
                    (at, hits) = (whole.end(), hits + 1);
                }
            }
            Find::Custom(regex) => {
                for found in regex.find_iter(text) {
                    out.push_str(&text[at..found.start()]);
                    out.push_str(&self.instead);
                    (at, hits) = (found.end(), hits + 1);
                }
            }
        }
        if hits > 0 {
            out.push_str(&text[at..]);
        }
        hits
    }
}

/// The rules of a container with memory to work in.
#[derive(Debug)]
pub(super) struct Redactor {
    /// Shared, since each copy of a compiled pattern has working memory of its own.
    rules: Arc<Rules>,
    counts: Vec<IntCounter>,
    buffer: Buffer,
    line: Vec<u8>,
}

impl Redactor {
    pub(super) fn new(rules: &Arc<Rules>, metrics: &Metrics) -> Option<Self> {
        let count = |rule: &Redaction| metrics.redactions.with_label_values(&[&rule.name]);
        let counts = rules.redact.0.iter().map(count).collect();
        let redactor = || Self { rules: rules.clone(), counts, buffer: Buffer::default(), line: Vec::new() };
        (!rules.redact.is_empty()).then(redactor)
    }

    fn rules(&self) -> impl Iterator<Item = (&Redaction, &IntCounter)> {
        self.rules.redact.0.iter().zip(&self.counts)
    }

    /// Blacks out secrets in the record that begins at `start`.
    pub(super) fn record(&mut self, body: &mut Vec<u8>, start: usize) {
        let mut line = std::mem::take(&mut self.line);
        line.clear();
        if self.rewrite(&body[start..], &mut line) {
            body.truncate(start);
            body.extend_from_slice(&line);
        }
        self.line = line;
    }

    /// Writes the record anew if anything is to be replaced.
    fn rewrite(&mut self, record: &[u8], out: &mut Vec<u8>) -> bool {
        let mut copied = 0;
        let mut members = Members::of(record);
        while let Ok(Some(member)) = members.as_mut().map_or(Ok(None), Members::next) {
            match (member.key.inner, member.value) {
                (b"message" | b"method" | b"path" | b"user_agent" | b"ip_address", Value::String(value)) => {
                    self.value(record, &mut copied, member.key.inner, value.inner, out);
                }
                (b"fields", Value::Nested(fields)) => {
                    let mut fields = Members::of(fields);
                    while let Ok(Some(field)) = fields.as_mut().map_or(Ok(None), Members::next) {
                        if let Value::String(value) = field.value {
                            self.value(record, &mut copied, field.key.inner, value.inner, out);
                        }
                    }
                }
                _ => {}
            }
        }
        if copied > 0 {
            out.extend_from_slice(&record[copied..]);
        }
        copied > 0
    }

    /// A value of the record: `inner` is a part of `record`, the inside of its quotes.
    fn value(&mut self, record: &[u8], copied: &mut usize, key: &[u8], inner: &[u8], out: &mut Vec<u8>) {
        let mut buffer = std::mem::take(&mut self.buffer);
        if let Some((place, _)) = unescape(inner, false, &mut buffer)
            && let Ok(text) = std::str::from_utf8(place.of(inner, &buffer))
            && let Some(text) = self.text(key, text)
        {
            let start = inner.as_ptr() as usize - record.as_ptr() as usize;
            out.extend_from_slice(&record[*copied..start]);
            escape(out, text.as_bytes());
            *copied = start + inner.len();
        }
        self.buffer = buffer;
    }

    /// A value as text; `None` when it stays as it is.
    fn text(&mut self, key: &[u8], text: &str) -> Option<String> {
        let customs = self.apply(text, |find| matches!(find, Find::Custom(_)));
        let changed = self.builtins(&String::from_utf8_lossy(key), customs.as_deref().unwrap_or(text), 0);
        changed.or(customs)
    }

    fn builtins(&mut self, key: &str, text: &str, depth: usize) -> Option<String> {
        for (rule, count) in self.rules() {
            if let Find::Builtin(builtin) = rule.find
                && let Some(start) = builtin.by_key(key, text)
            {
                count.inc();
                return Some(format!("{}{}", &text[..start], rule.instead));
            }
        }
        if depth < DEPTH && is_json(text) {
            return self.nested(key, text, depth);
        }
        self.apply(text, |find| matches!(find, Find::Builtin(_)))
    }

    /// Applies the rules of one kind, one after the other.
    fn apply(&self, text: &str, kind: impl Fn(&Find) -> bool) -> Option<String> {
        let mut changed: Option<String> = None;
        for (rule, count) in self.rules().filter(|(rule, _)| kind(&rule.find)) {
            let mut out = String::new();
            let hits = rule.apply(changed.as_deref().unwrap_or(text), &mut out);
            if hits > 0 {
                count.inc_by(hits);
                changed = Some(out);
            }
        }
        changed
    }

    /// An object or array: its strings, and the numbers and words between them.
    fn nested(&mut self, key: &str, text: &str, depth: usize) -> Option<String> {
        let mut out = String::new();
        let (mut key, mut at, mut changed) = (key.to_owned(), 0, false);
        loop {
            let open = memchr::memchr(b'"', &text.as_bytes()[at..]).map_or(text.len(), |found| at + found);
            changed |= self.scalars(&key, &text[at..open], depth, &mut out);
            let Some(inner) = text.get(open + 1..) else { break };
            let len = string_len(inner.as_bytes()).unwrap_or(inner.len());
            let inner = &inner[..len];
            at = (open + len + 2).min(text.len());
            out.push('"');
            let plain = decode(inner);
            if text[at..].trim_start().starts_with(':') {
                key = plain.unwrap_or_else(|| inner.to_owned());
                out.push_str(inner);
            } else if let Some(value) = self.builtins(&key, plain.as_deref().unwrap_or(inner), depth + 1) {
                let mut escaped = Vec::new();
                escape(&mut escaped, value.as_bytes());
                out.push_str(&String::from_utf8_lossy(&escaped));
                changed = true;
            } else {
                out.push_str(inner);
            }
            out.push('"');
        }
        changed.then_some(out)
    }

    /// Numbers and words between the strings of JSON; what stands for one becomes a string.
    fn scalars(&mut self, key: &str, text: &str, depth: usize, out: &mut String) -> bool {
        let stops = |c: char| c.is_ascii_whitespace() || matches!(c, '{' | '}' | '[' | ']' | ':' | ',');
        let (mut rest, mut changed) = (text, false);
        while let Some(start) = rest.find(|c| !stops(c)) {
            let end = rest[start..].find(stops).map_or(rest.len(), |len| start + len);
            let word = &rest[start..end];
            out.push_str(&rest[..start]);
            match self.builtins(key, word, depth + 1) {
                Some(value) => {
                    out.push('"');
                    out.push_str(&value);
                    out.push('"');
                    changed = true;
                }
                None => out.push_str(word),
            }
            rest = &rest[end..];
        }
        out.push_str(rest);
        changed
    }
}

/// Whether `text` is an object or array in full; what only begins like one (`[warn] …`) is text.
fn is_json(text: &str) -> bool {
    text.starts_with(['{', '[']) && serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
}

/// Bytes of a JSON string up to its closing quote.
fn string_len(inner: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += memchr::memchr2(b'"', b'\\', inner.get(at..)?)?;
        if inner[at] == b'"' {
            return Some(at);
        }
        at += 2;
    }
}

/// What the inside of a JSON string stands for, if it has escapes and they are right.
fn decode(inner: &str) -> Option<String> {
    if !inner.contains('\\') {
        return None;
    }
    let mut buffer = Buffer::default();
    let (place, _) = unescape(inner.as_bytes(), false, &mut buffer)?;
    Some(String::from_utf8_lossy(place.of(inner.as_bytes(), &buffer)).into_owned())
}
