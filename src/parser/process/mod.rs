//! What is done with a record between parsing and sending, when somebody asks for it: left out by level, pattern, sampling or
//! rate, or sent with its secrets blacked out. Off by default; then it costs one look at an `Option` for each record.
//!
//! ```text
//! record as encoded ─▶ level ─▶ drop ─▶ keep ─▶ sample ─▶ rate ─▶ redact ─▶ batch
//!                        └────────┴───────┴────────┴───────┘
//!                         counted by reason, its range settled
//! ```
//!
//! It looks at the record as it is encoded, so it knows nothing of formats, and what is sent is what was judged.
//!
//! Invariants
//! - Verdicts depend on the record and on Docker's times, not on the present: lines that are read again are judged alike.
//!   (The rate begins with a full bucket in a new process.)
//! - Lines left out are counted under their reason. Their ranges go where those of blank lines go: into the cover of the next
//!   record, or to the store when there is none ([`Records::settled`]). Lines over the rate are covered by the record that tells
//!   of them, so that a crash loses neither.
//! - Redaction is the last step and sees every string that came from the line. Nothing leaves the parser around it but records
//!   of the forwarder's own.

mod rate;
mod redact;
mod rules;
mod secrets;
#[cfg(test)]
mod tests;

pub use redact::Redactions;
pub use rules::{OFF, Patterns, Rate, Rules, Sample, min_level};
pub use secrets::Builtin;

use super::encode::{self, Draft, Str};
use super::envelope::Stream;
use super::json::{Members, Value};
use super::level::Level;
use super::time::{self, Stamp};
use super::unescape::{Buffer, unescape};
use super::{Origin, Records, State};
use crate::metrics::Metrics;
use crate::position::{Range, Ranges};
use crate::source::{Container, Source, Steering};
use prometheus::IntCounter;
use rate::{Bucket, Suppressed};
use redact::Redactor;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long lines over the rate wait for the next record, in whose place a record tells of them otherwise.
const TELL_AFTER: Duration = Duration::from_secs(1);

/// Sets of labels whose rules are kept.
const VARIANTS: usize = 64;

/// Why a record is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Below `RASK_MIN_LEVEL`.
    Level,
    /// `RASK_KEEP` does not match.
    Keep,
    /// `RASK_DROP` matches.
    Drop,
    /// Not one of those that `RASK_SAMPLE` takes.
    Sample,
    /// More than `RASK_RATE`.
    Rate,
}

impl Reason {
    /// Every reason, in the order of their numbers.
    pub const ALL: [Self; 5] = [Self::Level, Self::Keep, Self::Drop, Self::Sample, Self::Rate];

    /// `reason` in `lines_dropped_total`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Level => "level",
            Self::Keep => "keep",
            Self::Drop => "drop",
            Self::Sample => "sample",
            Self::Rate => "rate",
        }
    }
}

/// Makes the rules of each container: what the configuration says, and its labels before it.
#[derive(Debug)]
pub(super) struct Processing {
    global: Arc<Rules>,
    variants: HashMap<Steering, Arc<Rules>>,
    metrics: Metrics,
    /// Containers whose labels were complained of.
    warned: HashSet<String>,
}

impl Processing {
    pub(super) fn new(global: Rules, metrics: &Metrics) -> Self {
        Self { global: Arc::new(global), variants: HashMap::new(), metrics: metrics.clone(), warned: HashSet::new() }
    }

    /// What is to be done with the records of `container`, if anything.
    pub(super) fn of(&mut self, container: &Container) -> Option<Box<Process>> {
        let rules = self.rules(container);
        (!rules.are_off()).then(|| Box::new(Process::new(rules, &self.metrics)))
    }

    fn rules(&mut self, container: &Container) -> Arc<Rules> {
        let labels = &container.steering;
        if *labels == Steering::default() {
            return self.global.clone();
        }
        if let Some(rules) = self.variants.get(labels) {
            return rules.clone();
        }
        let (rules, problems) = self.global.with_labels(labels);
        if self.warned.insert(container.id.clone()) {
            for (label, problem) in problems {
                tracing::warn!(container = container.name, "the label {label} is left aside: {problem}");
            }
        }
        if self.variants.len() >= VARIANTS {
            self.variants.clear();
        }
        let rules = Arc::new(rules);
        self.variants.insert(labels.clone(), rules.clone());
        rules
    }
}

