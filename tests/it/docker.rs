//! Real containers, real json-file logs, the real daemon's rotation; the forwarder reads the daemon's own directory.
//!
//! Needs Docker, root (the directory is root's) and the images that `deploy/base-images.sh` makes. What is missing is said on
//! stderr, past the test runner's capture, and fails the test when `RASK_REQUIRE_DOCKER` is set.

use crate::harness::{Forwarder, World, wait};
use std::io::Write;
use std::process::{Command, Output};
use std::sync::Once;
use std::time::Duration;

const DIRECTORY: &str = "/var/lib/docker/containers";

/// Label of every container that these tests make.
const LABEL: &str = "rask.test=it";

/// Writes `n` numbered slog lines at about `rate` per second in ticks of 10 ms, every tenth on stderr, one `write(2)` each.
const JSON_SERVICE: &str = r#"
my ($n, $rate) = @ARGV; my @seq = (0, 0);
for my $i (0 .. $n - 1) {
    my $err = $i % 10 == 0; my $seq = $seq[$err]++;
    my $level = $err ? "ERROR" : "INFO";
    syswrite($err ? STDERR : STDOUT, qq({"time":"2026-11-21T13:00:00Z","level":"$level","msg":"order <$i> \\\"taken\\\"","run":"test","seq":$seq,"pad":") . ("x" x 80) . qq("}\n));
    select(undef, undef, undef, 0.01) if $i % ($rate / 100) == 0;
}"#;

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
    assert!(std::env::var_os("RASK_REQUIRE_DOCKER").is_none(), "RASK_REQUIRE_DOCKER is set, but {why}");
    // Not through `eprintln!`, which the test runner captures: this must be seen.
    let _ = writeln!(std::io::stderr(), "\n*** LEFT OUT: a test with real containers: {why} ***\n");
    false
}

fn docker(args: &[&str]) -> Output {
    Command::new("docker").args(args).output().unwrap_or_else(|error| Output {
        status: std::os::unix::process::ExitStatusExt::from_raw(1 << 8),
        stdout: Vec::new(),
        stderr: error.to_string().into_bytes(),
    })
}

fn remove_all(label: &str) {
    let listed = docker(&["ps", "-aq", "--filter", &format!("label={label}")]);
    let ids = String::from_utf8_lossy(&listed.stdout).into_owned();
    for id in ids.split_whitespace() {
        docker(&["rm", "-f", id]);
    }
}

/// A container of a service of its own; removed when the test ends.
struct Real {
    id: String,
}

