//! Which log files of one container are open, and in what order they are to be read.
//!
//! What Docker does to the file (moby `daemon/logger/loggerutils/logfile.go`), always after closing it:
//! `max-file=1` unlinks `<log>` and creates it anew; `max-file≥2` renames `<log>.1 → .2 …`, then `<log> → <log>.1`, then
//! creates `<log>`; `compress` turns `.1` into `.1.gz` in the background and unlinks it when that is complete. `docker rm`
//! removes the directory. Others copy the file and truncate it.
//!
//! - Truth is what `stat` says: [`Generations::reconcile`] compares the path with the newest open descriptor. Events only
//!   say when to look.
//! - A generation is open from when it is seen until it is read to its end, whatever becomes of its name. The oldest is
//!   read first. Those that are known to be delivered are not opened at all.
//! - A file is over once the path names another one, or the directory is gone; what is read to its end *after* that was
//!   noticed is complete. While the path names nothing, the last file may still be written to.
//! - Siblings are looked at from the newest name to the oldest: a rotation meanwhile moves files towards where the search
//!   goes, so that one can be met twice but not missed.
//! - Bytes that are gone leave no trace but their absence. A gap is reported where the last known generation is not to be
//!   found although rotations leave files behind: when none of the files found at start-up is known while others of the
//!   container were, and when the file read last has left a chain of siblings. Something *may* be missing then, and the
//!   report says "may"; of a chain nothing is said if the events of the directory show that every file was found. Where
//!   rotations leave nothing behind (`max-file=1`: a sibling that stays the newest when the log is another one is not
//!   Docker's), those events are counted ([`Births`]); without inotify nobody can tell, nor of files whose events are unread
//!   when the order to stop comes.
//! - At most [`OPEN_GENERATIONS`] are open. When there is one more, the newest of those that have no name any more is given up,
//!   with a gap, for the sake of the live log; files that have a name wait.
//! - An error of reading is tried again; on a file that nobody writes to for [`READ_PATIENCE`](crate::limits::READ_PATIENCE), then
//!   the file is given up with a gap, so that it does not block the newer ones. Opening is tried for ever.
//! - Time is only measured, with the monotonic clock: setting the wall clock changes nothing.
//! - Two files with the same first line are the same generation here. From Docker that is a copy; of two that differ behind the
//!   first line, what stands in the second up to where the first was read is taken for delivered.
//!
//! It reads no lines and sends nothing. What happens when something is missing stands in `losses`.

mod losses;

use super::births::Births;
use super::checkpoint::Positions;
use super::input::{FileId, Input, closed_sibling, generation, is_shortage, last_sibling, open_sibling};
use super::lines::Lines;
use super::log_file::{Log, Loss, is_damage};
use super::watch::{self, Watch, Watcher};
use crate::limits::{MAX_SIBLING, OPEN_GENERATIONS};
use crate::metrics::Metrics;
use crate::position::{Generation, Ranges};
use crate::source::{Container, Source, SourceKey};
use inotify::WatchMask;
use std::collections::VecDeque;
use std::future::pending;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};
use tokio::time::sleep_until;

/// Generations remembered as read, so that they are known again under their next name.
const MAX_DONE: usize = 1024;
/// How long the lines of a file that was found wait for events that may tell of files before it.
const EVENTS_PATIENCE: Duration = Duration::from_millis(100);
/// How often to look where inotify cannot be used, or after an error.
const POLL: Duration = Duration::from_millis(250);
/// Looks at the siblings in a row when the log is rotated meanwhile.
const LOOKS: usize = 8;

/// Generations that were closed, oldest first, and up to where they were read; `u64::MAX` for all there may ever be.
pub type Done = VecDeque<(Generation, u64)>;

/// A file found under the log's name (`number` 0) or that of a rotated sibling.
#[derive(Debug)]
struct Found {
    number: u32,
    id: FileId,
    input: Input,
    /// `None` also where it is open under this inode already.
    generation: Option<Generation>,
    fault: Option<Fault>,
}

/// Why nobody knows what a rotated file holds.
#[derive(Debug)]
enum Fault {
    /// It cannot be opened, or its beginning cannot be read: that may pass.
    Passing,
    /// It is damaged for good.
    Damaged(Loss),
}

impl Found {
    fn is(&self, log: &Log) -> bool {
        self.is_file_of(log) || (self.generation.is_some() && self.generation == log.generation())
    }

