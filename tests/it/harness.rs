//! One forwarder process in a world of its own: containers directory, state directory, receiver.

use rask::generate::{Format, Pace, Play, Progress, Sink};
use rask::layout::{Container, Spec, Stream};
use rask::receiver::{Options, Receiver};
use rask::stop::Stop;
use std::collections::HashMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// What a forwarder may take at most, in whatever scenario (promise P4).
pub const PEAK_RSS_BYTES: u64 = 16 << 20;

/// What an unoptimized build takes more: its small tests peak at 16.5 to 18.5 MB, the release binary's begin at 8; its worst is 27.1,
/// the release binary's 16.0. Where it comes from has not been looked into.
const UNOPTIMIZED_BYTES: u64 = 13 << 20;

/// The bound for the program under test.
pub fn peak_bound() -> u64 {
    let unoptimized = cfg!(debug_assertions) && std::env::var_os("RASK_TEST_BINARY").is_none();
    PEAK_RSS_BYTES + if unoptimized { UNOPTIMIZED_BYTES } else { 0 }
}

/// Long enough for a loaded machine; nothing waits this long when all is well.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What one test plays in.
pub struct World {
    dir: TempDir,
    pub receiver: Receiver,
}

impl World {
    pub fn new() -> Self {
        Self::with(Options::default())
    }

    pub fn with(options: Options) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        std::fs::create_dir(dir.path().join("containers")).expect("a directory");
        Self { dir, receiver: Receiver::start(options).expect("a free port") }
    }

    pub fn containers(&self) -> PathBuf {
        self.dir.path().join("containers")
    }

    pub fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// A container of the Compose service `service`.
    pub fn container(&self, service: &str) -> Container {
        self.container_as(Spec::service(service))
    }

    pub fn container_as(&self, spec: Spec) -> Container {
        Container::start(&self.containers(), spec).expect("a container on disk")
    }

    /// The command that forwards `service` to this world's receiver.
    pub fn command(&self, service: &str) -> Command {
        let mut command = bare_command();
        command
            .env("TARGET_SERVICE", service)
            .env("RASK_ENDPOINT", self.receiver.url())
            .env("DOCKER_CONTAINERS_DIR", self.containers())
            .env("DISK_FALLBACK_PATH", self.state());
        command
    }

    /// Starts a forwarder and waits until it is running.
    pub fn forward(&self, service: &str) -> Forwarder {
        self.forward_with(service, &[])
    }

    pub fn forward_with(&self, service: &str, env: &[(&str, &str)]) -> Forwarder {
        let mut command = self.command(service);
        command.envs(env.iter().copied());
        Forwarder::start(command, &self.state())
    }

    /// Waits until the receiver holds `records` different records or more.
    pub fn wait_for_records(&self, records: u64) {
        let reached = self.receiver.wait_until(PATIENCE, |ledger| ledger.totals().records >= records);
        assert!(reached, "{records} records expected, got {:?}", self.receiver.totals());
    }

    /// Waits until every number below `next` of each stream has come.
    pub fn wait_for_play(&self, service: &str, progress: &Progress) {
        let reached = self.receiver.wait_until(PATIENCE, |ledger| {
            counts(progress).iter().all(|(stream, count)| {
                *count == 0 || ledger.sequence(service, stream).is_some_and(|sequence| sequence.distinct() >= *count)
            })
        });
        assert!(reached, "{service}: written {:?}, received {:?}", counts(progress), self.sequences());
    }

    fn sequences(&self) -> Vec<(String, u64, u64)> {
        let sum = |s: &rask::receiver::Sequence| (format!("{}/{}", s.service, s.stream), s.distinct(), s.missing(0));
        self.receiver.ledger(|ledger| ledger.sequences().iter().map(sum).collect())
    }

    /// Everything came, once, in order, in the right form.
    pub fn assert_exact(&self, service: &str, progress: &Progress) {
        self.wait_for_play(service, progress);
        self.receiver.ledger(|ledger| {
            for (stream, count) in counts(progress) {
                let Some(sequence) = ledger.sequence(service, stream) else {
                    assert_eq!(count, 0, "{service}/{stream}");
                    continue;
                };
                let found = (sequence.distinct(), sequence.missing(0), sequence.duplicates, sequence.reordered);
                assert_eq!(found, (count, 0, 0, 0), "{service}/{stream}: distinct, missing, duplicates, reordered");
            }
            assert_eq!(ledger.violations(), [] as [String; 0], "every record keeps the wire format");
        });
    }
}

