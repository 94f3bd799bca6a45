//! The letter of `docs/wire-format.md`, for tests of writers. A receiver must not be this strict.

use crate::record::for_each_entry;
use crate::{KEYS, REQUIRED_KEYS, parse_timestamp};
use std::fmt;

/// What is wrong with a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// The line is not one JSON object in UTF-8.
    NotAnObject,
    /// The line has a newline within or white space around it.
    NotOneLine,
    /// A key that is always there is not.
    Missing(&'static str),
    /// A key stands twice.
    Twice(String),
    /// A key that is not one of the eighteen.
    UnknownKey(String),
    /// The value has the wrong type or spelling.
    Value(&'static str),
    /// A value in `fields` is not a string.
    Field(String),
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAnObject => f.write_str("not one JSON object in UTF-8"),
            Self::NotOneLine => f.write_str("newline or white space where none belongs"),
            Self::Missing(key) => write!(f, "`{key}` is missing"),
            Self::Twice(key) => write!(f, "`{key}` stands twice"),
            Self::UnknownKey(key) => write!(f, "`{key}` is not a key of the record"),
            Self::Value(key) => write!(f, "the value of `{key}` has the wrong type or spelling"),
            Self::Field(key) => write!(f, "`fields.{key}` is not a string"),
        }
    }
}

impl std::error::Error for Violation {}

/// Checks one record, its newline taken off, against the letter of the format. The first violation is told.
pub fn validate(line: &[u8]) -> Result<(), Violation> {
    if line.contains(&b'\n') || line.first() != Some(&b'{') || line.last() != Some(&b'}') {
        return Err(if line.first() == Some(&b'{') { Violation::NotOneLine } else { Violation::NotAnObject });
    }
    let mut seen = [false; KEYS.len()];
    let mut first = Ok(());
    for_each_entry(line, |key, raw| {
        let found = match KEYS.iter().position(|known| *known == key) {
            None => Err(Violation::UnknownKey(key)),
            Some(at) if std::mem::replace(&mut seen[at], true) => Err(Violation::Twice(key)),
            Some(at) => check_value(KEYS[at], raw),
        };
        if first.is_ok() {
            first = found;
        }
    })
    .map_err(|_| Violation::NotAnObject)?;
    first?;
    let has = |key: &str| KEYS.iter().zip(seen).any(|(known, seen)| seen && *known == key);
    REQUIRED_KEYS.iter().find(|key| !has(key)).map_or(Ok(()), |key| Err(Violation::Missing(key)))
}

fn check_value(key: &'static str, raw: &str) -> Result<(), Violation> {
    if key == "fields" {
        return check_fields(raw);
    }
    let right = match key {
        "status_code" => raw.parse::<u16>().is_ok_and(|status| status.to_string() == raw),
        "response_size" => raw.parse::<u64>().is_ok_and(|size| size.to_string() == raw),
        _ => serde_json::from_str::<String>(raw).is_ok_and(|text| is_right_text(key, &text)),
    };
    if right { Ok(()) } else { Err(Violation::Value(key)) }
}

fn is_right_text(key: &str, text: &str) -> bool {
    let is_hex = || text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    match key {
        "level" => ["Debug", "Info", "Warn", "Error", "Fatal"].contains(&text),
        "timestamp" => parse_timestamp(text.as_bytes()).is_some(),
        "stream" => text == "stdout" || text == "stderr",
        "container_id" => text.len() == 64 && is_hex(),
        "trace_id" | "span_id" => !text.is_empty() && is_hex(),
        "service_type" | "log_type" | "service_name" => !text.is_empty(),
        _ => true,
    }
}

fn check_fields(raw: &str) -> Result<(), Violation> {
    let mut first = Ok(());
    let mut keys = std::collections::HashSet::new();
    for_each_entry(raw.as_bytes(), |key, raw| {
        let found = if !raw.starts_with('"') || serde_json::from_str::<String>(raw).is_err() {
            Err(Violation::Field(key))
        } else if !keys.insert(key.clone()) {
            Err(Violation::Twice(format!("fields.{key}")))
        } else {
            Ok(())
        };
        if first.is_ok() {
            first = found;
        }
    })
    .map_err(|_| Violation::Value("fields"))?;
    first
}
