//! What is counted of lines and records, in plain numbers until the end of a chunk.

use super::formats::Format;
use super::look::Note;
use crate::metrics::Metrics;
use prometheus::IntCounter;

pub(super) const FORMATS: usize = Format::ALL.len();

/// Counts of a chunk, added to the metrics at its end: an atomic addition a line would be seen.
#[derive(Debug)]
pub(super) struct Counts {
    pub(super) parsed: [u64; FORMATS],
    pub(super) failed: [u64; FORMATS],
    pub(super) garbage: u64,
    pub(super) blank: u64,
    pub(super) cut: u64,
    pub(super) truncated: u64,
    /// What became of each message, if somebody wants to know.
    pub(super) notes: Option<Vec<Note>>,
    pub(super) metrics: Counters,
}

#[derive(Debug)]
pub(super) struct Counters {
    pub(super) parsed: [IntCounter; FORMATS],
    pub(super) failed: [IntCounter; FORMATS],
    pub(super) garbage: IntCounter,
    pub(super) blank: IntCounter,
    pub(super) cut: IntCounter,
    pub(super) truncated: IntCounter,
}

impl Counts {
    pub(super) fn new(metrics: &Metrics) -> Self {
        let label = |format: Format| [format.service_type()];
        let metrics = Counters {
            parsed: Format::ALL.map(|format| metrics.records_parsed.with_label_values(&label(format))),
            failed: Format::ALL.map(|format| metrics.parse_failures.with_label_values(&label(format))),
            garbage: metrics.parse_failures.with_label_values(&["envelope"]),
            blank: metrics.lines_dropped.with_label_values(&["blank"]),
            cut: metrics.lines_dropped.with_label_values(&["cut"]),
            truncated: metrics.records_truncated.clone(),
        };
        Self {
            parsed: [0; FORMATS],
            failed: [0; FORMATS],
            garbage: 0,
            blank: 0,
            cut: 0,
            truncated: 0,
            notes: None,
            metrics,
        }
    }

    pub(super) fn flush(&mut self) {
        let add = |counter: &IntCounter, count: &mut u64| {
            if *count > 0 {
                counter.inc_by(std::mem::take(count));
            }
        };
        for (counter, count) in self.metrics.parsed.iter().zip(&mut self.parsed) {
            add(counter, count);
        }
        for (counter, count) in self.metrics.failed.iter().zip(&mut self.failed) {
            add(counter, count);
        }
        add(&self.metrics.garbage, &mut self.garbage);
        add(&self.metrics.blank, &mut self.blank);
        add(&self.metrics.cut, &mut self.cut);
        add(&self.metrics.truncated, &mut self.truncated);
    }
}
