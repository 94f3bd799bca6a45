//! Wakes the collector when a file or a directory changes: one inotify instance for the whole process, since a host has few
//! (`fs.inotify.max_user_instances`, usually 128 for everything that runs on it).
//!
//! - A [`Watch`] says *that* something happened, hardly *what*: events are merged, can overflow and arrive late. Who is woken
//!   looks at the file system and believes only that. One thing the file system cannot say is counted here: how often one
//!   name in a directory was given to a file ([`Watcher::watch_births`]).
//! - Nothing runs while nothing happens.
//! - Each wake-up costs about as much as reading a hundred lines. So when they come fast ([`Pace`]), the descriptor is left
//!   alone for a millisecond at a time; what happens meanwhile is one wake-up. It is also taken out of epoll for that time:
//!   epoll is edge-triggered and would wake the thread for every event that does not equal the one before it.
//!
//! It knows nothing of logs. It reads no file.

use inotify::{EventMask, Inotify, WatchDescriptor, WatchMask, Watches};
use rustix::io::Errno;
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::sleep;

/// Names kept per watch until somebody takes them; beyond it they are dropped, since the consumer lists the directory anyway.
const MAX_NAMES: usize = 256;
/// Bytes of events taken from the kernel at once.
const EVENT_BYTES: usize = 16 << 10;
/// How long the descriptor is left unread while events come fast.
const LINGER: Duration = Duration::from_millis(1);
/// Lingers in a row before the pace is measured again, without lingering.
const LINGERS: u32 = 64;

/// The process's inotify instance. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Watcher {
    /// `None` when the instance could not be had: every `watch` fails, and the consumers poll.
    shared: Option<Arc<Shared>>,
}

impl Watcher {
    /// Opens the inotify instance and spawns the task that reads it on the current runtime. The task ends with the last
    /// `Watcher` and [`Watch`].
    ///
    /// # Errors
    /// When the limit of instances or descriptors is reached; the text names the setting to raise. [`Watcher::none`] is
    /// what to go on with.
    pub fn start() -> io::Result<Self> {
        let inotify = Inotify::init().map_err(|error| match Errno::from_io_error(&error) {
            Some(Errno::MFILE) => explain(
                &error,
                "no inotify instance left: raise fs.inotify.max_user_instances (sysctl -w fs.inotify.max_user_instances=512) \
                 or the limit of open files",
            ),
            _ => explain(&error, "inotify cannot be used"),
        })?;
        let watches = inotify.watches();
        let polled = inotify.as_fd().try_clone_to_owned()?;
        let shared = Arc::new_cyclic(|weak: &Weak<Shared>| {
            let task = tokio::spawn(read(polled, weak.clone()));
            let queue = Queue { inotify, buffer: vec![0; EVENT_BYTES] };
            let state = Mutex::new(State { watches, slots: HashMap::new() });
            Shared { state, queue: Mutex::new(queue), task: task.abort_handle() }
        });
        Ok(Self { shared: Some(shared) })
    }

    /// A watcher without inotify, for hosts where [`start`](Self::start) fails: every [`watch`](Self::watch) is an error.
    pub fn none() -> Self {
        Self { shared: None }
    }

    /// Watches what `path` names now, for the events of `mask`. A path may be watched several times; the kernel then
    /// reports the events of all masks to each.
    ///
    /// # Errors
    /// When there is no such file, or the limit of watches is reached; the text names the setting to raise.
    pub fn watch(&self, path: &Path, mask: WatchMask) -> io::Result<Watch> {
        self.add(path, mask, Slot::default())
    }

    /// As [`watch`](Self::watch) on a directory; [`Watch::births`] then counts how often `name` in it was given to a file, by
    /// creation or by renaming, as far as `mask` lets those events through.
    ///
    /// # Errors
    /// As [`watch`](Self::watch).
    pub fn watch_births(&self, path: &Path, mask: WatchMask, name: OsString) -> io::Result<Watch> {
        self.add(path, mask, Slot { counted: Some(name), ..Slot::default() })
    }

