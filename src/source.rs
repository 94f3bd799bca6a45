//! Whose log it is: the container with what is known of it, and one generation of its log.
//!
//! No I/O, no clock, no tokio.

use crate::position::Generation;
use std::sync::Arc;

/// What discovery found out about a container. Immutable: a container that changes its labels has been re-created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Name without the leading slash.
    pub name: String,
    /// `service_name` of the records: the Compose service, else the label `rask.service`, else the container's name.
    pub service: String,
    /// Label `rask.group`.
    pub group: Option<String>,
    /// Label `rask.format`, as written.
    pub format: Option<String>,
    /// Label `rask.multiline`, as written.
    pub multiline: Option<String>,
    /// Labels that say what is done with its records.
    pub steering: Steering,
    /// Whether the container has a TTY: the API's stream is then unframed.
    pub tty: bool,
    /// Log driver, e.g. `json-file`.
    pub log_driver: String,
    /// Option `max-size` of the driver, as written; without it the log grows for ever.
    pub max_size: Option<String>,
}

impl Container {
    /// One of which nothing is known but its id and its name, and that Docker keeps its log in a file.
    pub fn new(id: &str, name: &str) -> Self {
        Self {
            id: id.to_owned(),
            name: name.to_owned(),
            service: name.to_owned(),
            group: None,
            format: None,
            multiline: None,
            steering: Steering::default(),
            tty: false,
            log_driver: "json-file".to_owned(),
            max_size: None,
        }
    }
}

/// Labels that say what is done with records before they are sent, as written; `docs/configuration.md`, "Processing".
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Steering {
    /// `rask.min_level`.
    pub min_level: Option<String>,
    /// `rask.keep`.
    pub keep: Option<String>,
    /// `rask.drop`.
    pub drop: Option<String>,
    /// `rask.sample`.
    pub sample: Option<String>,
    /// `rask.rate`.
    pub rate: Option<String>,
    /// `rask.redact`.
    pub redact: Option<String>,
}

/// One generation of one container's log. Lines, positions and batches belong to exactly one source.
#[derive(Debug, PartialEq, Eq)]
pub struct Source {
    /// The container.
    pub container: Arc<Container>,
    /// Which of its log files, by content.
    pub generation: Generation,
}

impl Source {
    /// Key under which positions are kept.
    pub fn key(&self) -> SourceKey {
        SourceKey { container: self.container.id.clone(), generation: self.generation }
    }
}

/// Identity of a source without what is known of its container.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceKey {
    /// 64 hexadecimal digits.
    pub container: String,
    /// Which of its log files.
    pub generation: Generation,
}
