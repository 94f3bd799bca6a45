//! One JSON object a line: Go's `slog`, `zap`, `zerolog` and `logrus`, Python's `structlog`, Rust's `tracing`, Node's
//! loggers, Meilisearch, and everything else that writes such lines. Which key means what is in `slots`.

use super::slots::Slots;
use super::{Format, Refused, Scratch};
use crate::parser::encode::Draft;
use crate::parser::json::Members;

/// Reads an object; without a `family` it is told by the keys.
pub(crate) fn parse<'a>(text: &'a [u8], family: Option<Format>, scratch: &mut Scratch) -> Result<Draft<'a>, Refused> {
    let mut members = Members::of(text)?;
    let mut slots = Slots::new();
    while let Some(member) = members.next()? {
        slots.take(&member, scratch);
    }
    Ok(slots.finish(family, scratch))
}
