//! From text to meaning: `RawConfig` to `Config`, reporting everything that is wrong and not only the first of it.
//!
//! Reads the files that hold secrets; asks nothing else of the outside.

use super::error::{ConfigError, ConfigErrors, shown};
use super::keys::{self, Default, Key};
use super::raw::{Origin, RawConfig, Value, read_capped};
use super::{Compression, Config, DockerHost, Endpoint, MetricsPort, Secret};
use crate::limits;
use crate::parser;
use crate::parser::formats::Format;
use crate::parser::process::{self, Patterns, Rate, Redactions, Rules, Sample};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

/// Longest name of a service.
const SERVICE_NAME_BYTES: usize = 255;
/// Most pairs in `SERVICE_PARSER_MAPPINGS`.
const MAX_MAPPINGS: usize = 1000;

/// Checks everything in `raw`; `errors` is what gathering it found. `hostname` stands in for a missing `TARGET_SERVICE`.
pub(super) fn resolve(
    raw: &RawConfig,
    errors: Vec<ConfigError>,
    hostname: impl FnOnce() -> Option<String>,
) -> Result<Config, ConfigErrors> {
    let mut from = Reader { raw, errors };
    let config = Config {
        target_service: from.target_service(hostname),
        endpoint: from.endpoint(),
        token: from.token(),
        ca_file: from.ca_file(),
        batch_size: from.size("BATCH_SIZE", 1..=1_000_000),
        flush_interval: Duration::from_millis(from.number("FLUSH_INTERVAL_MS", 0..=60_000)),
        buffer_capacity: from.size("BUFFER_CAPACITY", 1..=100_000_000),
        // The longest envelope must fit in the queue, or reading it would never go on.
        buffer_max_bytes: from.size("BUFFER_MAX_BYTES", limits::MAX_ENVELOPE_BYTES as u64..=256 << 20),
        max_line_bytes: from.max_line_bytes(),
        disk_fallback: from.switch("ENABLE_DISK_FALLBACK"),
        state_dir: from.path("DISK_FALLBACK_PATH"),
        max_disk_bytes: from.max_disk_bytes(),
        metrics: from.metrics(),
        connection_timeout: Duration::from_secs(from.number("CONNECTION_TIMEOUT_SECS", 1..=600)),
        max_connections: from.size("MAX_CONNECTIONS", 1..=16),
        compression: from.compression(),
        log_filter: from.log_filter(),
        format: from.format(),
        process: from.process(),
        parser_mappings: from.parser_mappings(),
        docker_host: from.docker_host(),
        containers_dir: from.path("DOCKER_CONTAINERS_DIR"),
        shutdown_timeout: Duration::from_millis(from.number("SHUTDOWN_TIMEOUT_MS", 100..=600_000)),
    };
    from.finish(config)
}

/// What `healthcheck` needs: it must answer for the running process even where the rest is given to that one as flags.
pub(super) fn resolve_admin(raw: &RawConfig, errors: Vec<ConfigError>) -> Result<(PathBuf, MetricsPort), ConfigErrors> {
    let mut from = Reader { raw, errors };
    let admin = (from.path("DISK_FALLBACK_PATH"), from.metrics());
    from.finish(admin)
}

/// What `spool ls` and `spool export` need, likewise.
pub(super) fn resolve_state(raw: &RawConfig, errors: Vec<ConfigError>) -> Result<(PathBuf, u64), ConfigErrors> {
    let mut from = Reader { raw, errors };
    let state = (from.path("DISK_FALLBACK_PATH"), from.max_disk_bytes());
    from.finish(state)
}

/// What `parse` needs, likewise.
pub(super) fn resolve_parser(
    raw: &RawConfig,
    errors: Vec<ConfigError>,
) -> Result<(parser::Settings, Option<String>), ConfigErrors> {
    let mut from = Reader { raw, errors };
    let settings = parser::Settings {
        format: from.format(),
        mappings: from.parser_mappings(),
        max_line_bytes: from.max_line_bytes(),
        process: from.process(),
    };
    let service = from.value("TARGET_SERVICE").map(|value| value.text.trim().to_owned());
    from.finish((settings, service))
}

struct Reader<'a> {
    raw: &'a RawConfig,
    errors: Vec<ConfigError>,
}