    /// Whether it is the same file. One that could not be opened is not held: its inode may be another's by now.
    fn is_file_of(&self, log: &Log) -> bool {
        let held = match &log.input {
            Input::Closed(_, modified) => *modified == self.input.modified(),
            _ => true,
        };
        held && log.id == Some(self.id)
    }
}

/// The generations of one container's log.
#[derive(Debug)]
pub struct Generations {
    container: Arc<Container>,
    dir: PathBuf,
    log_path: PathBuf,
    positions: Positions,
    watcher: Watcher,
    metrics: Metrics,
    /// Oldest first. Only the last one can be written to.
    open: VecDeque<Log>,
    done: Done,
    dir_watch: Option<Watch>,
    /// Files found, held against the events of `dir_watch`.
    births: Births,
    /// Until when the lines of a file that was found wait for the events that were unread then: a gap that they tell of
    /// belongs before them.
    unsettled: Option<Instant>,
    /// Rotations leave files behind.
    chain: bool,
    /// The newest rotated sibling at the last look, and when it was last written to.
    newest: Option<(FileId, Option<SystemTime>)>,
    /// The files have been looked at once.
    scanned: bool,
    /// The directory is gone; nothing new will come.
    removed: bool,
    /// What is open is read to where it ends now; nothing new is opened.
    frozen: bool,
    /// Something failed: when to look at everything again, without being woken.
    retry: Option<Instant>,
    /// What was said last to have failed, so that it is said once.
    complaint: Option<&'static str>,
    /// Rotated files that were reported as unreadable.
    unreadable: VecDeque<FileId>,
    /// A gap to be reported before the lines of the next generation of which nothing is known.
    lost: Option<Loss>,
    /// The same, but the events of the directory have still to tell whether it is one.
    doubt: Option<Loss>,
    /// There is such a gap, here or in what is open.
    doubtful: bool,
    /// Files were left unopened, so that those found can be more than those that appeared.
    crowded: bool,
    /// A gap to be reported before the lines of the generation that is opened next.
    orphan: Option<Loss>,
}

impl Generations {
    /// Nothing is opened yet. Of what is `done` already, nothing is read again.
    pub fn new(
        container: Arc<Container>,
        dir: PathBuf,
        log_path: PathBuf,
        positions: Positions,
        done: Done,
        watcher: Watcher,
        metrics: Metrics,
    ) -> Self {
        Self {
            container,
            dir,
            log_path,
            positions,
            watcher,
            metrics,
            open: VecDeque::new(),
            done,
            dir_watch: None,
            births: Births::default(),
            unsettled: None,
            chain: false,
            newest: None,
            scanned: false,
            removed: false,
            frozen: false,
            retry: None,
            complaint: None,
            unreadable: VecDeque::new(),
            lost: None,
            doubt: None,
            doubtful: false,
            crowded: false,
            orphan: None,
        }
    }

    /// Opens what has appeared, and notices what nobody writes to any more. Costs one `stat` when nothing has.
    pub fn reconcile(&mut self) {
        // First of all: a moment in the past that stays set would wake whoever waits for it again and again.
        let again = self.retry.is_some_and(|retry| retry <= Instant::now());
        if again {
            self.retry = None;
        }
        if self.frozen || self.removed {
            return;
        }
        self.watch_directory();
        let events = self.events();
        match FileId::at(&self.log_path) {
            Ok(Some(id)) if self.live() == Some(id) && !again => self.account(events, 0),
            Ok(None) if self.is_removed() => {
                self.removed = true;
                self.open.iter_mut().for_each(Log::rotate);
                self.measure();
            }
            Ok(None) if self.scanned && !again => self.look_again_if_unlinked(),
            // What has come since is opened when there is room again; until then, what is open is over.
            Ok(Some(id)) if self.live() != Some(id) && self.open.len() >= OPEN_GENERATIONS && !self.make_room() => {
                self.open.iter_mut().for_each(Log::rotate);
            }
            Ok(found) => {
                self.scan();
                if found.is_none() {
                    self.look_again_if_unlinked();
                }
            }
            Err(error) => self.trouble("the log cannot be looked at", &error),
        }
    }

    /// `docker rm` takes the log, then its directory; but a directory in which a file is still open goes without an event
    /// of its own (its inode outlives the name). Looked for by the clock, which a rotation ends within moments.
    fn look_again_if_unlinked(&mut self) {
        if !self.open.is_empty() {
            self.measure();
            self.retry.get_or_insert_with(|| Instant::now() + POLL);
        }
    }

