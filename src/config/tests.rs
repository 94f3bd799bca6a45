//! Tables over the keys: what is taken, what is refused, which place wins, what is never shown.

use super::keys::{self, Default, KEYS, Kind, Written};
use super::*;
use crate::limits;
use std::collections::HashMap;

/// What is written where.
#[derive(Default)]
struct Given {
    flags: HashMap<&'static str, &'static str>,
    env: HashMap<&'static str, String>,
}

impl Given {
    fn new() -> Self {
        <Self as std::default::Default>::default().env("TARGET_SERVICE", "api")
    }

    fn env(mut self, key: &'static str, value: impl Into<String>) -> Self {
        self.env.insert(key, value.into());
        self
    }

    fn flag(mut self, key: &'static str, value: &'static str) -> Self {
        self.flags.insert(key, value);
        self
    }

    fn without(mut self, key: &str) -> Self {
        self.env.remove(key);
        self
    }

    fn load(&self) -> Result<(Config, RawConfig), ConfigErrors> {
        self.load_on(Some("box-logs"))
    }

    fn load_on(&self, hostname: Option<&str>) -> Result<(Config, RawConfig), ConfigErrors> {
        let flags = |key: &Key| self.flags.get(key.env).map(OsString::from);
        let env = |name: &str| self.env.get(name).map(OsString::from);
        let (raw, errors) = RawConfig::gather(flags, env);
        resolve::resolve(&raw, errors, || hostname.map(str::to_owned)).map(|config| (config, raw))
    }

    #[track_caller]
    fn config(&self) -> Config {
        self.load().unwrap_or_else(|errors| panic!("{errors}")).0
    }

    /// The errors, one a line.
    #[track_caller]
    fn errors(&self) -> Vec<String> {
        match self.load() {
            Ok((config, _)) => panic!("accepted: {config:?}"),
            Err(errors) => errors.0.iter().map(ToString::to_string).collect(),
        }
    }
}

fn file(text: &str) -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rask.toml").to_str().unwrap().to_owned();
    std::fs::write(&path, text).unwrap();
    (dir, path)
}

#[test]
fn defaults_are_the_documented_ones() {
    let config = Given::new().config();
    assert_eq!(config.endpoint.to_string(), "http://rask-log-aggregator:9600/v1/aggregate");
    assert_eq!(config.batch_size, limits::BATCH_RECORDS);
    assert_eq!(config.flush_interval, Duration::from_millis(500));
    assert_eq!(config.buffer_capacity, limits::BUFFER_CAPACITY);
    assert_eq!(config.buffer_max_bytes, limits::BUFFER_MAX_BYTES);
    assert_eq!(config.max_line_bytes, limits::MAX_LINE_BYTES);
    assert!(config.disk_fallback);
    assert_eq!(config.state_dir, PathBuf::from("/var/lib/rask-log-forwarder"));
    assert_eq!(config.max_disk_bytes, 1_000_000_000);
    assert_eq!(config.metrics, MetricsPort::Default);
    assert_eq!(keys::by_env("METRICS_PORT").unwrap().default, Default::Value("9090"));
    assert_eq!(DEFAULT_METRICS_PORT, 9090);
    assert_eq!(config.connection_timeout, Duration::from_secs(30));
    assert_eq!(config.max_connections, 1);
    assert_eq!(config.compression, Compression::None);
    assert_eq!(config.log_filter, "info");
    assert_eq!(config.format, None);
    assert_eq!(config.docker_host, DockerHost::Default);
    assert_eq!(config.containers_dir, PathBuf::from("/var/lib/docker/containers"));
    assert_eq!(config.shutdown_timeout, limits::SHUTDOWN_TIMEOUT);
    assert!(config.token.is_none() && config.ca_file.is_none() && config.parser_mappings.is_empty());
}

