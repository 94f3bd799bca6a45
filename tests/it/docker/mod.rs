//! Real containers, real logs, the real daemon's rotation; the forwarder reads the daemon's own directory.
//!
//! Needs Docker, root (the directory is root's) and the images that `deploy/base-images.sh` makes. What is missing is said on
//! stderr, past the test runner's capture, and fails the test when `RASK_REQUIRE_DOCKER` is set.
//!
//! What must arrive is told by numbers in the lines where everything must, and otherwise by the daemon's own files ([`Truth`]):
//! a line that it never wrote is nobody's to deliver.

mod api;
mod daemon;
mod formats;
mod lifecycle;
mod parts;
mod private;
mod rotation;
mod truth;

use crate::harness::{Forwarder, PATIENCE, World};
use rask::receiver::Ledger;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Once;
use truth::Truth;

const DIRECTORY: &str = "/var/lib/docker/containers";

/// For `DOCKER_HOST`.
const SOCKET: &str = "unix:///var/run/docker.sock";

const DEBIAN: &str = "debian:bookworm-slim";

/// Label of every container that these tests make.
const LABEL: &str = "rask.test=it";

/// Writes numbered slog lines of run `$run` at about `$rate` per second in ticks of 10 ms, every tenth on stderr, one
/// `write(2)` each: `$n` of them.
const JSON_SERVICE: &str = r#"
my ($n, $rate, $run) = @ARGV; my @seq = (0, 0);
for my $i (0 .. $n - 1) {
    my $err = $i % 10 == 0; my $seq = $seq[$err]++;
    my $level = $err ? "ERROR" : "INFO";
    syswrite($err ? STDERR : STDOUT, qq({"time":"2026-11-21T13:00:00Z","level":"$level","msg":"order <$i> \\\"taken\\\"","run":"$run","seq":$seq,"pad":") . ("x" x 80) . qq("}\n));
    select(undef, undef, undef, 0.01) if $i % ($rate / 100) == 0;
}"#;

/// Writes `line 0`, `line 1`, … on both streams in turn at about `$rate` per second, without end.
const ENDLESS_SERVICE: &str = r#"
my ($rate) = @ARGV; $SIG{TERM} = sub { exit };
for (my $i = 0; ; $i++) {
    syswrite($i % 2 ? STDERR : STDOUT, "line $i " . ("x" x 150) . "\n");
    select(undef, undef, undef, 0.01) if $i % ($rate / 100) == 0;
}"#;

/// Writes 3,000 lines to its terminal.
const TERMINAL_SERVICE: &str = r#"for my $i (0 .. 2999) { syswrite($i % 2 ? STDERR : STDOUT, "line $i " . ("Ã¼" x 20) . "
") }"#;

/// Whether these tests can run here; says so if not.
fn ready(images: &[&str]) -> bool {
    static SWEEP: Once = Once::new();
    let daemon = docker(&["version", "--format", "{{.Server.Version}}"]).status.success();
    let readable = std::fs::read_dir(DIRECTORY).is_ok();
    let missing = images.iter().find(|image| !docker(&["image", "inspect", image]).status.success());
    let why = match (daemon, readable, missing) {
        (false, ..) => "no Docker daemon answers".to_owned(),
        (_, false, _) => format!("{DIRECTORY} cannot be read; run them as root"),
        (.., Some(image)) => format!("the image {image} is missing; deploy/base-images.sh makes it"),
        _ => {
            // What an earlier run left behind.
            SWEEP.call_once(|| remove_all(LABEL));
            return true;
        }
    };
    left_out(&why);
    false
}

/// Says that a test is left out, or fails it where it is required.
fn left_out(why: &str) {
    assert!(std::env::var_os("RASK_REQUIRE_DOCKER").is_none(), "RASK_REQUIRE_DOCKER is set, but {why}");
    // Not through `eprintln!`, which the test runner captures: this must be seen.
    let _ = writeln!(std::io::stderr(), "\n*** LEFT OUT: a test with real containers: {why} ***\n");
}

fn docker(args: &[&str]) -> Output {
    output(Command::new("docker").args(args))
}

fn output(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| Output {
        status: std::os::unix::process::ExitStatusExt::from_raw(1 << 8),
        stdout: Vec::new(),
        stderr: error.to_string().into_bytes(),
    })
}

/// Runs a command of Docker's that must succeed, and gives what it printed.
fn must(args: &[&str]) -> String {
    text_of(&docker(args))
}

