//! The forwarder, all of it but the command line: collector, queue, parser, sender, store, on a runtime that runs only while the
//! test lets it. It dies without cleaning up.
//!
//! Between collector and parser stands a tap that passes everything on and notes what has been read.

use crate::admin::Health;
use crate::buffer::{Item, Offsets, queue};
use crate::collector::Collector;
use crate::collector::checkpoint::Positions;
use crate::config::Config;
use crate::metrics::Metrics;
use crate::parser::Parser;
use crate::pipeline::{Drained, Pipeline};
use crate::position::{Range, Ranges};
use crate::sender::Sender;
use crate::sender::http::Target;
use crate::sender::spool::fault::faulty::{self, Disk};
use crate::sender::spool::{Options, Store};
use crate::source::SourceKey;
use prometheus::core::Collector as _;
use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::{JoinHandle, yield_now};

/// Long enough for a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The process has died meanwhile.
#[derive(Debug)]
pub struct Died;

/// What this process knows of the logs.
#[derive(Clone, Debug, Default)]
pub struct Knowledge {
    /// What need not be read.
    recovered: HashMap<SourceKey, Ranges>,
    /// What has been read.
    read: HashMap<SourceKey, Ranges>,
}

impl Knowledge {
    /// Whether these bytes have been read, by this process or before.
    pub fn has_read(&self, key: &SourceKey, range: Range) -> bool {
        let mut all = self.read.get(key).cloned().unwrap_or_default();
        if let Some(recovered) = self.recovered.get(key) {
            all.union(recovered);
        }
        all.covers(range)
    }

    /// Whether anything of a container is known.
    pub fn knows(&self, container: &str) -> bool {
        self.read.keys().chain(self.recovered.keys()).any(|key| key.container == container)
    }

    /// Whether anything of one log is known.
    pub fn knows_log(&self, key: &SourceKey) -> bool {
        self.read.contains_key(key) || self.recovered.contains_key(key)
    }

    /// Whether this process certainly has, or had until it had read all, a descriptor of it.
    pub fn is_open(&self, key: &SourceKey) -> bool {
        self.read.contains_key(key)
    }
}

/// A running forwarder.
pub struct Machine {
    runtime: Runtime,
    store: Store,
    pub metrics: Metrics,
    stop: watch::Sender<bool>,
    pipeline: JoinHandle<Drained>,
    knowledge: Arc<Mutex<Knowledge>>,
    disk: Arc<Disk>,
}

impl Machine {
    /// Starts; an error when the process dies while it starts, or gives up since the disk fails.
    pub fn start(config: &Config, disk: &Arc<Disk>) -> Result<(Self, HashMap<SourceKey, Ranges>), Died> {
        faulty::adopt(Some(disk.clone()));
        let metrics = Metrics::new();
        let options = Options { dir: config.state_dir.clone(), max_bytes: config.max_disk_bytes, spooling: true };
        let opened = catch_unwind(AssertUnwindSafe(|| Store::open(options, metrics.clone())));
        faulty::adopt(None);
        let Ok(Ok((store, recovered))) = opened else { return Err(Died) };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let recovered = recovered.positions;
        let knowledge = Knowledge { recovered: recovered.clone(), read: HashMap::new() };
        let knowledge = Arc::new(Mutex::new(knowledge));
        let (stop, stopped) = watch::channel(false);
        let pipeline = {
            let _entered = runtime.enter();
            let (to_tap, mut from_collector) = queue::queue(config.buffer_capacity, config.buffer_max_bytes);
            let (to_parser, from_tap) = queue::queue(config.buffer_capacity, config.buffer_max_bytes);
            let collector = Collector::new(config, Positions::new(recovered.clone()), to_tap, metrics.clone());
            let parser = Parser::new(config.parser_settings(), &metrics);
            let health = Arc::new(Health::new());
            let target = Target::new(config, metrics.clone()).unwrap();
            let sender = Sender::new(config, target, Some(store.clone()), metrics.clone(), health.clone());
            let pipeline = Pipeline::new(from_tap, parser, sender, &metrics, health);
            tokio::spawn(collector.run(stopped.clone()));
            let notes = knowledge.clone();
            tokio::spawn(async move {
                while let Some(item) = from_collector.recv().await {
                    let note = match &item {
                        Item::Chunk(chunk) => {
                            let Offsets::File(start) = chunk.offsets else { panic!("{chunk:?}") };
                            Some((chunk.source.key(), Range::new(start, start + chunk.data.len() as u64)))
                        }
                        Item::End(_) | Item::Over(_) | Item::Gap(_) => None,
                    };
                    to_parser.send(item).await;
                    if let Some((key, range)) = note {
                        notes.lock().unwrap().read.entry(key).or_default().insert(range);
                    }
                }
            });
            tokio::spawn(pipeline.run(stopped, PATIENCE))
        };
        Ok((Self { runtime, store, metrics, stop, pipeline, knowledge, disk: disk.clone() }, recovered))
    }