/// A value of each key that differs from its default.
const OTHER: &[(&str, &str)] = &[
    ("TARGET_SERVICE", "web"),
    ("DOCKER_CONTAINERS_DIR", "/containers"),
    ("DOCKER_HOST", "none"),
    ("RASK_FORMAT", "nginx"),
    ("SERVICE_PARSER_MAPPINGS", "api:go"),
    ("MAX_LINE_BYTES", "20000"),
    ("RASK_MIN_LEVEL", "warn"),
    ("RASK_DROP", "^GET /healthz"),
    ("RASK_KEEP", "order"),
    ("RASK_SAMPLE", "trace_id:10"),
    ("RASK_RATE", "100:500"),
    ("RASK_REDACT", "email"),
    ("RASK_ENDPOINT", "http://other/x"),
    ("RASK_TOKEN", "t"),
    ("ENABLE_COMPRESSION", "true"),
    ("COMPRESSION", "zstd"),
    ("CONNECTION_TIMEOUT_SECS", "7"),
    ("MAX_CONNECTIONS", "3"),
    ("BATCH_SIZE", "77"),
    ("FLUSH_INTERVAL_MS", "78"),
    ("BUFFER_CAPACITY", "79"),
    ("BUFFER_MAX_BYTES", "300000"),
    ("ENABLE_DISK_FALLBACK", "off"),
    ("DISK_FALLBACK_PATH", "/state"),
    ("MAX_DISK_USAGE_MB", "80"),
    ("ENABLE_METRICS", "no"),
    ("METRICS_PORT", "0"),
    ("SHUTDOWN_TIMEOUT_MS", "900"),
    ("LOG_LEVEL", "WARN"),
    ("RUST_LOG", "info,rask_log_forwarder=trace"),
];

#[test]
fn every_key_has_an_effect_from_every_place() {
    let default = format!("{:?}", Given::new().config());
    // These three name files, and have tests of their own.
    let files = ["RASK_TOKEN_FILE", "RASK_CA_FILE", "CONFIG_FILE", "RASK_CONFIG"];
    for key in KEYS.iter().filter(|key| !files.contains(&key.env)) {
        let &(env, value) = OTHER.iter().find(|(env, _)| *env == key.env).expect(key.env);
        let by_env = format!("{:?}", Given::new().env(env, value).config());
        assert_ne!(by_env, default, "{env}");
        if key.flag().is_some() {
            assert_eq!(format!("{:?}", Given::new().flag(env, value).config()), by_env, "{env} as a flag");
        }
        let toml = format!("{} = {value:?}", key.file_key().unwrap());
        let inline = Given::new().without(env).env("RASK_CONFIG", &toml);
        assert_eq!(format!("{:?}", inline.config()), by_env, "{env} in RASK_CONFIG");
        let (_dir, path) = file(&toml);
        assert_eq!(
            format!("{:?}", Given::new().without(env).env("CONFIG_FILE", path).config()),
            by_env,
            "{env} in a file"
        );
    }
}

#[test]
fn names_follow_one_rule() {
    for key in KEYS {
        let rule = key.env.strip_prefix("RASK_").unwrap_or(key.env).to_lowercase().replace('_', "-");
        assert_eq!(key.name, rule, "{}", key.env);
        assert!(!key.help.is_empty() && !key.allowed.is_empty() && !key.section.is_empty() && !key.value.is_empty());
        assert!(key.kind != Kind::Secret || key.written == Written::NoFlag, "{}: anyone could read the flag", key.env);
    }
}

#[test]
fn the_nearer_to_the_command_wins() {
    let (_dir, path) = file("batch_size = 1\nflush_interval_ms = 1\nmax_connections = 1\nbuffer_capacity = 1");
    let given = Given::new()
        .env("CONFIG_FILE", path)
        .env("RASK_CONFIG", "batch_size = 2\nflush_interval_ms = 2\nmax_connections = 2")
        .env("BATCH_SIZE", "3")
        .env("FLUSH_INTERVAL_MS", "3")
        .flag("BATCH_SIZE", "4");
    let config = given.config();
    assert_eq!(config.batch_size, 4, "flag");
    assert_eq!(config.flush_interval, Duration::from_millis(3), "environment");
    assert_eq!(config.max_connections, 2, "RASK_CONFIG");
    assert_eq!(config.buffer_capacity, 1, "CONFIG_FILE");
    assert_eq!(config.max_line_bytes, limits::MAX_LINE_BYTES, "default");
}

