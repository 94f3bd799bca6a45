//! Catching up: a log that waits, from exec until the last record is acknowledged, by the forwarder and by the splice floor in
//! turns. A machine that is shared only ever adds to the time of a run, so that the quickest of each is nearest to what it takes.

use super::corpora::{Backlog, Corpus};
use super::measure::Program;
use super::receiver::{Look, Receiver};
use super::report::{Report, Row, table};
use super::stage::Stage;
use std::io;
use std::time::Duration;

/// What one run took.
#[derive(Clone, Copy, Debug)]
struct Cost {
    cpu: Duration,
    /// Of it in the system, 0 to 1.
    system: f64,
    wall: Duration,
    /// For a core that others had.
    waited: Duration,
    peak_bytes: u64,
    sent_bytes: u64,
    bodies: u64,
}

impl Cost {
    /// What tells a disturbed run from one that was not.
    fn text(&self, backlog: &Backlog) -> String {
        format!(
            "{:.0} ns a line ({:.1} s, {:.1} s of waits for a core, {} KiB a body)",
            nanos_a_line(self, backlog),
            self.wall.as_secs_f64(),
            self.waited.as_secs_f64(),
            self.sent_bytes / self.bodies.max(1) / 1024
        )
    }
}

/// Both programs on one corpus.
struct Runs {
    corpus: Corpus,
    backlog: Backlog,
    floor: Vec<Cost>,
    forwarder: Vec<Cost>,
}

/// Absolute targets in µs a line, for orientation.
const MICROS: [(Corpus, f64); 4] = [(Corpus::A, 0.8), (Corpus::B, 0.35), (Corpus::C, 0.3), (Corpus::D, 0.25)];

/// Floor and forwarder over each corpus, `repeat` times in turns.
pub(super) fn run(stage: &mut Stage, backlogs: &[(Corpus, Backlog)], repeat: u32) -> io::Result<()> {
    let look = if stage.is_smoke { Look::Marks } else { Look::Count };
    let empty = |(corpus, backlog): &(Corpus, Backlog)| Runs {
        corpus: *corpus,
        backlog: backlog.clone(),
        floor: Vec::new(),
        forwarder: Vec::new(),
    };
    let mut all: Vec<Runs> = backlogs.iter().map(empty).collect();
    for turn in 1..=repeat {
        for runs in &mut all {
            runs.floor.push(floor(stage, runs.corpus, &runs.backlog, look)?);
            runs.forwarder.push(forwarder(stage, runs.corpus.text(), &runs.backlog, look)?);
            let told = |costs: &[Cost]| costs.last().map(|cost| cost.text(&runs.backlog)).unwrap_or_default();
            let (floor, forwarder) = (told(&runs.floor), told(&runs.forwarder));
            stage.say(&format!("{turn}: {}: floor {floor}; forwarder {forwarder}", runs.corpus.text()));
        }
    }
    report(&mut stage.report, &all);
    Ok(())
}

/// A large log, for its peak of memory.
pub(super) fn full_throttle(stage: &mut Stage, backlog: &Backlog) -> io::Result<()> {
    let cost = forwarder(stage, "full throttle", backlog, Look::Count)?;
    let what = format!("peak RSS, full throttle from a backlog of {} MB", backlog.bytes >> 20);
    stage.report.rows.push(Row::below_mib(what, 14.0, cost.peak_bytes));
    Ok(())
}

fn floor(stage: &mut Stage, corpus: Corpus, backlog: &Backlog, look: Look) -> io::Result<Cost> {
    let receiver = Receiver::start(look)?;
    let program = stage.forwarder.start_floor(&backlog.log, receiver.address(), false)?;
    // It understands nothing: a line is a record.
    let cost = measure(&program, &receiver, backlog.lines);
    let (cost, seen) = (cost?, receiver.seen());
    if seen.records != backlog.lines {
        stage.report.wrong(format!("{}: floor sent {} lines of {}", corpus.text(), seen.records, backlog.lines));
    }
    if look == Look::Marks && seen.seq_sum != backlog.seq_sum() {
        stage.report.wrong(format!("{}: the floor sent other numbers than were written", corpus.text()));
    }
    program.end()?;
    Ok(cost)
}