    fn add(&self, path: &Path, mask: WatchMask, slot: Slot) -> io::Result<Watch> {
        let Some(shared) = &self.shared else {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "inotify cannot be used on this host"));
        };
        let slot = Arc::new(slot);
        let mut state = shared.state();
        let wd = state.watches.add(path, mask | WatchMask::MASK_ADD).map_err(|error| match Errno::from_io_error(&error) {
            Some(Errno::NOSPC) => explain(
                &error,
                "no inotify watch left: raise fs.inotify.max_user_watches (sysctl -w fs.inotify.max_user_watches=524288)",
            ),
            _ => error,
        })?;
        state.slots.entry(wd.clone()).or_default().push(slot.clone());
        drop(state);
        Ok(Watch { wd, slot, shared: shared.clone() })
    }

    /// Watches an open file, whatever its name is by now: a path could lead to its successor already.
    ///
    /// # Errors
    /// As [`watch`](Self::watch).
    pub fn watch_file(&self, file: &File, mask: WatchMask) -> io::Result<Watch> {
        self.watch(Path::new(&format!("/proc/self/fd/{}", file.as_raw_fd())), mask)
    }
}

/// An error of the same kind that says what to do.
fn explain(error: &io::Error, advice: &str) -> io::Error {
    io::Error::new(error.kind(), format!("{advice}: {error}"))
}

/// Interest in one file or directory; ends when dropped.
#[derive(Debug)]
pub struct Watch {
    wd: WatchDescriptor,
    slot: Arc<Slot>,
    shared: Arc<Shared>,
}

impl Watch {
    /// Waits until something has happened since this function last returned, or since the watch began. It also returns
    /// when the kernel lost events, and once when the watched file is gone for good. Safe to cancel.
    pub async fn changed(&mut self) {
        while !self.slot.pending.swap(false, Ordering::AcqRel) {
            self.slot.filled.notified().await;
        }
    }

    /// Whether the watched file is gone, so that nothing will wake this watch again.
    pub fn ended(&self) -> bool {
        self.slot.ended.load(Ordering::Acquire)
    }

    /// The names that events in a watched directory carried since the last call, oldest first; not all of them when there
    /// were very many or the kernel lost events. A hint only.
    pub fn take_names(&mut self) -> Vec<OsString> {
        std::mem::take(&mut *self.slot.names())
    }

    /// The counts of a watch made by [`Watcher::watch_births`].
    pub fn births(&self) -> Births {
        Births { count: self.slot.births.load(Ordering::Acquire), losses: self.slot.losses.load(Ordering::Acquire) }
    }

    /// Reads every event there is, without waiting for the task that does so otherwise: what happened before this call is
    /// counted when it returns. False when the kernel still holds some, of what happens meanwhile.
    pub fn catch_up(&self) -> bool {
        self.shared.drain();
        rustix::io::ioctl_fionread(self.shared.queue().inotify.as_fd()).is_ok_and(|bytes| bytes == 0)
    }
}

/// What a [`Watch`] has counted since it began. Events from before may be among them when the directory was watched already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Births {
    /// How often the name was given to a file.
    pub count: u64,
    /// How often the kernel lost events: then the count is too low by an unknown number.
    pub losses: u64,
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        let Some(slots) = state.slots.get_mut(&self.wd) else {
            return; // The kernel ended the watch by itself: the file is gone.
        };
        slots.retain(|slot| !Arc::ptr_eq(slot, &self.slot));
        if slots.is_empty() {
            state.slots.remove(&self.wd);
            // Fails only when the kernel was first, and its event is still on the way.
            let _ = state.watches.remove(self.wd.clone());
        }
    }
}

/// Between a [`Watch`] and the reading task.
#[derive(Debug, Default)]
struct Slot {
    /// Set by the reading task, taken by `changed`.
    pending: AtomicBool,
    /// Signalled after `pending` is set.
    filled: Notify,
    /// The kernel has ended the watch.
    ended: AtomicBool,
    names: Mutex<Vec<OsString>>,
    /// The name that is counted.
    counted: Option<OsString>,
    births: AtomicU64,
    losses: AtomicU64,
}

impl Slot {
    fn note(&self, name: &OsStr, mask: EventMask) {
        if mask.intersects(EventMask::CREATE | EventMask::MOVED_TO) && self.counted.as_deref() == Some(name) {
            self.births.fetch_add(1, Ordering::AcqRel);
        }
        let mut names = self.names();
        if names.len() < MAX_NAMES {
            names.push(name.to_owned());
        }
    }