#[test]
fn empty_variables_are_not_set() {
    let mut given = Given::new();
    for key in KEYS.iter().filter(|key| key.env != "TARGET_SERVICE") {
        given = given.env(key.env, "");
    }
    assert_eq!(format!("{:?}", given.config()), format!("{:?}", Given::new().config()));
    assert_eq!(Given::new().env("TARGET_SERVICE", "").config().target_service, "box");
}

#[test]
fn toml_types_are_read_as_their_text() {
    let toml = "batch_size = 5_000\nbuffer_max_bytes = 0x80000\nenable_metrics = false\nmax_connections = '2'\n";
    let config = Given::new().env("RASK_CONFIG", toml).config();
    assert_eq!((config.batch_size, config.buffer_max_bytes), (5000, 0x80000));
    assert_eq!((config.metrics, config.max_connections), (MetricsPort::Off, 2));
}

/// One variable with one value: each of `says` is in its only error, and the name of the key too.
#[track_caller]
fn refused(env: &'static str, value: &str, says: &[&str]) {
    let errors = Given::new().env(env, value).errors();
    assert_eq!(errors.len(), 1, "{errors:?}");
    for word in [&[env, "environment"], says].concat() {
        assert!(errors[0].contains(word), "{env}={value}: {word:?} is not in {}", errors[0]);
    }
}

#[test]
fn wrong_values_are_refused_by_name() {
    refused("BATCH_SIZE", "many", &["\"many\"", "1 to 1000000"]);
    refused("BATCH_SIZE", "+5", &["\"+5\""]);
    refused("BATCH_SIZE", "5_000", &["\"5_000\""]);
    refused("BATCH_SIZE", "99999999999999999999999", &[]);
    refused("BATCH_SIZE", "5k", &[]);
    refused("BATCH_SIZE", "   ", &["empty"]);
    refused("ENABLE_METRICS", "maybe", &["\"maybe\"", "true or false"]);
    refused("COMPRESSION", "lz4", &["\"lz4\"", "zstd"]);
    refused("LOG_LEVEL", "loud", &["\"loud\"", "trace"]);
    refused("RUST_LOG", "a=b=c", &["filter"]);
    refused("RASK_FORMAT", "fluentd", &["\"fluentd\"", "nginx"]);
    refused("SERVICE_PARSER_MAPPINGS", "api", &["\"api\"", "service:format"]);
    refused("SERVICE_PARSER_MAPPINGS", "a:go,b:fluentd", &["\"b:fluentd\""]);
    refused("SERVICE_PARSER_MAPPINGS", "a:go,a:nginx", &["\"a\"", "twice"]);
    refused("SERVICE_PARSER_MAPPINGS", ":go", &["\":go\""]);
    refused("DOCKER_HOST", "ssh://root@box", &["ssh", "unix:///path"]);
    refused("RASK_ENDPOINT", "box:9600", &["http://"]);
    refused("RASK_CA_FILE", "/not/there.pem", &["/not/there.pem"]);
    refused("RASK_TOKEN_FILE", "/not/there", &["/not/there"]);
    refused("CONFIG_FILE", "/not/there.toml", &["/not/there.toml"]);
    refused("TARGET_SERVICE", "a\nb", &["\"a\\nb\""]);
    refused("TARGET_SERVICE", &"x".repeat(256), &["…"]);
    assert!(Given::new().env("TARGET_SERVICE", "x".repeat(255)).load().is_ok());
}

/// The ranges that help and errors speak of are those that hold.
#[test]
fn ranges_hold_to_the_number() {
    let mut seen = 0;
    for key in KEYS {
        let words: Vec<&str> = key.allowed.split(' ').collect();
        let [.., "from", low, "to", high] = words[..] else { continue };
        let (low, high): (u64, u64) = (low.parse().unwrap(), high.parse().unwrap());
        let accepted = |number: u64| Given::new().env(key.env, number.to_string()).load().is_ok();
        assert!(accepted(low) && accepted(high), "{}", key.env);
        assert!(!accepted(high + 1), "{}", key.env);
        assert!(low == 0 || !accepted(low - 1), "{}", key.env);
        seen += 1;
    }
    assert_eq!(seen, 10);
}

