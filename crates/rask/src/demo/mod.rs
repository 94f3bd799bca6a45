//! `rask demo`: writers, forwarders, a receiving end, and a screen that shows how they do.
//!
//! Writers stop first; then it waits until everything written has arrived, then ends the forwarders and judges. The forwarders
//! are processes of their own in groups of their own, so that Ctrl-C reaches only the demo, which ends them in its own time.

mod docker;
mod forwarder;
mod players;
mod screen;

use crate::generate::Format;
use crate::receiver::{self, Detail, Keep, Receiver};
use crate::stop::Stop;
use crate::verify::{Judgement, millis};
use docker::Containers;
use forwarder::Forwarder;
pub use forwarder::{CHILD_VARIABLE, die_with_parent};
use players::Players;
use screen::Screen;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long the rest may take to arrive once the writers have stopped.
const ARRIVAL: Duration = Duration::from_secs(20);

/// How the demo is to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Time after which the writers stop; `None` is until told.
    pub time: Option<Duration>,
    /// Lines per second, all services together.
    pub rate: u64,
    /// Bytes at which logs rotate.
    pub max_size: u64,
    /// Real containers of this image instead of a layout in a temporary directory.
    pub image: Option<String>,
}

/// One of the three services played.
#[derive(Clone, Copy, Debug)]
struct Service {
    name: &'static str,
    format: Format,
    stderr_share: f64,
    max_file: u32,
    compress: bool,
}

/// Each rotates in another of Docker's ways.
const SERVICES: [Service; 3] = [
    Service { name: "web", format: Format::Nginx, stderr_share: 0.05, max_file: 1, compress: false },
    Service { name: "api", format: Format::Go, stderr_share: 0.1, max_file: 3, compress: true },
    Service { name: "db", format: Format::Postgres, stderr_share: 1.0, max_file: 3, compress: false },
];

/// A name for a run that no other has.
pub fn new_run() -> String {
    (0..8).map(|_| fastrand::digit(16)).collect()
}

/// The writers, of whichever kind.
enum Writers {
    Played(Players),
    Docker(Containers),
}

impl Writers {
    /// Events written and rotations so far, where that is known while they write.
    fn progress(&self, service: usize) -> Option<(u64, u64)> {
        match self {
            Self::Played(players) => Some(players.progress(service)),
            Self::Docker(_) => None,
        }
    }

    /// Stops them and says how many events each wrote.
    fn finish(&mut self) -> io::Result<Vec<u64>> {
        match self {
            Self::Played(players) => players.finish(),
            Self::Docker(containers) => containers.finish(),
        }
    }
}

/// Plays the demo to its end. Whether every line came exactly once and every forwarder ended well.
pub fn run(options: &Options, stop: &Stop) -> io::Result<bool> {
    let dir = tempfile::Builder::new().prefix("rask-demo-").tempdir()?;
    let containers = match &options.image {
        None => dir.path().join("containers"),
        Some(image) => docker::containers_dir(image)?,
    };
    std::fs::create_dir_all(dir.path().join("containers"))?;
    let receiver = Receiver::start(receiver::Options {
        detail: Detail::Counts,
        keep: Keep::Last(screen::RECORDS),
        ..receiver::Options::default()
    })?;
    let mut forwarders = start_forwarders(dir.path(), &containers, &receiver.url())?;
    let mut writers = match &options.image {
        None => Writers::Played(Players::start(&containers, options)?),
        Some(image) => Writers::Docker(Containers::start(image, dir.path(), options)?),
    };
    let mut screen = Screen::new(options.time);
    let begin = Instant::now();
    while !stop.wait(screen.interval()) {
        screen.draw(&receiver, &writers, &mut forwarders)?;
        if let Some(dead) = forwarders.iter_mut().find_map(Forwarder::is_dead) {
            screen.close()?;
            writers.finish()?;
            return Err(io::Error::other(dead));
        }
        if options.time.is_some_and(|time| begin.elapsed() >= time) {
            break;
        }
    }
    let written: u64 = writers.finish()?.iter().sum();
    receiver.wait_until(ARRIVAL, |ledger| ledger.distinct() >= written);
    screen.draw(&receiver, &writers, &mut forwarders)?;
    screen.close()?;
    conclude(&receiver, written, forwarders)
}

fn start_forwarders(dir: &Path, containers: &Path, endpoint: &str) -> io::Result<Vec<Forwarder>> {
    let state = |service: &Service| -> PathBuf { dir.join(format!("state-{}", service.name)) };
    SERVICES.iter().map(|service| Forwarder::start(service.name, containers, &state(service), endpoint)).collect()
}

/// Ends the forwarders and says how it went.
fn conclude(receiver: &Receiver, written: u64, forwarders: Vec<Forwarder>) -> io::Result<bool> {
    let mut complaints = Vec::new();
    for forwarder in &forwarders {
        forwarder.terminate();
    }
    for forwarder in forwarders {
        complaints.extend(forwarder.wait().err());
    }
    receiver.stop_listening();
    receiver.ledger(|ledger| {
        let judgement = Judgement::of(ledger, 0, Some(written));
        let is_good = judgement.is_exact() && complaints.is_empty() && ledger.totals().violations == 0;
        let mut out = io::stdout().lock();
        writeln!(
            out,
            "{}: {written} lines written, {} arrived, {} missing, {} twice, {} out of order; \
             written to received p50 {}, p99 {}, longest {}",
            if is_good { "ok" } else { "FAILED" },
            ledger.distinct(),
            judgement.missing,
            judgement.duplicates,
            judgement.reordered,
            millis(ledger.latency().quantile(0.5)),
            millis(ledger.latency().quantile(0.99)),
            millis(ledger.latency().max()),
        )?;
        for complaint in complaints.iter().chain(ledger.violations().iter().take(5)) {
            writeln!(out, "{complaint}")?;
        }
        Ok(is_good)
    })
}
