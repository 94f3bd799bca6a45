//! What is run by hand, outside CI. `cargo xtask soak --help` tells the rest.

mod build;
mod soak;

use clap::Parser;
use std::process::ExitCode;

/// Tasks of this workspace.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask")]
enum Task {
    Soak(soak::Args),
}

fn main() -> ExitCode {
    let Task::Soak(args) = Task::parse();
    soak::run(&args)
}
