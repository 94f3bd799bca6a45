//! Severity: the words and numbers of many loggers to the five levels of a record.

/// Level of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Also trace and verbose.
    Debug,
    /// Also notice and PostgreSQL's LOG.
    Info,
    /// Also warning.
    Warn,
    /// Also err.
    Error,
    /// Also critical, alert, emergency and panic.
    Fatal,
}

impl Level {
    /// As it stands in a record.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Debug => "Debug",
            Self::Info => "Info",
            Self::Warn => "Warn",
            Self::Error => "Error",
            Self::Fatal => "Fatal",
        }
    }

    /// Whether `word` says just this level, so that it need not be kept beside it.
    pub(crate) fn is_called(self, word: &[u8]) -> bool {
        self.as_str().as_bytes().eq_ignore_ascii_case(word)
    }

    /// Level of an HTTP status.
    pub(crate) fn of_status(status: u16) -> Self {
        match status {
            500..=599 => Self::Error,
            400..=499 => Self::Warn,
            _ => Self::Info,
        }
    }
}

/// Longest word that is a level.
const LONGEST: usize = 13;

/// Level of a word in any case; `slog` adds an offset, as in `INFO+2`.
pub(crate) fn of_word(word: &[u8]) -> Option<Level> {
    let (mut lower, mut len) = ([0; LONGEST], 0);
    for byte in word.iter().take_while(|byte| !matches!(byte, b'+' | b'-')) {
        // Only a letter becomes a small letter by this bit.
        *lower.get_mut(len)? = byte | 0x20;
        len += 1;
    }
    let offset = &word[len..];
    if !offset.is_empty() && !is_offset(offset) {
        return None;
    }
    Some(match &lower[..len] {
        b"info" | b"inf" | b"information" | b"informational" | b"notice" | b"note" | b"log" | b"http" | b"success" => {
            Level::Info
        }
        b"debug" | b"dbg" | b"debu" | b"dbug" | b"trace" | b"trc" | b"trac" | b"trce" | b"verbose" | b"fine"
        | b"finer" | b"finest" | b"silly" => Level::Debug,
        b"warn" | b"warning" | b"wrn" => Level::Warn,
        b"error" | b"err" | b"erro" | b"severe" | b"fail" => Level::Error,
        b"fatal" | b"ftl" | b"fata" | b"critical" | b"crit" | b"panic" | b"pani" | b"dpanic" | b"alert" | b"emerg"
        | b"emergency" => Level::Fatal,
        _ => return None,
    })
}

fn is_offset(offset: &[u8]) -> bool {
    (2..=4).contains(&offset.len()) && offset[1..].iter().all(u8::is_ascii_digit)
}

/// Level of a number as bunyan and pino write it. Smaller numbers are ambiguous (syslog counts down, OpenTelemetry up).
pub(crate) fn of_number(number: u64) -> Option<Level> {
    Some(match number {
        10 | 20 => Level::Debug,
        30 => Level::Info,
        40 => Level::Warn,
        50 => Level::Error,
        60 => Level::Fatal,
        _ => return None,
    })
}

/// Level of a syslog priority (RFC 5424, section 6.2.1).
pub(crate) fn of_syslog(number: u64) -> Option<Level> {
    Some(match number {
        0..=2 => Level::Fatal,
        3 => Level::Error,
        4 => Level::Warn,
        5 | 6 => Level::Info,
        7 => Level::Debug,
        _ => return None,
    })
}

/// Level of an OpenTelemetry severity number.
pub(crate) fn of_otel(number: u64) -> Option<Level> {
    Some(match number {
        1..=8 => Level::Debug,
        9..=12 => Level::Info,
        13..=16 => Level::Warn,
        17..=20 => Level::Error,
        21..=24 => Level::Fatal,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        let check = |word: &str, expected: Option<Level>| assert_eq!(of_word(word.as_bytes()), expected, "{word}");
        check("INFO", Some(Level::Info));
        check("Information", Some(Level::Info));
        check("informational", Some(Level::Info));
        check("warning", Some(Level::Warn));
        check("err", Some(Level::Error));
        check("Critical", Some(Level::Fatal));
        check("TRACE", Some(Level::Debug));
        check("INFO+2", Some(Level::Info));
        check("DEBUG-4", Some(Level::Debug));
        check("INFO+x", None);
        check("INFO+", None);
        check("informationals!", None);
        check("", None);
        check("loud", None);
        check("I\x0efo", None);
        check("ERR\u{4f}\u{12}", None);
    }

    /// A word that is one in small letters is one in any letters, and with no other byte in it.
    #[test]
    fn any_byte_of_a_word() {
        for word in ["info", "warning", "critical", "informational"] {
            for (at, byte) in (0..word.len()).flat_map(|at| (0..=255).map(move |byte| (at, byte))) {
                let mut other = word.as_bytes().to_vec();
                other[at] = byte;
                let same = other.eq_ignore_ascii_case(word.as_bytes());
                assert_eq!(of_word(&other).is_some(), same, "{other:?}");
            }
        }
    }

    #[test]
    fn numbers() {
        assert_eq!(of_number(30), Some(Level::Info));
        assert_eq!(of_number(3), None);
        assert_eq!(of_syslog(3), Some(Level::Error));
        assert_eq!(of_syslog(8), None);
        assert_eq!(of_otel(17), Some(Level::Error));
        assert_eq!(of_otel(0), None);
    }

    #[test]
    fn statuses() {
        assert_eq!(Level::of_status(200), Level::Info);
        assert_eq!(Level::of_status(404), Level::Warn);
        assert_eq!(Level::of_status(503), Level::Error);
        assert_eq!(Level::of_status(600), Level::Info);
    }
}
