//! Discovery without Docker's API: the daemon's own directory, listed and watched.
//!
//! Layout (moby `container/container.go`): `<dir>/<64 hex digits>/config.v2.json` says what the container is,
//! `hostconfig.json` beside it which log driver it has. Both are the daemon's private format, so they are read leniently:
//! unknown keys are passed over, missing ones have defaults, sizes are capped. The daemon replaces them by renaming.
//!
//! inotify wakes us; nothing is polled. Watched are the directory, and each container in it that is not decided yet: one
//! whose files are not there or not readable, or that does not match *and has never been started*. The last is for Compose,
//! which creates a container under a passing name and renames it before it starts it; labels cannot change, and a name
//! hardly does later. (A running container that a person renames to the target is noticed through the API, not here.)
//! Of all other containers only the id is kept: 32 bytes each on a host with thousands.
//!
//! The watch is set before the directory is listed, so that nothing appears unseen in between.
//!
//! It knows the rules only as a verdict, and nothing of tails, streams or the API.

use super::monitor::{Facts, Labels, Launch, Rules, Verdict, is_id, json_log_name};
use super::watch::{Watch, Watcher};
use super::{Event, short};
use crate::limits;
use inotify::WatchMask;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use std::borrow::Cow;
use std::collections::HashSet;
use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

const CONFIG: &str = "config.v2.json";
const HOST_CONFIG: &str = "hostconfig.json";

/// How often is looked where inotify cannot be had, and only there.
const POLL: Duration = Duration::from_secs(1);

/// What a person can do when the directory is missing or closed to us.
pub(super) const CURE: &str = "mount the host's /var/lib/docker/containers read-only and name it with DOCKER_CONTAINERS_DIR; \
     reading it needs root or the capability DAC_READ_SEARCH";

/// Follows the directory for ever, telling `events` what it finds. A missing directory is waited for.
pub(super) async fn discover(dir: PathBuf, rules: Arc<Rules>, watcher: Watcher, events: mpsc::Sender<Event>) {
    let closed = AtomicBool::new(false);
    let scout = Arc::new(Scout { dir, rules, watcher, events, closed });
    let mut discovery = Discovery { scout: scout.clone(), known: HashSet::new(), undecided: JoinSet::new() };
    let mut said = None;
    loop {
        let Err(error) = discovery.session(&mut said).await else { continue };
        // Whatever was in it is not there any more, as far as anybody can tell.
        discovery.forget_all().await;
        if said.replace(error.kind()) != Some(error.kind()) {
            tracing::warn!(dir = %scout.dir.display(), %error, "the containers directory cannot be read: {CURE}");
        }
        if error.kind() != io::ErrorKind::NotFound || !appears(&scout.watcher, &scout.dir).await {
            tokio::time::sleep(limits::BACKOFF_HELD).await;
        }
    }
}

/// Waits until `path` is there, by watching its nearest ancestor that is. `false` when there is nothing to watch.
pub(super) async fn appears(watcher: &Watcher, path: &Path) -> bool {
    let mask = WatchMask::CREATE | WatchMask::MOVED_TO | WatchMask::DELETE_SELF | WatchMask::MOVE_SELF;
    let nearest = || path.ancestors().skip(1).find(|ancestor| ancestor.is_dir());
    while !path.exists() {
        let Some(ancestor) = nearest() else { return false };
        let Ok(mut watch) = watcher.watch(ancestor, mask | WatchMask::ONLYDIR) else { return false };
        // What lies between may have appeared before the watch did.
        if !path.exists() && nearest() == Some(ancestor) {
            watch.changed().await;
        }
    }
    true
}

/// A watch, or where inotify cannot be had, the clock.
struct Alarm(Option<Watch>);

impl Alarm {
    fn set(watcher: &Watcher, path: &Path, mask: WatchMask) -> io::Result<Self> {
        match watcher.watch(path, mask | WatchMask::ONLYDIR) {
            Ok(watch) => Ok(Self(Some(watch))),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => {
                Err(error)
            }
            Err(error) => {
                tracing::debug!(path = %path.display(), %error, "no watch: looking once a second");
                Ok(Self(None))
            }
        }
    }

