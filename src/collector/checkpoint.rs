//! What had been delivered before this process started, as the spool remembers it. A snapshot: what this process delivers
//! itself is the sender's business; what it has handed out of a container that it follows again, the collector's.
//!
//! No I/O, no clock, no tokio.

use crate::position::{Generation, Ranges};
use crate::source::SourceKey;
use std::collections::HashMap;
use std::sync::Arc;

/// Delivered ranges by source. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Positions(Arc<HashMap<SourceKey, Ranges>>);

impl Positions {
    /// The snapshot that holds `ranges`.
    pub fn new(ranges: HashMap<SourceKey, Ranges>) -> Self {
        Self(Arc::new(ranges))
    }

    /// What has been delivered of `source`; `None` when nothing is known of it.
    pub fn get(&self, source: &SourceKey) -> Option<&Ranges> {
        self.0.get(source)
    }

    /// Whether any log file of this container is known. A log that was streamed by the API is no file.
    pub fn any_of(&self, container: &str) -> bool {
        self.0.keys().any(|key| key.container == container && key.generation != Generation::STREAMED)
    }
}

impl FromIterator<(SourceKey, Ranges)> for Positions {
    fn from_iter<I: IntoIterator<Item = (SourceKey, Ranges)>>(ranges: I) -> Self {
        Self::new(ranges.into_iter().collect())
    }
}