impl Rules {
    /// These rules where a container's labels say nothing else, and the labels that say nothing sensible. What is blacked out
    /// is only ever added to: who writes a service must not be able to switch that off.
    pub(super) fn with_labels(&self, labels: &Steering) -> (Self, Vec<(&'static str, String)>) {
        let (mut rules, mut problems) = (self.clone(), Vec::new());
        fn take<T>(
            label: (&'static str, &Option<String>),
            parse: impl FnOnce(&str) -> Result<T, String>,
            into: &mut T,
            problems: &mut Vec<(&'static str, String)>,
        ) {
            let (name, Some(text)) = label else { return };
            match parse(text) {
                Ok(value) => *into = value,
                Err(problem) => problems.push((name, problem)),
            }
        }
        take(("rask.min_level", &labels.min_level), min_level, &mut rules.min_level, &mut problems);
        take(("rask.keep", &labels.keep), Patterns::parse, &mut rules.keep, &mut problems);
        take(("rask.drop", &labels.drop), Patterns::parse, &mut rules.drop, &mut problems);
        take(("rask.sample", &labels.sample), Sample::parse, &mut rules.sample, &mut problems);
        take(("rask.rate", &labels.rate), Rate::parse, &mut rules.rate, &mut problems);
        let more = |text: &str| match Redactions::parse(text)? {
            none if none.is_empty() && !self.redact.is_empty() => {
                Err("cannot switch off what RASK_REDACT asks for, only add to it".to_owned())
            }
            more => Ok(self.redact.with_label(more)),
        };
        take(("rask.redact", &labels.redact), more, &mut rules.redact, &mut problems);
        (rules, problems)
    }
}

/// The rules of one container, with what they remember from record to record.
#[derive(Debug)]
pub(super) struct Process {
    rules: Arc<Rules>,
    bucket: Option<Bucket>,
    suppressed: Option<Suppressed>,
    redactor: Option<Redactor>,
    dropped: [IntCounter; Reason::ALL.len()],
    text: Buffer,
}

impl Process {
    fn new(rules: Arc<Rules>, metrics: &Metrics) -> Self {
        Self {
            bucket: rules.rate.map(Bucket::new),
            suppressed: None,
            redactor: Redactor::new(&rules, metrics),
            dropped: Reason::ALL.map(|reason| metrics.lines_dropped.with_label_values(&[reason.name()])),
            text: Buffer::default(),
            rules,
        }
    }

    /// Why `record` is left out, if it is.
    fn judge(&mut self, record: &[u8], level: Option<Level>, time: &Stamp) -> Option<Reason> {
        let rules = &*self.rules;
        if let (Some(least), Some(level)) = (rules.min_level, level)
            && level < least
        {
            return Some(Reason::Level);
        }
        if !(rules.drop.is_empty() && rules.keep.is_empty()) {
            let message = value_of(record, b"message", &mut self.text);
            let message = std::str::from_utf8(message.unwrap_or_default()).unwrap_or_default();
            if rules.drop.match_any(message) {
                return Some(Reason::Drop);
            }
            if !rules.keep.is_empty() && !rules.keep.match_any(message) {
                return Some(Reason::Keep);
            }
        }
        if let Some(sample) = &rules.sample
            && (sample.errors || level < Some(Level::Error))
            && let Some(value) = value_of(record, sample.field.as_bytes(), &mut self.text)
            && !value.is_empty()
            && !sample.takes(value)
        {
            return Some(Reason::Sample);
        }
        let bucket = self.bucket.as_mut()?;
        (!bucket.passes(time::since_epoch(time))).then_some(Reason::Rate)
    }

    /// Takes note of lines over the rate.
    fn suppress(&mut self, source: &Arc<Source>, origin: &Origin<'_>) {
        let suppressed = self.suppressed.get_or_insert_with(|| Suppressed {
            source: source.clone(),
            lines: 0,
            ranges: Ranges::default(),
            first: time::since_epoch(origin.time),
            last: *origin.time,
            since: origin.read_at,
        });
        suppressed.lines += u64::from(origin.lines);
        suppressed.last = suppressed.last.max(*origin.time);
    }
}

/// The value of a key of a record, else of its `fields`, as text.
fn value_of<'a>(record: &'a [u8], key: &[u8], buffer: &'a mut Buffer) -> Option<&'a [u8]> {
    fn find<'a>(object: &'a [u8], key: &[u8]) -> Option<Value<'a>> {
        let mut members = Members::of(object).ok()?;
        while let Ok(Some(member)) = members.next() {
            match member.value {
                value if member.key.inner == key && key != b"fields" => return Some(value),
                Value::Nested(fields) if member.key.inner == b"fields" => return find(fields, key),
                _ => {}
            }
        }
        None
    }
    match find(record, key)? {
        Value::String(value) => {
            let (place, _) = unescape(value.inner, false, buffer)?;
            Some(place.of(value.inner, buffer))
        }
        Value::Scalar(text) | Value::Nested(text) => Some(text),
    }
}

/// How the rest of the parser gets here.
impl State {
    /// The record at `start`, the last of `out`, goes on as it is now; or it is taken out again and its lines settled, and the
    /// answer is why. What was suppressed before it is told of before it.
    #[inline(never)]
    pub(super) fn process(
        &mut self,
        level: Option<Level>,
        start: usize,
        origin: &Origin<'_>,
        out: &mut Records,
    ) -> Option<Reason> {
        let process = self.process.as_mut()?;
        let Some(reason) = process.judge(&out.body[start..], level, origin.time) else {
            self.redact(start, out);
            if self.suppressed().is_some() {
                let end = out.body.len();
                self.tell_suppressed(out);
                out.body[start..].rotate_left(end - start);
            }
            return None;
        };
        out.body.truncate(start);
        process.dropped[reason as usize].inc_by(u64::from(origin.lines));
        if reason == Reason::Rate {
            process.suppress(&out.source, origin);
        }
        match &mut process.suppressed {
            // One range and no holes, where lines over the rate and others take turns.
            Some(suppressed) if suppressed.source == out.source => insert_all(&mut suppressed.ranges, origin.ranges),
            _ if self.source == out.source => insert_all(&mut self.silent.ranges, origin.ranges),
            _ => out.settle(out.source.generation, origin.ranges),
        }
        Some(reason)
    }

