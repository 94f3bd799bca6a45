//! The formats of the inner line: what they are called, and one module for each family.
//!
//! A format looks at one line of text (valid UTF-8, without its newline) and either makes a draft of it, writing `fields` on
//! the way, or says why it is not one of its lines. It keeps nothing from one line to the next.

pub(crate) mod json;
pub(crate) mod logfmt;
pub(crate) mod nginx;
pub(crate) mod plain;
pub(crate) mod postgres;
pub(crate) mod slots;

use super::encode::Draft;
use super::fields::Fields;
use super::simd::Lookup;
use std::fmt;
use std::str::FromStr;

/// A format of log lines, as `RASK_FORMAT`, the label `rask.format` and `SERVICE_PARSER_MAPPINGS` name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// JSON or logfmt of Go's loggers (`slog`, `zap`, `zerolog`, `logrus`).
    Go,
    /// JSON of anything.
    Json,
    /// nginx access and error log.
    Nginx,
    /// PostgreSQL stderr log.
    Postgres,
    /// JSON of Python's `structlog`.
    Python,
    /// JSON of Rust's `tracing`.
    Rust,
    /// JSON of Meilisearch.
    Meilisearch,
    /// JSON of Node's loggers.
    Node,
    /// Anything.
    Plain,
}

impl Format {
    /// Every format, in the order of their numbers.
    pub const ALL: [Self; 9] = [
        Self::Go,
        Self::Json,
        Self::Nginx,
        Self::Postgres,
        Self::Python,
        Self::Rust,
        Self::Meilisearch,
        Self::Node,
        Self::Plain,
    ];

    /// The names that [`Format::from_name`] takes. The configuration also knows `auto`: no format.
    pub const NAMES: [&'static str; 11] = [
        "go",
        "json",
        "nginx",
        "postgres",
        "python",
        "python-structlog",
        "rust",
        "rust-tracing",
        "meilisearch",
        "node",
        "plain",
    ];

    /// The format of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "go" => Self::Go,
            "json" => Self::Json,
            "nginx" => Self::Nginx,
            "postgres" => Self::Postgres,
            "python" | "python-structlog" => Self::Python,
            "rust" | "rust-tracing" => Self::Rust,
            "meilisearch" => Self::Meilisearch,
            "node" => Self::Node,
            "plain" => Self::Plain,
            _ => return None,
        })
    }

    /// `service_type` of its records.
    pub fn service_type(self) -> &'static str {
        match self {
            Self::Go => "go",
            Self::Json => "json",
            Self::Nginx => "nginx",
            Self::Postgres => "postgres",
            Self::Python => "python",
            Self::Rust => "rust",
            Self::Meilisearch => "meilisearch",
            Self::Node => "node",
            Self::Plain => "plain",
        }
    }
}

/// A name that is no format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FormatError;

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not a format; one of {}", Format::NAMES.join(", "))
    }
}

impl std::error::Error for FormatError {}

impl FromStr for Format {
    type Err = FormatError;

    fn from_str(name: &str) -> Result<Self, FormatError> {
        Self::from_name(name).ok_or(FormatError)
    }
}

/// Memory of the formats. Kept by the parser and used for every line.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    pub(crate) fields: Fields,
    pub(crate) lookup: Lookup,
}

/// What is not a line of a format, and why.
pub(crate) type Refused = &'static str;

/// Reads `text` as `format`. Whatever comes back, `scratch` is of this line.
pub(crate) fn parse<'a>(format: Format, text: &'a [u8], scratch: &mut Scratch) -> Result<Draft<'a>, Refused> {
    scratch.fields.clear();
    match format {
        Format::Nginx => nginx::parse(text, &mut scratch.fields),
        Format::Postgres => postgres::parse(text, &mut scratch.fields),
        Format::Plain => Ok(plain::parse(text, Format::Plain)),
        Format::Go if text.first() != Some(&b'{') => logfmt::parse(text, scratch),
        _ => json::parse(text, Some(format), scratch),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for name in Format::NAMES {
            assert!(name.parse::<Format>().is_ok(), "{name}");
        }
        for (number, format) in Format::ALL.into_iter().enumerate() {
            assert_eq!(format as usize, number);
            assert_eq!(Format::from_name(format.service_type()), Some(format));
        }
        let error = "syslog".parse::<Format>().unwrap_err().to_string();
        assert!(Format::NAMES.iter().all(|name| error.contains(name)), "{error}");
    }
}