#[test]
fn the_formats_named_are_those_that_parse() {
    let allowed = keys::by_env("RASK_FORMAT").unwrap().allowed;
    let (names, _) = allowed.split_once(';').unwrap();
    for name in names.replace(" or ", ", ").split(", ") {
        let config = Given::new().env("RASK_FORMAT", name.to_uppercase()).config();
        assert_eq!(config.format.is_none(), name == "auto", "{name}");
    }
    // And those are all the families.
    let families = crate::parser::formats::Format::ALL.map(crate::parser::formats::Format::service_type);
    assert!(families.iter().all(|family| names.contains(family)), "{names}");
}

#[test]
fn all_errors_are_reported_at_once() {
    let (_dir, path) = file("batch_size = 0\n\nbatchsize = 5\nmetrics_port = [1]\n");
    let errors = Given::new()
        .env("CONFIG_FILE", &path)
        .env("RASK_CONFIG", "enable_metrics = 'perhaps'")
        .env("MAX_CONNECTIONS", "17")
        .flag("FLUSH_INTERVAL_MS", "soon")
        .errors();
    let expected = [
        format!("BATCH_SIZE ({path}:1): \"0\" is not allowed"),
        format!("batchsize ({path}:3): is no key; did you mean batch_size?"),
        format!("METRICS_PORT ({path}:4): is an array"),
        "ENABLE_METRICS (RASK_CONFIG:1): \"perhaps\" is not allowed".to_owned(),
        "MAX_CONNECTIONS (environment): \"17\" is not allowed".to_owned(),
        "FLUSH_INTERVAL_MS (--flush-interval-ms): \"soon\" is not allowed".to_owned(),
    ];
    for want in &expected {
        assert!(errors.iter().any(|have| have.starts_with(want)), "{want}: {errors:#?}");
    }
    assert_eq!(errors.len(), expected.len(), "{errors:#?}");
}

#[test]
fn unknown_file_keys_are_errors() {
    let check = |toml: &str, says: &str| {
        let errors = Given::new().env("RASK_CONFIG", toml).errors();
        assert!(errors[0].contains(says), "{toml}: {errors:?}");
    };
    check("rask_endpoint = 'x'", "rask_endpoint (RASK_CONFIG:1): is no key; did you mean endpoint?");
    check("BATCH_SIZE = 1", "did you mean batch_size?");
    check("batch-sise = 1", "did you mean batch_size?");
    check("colour = 'red'", "colour (RASK_CONFIG:1): is no key; `--help`");
    check("[server]\nport = 1", "server (RASK_CONFIG:1): is no key");
    check("config_file = 'x'", "config_file (RASK_CONFIG:1): is no key");
    check("batch_size = ", "RASK_CONFIG (RASK_CONFIG:1): is not TOML");
    check("batch_size = 1\nbatch_size = 2", "RASK_CONFIG (RASK_CONFIG:2): is not TOML");
    check(&"x".repeat(limits::CONFIG_FILE_BYTES + 1), "longer than");
    check("/etc", "CONFIG_FILE");
    let (_dir, path) = file(&format!("# {}\n", "x".repeat(limits::CONFIG_FILE_BYTES)));
    assert!(Given::new().env("CONFIG_FILE", path).errors()[0].contains("longer than"));
}

#[test]
fn the_target_falls_back_to_the_hostname() {
    let nameless = Given::new().without("TARGET_SERVICE");
    let check = |hostname: Option<&str>, expected: Result<&str, &str>| match (nameless.load_on(hostname), expected) {
        (Ok((config, _)), Ok(name)) => assert_eq!(config.target_service, name),
        (Err(errors), Err(says)) => assert!(errors.to_string().contains(says), "{errors}"),
        (have, _) => panic!("{hostname:?}: {have:?}"),
    };
    check(Some("api-logs"), Ok("api"));
    check(Some("api-logs-logs"), Ok("api-logs"));
    check(Some("api"), Ok("api"));
    check(Some("logs"), Ok("logs"));
    check(Some(""), Err("TARGET_SERVICE: is not set"));
    check(Some("-logs"), Err("TARGET_SERVICE: is not set"));
    check(None, Err("TARGET_SERVICE: is not set"));
    check(
        Some("3f2a90c1d4e5"),
        Err("TARGET_SERVICE: is not set, and the hostname \"3f2a90c1d4e5\" is a container's id"),
    );
}