    /// Whose logs they are.
    pub fn container(&self) -> &Arc<Container> {
        &self.container
    }

    /// The oldest generation not yet read to its end.
    pub fn front(&mut self) -> Option<&mut Log> {
        self.open.front_mut()
    }

    /// Finds out whose lines the oldest open generation holds; false when its first line is not complete yet (or, if it is
    /// rotated, when it is empty).
    ///
    /// # Errors
    /// Those of reading.
    pub fn name_front(&mut self) -> io::Result<bool> {
        self.name_open(0)
    }

    fn name_open(&mut self, i: usize) -> io::Result<bool> {
        let Some(log) = self.open.get(i).filter(|log| log.source().is_none()) else { return Ok(true) };
        let Some(generation) = generation(&log.input.head()?, log.rotated) else { return Ok(false) };
        if let Some(mut log) = self.open.remove(i) {
            self.name(&mut log, generation);
            self.open.insert(i, log);
        }
        Ok(true)
    }

    /// Whether lines of the oldest open generation can be handed out, as far as it is about what may be missing before them.
    pub fn front_may_begin(&mut self) -> bool {
        let Some(until) = self.unsettled else { return true };
        let Some(front) = self.open.front_mut() else { return true };
        if front.uncertain && front.begun_source().is_none() && !self.frozen && Instant::now() < until {
            self.retry.get_or_insert(until);
            return false;
        }
        front.uncertain = false;
        if !self.open.iter().any(|log| log.uncertain) {
            self.unsettled = None;
        }
        true
    }

    /// Closes the oldest open generation.
    pub fn close_front(&mut self) {
        let Some(mut log) = self.open.pop_front() else { return };
        if let Some(loss) = log.take_gap() {
            self.lose_before(0, loss);
        }
        let Some(generation) = log.generation() else { return };
        self.done.retain(|(done, _)| *done != generation);
        if self.done.len() == MAX_DONE {
            self.done.pop_front();
        }
        // Of what was given up, nothing more is to be had, under whatever name it is met again.
        let end = if log.is_given_up() { u64::MAX } else { log.lines.end() };
        self.done.push_back((generation, end));
    }

    /// Whether everything has been read and nothing more can come.
    pub fn is_over(&self) -> bool {
        self.removed && self.open.is_empty()
    }

    /// From here on what there is now is read to where it ends now, and nothing else is opened.
    pub fn freeze(&mut self) {
        self.reconcile();
        self.frozen = true;
        if let Some(log) = self.open.back_mut().filter(|log| !log.rotated) {
            log.stop_at = log.input.size().ok().flatten();
        }
    }

    /// Whether [`freeze`](Self::freeze) was called.
    pub fn is_frozen(&self) -> bool {
        self.frozen
    }

    /// Measures what is waiting in the open files, and which of them have no name any more.
    pub fn measure(&mut self) {
        self.open.iter_mut().for_each(Log::measure);
    }

    /// What was closed.
    pub fn into_done(self) -> Done {
        self.done
    }

    /// Says that something failed, and has everything looked at again after a while.
    pub fn trouble(&mut self, what: &'static str, error: &io::Error) {
        self.complain(what, error);
        self.retry.get_or_insert_with(|| Instant::now() + POLL);
    }

    fn complain(&mut self, what: &'static str, error: &io::Error) {
        if self.complaint != Some(what) {
            tracing::warn!(container = %self.container.name, %error, "{what}; trying again");
            self.complaint = Some(what);
        }
    }

    /// Waits until there may be something new: lines, a rotation, the end. Safe to cancel.
    pub async fn changed(&mut self) {
        let live = self.open.back_mut().and_then(|log| log.watch.as_mut());
        tokio::select! {
            () = changed(live) => {}
            () = changed(self.dir_watch.as_mut()) => {}
            () = reached(self.retry) => {}
        }
    }

    /// As [`changed`](Self::changed), but not for new lines.
    pub async fn files_changed(&mut self) {
        tokio::select! {
            () = changed(self.dir_watch.as_mut()) => {}
            () = reached(self.retry) => {}
        }
    }

    /// The file that the log's path named when it was last looked at, if it is open.
    fn live(&self) -> Option<FileId> {
        self.open.back().filter(|log| !log.rotated).and_then(|log| log.id)
    }

    /// The path names nothing: for good, or in the middle of a rotation?
    fn is_removed(&mut self) -> bool {
        match self.dir.try_exists() {
            Ok(exists) => !exists,
            Err(error) => {
                self.trouble("the container's directory cannot be looked at", &error);
                false
            }
        }
    }

