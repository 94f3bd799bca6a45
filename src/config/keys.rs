//! The table of keys: the one place that says which keys there are. Flags, variables, file keys, `--help`, error messages
//! and `docs/configuration.md` are made from it or checked against it.
//!
//! It holds text only; what a value means is `resolve`'s business.

/// One key.
#[derive(Debug)]
pub struct Key {
    /// Name of the environment variable; errors name the key by it.
    pub env: &'static str,
    /// Spelling as a flag, without the dashes in front. A file spells it with underscores. Always the variable in lower
    /// case, without `RASK_`.
    pub name: &'static str,
    /// What is taken when nothing is given.
    pub default: Default,
    /// Placeholder in `--help`.
    pub value: &'static str,
    /// What is allowed, as the end of the sentence "allowed: …".
    pub allowed: &'static str,
    /// What it is, for `--help` and the documentation.
    pub help: &'static str,
    /// Heading it stands under.
    pub section: &'static str,
    /// Where it can be written beside the environment.
    pub written: Written,
    /// How its value is treated.
    pub kind: Kind,
}

/// What holds when a key is not given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Default {
    /// This value, read like any other.
    Value(&'static str),
    /// No value; the text says what happens then.
    Unset(&'static str),
}

/// Where a key can be written beside the environment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// As a flag and in a file.
    Everywhere,
    /// Not as a flag: every process of the machine can read it there.
    NoFlag,
    /// Not in a file, since it says where the file is.
    NoFile,
}

/// How a value is treated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Can be shown.
    Plain,
    /// Yes or no; the flag alone means yes.
    Switch,
    /// Never shown.
    Secret,
}

impl Key {
    /// Spelling as a flag with its dashes, unless it cannot be one.
    pub fn flag(&self) -> Option<String> {
        (self.written != Written::NoFlag).then(|| format!("--{}", self.name))
    }

    /// Spelling in a file, unless it cannot stand there.
    pub fn file_key(&self) -> Option<String> {
        (self.written != Written::NoFile).then(|| self.name.replace('-', "_"))
    }

    /// The default for a person.
    pub fn default_text(&self) -> &'static str {
        match self.default {
            Default::Value(text) | Default::Unset(text) => text,
        }
    }
}

const COLLECT: &str = "What is collected";
const PROCESS: &str = "What is done with records";
const SEND: &str = "Where it goes";
const BATCH: &str = "Batches and memory";
const STATE: &str = "State on disk";
const OPERATE: &str = "Operating";

const SWITCH: &str = "true or false (also 1/0, yes/no, on/off)";
/// Names of formats; the parser's tests hold the same list.
const FORMATS: &str = "auto, go, json, logfmt, nginx, apache, postgres, python, rust, node, meilisearch, redis, syslog, glog or plain; other names of theirs are in docs/formats.md";

const PLAIN: Key = Key {
    env: "",
    name: "",
    default: Default::Unset(""),
    value: "",
    allowed: "",
    help: "",
    section: "",
    written: Written::Everywhere,
    kind: Kind::Plain,
};

