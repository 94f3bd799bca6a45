//! The endpoint over real sockets.

use super::*;
use prometheus_parse::{LineInfo, SampleType, Scrape, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

const TIMEOUT: Duration = Duration::from_secs(20);

struct Running {
    admin: Admin,
    metrics: Metrics,
    health: Arc<Health>,
    dir: tempfile::TempDir,
}

fn config(dir: &Path, port: &str) -> Config {
    let vars = [("TARGET_SERVICE", "api"), ("METRICS_PORT", port), ("DISK_FALLBACK_PATH", dir.to_str().unwrap())];
    Config::from_vars(&vars).unwrap()
}

fn running() -> Running {
    let dir = tempfile::tempdir().unwrap();
    let (metrics, health) = (Metrics::new(), Arc::new(Health::new()));
    let admin = start(&config(dir.path(), "0"), metrics.clone(), health.clone(), None).unwrap();
    Running { admin, metrics, health, dir }
}

impl Running {
    fn port(&self) -> u16 {
        self.admin.metrics_addr().unwrap().port()
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port())).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        stream
    }

    /// The same answer by port and by socket.
    #[track_caller]
    fn get(&self, path: &str) -> (u16, String) {
        let by_port = exchange(self.connect(), "localhost", path).unwrap();
        let by_socket = ask(self.dir.path(), MetricsPort::Off, path, TIMEOUT).unwrap();
        assert_eq!(by_port.status, by_socket.status);
        (by_port.status, by_port.body)
    }
}

