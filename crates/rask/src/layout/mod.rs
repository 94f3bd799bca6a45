//! A containers directory as Docker's daemon keeps it: for each container a directory named by its id, with
//! `config.v2.json`, `hostconfig.json` and the json-file log. Written in the daemon's order and by its way of writing, so
//! that who watches the directory sees what it would see beside a real daemon.
//!
//! Everything is written by the calling thread, but gzip, which runs beside as the daemon's does.

mod container;
mod envelope;
mod logfile;

pub use container::{Container, Spec};
pub use envelope::{PART_BYTES, Stream, put_envelope};
pub use logfile::{LogFile, Rotation, parse_size};