/// Every key, in the order of `--help`.
pub const KEYS: &[Key] = &[
    Key {
        env: "TARGET_SERVICE",
        name: "target-service",
        default: Default::Unset("the hostname without `-logs`"),
        value: "NAME",
        allowed: "the name of a service or container, at most 255 bytes",
        help: "Service to collect: a container matches by its Compose service, its exact name or its label `rask.service`",
        section: COLLECT,
        ..PLAIN
    },
    Key {
        env: "DOCKER_CONTAINERS_DIR",
        name: "docker-containers-dir",
        default: Default::Value("/var/lib/docker/containers"),
        value: "DIR",
        allowed: "the path of a directory",
        help: "Docker's containers directory, mounted read-only; the logs are read from it",
        section: COLLECT,
        ..PLAIN
    },
    Key {
        env: "DOCKER_HOST",
        name: "docker-host",
        default: Default::Unset("the usual socket, if it is there"),
        value: "ADDRESS",
        allowed: "none, unix:///path, tcp://host:port or http://host:port",
        help: "Docker's API, for discovery and for log drivers without a file; `none` never asks it",
        section: COLLECT,
        ..PLAIN
    },
    Key {
        env: "RASK_FORMAT",
        name: "format",
        default: Default::Value("auto"),
        value: "FORMAT",
        allowed: FORMATS,
        help: "Format of the lines; `auto` finds it. A container's label `rask.format` goes before it",
        section: COLLECT,
        ..PLAIN
    },
    Key {
        env: "SERVICE_PARSER_MAPPINGS",
        name: "service-parser-mappings",
        default: Default::Unset("none"),
        value: "LIST",
        allowed: "service:format pairs with commas between, such as api:go,web:nginx",
        help: "Format by service: `api:go,web:nginx`. Goes before RASK_FORMAT",
        section: COLLECT,
        ..PLAIN
    },
    Key {
        env: "MAX_LINE_BYTES",
        name: "max-line-bytes",
        default: Default::Value("1048576"),
        value: "BYTES",
        allowed: "a whole number from 16384 to 4194304",
        help: "Longest message, joined from Docker's parts; beyond it the record is cut and flagged",
        section: COLLECT,
        ..PLAIN
    },
    Key {
        env: "RASK_MIN_LEVEL",
        name: "min-level",
        default: Default::Value("off"),
        value: "LEVEL",
        allowed: "off, debug, info, warn, error or fatal",
        help: "Records below this level are dropped; those without a level are kept. Label `rask.min_level`",
        section: PROCESS,
        ..PLAIN
    },
    Key {
        env: "RASK_DROP",
        name: "drop",
        default: Default::Value("off"),
        value: "REGEX",
        allowed: "off, or at most 16 regular expressions, one a line",
        help: "Records whose message matches are dropped. Label `rask.drop`",
        section: PROCESS,
        ..PLAIN
    },
    Key {
        env: "RASK_KEEP",
        name: "keep",
        default: Default::Value("off"),
        value: "REGEX",
        allowed: "off, or at most 16 regular expressions, one a line",
        help: "Records whose message does not match are dropped. Label `rask.keep`",
        section: PROCESS,
        ..PLAIN
    },
    Key {
        env: "RASK_SAMPLE",
        name: "sample",
        default: Default::Value("off"),
        value: "FIELD:N",
        allowed: "off, FIELD:N or FIELD:N:errors with N from 1 to 1000000, such as trace_id:10",
        help: "Of the values of a field, the records of one in N are kept: `trace_id:10`. Records without the field are kept, and errors unless `:errors` is added. Label `rask.sample`",
        section: PROCESS,
        ..PLAIN
    },
    Key {
        env: "RASK_RATE",
        name: "rate",
        default: Default::Value("off"),
        value: "N[:BURST]",
        allowed: "off, N or N:BURST with numbers from 1 to 10000000, such as 500:2000",
        help: "Most records a second of each container, and most at once after a pause; a record tells how many more there were. Label `rask.rate`",
        section: PROCESS,
        ..PLAIN
    },
    Key {
        env: "RASK_REDACT",
        name: "redact",
        default: Default::Value("off"),
        value: "RULES",
        allowed: "off, all, or a list of url-password, bearer, basic, cloud-key, password, card and email; on lines of their own at most 16 of name=regex or name=regex => replacement",
        help: "Secrets that are blacked out in every string of a record: `email,card`. Label `rask.redact` adds to it",
        section: PROCESS,
        ..PLAIN
    },
    Key {
        env: "RASK_ENDPOINT",
        name: "endpoint",
        default: Default::Value("http://rask-log-aggregator:9600/v1/aggregate"),
        value: "URL",
        allowed: "an http:// or https:// URL without user, password and fragment",
        help: "Where batches are posted. Without a path it is /v1/aggregate",
        section: SEND,
        ..PLAIN
    },
    Key {
        env: "RASK_TOKEN",
        name: "token",
        default: Default::Unset("none"),
        value: "TOKEN",
        allowed: "visible ASCII characters, at most 8192",
        help: "Bearer token sent with each batch. Not a flag: any process could read it there",
        section: SEND,
        written: Written::NoFlag,
        kind: Kind::Secret,
    },
    Key {
        env: "RASK_TOKEN_FILE",
        name: "token-file",
        default: Default::Unset("none"),
        value: "FILE",
        allowed: "the path of a readable file of at most 8192 bytes",
        help: "File that holds RASK_TOKEN; the newline at its end is dropped",
        section: SEND,
        ..PLAIN
    },
    Key {
        env: "RASK_CA_FILE",
        name: "ca-file",
        default: Default::Unset("none"),
        value: "FILE",
        allowed: "the path of a readable PEM file",
        help: "PEM certificates trusted for https beside the public ones",
        section: SEND,
        ..PLAIN
    },
    Key {
        env: "ENABLE_COMPRESSION",
        name: "enable-compression",
        default: Default::Value("false"),
        value: "BOOL",
        allowed: SWITCH,
        help: "Short for COMPRESSION=gzip",
        section: SEND,
        kind: Kind::Switch,
        ..PLAIN
    },
    Key {
        env: "COMPRESSION",
        name: "compression",
        default: Default::Value("none"),
        value: "KIND",
        allowed: "none, gzip or zstd",
        help: "Compression of request bodies: none, gzip or zstd",
        section: SEND,
        ..PLAIN
    },
    Key {
        env: "CONNECTION_TIMEOUT_SECS",
        name: "connection-timeout-secs",
        default: Default::Value("30"),
        value: "SECONDS",
        allowed: "a whole number from 1 to 600",
        help: "Longest time to connect, and from sending a batch to its answer",
        section: SEND,
        ..PLAIN
    },
    Key {
        env: "MAX_CONNECTIONS",
        name: "max-connections",
        default: Default::Value("1"),
        value: "NUMBER",
        allowed: "a whole number from 1 to 16",
        help: "Containers whose batches may be on their way at the same time, each on its own connection",
        section: SEND,
        ..PLAIN
    },
    Key {
        env: "BATCH_SIZE",
        name: "batch-size",
        default: Default::Value("10000"),
        value: "RECORDS",
        allowed: "a whole number from 1 to 1000000",
        help: "Most records in one request; a batch is also closed at 512 KiB",
        section: BATCH,
        ..PLAIN
    },
    Key {
        env: "FLUSH_INTERVAL_MS",
        name: "flush-interval-ms",
        default: Default::Value("500"),
        value: "MILLISECONDS",
        allowed: "a whole number from 0 to 60000",
        help: "Longest time a record waits when the receiver is slow; an idle connection sends at once",
        section: BATCH,
        ..PLAIN
    },
    Key {
        env: "BUFFER_CAPACITY",
        name: "buffer-capacity",
        default: Default::Value("100000"),
        value: "LINES",
        allowed: "a whole number from 1 to 100000000",
        help: "Most lines waiting in memory; beyond it they wait in Docker's file",
        section: BATCH,
        ..PLAIN
    },
    Key {
        env: "BUFFER_MAX_BYTES",
        name: "buffer-max-bytes",
        default: Default::Value("524288"),
        value: "BYTES",
        allowed: "a whole number from 262144 to 268435456",
        help: "Most bytes waiting in memory; beyond it they wait in Docker's file",
        section: BATCH,
        ..PLAIN
    },
    Key {
        env: "ENABLE_DISK_FALLBACK",
        name: "enable-disk-fallback",
        default: Default::Value("true"),
        value: "BOOL",
        allowed: SWITCH,
        help: "Whether batches go to the spool on disk while the receiver is away, so that rotation cannot take them",
        section: STATE,
        kind: Kind::Switch,
        ..PLAIN
    },
    Key {
        env: "DISK_FALLBACK_PATH",
        name: "disk-fallback-path",
        default: Default::Value("/var/lib/rask-log-forwarder"),
        value: "DIR",
        allowed: "the path of a directory",
        help: "State directory: positions, spool and the socket of `healthcheck`. Keep it on a volume",
        section: STATE,
        ..PLAIN
    },
    Key {
        env: "MAX_DISK_USAGE_MB",
        name: "max-disk-usage-mb",
        default: Default::Value("1000"),
        value: "MEGABYTES",
        allowed: "a whole number from 10 to 100000000",
        help: "Bound of the spool, in millions of bytes; when it is reached, reading stops",
        section: STATE,
        ..PLAIN
    },
    Key {
        env: "ENABLE_METRICS",
        name: "enable-metrics",
        default: Default::Value("true"),
        value: "BOOL",
        allowed: SWITCH,
        help: "Whether /metrics, /healthz and /readyz are served on METRICS_PORT",
        section: OPERATE,
        kind: Kind::Switch,
        ..PLAIN
    },
    Key {
        env: "METRICS_PORT",
        name: "metrics-port",
        default: Default::Value("9090"),
        value: "PORT",
        allowed: "a port from 0 to 65535",
        help: "Port of the admin endpoint; 0 picks a free one and logs it. Given and taken: exit 78. Only the default and taken: a warning",
        section: OPERATE,
        ..PLAIN
    },
    Key {
        env: "SHUTDOWN_TIMEOUT_MS",
        name: "shutdown-timeout-ms",
        default: Default::Value("8000"),
        value: "MILLISECONDS",
        allowed: "a whole number from 100 to 600000",
        help: "Longest time from SIGTERM to the end; Docker kills after 10 s",
        section: OPERATE,
        ..PLAIN
    },
    Key {
        env: "LOG_LEVEL",
        name: "log-level",
        default: Default::Value("info"),
        value: "LEVEL",
        allowed: "error, warn, info, debug, trace or off",
        help: "How much the forwarder says about itself, on stderr: error, warn, info, debug, trace or off",
        section: OPERATE,
        ..PLAIN
    },
    Key {
        env: "RUST_LOG",
        name: "rust-log",
        default: Default::Unset("LOG_LEVEL"),
        value: "FILTER",
        allowed: "a filter such as info,rask_log_forwarder::sender=debug",
        help: "The same by module: `info,rask_log_forwarder::sender=debug`. Goes before LOG_LEVEL written in the same place",
        section: OPERATE,
        ..PLAIN
    },
    Key {
        env: "CONFIG_FILE",
        name: "config-file",
        default: Default::Unset("none"),
        value: "FILE",
        allowed: "the path of a readable TOML file of at most 1 MiB",
        help: "TOML file with these keys in lower case: `batch_size = 5000`",
        section: OPERATE,
        written: Written::NoFile,
        ..PLAIN
    },
    Key {
        env: "RASK_CONFIG",
        name: "config",
        default: Default::Unset("none"),
        value: "TOML",
        allowed: "TOML text of at most 1 MiB",
        help: "The same as text instead of a file; goes before CONFIG_FILE",
        section: OPERATE,
        written: Written::NoFile,
        ..PLAIN
    },
];