impl Real {
    /// Runs `image` as Compose service `service`: `options` before the image, `command` after it.
    fn run(service: &str, options: &[&str], image: &str, command: &[&str]) -> Self {
        let label = format!("com.docker.compose.service={service}");
        let fixed = ["run", "-d", "--label", LABEL, "--label", &label];
        let network: &[&str] = if options.contains(&"--network") { &[] } else { &["--network", "none"] };
        let output = docker(&[&fixed, network, options, &[image], command].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Self { id: String::from_utf8_lossy(&output.stdout).trim().to_owned() }
    }

    fn json_service(service: &str, options: &[&str], lines: u64, rate: u64) -> Self {
        let (lines, rate) = (lines.to_string(), rate.to_string());
        Self::run(service, options, "debian:bookworm-slim", &["perl", "-e", JSON_SERVICE, &lines, &rate])
    }

    fn exec(&self, command: &[&str]) -> Output {
        docker(&[&["exec", self.id.as_str()], command].concat())
    }

    fn wait_for_its_end(&self) {
        assert!(docker(&["wait", &self.id]).status.success());
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

/// `lines` of the JSON service came once each, in order per stream, in the right form.
fn assert_all(world: &World, service: &str, lines: u64) {
    let expected = [("stderr", lines.div_ceil(10)), ("stdout", lines - lines.div_ceil(10))];
    let reached = world.receiver.wait_until(crate::harness::PATIENCE, |ledger| {
        expected.iter().all(|(stream, count)| ledger.sequence(service, stream).is_some_and(|s| s.distinct() >= *count))
    });
    world.receiver.ledger(|ledger| {
        for (stream, count) in expected {
            let sequence = ledger.sequence(service, stream).unwrap_or_else(|| panic!("nothing of {service}/{stream}"));
            let found = (sequence.distinct(), sequence.missing(0), sequence.duplicates, sequence.reordered);
            assert_eq!(found, (count, 0, 0, 0), "{service}/{stream}: distinct, missing, duplicates, reordered");
        }
        assert_eq!(ledger.violations(), [] as [String; 0]);
    });
    assert!(reached);
}

#[test]
fn a_json_service_at_5000_lines_per_second_through_ten_rotations() {
    if !ready(&["debian:bookworm-slim"]) {
        return;
    }
    let (world, service) = (World::new(), unique("api"));
    let forwarder = forward(&world, &service, &[]);
    let rotating = ["--log-opt", "max-size=1m", "--log-opt", "max-file=3", "--label", "rask.group=shop"];
    let _container = Real::json_service(&service, &rotating, 50_000, 5_000);
    assert_all(&world, &service, 50_000);
    forwarder.assert_conserved();
    assert!(forwarder.metric("rotations_total") >= 10.0, "{}", forwarder.metric("rotations_total"));
    let record = world.receiver.records().pop().expect("records");
    assert_eq!(record.service_group.as_deref(), Some("shop"));
    assert_eq!(record.service_type, "go");
    assert!(record.message.starts_with("order <") && record.message.ends_with("> \"taken\""), "{}", record.message);
    let p50 = world.receiver.ledger(|ledger| ledger.latency().quantile(0.5));
    assert!(p50 < Duration::from_millis(10), "median from write to receipt {p50:?}");
    assert_eq!(forwarder.terminate().code(), Some(0));
}

/// One file: Docker unlinks the full one, and what was not read survives only in the open descriptor.
#[test]
fn rotation_by_unlink_loses_nothing() {
    if !ready(&["debian:bookworm-slim"]) {
        return;
    }
    let (world, service) = (World::new(), unique("one"));
    let forwarder = forward(&world, &service, &[]);
    let _container =
        Real::json_service(&service, &["--log-opt", "max-size=1m", "--log-opt", "max-file=1"], 30_000, 3_000);
    assert_all(&world, &service, 30_000);
    forwarder.assert_conserved();
    assert!(forwarder.metric("rotations_total") >= 5.0);
}

#[test]
fn other_log_drivers_stream_through_the_api() {
    if !ready(&["debian:bookworm-slim"]) {
        return;
    }
    let (world, service) = (World::new(), unique("local"));
    let api = [("DOCKER_HOST", "unix:///var/run/docker.sock")];
    let first = forward(&world, &service, &api);
    let container = Real::json_service(&service, &["--log-driver", "local"], 20_000, 5_000);
    wait("some have come", || world.receiver.totals().records > 5_000);
    first.kill();
    let second = forward(&world, &service, &api);
    container.wait_for_its_end();
    assert_all(&world, &service, 20_000);
    assert_eq!(second.terminate().code(), Some(0));
}

#[test]
fn the_api_finds_containers_too() {
    if !ready(&["debian:bookworm-slim"]) {
        return;
    }
    let (world, service) = (World::new(), unique("found"));
    let forwarder = forward(&world, &service, &[("DOCKER_HOST", "unix:///var/run/docker.sock")]);
    for round in 1..=3u64 {
        let container = Real::json_service(&service, &[], 100, 1_000);
        container.wait_for_its_end();
        world.wait_for_records(round * 100);
    }
    wait("removed containers are forgotten", || forwarder.metric("containers") == 0.0);
    forwarder.assert_conserved();
    assert_eq!(world.receiver.totals().records, 300);
}

#[test]
fn a_container_that_restarts_continues() {
    if !ready(&["debian:bookworm-slim"]) {
        return;
    }
    let (world, service) = (World::new(), unique("again"));
    let forwarder = forward(&world, &service, &[]);
    let container = Real::run(&service, &[], "debian:bookworm-slim", &["sh", "-c", "echo first; printf unfinished"]);
    container.wait_for_its_end();
    world.wait_for_records(2);
    assert!(docker(&["restart", &container.id]).status.success());
    container.wait_for_its_end();
    world.wait_for_records(4);
    let messages = crate::harness::messages(&world.receiver);
    assert_eq!(messages, ["first", "unfinished", "first", "unfinished"], "nothing is glued to what came before");
    forwarder.assert_conserved();
}

#[test]
fn nginx_under_load() {
    if !ready(&["nginx:1"]) {
        return;
    }
    let (world, service) = (World::new(), unique("web"));
    let forwarder = forward(&world, &service, &[]);
    let site = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/nginx.conf:/etc/nginx/nginx.conf:ro");
    let options = ["--log-opt", "max-size=1m", "--log-opt", "max-file=2", "-v", site];
    let container = Real::run(&service, &options, "nginx:1", &[]);
    let client = "use IO::Socket::INET; my $n = 0;
        for my $try (1 .. 100) { last if IO::Socket::INET->new('127.0.0.1:80'); select(undef, undef, undef, 0.1) }
        for my $i (0 .. 1999) {
            my $s = IO::Socket::INET->new('127.0.0.1:80') or die; my $path = $i % 10 ? '/' : '/broken';
            print $s qq(GET $path?run=test&seq=$i HTTP/1.1\\r\\nHost: x\\r\\nUser-Agent: probe \\\"quoted\\\"\\r\\nConnection: close\\r\\n\\r\\n);
            1 while <$s>;
        }";
    let output = container.exec(&["perl", "-e", client]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let access = |record: &rask_record::Record| record.log_type == "access" && record.path.is_some();
    wait("every request is there", || world.receiver.records().iter().filter(|record| access(record)).count() >= 2_000);
    forwarder.assert_conserved();
    let records = world.receiver.records();
    let requests: Vec<_> = records.iter().filter(|record| access(record) && record.path != Some("/".into())).collect();
    assert_eq!(requests.len(), 2_000);
    for (i, record) in requests.iter().enumerate() {
        let path = if i % 10 == 0 { "/broken" } else { "/" };
        assert_eq!(record.path, Some(format!("{path}?run=test&seq={i}")), "in order");
        assert_eq!(record.status_code, Some(if i % 10 == 0 { 502 } else { 200 }));
        assert_eq!((record.method.as_deref(), record.ip_address.as_deref()), (Some("GET"), Some("127.0.0.1")));
        assert_eq!(record.user_agent.as_deref(), Some(r"probe \x22quoted\x22"), "as nginx writes it");
    }
    let why = |record: &&rask_record::Record| {
        record.log_type == "error" && record.stream == "stderr" && record.message.contains("Connection refused")
    };
    assert_eq!(records.iter().filter(why).count(), 200, "each 502 has its reason in the error log");
}

#[test]
fn postgresql_with_failing_statements() {
    if !ready(&["postgres:15"]) {
        return;
    }
    let (world, service) = (World::new(), unique("db"));
    let forwarder = forward(&world, &service, &[]);
    let prefix = "log_line_prefix=%m [%p] %q%u@%d ";
    let container = Real::run(&service, &["-e", "POSTGRES_PASSWORD=test"], "postgres:15", &["postgres", "-c", prefix]);
    wait("the server answers", || {
        container.exec(&["psql", "-h", "127.0.0.1", "-U", "postgres", "-c", "select 1"]).status.success()
            || container.exec(&["psql", "-U", "postgres", "-c", "select 1"]).status.success()
    });
    for i in 0..20 {
        let statement = format!("select *\nfrom nope_{i}\nwhere seq = {i}");
        assert!(!container.exec(&["psql", "-U", "postgres", "-c", &statement]).status.success());
    }
    let failed = |record: &rask_record::Record| record.message.starts_with("relation \"nope_");
    wait("every failure is there", || world.receiver.records().iter().filter(|record| failed(record)).count() >= 20);
    forwarder.assert_conserved();
    let records = world.receiver.records();
    for (i, record) in records.iter().filter(|record| failed(record)).enumerate() {
        assert!(record.message.starts_with(&format!("relation \"nope_{i}\" does not exist")), "{}", record.message);
        assert_eq!(record.level.as_ref().map(rask_record::Level::as_str), Some("Error"));
        assert_eq!((record.service_type.as_str(), record.stream.as_str()), ("postgres", "stderr"));
        assert_eq!((record.fields["user"].as_str(), record.fields["database"].as_str()), ("postgres", "postgres"));
    }
    assert!(records.iter().any(|record| record.message.contains("database system is ready to accept connections")));
}

/// The sidecar lives in its service's network namespace, whose interface goes with the service.
#[test]
fn a_service_re_created_under_its_sidecar_is_said_and_collected() {
    if !ready(&["debian:bookworm-slim"]) {
        return;
    }
    let world = World::with(rask::receiver::Options { listen: ([0, 0, 0, 0], 0).into(), ..Default::default() });
    let service = unique("shared");
    let talk = |word: &str| {
        let program = format!("while true; do echo {word}; sleep 0.1; done");
        Real::run(&service, &["--network", "bridge"], "debian:bookworm-slim", &["sh", "-c", &program])
    };
    let first = talk("first");
    let gateway = docker(&["inspect", "--format", "{{.NetworkSettings.Gateway}}", &first.id]);
    let gateway = String::from_utf8_lossy(&gateway.stdout).trim().to_owned();
    let network = format!("container:{}", first.id);
    let target = format!("TARGET_SERVICE={service}");
    let endpoint = format!("RASK_ENDPOINT=http://{gateway}:{}/v1/aggregate", world.receiver.address().port());
    let binary = concat!(env!("CARGO_BIN_EXE_rask-log-forwarder"), ":/rask-log-forwarder:ro");
    let directory = format!("{DIRECTORY}:{DIRECTORY}:ro");
    let options = [
        &[
            "--network",
            &network,
            "-v",
            binary,
            "-v",
            &directory,
            "--read-only",
            "--tmpfs",
            "/state",
            "--cap-drop",
            "ALL",
        ],
        ["-e", &target, "-e", &endpoint, "-e", "DISK_FALLBACK_PATH=/state", "-e", "METRICS_PORT=0"].as_slice(),
    ]
    .concat();
    let sidecar = Real::run(&unique("sidecar"), &options, "debian:bookworm-slim", &["/rask-log-forwarder"]);
    world.wait_for_records(3);
    let healthy =
        |args: &[&str]| sidecar.exec(&[&["/rask-log-forwarder", "healthcheck"], args].concat()).status.success();
    assert!(healthy(&[]) && healthy(&["--ready"]));

    drop(first);
    let _second = talk("second");
    wait("it is not ready", || !healthy(&["--ready"]));
    assert!(healthy(&[]), "nor is it ill");
    let said = || docker(&["logs", &sidecar.id]).stderr;
    wait("it says so", || String::from_utf8_lossy(&said()).contains("the network namespace has lost its interface"));
    wait("it goes on collecting", || {
        // Its own state, which is all that can be looked at: nobody outside reaches it any more.
        let spooled = sidecar.exec(&["sh", "-c", "find /state/spool -name '*.seg' -size +0"]);
        !spooled.stdout.is_empty()
    });
}
