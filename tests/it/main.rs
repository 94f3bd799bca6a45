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
mod outage;
mod rotation;
mod shutdown;
mod split;
mod state;
mod tls;
mod ugly;