#[test]
fn compression_and_its_switch() {
    let check = |switch: &str, named: &str, expected: Option<Compression>| {
        let given = Given::new().env("ENABLE_COMPRESSION", switch).env("COMPRESSION", named);
        match expected {
            Some(kind) => assert_eq!(given.config().compression, kind, "{switch} {named}"),
            None => assert!(given.errors()[0].starts_with("COMPRESSION (environment): says"), "{switch} {named}"),
        }
    };
    check("", "", Some(Compression::None));
    check("true", "", Some(Compression::Gzip));
    check("false", "", Some(Compression::None));
    check("", "gzip", Some(Compression::Gzip));
    check("", "zstd", Some(Compression::Zstd));
    check("true", "zstd", Some(Compression::Zstd));
    check("false", "none", Some(Compression::None));
    check("true", "none", None);
    check("false", "zstd", None);
    let over = Given::new().env("COMPRESSION", "zstd").flag("ENABLE_COMPRESSION", "false").config();
    assert_eq!(over.compression, Compression::None, "the flag is nearer");
    let over = Given::new().env("ENABLE_COMPRESSION", "true").flag("COMPRESSION", "none").config();
    assert_eq!(over.compression, Compression::None, "the flag is nearer");
}

#[test]
fn log_filters() {
    let check = |given: Given, expected: &str| assert_eq!(given.config().log_filter, expected);
    check(Given::new().env("LOG_LEVEL", "Debug"), "debug");
    check(Given::new().env("RUST_LOG", "warn,hyper=off"), "warn,hyper=off");
    check(Given::new().env("LOG_LEVEL", "debug").env("RUST_LOG", "warn"), "warn");
    check(Given::new().flag("LOG_LEVEL", "debug").env("RUST_LOG", "warn"), "debug");
    check(Given::new().env("LOG_LEVEL", "debug").env("RASK_CONFIG", "rust_log = 'warn'"), "debug");
}

#[test]
fn metrics_ports() {
    let check = |given: Given, expected: MetricsPort| assert_eq!(given.config().metrics, expected);
    check(Given::new(), MetricsPort::Default);
    check(Given::new().env("ENABLE_METRICS", "true"), MetricsPort::Default);
    check(Given::new().env("METRICS_PORT", "9090"), MetricsPort::Asked(9090));
    check(Given::new().env("METRICS_PORT", "9090").env("ENABLE_METRICS", "false"), MetricsPort::Off);
    refused("METRICS_PORT", "65536", &["\"65536\""]);
}

#[test]
fn tokens() {
    let (_dir, path) = file("t0ken\r\n");
    let token = |given: Given| given.config().token.map(|secret| secret.0);
    assert_eq!(token(Given::new().env("RASK_TOKEN", "a.b-c")).as_deref(), Some("a.b-c"));
    assert_eq!(token(Given::new().env("RASK_TOKEN_FILE", &path)).as_deref(), Some("t0ken"));
    let both = Given::new().env("RASK_TOKEN", "s3cr3t").env("RASK_TOKEN_FILE", &path).errors();
    assert!(
        both[0].contains("RASK_TOKEN_FILE (environment)") && both[0].contains("RASK_TOKEN (environment)"),
        "{both:?}"
    );
    for content in ["", "\n", "two words", "line\nline", &"x".repeat(limits::SECRET_BYTES + 1)] {
        let (_dir, path) = file(content);
        let errors = Given::new().env("RASK_TOKEN_FILE", path).errors();
        assert!(errors[0].starts_with("RASK_TOKEN_FILE (environment)"), "{content:.20}: {errors:?}");
    }
    let (_dir, path) = file(&"x".repeat(limits::SECRET_BYTES));
    assert!(token(Given::new().env("RASK_TOKEN_FILE", path)).is_some());
}