    fn names(&self) -> MutexGuard<'_, Vec<OsString>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        self.pending.store(true, Ordering::Release);
        self.filled.notify_one();
    }
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    queue: Mutex<Queue>,
    task: AbortHandle,
}

/// Where events come from.
#[derive(Debug)]
struct Queue {
    inotify: Inotify,
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct State {
    watches: Watches,
    /// Who is woken by which watch; several when the same file is watched several times.
    slots: HashMap<WatchDescriptor, Vec<Arc<Slot>>>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes every event there is and wakes whom it concerns; false when there was none.
    fn drain(&self) -> bool {
        let mut queue = self.queue();
        let Queue { inotify, buffer } = &mut *queue;
        let mut any = false;
        while let Ok(events) = inotify.read_events(buffer) {
            any = true;
            let mut state = self.state();
            for event in events {
                if event.mask.contains(EventMask::Q_OVERFLOW) {
                    for slot in state.slots.values().flatten() {
                        slot.losses.fetch_add(1, Ordering::AcqRel);
                        slot.wake();
                    }
                    continue;
                }
                for slot in state.slots.get(&event.wd).into_iter().flatten() {
                    if let Some(name) = event.name {
                        slot.note(name, event.mask);
                    }
                    slot.wake();
                }
                if event.mask.contains(EventMask::IGNORED) {
                    let slots = state.slots.remove(&event.wd);
                    slots.into_iter().flatten().for_each(|slot| slot.ended.store(true, Ordering::Release));
                }
            }
        }
        any
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The reading task: registered with epoll while the pace is easy, lingering while it is not.
async fn read(mut polled: OwnedFd, shared: Weak<Shared>) {
    loop {
        match register(polled) {
            Ok(fd) => match read_at_once(fd, &shared).await {
                Some(back) => polled = back,
                None => return,
            },
            Err((back, error)) => {
                tracing::warn!(%error, "inotify cannot be polled; looking at it every millisecond");
                polled = back;
            }
        }
        for _ in 0..LINGERS {
            sleep(LINGER).await;
            if !shared.upgrade().is_some_and(|shared| shared.drain()) {
                break;
            }
        }
    }
}

#[expect(
    deprecated,
    reason = "its successor is unsafe for types that may change their descriptor; OwnedFd owns one for good"
)]
fn register(polled: OwnedFd) -> Result<AsyncFd<OwnedFd>, (OwnedFd, io::Error)> {
    AsyncFd::try_with_interest(polled, Interest::READABLE).map_err(|error| error.into_parts())
}

/// Hands on every event as it comes, until the pace says busy. `None` when inotify cannot be read any more.
async fn read_at_once(fd: AsyncFd<OwnedFd>, shared: &Weak<Shared>) -> Option<OwnedFd> {
    let mut pace = Pace::default();
    let mut rested = Instant::now();
    while !pace.busy() {
        let mut guard = match fd.readable().await {
            Ok(guard) => guard,
            Err(error) => {
                tracing::error!(%error, "inotify has failed");
                return None;
            }
        };
        pace.woken_after(rested.elapsed());
        // Emptied below: an event that comes since is a new edge, which epoll reports whatever is cleared here.
        guard.clear_ready();
        if let Some(shared) = shared.upgrade() {
            shared.drain();
        }
        rested = Instant::now();
    }
    Some(fd.into_inner())
}

/// How fast wake-ups come: a moving average of the rest between them, over some thirty.
///
/// It begins slow, so that a short burst after silence is handed on at once: lingering is for a pace that lasts.
#[derive(Debug)]
struct Pace {
    rest_us: u32,
}

impl Pace {
    /// Shorter than this on average is busy: about 3,000 wake-ups a second.
    const BUSY_US: u32 = 300;
    /// A single rest counts for no more than this.
    const LONGEST_US: u32 = 10_000;

    fn woken_after(&mut self, rest: Duration) {
        let rest_us = rest.as_micros().min(u128::from(Self::LONGEST_US)) as u32;
        self.rest_us = (self.rest_us * 31 + rest_us) / 32;
    }