/// Whole answer to `request`, as text.
fn raw(mut stream: TcpStream, request: &str) -> String {
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn health_and_readiness() {
    let it = running();
    assert_eq!(it.get("/healthz"), (200, "ok\n".into()));
    assert_eq!(it.get("/readyz"), (503, "not ready: starting\n".into()));
    it.health.enter(Phase::Running);
    assert_eq!(it.get("/readyz"), (200, "ready\n".into()));
    it.health.set(Trouble::SpoolFull, true);
    let (status, body) = it.get("/readyz");
    assert!(status == 503 && body.contains("spool is full"), "{body}");
    assert_eq!(it.get("/healthz").0, 200, "full is not stuck");
    it.health.set(Trouble::SpoolFull, false);
    it.health.enter(Phase::Draining);
    assert_eq!(it.get("/readyz"), (503, "not ready: draining\n".into()));
    assert_eq!(it.get("/").0, 404);
    let post = raw(it.connect(), "POST /metrics HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n");
    assert!(post.starts_with("HTTP/1.1 405 ") && post.contains("allow: GET, HEAD"), "{post}");
}

/// Whoever reaches the port may look; only who may open the socket may change something.
#[test]
fn the_order_to_drain_is_taken_on_the_socket_only() {
    use crate::position::{Generation, Ranges};
    use crate::sender::spool::{DeadLetter, Moved, Options};
    use crate::source::SourceKey;
    let dir = tempfile::tempdir().unwrap();
    let options = Options { dir: dir.path().into(), max_bytes: 8 << 20, spooling: true };
    let (store, _) = Store::open(options, Metrics::new()).unwrap();
    let key = SourceKey { container: "c".into(), generation: Generation(1) };
    let record = "{\"message\":\"m\"}\n".into();
    let letter = DeadLetter {
        key,
        cover: Ranges::default(),
        carried: Vec::new(),
        lines: 3,
        record,
        status: 400,
        answer: String::new(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(store.dead_letter(letter)).unwrap();

    assert_eq!(ask_to_drain(dir.path(), TIMEOUT), Ok(None), "nobody runs here");
    let (health, metrics) = (Arc::default(), Metrics::new());
    let admin = start(&config(dir.path(), "0"), metrics, health, Some(store.clone())).unwrap();
    let port = admin.metrics_addr().unwrap().port();
    let by_port = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let refused = raw(by_port, "POST /spool/drain HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n");
    assert!(refused.starts_with("HTTP/1.1 404 "), "{refused}");
    assert_eq!(
        ask(dir.path(), MetricsPort::Off, "/spool/drain", TIMEOUT).unwrap().status,
        405,
        "a GET changes nothing"
    );
    assert_eq!(store.usage().frames, 0);

    let answer = ask_to_drain(dir.path(), TIMEOUT).unwrap().unwrap();
    let moved: Moved = serde_json::from_str(&answer.body).unwrap();
    assert_eq!((answer.status, moved.letters, moved.lines, moved.left), (200, 1, 3, 0));
    assert_eq!(store.usage().frames, 1);
    store.close();
    assert_eq!(ask_to_drain(dir.path(), TIMEOUT).unwrap().unwrap().status, 503);
    // A process that accepts and never answers.
    admin.stop();
    let _mute = UnixListener::bind(socket_path(dir.path())).unwrap();
    assert!(ask_to_drain(dir.path(), Duration::from_millis(50)).is_err());
}

/// Read as a scraper reads it, and more strictly: every line is understood, every sample belongs to a described family.
#[test]
fn metrics_are_prometheus_text() {
    let it = running();
    it.metrics.lines_read.inc_by(7);
    it.metrics.lines_dropped.with_label_values(&["dead_letter"]).inc();
    it.metrics.lag_seconds.set(0.5);
    it.metrics.ack_seconds.observe(0.003);
    let answer = raw(it.connect(), "GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    assert!(body.ends_with('\n'));

    let (mut types, mut series) = (BTreeMap::new(), BTreeSet::new());
    for line in body.lines() {
        match LineInfo::parse(line) {
            LineInfo::Doc { metric_name, doc } => assert!(!doc.is_empty(), "{metric_name}"),
            LineInfo::Type { metric_name, metric_alias, sample_type } => {
                let name = metric_alias.unwrap_or(metric_name);
                assert!(name.starts_with("rask_forwarder_"), "{name}");
                assert_eq!(sample_type == SampleType::Counter, name.ends_with("_total"), "{name}: {sample_type:?}");
                assert!(types.insert(name.clone(), sample_type).is_none(), "{name} is described twice");
            }
            LineInfo::Sample { metric_name, labels, value, timestamp: None } => {
                let family = ["_bucket", "_sum", "_count"].iter().find_map(|end| metric_name.strip_suffix(end));
                let family = family.filter(|name| types.contains_key(*name)).unwrap_or(metric_name);
                assert!(types.contains_key(family), "{line}: before its TYPE");
                assert!(series.insert((metric_name, labels)), "{line}: twice");
                assert!(value.parse::<f64>().is_ok_and(|value| value.is_finite()), "{line}");
            }
            other => panic!("{line}: {other:?}"),
        }
    }

    let scrape = Scrape::parse(body.lines().map(|line| Ok(line.to_owned()))).unwrap();
    let value = |name: &str| {
        let name = format!("rask_forwarder_{name}");
        let samples: Vec<_> = scrape.samples.iter().filter(|sample| sample.metric == name).collect();
        assert!(samples.len() == 1 && scrape.docs.contains_key(&name), "{name}: {samples:?}");
        (samples[0].value.clone(), samples[0].labels.clone())
    };
    assert_eq!(value("lines_read_total").0, Value::Counter(7.0));
    assert_eq!(value("lag_seconds").0, Value::Gauge(0.5));
    assert_eq!(value("lines_dropped_total").1.get("reason"), Some("dead_letter"));
    assert_eq!(value("build_info").1.get("version"), Some(env!("CARGO_PKG_VERSION")));
    let Value::Histogram(buckets) = value("ack_seconds").0 else { panic!("not a histogram") };
    assert!(buckets.windows(2).all(|pair| pair[0].less_than < pair[1].less_than && pair[0].count <= pair[1].count));
    assert_eq!(buckets.last().map(|bucket| (bucket.less_than, bucket.count)), Some((f64::INFINITY, 1.0)));
}

#[test]
fn a_taken_port_that_was_asked_for_is_an_error_that_names_the_key() {
    let dir = tempfile::tempdir().unwrap();
    for address in ["0.0.0.0:0", "127.0.0.1:0"] {
        let taken = TcpListener::bind(address).unwrap();
        let port = taken.local_addr().unwrap().port().to_string();
        let error = start(&config(dir.path(), &port), Metrics::new(), Arc::default(), None).unwrap_err();
        assert_eq!(error.exit_code(), crate::exit::CONFIG);
        let text = error.to_string();
        assert!(text.starts_with("METRICS_PORT: ") && text.contains(&port), "{text}");
        assert!(!socket_path(dir.path()).exists(), "nothing is left behind");
    }
}

#[test]
fn a_taken_default_port_is_done_without() {
    let dir = tempfile::tempdir().unwrap();
    // Whoever has it, it is taken.
    let _taken = TcpListener::bind(("0.0.0.0", DEFAULT_METRICS_PORT));
    let vars = [("TARGET_SERVICE", "api"), ("DISK_FALLBACK_PATH", dir.path().to_str().unwrap())];
    let admin = start(&Config::from_vars(&vars).unwrap(), Metrics::new(), Arc::default(), None).unwrap();
    assert_eq!(admin.metrics_addr(), None);
    assert_eq!(ask(dir.path(), MetricsPort::Off, "/healthz", TIMEOUT).unwrap().status, 200);
}

#[test]
fn without_metrics_only_the_socket_is_served() {
    let dir = tempfile::tempdir().unwrap();
    let vars =
        [("TARGET_SERVICE", "api"), ("ENABLE_METRICS", "false"), ("DISK_FALLBACK_PATH", dir.path().to_str().unwrap())];
    let admin = start(&Config::from_vars(&vars).unwrap(), Metrics::new(), Arc::default(), None).unwrap();
    assert_eq!(admin.metrics_addr(), None);
    assert_eq!(ask(dir.path(), MetricsPort::Off, "/healthz", TIMEOUT).unwrap().status, 200);
}

#[test]
fn the_socket_is_private_replaces_a_dead_one_and_goes_with_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let path = socket_path(dir.path());
    for name in ["admin.sock", "admin.sock.new"] {
        // As a killed process leaves it: a listener dropped does not remove its file.
        drop(UnixListener::bind(dir.path().join(name)).unwrap());
    }
    let admin = start(&config(dir.path(), "0"), Metrics::new(), Arc::default(), None).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(ask(dir.path(), MetricsPort::Off, "/healthz", TIMEOUT).unwrap().status, 200);
    assert!(!dir.path().join("admin.sock.new").exists());
    let second = start(&config(dir.path(), "0"), Metrics::new(), Arc::default(), None).unwrap_err();
    assert!(matches!(second, AdminError::InUse(_)) && second.to_string().contains("DISK_FALLBACK_PATH"), "{second}");
    let port = admin.metrics_addr().unwrap().port();
    admin.stop();
    assert!(!path.exists());
    assert!(TcpStream::connect(("127.0.0.1", port)).is_err(), "the thread has ended");
}

#[test]
fn a_state_directory_that_cannot_be_written_leaves_the_port() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "").unwrap();
    let below = dir.path().join("file/state");
    let admin = start(&config(&below, "0"), Metrics::new(), Arc::default(), None).unwrap();
    let port = MetricsPort::Asked(admin.metrics_addr().unwrap().port());
    assert_eq!(ask(&below, port, "/healthz", TIMEOUT).unwrap().status, 200, "by the port instead");
}

#[test]
fn nobody_to_ask_is_an_error_that_says_where() {
    let dir = tempfile::tempdir().unwrap();
    let says = ask(dir.path(), MetricsPort::Off, "/healthz", TIMEOUT).unwrap_err();
    assert!(says.contains("admin.sock"), "{says}");
    // A process that accepts and never answers.
    let _mute = UnixListener::bind(socket_path(dir.path())).unwrap();
    let says = ask(dir.path(), MetricsPort::Off, "/healthz", Duration::from_millis(50)).unwrap_err();
    assert!(says.contains("no answer within 0.05 s"), "{says}");
}

/// Clients that never finish their request hold every slot of the port, and only until their time is up; the socket has slots of its own.
#[test]
fn slow_clients_delay_others_only_until_their_time_is_up() {
    let it = running();
    let slow: Vec<TcpStream> = (0..crate::limits::ADMIN_CONNECTIONS + 4)
        .map(|_| {
            let mut stream = it.connect();
            stream.write_all(b"GET /healthz HTTP/1.1\r\nx: ").unwrap();
            stream
        })
        .collect();
    assert_eq!(ask(it.dir.path(), MetricsPort::Off, "/healthz", Duration::from_secs(2)).unwrap().status, 200);
    let began = Instant::now();
    assert_eq!(exchange(it.connect(), "localhost", "/healthz").unwrap().status, 200);
    assert!(began.elapsed() < crate::limits::ADMIN_HEADER_TIMEOUT * 3, "{:?}", began.elapsed());
    drop(slow);
}

#[test]
fn a_request_that_is_too_large_is_refused() {
    let it = running();
    let mut stream = it.connect();
    let line = format!("x: {}\r\n", "y".repeat(1000));
    let head = format!("GET /healthz HTTP/1.1\r\n{}", line.repeat(64));
    // The server may answer and close before it has read everything.
    let _ = stream.write_all(head.as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    assert_eq!(it.get("/healthz").0, 200, "others are served");
}