fn text_of(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn remove_all(label: &str) {
    for id in must(&["ps", "-aq", "--filter", &format!("label={label}")]).split_whitespace() {
        docker(&["rm", "-f", id]);
    }
}

/// Arguments of `docker run` for a container of Compose service `service`: `options` before the image, `command` after it.
fn run_args(service: &str, options: &[&str], image: &str, command: &[&str]) -> Vec<String> {
    let label = format!("com.docker.compose.service={service}");
    let fixed = ["run", "--label", LABEL, "--label", &label];
    let network: &[&str] = if options.contains(&"--network") { &[] } else { &["--network", "none"] };
    [&fixed, network, options, &[image], command].concat().into_iter().map(str::to_owned).collect()
}

/// A container of a service of its own; removed when the test ends.
struct Real {
    id: String,
}

impl Real {
    /// Runs `image` as Compose service `service`: `options` before the image, `command` after it.
    fn run(service: &str, options: &[&str], image: &str, command: &[&str]) -> Self {
        let args = run_args(service, &[&["-d"], options].concat(), image, command);
        Self { id: must(&args.iter().map(String::as_str).collect::<Vec<_>>()) }
    }

    /// `lines` of [`JSON_SERVICE`].
    fn json_service(service: &str, options: &[&str], lines: u64, rate: u64) -> Self {
        let (lines, rate) = (lines.to_string(), rate.to_string());
        Self::perl(service, options, JSON_SERVICE, &[&lines, &rate, "test"])
    }

    fn perl(service: &str, options: &[&str], program: &str, args: &[&str]) -> Self {
        Self::run(service, options, DEBIAN, &[&["perl", "-e", program], args].concat())
    }

    fn exec(&self, command: &[&str]) -> Output {
        docker(&[&["exec", self.id.as_str()], command].concat())
    }

    fn wait_for_its_end(&self) {
        must(&["wait", &self.id]);
    }

    /// Its json-file log.
    fn log(&self) -> PathBuf {
        Path::new(DIRECTORY).join(&self.id).join(format!("{}-json.log", self.id))
    }

    /// What the daemon's files hold now.
    fn truth(&self) -> Truth {
        Truth::of_files(&self.log())
    }

    fn remove(&self) {
        must(&["rm", "-f", "-v", &self.id]);
    }
}

impl Drop for Real {
    fn drop(&mut self) {
        docker(&["rm", "-f", "-v", &self.id]);
    }
}

/// A service name that no other run has.
fn unique(name: &str) -> String {
    format!("{name}-{:08x}", fastrand::u32(..))
}

fn forward(world: &World, service: &str, env: &[(&str, &str)]) -> Forwarder {
    let mut command = world.command(service);
    command.env("DOCKER_CONTAINERS_DIR", DIRECTORY).envs(env.iter().copied());
    Forwarder::start(command, &world.state())
}

/// `lines` of the JSON service came once each, in order per stream, in the right form, and nothing else did.
fn assert_all(world: &World, service: &str, lines: u64) {
    assert_runs(world, service, &["test"], lines);
}

/// As [`assert_all`] for several containers, each a run of its own.
fn assert_runs(world: &World, service: &str, runs: &[&str], lines: u64) {
    let streams = [("stderr", lines.div_ceil(10)), ("stdout", lines - lines.div_ceil(10))];
    let expected: Vec<_> = runs.iter().flat_map(|run| streams.map(|(stream, count)| (*run, stream, count))).collect();
    world.receiver.wait_until(PATIENCE, |ledger| {
        expected.iter().all(|(run, stream, count)| found(ledger, service, run, stream).is_some_and(|it| it.0 >= *count))
    });
    world.receiver.ledger(|ledger| {
        for (run, stream, count) in expected {
            let found = found(ledger, service, run, stream).unwrap_or_default();
            let holes: Vec<_> = ledger.sequences().iter().map(|it| (&it.run, &it.stream, it.holes(0))).collect();
            let place = format!("{service}/{run}/{stream}: distinct, missing, duplicates, reordered; holes {holes:?}");
            assert_eq!(found, (count, 0, 0, 0), "{place}");
        }
        assert_eq!(ledger.sequences().len(), 2 * runs.len(), "nothing but these");
        assert_eq!(ledger.totals().unmarked, 0, "no gaps, no garbage");
        assert_eq!(ledger.violations(), [] as [String; 0]);
    });
}

/// Distinct, missing, duplicates and reordered of one sequence.
fn found(ledger: &Ledger, service: &str, run: &str, stream: &str) -> Option<(u64, u64, u64, u64)> {
    let sequences = ledger.sequences().iter();
    let mut wanted = sequences.filter(|s| s.service == service && s.run == run && s.stream == stream);
    wanted.next().map(|s| (s.distinct(), s.missing(0), s.duplicates, s.reordered))
}

/// How many gaps were reported.
fn gaps(world: &World) -> usize {
    world.receiver.records().iter().filter(|record| record.log_type == "gap").count()
}
