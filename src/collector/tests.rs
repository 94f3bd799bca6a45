//! The run loop with both sources of discovery: a true containers directory and a fake daemon.

use super::fake_daemon::{Daemon, Fake, S};
use super::monitor::json_log_name;
use super::*;
use crate::buffer::Item;
use crate::position::{Generation, Range, Ranges};
use crate::source::SourceKey;
use serde_json::json;
use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(10);

fn id(n: u8) -> String {
    format!("{n:02x}").repeat(32)
}

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

fn compose(service: &str) -> BTreeMap<String, String> {
    labels(&[("com.docker.compose.service", service)])
}

/// One Docker host: the directory and the API show the same containers.
struct Host {
    root: tempfile::TempDir,
    daemon: Daemon,
}

impl Host {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("containers")).unwrap();
        Self { root, daemon: Daemon::start() }
    }

    fn dir(&self) -> PathBuf {
        self.root.path().join("containers")
    }

    fn create(&self, n: u8, container: Fake) {
        let (id, dir) = (id(n), self.dir().join(id(n)));
        fs::create_dir(&dir).unwrap();
        let driver = json!({"LogConfig": {"Type": container.driver, "Config": {"max-size": "1m"}}});
        let config = json!({
            "Name": format!("/{}", container.name), "Config": {"Labels": container.labels, "Tty": container.tty},
            "State": {"StartedAt": "0001-01-01T00:00:00Z"}, "LogPath": "",
        });
        for (name, content) in [("hostconfig.json", driver), ("config.v2.json", config)] {
            fs::write(dir.join(".tmp"), content.to_string()).unwrap();
            fs::rename(dir.join(".tmp"), dir.join(name)).unwrap();
        }
        self.daemon.create(&id, container);
        self.daemon.run(&id, true);
    }

    /// What the json-file driver does.
    fn log(&self, n: u8, text: &str) {
        let path = self.dir().join(id(n)).join(json_log_name(&id(n)));
        let mut file = fs::File::options().append(true).create(true).open(path).unwrap();
        writeln!(file, r#"{{"log":"{text}\n","stream":"stdout","time":"2026-11-21T13:32:37.672982723Z"}}"#).unwrap();
    }

    /// What other drivers do.
    fn log_elsewhere(&self, n: u8, text: &str) {
        self.daemon.log(&id(n), [(1_700_000_000 * S, false, format!("{text}\n").into_bytes())]);
    }

    fn remove(&self, n: u8) {
        fs::remove_dir_all(self.dir().join(id(n))).unwrap();
        self.daemon.remove(&id(n));
    }

    fn collect(&self, api: bool, positions: Positions) -> Collecting {
        let (queue, items) = queue::queue(1000, 1 << 20);
        let api = api.then(|| Api::Unix(self.daemon.socket.clone()));
        let metrics = Metrics::new();
        let reading = Reading::new(self.dir(), api, Watcher::start().unwrap(), positions, queue, metrics.clone());
        let collector = Collector { rules: Arc::new(Rules::new("web", Own::default())), reading };
        let (stop, stopped) = tokio::sync::watch::channel(false);
        Collecting { items, metrics, stop, task: tokio::spawn(collector.run(stopped)) }
    }
}

fn container(name: &str, driver: &str, labels: BTreeMap<String, String>) -> Fake {
    Fake { name: name.into(), driver: driver.into(), labels, ..Fake::default() }
}

struct Collecting {
    items: queue::Receiver,
    metrics: Metrics,
    stop: Sender<bool>,
    task: tokio::task::JoinHandle<()>,
}

impl Collecting {
    /// The next lines: container, its service, and text.
    async fn lines(&mut self, count: usize) -> Vec<(u8, String, String)> {
        let mut lines = Vec::new();
        while lines.len() < count {
            match timeout(PATIENCE, self.items.recv()).await.expect("a line").expect("a line") {
                Item::Chunk(chunk) => {
                    let container = &chunk.source.container;
                    let n = u8::from_str_radix(&container.id[..2], 16).unwrap();
                    for line in chunk.data.split_inclusive(|byte| *byte == b'\n') {
                        let line: serde_json::Value = serde_json::from_slice(line).unwrap();
                        let text = line["log"].as_str().unwrap().trim_end().to_owned();
                        lines.push((n, container.service.clone(), text));
                    }
                }
                Item::End(_) | Item::Over(_) => {}
                Item::Gap(gap) => panic!("{gap:?}"),
            }
        }
        lines.sort();
        lines
    }

