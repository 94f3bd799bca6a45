//! The configuration as the program uses it: valid, immutable, complete.
//!
//! [`keys`] says which keys there are, [`raw`] collects what was written for them, `resolve` makes a [`Config`] of it or says
//! everything that is wrong. Nothing but this module reads the environment.

mod address;
pub mod error;
pub mod keys;
pub mod raw;
mod resolve;
#[cfg(test)]
mod tests;

pub use error::{ConfigError, ConfigErrors};
pub use raw::{Origin, RawConfig};

use crate::parser::formats::Format;
use keys::{KEYS, Key, Kind};
use std::ffi::OsString;
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
    /// `RASK_MIN_LEVEL`, `RASK_KEEP`, `RASK_DROP`, `RASK_SAMPLE`, `RASK_RATE` and `RASK_REDACT`.
    pub process: crate::parser::process::Rules,
    /// `SERVICE_PARSER_MAPPINGS`: service name to format.
    pub parser_mappings: Vec<(String, Format)>,
    /// `DOCKER_HOST`.
    pub docker_host: DockerHost,
    /// `DOCKER_CONTAINERS_DIR`.
    pub containers_dir: PathBuf,
    /// `SHUTDOWN_TIMEOUT_MS`.
    pub shutdown_timeout: Duration,
}

/// Port of the admin endpoint when nobody asks for one.
pub const DEFAULT_METRICS_PORT: u16 = 9090;

/// One line of the effective configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Name of the variable.
    pub key: &'static str,
    /// The value in force; a secret's is `***`, and one that is not set is empty.
    pub value: String,
    /// Where it was written.
    pub origin: Origin,
}

impl Config {
    /// Reads flags (by key), the environment and the files they name. The `RawConfig` remembers where each value was written.
    pub fn load(
        flags: impl Fn(&Key) -> Option<OsString>,
        env: impl Fn(&str) -> Option<OsString>,
    ) -> Result<(Self, RawConfig), ConfigErrors> {
        let (raw, errors) = RawConfig::gather(flags, env);
        let config = resolve::resolve(&raw, errors, hostname)?;
        Ok((config, raw))
    }

    /// Reads variables from a list instead of the environment: for tests and for embedding.
    ///
    /// ```
    /// use rask_log_forwarder::config::Config;
    /// let config = Config::from_vars(&[("TARGET_SERVICE", "api"), ("BATCH_SIZE", "500")]).unwrap();
    /// assert_eq!(config.batch_size, 500);
    /// assert!(Config::from_vars(&[("TARGET_SERVICE", "api"), ("BATCH_SIZE", "many")]).is_err());
    /// ```
    pub fn from_vars(vars: &[(&str, &str)]) -> Result<Self, ConfigErrors> {
        let env = |name: &str| vars.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value));
        Self::load(|_| None, env).map(|(config, _)| config)
    }

    /// The part that the parser needs.
    pub fn parser_settings(&self) -> crate::parser::Settings {
        crate::parser::Settings {
            format: self.format,
            mappings: self.parser_mappings.clone(),
            max_line_bytes: self.max_line_bytes,
            process: self.process.clone(),
        }
    }

    /// Every key with the value in force and where it was written, secrets masked.
    pub fn effective(&self, raw: &RawConfig) -> Vec<Setting> {
        let setting = |key: &'static Key| {
            let given = raw.get(key.env);
            let origin = given.map_or(Origin::Default, |value| value.origin.clone());
            let text = given.map(|value| value.text.as_str()).or(match key.default {
                keys::Default::Value(text) => Some(text),
                keys::Default::Unset(_) => None,
            });
            let value = match (key.env, text) {
                ("TARGET_SERVICE", _) => self.target_service.clone(),
                ("RASK_ENDPOINT", _) => self.endpoint.to_string(),
                ("COMPRESSION", _) => self.compression.to_string(),
                // The keys in it are listed themselves, and one of them may be a secret.
                ("RASK_CONFIG", Some(text)) => format!("({} bytes)", text.len()),
                // A pattern may hold what must not be seen.
                ("RASK_REDACT", Some(text)) if text.contains('=') => self.process.redact.names(),
                (_, Some(_)) if key.kind == Kind::Secret => "***".to_owned(),
                (_, text) => text.unwrap_or_default().to_owned(),
            };
            Setting { key: key.env, value, origin }
        };
        KEYS.iter().map(setting).collect()
    }
}

/// Where a running forwarder answers: its state directory and port, read from the same places but without the other keys.
pub fn admin_address(
    flags: impl Fn(&Key) -> Option<OsString>,
    env: impl Fn(&str) -> Option<OsString>,
) -> Result<(PathBuf, MetricsPort), ConfigErrors> {
    let (raw, errors) = RawConfig::gather(flags, env);
    resolve::resolve_admin(&raw, errors)
}

/// The state directory and its bound in bytes, read from the same places but without the other keys.
pub fn state_directory(
    flags: impl Fn(&Key) -> Option<OsString>,
    env: impl Fn(&str) -> Option<OsString>,
) -> Result<(PathBuf, u64), ConfigErrors> {
    let (raw, errors) = RawConfig::gather(flags, env);
    resolve::resolve_state(&raw, errors)
}

/// What `parse` needs, and the service if one is named, read from the same places but without the other keys.
pub fn parser_settings(
    flags: impl Fn(&Key) -> Option<OsString>,
    env: impl Fn(&str) -> Option<OsString>,
) -> Result<(crate::parser::Settings, Option<String>), ConfigErrors> {
    let (raw, errors) = RawConfig::gather(flags, env);
    resolve::resolve_parser(&raw, errors)
}

/// The host's name, as the kernel of this UTS namespace knows it.
fn hostname() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    Some(name.trim().to_owned())
}

/// Where batches go: an `http` or `https` URL, taken apart.
#[derive(Clone, PartialEq, Eq)]
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

/// The URL for a person: it holds no user information, which is refused when the configuration is read, and its query, where
/// some receivers want a key, is shown as `?…`. The request is made from `path`, not from this.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        let (open, close) = if self.host.contains(':') { ("[", "]") } else { ("", "") };
        let (path, query) = self.path.split_once('?').map_or((self.path.as_str(), ""), |(path, _)| (path, "?…"));
        write!(f, "{scheme}://{open}{}{close}:{}{path}{query}", self.host, self.port)
    }
}

/// As [`Display`](fmt::Display): the query stays hidden.
impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
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

/// The name, as `COMPRESSION` takes it.
impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        })
    }
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