    async fn rings(&mut self) {
        match &mut self.0 {
            Some(watch) => watch.changed().await,
            None => tokio::time::sleep(POLL).await,
        }
    }

    /// The names that events carried.
    fn names(&mut self) -> Vec<OsString> {
        self.0.as_mut().map(Watch::take_names).unwrap_or_default()
    }
}

/// The state of discovery between sessions.
struct Discovery {
    scout: Arc<Scout>,
    /// Containers in the directory that need no further look, or have a task in `undecided`.
    known: HashSet<[u8; 32]>,
    /// One task for each container that is not decided yet.
    undecided: JoinSet<()>,
}

impl Discovery {
    /// Watches and lists the directory, and lists it again at each change: containers come and go seldom, a listing costs
    /// less than a millisecond, and names in events can get lost. Returns when another directory has taken its place.
    async fn session(&mut self, said: &mut Option<io::ErrorKind>) -> io::Result<()> {
        let coming = WatchMask::CREATE | WatchMask::MOVED_TO;
        let going = WatchMask::DELETE | WatchMask::MOVED_FROM | WatchMask::DELETE_SELF | WatchMask::MOVE_SELF;
        let mut alarm = Alarm::set(&self.scout.watcher, &self.scout.dir, coming | going)?;
        let place = |dir: &Path| std::fs::metadata(dir).map(|dir| (dir.dev(), dir.ino()));
        let watched = place(&self.scout.dir)?;
        let mut settled = true;
        loop {
            self.list(settled).await?;
            *said = None;
            settled = false;
            alarm.rings().await;
            drop(alarm.names());
            if place(&self.scout.dir)? != watched {
                return Ok(());
            }
        }
    }

    /// Looks at every container that was not in the directory before, and notices those that no longer are.
    /// `settled`: their files have been there for a while.
    async fn list(&mut self, settled: bool) -> io::Result<()> {
        let mut gone = self.known.clone();
        for entry in std::fs::read_dir(&self.scout.dir)? {
            let name = entry?.file_name();
            let Some((name, id)) = name.to_str().and_then(|name| Some((name, packed(name)?))) else { continue };
            gone.remove(&id);
            if !self.known.insert(id) {
                continue;
            }
            if !self.scout.decide(name, settled).await {
                let (scout, name) = (self.scout.clone(), name.to_owned());
                self.undecided.spawn(async move { scout.await_decision(&name).await });
            }
            // Thousands of them take a while, and the runtime has other work.
            tokio::task::yield_now().await;
        }
        for id in gone {
            self.known.remove(&id);
            self.scout.tell(Event::Gone(unpacked(id))).await;
        }
        while self.undecided.try_join_next().is_some() {}
        Ok(())
    }

    /// Tells that every container is gone.
    async fn forget_all(&mut self) {
        for id in std::mem::take(&mut self.known) {
            self.scout.tell(Event::Gone(unpacked(id))).await;
        }
    }
}

/// What looking at a container needs.
struct Scout {
    dir: PathBuf,
    rules: Arc<Rules>,
    watcher: Watcher,
    events: mpsc::Sender<Event>,
    /// Whether it has been said that files are closed to us; once is enough for a thousand containers.
    closed: AtomicBool,
}

impl Scout {
    async fn tell(&self, event: Event) {
        // The collector is gone only when everything ends.
        let _ = self.events.send(event).await;
    }

    /// Reads a container's files and tells when it is to be collected. `false` when that cannot be said yet.
    async fn decide(&self, id: &str, settled: bool) -> bool {
        let facts = match read_facts(&self.dir, id) {
            Ok(facts) => facts,
            Err(error) => {
                self.complain(id, &error, settled);
                return false;
            }
        };
        match self.rules.judge(&facts) {
            Verdict::Collect => {
                self.tell(Event::Found(Box::new(facts))).await;
                true
            }
            Verdict::Other => facts.started,
            Verdict::Disabled => {
                tracing::info!(container = facts.name, "not collected: label rask.enabled is false");
                true
            }
            Verdict::Own => {
                tracing::info!(container = facts.name, "not collected: this is the forwarder itself");
                true
            }
        }
    }