    async fn expect(&mut self, expected: &[(u8, &str, &str)]) {
        let lines = self.lines(expected.len()).await;
        let lines: Vec<_> = lines.iter().map(|(n, service, text)| (*n, service.as_str(), text.as_str())).collect();
        assert_eq!(lines, expected);
    }

    /// Waits until so many containers are followed.
    async fn followed(&self, count: i64) {
        let reached = async {
            while self.metrics.containers.get() != count {
                tokio::task::yield_now().await;
            }
        };
        timeout(PATIENCE, reached).await.expect("containers followed");
    }

    /// Stops, and expects nothing more than these lines.
    async fn end_with(mut self, expected: &[(u8, &str, &str)]) {
        self.stop.send(true).unwrap();
        self.expect(expected).await;
        timeout(PATIENCE, self.task).await.expect("an end").unwrap();
        while let Some(item) = self.items.recv().await {
            assert!(matches!(item, Item::End(_) | Item::Over(_)), "{item:?}");
        }
    }
}

#[tokio::test]
async fn both_sources_and_each_container_once() {
    let host = Host::new();
    host.create(1, container("shop-web-1", "json-file", compose("web")));
    host.create(2, container("shop-db-1", "json-file", compose("db")));
    host.log(1, "a");
    host.log(2, "b");
    let mut collecting = host.collect(true, Positions::default());
    collecting.expect(&[(1, "web", "a")]).await;
    // A replica with another driver, and one by its label.
    host.create(3, container("shop-web-2", "local", compose("web")));
    host.create(4, container("x", "json-file", labels(&[("rask.service", "web")])));
    host.log_elsewhere(3, "c");
    host.log(4, "d");
    collecting.expect(&[(3, "web", "c"), (4, "web", "d")]).await;
    collecting.followed(3).await;
    host.create(5, container("quiet", "json-file", labels(&[("rask.service", "web"), ("rask.enabled", "false")])));
    host.create(6, container("mute", "none", labels(&[("rask.service", "web")])));
    host.log(5, "e");
    // Stopping, removal, re-creation.
    host.remove(1);
    host.remove(3);
    collecting.followed(1).await;
    host.create(7, container("shop-web-1", "json-file", compose("web")));
    host.log(7, "g");
    collecting.expect(&[(7, "web", "g")]).await;
    host.log(4, "last");
    collecting.end_with(&[(4, "web", "last")]).await;
}

#[tokio::test]
async fn directory_alone() {
    let host = Host::new();
    host.create(1, container("web", "json-file", BTreeMap::new()));
    host.create(2, container("x", "local", compose("web")));
    host.log(1, "a");
    host.log_elsewhere(2, "nobody can read this");
    let mut collecting = host.collect(false, Positions::default());
    collecting.expect(&[(1, "web", "a")]).await;
    host.create(3, container("y", "json-file", compose("web")));
    host.log(3, "c");
    collecting.expect(&[(3, "web", "c")]).await;
    collecting.followed(2).await;
    collecting.end_with(&[]).await;
}

/// The mount was away for a moment, while the receiver was.
#[tokio::test]
async fn a_directory_that_comes_back_while_its_lines_wait_is_followed_again() {
    for api in [false, true] {
        let host = Host::new();
        host.create(1, container("web", "json-file", compose("web")));
        for n in 0..3000 {
            host.log(1, &format!("{n:04}"));
        }
        let mut collecting = host.collect(api, Positions::default());
        collecting.followed(1).await;
        let (dir, away) = (host.dir().join(id(1)), host.root.path().join("away"));
        // The queue holds a third of the lines at most.
        while collecting.metrics.lines_read.get() == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        fs::rename(&dir, &away).unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
        fs::rename(&away, &dir).unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
        let lines = collecting.lines(3000).await;
        assert!(lines.iter().enumerate().all(|(n, line)| line.2 == format!("{n:04}")), "each once");
        host.log(1, "after");
        collecting.expect(&[(1, "web", "after")]).await;
        collecting.end_with(&[]).await;
    }
}

