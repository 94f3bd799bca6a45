//! Finds the containers of one service and reads their logs into the queue.
//!
//! Two sources of discovery run side by side: the containers directory (`containers_dir`), always, since it needs nothing but
//! a read-only mount; and Docker's events (`docker`), where the API is reachable. Both tell what they find to one loop, here,
//! which keys by container id and starts one task for each container, once. Side by side is simpler than choosing: neither
//! has to know whether the other works, there is no moment of switching at which a container could be missed, and when the
//! socket appears, breaks or is refused, nothing changes for logs that are read from files.
//!
//! A log is read from its file (`tail`) where the driver is json-file and the file can be opened, and otherwise streamed
//! (`stream`) where there is an API. A log whose delivery was begun by stream goes on by stream: positions of the two
//! cannot be compared.
//!
//! A container is followed as long as it exists, running or not: it may be started again.
//!
//! Only this module hears the program's stop. It stops discovery, lets every task read to its log's current end, and drops
//! the queue's sender; the stages behind it end when their input does.

mod births;
pub mod checkpoint;
mod containers_dir;
mod docker;
#[cfg(test)]
mod fake_daemon;
mod generations;
mod gzip;
mod input;
mod lines;
mod log_file;
mod monitor;
mod stream;
pub mod survey;
pub mod tail;
pub mod watch;

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use stream::fuzz_support;

use crate::buffer::queue;
use crate::config::Config;
use crate::limits;
use crate::metrics::Metrics;
use crate::source::Container;
use checkpoint::Positions;
use docker::Api;
use generations::Done;
use monitor::{Facts, Own, Rules};
use std::collections::{HashMap, HashSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::watch::{Receiver, Sender};
use tokio::sync::{Notify, mpsc};
use tokio::task::{JoinError, JoinSet};
use watch::Watcher;

pub use survey::{Survey, survey};

/// Containers followed to their end of which is remembered what was read.
const OVER: usize = 256;
/// Generations of each of them: all that may still be found.
const OVER_GENERATIONS: usize = limits::GENERATIONS;

/// What discovery has to tell that has not been taken note of; then discovery waits.
const EVENTS: usize = 16;

/// What the sources of discovery tell. The same may be told twice, by one or both.
#[derive(Debug)]
enum Event {
    /// A container that is to be collected.
    Found(Box<Facts>),
    /// A container was started that may be one of ours.
    Started(String),
    /// A container does not exist any more; it may never have been ours.
    Gone(String),
}

/// Collects the logs of one service.
#[derive(Debug)]
pub struct Collector {
    rules: Arc<Rules>,
    reading: Reading,
}

impl Collector {
    /// Sets up; to be called within the runtime, on which inotify is read from now on.
    pub fn new(config: &Config, positions: Positions, queue: queue::Sender, metrics: Metrics) -> Self {
        let watcher = Watcher::start().unwrap_or_else(|error| {
            tracing::warn!(%error, "changes are looked for once a second instead");
            Watcher::none()
        });
        let rules = Rules::new(&config.target_service, Own::detect());
        let (dir, api) = (config.containers_dir.clone(), Api::of(&config.docker_host));
        Self { rules: Arc::new(rules), reading: Reading::new(dir, api, watcher, positions, queue, metrics) }
    }

    /// Runs until `stop` turns true or its sender is gone; then every log is read to its current end and the queue's sender
    /// is dropped. What may come back (the daemon, the directory) is said and waited for.
    pub async fn run(self, mut stop: Receiver<bool>) {
        let Self { rules, mut reading } = self;
        let (events_in, mut events) = mpsc::channel(EVENTS);
        let mut discovery = JoinSet::new();
        let watcher = || reading.watcher.clone();
        if let Some(api) = reading.api.clone() {
            discovery.spawn(docker::discover(api, rules.clone(), watcher(), events_in.clone()));
        }
        discovery.spawn(containers_dir::discover(reading.dir.clone(), rules.clone(), watcher(), events_in));
        tracing::info!(target_service = rules.target(), "looking for containers");
        let mut retry = tokio::time::interval(limits::FOLLOW_RETRY);
        retry.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => break,
                Some(event) = events.recv() => reading.note(event),
                Some(ended) = reading.tasks.join_next() => reading.ended(ended),
                _ = retry.tick(), if !reading.waiting.is_empty() => reading.try_again(),
                Some(ended) = discovery.join_next() => ended.unwrap_or_else(carry_on_panic),
            }
        }
        drop(discovery);
        reading.finish().await;
    }
}

