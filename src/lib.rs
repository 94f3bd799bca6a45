//! `rask-log-forwarder`: reads one service's Docker log, parses, enriches and ships it, and loses no line.
//!
//! `ARCHITECTURE.md` is the map of this crate.

pub mod admin;
pub mod app;
pub mod buffer;
pub mod check;
pub mod cli;
pub mod collector;
pub mod config;
pub mod exit;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzz_support;
pub mod limits;
pub mod memory;
pub mod metrics;
pub mod parse_cli;
pub mod parser;
pub mod pipeline;
pub mod position;
pub mod sender;
pub mod source;
pub mod spool_cli;
pub mod tap;
#[cfg(test)]
mod trial;