#[tokio::test]
async fn api_alone_through_renames_and_a_daemon_that_restarts() {
    let mut host = Host::new();
    fs::remove_dir(host.dir()).unwrap();
    let daemon = &host.daemon;
    daemon.create(&id(1), container("0123abcd_web", "json-file", BTreeMap::new()));
    daemon.create(&id(2), container("webster", "json-file", BTreeMap::new()));
    host.log_elsewhere(1, "a");
    host.log_elsewhere(2, "b");
    let mut collecting = host.collect(true, Positions::default());
    host.daemon.rename(&id(1), "web");
    host.daemon.run(&id(1), true);
    collecting.expect(&[(1, "web", "a")]).await;
    host.daemon.go_away();
    host.daemon.create(&id(3), container("z", "json-file", compose("web")));
    host.log_elsewhere(3, "c");
    host.daemon.listen();
    collecting.expect(&[(3, "web", "c")]).await;
    collecting.followed(2).await;
    host.daemon.remove(&id(1));
    collecting.followed(1).await;
    collecting.end_with(&[]).await;
}

#[tokio::test]
async fn what_was_streamed_goes_on_by_stream() {
    let host = Host::new();
    let fake = Fake { running: true, ..container("web", "json-file", BTreeMap::new()) };
    let positions = |to: u64| {
        let key = SourceKey { container: id(1), generation: Generation::STREAMED };
        Positions::new(HashMap::from([(key, [Range::new(0, to)].into_iter().collect::<Ranges>())]))
    };
    host.create(1, fake);
    host.log(1, "a");
    host.daemon.log(&id(1), [(1_700_000_000 * S, false, b"a\n".to_vec())]);
    host.daemon.log(&id(1), [(1_700_000_001 * S, false, b"b\n".to_vec())]);
    let mut collecting = host.collect(true, positions(1_700_000_000 * S + 1));
    collecting.expect(&[(1, "web", "b")]).await;
    collecting.end_with(&[]).await;
}

#[tokio::test]
async fn survey_tells_what_and_how() {
    let host = Host::new();
    host.create(1, container("shop-web-1", "json-file", compose("web")));
    host.create(2, container("shop-db-1", "json-file", compose("db")));
    host.create(3, container("quiet", "json-file", labels(&[("rask.service", "web"), ("rask.enabled", "false")])));
    host.create(4, container("shop-web-2", "local", compose("web")));
    host.daemon.create(&id(5), container("webster", "json-file", BTreeMap::new()));
    fs::create_dir(host.dir().join(id(6))).unwrap();
    fs::write(host.dir().join(id(6)).join("config.v2.json"), "{").unwrap();
    let rules = Rules::new("web", Own::default());
    let api = Api::Unix(host.daemon.socket.clone());
    let by_name = |name: &str, service: &str| (name.to_owned(), service.to_owned());
    let found = |survey: &Survey| {
        let one = |c: &survey::Surveyed| (c.container.name.clone(), c.in_directory, c.in_api, c.log.clone());
        survey.containers.iter().map(one).collect::<Vec<_>>()
    };

    let both = survey::look(&host.dir(), Some(&api), &rules).await;
    let log = host.dir().join(id(1)).join(json_log_name(&id(1)));
    let file = Ok(survey::LogAccess::File(log));
    let first = |in_api: bool| ("shop-web-1".to_owned(), true, in_api, file.clone());
    assert_eq!(found(&both), [first(true), ("shop-web-2".to_owned(), true, true, Ok(survey::LogAccess::Stream))]);
    assert_eq!(both.others, [by_name("shop-db-1", "db"), by_name("webster", "webster")]);
    assert_eq!(both.excluded, [by_name("quiet", "label rask.enabled is false")]);
    assert_eq!((both.directory, both.problems.len()), (Ok(5), 1));
    assert!(both.api.unwrap().unwrap().ends_with("version 1.41"));

    let alone = survey::look(&host.dir(), None, &rules).await;
    assert_eq!(found(&alone)[0], first(false));
    assert!(alone.containers[1].log.as_ref().unwrap_err().contains("DOCKER_HOST") && alone.api.is_none());
    assert_eq!(alone.others, [by_name("shop-db-1", "db")]);

    let nothing = host.root.path().join("nothing");
    let broken = survey::look(&nothing, Some(&Api::Unix(nothing.join("docker.sock"))), &rules).await;
    assert!(broken.directory.unwrap_err().contains("DOCKER_CONTAINERS_DIR"));
    assert!(broken.api.unwrap().unwrap_err().contains("docker.sock") && broken.containers.is_empty());
}