/// The containers that are being read.
#[derive(Debug)]
struct Reading {
    dir: PathBuf,
    api: Option<Api>,
    watcher: Watcher,
    positions: Positions,
    queue: queue::Sender,
    metrics: Metrics,
    /// By container id; each has a task in `tasks`, which returns the id and what it has read.
    followed: HashMap<String, Followed>,
    tasks: JoinSet<(String, Done)>,
    /// Ids of containers of which it was said that nobody can read their log.
    unreadable: HashSet<String>,
    /// Containers whose log file is there and cannot be opened: looked at again from time to time.
    waiting: HashMap<String, Box<Facts>>,
    /// Containers that were followed to their end, oldest first. An event of the API that comes late must not make a stream
    /// of a log that has been read from its file; and the directory may come back, of which nothing is to be read twice.
    over: VecDeque<(String, Done)>,
}

#[derive(Debug)]
struct Followed {
    container: Arc<Container>,
    /// As it was found, to follow it again when its directory comes back while what was in it is still being read.
    facts: Box<Facts>,
    /// Tells the task to read to the log's current end and return.
    stop: Sender<bool>,
    /// Tells a stream that something happened to its container.
    again: Arc<Notify>,
    /// Tells a stream that its container was removed.
    removed: Arc<AtomicBool>,
}

/// How a container's log is read.
#[derive(Debug, PartialEq, Eq)]
enum Way {
    File(PathBuf),
    Stream(Api),
}

impl Reading {
    fn new(
        dir: PathBuf,
        api: Option<Api>,
        watcher: Watcher,
        positions: Positions,
        queue: queue::Sender,
        metrics: Metrics,
    ) -> Self {
        Self {
            dir,
            api,
            watcher,
            positions,
            queue,
            metrics,
            followed: HashMap::new(),
            tasks: JoinSet::new(),
            unreadable: HashSet::new(),
            waiting: HashMap::new(),
            over: VecDeque::new(),
        }
    }

    fn note(&mut self, event: Event) {
        match event {
            Event::Found(facts) => match self.followed.get(&facts.id) {
                Some(followed) => followed.again.notify_one(),
                None => self.follow(facts),
            },
            Event::Started(id) => {
                if let Some(followed) = self.followed.get(&id) {
                    followed.again.notify_one();
                }
            }
            Event::Gone(id) => {
                self.unreadable.remove(&id);
                self.waiting.remove(&id);
                // A tail sees for itself that its directory is gone, a stream has to be told to look.
                if let Some(followed) = self.followed.get(&id) {
                    followed.removed.store(true, Ordering::Relaxed);
                    followed.again.notify_one();
                }
            }
        }
    }

    /// Starts reading a container's log, if there is a way.
    fn follow(&mut self, facts: Box<Facts>) {
        let container = facts.container();
        let streamed = stream::source(container.clone());
        let committed = self.positions.get(&streamed.key()).cloned();
        let over = self.over.iter().position(|(id, _)| *id == container.id);
        let by_file = over.is_some() || self.positions.any_of(&container.id);
        let way = match way(&facts, &self.dir, self.api.as_ref(), committed.is_some(), by_file) {
            Ok(Way::Stream(_)) if over.is_some() => return,
            Ok(way) => way,
            Err(why) => {
                if driver_is_file(&facts) {
                    self.waiting.insert(container.id.clone(), facts);
                }
                if over.is_none() && self.unreadable.insert(container.id.clone()) {
                    tracing::warn!(container = container.name, service = container.service, "not collected: {why}");
                }
                return;
            }
        };
        self.unreadable.remove(&container.id);
        self.waiting.remove(&container.id);
        let done = over.and_then(|at| self.over.remove(at)).map(|(_, done)| done).unwrap_or_default();
        say_followed(&container, &way);
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let (again, removed) = (Arc::new(Notify::new()), Arc::new(AtomicBool::new(false)));
        let id = container.id.clone();
        let (queue, metrics) = (self.queue.clone(), self.metrics.clone());
        match way {
            Way::File(log) => {
                let dir = self.dir.join(&id);
                let (positions, watcher) = (self.positions.clone(), self.watcher.clone());
                let container = container.clone();
                self.tasks.spawn(async move {
                    let (_, done) =
                        tail::follow(container, dir, log, positions, done, watcher, queue, metrics, stopped).await;
                    (id, done)
                });
            }
            Way::Stream(api) => {
                let cursor = stream::Cursor::new(committed.unwrap_or_default());
                let (again, removed) = (again.clone(), removed.clone());
                let (stop, kept) = (stopped, stream::Kept::new(&container, &self.dir, &self.watcher));
                let follow =
                    stream::Follow { api, source: streamed, cursor, queue, metrics, again, removed, stop, kept };
                self.tasks.spawn(async move {
                    follow.run().await;
                    (id, Done::new())
                });
            }
        }
        self.followed.insert(container.id.clone(), Followed { container, facts, stop, again, removed });
        self.metrics.containers.set(self.followed.len() as i64);
    }

    /// Looks at what could not be opened.
    fn try_again(&mut self) {
        for facts in std::mem::take(&mut self.waiting).into_values() {
            self.follow(facts);
        }
    }

