//! The three services played by threads into a layout.

use super::{Options, SERVICES, new_run};
use crate::generate::{Pace, Play, Progress, Sink};
use crate::layout::{Container, Rotation, Spec};
use crate::stop::Stop;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

/// Running threads, one a service, in the order of [`SERVICES`].
pub(super) struct Players {
    stop: Stop,
    progress: Vec<Arc<Progress>>,
    threads: Vec<JoinHandle<io::Result<Sink>>>,
    /// Containers whose service has stopped; they stay, as Docker's do.
    finished: Vec<Sink>,
}

impl Players {
    pub(super) fn start(containers: &Path, options: &Options) -> io::Result<Self> {
        let mut players = Self { stop: Stop::new(), progress: Vec::new(), threads: Vec::new(), finished: Vec::new() };
        for service in SERVICES {
            let rotation =
                Rotation { max_size: Some(options.max_size), max_file: service.max_file, compress: service.compress };
            let labels = vec![("rask.group".to_owned(), "demo".to_owned())];
            let spec = Spec { rotation, labels, ..Spec::service(service.name) };
            let sink = Sink::Container(Box::new(Container::start(containers, spec)?));
            let play = Play {
                format: service.format,
                pace: Pace { rate: (options.rate / SERVICES.len() as u64).max(1), burst: 1 },
                count: None,
                time: None,
                stderr_share: service.stderr_share,
                seq_start: 0,
                size: 0,
                run: new_run(),
            };
            let (progress, stop) = (Arc::new(Progress::default()), players.stop.clone());
            players.progress.push(progress.clone());
            let thread = std::thread::Builder::new().name(service.name.into());
            players.threads.push(thread.spawn(move || play.run(sink, &progress, &stop))?);
        }
        Ok(players)
    }

    /// Events and rotations of a service so far.
    pub(super) fn progress(&self, service: usize) -> (u64, u64) {
        let progress = &self.progress[service];
        (progress.events(), progress.rotations.load(Ordering::Relaxed))
    }

    /// Stops and says how many events each service wrote.
    pub(super) fn finish(&mut self) -> io::Result<Vec<u64>> {
        self.stop.set();
        for thread in self.threads.drain(..) {
            self.finished.push(thread.join().map_err(|_| io::Error::other("a player panicked"))??);
        }
        Ok(self.progress.iter().map(|progress| progress.events()).collect())
    }
}

impl Drop for Players {
    fn drop(&mut self) {
        let _ = self.finish();
    }
}
