//! The sidecar's binary; everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    rask_log_forwarder::memory::give_back_early();
    rask_log_forwarder::cli::main_with(std::env::args_os())
}
