//! `cargo xtask bench`: the release binary from end to end, against the floor, in one command.
//!
//! Four corpora are written as Docker's logs ([`corpora`]). The forwarder runs as a process on a core of its own and ships them
//! to a [`receiver`] that counts, in turns with a [`floor`] program that moves the same bytes and understands nothing
//! ([`catch_up`]); then it follows a log that is written at a pace ([`live`]), idles, starts, and spools ([`rest`]). What the
//! operating system has counted is read from `/proc` ([`measure`]). Speed is judged as a ratio to the floor of the same run
//! where there is one, since machines differ and are shared; the number of records is judged always.

mod catch_up;
mod corpora;
pub(crate) mod floor;
mod live;
mod measure;
mod receiver;
mod report;
mod rest;
mod stage;

use corpora::{Backlog, Corpus};
use measure::{Cores, Forwarder};
use report::{Row, say};
use stage::Stage;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

/// The release binary from end to end, against the floor.
///
/// Builds it, measures it by the operating system's accounting, and prints each target with what was measured. The exit code is
/// 1 when a record is missing, comes twice or is another than was written; with --strict also when a target is missed.
///
/// It wants two cores: one for what is measured, one for the rest. What else runs on the machine shows first in latencies and
/// least in the ratios to the floor, which is measured in turns with the forwarder. What a part does alone (envelope, formats,
/// queue, spool) is measured by `cargo bench`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  cargo xtask bench                                   all of it: five minutes, 5 GB below TMPDIR
  cargo xtask bench --part catch-up --repeat 5        CPU per line alone, the quickest of five
  cargo xtask bench --part live --seconds 30          latencies alone
  TMPDIR=/dev/shm cargo xtask bench --part live       the same without a disk
  cargo xtask bench --smoke --binary FILE             counts alone, in seconds: for CI
  cargo xtask bench --out benches/record/end-to-end.md")]
pub(crate) struct Args {
    /// Lines of each corpus
    #[arg(long, default_value_t = 2_000_000, value_parser = clap::value_parser!(u64).range(100..))]
    lines: u64,
    /// Runs of each corpus and of each pace, in turns with the floor
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    repeat: u32,
    /// How long each pace is kept, and silence
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Size of the log that is read at full throttle
    #[arg(long, default_value_t = 2048)]
    backlog_mb: u64,
    /// Corpus whose lines are written live; c waits for lines that may follow
    #[arg(long, value_enum, default_value = "a")]
    live: Corpus,
    /// Only this part; may be repeated
    #[arg(long = "part", value_enum, value_name = "PART")]
    parts: Vec<Part>,
    /// The forwarder to be measured, instead of building one
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// Append the result as Markdown
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Some thousand lines: whether every record comes, not how fast
    #[arg(long, conflicts_with = "strict")]
    smoke: bool,
    /// A missed target is a failure
    #[arg(long)]
    strict: bool,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// CPU per line from a log that waits, against the splice floor
    CatchUp,
    /// Latency and CPU at a steady pace, against the inotify floor
    Live,
    /// Memory and CPU with little to do, start, and size
    Rest,
    /// Memory at full throttle from a large log
    Throttle,
    /// Memory with the receiver away, and every record afterwards
    Spool,
}

/// Runs it all; prints.
pub(crate) fn run(args: &Args) -> ExitCode {
    match bench(args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            say(&format!("bench: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn bench(args: &Args) -> io::Result<bool> {
    let program = match &args.binary {
        Some(binary) => std::path::absolute(binary)?,
        None => crate::build::forwarder()?,
    };
    let dir = tempfile::Builder::new().prefix("rask-bench-").tempdir()?;
    let forwarder = Forwarder { program, cores: Cores::split()? };
    let mut stage = Stage::new(forwarder, dir.path(), args.smoke);
    stage.report.heading = heading(args, &stage.forwarder)?;
    say(&stage.report.heading);
    let played = play(&mut stage, args);
    if let Err(error) = played {
        stage.report.wrong(format!("it could not go on: {error}"));
    }
    let report = stage.report;
    say(&report.text());
    if let Some(path) = &args.out {
        report.append_to(path)?;
    }
    Ok(report.is_right() && (!args.strict || report.rows.iter().all(|row| row.is_met)))
}

fn play(stage: &mut Stage, args: &Args) -> io::Result<()> {
    let wants = |part| args.parts.is_empty() || args.parts.contains(&part);
    let (lines, repeat, seconds) = if args.smoke { (5000, 1, 1) } else { (args.lines, args.repeat, args.seconds) };
    let time = Duration::from_secs(seconds);
    let rates: &[u64] = if args.smoke { &[1000] } else { &[1000, 50_000, 100_000] };
    let backlogs = backlogs(stage, lines, wants(Part::CatchUp), wants(Part::Throttle) || wants(Part::Spool))?;
    if wants(Part::CatchUp) {
        catch_up::run(stage, &backlogs, repeat)?;
    }
    if wants(Part::Live) {
        live::run(stage, args.live, rates, repeat, time)?;
    }
    if wants(Part::Rest) {
        rest::idle(stage, time, if args.smoke { 2 } else { 10 })?;
        rest::start(stage, if args.smoke { 1 } else { 9 })?;
        let size = std::fs::metadata(&stage.forwarder.program)?.len();
        stage.report.rows.push(Row::below_mib("size of the binary".into(), 8.0, size));
    }
    if wants(Part::Throttle) {
        let dir = stage.new_dir();
        let bytes = if args.smoke { 0 } else { args.backlog_mb << 20 };
        let large = backlogs[0].1.repeated(&dir, bytes.max(2 * backlogs[0].1.bytes))?;
        catch_up::full_throttle(stage, &large)?;
        std::fs::remove_dir_all(&dir)?;
    }
    if wants(Part::Spool) {
        rest::spool(stage, &backlogs[0].1)?;
    }
    Ok(())
}

/// The corpora that are wanted; a is the first.
fn backlogs(stage: &Stage, lines: u64, all: bool, first: bool) -> io::Result<Vec<(Corpus, Backlog)>> {
    let wanted = if all { &Corpus::ALL[..] } else { &Corpus::ALL[..usize::from(first)] };
    let mut backlogs = Vec::new();
    for corpus in wanted {
        let backlog = Backlog::write(*corpus, &stage.dir, lines)?;
        let Backlog { lines, records, bytes, .. } = backlog;
        say(&format!("{}: {lines} lines, {records} records, {bytes} bytes", corpus.text()));
        backlogs.push((*corpus, backlog));
    }
    Ok(backlogs)
}

/// The machine and the moment.
fn heading(args: &Args, forwarder: &Forwarder) -> io::Result<String> {
    let read = |path: &str| std::fs::read_to_string(Path::new(path)).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let cpu =
        cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map_or("?", |(_, name)| name);
    let load = read("/proc/loadavg");
    let load = load.split(' ').take(3).collect::<Vec<_>>().join(" ");
    let mut now = Vec::new();
    rask::clock::put_rfc3339(&mut now, rask::clock::now() / 1_000_000_000 * 1_000_000_000);
    Ok(format!(
        "`cargo xtask bench{}`, {}, {cpu}, kernel {}, load {load} before it began{}.",
        if args.smoke { " --smoke" } else { "" },
        String::from_utf8_lossy(&now),
        read("/proc/sys/kernel/osrelease").trim(),
        if forwarder.cores.are_two() { "" } else { "; one core for all of it: no figure means much" },
    ))
}
