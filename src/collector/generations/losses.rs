//! What [`Generations`] does when lines are gone or a file cannot be read: to give up no more than it must, and to have what is
//! missing reported before the lines that follow it.

use super::super::births::Unseen;
use super::super::input::{FileId, Input, generation};
use super::super::lines::Lines;
use super::super::log_file::{Log, Loss};
use super::super::watch;
use super::{Found, Generations, MAX_SIBLING};
use crate::position::Ranges;
use crate::source::Source;
use std::borrow::Cow;
use std::io;
use std::sync::Arc;

impl Generations {
    /// The oldest open generation cannot be read. `None`: it is tried again later. Otherwise it is given up, with what is to
    /// be reported at once, if anything.
    pub fn front_failed(&mut self, error: &io::Error) -> Option<Option<(Arc<Source>, Loss)>> {
        let frozen = self.frozen;
        let log = self.open.front_mut()?;
        if !log.has_failed(error) {
            if frozen {
                // The next process reads it, and what is newer behind it: nothing may go before.
                self.open.clear();
                return Some(None);
            }
            self.trouble("the log cannot be read", error);
            return None;
        }
        tracing::error!(container = %self.container.name, %error, "a rotated log file cannot be read");
        let reason = match log.input {
            Input::Gzip(_) => "an archived log file is damaged; the lines behind the damage are lost",
            _ => "a rotated log file cannot be read; its lines are lost",
        };
        let loss = log.loss(reason, error);
        let (id, begun) = (log.id, log.begun_source().is_some());
        log.give_up();
        match log.source().cloned() {
            // All that is missing had been delivered before it was damaged, or reported.
            Some(_) if log.superseded && !begun => Some(None),
            Some(source) => Some(Some((source, loss))),
            None => {
                if let Some(id) = id {
                    self.note_unreadable(id);
                }
                self.lose_before(1, Loss { found_again: true, ..loss });
                Some(None)
            }
        }
    }

    /// A gap behind which nothing has come, where nothing more can come, at least not in this process.
    pub fn take_last_loss(&mut self) -> Option<(Arc<Source>, Loss)> {
        self.believe();
        let loss = match (self.orphan.take(), self.lost.take()) {
            (orphan, Some(lost)) => Loss::join(orphan, lost),
            (orphan, None) => orphan?,
        };
        if loss.found_again && !self.removed {
            return None;
        }
        let (generation, _) = *self.done.back()?;
        Some((Arc::new(Source { container: self.container.clone(), generation }), loss))
    }

    /// Has a loss reported before the lines of the open generation `i`, or of the next one opened.
    pub(super) fn lose_before(&mut self, i: usize, loss: Loss) {
        match self.open.get_mut(i) {
            Some(log) => {
                log.gap = Some(match log.gap.take() {
                    Some(newer) => Loss::join(Some(loss), newer),
                    None => loss,
                });
            }
            None => self.orphan = Some(Loss::join(self.orphan.take(), loss)),
        }
    }

    /// Gives up the newest of the generations that nobody can open again; false when there is none but the oldest.
    pub(super) fn make_room(&mut self) -> bool {
        self.measure();
        if (1..self.open.len()).any(|i| self.open[i].is_unlinked()) {
            self.turn_to_archives();
        }
        let Some(i) = (1..self.open.len()).rev().find(|i| self.open[*i].is_unlinked()) else { return false };
        let Some(mut log) = self.open.remove(i) else { return false };
        let reason = "more rotated files were waiting to be read than are kept open; their lines are lost";
        let loss = Loss { bytes: log.unread(), ..Loss::new(reason) };
        self.lose_before(i, Loss::join(log.take_gap(), loss));
        true
    }

    /// Reads on in their archives what has been compressed meanwhile: those have a name.
    fn turn_to_archives(&mut self) {
        let Ok(found) = self.find() else { return };
        for found in found {
            let of_archive = |log: &Log| log.is_unlinked() && log.generation() == found.generation;
            let Input::Gzip(_) = found.input else { continue };
            if let Some(i) = self.open.iter().position(of_archive).filter(|_| found.generation.is_some()) {
                self.open[i].read_on_in(found.input, found.id);
            }
        }
        self.measure();
    }

    /// The file that is being written to has become shorter than what was read of it. What follows in it is a new
    /// generation; the old one is read on in a copy, if somebody made one, and is over.
    pub fn truncated(&mut self) {
        let frozen = self.frozen;
        let Some(log) = self.open.back_mut() else { return };
        let head = log.input.head().unwrap_or_default();
        if generation(&head, false) == log.generation() && !frozen {
            // Cut in the middle: offsets repeat, which the identity of a line cannot express.
            let size = log.input.size().ok().flatten().unwrap_or(0);
            tracing::warn!(container = %self.container.name, size, "the log was cut; going on from its new end");
            log.lose(Loss { bytes: log.unread(), ..Loss::new("the log was cut in the middle; lines may be missing") });
            log.lines = Lines::new(size);
            log.delivered = Ranges::default();
            return;
        }
        let bytes = log.unread();
        log.give_up();
        if !frozen {
            log.id = None;
            self.lost = Some(Loss { bytes, ..Loss::new("the log was truncated; lines may be missing") });
            self.scan();
        }
    }

