//! The configuration as the program uses it: valid, immutable, complete. How it is written is [`raw`]'s business.

pub mod raw;

use crate::parser::formats::Format;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// Everything that a person can set, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// `TARGET_SERVICE`, else the hostname without `-logs`.
    pub target_service: String,
    /// `RASK_ENDPOINT`.
    pub endpoint: Endpoint,
    /// `RASK_TOKEN` or `RASK_TOKEN_FILE`: sent as bearer token.
    pub token: Option<Secret>,
    /// `RASK_CA_FILE`: PEM certificates trusted beside the public ones.
    pub ca_file: Option<PathBuf>,
    /// `BATCH_SIZE`: records in one request.
    pub batch_size: usize,
    /// `FLUSH_INTERVAL_MS`: the longest a record waits in memory when the receiver is slow.
    pub flush_interval: Duration,
    /// `BUFFER_CAPACITY`: lines in the queue.
    pub buffer_capacity: usize,
    /// `BUFFER_MAX_BYTES`: bytes in the queue.
    pub buffer_max_bytes: usize,
    /// `MAX_LINE_BYTES`: longest message, joined from parts.
    pub max_line_bytes: usize,
    /// `ENABLE_DISK_FALLBACK`: whether batches go to the spool while the receiver is away.
    pub disk_fallback: bool,
    /// `DISK_FALLBACK_PATH`: state directory: spool, checkpoints, lock, admin socket.
    pub state_dir: PathBuf,
    /// `MAX_DISK_USAGE_MB`, in bytes.
    pub max_disk_bytes: u64,
    /// `ENABLE_METRICS` and `METRICS_PORT`.
    pub metrics: MetricsPort,
    /// `CONNECTION_TIMEOUT_SECS`: connect, and send to answer.
    pub connection_timeout: Duration,
    /// `MAX_CONNECTIONS`: containers whose batches may be on their way at the same time, each on its own connection.
    pub max_connections: usize,
    /// `COMPRESSION` (`ENABLE_COMPRESSION=true` means gzip).
    pub compression: Compression,
    /// `RUST_LOG`, else `LOG_LEVEL`: filter of the forwarder's own log.
    pub log_filter: String,
    /// `RASK_FORMAT`; `None` is automatic.
    pub format: Option<Format>,
    /// `SERVICE_PARSER_MAPPINGS`: service name to format.
    pub parser_mappings: Vec<(String, Format)>,
    /// `DOCKER_HOST`.
    pub docker_host: DockerHost,
    /// `DOCKER_CONTAINERS_DIR`.
    pub containers_dir: PathBuf,
    /// `SHUTDOWN_TIMEOUT_MS`.
    pub shutdown_timeout: Duration,
}

/// Where batches go: an `http` or `https` URL, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Whether the scheme is `https`.
    pub tls: bool,
    /// Host name or address, IPv6 without brackets.
    pub host: String,
    /// Port, the scheme's own when none is given.
    pub port: u16,
    /// Path and query, at least `/`.
    pub path: String,
}

/// The URL again. It holds no user information: that is refused when the configuration is read.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        write!(f, "{scheme}://{open}{}{close}:{}{}", self.host, self.port, self.path)
    }
}

/// A value that never reaches a log, an error or a metric.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Where `/metrics` is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricsPort {
    /// `ENABLE_METRICS=false`.
    Off,
    /// Nobody asked for a port: 9090, and without metrics when it is taken.
    Default,
    /// This port, or exit 78. 0 picks a free one.
    Asked(u16),
}

/// `content-encoding` of requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// As it is.
    None,
    /// gzip, level 1.
    Gzip,
    /// zstd, level 1.
    Zstd,
}

/// How Docker's API is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DockerHost {
    /// `none`: never; the containers directory alone.
    None,
    /// Nothing given: the usual socket if it is there.
    Default,
    /// `unix:///path`.
    Unix(PathBuf),
    /// `tcp://host:port` or `http://host:port`.
    Tcp(String),
}
