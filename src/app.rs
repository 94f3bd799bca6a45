//! Builds the whole from a configuration, starts it, and drains it: the map of the running program.
//!
//! Threads: this one runs collector, parser and sender on a current-thread runtime; `rask-store` owns the state directory and
//! waits for its disk; `rask-admin` answers `/metrics` and health checks, so that a stuck pipeline can still say that it is.

use crate::admin::{self, Health, Phase};
use crate::buffer::queue;
use crate::collector::Collector;
use crate::collector::checkpoint::Positions;
use crate::config::Config;
use crate::exit;
use crate::memory;
use crate::metrics::Metrics;
use crate::parser::Parser;
use crate::pipeline::{Drained, Pipeline};
use crate::sender::Sender;
use crate::sender::http::Target;
use crate::sender::spool::{OpenError, Options, Recovered, Store};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// Time kept back from the shutdown deadline for the last checkpoint.
const CLOSING_RESERVE: Duration = Duration::from_millis(500);

/// Runs the forwarder until SIGTERM or SIGINT, then drains it.
pub fn run(config: &Config) -> ExitCode {
    let metrics = Metrics::new();
    let health = Arc::new(Health::new());
    let target = match Target::new(config, metrics.clone()) {
        Ok(target) => target,
        Err(error) => return exit::with(exit::CONFIG, &error),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return exit::with(exit::FAILURE, &format!("cannot start: {error}")),
    };
    // From here on SIGTERM is heard; it takes effect when the state has been recovered.
    let signals = {
        let _context = runtime.enter();
        Signals::new()
    };
    let (store, recovered) = match open_store(config, &metrics) {
        Ok(opened) => opened,
        Err(error) => return exit::with(exit::CONFIG, &error),
    };
    let admin = match admin::start(config, metrics.clone(), health.clone(), store.clone()) {
        Ok(admin) => admin,
        Err(error) => return exit::with(error.exit_code(), &error),
    };
    let drained = runtime.block_on(async {
        let (lines, bytes) = (config.buffer_capacity, config.buffer_max_bytes);
        metrics.queue_bytes_limit.set(bytes as i64);
        let (to_parser, from_collector) = queue::queue(lines, bytes);
        let collector = Collector::new(config, Positions::new(recovered.positions), to_parser, metrics.clone());
        let parser = Parser::new(config.parser_settings(), &metrics);
        let sender = Sender::new(config, target, store.clone(), metrics.clone(), health.clone());
        let pipeline = Pipeline::new(from_collector, parser, sender, &metrics, health.clone());
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(stop_on_signal(signals, stop, health.clone()));
        let collecting = tokio::spawn(collector.run(stopped.clone()));
        memory::forget_start();
        health.enter(Phase::Running);
        let reserve = CLOSING_RESERVE.min(config.shutdown_timeout / 4);
        let drained = pipeline.run(stopped.clone(), config.shutdown_timeout - reserve).await;
        // The input of a pipeline ends when the collector does: at a stop, or because it failed.
        match drained {
            Drained::Clean if !*stopped.borrow() || collecting.await.is_err() => {
                Drained::Broken("the collector failed")
            }
            drained => drained,
        }
    });
    // A thread that resolves a name for ever must not keep the process.
    runtime.shutdown_background();
    if let Some(store) = store {
        store.close();
    }
    admin.stop();
    finish(drained)
}

fn finish(drained: Drained) -> ExitCode {
    match drained {
        Drained::Clean => {
            tracing::info!("stopped; every line read is delivered or in the spool");
            ExitCode::SUCCESS
        }
        Drained::Broken(why) => exit::with(
            exit::FAILURE,
            &format!("{why}; what was not delivered is read again from the log files at the next start"),
        ),
        Drained::Missed { lines } => exit::with(
            exit::FAILURE,
            &format!(
                "stopped at the deadline (SHUTDOWN_TIMEOUT_MS); {lines} parsed lines were neither acknowledged nor spooled \
             and will be read again from the log files"
            ),
        ),
    }
}

/// The state directory. With `ENABLE_DISK_FALLBACK=false` the forwarder can do without one.
fn open_store(config: &Config, metrics: &Metrics) -> Result<(Option<Store>, Recovered), OpenError> {
    let options =
        Options { dir: config.state_dir.clone(), max_bytes: config.max_disk_bytes, spooling: config.disk_fallback };
    match Store::open(options, metrics.clone()) {
        Ok((store, recovered)) => Ok((Some(store), recovered)),
        Err(error @ OpenError::Unusable { .. }) if !config.disk_fallback => {
            tracing::warn!("{error}; positions are kept in memory only, a restart reads the logs from their beginning");
            Ok((None, Recovered::default()))
        }
        Err(error) => Err(error),
    }
}

/// SIGTERM and SIGINT, heard from the moment it is made. To be made within a runtime.
pub(crate) struct Signals(Option<(Signal, Signal)>);

impl Signals {
    pub(crate) fn new() -> Self {
        let both = signal(SignalKind::terminate()).and_then(|term| Ok((term, signal(SignalKind::interrupt())?)));
        Self(both.inspect_err(|error| tracing::error!(%error, "SIGTERM will end this without draining")).ok())
    }

    /// Waits for one of them.
    pub(crate) async fn any(&mut self) {
        match &mut self.0 {
            None => std::future::pending().await,
            Some((term, int)) => tokio::select! {
                _ = term.recv() => {}
                _ = int.recv() => {}
            },
        }
    }
}

/// Turns the first signal into the order to stop.
pub(crate) async fn stop_on_signal(mut signals: Signals, stop: watch::Sender<bool>, health: Arc<Health>) {
    signals.any().await;
    tracing::info!("draining");
    health.enter(Phase::Draining);
    let _ = stop.send(true);
    // Whoever waits on the channel finds its sender alive until the runtime ends.
    std::future::pending::<()>().await;
}
