//! `rask gen`: lines as real programs write them, each with a sequence number, at a steady rate.
//!
//! The sequence counts on each stream by itself and survives parsing (`lines`), so that a ledger at the far end can say what
//! is missing, repeated or out of order. One event is one number; PostgreSQL's ERROR has a STATEMENT line without one.

mod lines;
mod pace;
mod play;

pub use lines::{Format, Lines};
pub use pace::Pace;
pub use play::{Play, Progress, Sink};