    fn complain(&self, id: &str, error: &io::Error, settled: bool) {
        let short = short(id);
        match error.kind() {
            io::ErrorKind::NotFound => {}
            io::ErrorKind::PermissionDenied if !self.closed.swap(true, Ordering::Relaxed) => {
                tracing::warn!(container = short, %error, "containers cannot be looked at: {CURE}");
            }
            io::ErrorKind::PermissionDenied => {}
            _ if settled => tracing::warn!(container = short, %error, "container's configuration is not understood"),
            _ => {}
        }
    }

    /// Looks again whenever the container's files change, until it is decided or gone.
    async fn await_decision(&self, id: &str) {
        let mask = WatchMask::MOVED_TO | WatchMask::CLOSE_WRITE | WatchMask::DELETE_SELF | WatchMask::MOVE_SELF;
        let path = self.dir.join(id);
        let mut alarm = match Alarm::set(&self.watcher, &path, mask) {
            Ok(alarm) => alarm,
            Err(error) => return self.complain(id, &error, true),
        };
        let mut settled = false;
        while path.is_dir() && !self.decide(id, settled).await {
            alarm.rings().await;
            // Both files come by rename or are closed after writing: what cannot be read then is not half-written.
            settled = alarm.names().iter().any(|name| name == CONFIG || name == HOST_CONFIG);
        }
    }
}

/// Reads all that the directory tells, for the survey. One container's error does not hide the others.
pub(super) fn everything(dir: &Path) -> io::Result<Vec<(String, io::Result<Facts>)>> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        if let Some(id) = entry?.file_name().to_str().filter(|name| is_id(name)) {
            all.push((id.to_owned(), read_facts(dir, id)));
        }
    }
    Ok(all)
}

/// Reads what the directory tells of container `id`.
///
/// # Errors
/// `NotFound` while a file is missing, `InvalidData` when one is not understood or too large, or what the system says.
pub(super) fn read_facts(dir: &Path, id: &str) -> io::Result<Facts> {
    let dir = dir.join(id);
    let config: ConfigV2 = read_json(&dir.join(CONFIG))?;
    let started = config.state.and_then(|state| state.started_at).is_some_and(|at| !at.starts_with("0001-"));
    let log = match read_json::<HostConfig>(&dir.join(HOST_CONFIG)) {
        Ok(host) => host.log_config.unwrap_or_default(),
        // Written before the container starts; when it is still missing then, the driver is the default one.
        Err(error) if started && error.kind() == io::ErrorKind::NotFound => LogConfig::default(),
        Err(error) => return Err(error),
    };
    let inner = config.config.unwrap_or_default();
    let driver = log.driver.filter(|driver| !driver.is_empty());
    let argv = config.path.into_iter().chain(config.args.unwrap_or_default()).collect();
    let log_path = config.log_path.unwrap_or_default();
    Ok(Facts {
        id: id.to_owned(),
        name: config.name.unwrap_or_default().trim_start_matches('/').to_owned(),
        labels: inner.labels.unwrap_or_default(),
        tty: inner.tty.unwrap_or_default(),
        log_driver: driver.unwrap_or_else(|| "json-file".into()),
        max_size: log.config.and_then(|options| options.max_size).filter(|size| !size.is_empty()),
        log_file: log_file(&log_path, id),
        started,
        launch: Launch { argv, env: inner.env.unwrap_or_default() },
    })
}

/// The log's name in the container's directory. Docker's path is the daemon's view; only its last part holds for our mount.
pub(super) fn log_file(log_path: &str, id: &str) -> OsString {
    Path::new(log_path).file_name().map_or_else(|| json_log_name(id), ToOwned::to_owned)
}