impl Reader<'_> {
    fn finish<T>(self, value: T) -> Result<T, ConfigErrors> {
        if self.errors.is_empty() { Ok(value) } else { Err(ConfigErrors(self.errors)) }
    }

    /// The value given, else the default of the table.
    fn value(&self, env: &str) -> Option<Value> {
        let default = || match key(env).default {
            Default::Value(text) => Some(Value { text: text.to_owned(), origin: Origin::Default }),
            Default::Unset(_) => None,
        };
        self.raw.get(env).cloned().or_else(default)
    }

    fn origin(&self, env: &str) -> Origin {
        self.raw.get(env).map_or(Origin::Default, |value| value.origin.clone())
    }

    /// Reports `value` as not allowed. Not for secrets.
    fn refuse(&mut self, env: &str, value: &Value) {
        self.errors.push(ConfigError::not_allowed(env, value, key(env).allowed));
    }

    fn report(&mut self, env: &str, problem: impl Into<String>) {
        let origin = self.origin(env);
        self.errors.push(ConfigError::new(env, origin, problem));
    }

    /// A key with a default, read by `parse`. What stands for a refused value is never seen: `finish` fails.
    fn parsed<T>(&mut self, env: &str, instead: T, parse: impl FnOnce(&str) -> Option<T>) -> T {
        let Some(value) = self.value(env) else { return instead };
        parse(value.text.trim()).unwrap_or_else(|| {
            self.refuse(env, &value);
            instead
        })
    }

    fn number(&mut self, env: &str, range: RangeInclusive<u64>) -> u64 {
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let (instead, range) = (*range.start(), &range);
        self.parsed(env, instead, |text| text.parse().ok().filter(|number| digits(text) && range.contains(number)))
    }

    fn size(&mut self, env: &str, range: RangeInclusive<u64>) -> usize {
        // Every bound is far below 2^32.
        usize::try_from(self.number(env, range)).unwrap_or(usize::MAX)
    }

    fn switch(&mut self, env: &str) -> bool {
        self.parsed(env, false, |text| match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "yes" | "on" => Some(true),
            "false" | "0" | "no" | "off" => Some(false),
            _ => None,
        })
    }

    fn max_line_bytes(&mut self) -> usize {
        self.size("MAX_LINE_BYTES", limits::DOCKER_PART_BYTES as u64..=limits::MAX_LINE_BYTES_BOUND as u64)
    }

    fn max_disk_bytes(&mut self) -> u64 {
        self.number("MAX_DISK_USAGE_MB", 10..=100_000_000) * 1_000_000
    }

    fn path(&mut self, env: &str) -> PathBuf {
        let Some(value) = self.value(env) else { return PathBuf::new() };
        if value.text.contains('\0') {
            self.refuse(env, &value);
        }
        PathBuf::from(value.text)
    }

    fn target_service(&mut self, hostname: impl FnOnce() -> Option<String>) -> String {
        let env = "TARGET_SERVICE";
        if let Some(value) = self.value(env) {
            let name = value.text.trim();
            if name.len() > SERVICE_NAME_BYTES || name.chars().any(char::is_control) {
                self.refuse(env, &value);
            }
            return name.to_owned();
        }
        let host = hostname().unwrap_or_default();
        let name = host.trim().strip_suffix("-logs").unwrap_or(host.trim());
        if name.is_empty() {
            self.report(env, "is not set, and the host has no name to take it from");
        } else if is_short_container_id(name) {
            let problem = format!("is not set, and the hostname {} is a container's id, not a service", shown(name));
            self.report(env, problem);
        }
        name.to_owned()
    }

    fn endpoint(&mut self) -> Endpoint {
        let env = "RASK_ENDPOINT";
        let text = self.value(env).map(|value| value.text).unwrap_or_default();
        Endpoint::parse(&text).unwrap_or_else(|problem| {
            let allowed = key(env).allowed;
            self.report(env, format!("the URL {problem}; allowed: {allowed}"));
            Endpoint { tls: false, host: String::new(), port: 0, path: String::new() }
        })
    }

    fn docker_host(&mut self) -> DockerHost {
        let env = "DOCKER_HOST";
        let Some(value) = self.value(env) else { return DockerHost::Default };
        DockerHost::parse(&value.text).unwrap_or_else(|problem| {
            let allowed = key(env).allowed;
            self.report(env, format!("the address {problem}; allowed: {allowed}"));
            DockerHost::Default
        })
    }

    fn token(&mut self) -> Option<Secret> {
        let (env, file_env) = ("RASK_TOKEN", "RASK_TOKEN_FILE");
        let (env, text) = match (self.value(env), self.value(file_env)) {
            (None, None) => return None,
            (Some(_), Some(_)) => {
                let other = self.origin(env);
                self.report(file_env, format!("is given, and so is {env} ({other}); give one of them"));
                return None;
            }
            (Some(value), None) => (env, value.text),
            (None, Some(file)) => match read_capped(file.text.as_ref(), limits::SECRET_BYTES) {
                Ok(text) => (file_env, text.trim_end_matches(['\n', '\r']).to_owned()),
                Err(problem) => {
                    self.report(file_env, format!("{} {problem}", shown(&file.text)));
                    return None;
                }
            },
        };
        if text.is_empty() || text.len() > limits::SECRET_BYTES || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            let allowed = key("RASK_TOKEN").allowed;
            self.report(
                env,
                format!("the token (not shown) is empty, too long or has other characters; allowed: {allowed}"),
            );
        }
        Some(Secret(text))
    }

    fn ca_file(&mut self) -> Option<PathBuf> {
        let value = self.value("RASK_CA_FILE")?;
        if let Err(error) = std::fs::File::open(&value.text) {
            self.report("RASK_CA_FILE", format!("{} cannot be read: {error}", shown(&value.text)));
        }
        Some(PathBuf::from(value.text))
    }

    fn metrics(&mut self) -> MetricsPort {
        let port = self.number("METRICS_PORT", 0..=65_535);
        if !self.switch("ENABLE_METRICS") {
            return MetricsPort::Off;
        }
        match self.raw.get("METRICS_PORT") {
            Some(_) => MetricsPort::Asked(u16::try_from(port).unwrap_or_default()),
            None => MetricsPort::Default,
        }
    }

    /// `ENABLE_COMPRESSION=true` alone is gzip. Where the two contradict each other the one written nearer to the command
    /// wins; in the same place it is an error.
    fn compression(&mut self) -> Compression {
        let enabled = self.switch("ENABLE_COMPRESSION");
        let kind = self.parsed("COMPRESSION", Compression::None, |text| match text.to_ascii_lowercase().as_str() {
            "none" => Some(Compression::None),
            "gzip" => Some(Compression::Gzip),
            "zstd" => Some(Compression::Zstd),
            _ => None,
        });
        let by_switch = if enabled { Compression::Gzip } else { Compression::None };
        let (switch, named) = (self.raw.get("ENABLE_COMPRESSION"), self.raw.get("COMPRESSION"));
        let (Some(switch), Some(named)) = (switch, named) else {
            return if switch.is_some() { by_switch } else { kind };
        };
        if enabled == (kind != Compression::None) || named.origin.rank() > switch.origin.rank() {
            return kind;
        }
        if named.origin.rank() == switch.origin.rank() {
            let problem =
                format!("says {} and ENABLE_COMPRESSION says {enabled}; give one of them", shown(&named.text));
            self.report("COMPRESSION", problem);
        }
        by_switch
    }

    /// `RUST_LOG` or `LOG_LEVEL`, whichever is written nearer to the command; `RUST_LOG` in the same place.
    fn log_filter(&mut self) -> String {
        let levels = ["error", "warn", "info", "debug", "trace", "off"];
        let level =
            self.parsed("LOG_LEVEL", "info", |text| levels.into_iter().find(|level| level.eq_ignore_ascii_case(text)));
        let Some(filter) = self.raw.get("RUST_LOG").cloned() else { return level.to_owned() };
        if let Err(error) = filter.text.parse::<tracing_subscriber::filter::Targets>() {
            let problem =
                format!("{} is not a filter: {error}; allowed: {}", shown(&filter.text), key("RUST_LOG").allowed);
            self.report("RUST_LOG", problem);
        }
        if self.origin("LOG_LEVEL").rank() > filter.origin.rank() { level.to_owned() } else { filter.text }
    }

    fn format(&mut self) -> Option<Format> {
        self.parsed("RASK_FORMAT", None, |text| match text.to_ascii_lowercase().as_str() {
            "auto" => Some(None),
            name => name.parse().ok().map(Some),
        })
    }

    fn process(&mut self) -> Rules {
        Rules {
            min_level: self.described("RASK_MIN_LEVEL", process::min_level),
            keep: self.described("RASK_KEEP", Patterns::parse),
            drop: self.described("RASK_DROP", Patterns::parse),
            sample: self.described("RASK_SAMPLE", Sample::parse),
            rate: self.described("RASK_RATE", Rate::parse),
            redact: self.described("RASK_REDACT", Redactions::parse),
        }
    }

    /// A key with a default, read by a function that says itself what is wrong; the value is not repeated.
    fn described<T: std::default::Default>(&mut self, env: &str, parse: impl FnOnce(&str) -> Result<T, String>) -> T {
        let text = self.value(env).map(|value| value.text).unwrap_or_default();
        parse(&text).unwrap_or_else(|problem| {
            self.report(env, format!("{problem}; allowed: {}", key(env).allowed));
            T::default()
        })
    }

    fn parser_mappings(&mut self) -> Vec<(String, Format)> {
        let env = "SERVICE_PARSER_MAPPINGS";
        let Some(value) = self.value(env) else { return Vec::new() };
        let mut mappings: Vec<(String, Format)> = Vec::new();
        for pair in value.text.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
            let parsed = pair.rsplit_once(':').map(|(service, format)| (service.trim(), format.trim()));
            let parsed =
                parsed.and_then(|(service, format)| Some((service, format.to_ascii_lowercase().parse().ok()?)));
            match parsed {
                _ if mappings.len() == MAX_MAPPINGS => {
                    self.report(env, format!("has more than {MAX_MAPPINGS} pairs"));
                    break;
                }
                Some((service, _)) if mappings.iter().any(|(have, _)| have == service) => {
                    self.report(env, format!("maps {} twice", shown(service)));
                }
                Some((service, format)) if !service.is_empty() => mappings.push((service.to_owned(), format)),
                _ => {
                    let formats = key("RASK_FORMAT").allowed.trim_start_matches("auto, ");
                    let problem =
                        format!("{} is not allowed; allowed: service:format, where format is {formats}", shown(pair));
                    self.report(env, problem);
                }
            }
        }
        mappings
    }
}

/// What Docker calls a host whose container was given no name: the first 12 digits of the container's id.
fn is_short_container_id(name: &str) -> bool {
    name.len() == 12 && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// A key of the table. Every name in this module is one: the tests set each key.
fn key(env: &str) -> &'static Key {
    keys::by_env(env).expect("the key is in the table")
}