    fn watch_directory(&mut self) {
        // While something is in trouble, no more often than everything else.
        if self.retry.is_some() || self.dir_watch.as_ref().is_some_and(|watch| !watch.ended()) {
            return;
        }
        let mask =
            WatchMask::CREATE | WatchMask::DELETE | WatchMask::MOVE | WatchMask::DELETE_SELF | WatchMask::MOVE_SELF;
        let (dir, name) = (self.log_path.parent().unwrap_or(&self.dir), self.log_path.file_name().unwrap_or_default());
        self.births = Births::default();
        match self.watcher.watch_births(dir, mask, name.to_owned()) {
            Ok(watch) => self.dir_watch = Some(watch),
            Err(error) => {
                self.dir_watch = None;
                self.trouble("the container's directory cannot be watched", &error);
            }
        }
    }

    fn watch_log(&mut self, i: usize) {
        let log = &mut self.open[i];
        let Some(file) = log.input.plain().filter(|_| !log.rotated) else { return };
        match self.watcher.watch_file(file, WatchMask::MODIFY) {
            Ok(watch) => log.watch = Some(watch),
            Err(error) => self.trouble("the log cannot be watched", &error),
        }
    }

    /// What the directory's watch has counted, and whether that is all that has happened: the kernel is asked where it matters.
    fn events(&self) -> Option<(watch::Births, bool)> {
        let watch = self.dir_watch.as_ref()?;
        let asked = self.unsettled.is_some() || self.doubtful || !self.births.is_even(watch.births());
        let quiet = asked && watch.catch_up();
        Some((watch.births(), quiet))
    }

    /// Looks at the log and its siblings, until the log is the same before and after.
    fn scan(&mut self) {
        let before = self.scanned;
        let mut any = false;
        for _ in 0..LOOKS {
            let events = self.events();
            let fresh = match self.find() {
                Ok(found) => self.take_in(found),
                Err(error) => return self.trouble("the log files cannot be opened", &error),
            };
            any |= fresh > 0;
            let full = self.open.len() >= OPEN_GENERATIONS;
            match FileId::at(&self.log_path) {
                Ok(Some(id)) if self.live() == Some(id) => {
                    self.account(events, fresh);
                    break;
                }
                Ok(Some(_)) if !full => self.births.found(fresh),
                Ok(_) => {
                    self.births.found(fresh);
                    break;
                }
                Err(error) => {
                    self.births.found(fresh);
                    return self.trouble("the log cannot be looked at", &error);
                }
            }
        }
        self.measure();
        if before && any && (!self.chain || self.doubtful) && self.dir_watch.is_some() {
            self.unsettled.get_or_insert_with(|| Instant::now() + EVENTS_PATIENCE);
        }
        let events = self.events();
        if self.live().is_some() && FileId::at(&self.log_path).ok().flatten() == self.live() {
            self.account(events, 0);
        }
    }

    /// The log and its siblings, newest name first, with the generation of each that is not open by inode.
    ///
    /// A listing made while files are renamed may lack some. So the walk goes on behind the last name listed as long as there
    /// are files: a rotation leaves one number free at a time.
    fn find(&mut self) -> io::Result<Vec<Found>> {
        let mut all: Vec<Found> = Vec::new();
        let listed = last_sibling(&self.log_path)?;
        for number in 0..=MAX_SIBLING {
            let last = all.last().map_or(0, |found| found.number);
            if number > listed.saturating_add(1).max(last + 2) {
                break;
            }
            let (input, id) = match open_sibling(&self.log_path, number) {
                Ok(Some(opened)) => opened,
                Ok(None) => continue,
                Err(error) if number == 0 || is_shortage(&error) => return Err(error),
                Err(error) => {
                    self.complain("a rotated log file cannot be opened", &error);
                    let Some(closed) = closed_sibling(&self.log_path, number, &error) else { continue };
                    closed
                }
            };
            let mut found = Found { number, id, input, generation: None, fault: None };
            self.identify(&mut found)?;
            all.push(found);
        }
        // What is not there any more may have given its inode to another.
        self.unreadable.retain(|id| all.iter().any(|found| found.id == *id));
        Ok(all)
    }

