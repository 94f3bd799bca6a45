//! `cargo xtask soak`: random faults against the release binary, seeded and replayable.
//!
//! Several containers write numbered lines ([`writer`]), three forwarders ship them to the reference receiver, and [`stage`]
//! plays faults, one to three at a time. Every few steps there is a calm: writers pause, faults end, and the account
//! ([`book`]) must be exact. The same seed gives the same sequence of faults and waits; how they fall together with what the
//! forwarders do is the machine's.

mod book;
mod faults;
mod forwarder;
mod report;
mod stage;
mod writer;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// An hour of random faults.
///
/// Builds the release binary, plays faults until the time is over, and says what was lost, what came twice, and how much memory
/// the forwarders took. The exit code is 1 when anything is wrong; then the directory is kept.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// How long
    #[arg(long, default_value_t = 60)]
    minutes: u64,
    /// The sequence of faults; made up and printed when not given
    #[arg(long)]
    seed: Option<u64>,
    /// End at the first calm at which something is wrong
    #[arg(long)]
    fail_fast: bool,
    /// Append the result as Markdown
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// The forwarder to be tried, instead of building one
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
    /// A fault that is not to be played, by its name in `faults.rs`; may be repeated
    #[arg(long, value_name = "FAULT")]
    without: Vec<String>,
    /// Say each fault as it is played
    #[arg(long)]
    verbose: bool,
}

/// Runs it all; prints.
pub(crate) fn run(args: &Args) -> ExitCode {
    match soak(args) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            report::say(&format!("soak: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn soak(args: &Args) -> std::io::Result<bool> {
    let program = match &args.binary {
        Some(binary) => std::path::absolute(binary)?,
        None => crate::build::forwarder()?,
    };
    let seed = args.seed.unwrap_or_else(|| fastrand::u64(..1_000_000));
    let dir = tempfile::Builder::new().prefix("rask-soak-").tempdir()?;
    report::say(&format!("seed {seed}, {} minutes, {}", args.minutes, dir.path().display()));
    let until = Instant::now() + Duration::from_secs(args.minutes * 60);
    let begun = Instant::now();
    let mut stage = stage::Stage::build(&program, dir.path(), seed, args)?;
    let played = stage.play(until, args.fail_fast);
    let mut outcome = stage.end(begun.elapsed());
    if let Err(error) = played {
        outcome.complaints.push(format!("it could not go on: {error}"));
    }
    let is_right = outcome.is_right();
    if !is_right {
        report::say(&format!("seed {seed}: kept {}", dir.keep().display()));
    }
    report::say(&outcome.terminal());
    if let Some(path) = &args.out {
        outcome.append_to(path)?;
    }
    Ok(is_right)
}