fn forwarder(stage: &mut Stage, what: &str, backlog: &Backlog, look: Look) -> io::Result<Cost> {
    let receiver = Receiver::start(look)?;
    let state = stage.new_state();
    let program = stage.forwarder.start(&backlog.containers, receiver.address(), &state)?;
    let cost = measure(&program, &receiver, backlog.records);
    let seen = receiver.seen();
    if seen.records != backlog.records {
        stage.report.wrong(format!("{what}: {} records of {} came", seen.records, backlog.records));
    }
    if seen.claimed != seen.records {
        stage.report.wrong(format!("{what}: x-batch-size adds up to {}, not {}", seen.claimed, seen.records));
    }
    if look == Look::Marks && seen.seq_sum != backlog.seq_sum() {
        stage.report.wrong(format!("{what}: other numbers came than were written"));
    }
    program.end().map_err(|error| io::Error::other(format!("{what}: the forwarder {error}")))?;
    stage.drop_state(&state)?;
    cost
}

fn measure(program: &Program, receiver: &Receiver, records: u64) -> io::Result<Cost> {
    let patience = Duration::from_secs(60 + records / 20_000);
    let Some(last) = receiver.wait_for(records, patience) else {
        let came = receiver.seen().records;
        return Err(io::Error::other(format!("{came} records of {records} came within {patience:?}")));
    };
    let cpu = program.cpu_at_rest()?;
    let seen = receiver.seen();
    Ok(Cost {
        cpu,
        system: program.system_share()?,
        wall: last - program.begun,
        waited: program.waited()?,
        peak_bytes: program.peak_bytes()?,
        sent_bytes: seen.bytes,
        bodies: seen.bodies,
    })
}

fn nanos_a_line(cost: &Cost, backlog: &Backlog) -> f64 {
    cost.cpu.as_nanos() as f64 / backlog.lines as f64
}

/// The quickest and the middle one.
fn quickest_and_middle(costs: &[Cost]) -> [Cost; 2] {
    let mut sorted = costs.to_vec();
    sorted.sort_by_key(|cost| cost.cpu);
    [sorted[0], sorted[(sorted.len() - 1) / 2]]
}

fn report(report: &mut Report, all: &[Runs]) {
    let mut rows = Vec::new();
    for runs in all {
        let Runs { corpus, backlog, .. } = runs;
        let [floor_cost, middle] = quickest_and_middle(&runs.floor);
        let [floor, floor_middle] = [floor_cost, middle].map(|cost| nanos_a_line(&cost, backlog));
        let [cost, middle] = quickest_and_middle(&runs.forwarder);
        let [forwarder, forwarder_middle] = [cost, middle].map(|cost| nanos_a_line(&cost, backlog));
        let ratio = forwarder / floor;
        let peak = runs.forwarder.iter().map(|cost| cost.peak_bytes).max().unwrap_or(0);
        report.rows.push(Row::at_most(
            format!("CPU per line, {}, against the splice floor", corpus.text()),
            ratio,
            2.0,
            |ratio| format!("{ratio:.2}× the floor"),
        ));
        rows.push([
            corpus.text().to_owned(),
            format!("{}", backlog.lines),
            format!("{:.0}", backlog.bytes as f64 / backlog.lines as f64),
            format!("{floor:.0} ({floor_middle:.0})"),
            format!("{forwarder:.0} ({forwarder_middle:.0})"),
            format!("{:.0} % / {:.0} %", floor_cost.system * 100.0, cost.system * 100.0),
            format!("{ratio:.2} ({:.2})", forwarder_middle / floor_middle),
            format!("{:.2}", backlog.lines as f64 / cost.wall.as_secs_f64() / 1e6),
            format!("{:.0}", backlog.bytes as f64 / cost.cpu.as_secs_f64() / 1e6),
            format!("{:.0}", cost.sent_bytes as f64 / backlog.lines as f64),
            format!("{:.0}", cost.sent_bytes as f64 / cost.bodies as f64 / 1024.0),
            format!("{:.1}", peak as f64 / f64::from(1 << 20)),
        ]);
    }
    for (runs, (corpus, micros)) in all.iter().zip(MICROS) {
        let [cost, _] = quickest_and_middle(&runs.forwarder);
        report.rows.push(Row::at_most(
            format!("the same absolute, {}", corpus.text()),
            nanos_a_line(&cost, &runs.backlog) / 1000.0,
            micros,
            |micros| format!("{micros:.2} µs"),
        ));
    }
    let heads = [
        "corpus",
        "lines",
        "B a line",
        "floor, ns a line",
        "forwarder, ns a line",
        "of it system, both",
        "ratio",
        "M lines/s",
        "MB/s of CPU",
        "B sent a line",
        "KiB a body",
        "peak MiB",
    ];
    report.details.push(format!(
        "Catching up: the quickest run, in brackets the middle one; forwarder unless it says floor.\n\n{}",
        table(&heads, &rows)
    ));
}
