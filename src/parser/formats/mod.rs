//! The formats of the inner line: what they are called, and one module for each family.
//!
//! A format looks at one line of text (valid UTF-8, without its newline) and either makes a draft of it, writing `fields` on
//! the way, or says why it is not one of its lines. It keeps nothing from one line to the next.

pub(crate) mod access;
pub(crate) mod apache;
mod csv;
pub(crate) mod cut;
pub(crate) mod detect;
pub(crate) mod glog;
pub(crate) mod go;
pub(crate) mod json;
pub(crate) mod logfmt;
pub(crate) mod nginx;
pub(crate) mod node;
mod pairs;
pub(crate) mod plain;
pub(crate) mod postgres;
pub(crate) mod python;
pub(crate) mod redis;
pub(crate) mod rust;
pub(crate) mod slots;
pub(crate) mod syslog;

use super::encode::Draft;
use super::fields::Fields;
use super::simd::Lookup;
use super::unescape::Quotes;
use std::fmt;
use std::str::FromStr;

/// A format of log lines, as `RASK_FORMAT`, the label `rask.format` and `SERVICE_PARSER_MAPPINGS` name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// Go's loggers (`slog`, `zap`, `zerolog`, `logrus`, `log`, gin): JSON, logfmt, and text for people.
    Go,
    /// JSON of anything, also behind text.
    Json,
    /// nginx access and error log.
    Nginx,
    /// PostgreSQL stderr log, csvlog and jsonlog.
    Postgres,
    /// Python's standard library, `structlog`, uvicorn, gunicorn.
    Python,
    /// JSON and text of Rust's `tracing`, and of `env_logger`.
    Rust,
    /// JSON and text of Meilisearch.
    Meilisearch,
    /// Node's loggers (pino, bunyan, winston), morgan, Next.js.
    Node,
    /// Anything.
    Plain,
    /// `key=value` pairs from end to end.
    Logfmt,
    /// Apache access and error log.
    Apache,
    /// Redis and Valkey.
    Redis,
    /// syslog as text, RFC 3164 and RFC 5424.
    Syslog,
    /// glog of C++, klog of Kubernetes.
    Glog,
}

impl Format {
    /// Every format, in the order of their numbers.
    pub const ALL: [Self; 14] = [
        Self::Go,
        Self::Json,
        Self::Nginx,
        Self::Postgres,
        Self::Python,
        Self::Rust,
        Self::Meilisearch,
        Self::Node,
        Self::Plain,
        Self::Logfmt,
        Self::Apache,
        Self::Redis,
        Self::Syslog,
        Self::Glog,
    ];

    /// The names that [`Format::from_name`] takes. The configuration also knows `auto`: no format.
    pub const NAMES: [&'static str; 32] = [
        "go",
        "slog",
        "zap",
        "zerolog",
        "logrus",
        "json",
        "nginx",
        "postgres",
        "postgresql",
        "python",
        "python-structlog",
        "structlog",
        "uvicorn",
        "gunicorn",
        "rust",
        "rust-tracing",
        "tracing",
        "meilisearch",
        "node",
        "pino",
        "winston",
        "morgan",
        "nextjs",
        "plain",
        "logfmt",
        "apache",
        "httpd",
        "redis",
        "valkey",
        "syslog",
        "glog",
        "klog",
    ];

    /// The format of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "go" | "slog" | "zap" | "zerolog" | "logrus" => Self::Go,
            "json" => Self::Json,
            "nginx" => Self::Nginx,
            "postgres" | "postgresql" => Self::Postgres,
            "python" | "python-structlog" | "structlog" | "uvicorn" | "gunicorn" => Self::Python,
            "rust" | "rust-tracing" | "tracing" => Self::Rust,
            "meilisearch" => Self::Meilisearch,
            "node" | "pino" | "winston" | "morgan" | "nextjs" => Self::Node,
            "plain" => Self::Plain,
            "logfmt" => Self::Logfmt,
            "apache" | "httpd" => Self::Apache,
            "redis" | "valkey" => Self::Redis,
            "syslog" => Self::Syslog,
            "glog" | "klog" => Self::Glog,
            _ => return None,
        })
    }

    /// The format of that `service_type`: as [`Format::from_name`], by no more than it takes.
    #[inline]
    pub(crate) fn of_service_type(name: &'static str) -> Self {
        match (name.len(), name.as_bytes().first().copied().unwrap_or_default()) {
            (2, _) => Self::Go,
            (4, b'j') => Self::Json,
            (4, b'r') => Self::Rust,
            (4, b'n') => Self::Node,
            (4, _) => Self::Glog,
            (5, b'n') => Self::Nginx,
            (5, b'r') => Self::Redis,
            (5, _) => Self::Plain,
            (6, b'p') => Self::Python,
            (6, b'l') => Self::Logfmt,
            (6, b'a') => Self::Apache,
            (6, _) => Self::Syslog,
            (8, _) => Self::Postgres,
            _ => Self::Meilisearch,
        }
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
            Self::Logfmt => "logfmt",
            Self::Apache => "apache",
            Self::Redis => "redis",
            Self::Syslog => "syslog",
            Self::Glog => "glog",
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
    /// A line without its terminal escapes.
    pub(crate) clean: Vec<u8>,
    /// Those of the line that is read, if it was decoded.
    pub(crate) quotes: Quotes,
}

