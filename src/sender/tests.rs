//! The sender over a real store against a receiver that hangs, a disk that is slow, and a state directory that goes away.

use super::*;
use crate::position::{Cover, Generation, Range};
use crate::sender::spool::DeadLetter;
use crate::source::SourceKey;

fn key(container: u8) -> SourceKey {
    SourceKey { container: format!("{container:02x}").repeat(32), generation: Generation(u64::from(container)) }
}

/// A record with `<number> <noise>` as its message, newline included.
fn record(container: u8, number: u64, bytes: usize) -> String {
    let mut random = fastrand::Rng::with_seed(number ^ u64::from(container) << 40);
    let noise: String = (0..bytes).map(|_| random.alphanumeric()).collect();
    let id = key(container).container;
    format!(
        "{{\"service_type\":\"plain\",\"log_type\":\"plain\",\"message\":\"{number} {noise}\",\
         \"timestamp\":\"2026-01-01T00:00:00Z\",\"stream\":\"stdout\",\"container_id\":\"{id}\",\
         \"service_name\":\"app\",\"fields\":{{}}}}\n"
    )
}

/// One line of a container, as a batch of its own.
pub(crate) fn batch(container: u8, number: u64, bytes: usize) -> Batch {
    let mut cover = Cover::default();
    cover.push(1, &[Range::new(number, number + 1)]);
    let body = record(container, number, bytes).into();
    Batch { key: key(container), body, cover, carried: Vec::new(), lines: 1, oldest_ms: 0 }
}

/// The same, refused.
pub(crate) fn letter(container: u8, number: u64, bytes: usize) -> DeadLetter {
    let Batch { key, body, cover, lines, .. } = batch(container, number, bytes);
    DeadLetter { key, cover: cover.ranges(), lines, record: body, status: 400, answer: "no".into() }
}