/// Wherever it is written and whatever else is wrong, a secret is in no error, no `Debug` and no listing.
#[test]
fn secrets_are_never_shown() {
    const SECRET: &str = "s3cr3t";
    let mut shown = String::new();
    let mut show = |given: Given| match given.load() {
        Ok((config, raw)) => shown += &format!("{config:?} {raw:?} {:?}\n", config.effective(&raw)),
        Err(errors) => shown += &format!("{errors} {errors:?}\n"),
    };
    show(Given::new().env("RASK_TOKEN", SECRET));
    show(Given::new().env("RASK_TOKEN", SECRET).env("BATCH_SIZE", "x"));
    show(Given::new().env("RASK_TOKEN", format!("{SECRET} {SECRET}")));
    show(Given::new().env("RASK_TOKEN", SECRET).env("RASK_TOKEN_FILE", "/x"));
    show(Given::new().env("RASK_TOKEN_FILE", file(SECRET).1));
    let (_dir, path) = file(SECRET);
    show(Given::new().env("RASK_TOKEN_FILE", path));
    for toml in ["token = 's3cr3t'", "tokn = 's3cr3t'", "token = 's3cr3t", "token = ['s3cr3t']", "token = s3cr3t"] {
        show(Given::new().env("RASK_CONFIG", toml));
        let (_dir, path) = file(toml);
        show(Given::new().env("CONFIG_FILE", path));
    }
    for url in ["http://u:s3cr3t@a/", "http://s3cr3t@a", "http://a/?key=s3cr3t", "http://a/?key=s3cr3t#", "s3cr3t"] {
        show(Given::new().env("RASK_ENDPOINT", url));
    }
    show(Given::new().env("DOCKER_HOST", "tcp://u:s3cr3t@a:1"));
    assert!(shown.contains("***"), "the token is listed, masked");
    assert!(!shown.contains(SECRET), "{shown}");
}

#[test]
fn the_effective_configuration_says_where_from() {
    let (_dir, path) = file("\nmax_connections = 2");
    let given = Given::new()
        .env("CONFIG_FILE", &path)
        .env("RASK_ENDPOINT", "http://logs:9600")
        .env("ENABLE_COMPRESSION", "yes")
        .flag("BATCH_SIZE", "5");
    let (config, raw) = given.load().unwrap();
    let settings = config.effective(&raw);
    assert_eq!(settings.len(), KEYS.len());
    let check = |key: &str, value: &str, origin: &str| {
        let setting = settings.iter().find(|setting| setting.key == key).unwrap();
        assert_eq!((setting.value.as_str(), setting.origin.to_string().as_str()), (value, origin), "{key}");
    };
    check("BATCH_SIZE", "5", "--batch-size");
    check("MAX_CONNECTIONS", "2", &format!("{path}:2"));
    check("RASK_ENDPOINT", "http://logs:9600/v1/aggregate", "environment");
    check("TARGET_SERVICE", "api", "environment");
    check("COMPRESSION", "gzip", "default");
    check("METRICS_PORT", "9090", "default");
    check("RASK_TOKEN", "", "default");
}

#[test]
fn the_health_check_needs_only_where_to_ask() {
    let env = |name: &str| match name {
        "DISK_FALLBACK_PATH" => Some(OsString::from("/state")),
        "METRICS_PORT" => Some(OsString::from("9100")),
        "BATCH_SIZE" => Some(OsString::from("wrong")),
        _ => None,
    };
    assert_eq!(admin_address(|_| None, env).unwrap(), (PathBuf::from("/state"), MetricsPort::Asked(9100)));
}

#[test]
fn the_documentation_has_the_table_of_the_code() {
    let documentation = include_str!("../../docs/configuration.md");
    let table = keys::markdown();
    assert!(documentation.contains(table.trim()), "docs/configuration.md must hold:\n{table}");
}