    pub fn knowledge(&self) -> Knowledge {
        self.knowledge.lock().unwrap().clone()
    }

    /// Lets every task run so many times, or a little longer.
    pub fn turns(&self, turns: usize) {
        self.runtime.block_on(async {
            for _ in 0..turns {
                yield_now().await;
            }
        });
    }

    /// Lets time pass.
    pub fn pass(&self, time: Duration) {
        self.runtime.block_on(async { tokio::time::sleep(time).await });
    }

    /// Runs until `reached` holds.
    pub fn drive(&self, what: &str, mut reached: impl FnMut(&Self) -> bool) -> Result<(), Died> {
        let until = Instant::now() + PATIENCE;
        loop {
            if self.disk.is_dead() {
                return Err(Died);
            }
            assert!(!self.pipeline.is_finished(), "the pipeline has ended while waiting: {what}");
            if reached(self) {
                return Ok(());
            }
            assert!(Instant::now() < until, "waited too long: {what}: {}", self.books());
            self.pass(Duration::from_millis(1));
        }
    }

    /// Runs until everything read so far is delivered or in the spool.
    pub fn settle(&self) -> Result<(), Died> {
        let mut rounds = 0;
        self.drive("everything is delivered or in the spool", |machine| {
            machine.turns(5);
            let stages = ["queue", "batch", "flight"];
            let pending: i64 =
                stages.iter().map(|stage| machine.metrics.lines_pending.with_label_values(&[stage]).get()).sum();
            rounds = if pending == 0 { rounds + 1 } else { 0 };
            rounds == 3
        })
    }

    /// Runs until nothing is unread or pending, and holds the books against each other.
    pub fn rest(&self) -> Result<(), Died> {
        let mut rounds = 0;
        self.drive("everything is delivered", |machine| {
            machine.turns(5);
            let metrics = &machine.metrics;
            let idle = metrics.pending() == 0 && metrics.lag_bytes.get() == 0 && machine.store.usage().frames == 0;
            rounds = if idle { rounds + 1 } else { 0 };
            rounds == 3
        })?;
        let metrics = &self.metrics;
        let came = metrics.lines_read.get() + metrics.lines_recovered.get();
        assert_eq!(came, metrics.lines_delivered.get() + self.dropped(), "the books: {}", self.books());
        Ok(())
    }

    fn dropped(&self) -> u64 {
        let reasons = self.metrics.lines_dropped.collect();
        reasons
            .iter()
            .flat_map(|family| family.get_metric())
            .map(|reason| reason.get_counter().get_value() as u64)
            .sum()
    }

    fn books(&self) -> String {
        let samples = self.metrics.registry.gather();
        let lines = samples.iter().filter(|family| family.name().contains("lines") || family.name().contains("lag"));
        lines.map(|family| format!("{} {:?}\n", family.name(), family.get_metric())).collect()
    }

    /// Dies.
    pub fn crash(self) {
        self.disk.die();
        self.store.crash();
        drop(self.runtime);
    }

    /// Ends as at SIGTERM.
    pub fn stop(self) -> Result<(), Died> {
        self.stop.send_replace(true);
        let until = Instant::now() + PATIENCE;
        while !self.pipeline.is_finished() {
            assert!(Instant::now() < until, "waited too long for the end: {}", self.books());
            if self.disk.is_dead() {
                self.crash();
                return Err(Died);
            }
            self.pass(Duration::from_millis(1));
        }
        let drained = self.runtime.block_on(self.pipeline).unwrap();
        self.store.close();
        drop(self.runtime);
        if self.disk.is_dead() {
            return Err(Died);
        }
        assert_eq!(drained, Drained::Clean);
        Ok(())
    }
}
