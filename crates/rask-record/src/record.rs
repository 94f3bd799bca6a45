//! One record, read leniently: whatever a sender writes as a JSON object is understood or kept.
//!
//! What does not fit its key's type is not an error and not lost: it stays in [`Record::extra`] under its key as JSON text,
//! and so does every key that is not one of the eighteen. Values are scanned as raw JSON first, so neither a number such as
//! `1e400` nor deep nesting refuses a record. Of a key that comes twice, the last counts.

use crate::Level;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::fmt;

/// One record. Keys that are always there are empty strings when a sender left them out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Family of the format: `go`, `nginx`, …
    pub service_type: String,
    /// `structured`, `access`, `error`, `plain`, `gap`, …
    pub log_type: String,
    /// The human message.
    pub message: String,
    /// How serious it is.
    pub level: Option<Level>,
    /// RFC 3339 text as it came; see [`parse_timestamp`](crate::parse_timestamp).
    pub timestamp: String,
    /// `stdout` or `stderr`.
    pub stream: String,
    /// HTTP method.
    pub method: Option<String>,
    /// HTTP path with its query.
    pub path: Option<String>,
    /// HTTP user agent.
    pub user_agent: Option<String>,
    /// Address of the client.
    pub ip_address: Option<String>,
    /// HTTP status. One that does not fit stays in `extra`.
    pub status_code: Option<u16>,
    /// Bytes of the HTTP answer.
    pub response_size: Option<u64>,
    /// 64 hexadecimal digits.
    pub container_id: String,
    /// Whose log it is.
    pub service_name: String,
    /// Label `rask.group`.
    pub service_group: Option<String>,
    /// Trace, lower-case hexadecimal.
    pub trace_id: Option<String>,
    /// Span, lower-case hexadecimal.
    pub span_id: Option<String>,
    /// Everything else that the application said. A value that is not a string is its JSON text.
    pub fields: BTreeMap<String, String>,
    /// JSON text of unknown keys and of values that do not fit their key.
    pub extra: BTreeMap<String, String>,
}

/// A line that is not a JSON object in UTF-8. Says where, never what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecodeError {
    /// Column, in bytes from 1, at which reading stopped.
    pub column: usize,
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not a JSON object (column {})", self.column)
    }
}

impl std::error::Error for DecodeError {}

impl Record {
    /// Reads one line, with or without its newline.
    ///
    /// ```
    /// let record = rask_record::Record::decode(br#"{"message":"hi","level":"loud","status_code":70000}"#).unwrap();
    /// assert_eq!(record.message, "hi");
    /// assert_eq!(record.level.unwrap().as_str(), "loud");
    /// assert_eq!(record.extra["status_code"], "70000");
    /// ```
    pub fn decode(line: &[u8]) -> Result<Self, DecodeError> {
        let mut record = Self::default();
        for_each_entry(line, |key, value| record.set(key, value))?;
        Ok(record)
    }

    /// Takes one entry of the object; what does not fit goes to `extra`.
    fn set(&mut self, key: String, raw: &str) {
        if raw == "null" {
            return;
        }
        let text = || serde_json::from_str::<String>(raw).ok();
        let fits = match key.as_str() {
            "service_type" => put(&mut self.service_type, text()),
            "log_type" => put(&mut self.log_type, text()),
            "message" => put(&mut self.message, text()),
            "level" => put_some(&mut self.level, text().map(|word| Level::from_wire(&word))),
            "timestamp" => put(&mut self.timestamp, text()),
            "stream" => put(&mut self.stream, text()),
            "method" => put_some(&mut self.method, text()),
            "path" => put_some(&mut self.path, text()),
            "user_agent" => put_some(&mut self.user_agent, text()),
            "ip_address" => put_some(&mut self.ip_address, text()),
            "status_code" => put_some(&mut self.status_code, raw.parse().ok()),
            "response_size" => put_some(&mut self.response_size, raw.parse().ok()),
            "container_id" => put(&mut self.container_id, text()),
            "service_name" => put(&mut self.service_name, text()),
            "service_group" => put_some(&mut self.service_group, text()),
            "trace_id" => put_some(&mut self.trace_id, text()),
            "span_id" => put_some(&mut self.span_id, text()),
            "fields" => for_each_entry(raw.as_bytes(), |key, raw| {
                if raw != "null" {
                    let value = serde_json::from_str(raw).unwrap_or_else(|_| raw.to_owned());
                    self.fields.insert(key, value);
                }
            })
            .is_ok(),
            _ => false,
        };
        if !fits {
            self.extra.insert(key, raw.to_owned());
        }
    }
}

fn put(slot: &mut String, value: Option<String>) -> bool {
    value.map(|value| *slot = value).is_some()
}

fn put_some<T>(slot: &mut Option<T>, value: Option<T>) -> bool {
    let fits = value.is_some();
    if fits {
        *slot = value;
    }
    fits
}

/// Calls `each` with every key and the raw JSON of its value. Nothing may follow the object but white space.
pub(crate) fn for_each_entry(object: &[u8], mut each: impl FnMut(String, &str)) -> Result<(), DecodeError> {
    struct Entries<F>(F);

    impl<'de, F: FnMut(String, &str)> Visitor<'de> for Entries<F> {
        type Value = ();

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a JSON object")
        }

        fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
            while let Some(key) = map.next_key::<String>()? {
                let value: &RawValue = map.next_value()?;
                (self.0)(key, value.get());
            }
            Ok(())
        }
    }

    let mut json = serde_json::Deserializer::from_slice(object);
    json.deserialize_map(Entries(&mut each))
        .and_then(|()| json.end())
        .map_err(|error: serde_json::Error| DecodeError { column: error.column() })
}
