//! The configuration as it was written: text by key, each with where it came from. Nothing is understood here but the form
//! of TOML.
//!
//! Defaults < `CONFIG_FILE` < `RASK_CONFIG` < environment < flags: the nearer to the command, the stronger. An empty variable counts
//! as not set, since Compose passes `X=`; an empty flag or file value is an error, since somebody meant something by it.

use super::error::{ConfigError, shown};
use super::keys::{self, KEYS, Key};
use crate::limits::CONFIG_FILE_BYTES;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::io::Read;
use std::path::Path;
use toml::de::{DeTable, DeValue};

/// Parse errors reported of one text: the first is what helps, each later one may be only its echo.
const PARSE_ERRORS: usize = 5;

/// Where a value was written, the weakest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nowhere.
    Default,
    /// In `CONFIG_FILE`.
    File {
        /// Its path, as given.
        path: String,
        /// Line, from 1; 0 for the file as a whole.
        line: usize,
    },
    /// In `RASK_CONFIG`.
    Inline {
        /// Line, from 1; 0 for the text as a whole.
        line: usize,
    },
    /// In the environment.
    Environment,
    /// On the command line, by this flag.
    Flag(String),
}

impl Origin {
    /// Strength: of two origins, the one with the higher rank wins.
    pub fn rank(&self) -> u8 {
        match self {
            Self::Default => 0,
            Self::File { .. } => 1,
            Self::Inline { .. } => 2,
            Self::Environment => 3,
            Self::Flag(_) => 4,
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line: 0 } => f.write_str(path),
            Self::File { path, line } => write!(f, "{path}:{line}"),
            Self::Inline { line: 0 } => f.write_str("RASK_CONFIG"),
            Self::Inline { line } => write!(f, "RASK_CONFIG:{line}"),
            Self::Environment => f.write_str("environment"),
            Self::Flag(flag) => f.write_str(flag),
        }
    }
}

/// A value as written.
#[derive(Clone, PartialEq, Eq)]
pub struct Value {
    /// The text.
    pub text: String,
    /// Where it was written.
    pub origin: Origin,
}

/// Without the text, which may be a secret.
impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "({})", self.origin)
    }
}

/// Every value that was given, the strongest of each key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RawConfig {
    values: BTreeMap<&'static str, Value>,
}

impl RawConfig {
    /// Collects the values of all places. What cannot be read is reported and left out, so that the rest can still be checked.
    pub fn gather(
        flags: impl Fn(&Key) -> Option<OsString>,
        env: impl Fn(&str) -> Option<OsString>,
    ) -> (Self, Vec<ConfigError>) {
        let (mut raw, mut errors) = (Self::default(), Vec::new());
        let mut given = Vec::new();
        for key in KEYS {
            if let Some(text) = env(key.env).filter(|text| !text.is_empty()) {
                given.push((key, text, Origin::Environment));
            }
            if let (Some(flag), Some(text)) = (key.flag(), flags(key)) {
                given.push((key, text, Origin::Flag(flag)));
            }
        }
        for (key, text, origin) in given {
            match text.into_string() {
                Ok(text) => raw.set(key, text, origin, &mut errors),
                Err(_) => errors.push(ConfigError::new(key.env, origin, "is not valid UTF-8")),
            }
        }
        if let Some(inline) = raw.values.get("RASK_CONFIG").cloned() {
            raw.read_inline(&inline, &mut errors);
        }
        if let Some(file) = raw.values.get("CONFIG_FILE").cloned() {
            raw.read_file(&file, &mut errors);
        }
        (raw, errors)
    }

    /// The value of a key, if one was given.
    pub fn get(&self, env: &str) -> Option<&Value> {
        debug_assert!(keys::by_env(env).is_some(), "{env} is in the table");
        self.values.get(env)
    }

    /// Takes a value unless a stronger one is there.
    fn set(&mut self, key: &'static Key, text: String, origin: Origin, errors: &mut Vec<ConfigError>) {
        if text.trim().is_empty() {
            errors.push(ConfigError::new(key.env, origin, format!("is empty; allowed: {}", key.allowed)));
            return;
        }
        let weaker = self.values.get(key.env).is_none_or(|have| have.origin.rank() < origin.rank());
        if weaker {
            self.values.insert(key.env, Value { text, origin });
        }
    }

