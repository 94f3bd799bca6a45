//! Exit codes, after `sysexits.h`, so that a supervisor can tell what would help.

/// A clean end.
pub const OK: u8 = 0;
/// A failure, a missed drain deadline, or a health check that says no.
pub const FAILURE: u8 = 1;
/// The command line is wrong.
pub const USAGE: u8 = 64;
/// Something outside is not there: the receiver, Docker, the log.
pub const UNAVAILABLE: u8 = 69;
/// The configuration is wrong.
pub const CONFIG: u8 = 78;

/// Says why on stderr, which may be closed, and gives the code.
pub fn with(code: u8, why: &dyn std::fmt::Display) -> std::process::ExitCode {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "rask-log-forwarder: {why}");
    std::process::ExitCode::from(code)
}