fn read_json<T: for<'de> Deserialize<'de>>(path: &Path) -> io::Result<T> {
    let mut text = Vec::new();
    let limit = limits::CONTAINER_CONFIG_BYTES;
    std::fs::File::open(path)?.take(limit + 1).read_to_end(&mut text)?;
    let name = path.file_name().unwrap_or_default().display();
    if text.len() as u64 > limit {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("{name} is larger than {limit} bytes")));
    }
    // serde's message names the place; it can quote a string where another type should be, so it stays out.
    serde_json::from_slice(&text).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        io::Error::new(io::ErrorKind::InvalidData, format!("{name} is not understood at line {line} column {column}"))
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ConfigV2 {
    name: Option<String>,
    path: Option<String>,
    args: Option<Vec<String>>,
    log_path: Option<String>,
    state: Option<State>,
    config: Option<Inner>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct State {
    started_at: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Inner {
    tty: Option<bool>,
    env: Option<Vec<String>>,
    labels: Option<Labels>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HostConfig {
    log_config: Option<LogConfig>,
}

#[derive(Default, Deserialize)]
struct LogConfig {
    #[serde(rename = "Type")]
    driver: Option<String>,
    #[serde(rename = "Config")]
    config: Option<DriverOptions>,
}

#[derive(Deserialize)]
struct DriverOptions {
    #[serde(rename = "max-size")]
    max_size: Option<String>,
}

/// Keeps the labels that matter and passes over the others, which can be megabytes.
impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Labels;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("labels")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Labels, A::Error> {
                let mut labels = Labels::default();
                while let Some(key) = map.next_key::<Cow<'_, str>>()? {
                    if Labels::wants(&key) {
                        labels.set(&key, &map.next_value::<Cow<'_, str>>()?);
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
                Ok(labels)
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

/// An id in half the space; `None` when `name` is not an id.
fn packed(name: &str) -> Option<[u8; 32]> {
    let mut id = [0; 32];
    for (byte, digits) in id.iter_mut().zip(name.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    is_id(name).then_some(id)
}

fn unpacked(id: [u8; 32]) -> String {
    use std::fmt::Write;
    id.iter().fold(String::with_capacity(64), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::super::monitor::Own;
    use super::*;
    use serde_json::{Value, json};
    use std::fs;
    use tokio::time::timeout;

    /// A containers directory as the daemon lays it out.
    struct Layout {
        _root: tempfile::TempDir,
        dir: PathBuf,
    }

    impl Layout {
        fn new() -> Self {
            let root = tempfile::tempdir().unwrap();
            let dir = root.path().join("docker/containers");
            fs::create_dir_all(&dir).unwrap();
            Self { _root: root, dir }
        }

        fn create(&self, id: &str) {
            fs::create_dir(self.dir.join(id)).unwrap();
        }

        /// As the daemon writes: a temporary file, then a rename.
        fn put(&self, id: &str, file: &str, text: impl AsRef<[u8]>) {
            let temporary = self.dir.join(id).join(format!(".tmp-{file}123"));
            fs::write(&temporary, text).unwrap();
            fs::rename(temporary, self.dir.join(id).join(file)).unwrap();
        }

        fn configure(&self, id: &str, name: &str, labels: &Value, started: bool) {
            self.put(id, HOST_CONFIG, HOST);
            self.put(id, CONFIG, config(id, name, labels, started).to_string());
        }

        fn container(&self, id: &str, name: &str, labels: &Value) {
            self.create(id);
            self.configure(id, name, labels, true);
        }
    }

    const HOST: &str = r#"{"Binds":null,"LogConfig":{"Type":"json-file","Config":{"max-file":"3","max-size":"1m"}}}"#;

    fn config(id: &str, name: &str, labels: &Value, started: bool) -> Value {
        let started_at = if started { "2026-11-21T13:32:37.672982723Z" } else { "0001-01-01T00:00:00Z" };
        json!({
            "StreamConfig": {}, "State": {"Running": started, "StartedAt": started_at, "Health": null}, "ID": id,
            "Path": "/bin/app", "Args": ["-v"], "Name": format!("/{name}"), "SecretReferences": null,
            "LogPath": format!("/var/lib/docker/containers/{id}/{id}-json.log"),
            "Config": {"Tty": false, "Env": null, "Labels": labels, "Volumes": null},
        })
    }

    fn id(n: u8) -> String {
        format!("{n:02x}").repeat(32)
    }

    fn web() -> Value {
        json!({"com.docker.compose.service": "web"})
    }

    struct Running {
        events: mpsc::Receiver<Event>,
        task: tokio::task::JoinHandle<()>,
    }

    impl Running {
        fn start(dir: &Path) -> Self {
            let (sender, events) = mpsc::channel(super::super::EVENTS);
            let rules = Arc::new(Rules::new("web", Own::default()));
            let watcher = Watcher::start().unwrap();
            Self { events, task: tokio::spawn(discover(dir.to_owned(), rules, watcher, sender)) }
        }

        async fn next(&mut self) -> (char, String) {
            match timeout(Duration::from_secs(10), self.events.recv()).await.expect("an event").unwrap() {
                Event::Found(facts) => ('+', facts.id),
                Event::Gone(id) => ('-', id),
                Event::Started(id) => ('s', id),
            }
        }

        /// Lets everything that is ready happen, then makes sure that nothing was told.
        async fn quiet(&mut self) {
            assert!(timeout(Duration::from_millis(30), self.events.recv()).await.is_err());
        }
    }

    impl Drop for Running {
        fn drop(&mut self) {
            self.task.abort();
        }
    }

    #[tokio::test]
    async fn finds_what_is_there_and_what_comes() {
        let layout = Layout::new();
        layout.container(&id(1), "shop-web-1", &web());
        layout.container(&id(2), "shop-db-1", &json!({"com.docker.compose.service": "db"}));
        layout.container(&id(3), "quiet", &json!({"rask.service": "web", "rask.enabled": "false"}));
        fs::write(layout.dir.join("not-a-container"), "").unwrap();
        let mut running = Running::start(&layout.dir);
        assert_eq!(running.next().await, ('+', id(1)));
        running.quiet().await;
        // A replica, and the service re-created under a new id.
        layout.container(&id(4), "shop-web-2", &web());
        assert_eq!(running.next().await, ('+', id(4)));
        fs::remove_dir_all(layout.dir.join(id(1))).unwrap();
        assert_eq!(running.next().await, ('-', id(1)));
        layout.container(&id(5), "shop-web-1", &web());
        assert_eq!(running.next().await, ('+', id(5)));
        // Rewritten files of a container that is decided wake nobody.
        layout.configure(&id(4), "shop-web-2", &web(), true);
        running.quiet().await;
    }

    #[tokio::test]
    async fn waits_until_a_container_can_be_decided() {
        let layout = Layout::new();
        let mut running = Running::start(&layout.dir);
        layout.create(&id(1));
        running.quiet().await;
        layout.put(&id(1), CONFIG, "{\"Name\": ");
        running.quiet().await;
        layout.put(&id(1), CONFIG, config(&id(1), "web", &Value::Null, false).to_string());
        running.quiet().await;
        layout.put(&id(1), HOST_CONFIG, HOST);
        assert_eq!(running.next().await, ('+', id(1)));
        // Written in place rather than renamed.
        layout.create(&id(2));
        fs::write(layout.dir.join(id(2)).join(HOST_CONFIG), HOST).unwrap();
        fs::write(layout.dir.join(id(2)).join(CONFIG), config(&id(2), "x", &web(), true).to_string()).unwrap();
        assert_eq!(running.next().await, ('+', id(2)));
    }

    #[tokio::test]
    async fn renamed_before_its_start() {
        let layout = Layout::new();
        let mut running = Running::start(&layout.dir);
        layout.create(&id(1));
        layout.configure(&id(1), "0123abcd_web", &Value::Null, false);
        layout.create(&id(2));
        layout.configure(&id(2), "other", &Value::Null, false);
        running.quiet().await;
        layout.configure(&id(1), "web", &Value::Null, false);
        assert_eq!(running.next().await, ('+', id(1)));
        layout.configure(&id(2), "other", &Value::Null, true);
        running.quiet().await;
    }

    #[tokio::test]
    async fn garbage_hides_nothing() {
        let layout = Layout::new();
        layout.container(&id(1), "web", &json!([1, 2]));
        layout.create(&id(2));
        layout.put(&id(2), HOST_CONFIG, HOST);
        layout.put(&id(2), CONFIG, vec![b' '; limits::CONTAINER_CONFIG_BYTES as usize + 1]);
        layout.create(&id(3));
        layout.put(&id(3), CONFIG, [0xff, 0, b'{']);
        fs::create_dir_all(layout.dir.join(id(4)).join(CONFIG)).unwrap();
        std::os::unix::fs::symlink("/nowhere", layout.dir.join(id(6))).unwrap();
        layout.container(&id(5), "web", &Value::Null);
        let mut running = Running::start(&layout.dir);
        assert_eq!(running.next().await, ('+', id(5)));
        running.quiet().await;
        layout.put(&id(2), CONFIG, config(&id(2), "web", &Value::Null, true).to_string());
        assert_eq!(running.next().await, ('+', id(2)));
    }

    #[tokio::test]
    async fn the_directory_itself_comes_and_goes() {
        let layout = Layout::new();
        let docker = layout.dir.parent().unwrap().to_owned();
        fs::remove_dir_all(&docker).unwrap();
        let mut running = Running::start(&layout.dir);
        running.quiet().await;
        fs::create_dir(&docker).unwrap();
        fs::create_dir(&layout.dir).unwrap();
        layout.container(&id(1), "web", &Value::Null);
        assert_eq!(running.next().await, ('+', id(1)));
        // Another directory in its place.
        fs::rename(&layout.dir, docker.join("away")).unwrap();
        assert_eq!(running.next().await, ('-', id(1)));
        fs::create_dir(&layout.dir).unwrap();
        layout.container(&id(2), "web", &Value::Null);
        assert_eq!(running.next().await, ('+', id(2)));
    }

    #[test]
    fn facts_table() {
        let layout = Layout::new();
        let id = id(1);
        layout.create(&id);
        let read = || read_facts(&layout.dir, &id);
        assert_eq!(read().unwrap_err().kind(), io::ErrorKind::NotFound);
        layout.configure(&id, "web", &json!({"rask.group": "shop", "long": "x".repeat(100_000)}), false);
        let facts = read().unwrap();
        assert_eq!((facts.name.as_str(), facts.tty, facts.started), ("web", false, false));
        assert_eq!((facts.log_driver.as_str(), facts.max_size.as_deref()), ("json-file", Some("1m")));
        assert_eq!(facts.log_file, json_log_name(&id));
        assert_eq!(facts.labels.group.as_deref(), Some("shop"));
        assert_eq!(facts.launch.argv, ["/bin/app", "-v"]);
        let host = |text: &str, driver: &str, max_size: Option<&str>| {
            layout.put(&id, HOST_CONFIG, text);
            let facts = read().unwrap();
            assert_eq!((facts.log_driver.as_str(), facts.max_size.as_deref()), (driver, max_size), "{text}");
        };
        host(r#"{"LogConfig":{"Type":"local","Config":{}}}"#, "local", None);
        host(r#"{"LogConfig":{"Type":"journald","Config":null},"x":[{}]}"#, "journald", None);
        host(r#"{"LogConfig":{"Type":"","Config":{"max-size":""}}}"#, "json-file", None);
        host("{}", "json-file", None);
        let config = |text: &str, name: &str, log_file: &str| {
            layout.put(&id, CONFIG, text);
            let facts = read().unwrap();
            assert_eq!((facts.name.as_str(), facts.log_file.to_str()), (name, Some(log_file)), "{text}");
        };
        let usual = format!("{id}-json.log");
        config("{}", "", &usual);
        config(r#"{"Name":"/a","LogPath":"","Config":null,"State":null}"#, "a", &usual);
        config(r#"{"Name":"a","LogPath":"/data/x/y-json.log"}"#, "a", "y-json.log");
        config(r#"{"Name":"/a","LogPath":"../.."}"#, "a", &usual);
        layout.put(&id, CONFIG, r#"{"Name":"/a","Config":{"Env":["PASSWORD=secret", 5]}}"#);
        let error = read().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert!(!error.to_string().contains("secret"), "{error}");
    }

    #[test]
    fn ids_come_back() {
        let id = "01ac62866fe459a03f4294168b8e439a83462d94b926dd117f31cd7fe8557da6";
        assert_eq!(packed(id).map(unpacked).as_deref(), Some(id));
        for bad in
            ["", &id[1..], &id.to_uppercase(), &format!("{id}00"), &id.replace('0', "é"), &id.replace("01", "+1")]
        {
            assert_eq!(packed(bad), None, "{bad}");
        }
    }
}
