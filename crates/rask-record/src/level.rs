//! How serious a record is.

use std::fmt;

/// The five levels, and whatever else a sender may have written.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Level {
    /// Also what a `trace` becomes.
    Debug,
    /// The usual.
    Info,
    /// Something to look at.
    Warn,
    /// Something failed.
    Error,
    /// Something ended.
    Fatal,
    /// A word that is not one of the five, kept as it came.
    Other(String),
}

impl Level {
    /// Reads the exact spelling of the wire; any other word is kept in [`Level::Other`].
    pub fn from_wire(word: &str) -> Self {
        match word {
            "Debug" => Self::Debug,
            "Info" => Self::Info,
            "Warn" => Self::Warn,
            "Error" => Self::Error,
            "Fatal" => Self::Fatal,
            other => Self::Other(other.to_owned()),
        }
    }

    /// The word on the wire.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Debug => "Debug",
            Self::Info => "Info",
            Self::Warn => "Warn",
            Self::Error => "Error",
            Self::Fatal => "Fatal",
            Self::Other(word) => word,
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