    /// Reads the beginning of a file that is not open by inode. Of a rotated one, an error is noted, not returned.
    fn identify(&mut self, found: &mut Found) -> io::Result<()> {
        if self.open.iter().any(|log| found.is_file_of(log)) {
            return Ok(());
        }
        match found.input.head() {
            Ok(head) => found.generation = generation(&head, found.number > 0),
            Err(error) if found.number == 0 => return Err(error),
            Err(error) if is_damage(&error) => {
                self.complain("a rotated log file is damaged", &error);
                found.fault = Some(Fault::Damaged(losses::of_damaged(&found.input, &error)));
            }
            Err(error) => {
                self.complain("a rotated log file cannot be read", &error);
                found.fault = Some(Fault::Passing);
            }
        }
        Ok(())
    }

    /// Opens what of `found` (newest first) is not open, done or delivered, each in its place.
    /// Says how many had not been seen before.
    fn take_in(&mut self, found: Vec<Found>) -> u64 {
        if let Some(live) = found.first().filter(|first| first.number == 0) {
            self.open.iter_mut().filter(|log| log.id != Some(live.id)).for_each(Log::rotate);
        }
        // One whose first line has come since must be known in its archive.
        for i in 0..self.open.len() {
            if let Err(error) = self.name_open(i) {
                self.trouble("the log cannot be read", &error);
            }
        }
        self.note_chain(&found);
        self.look_for_gap(&found);
        let is_known = |found: &&Found| found.generation.is_some_and(|generation| self.knows(generation));
        let is_met = |found: &&Found| is_known(found) || self.open.iter().any(|log| found.is(log));
        let known = found.iter().find(is_known).map_or(u32::MAX, |found| found.number);
        let met = found.iter().find(is_met).map_or(u32::MAX, |found| found.number);
        let (mut fresh, mut damage) = (0, None);
        // What is open and has no name any more is older than all that has one; and nothing goes before what is being read.
        let mut at = self.open.iter().take_while(|log| !found.iter().any(|found| found.is(log))).count();
        at = at.max(usize::from(self.open.front().is_some_and(|log| log.begun_source().is_some())));
        for mut found in found.into_iter().rev() {
            if let Some(i) = self.open.iter().position(|log| found.is(log)) {
                self.adopt(i, found);
                if let Some(loss) = damage.take() {
                    self.lose_before(i, loss);
                }
                // Never back: the live log is the last.
                at = at.max(i + 1);
                continue;
            }
            match found.fault.take() {
                Some(_) if self.unreadable.contains(&found.id) => continue,
                // Where something newer was met before, this was delivered, or reported.
                Some(Fault::Damaged(loss)) => {
                    damage = if found.number < met { Some(Loss::join(damage, loss)) } else { damage };
                    self.note_unreadable(found.id);
                    continue;
                }
                Some(Fault::Passing) if found.number > met => continue,
                Some(Fault::Passing) | None => {}
            }
            let has_room = self.open.len() < OPEN_GENERATIONS;
            self.crowded |= !has_room;
            if has_room && !self.is_settled(&found) && !self.is_too_late(at) {
                let rotation = self.scanned && !(self.open.is_empty() && self.done.is_empty());
                self.metrics.rotations.inc_by(u64::from(rotation));
                let superseded = found.number > known;
                self.insert(at, found, damage.take());
                self.open[at].superseded = superseded;
                at += 1;
                fresh += 1;
            }
        }
        if let Some(loss) = damage {
            self.lose_before(self.open.len(), loss);
        }
        self.scanned = true;
        fresh
    }

    /// Notes whether rotations leave files behind. They do not where the log is another one, but the newest sibling the same as
    /// before: that was not put there by Docker.
    fn note_chain(&mut self, found: &[Found]) {
        let newest = found.iter().find(|found| found.number > 0);
        let before = std::mem::replace(&mut self.newest, newest.map(|newest| (newest.id, newest.input.modified())));
        let is_open = |found: &Found| self.open.iter().any(|log| found.is(log));
        let is_rotated = found.first().is_some_and(|live| live.number == 0 && !is_open(live));
        let has_room = self.open.len() < OPEN_GENERATIONS;
        self.chain = match newest {
            None => false,
            Some(_) if !self.scanned || self.newest != before => true,
            Some(newest) if is_rotated && has_room => self.is_last(newest),
            Some(_) => self.chain || !has_room,
        };
    }

    /// Whether it is the generation that is known to be the last one; any is, where none is known.
    fn is_last(&self, found: &Found) -> bool {
        match (self.open.back(), self.done.back()) {
            (Some(log), _) => found.is(log),
            (None, Some((done, _))) => found.generation == Some(*done),
            (None, None) => true,
        }
    }

