//! What is wrong with a configuration: all of it at once, each naming its key and where it was written.
//!
//! No secret gets in here: whoever makes an error of a secret key leaves the value out.

use super::raw::{Origin, Value};
use std::fmt;

/// Longest part of a value that an error repeats.
const SHOWN_CHARS: usize = 80;

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Name of the variable of the key, or the unknown key as it was written.
    pub key: String,
    /// Where it was written.
    pub origin: Origin,
    /// What is wrong, for a person.
    pub problem: String,
}

impl ConfigError {
    /// `problem` with `key`, written at `origin`.
    pub fn new(key: &str, origin: Origin, problem: impl Into<String>) -> Self {
        Self { key: key.to_owned(), origin, problem: problem.into() }
    }

    /// The value is not one that `allowed` describes. Repeats the value: not for secrets.
    pub fn not_allowed(key: &str, value: &Value, allowed: &str) -> Self {
        Self::new(key, value.origin.clone(), format!("{} is not allowed; allowed: {allowed}", shown(&value.text)))
    }
}

/// `KEY (where): what is wrong`
impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.origin {
            Origin::Default => write!(f, "{}: {}", self.key, self.problem),
            _ => write!(f, "{} ({}): {}", self.key, self.origin, self.problem),
        }
    }
}

/// Everything that is wrong; at least one error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<ConfigError>);

/// A line for each error.
impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the configuration is not valid:")?;
        self.0.iter().try_for_each(|error| write!(f, "\n  {error}"))
    }
}

impl std::error::Error for ConfigErrors {}

/// A value as an error shows it: quoted, escaped, cut.
pub(super) fn shown(text: &str) -> String {
    match text.char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}
