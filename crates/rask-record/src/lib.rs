//! The rask record on the wire: keys, levels, header names, decoding. The only code that both daemons share.
//!
//! The format is `docs/wire-format.md`. Reading is lenient, so that a receiver loses nothing ([`Record::decode`]); whether a
//! writer keeps to the letter is another question ([`validate`]), which tests ask.
//!
//! This crate does no I/O, has no clock, knows no tokio.

mod batch;
pub mod header;
mod level;
mod record;
mod timestamp;
mod validate;

pub use batch::{BatchHeader, BatchHeaderError};
pub use level::Level;
pub use record::{DecodeError, Record};
pub use timestamp::parse_timestamp;
pub use validate::{Violation, validate};

/// The eighteen keys of a record, in the order of `docs/wire-format.md`.
pub const KEYS: [&str; 18] = [
    "service_type",
    "log_type",
    "message",
    "level",
    "timestamp",
    "stream",
    "method",
    "path",
    "user_agent",
    "ip_address",
    "status_code",
    "response_size",
    "container_id",
    "service_name",
    "service_group",
    "trace_id",
    "span_id",
    "fields",
];

/// The keys that every record has.
pub const REQUIRED_KEYS: [&str; 8] =
    ["service_type", "log_type", "message", "timestamp", "stream", "container_id", "service_name", "fields"];
