//! What a soak says at its end.

use super::book::Sums;
use super::faults::{Fault, Tally};
use super::forwarder::PEAK_BYTES;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::Path;
use std::time::Duration;

/// Everything that was found.
pub(super) struct Outcome {
    pub(super) seed: u64,
    pub(super) time: Duration,
    pub(super) sums: Sums,
    pub(super) tallies: BTreeMap<Fault, Tally>,
    pub(super) lives: u64,
    pub(super) peak: u64,
    pub(super) calms: u64,
    pub(super) complaints: Vec<String>,
}

impl Outcome {
    pub(super) fn is_right(&self) -> bool {
        self.sums.is_right() && self.complaints.is_empty() && self.peak < PEAK_BYTES
    }

    fn summary(&self) -> String {
        let Sums { written, records, lost, announced, twice, reordered, dead, gap_records, .. } = self.sums;
        format!(
            "{} minutes, seed {}: {written} lines written, {records} records received; {lost} lost, {twice} twice, \
             {reordered} out of order, {dead} dead letters, {announced} lines gone before they could be read and announced by \
             {gap_records} gap records. {} lives of three forwarders, peak of resident memory {:.1} MB; judged at {} calms; {} complaints.",
            self.time.as_secs() / 60,
            self.seed,
            self.lives,
            self.peak as f64 / f64::from(1 << 20),
            self.calms,
            self.complaints.len(),
        )
    }

    pub(super) fn terminal(&self) -> String {
        let mut text = self.table();
        for complaint in self.complaints.iter().take(100) {
            let _ = writeln!(text, "WRONG: {complaint}");
        }
        let _ = write!(text, "{}\n{}", self.summary(), if self.is_right() { "ok" } else { "NOT RIGHT" });
        text
    }

    fn table(&self) -> String {
        let mut text = String::from("| fault | played | announced as gone | lost | twice |\n|---|---|---|---|---|\n");
        for (fault, tally) in &self.tallies {
            let Tally { times, announced, lost, twice, .. } = tally;
            let _ = writeln!(text, "| {} | {times} | {announced} | {lost} | {twice} |", fault.text());
        }
        text
    }

    /// Appends summary and table as Markdown.
    pub(super) fn append_to(&self, path: &Path) -> io::Result<()> {
        let mut file = std::fs::File::options().create(true).append(true).open(path)?;
        write!(file, "\n{}\n\n{}", self.summary(), self.table())
    }
}

/// A line on standard output; who closed it does not want it.
pub(super) fn say(text: &str) {
    let _ = writeln!(io::stdout(), "{text}");
}
