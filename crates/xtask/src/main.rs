//! What is run by hand, outside CI. `cargo xtask soak --help` and `cargo xtask bench --help` tell the rest.

mod bench;
mod build;
mod soak;

use clap::Parser;
use std::process::ExitCode;

/// Tasks of this workspace.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask")]
enum Task {
    Soak(soak::Args),
    Bench(bench::Args),
    #[command(hide = true)]
    BenchFloor(bench::floor::Args),
}

fn main() -> ExitCode {
    match Task::parse() {
        Task::Soak(args) => soak::run(&args),
        Task::Bench(args) => bench::run(&args),
        Task::BenchFloor(args) => match bench::floor::run(&args) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        },
    }
}