    /// After a look that began when `events` was taken and has shown `fresh` new files.
    pub(super) fn account(&mut self, events: Option<(watch::Births, bool)>, fresh: u64) {
        let Some((events, quiet)) = events else { return };
        let (settled, even) = (self.births.is_settled(events), self.births.is_even(events));
        let unseen = self.births.looked(events, quiet, fresh);
        match self.doubtful {
            true if unseen != Unseen::None || !settled || self.crowded => self.believe(),
            true if even && quiet && fresh == 0 => self.dispel(),
            _ => {}
        }
        let loss = match unseen {
            Unseen::None => None,
            Unseen::Files(files) => {
                let times = files + 1;
                Some(format!("the log was re-created {times} times between two looks; lines may be missing").into())
            }
            Unseen::Unknown => Some(Cow::from(
                "the log was re-created, perhaps several times, while events were lost; lines may be missing",
            )),
        };
        // Where files are left behind, their order tells.
        if let Some(reason) = loss.filter(|_| !self.chain) {
            self.lose_before_uncertain(&Loss::new(reason));
        }
        if quiet && fresh == 0 {
            self.unsettled = None;
            self.open.iter_mut().for_each(|log| log.uncertain = false);
        }
    }

    /// A gap before what was found since the account was last complete: nearly always one file. Of several nothing says before
    /// which of them lines are missing.
    fn lose_before_uncertain(&mut self, loss: &Loss) {
        let any = self.open.iter().any(|log| log.uncertain);
        let last = self.open.len().saturating_sub(1);
        for (i, log) in self.open.iter_mut().enumerate() {
            if log.uncertain || (!any && i == last) {
                log.lose(loss.clone());
            }
        }
    }

    /// A doubtful gap is one.
    fn believe(&mut self) {
        self.doubtful = false;
        self.open.iter_mut().for_each(Log::believe);
        if let Some(loss) = self.doubt.take() {
            self.lost = Some(Loss::join(self.lost.take(), loss));
        }
    }

    /// A doubtful gap is none: every file that had the log's name was found.
    fn dispel(&mut self) {
        self.doubtful = false;
        self.open.iter_mut().for_each(|log| log.doubt = None);
        self.doubt = None;
    }

    /// A rotated file that nothing can be had of. It is met again at every rotation, and reported once.
    pub(super) fn note_unreadable(&mut self, id: FileId) {
        self.unreadable.push_front(id);
        self.unreadable.truncate(MAX_SIBLING as usize);
    }

    /// Whether the generation that is known to be the last one has left no trace among `found`, although others have.
    pub(super) fn look_for_gap(&mut self, found: &[Found]) {
        if !self.scanned {
            let read_before = self.positions.any_of(&self.container.id) || !self.done.is_empty();
            // A rotation leaves one number free at a time: what is farther off tells nothing.
            let mut last = 0;
            let mut linked =
                found.iter().take_while(|found| found.number <= std::mem::replace(&mut last, found.number) + 2);
            if read_before && !linked.any(|found| found.generation.is_some_and(|known| self.knows(known))) {
                let loss = Loss::new("the log was rotated away while nobody read it; lines may be missing");
                self.lost = Some(Loss { found_again: true, ..loss });
            }
            return;
        }
        let complete = found.first().is_some_and(|found| found.number == 0);
        if complete && self.chain && !found.iter().any(|found| self.is_last(found)) {
            let loss = Loss::new("the log was rotated faster than it was read; lines may be missing");
            self.doubt = Some(Loss::join(self.doubt.take(), loss));
            self.doubtful = true;
        }
    }
}

/// What is lost with an archive of which not even the beginning can be read.
pub(super) fn of_damaged(input: &Input, error: &io::Error) -> Loss {
    let reason = "a rotated log file is damaged; its lines are missing unless they were read before";
    let (bytes, to) = match input {
        Input::Gzip(gzip) => (gzip.lost_behind(0, error), gzip.last_time()),
        _ => (None, None),
    };
    Loss { bytes, to, found_again: true, ..Loss::new(reason) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::collector::checkpoint::Positions;
    use crate::collector::watch::Watcher;
    use crate::metrics::Metrics;
    use crate::source::Container;
    use std::fs;
    use std::path::Path;

    fn generations(dir: &Path, log: &Path) -> Generations {
        let container = Container::new("c0ffee", "api");
        let (done, watcher) = (Default::default(), Watcher::start().unwrap());
        Generations::new(
            Arc::new(container),
            dir.into(),
            log.into(),
            Positions::default(),
            done,
            watcher,
            Metrics::new(),
        )
    }

    /// More files come before the task that reads the events has run: it does not while this test does not wait.
    #[tokio::test]
    async fn a_gap_stands_before_the_first_file_found_behind_it() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("c0ffee-json.log");
        let create = |text: &str| {
            let _ = fs::remove_file(&log);
            fs::write(&log, text).unwrap();
        };
        create("0\n");
        let mut generations = generations(dir.path(), &log);
        generations.reconcile();
        for texts in [&["1\n", "2\n"][..], &["3\n"], &["4\n", "5\n", "6\n"], &["7\n"]] {
            texts.iter().for_each(|text| create(text));
            generations.reconcile();
        }
        let missing: Vec<bool> = generations.open.iter().map(|log| log.gap.is_some()).collect();
        assert_eq!(missing, [false, true, false, true, false], "before 2 and 6, of 0, 2, 3, 6, 7");
    }
}