/// What is not a line of a format, and why.
pub(crate) type Refused = &'static str;

/// Reads `text` as `format`. Whatever comes back, `scratch` is of this line.
pub(crate) fn parse<'a>(format: Format, text: &'a [u8], scratch: &mut Scratch) -> Result<Draft<'a>, Refused> {
    scratch.fields.clear();
    if text.first() == Some(&b'{') && !matches!(format, Format::Plain | Format::Syslog | Format::Glog) {
        return json::parse(text, Some(format), scratch);
    }
    let draft = match format {
        Format::Nginx => nginx::parse(text, &mut scratch.fields)?,
        Format::Apache => apache::parse(text, &mut scratch.fields)?,
        Format::Postgres => postgres::parse(text, &mut scratch.fields)?,
        Format::Redis => redis::parse_any(text, scratch)?,
        Format::Syslog => syslog::parse(text, scratch)?,
        Format::Logfmt => logfmt::parse(text, Some(format), scratch)?,
        Format::Glog => glog::parse(text, Some(format), scratch).ok_or("not a glog or klog line")?,
        Format::Json => json::behind_text(text, Some(format), scratch).ok_or("no JSON object in the line")?,
        Format::Meilisearch => rust::parse(text, Some(format), scratch).ok_or("neither JSON nor text of tracing")?,
        Format::Plain => plain::parse(text, format, &mut scratch.fields),
        Format::Rust => one_of(&[rust], text, scratch).ok_or("neither JSON nor text of tracing or env_logger")?,
        Format::Go => one_of(&[go::parse, glog, logfmt], text, scratch)
            .ok_or("neither JSON, key=value pairs nor text of a logger of Go")?,
        Format::Python => {
            one_of(&[python::parse], text, scratch).ok_or("neither JSON nor text of a logger of Python")?
        }
        Format::Node => one_of(&[node::parse], text, scratch).ok_or("neither JSON nor text of a logger of Node")?,
    };
    Ok(Draft { service_type: format.service_type(), ..draft })
}

/// A reader of a family's lines.
type Reader = for<'a> fn(&'a [u8], &mut Scratch) -> Option<Draft<'a>>;

/// The first of the readers that takes the line; each family may also write access lines, or an object behind text.
fn one_of<'a>(readers: &[Reader], text: &'a [u8], scratch: &mut Scratch) -> Option<Draft<'a>> {
    let more: [Reader; 2] = [clf, |text, scratch| json::behind_text(text, Some(Format::Json), scratch)];
    readers.iter().chain(&more).find_map(|read| {
        scratch.fields.clear();
        read(text, scratch)
    })
}

fn rust<'a>(text: &'a [u8], scratch: &mut Scratch) -> Option<Draft<'a>> {
    rust::parse(text, Some(Format::Rust), scratch)
}

fn glog<'a>(text: &'a [u8], scratch: &mut Scratch) -> Option<Draft<'a>> {
    glog::parse(text, Some(Format::Go), scratch)
}

fn logfmt<'a>(text: &'a [u8], scratch: &mut Scratch) -> Option<Draft<'a>> {
    logfmt::parse(text, Some(Format::Go), scratch).ok()
}

fn clf<'a>(text: &'a [u8], scratch: &mut Scratch) -> Option<Draft<'a>> {
    access::parse(text, Some(Format::Nginx), &mut scratch.fields)
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
            assert_eq!(Format::of_service_type(format.service_type()), format);
        }
        let error = "no-such".parse::<Format>().unwrap_err().to_string();
        assert!(Format::NAMES.iter().all(|name| error.contains(name)), "{error}");
    }
}