    fn busy(&self) -> bool {
        self.rest_us < Self::BUSY_US
    }
}

impl Default for Pace {
    /// Twice the bound: some twenty quick wake-ups until busy.
    fn default() -> Self {
        Self { rest_us: 2 * Self::BUSY_US }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Write as _;
    use tokio::time::timeout;

    const DEADLINE: Duration = Duration::from_secs(10);

    async fn must_change(watch: &mut Watch) {
        timeout(DEADLINE, watch.changed()).await.expect("the watch was not woken");
    }

    /// Whether the watch is quiet although the runtime had every chance to deliver an event: a second watch on another
    /// file, touched later, has been woken.
    async fn is_quiet(watcher: &Watcher, watch: &mut Watch, dir: &Path) -> bool {
        let other = dir.join("other");
        fs::write(&other, "").unwrap();
        let mut later = watcher.watch(&other, WatchMask::MODIFY).unwrap();
        fs::write(&other, "x").unwrap();
        must_change(&mut later).await;
        timeout(Duration::ZERO, watch.changed()).await.is_err()
    }

    #[tokio::test]
    async fn wakes_once_for_what_happened_and_then_waits() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        fs::write(&path, "").unwrap();
        let watcher = Watcher::start().unwrap();
        let mut watch = watcher.watch(&path, WatchMask::MODIFY).unwrap();
        assert!(is_quiet(&watcher, &mut watch, dir.path()).await);
        let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
        file.write_all(b"a\n").unwrap();
        must_change(&mut watch).await;
        assert!(is_quiet(&watcher, &mut watch, dir.path()).await);
        // Before anybody waits, and more than once.
        file.write_all(b"b\n").unwrap();
        file.write_all(b"c\n").unwrap();
        assert!(!is_quiet(&watcher, &mut watch, dir.path()).await);
        assert!(is_quiet(&watcher, &mut watch, dir.path()).await);
    }

    #[tokio::test]
    async fn cancelling_a_wait_keeps_the_event() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        fs::write(&path, "").unwrap();
        let watcher = Watcher::start().unwrap();
        let mut watch = watcher.watch(&path, WatchMask::MODIFY).unwrap();
        for _ in 0..100 {
            // Polled once, then dropped, at whatever moment the event comes.
            fs::write(&path, "x").unwrap();
            let mut woken = false;
            while !woken {
                woken = tokio::select! { biased; () = watch.changed() => true, () = tokio::task::yield_now() => false };
            }
        }
    }

    #[tokio::test]
    async fn names_what_changed_in_a_directory() {
        let dir = tempfile::tempdir().unwrap();
        let watcher = Watcher::start().unwrap();
        let mut watch = watcher.watch(dir.path(), WatchMask::CREATE | WatchMask::MOVED_TO).unwrap();
        fs::write(dir.path().join("a"), "").unwrap();
        fs::rename(dir.path().join("a"), dir.path().join("b")).unwrap();
        let mut names = Vec::new();
        while names.len() < 2 {
            must_change(&mut watch).await;
            names.extend(watch.take_names());
        }
        assert_eq!(names, ["a", "b"]);
    }