    fn read_inline(&mut self, inline: &Value, errors: &mut Vec<ConfigError>) {
        if inline.text.len() > CONFIG_FILE_BYTES {
            errors.push(ConfigError::new("RASK_CONFIG", inline.origin.clone(), "is longer than 1 MiB"));
        } else if !inline.text.contains('=') && Path::new(&inline.text).exists() {
            let problem = "is TOML text, not a path; the path of a file is given as CONFIG_FILE";
            errors.push(ConfigError::new("RASK_CONFIG", inline.origin.clone(), problem));
        } else {
            self.read_toml("RASK_CONFIG", &inline.text, |line| Origin::Inline { line }, errors);
        }
    }

    fn read_file(&mut self, file: &Value, errors: &mut Vec<ConfigError>) {
        match read_capped(Path::new(&file.text), CONFIG_FILE_BYTES) {
            Ok(text) => {
                let origin = |line| Origin::File { path: file.text.clone(), line };
                self.read_toml("CONFIG_FILE", &text, origin, errors);
            }
            Err(problem) => {
                let problem = format!("{} {problem}", shown(&file.text));
                errors.push(ConfigError::new("CONFIG_FILE", file.origin.clone(), problem));
            }
        }
    }

    /// Reads keys and scalar values; tables and arrays have no meaning here. Parse errors give the line, never its text.
    fn read_toml(&mut self, what: &str, text: &str, origin: impl Fn(usize) -> Origin, errors: &mut Vec<ConfigError>) {
        let line_of = |at: usize| text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count() + 1;
        let (table, problems) = DeTable::parse_recoverable(text);
        for problem in problems.into_iter().take(PARSE_ERRORS) {
            let at = origin(problem.span().map_or(0, |span| line_of(span.start)));
            errors.push(ConfigError::new(what, at, format!("is not TOML: {}", problem.message())));
        }
        for (name, value) in table.get_ref() {
            let at = origin(line_of(name.span().start));
            let name: &str = name.get_ref();
            let Some(key) = keys::by_file_key(name) else {
                errors.push(ConfigError::new(name, at, unknown(name)));
                continue;
            };
            match scalar(value.get_ref()) {
                Ok(text) => self.set(key, text, at, errors),
                Err(kind) => {
                    let problem = format!("is {kind}; allowed: {}", key.allowed);
                    errors.push(ConfigError::new(key.env, at, problem));
                }
            }
        }
    }
}

/// What is said of a file key that does not exist.
fn unknown(name: &str) -> String {
    match keys::nearest_file_key(name) {
        Some(near) => format!("is no key; did you mean {near}?"),
        None => "is no key; `--help` lists all of them".to_owned(),
    }
}

/// A scalar as text, or what it is instead.
fn scalar(value: &DeValue<'_>) -> Result<String, &'static str> {
    match value {
        DeValue::String(text) => Ok(text.to_string()),
        DeValue::Integer(number) if number.radix() == 10 => Ok(number.as_str().trim_start_matches('+').to_owned()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map(|number| number.to_string())
            .map_err(|_| "a number that is too large"),
        DeValue::Float(number) => Ok(number.as_str().to_owned()),
        DeValue::Boolean(yes) => Ok(yes.to_string()),
        DeValue::Datetime(time) => Ok(time.to_string()),
        DeValue::Array(_) => Err("an array"),
        DeValue::Table(_) => Err("a table"),
    }
}

/// The text of a small file, or why not, for a person.
pub(super) fn read_capped(path: &Path, max: usize) -> Result<String, String> {
    let file = std::fs::File::open(path).map_err(|error| format!("cannot be read: {error}"))?;
    let mut bytes = Vec::new();
    let read = file.take(max as u64 + 1).read_to_end(&mut bytes);
    read.map_err(|error| format!("cannot be read: {error}"))?;
    if bytes.len() > max {
        return Err(format!("is longer than {max} bytes"));
    }
    String::from_utf8(bytes).map_err(|_| "is not valid UTF-8".to_owned())
}