#[test]
fn ways_table() {
    let root = tempfile::tempdir().unwrap();
    let api = Api::Tcp("tcp://127.0.0.1:1".into());
    let facts = |n: u8, driver: &str| Facts {
        id: id(n),
        log_driver: driver.into(),
        log_file: json_log_name(&id(n)),
        ..Facts::default()
    };
    let (unstarted, started, closed, absent) = (1, 2, 3, 4);
    for n in [unstarted, started, closed] {
        fs::create_dir(root.path().join(id(n))).unwrap();
    }
    let log = |n: u8| root.path().join(id(n)).join(json_log_name(&id(n)));
    fs::write(log(started), "").unwrap();
    // A link to itself cannot be opened, not even by root.
    std::os::unix::fs::symlink(log(closed), log(closed)).unwrap();
    let check = |n: u8, driver: &str, with_api: bool, streamed: bool, expected: Result<Way, &str>| {
        let way = way(&facts(n, driver), root.path(), with_api.then_some(&api), streamed, false);
        match (way, expected) {
            (Err(why), Err(part)) => assert!(why.contains(part), "{why}"),
            (way, expected) => assert_eq!(way.ok(), expected.ok(), "{n} {driver} {with_api} {streamed}"),
        }
    };
    let (file, stream) = (|n| Ok(Way::File(log(n))), || Ok(Way::Stream(api.clone())));
    check(started, "json-file", true, false, file(started));
    check(started, "json-file", false, false, file(started));
    check(started, "json-file", true, true, stream());
    check(started, "json-file", false, true, file(started));
    check(unstarted, "json-file", true, false, file(unstarted));
    check(closed, "json-file", true, false, stream());
    check(closed, "json-file", false, false, Err("DOCKER_CONTAINERS_DIR"));
    check(absent, "json-file", true, false, stream());
    check(absent, "json-file", false, false, Err("DOCKER_CONTAINERS_DIR"));
    check(started, "local", true, false, stream());
    check(started, "journald", false, false, Err("journald"));
    check(started, "none", true, false, Err("none"));
    let why = way(&facts(closed, "json-file"), root.path(), Some(&api), false, true).unwrap_err();
    assert!(why.contains("read from its file before"), "not all of it once more by stream: {why}");
    let absent_api = Api::Unix(root.path().join("docker.sock"));
    let why = way(&facts(started, "local"), root.path(), Some(&absent_api), false, false).unwrap_err();
    assert!(why.contains("docker.sock: mount the host's socket"), "{why}");
}

#[test]
fn pauses_grow_to_a_bound_and_start_again() {
    let mut backoff = Backoff::default();
    assert!(backoff.is_fresh() && backoff.length() <= limits::BACKOFF_FIRST && !backoff.is_fresh());
    let longest = (0..200).map(|_| backoff.length()).max().unwrap();
    assert!(longest > limits::BACKOFF_MAX / 2 && longest <= limits::BACKOFF_MAX, "{longest:?}");
    backoff.reset();
    assert!(backoff.is_fresh() && backoff.length() <= limits::BACKOFF_FIRST);
}