    #[tokio::test]
    async fn counts_how_often_a_name_was_given_to_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let (log, other) = (dir.path().join("log"), dir.path().join("other"));
        let watcher = Watcher::start().unwrap();
        let mask = WatchMask::CREATE | WatchMask::MOVE | WatchMask::DELETE;
        let mut watch = watcher.watch_births(dir.path(), mask, "log".into()).unwrap();
        assert!(watch.catch_up());
        for _ in 0..MAX_NAMES {
            fs::write(&log, "").unwrap();
            fs::rename(&log, &other).unwrap();
        }
        fs::rename(&other, &log).unwrap();
        assert!(watch.catch_up());
        must_change(&mut watch).await;
        assert_eq!(watch.births(), Births { count: MAX_NAMES as u64 + 1, losses: 0 });
    }

    #[tokio::test]
    async fn two_watches_on_one_path_live_apart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        fs::write(&path, "").unwrap();
        let watcher = Watcher::start().unwrap();
        let mut first = watcher.watch(&path, WatchMask::MODIFY).unwrap();
        let second = watcher.watch(&path, WatchMask::ATTRIB).unwrap();
        fs::write(&path, "x").unwrap();
        must_change(&mut first).await;
        drop(second);
        fs::write(&path, "y").unwrap();
        must_change(&mut first).await;
        drop(first);
        assert!(watcher.shared.as_ref().unwrap().state().slots.is_empty());
    }

    #[tokio::test]
    async fn an_open_file_is_watched_whatever_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut file = File::create(&path).unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "its successor").unwrap();
        let watcher = Watcher::start().unwrap();
        let mut watch = watcher.watch_file(&file, WatchMask::MODIFY).unwrap();
        file.write_all(b"x").unwrap();
        must_change(&mut watch).await;
    }

    #[tokio::test]
    async fn a_removed_file_wakes_its_watch_and_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        fs::write(&path, "").unwrap();
        let watcher = Watcher::start().unwrap();
        let mut watch = watcher.watch(&path, WatchMask::MODIFY).unwrap();
        fs::remove_file(&path).unwrap();
        must_change(&mut watch).await;
        assert!(watch.ended());
        assert!(watcher.shared.as_ref().unwrap().state().slots.is_empty());
    }

    /// The runtime has one thread, which does not read while this test fills the kernel's queue.
    #[tokio::test]
    async fn an_overflowing_queue_wakes_every_watch() {
        let limit = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
        let limit: usize = limit.trim().parse().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let [mut a, mut b] = ["a", "b"].map(|name| File::create(dir.path().join(name)).unwrap());
        fs::write(dir.path().join("untouched"), "").unwrap();
        let watcher = Watcher::start().unwrap();
        let mut untouched = watcher.watch(&dir.path().join("untouched"), WatchMask::MODIFY).unwrap();
        let _a = watcher.watch_file(&a, WatchMask::MODIFY).unwrap();
        let _b = watcher.watch_file(&b, WatchMask::MODIFY).unwrap();
        for _ in 0..=limit / 2 {
            a.write_all(b"x").unwrap();
            b.write_all(b"x").unwrap();
        }
        must_change(&mut untouched).await;
        assert_eq!(untouched.births(), Births { count: 0, losses: 1 });
    }

    #[tokio::test]
    async fn without_inotify_every_watch_is_an_error() {
        let error = Watcher::none().watch(Path::new("/"), WatchMask::CREATE).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Unsupported);
    }

    #[test]
    fn the_pace_is_busy_above_three_thousand_a_second_and_never_at_one_thousand() {
        #[track_caller]
        fn check(rests_us: impl IntoIterator<Item = u64>, expected: bool) {
            let mut pace = Pace::default();
            let busy = rests_us.into_iter().any(|rest| {
                pace.woken_after(Duration::from_micros(rest));
                pace.busy()
            });
            assert_eq!(busy, expected);
        }
        check([20; 100], true);
        check([250; 1000], true);
        check([1000; 10_000], false);
        check([500; 10_000], false);
        // Ten lines at once, a hundred times a second.
        check((0..10_000).map(|i| if i % 10 == 0 { 10_000 } else { 20 }), false);
        // Out of the blue: the first twenty are handed on at once.
        check([20; 20], false);
    }

    /// Fewer wake-ups than milliseconds, and a last event that is not forgotten while lingering.
    #[tokio::test]
    async fn fast_events_are_gathered() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut file = File::create(&path).unwrap();
        let watcher = Watcher::start().unwrap();
        let mut watch = watcher.watch(&path, WatchMask::MODIFY).unwrap();
        let writer = std::thread::spawn(move || {
            let begun = Instant::now();
            let mut written = 0u64;
            while begun.elapsed() < Duration::from_millis(500) {
                file.write_all(b"x").unwrap();
                written += 1;
            }
            (written, begun.elapsed())
        });
        let mut wakes = 0;
        while !writer.is_finished() {
            if timeout(Duration::from_millis(20), watch.changed()).await.is_ok() {
                wakes += 1;
            }
        }
        let (written, took) = writer.join().unwrap();
        // About one each millisecond; on a machine that is busy, now and then a phase without lingering.
        let most = (took.as_millis() as u64 * 2).max(written / 20);
        assert!(wakes < most, "{wakes} wake-ups for {written} writes in {took:?}");
    }
}