    /// Whether `at` is behind the log that is being written to, so that what goes there would never be read. Docker puts
    /// nothing there; it is read once the log is rotated.
    fn is_too_late(&mut self, at: usize) -> bool {
        let late = at == self.open.len() && self.live().is_some();
        if late {
            let error = io::Error::other("it appeared when the log that is newer was being read already");
            self.complain("a rotated log file is left aside until the next rotation", &error);
        }
        late
    }

    /// What is open already was found again: perhaps under another inode, of which one is to be read on.
    fn adopt(&mut self, i: usize, found: Found) {
        let log = &mut self.open[i];
        if found.is_file_of(log) {
            if matches!(log.input, Input::Closed(..)) {
                log.input = found.input;
            }
            if log.watch.is_none() {
                self.watch_log(i);
            }
            return;
        }
        let gone = matches!(log.input, Input::Gone);
        let complete = !found.input.ends_at(log.lines.end().saturating_sub(1)).unwrap_or(true);
        if !complete || !(gone || found.number == 0) {
            return;
        }
        log.input = found.input;
        log.id = Some(found.id);
        log.rotated = found.number > 0;
        if gone {
            (self.lost, self.doubt) = (None, None);
        }
        self.watch_log(i);
    }

    /// Opens what was found, with what is missing before it.
    fn insert(&mut self, at: usize, found: Found, missing: Option<Loss>) {
        let mut log = Log::new(found.input, found.id, found.number > 0, &self.metrics);
        if let Some(generation) = found.generation {
            self.name(&mut log, generation);
        }
        for loss in [self.orphan.take(), missing].into_iter().flatten() {
            log.lose(loss);
        }
        log.uncertain = self.scanned && self.dir_watch.is_some();
        self.open.insert(at, log);
        self.watch_log(at);
    }

    /// Says whose lines `log` holds, and from where it is to be read.
    fn name(&mut self, log: &mut Log, generation: Generation) {
        let key = self.key(generation);
        let mut start = self.start_of(generation);
        let size = log.input.size().ok().flatten().unwrap_or(u64::MAX);
        match self.positions.get(&key) {
            Some(delivered) if delivered.end() <= size => {
                log.delivered = delivered.clone();
                if !log.input.is_whole_up_to(delivered.end()) {
                    log.lose(Loss::new(
                        "the log has lost its end, which had been read, and has grown again; lines may be missing",
                    ));
                }
            }
            Some(_) => log.lose(Loss::new("the log has lost its end, which had been read; lines may be missing")),
            None => {
                if let Some(loss) = self.lost.take() {
                    log.lose(loss);
                }
                log.doubt = self.doubt.take();
            }
        }
        (self.lost, self.doubt) = (None, None);
        start = start.min(size);
        log.lines = Lines::new(start);
        log.source = Some(Arc::new(Source { container: self.container.clone(), generation }));
        log.measure();
    }

    /// Where reading of a generation begins.
    fn start_of(&self, generation: Generation) -> u64 {
        let done = self.done.iter().find(|(done, _)| *done == generation).map_or(0, |(_, end)| *end);
        let delivered = self.positions.get(&self.key(generation)).map_or(0, Ranges::low_water);
        done.max(delivered)
    }

    /// Whether anything of a generation was handed out, by this process or before.
    fn knows(&self, generation: Generation) -> bool {
        self.positions.get(&self.key(generation)).is_some() || self.done.iter().any(|(done, _)| *done == generation)
    }

    /// Whether there is nothing to be read of a file that nobody writes to.
    fn is_settled(&self, found: &Found) -> bool {
        // What was read to its end as a plain file is complete, even if its archive is not.
        let archive = matches!(found.input, Input::Gzip(_));
        if archive && self.done.iter().any(|(done, _)| Some(*done) == found.generation) {
            return true;
        }
        let start = found.generation.map_or(0, |generation| self.start_of(generation));
        found.number > 0 && (start == u64::MAX || found.input.ends_at(start).unwrap_or(false))
    }

    fn key(&self, generation: Generation) -> SourceKey {
        SourceKey { container: self.container.id.clone(), generation }
    }
}

async fn changed(watch: Option<&mut Watch>) {
    match watch {
        Some(watch) => watch.changed().await,
        None => pending().await,
    }
}

async fn reached(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time.into()).await,
        None => pending().await,
    }
}