/// The key of that name, if there is one.
pub fn by_env(env: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.env == env)
}

/// The key that a file spells like that, if there is one.
pub fn by_file_key(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.file_key().is_some_and(|spelled| spelled == name))
}

/// The file key most like `name`, if any is near enough to be meant.
pub fn nearest_file_key(name: &str) -> Option<String> {
    let plain = name.to_ascii_lowercase().replace(['-', '.', ' '], "_");
    let plain = plain.strip_prefix("rask_").unwrap_or(&plain);
    let near = |spelled: &String| distance(plain, spelled) <= (spelled.len() / 3).max(1);
    KEYS.iter().filter_map(Key::file_key).filter(near).min_by_key(|spelled| distance(plain, spelled))
}

/// Edits between two short texts (Levenshtein); what is longer than a key can be is far from all of them.
fn distance(a: &str, b: &str) -> usize {
    const LONGEST: usize = 64;
    if a.len() > LONGEST || b.len() > LONGEST {
        return LONGEST;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let substitute = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substitute.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// The tables of `docs/configuration.md`, one for each section.
pub fn markdown() -> String {
    let mut text = String::new();
    let mut section = "";
    let code = |spelled: Option<String>| spelled.map_or_else(|| "–".to_owned(), |spelled| format!("`{spelled}`"));
    for key in KEYS {
        if section != key.section {
            section = key.section;
            text.push_str(&format!("\n### {section}\n\n"));
            text.push_str("| variable | flag | file key | default | meaning | allowed |\n|---|---|---|---|---|---|\n");
        }
        let default = match key.default {
            Default::Value(value) => format!("`{value}`"),
            Default::Unset(what) => what.to_owned(),
        };
        text.push_str(&format!(
            "| `{}` | {} | {} | {default} | {} | {} |\n",
            key.env,
            code(key.flag()),
            code(key.file_key()),
            key.help,
            key.allowed
        ));
    }
    text
}