fn counts(progress: &Progress) -> [(&'static str, u64); 2] {
    use std::sync::atomic::Ordering::Relaxed;
    [("stdout", progress.stdout.load(Relaxed)), ("stderr", progress.stderr.load(Relaxed))]
}

/// Lines to be played: `count` of them at `rate` per second (0: as fast as can be), a tenth on stderr.
pub fn play(format: Format, count: u64, rate: u64) -> Play {
    Play {
        format,
        pace: Pace { rate, burst: 1 },
        count: Some(count),
        time: None,
        stderr_share: 0.1,
        seq_start: 0,
        size: 0,
        run: "test".into(),
    }
}

/// Plays into a container to the end and gives it back.
pub fn play_into(play: &Play, container: Container, progress: &Progress) -> Container {
    match play.run(Sink::Container(Box::new(container)), progress, &Stop::new()).expect("the log can be written") {
        Sink::Container(container) => *container,
        Sink::Standard => unreachable!("a container went in"),
    }
}

/// Writes plain lines `<prefix> 0` to `<prefix> n-1` on stdout.
pub fn write_numbered(container: &mut Container, prefix: &str, numbers: std::ops::Range<u64>) {
    for number in numbers {
        container.write_line(Stream::Stdout, format!("{prefix} {number}").as_bytes()).expect("the log can be written");
    }
}

/// The messages that arrived, in order.
pub fn messages(receiver: &Receiver) -> Vec<String> {
    receiver.records().into_iter().map(|record| record.message).collect()
}

pub fn numbered(prefix: &str, numbers: std::ops::Range<u64>) -> Vec<String> {
    numbers.map(|number| format!("{prefix} {number}")).collect()
}

/// The binary with nothing but a quiet, socketless environment.
pub fn bare_command() -> Command {
    let mut command = Command::new(crate::binary());
    command
        .env_clear()
        .env("DOCKER_HOST", "none")
        .env("METRICS_PORT", "0")
        .env("LOG_LEVEL", "warn")
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    command
}

/// A running forwarder; killed when the test ends.
pub struct Forwarder {
    child: Child,
    socket: PathBuf,
}

impl Forwarder {
    /// Starts and waits until `/healthz` answers.
    pub fn start(mut command: Command, state: &Path) -> Self {
        let child = command.spawn().expect("the binary starts");
        let mut forwarder = Self { child, socket: state.join("admin.sock") };
        wait("the forwarder answers", || {
            if let Some(status) = forwarder.child.try_wait().expect("our child") {
                panic!("the forwarder ended at once: {status}");
            }
            forwarder.get("/readyz").is_some_and(|(status, body)| status == 200 || !body.contains("starting"))
        });
        forwarder
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Status and body of an admin page; `None` when nobody answers.
    pub fn get(&self, path: &str) -> Option<(u16, String)> {
        let mut stream = UnixStream::connect(&self.socket).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        write!(stream, "GET {path} HTTP/1.1\r\nhost: forwarder\r\nconnection: close\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
    }

    /// Every sample of `/metrics`, under `name` or `name{labels}` as written, without the prefix.
    pub fn metrics(&self) -> HashMap<String, f64> {
        let (status, body) = self.get("/metrics").expect("/metrics answers");
        assert_eq!(status, 200);
        let samples = body.lines().filter(|line| !line.starts_with('#'));
        samples
            .filter_map(|line| line.rsplit_once(' '))
            .map(|(name, value)| {
                (name.trim_start_matches("rask_forwarder_").to_owned(), value.parse().expect("a number"))
            })
            .collect()
    }

    /// Sum over all samples of one metric.
    pub fn metric(&self, name: &str) -> f64 {
        let of = |sample: &str| sample == name || sample.starts_with(&format!("{name}{{"));
        self.metrics().iter().filter(|(sample, _)| of(sample)).map(|(_, value)| value).sum()
    }

    /// Waits until the pipeline rests (nothing unread, nothing pending, twice in a row), then holds the books against each
    /// other.
    pub fn assert_conserved(&self) {
        let mut before = None;
        wait("the pipeline rests", || {
            let books = Books::of(&self.metrics());
            let rests = books.at_rest && before == Some(books);
            before = Some(books);
            rests
        });
        let books = before.expect("just waited for");
        assert_eq!(books.came, books.went, "read + recovered = delivered + pending + dropped: {:?}", self.metrics());
    }

    /// SIGTERM, and how it ended.
    pub fn terminate(mut self) -> ExitStatus {
        self.assert_small();
        signal(self.pid(), "TERM");
        let mut ended = None;
        wait("the forwarder ends", || {
            ended = self.child.try_wait().expect("our child");
            if ended.is_none() {
                self.assert_small();
            }
            ended.is_some()
        });
        ended.expect("just waited for")
    }

    /// SIGKILL.
    pub fn kill(self) {
        drop(self);
    }

    /// Holds the peak of its memory against the promise. Called at every end of every forwarder.
    pub fn assert_small(&self) {
        // A process that has just ended has no memory to speak of.
        let peak = status_bytes(self.pid(), "VmHWM:").unwrap_or(0);
        assert!(peak < peak_bound(), "peak of resident memory: {} KiB", peak / 1024);
    }
}

impl Drop for Forwarder {
    fn drop(&mut self) {
        let peak = status_bytes(self.pid(), "VmHWM:").unwrap_or(0);
        if std::env::var_os("RASK_SHOW_PEAKS").is_some() {
            eprintln!("PEAK {} {} KiB", std::thread::current().name().unwrap_or("?"), peak / 1024);
        }
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if !std::thread::panicking() {
            assert!(peak < peak_bound(), "peak of resident memory: {} KiB", peak / 1024);
        }
    }
}

/// One look at the books.
#[derive(Clone, Copy, PartialEq)]
struct Books {
    came: f64,
    went: f64,
    at_rest: bool,
}

impl Books {
    fn of(metrics: &HashMap<String, f64>) -> Self {
        let sum = |name: &str| -> f64 {
            let of = |sample: &str| sample == name || sample.starts_with(&format!("{name}{{"));
            metrics.iter().filter(|(sample, _)| of(sample)).map(|(_, value)| value).sum()
        };
        Self {
            came: sum("lines_read_total") + sum("lines_recovered_total"),
            went: sum("lines_delivered_total") + sum("lines_dropped_total"),
            at_rest: sum("lines_pending") == 0.0 && sum("lag_bytes") == 0.0,
        }
    }
}

/// A line of `/proc/<pid>/status`, in bytes; `None` when the process has ended.
pub fn status_bytes(pid: u32, key: &str) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with(key))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}

pub fn signal(pid: u32, name: &str) {
    let status = Command::new("kill").args([&format!("-{name}"), &pid.to_string()]).status().expect("kill runs");
    assert!(status.success());
}

/// Waits until `reached` holds; fails the test when it does not in time.
pub fn wait(what: &str, mut reached: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !reached() {
        assert!(Instant::now() < until, "waited too long until {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
