//! For tests: as much of Docker's API as the collector uses, on a socket in a temporary directory.
//!
//! It answers as Docker 20.10 does where it matters: `since` hides each older message, a followed log ends when its container
//! stops, events are kept and sent again from `since` on.

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Nanoseconds in a second.
pub(super) const S: u64 = 1_000_000_000;

/// A container as the daemon knows it.
#[derive(Clone, Default)]
pub(super) struct Fake {
    pub(super) name: String,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) driver: String,
    pub(super) tty: bool,
    pub(super) running: bool,
    /// Time in nanoseconds, whether it is stderr, and the message.
    pub(super) log: Vec<(u64, bool, Vec<u8>)>,
}

#[derive(Default)]
struct State {
    containers: BTreeMap<String, Fake>,
    events: Vec<Value>,
    /// Connections of an earlier epoch are cut.
    epoch: u64,
    /// How often logs were asked for.
    log_requests: Vec<u64>,
    /// Requests whose path ends like this are never answered.
    hangs_at: Option<&'static str>,
    /// Whether there was one.
    hangs: bool,
}

/// The daemon; it ends when dropped.
pub(super) struct Daemon {
    pub(super) socket: PathBuf,
    state: Arc<Mutex<State>>,
    changed: watch::Sender<()>,
    server: Option<JoinHandle<()>>,
    _dir: tempfile::TempDir,
}

impl Daemon {
    pub(super) fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("docker.sock");
        let (changed, _) = watch::channel(());
        let mut daemon = Self { socket, state: Arc::default(), changed, server: None, _dir: dir };
        daemon.listen();
        daemon
    }

    /// Begins to listen (again).
    pub(super) fn listen(&mut self) {
        let listener = UnixListener::bind(&self.socket).unwrap();
        let (state, changed) = (self.state.clone(), self.changed.clone());
        self.server = Some(tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let connection =
                    Connection { stream, state: state.clone(), changed: changed.subscribe(), tell: changed.clone() };
                tokio::spawn(connection.serve());
            }
        }));
    }

    /// Cuts all connections and takes the socket away, as a daemon that is stopped.
    pub(super) fn go_away(&mut self) {
        self.server.take().unwrap().abort();
        std::fs::remove_file(&self.socket).unwrap();
        self.cut();
    }

    /// Cuts all connections.
    pub(super) fn cut(&self) {
        self.change(|state| state.epoch += 1);
    }

    fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut lock(&self.state));
        self.changed.send_replace(());
        result
    }

    pub(super) fn create(&self, id: &str, container: Fake) {
        self.change(|state| state.containers.insert(id.to_owned(), container));
        self.tell(id, "create");
    }

    /// Appends to a container's log.
    pub(super) fn log(&self, id: &str, lines: impl IntoIterator<Item = (u64, bool, Vec<u8>)>) {
        self.change(|state| state.containers.get_mut(id).unwrap().log.extend(lines));
    }

    /// Drops the oldest lines of a container's log.
    pub(super) fn rotate(&self, id: &str, lines: usize) {
        self.change(|state| drop(state.containers.get_mut(id).unwrap().log.drain(..lines)));
    }

    /// Starts or stops a container.
    pub(super) fn run(&self, id: &str, running: bool) {
        self.change(|state| state.containers.get_mut(id).unwrap().running = running);
        self.tell(id, if running { "start" } else { "die" });
    }

    pub(super) fn rename(&self, id: &str, name: &str) {
        self.change(|state| state.containers.get_mut(id).unwrap().name = name.to_owned());
        self.tell(id, "rename");
    }

    pub(super) fn remove(&self, id: &str) {
        self.tell(id, "destroy");
        self.change(|state| state.containers.remove(id));
    }

    /// Leaves requests without an answer whose path ends in `question`, and keeps their connections.
    pub(super) fn hang_at(&self, question: &'static str) {
        self.change(|state| state.hangs_at = Some(question));
    }

    /// Waits until such a request is there.
    pub(super) async fn until_it_hangs(&self) {
        let mut changed = self.changed.subscribe();
        while !lock(&self.state).hangs {
            changed.changed().await.unwrap();
        }
    }

    /// `since` of each request for logs, in the order they came.
    pub(super) fn log_requests(&self) -> Vec<u64> {
        lock(&self.state).log_requests.clone()
    }

    fn tell(&self, id: &str, action: &str) {
        self.change(|state| {
            let container = &state.containers[id];
            let mut attributes = container.labels.clone();
            attributes.insert("name".into(), container.name.clone());
            let actor = json!({"ID": id, "Attributes": attributes});
            state.events.push(json!({"Type": "container", "Action": action, "Actor": actor, "scope": "local"}));
        });
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            server.abort();
        }
        self.change(|state| state.epoch += 1);
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap()
}

struct Connection {
    stream: UnixStream,
    state: Arc<Mutex<State>>,
    changed: watch::Receiver<()>,
    tell: watch::Sender<()>,
}

