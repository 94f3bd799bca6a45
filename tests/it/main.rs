//! The real binary, as a process, between a true on-disk layout (or real containers) and a receiver that misbehaves on demand.
//!
//! Each test has its own directories, ports and names; nothing is shared, nothing needs Docker but `docker`, which says
//! loudly when it is left out (and fails instead when `RASK_REQUIRE_DOCKER` is set).

mod cli;
mod dead;
mod discovery;
mod docker;
mod duplicates;
mod fields;
mod flow;
mod gaps;
mod harness;
mod kill;
mod memory;
mod multiline;
mod outage;
mod parse;
mod process;
mod rotation;
mod shutdown;
mod split;
mod state;
mod tls;
mod ugly;

/// The program under test: the one built with these tests, or the one that `RASK_TEST_BINARY` names.
fn binary() -> std::path::PathBuf {
    std::env::var_os("RASK_TEST_BINARY").unwrap_or_else(|| env!("CARGO_BIN_EXE_rask-log-forwarder").into()).into()
}
