//! What is asked for, as text and as rules. The same text is taken from a key of the configuration and from a label.
//!
//! An error is the end of the sentence "KEY …". It gives the place and never the pattern: a pattern may hold a secret.

use super::redact::Redactions;
use crate::limits::{PATTERN_BYTES, PATTERNS, REGEX_BYTES};
use crate::parser::level::{self, Level};
use regex::{Regex, RegexBuilder};

/// Switches a rule off, in a label against the configuration.
pub const OFF: &str = "off";

/// Longest name of a field that is sampled by.
const FIELD_BYTES: usize = 128;
/// One of so many at the least.
const SAMPLE_MAX: u64 = 1_000_000;
/// Highest rate and burst.
const RATE_MAX: u64 = 10_000_000;

/// Everything that can be asked for. The default does nothing.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Records below it are dropped; those without a level are kept.
    pub min_level: Option<Level>,
    /// Only records whose message one of them matches are kept, where there is any.
    pub keep: Patterns,
    /// Records whose message one of them matches are dropped.
    pub drop: Patterns,
    /// One of many is kept.
    pub sample: Option<Sample>,
    /// Records per second.
    pub rate: Option<Rate>,
    /// What is blacked out.
    pub redact: Redactions,
}

impl Rules {
    /// Whether nothing is asked for.
    pub fn are_off(&self) -> bool {
        self.min_level.is_none()
            && self.keep.is_empty()
            && self.drop.is_empty()
            && self.sample.is_none()
            && self.rate.is_none()
            && self.redact.is_empty()
    }
}

/// `off`, or the name of a level.
pub fn min_level(text: &str) -> Result<Option<Level>, String> {
    let text = text.trim();
    if text == OFF {
        return Ok(None);
    }
    level::of_word(text.as_bytes()).map(Some).ok_or_else(|| format!("{} is no level", quoted(text)))
}

/// Regular expressions, one a line.
#[derive(Clone, Debug, Default)]
pub struct Patterns(Vec<Regex>);

impl Patterns {
    /// `off`, or a pattern a line.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.trim() == OFF {
            return Ok(Self::default());
        }
        let mut patterns = Vec::new();
        for (at, pattern) in lines(text)?.into_iter().enumerate() {
            patterns.push(compile(pattern).map_err(|problem| format!("pattern {} {problem}", at + 1))?);
        }
        Ok(Self(patterns))
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether one of them matches.
    pub fn match_any(&self, text: &str) -> bool {
        self.0.iter().any(|pattern| pattern.is_match(text))
    }
}

/// `FIELD:N`: of the values of a field, the records of one in N are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Key of the record, else of its `fields`.
    pub field: String,
    /// One of so many.
    pub one_of: u64,
    /// Whether errors and worse are sampled too.
    pub errors: bool,
}

impl Sample {
    /// `off`, `FIELD:N` or `FIELD:N:errors`.
    pub fn parse(text: &str) -> Result<Option<Self>, String> {
        let text = text.trim();
        if text == OFF {
            return Ok(None);
        }
        let (rest, errors) = text.strip_suffix(":errors").map_or((text, false), |rest| (rest, true));
        let (field, count) = rest.rsplit_once(':').ok_or_else(|| format!("{} has no `:N`", quoted(text)))?;
        let one_of = number(count, 1..=SAMPLE_MAX).ok_or_else(|| format!("{} is no number of it", quoted(count)))?;
        let plain = |byte: u8| byte >= b' ' && byte != b'"' && byte != b'\\';
        if field.is_empty() || field.len() > FIELD_BYTES || !field.bytes().all(plain) {
            return Err(format!("{} is no name of a field", quoted(field)));
        }
        Ok(Some(Self { field: field.to_owned(), one_of, errors }))
    }

    /// Whether the records with this value are kept: the same answer in every process, version and container.
    pub fn takes(&self, value: &[u8]) -> bool {
        // FNV-1a, then the finalizer of splitmix64, since the low bits of FNV alone are poor.
        let hash = value
            .iter()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
        let hash = (hash ^ hash >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let hash = (hash ^ hash >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (hash ^ hash >> 31).is_multiple_of(self.one_of)
    }
}

/// `N` or `N:BURST`: so many records a second, and so many at once after a pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Records a second.
    pub per_second: u64,
    /// The most in one second; at least `per_second`.
    pub burst: u64,
}

impl Rate {
    /// `off`, `N` or `N:BURST`.
    pub fn parse(text: &str) -> Result<Option<Self>, String> {
        let text = text.trim();
        if text == OFF {
            return Ok(None);
        }
        let (rate, burst) = text.split_once(':').map_or((text, None), |(rate, burst)| (rate, Some(burst)));
        let known = |text: &str| {
            number(text, 1..=RATE_MAX).ok_or_else(|| format!("{} is no number from 1 to {RATE_MAX}", quoted(text)))
        };
        let per_second = known(rate)?;
        let burst = burst.map_or(Ok(per_second), known)?;
        if burst < per_second {
            return Err(format!("the burst, {burst}, is less than the rate, {per_second}; give at least as much"));
        }
        Ok(Some(Self { per_second, burst }))
    }
}

/// The lines that are not blank, if there are not too many.
pub(super) fn lines(text: &str) -> Result<Vec<&str>, String> {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    if lines.len() > PATTERNS {
        return Err(format!("has {} patterns, more than {PATTERNS}; join some with `|`", lines.len()));
    }
    Ok(lines)
}

/// A pattern, or the end of the sentence "pattern 2 …".
pub(super) fn compile(pattern: &str) -> Result<Regex, String> {
    if pattern.len() > PATTERN_BYTES {
        return Err(format!("has {} bytes, more than {PATTERN_BYTES}; make two of it", pattern.len()));
    }
    let built = RegexBuilder::new(pattern).size_limit(REGEX_BYTES).dfa_size_limit(REGEX_BYTES).build();
    built.map_err(|error| match error {
        regex::Error::CompiledTooBig(_) => {
            "takes too much memory; use smaller counts in { }, or (?-u:…) for classes of ASCII only".to_owned()
        }
        error => explain(&error.to_string()),
    })
}

/// What is wrong and where, without the pattern: the crate shows it with a caret beneath.
fn explain(error: &str) -> String {
    const INDENT: usize = 4;
    let what = error.lines().filter_map(|line| line.strip_prefix("error: ")).next_back();
    let what = what.unwrap_or("it is no regular expression");
    let caret = error.lines().find(|line| line.trim_start().starts_with('^') && line.trim_end().ends_with('^'));
    let place = caret.and_then(|line| Some(line.find('^')?.checked_sub(INDENT)? + 1));
    let place = place.map_or(String::new(), |place| format!(" at character {place}"));
    let cure = match what {
        what if what.contains("look-around") || what.contains("backreference") => {
            "; what must not match is left to another pattern, since matching takes linear time"
        }
        _ => "; a character that has a meaning of its own, such as ( [ { * + ?, is written with \\ before it",
    };
    format!("is no regular expression{place}: {what}{cure}")
}

fn number(text: &str, range: std::ops::RangeInclusive<u64>) -> Option<u64> {
    let text = text.trim();
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|number| digits && range.contains(number))
}

fn quoted(text: &str) -> String {
    const SHOWN: usize = 60;
    format!("{:?}", text.chars().take(SHOWN).collect::<String>())
}