    /// A task has returned.
    fn ended(&mut self, ended: Result<(String, Done), JoinError>) {
        let (id, mut done) = ended.unwrap_or_else(carry_on_panic);
        if let Some(followed) = self.followed.remove(&id) {
            let container = &followed.container;
            let (id, service) = (short(&id), &container.service);
            tracing::info!(container = container.name, id, service, "no longer followed");
            done.drain(..done.len().saturating_sub(OVER_GENERATIONS));
            done.shrink_to_fit();
            self.over.push_back((followed.container.id.clone(), done));
            self.over.drain(..self.over.len().saturating_sub(OVER));
            // Away for a moment: discovery found it again while its lines were still being read, or did not notice at all.
            if driver_is_file(&followed.facts) && self.dir.join(&followed.facts.id).is_dir() {
                self.follow(followed.facts);
            }
        }
        self.metrics.containers.set(self.followed.len() as i64);
    }

    /// Lets every task read to its log's current end.
    async fn finish(mut self) {
        for followed in self.followed.values() {
            let _ = followed.stop.send(true);
        }
        while let Some(ended) = self.tasks.join_next().await {
            ended.unwrap_or_else(carry_on_panic);
        }
    }
}

/// A task that panicked takes the program with it. It is started again and resumes exactly; going on would leave a log
/// unread in silence.
fn carry_on_panic<T>(error: JoinError) -> T {
    std::panic::resume_unwind(error.into_panic())
}

fn driver_is_file(facts: &Facts) -> bool {
    facts.log_driver == "json-file"
}

fn say_followed(container: &Container, way: &Way) {
    let Container { name, service, log_driver: driver, .. } = container;
    let id = short(&container.id);
    let way = match way {
        Way::File(_) => "log file",
        Way::Stream(_) => "API stream",
    };
    tracing::info!(container = name, id, service, driver, "following by {way}");
    // Of Docker's own drivers only json-file is without a bound by default.
    if driver == "json-file" && container.max_size.is_none() {
        tracing::warn!(
            container = name,
            "its log has no max-size and will fill the disk; set the log option max-size (and max-file)"
        );
    }
}

/// The usual short form of a container id.
fn short(id: &str) -> &str {
    id.get(..12).unwrap_or(id)
}

/// How the log of a container can be read; else why not, and what to do about it. What an earlier run has delivered by one
/// way is not begun anew by the other: positions of files and of streams cannot be compared, and all of it would come twice.
fn way(
    facts: &Facts,
    dir: &Path,
    api: Option<&Api>,
    streamed_before: bool,
    by_file_before: bool,
) -> Result<Way, String> {
    let driver = facts.log_driver.as_str();
    if driver == "none" {
        return Err("its log driver is none: nobody keeps its log".into());
    }
    let by_api = || match api {
        Some(api) if api.is_there() => Ok(Way::Stream(api.clone())),
        Some(api) => Err(format!("there is no {api}: mount the host's socket, or name it with DOCKER_HOST")),
        None => Err("DOCKER_HOST is none".into()),
    };
    if !driver_is_file(facts) {
        return by_api()
            .map_err(|why| format!("its log driver is {driver}, which only Docker's API can read, and {why}"));
    }
    if streamed_before && let Ok(way) = by_api() {
        return Ok(way);
    }
    match openable(&dir.join(&facts.id), &facts.log_file) {
        Ok(log) => Ok(Way::File(log)),
        Err(error) if input::is_shortage(&error) => Err(format!("its log cannot be opened for now: {error}")),
        Err(error) if by_file_before => Err(format!(
            "its log was read from its file before, and now it cannot be opened ({error}; {})",
            containers_dir::CURE
        )),
        Err(error) => by_api()
            .map_err(|why| format!("its log cannot be read ({error}; {}) nor streamed ({why})", containers_dir::CURE)),
    }
}

/// The path of a log that can be opened, or that is not there yet.
fn openable(dir: &Path, name: &std::ffi::OsStr) -> io::Result<PathBuf> {
    let log = dir.join(name);
    match std::fs::File::open(&log) {
        Ok(_) => Ok(log),
        Err(error) if error.kind() == io::ErrorKind::NotFound && dir.is_dir() => Ok(log),
        Err(error) => Err(error),
    }
}

/// Growing pauses, with full jitter.
#[derive(Debug)]
struct Backoff {
    next: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { next: limits::BACKOFF_FIRST }
    }
}

impl Backoff {
    /// Things went well: the next pause is a short one.
    fn reset(&mut self) {
        self.next = limits::BACKOFF_FIRST;
    }

    /// Whether nothing has gone wrong since things went well.
    fn is_fresh(&self) -> bool {
        self.next == limits::BACKOFF_FIRST
    }

    async fn pause(&mut self) {
        tokio::time::sleep(self.length()).await;
    }

    fn length(&mut self) -> Duration {
        let pause = self.next.mul_f64(fastrand::f64());
        self.next = (self.next * 2).min(limits::BACKOFF_MAX);
        pause
    }
}

#[cfg(test)]
mod tests;