    /// Blacks out what is to be blacked out in the record at `start`, the last of `out`.
    pub(super) fn redact(&mut self, start: usize, out: &mut Records) {
        if let Some(redactor) = self.process.as_mut().and_then(|process| process.redactor.as_mut()) {
            redactor.record(&mut out.body, start);
        }
    }

    /// Lines over the rate that no record has told of.
    pub(super) fn suppressed(&self) -> Option<&Arc<Source>> {
        Some(&self.process.as_ref()?.suppressed.as_ref()?.source)
    }

    /// When they are told of at the latest.
    pub(super) fn tell_at(&self) -> Option<Instant> {
        Some(self.process.as_ref()?.suppressed.as_ref()?.since + TELL_AFTER)
    }

    /// Writes the record that tells of lines over the rate (`docs/wire-format.md`).
    #[cold]
    pub(super) fn tell_suppressed(&mut self, out: &mut Records) {
        let Some(suppressed) = self.process.as_mut().and_then(|process| process.suppressed.take()) else { return };
        let Suppressed { source, lines, ranges, first, last, since } = suppressed;
        let millis = time::since_epoch(&last).saturating_sub(first).as_millis();
        let message = format!("suppressed {lines} lines in {millis} ms: more than the rate allows");
        let mut fields = super::fields::Fields::default();
        fields.push(b"suppressed_lines", Str::Raw(lines.to_string().as_bytes()));
        fields.push(b"suppressed_for_ms", Str::Raw(millis.to_string().as_bytes()));
        let mut draft = Draft::new("rask", "suppressed", Str::Raw(message.as_bytes()));
        draft.level = Some(Level::Warn);
        encode::record(&mut out.body, &draft, &fields, &last, Stream::Stderr, &self.identity);
        if source == out.source {
            out.cover(ranges.as_slice(), 0, since);
        } else {
            out.cover(&[], 0, since);
            out.settle(source.generation, ranges.as_slice());
        }
    }
}

fn insert_all(into: &mut Ranges, ranges: &[Range]) {
    for range in ranges {
        into.insert(*range);
    }
}