impl Connection {
    async fn serve(mut self) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match self.stream.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => return,
            }
        }
        let head = String::from_utf8(head).unwrap();
        let url = head.split(' ').nth(1).unwrap();
        let (path, query) = url.split_once('?').unwrap_or((url, ""));
        // `/v1.41/containers/…` once the version is negotiated.
        let path: Vec<&str> = path.split('/').skip_while(|part| part.is_empty() || part.starts_with("v1.")).collect();
        let value = |key: &str| {
            let pair = query.split('&').find_map(|pair| pair.strip_prefix(key)?.strip_prefix('='));
            pair.unwrap_or_default().to_owned()
        };
        if lock(&self.state).hangs_at.is_some_and(|question| path.last() == Some(&question)) {
            lock(&self.state).hangs = true;
            self.tell.send_replace(());
            return std::future::pending().await;
        }
        match path[..] {
            ["version"] => self.answer(Some(json!({"ApiVersion": "1.41"}))).await,
            ["containers", "json"] => {
                let all = self.list(&value("filters"));
                self.answer(Some(all)).await;
            }
            ["containers", id, "json"] => {
                let found = lock(&self.state).containers.get(id).map(|container| inspected(id, container));
                self.answer(found).await;
            }
            ["containers", id, "logs"] if lock(&self.state).containers.contains_key(id) => {
                let since = value("since").parse::<u64>().unwrap();
                lock(&self.state).log_requests.push(since);
                self.send_log(id, since * S, value("follow") == "true").await;
            }
            ["events"] => self.send_events().await,
            _ => self.answer(None).await,
        }
    }

    /// Sends the whole answer; `None` is 404.
    async fn answer(&mut self, body: Option<Value>) {
        let status = if body.is_some() { "200 OK" } else { "404 Not Found" };
        let body = body.unwrap_or_else(|| json!({"message": "No such container"})).to_string();
        let length = body.len();
        let _ = self.send(format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}").as_bytes()).await;
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), std::io::Error> {
        self.stream.write_all(bytes).await
    }

    /// By substring of the filter's JSON, which is percent-encoded: enough to tell targets apart.
    fn list(&self, filters: &str) -> Value {
        let state = lock(&self.state);
        let wanted = |container: &Fake| {
            let mut words = container.labels.values().chain([&container.name]);
            filters.is_empty() || words.any(|word| filters.contains(word.as_str()))
        };
        let found = state.containers.iter().filter(|(_, container)| wanted(container));
        found.map(|(id, c)| json!({"Id": id, "Names": [format!("/{}", c.name)], "Labels": c.labels})).collect()
    }

    async fn send_events(&mut self) {
        let epoch = lock(&self.state).epoch;
        let mut sent = 0;
        if self.send(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n").await.is_err() {
            return;
        }
        loop {
            let (text, now) = {
                let state = lock(&self.state);
                let text: String = state.events[sent..].iter().map(|event| format!("{event}\n")).collect();
                sent = state.events.len();
                (text, state.epoch)
            };
            if now != epoch || self.send(text.as_bytes()).await.is_err() || self.changed.changed().await.is_err() {
                return;
            }
        }
    }

    async fn send_log(&mut self, id: &str, since: u64, follow: bool) {
        let epoch = lock(&self.state).epoch;
        let mut sent = 0;
        if self.send(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n").await.is_err() {
            return;
        }
        loop {
            let (bytes, more) = {
                let state = lock(&self.state);
                let Some(container) = state.containers.get(id).filter(|_| state.epoch == epoch) else { return };
                let mut bytes = Vec::new();
                for (nanos, stderr, body) in &container.log[sent..] {
                    if *nanos >= since {
                        frame(&mut bytes, container.tty, *nanos, *stderr, body);
                    }
                }
                sent = container.log.len();
                (bytes, follow && container.running)
            };
            if self.send(&bytes).await.is_err() || !more || self.changed.changed().await.is_err() {
                return;
            }
        }
    }
}

fn frame(out: &mut Vec<u8>, tty: bool, nanos: u64, stderr: bool, body: &[u8]) {
    let message = [super::stream::time_text(nanos).as_bytes(), b" ", body].concat();
    if !tty {
        out.extend([if stderr { 2 } else { 1 }, 0, 0, 0]);
        out.extend((message.len() as u32).to_be_bytes());
    }
    out.extend(message);
}

fn inspected(id: &str, container: &Fake) -> Value {
    json!({
        "Id": id, "Name": format!("/{}", container.name), "Path": "/app", "Args": [], "LogPath": "",
        "State": {"Running": container.running, "StartedAt": "0001-01-01T00:00:00Z"},
        "Config": {"Tty": container.tty, "Labels": container.labels, "Env": ["A=b"]},
        "HostConfig": {"LogConfig": {"Type": container.driver, "Config": {}}},
    })
}
