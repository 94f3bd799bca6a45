//! The command line: flags from the table of keys, subcommands, exit codes. Says what is wrong and ends; does no work itself.

use crate::config::keys::{KEYS, Key, Kind};
use crate::config::{self, Config, ConfigErrors, RawConfig};
use crate::{admin, app, check, exit, parse_cli, spool_cli, tap};
use clap::{Arg, ArgAction, ArgMatches, Command};
use std::ffi::OsString;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// How long `healthcheck` waits for an answer.
const HEALTHCHECK_TIMEOUT: Duration = Duration::from_secs(3);

const ABOUT: &str = "Ships one service's Docker logs as NDJSON and loses no line.

It reads the log that Docker writes, parses and enriches each line, and posts batches to a receiver. While the receiver is \
away, batches wait in a spool on disk; after a restart it goes on where the receiver has acknowledged.

Each option is also an environment variable and a key of a TOML file: --batch-size, BATCH_SIZE, batch_size.
Defaults < CONFIG_FILE < RASK_CONFIG < environment < flags.";

const EXAMPLES: &str = "\
Examples:
  Ship the logs of the Compose service `api`:
      rask-log-forwarder --target-service api --endpoint http://logs:9600

  Look at the records instead of sending them:
      rask-log-forwarder tap --target-service api

  How are these lines read, and which format takes them?
      docker logs api 2>&1 | rask-log-forwarder parse

  Before deploying: is the configuration right, is everything reachable, which containers match?
      rask-log-forwarder check

  What waits in the state directory, what was refused and why; then send the refused records again:
      rask-log-forwarder spool ls
      rask-log-forwarder spool drain

  Health check of a container (compose.yml):
      healthcheck: { test: [\"CMD\", \"/rask-log-forwarder\", \"healthcheck\"] }

Exit codes: 0 clean · 1 failure or missed drain deadline · 64 usage · 69 unavailable · 78 configuration";

/// Parses the command line (its first element is the program's name) and does what it says.
pub fn main_with(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let matches = match command().try_get_matches_from(args) {
        Ok(matches) => matches,
        Err(error) => {
            // Help and version come this way too, for stdout; there is nowhere to report a broken pipe.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { exit::USAGE } else { exit::OK });
        }
    };
    match matches.subcommand() {
        Some(("check", given)) => check(given),
        Some(("healthcheck", given)) => healthcheck(given),
        Some(("tap", given)) => with_config(given, tap::run),
        Some(("parse", given)) => parse(given),
        Some(("spool", given)) => spool(given),
        Some((_, given)) => with_config(given, app::run),
        None => with_config(&matches, app::run),
    }
}

/// The whole command line.
pub fn command() -> Command {
    let ready =
        Arg::new("ready").long("ready").action(ArgAction::SetTrue).help("Ask whether it is ready, not only alive");
    Command::new("rask-log-forwarder")
        .version(env!("CARGO_PKG_VERSION"))
        .about("Ships one service's Docker logs as NDJSON and loses no line")
        .long_about(ABOUT)
        .after_long_help(EXAMPLES)
        .after_help("`--help` says more, with examples.")
        .args_override_self(true)
        .args(KEYS.iter().filter(|key| key.flag().is_some()).enumerate().map(flag))
        .subcommand(Command::new("run").about("Collect and ship; what is done when no command is given"))
        .subcommand(
            Command::new("check").about("Validate the configuration and say what matches and what is reachable"),
        )
        .subcommand(Command::new("tap").about("Print the records to the terminal instead of sending them"))
        .subcommand(parse_cli::command())
        .subcommand(spool_cli::command())
        .subcommand(
            Command::new("healthcheck")
                .about("Ask the running forwarder whether it is well; for container health checks")
                .arg(ready),
        )
}

fn flag((order, key): (usize, &'static Key)) -> Arg {
    let default = key.default_text().replace('`', "");
    let (help, allowed) = (key.help.replace('`', ""), key.allowed);
    let arg = Arg::new(key.env)
        .long(key.name)
        .value_name(key.value)
        .value_parser(clap::value_parser!(OsString))
        .global(true)
        .display_order(order)
        .help_heading(key.section)
        .help(format!("{help} [env: {}] [default: {default}]", key.env))
        .long_help(format!("{help}\n\nAllowed: {allowed}\n[env: {}] [default: {default}]", key.env));
    match key.kind {
        Kind::Switch => arg.num_args(0..=1).require_equals(true).default_missing_value("true"),
        Kind::Plain | Kind::Secret => arg,
    }
}

/// The value of a key on the command line.
fn given(matches: &ArgMatches) -> impl Fn(&Key) -> Option<OsString> {
    |key| key.flag().and_then(|_| matches.get_one::<OsString>(key.env).cloned())
}

fn load(matches: &ArgMatches) -> Result<(Config, RawConfig), ConfigErrors> {
    Config::load(given(matches), |name| std::env::var_os(name))
}

fn with_config(matches: &ArgMatches, work: impl FnOnce(&Config) -> ExitCode) -> ExitCode {
    match load(matches) {
        Ok((config, _)) => {
            start_log(&config);
            work(&config)
        }
        Err(errors) => refuse(&errors),
    }
}

fn check(matches: &ArgMatches) -> ExitCode {
    let mut out = std::io::stdout().lock();
    match load(matches) {
        Ok((config, raw)) => {
            start_log(&config);
            check::run(&config, &raw, &mut out)
        }
        Err(errors) => check::refuse(&errors, &mut out),
    }
}

fn spool(matches: &ArgMatches) -> ExitCode {
    match matches.subcommand() {
        Some(("drain", given)) => with_config(given, |config| spool_cli::drain(config, given)),
        Some((name, given)) => match config::state_directory(self::given(given), |name| std::env::var_os(name)) {
            Ok((dir, max_bytes)) => spool_cli::look(name, given, &dir, max_bytes),
            Err(errors) => refuse(&errors),
        },
        None => ExitCode::from(exit::USAGE),
    }
}

fn parse(matches: &ArgMatches) -> ExitCode {
    match config::parser_settings(given(matches), |name| std::env::var_os(name)) {
        Ok((settings, service)) => parse_cli::run(matches, settings, service),
        Err(errors) => refuse(&errors),
    }
}

fn healthcheck(matches: &ArgMatches) -> ExitCode {
    let (state_dir, port) = match config::admin_address(given(matches), |name| std::env::var_os(name)) {
        Ok(address) => address,
        Err(errors) => return refuse(&errors),
    };
    let path = if matches.get_flag("ready") { "/readyz" } else { "/healthz" };
    match admin::ask(&state_dir, port, path, HEALTHCHECK_TIMEOUT) {
        Ok(answer) if answer.status == 200 => return ExitCode::SUCCESS,
        Ok(answer) => say(&format!("{path} answers {}: {}", answer.status, answer.body.trim())),
        Err(problem) => say(&format!("no running forwarder answers: {problem}")),
    }
    ExitCode::from(exit::FAILURE)
}

fn refuse(errors: &ConfigErrors) -> ExitCode {
    say(&errors.to_string());
    ExitCode::from(exit::CONFIG)
}

/// To stderr, which may be closed.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "rask-log-forwarder: {text}");
}

/// The forwarder's own log: one line an event, on stderr, in colour only for a person. The first call in a process holds.
fn start_log(config: &Config) {
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let lines = tracing_subscriber::fmt::layer()
        .compact()
        .with_ansi(std::io::stderr().is_terminal() && !plain)
        .with_writer(std::io::stderr);
    let filter: Targets = config.log_filter.parse().unwrap_or_else(|_| Targets::new().with_default(LevelFilter::INFO));
    let _ = tracing_subscriber::registry().with(filter).with(lines).try_init();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::{Health, Phase};
    use crate::config::keys;
    use crate::metrics::Metrics;
    use std::sync::Arc;

    fn args(line: &[&str]) -> Vec<OsString> {
        [&["rask-log-forwarder"], line].concat().into_iter().map(OsString::from).collect()
    }

    /// Ends with `code`. `ExitCode` shows its number in `Debug` only.
    #[track_caller]
    fn ends(line: &[&str], code: u8) {
        let have = main_with(args(line));
        assert_eq!(format!("{have:?}"), format!("{:?}", ExitCode::from(code)), "{line:?}");
    }

    #[test]
    fn the_command_line_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn help_teaches_every_key() {
        let help = command().render_long_help().to_string();
        for key in KEYS {
            let words = help.split_whitespace().collect::<Vec<_>>().join(" ");
            let Some(flag) = key.flag() else {
                assert!(!help.contains(&format!("--{}\n", key.name)) && !help.contains(&format!("--{} ", key.name)));
                continue;
            };
            assert!(help.contains(&flag), "{flag}");
            assert!(words.contains(&format!("[env: {}]", key.env)), "{}", key.env);
            assert!(words.contains(&format!("[default: {}]", key.default_text().replace('`', ""))), "{}", key.env);
            assert!(help.contains(&format!("{}:", key.section)), "{}", key.section);
        }
        assert!(help.contains("Examples:") && help.contains("Exit codes:"));
    }

    #[test]
    fn flags_reach_the_configuration_before_and_behind_the_command() {
        for line in [&["--batch-size", "7", "check"][..], &["check", "--batch-size=7"], &["check", "--batch-size", "7"]]
        {
            let matches = command().try_get_matches_from(args(line)).unwrap();
            let (_, sub) = matches.subcommand().unwrap();
            assert_eq!(given(sub)(keys::by_env("BATCH_SIZE").unwrap()), Some("7".into()), "{line:?}");
        }
        let value = |line: &[&str], env: &str| {
            given(&command().try_get_matches_from(args(line)).unwrap())(keys::by_env(env).unwrap())
        };
        assert_eq!(value(&["--enable-metrics"], "ENABLE_METRICS"), Some("true".into()));
        assert_eq!(value(&["--enable-metrics=no"], "ENABLE_METRICS"), Some("no".into()));
        assert_eq!(value(&["--batch-size", "1", "--batch-size", "2"], "BATCH_SIZE"), Some("2".into()), "the last wins");
        assert_eq!(value(&[], "BATCH_SIZE"), None);
    }

    #[test]
    fn a_token_on_the_command_line_is_refused_and_not_repeated() {
        for line in [&["--token=s3cr3t"][..], &["--token", "s3cr3t"], &["--rask-token=s3cr3t"]] {
            let error = command().try_get_matches_from(args(line)).unwrap_err();
            assert!(error.use_stderr());
            assert!(!error.to_string().contains("s3cr3t"), "{error}");
        }
    }

    #[test]
    fn exit_codes() {
        ends(&["--help"], exit::OK);
        ends(&["--version"], exit::OK);
        ends(&["check", "--help"], exit::OK);
        ends(&["--no-such-flag"], exit::USAGE);
        ends(&["no-such-command"], exit::USAGE);
        ends(&["--batch-size"], exit::USAGE);
        ends(&["spool"], exit::USAGE);
        ends(&["spool", "ls", "--limit", "few"], exit::USAGE);
        ends(&["spool", "drain", "--help"], exit::OK);
        ends(&["spool", "ls", "--max-disk-usage-mb", "many"], exit::CONFIG);
        ends(&["spool", "export", "--disk-fallback-path", "/no/such/directory"], exit::FAILURE);
        ends(&["spool", "drain", "--target-service=x", "--disk-fallback-path", "/no/such/directory"], exit::CONFIG);
        ends(&["run", "--batch-size", "many"], exit::CONFIG);
        ends(&["tap", "--target-service="], exit::CONFIG);
        ends(&["parse", "--help"], exit::OK);
        ends(&["parse", "--drop", "("], exit::CONFIG);
        ends(&["parse", "/no/such/file"], exit::FAILURE);
        ends(&["check", "--metrics-port", "many"], exit::CONFIG);
        ends(&["healthcheck", "--metrics-port", "many"], exit::CONFIG);
    }

    #[test]
    fn healthcheck_is_what_the_running_process_says() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_str().unwrap();
        let alive = ["healthcheck", "--disk-fallback-path", path, "--metrics-port=0"];
        let ready = [&alive[..], &["--ready"]].concat();
        ends(&alive, exit::FAILURE);
        let vars = [("TARGET_SERVICE", "api"), ("DISK_FALLBACK_PATH", path), ("ENABLE_METRICS", "false")];
        let health = Arc::new(Health::new());
        let admin = admin::start(&Config::from_vars(&vars).unwrap(), Metrics::new(), health.clone(), None).unwrap();
        ends(&alive, exit::OK);
        ends(&ready, exit::FAILURE);
        health.enter(Phase::Running);
        ends(&ready, exit::OK);
        admin.stop();
        ends(&alive, exit::FAILURE);
    }
}
