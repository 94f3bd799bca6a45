//! What a bench says at its end: the table of targets, the figures behind it, and what was wrong.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::Path;
use std::time::Duration;

/// One target.
#[derive(Clone, Debug)]
pub(super) struct Row {
    what: String,
    target: String,
    measured: String,
    pub(super) is_met: bool,
}

impl Row {
    /// A figure with its upper limit, both shown by `show`.
    pub(super) fn at_most(what: String, figure: f64, limit: f64, show: impl Fn(f64) -> String) -> Self {
        let target = show(limit);
        // What `show` adds in brackets belongs to the figure alone.
        let target = target.split(" (").next().unwrap_or_default();
        Self { what, target: format!("≤ {target}"), measured: show(figure), is_met: figure <= limit }
    }

    /// Memory or disk.
    pub(super) fn below_mib(what: String, limit: f64, bytes: u64) -> Self {
        let mib = bytes as f64 / f64::from(1 << 20);
        let (target, measured) = (format!("< {limit} MiB"), format!("{mib:.2} MiB"));
        Self { what, target, measured, is_met: mib < limit }
    }
}

/// Everything that was found.
#[derive(Debug, Default)]
pub(super) struct Report {
    /// The machine, the load, the sizes.
    pub(super) heading: String,
    /// Speed means nothing where it was over before it had begun; only answers count.
    is_smoke: bool,
    pub(super) rows: Vec<Row>,
    /// Tables in Markdown.
    pub(super) details: Vec<String>,
    complaints: Vec<String>,
}

impl Report {
    pub(super) fn new(is_smoke: bool) -> Self {
        Self { is_smoke, ..Self::default() }
    }

    /// A wrong answer: the bench has failed whatever it has measured.
    pub(super) fn wrong(&mut self, complaint: String) {
        self.complaints.push(complaint);
    }

    pub(super) fn is_right(&self) -> bool {
        self.complaints.is_empty()
    }

    pub(super) fn text(&self) -> String {
        let rows: Vec<_> = self
            .rows
            .iter()
            .map(|row| {
                let verdict = if row.is_met { "pass" } else { "FAIL" };
                [row.what.clone(), row.target.clone(), row.measured.clone(), verdict.to_owned()]
            })
            .collect();
        let mut text = format!("{}\n", self.heading);
        if !self.is_smoke {
            text.push('\n');
            text.push_str(&table(&["what", "target", "measured", ""], &rows));
        }
        for detail in &self.details {
            let _ = write!(text, "\n{detail}");
        }
        for complaint in &self.complaints {
            let _ = write!(text, "\nWRONG: {complaint}");
        }
        let met = self.rows.iter().filter(|row| row.is_met).count();
        let met = if self.is_smoke { String::new() } else { format!("{met} of {} targets met; ", self.rows.len()) };
        let answers = if self.is_right() { "every answer is right" } else { "NOT RIGHT" };
        let _ = writeln!(text, "\n{met}{answers}.");
        text
    }

    /// Appends it all as Markdown.
    pub(super) fn append_to(&self, path: &Path) -> io::Result<()> {
        let mut file = std::fs::File::options().create(true).append(true).open(path)?;
        write!(file, "\n{}", self.text())
    }
}

/// Markdown, its columns as wide as they must be to be read in a terminal, too.
pub(super) fn table<const N: usize>(heads: &[&str; N], rows: &[[String; N]]) -> String {
    let widths: [usize; N] = std::array::from_fn(|i| {
        let cells = rows.iter().map(|row| row[i].chars().count());
        cells.chain([heads[i].chars().count()]).max().unwrap_or(0)
    });
    let mut text = String::new();
    let mut put = |cells: [&str; N]| {
        for (cell, width) in cells.iter().zip(widths) {
            let _ = write!(text, "| {cell}{} ", " ".repeat(width - cell.chars().count()));
        }
        text.push_str("|\n");
    };
    put(*heads);
    let rules = widths.map(|width| "-".repeat(width));
    put(std::array::from_fn(|i| rules[i].as_str()));
    for row in rows {
        put(std::array::from_fn(|i| row[i].as_str()));
    }
    text
}

/// A latency.
pub(super) fn micros(time: Duration) -> String {
    match time.as_micros() {
        0..10_000 => format!("{} µs", time.as_micros()),
        _ => format!("{:.1} ms", time.as_secs_f64() * 1e3),
    }
}

/// A line on standard output; who closed it does not want it.
pub(super) fn say(text: &str) {
    let _ = writeln!(io::stdout(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_met_up_to_its_limit() {
        let row = |figure| Row::at_most("x".into(), figure, 2.0, |n| format!("{n:.1}× (of {figure})"));
        assert_eq!((row(2.0).is_met, row(2.01).is_met), (true, false));
        assert_eq!((row(1.5).target, row(1.5).measured), ("≤ 2.0×".into(), "1.5× (of 1.5)".into()));
        assert!(!Row::below_mib("x".into(), 1.0, 1 << 20).is_met);
        assert!(Row::below_mib("x".into(), 1.0, (1 << 20) - 1).is_met);
    }

    #[test]
    fn complaints_decide_and_targets_do_not() {
        let mut report = Report::default();
        report.rows.push(Row::at_most("x".into(), 3.0, 2.0, |n| n.to_string()));
        assert!(report.is_right() && report.text().contains("0 of 1 targets met; every answer is right."));
        report.wrong("a record is missing".into());
        assert!(!report.is_right() && report.text().contains("WRONG: a record is missing"));
    }

    #[test]
    fn columns_are_aligned() {
        let text = table(&["a", "b"], &[["µ".into(), "xx".into()], ["long".into(), String::new()]]);
        assert_eq!(text, "| a    | b  |\n| ---- | -- |\n| µ    | xx |\n| long |    |\n");
    }
}
