//! The state directory is locked, damaged, read-only, full, or taken away: collection goes on, and nothing that the log still
//! holds is lost or comes twice.

use crate::harness::{Forwarder, World, messages, numbered, play, play_into, wait, write_numbered};
use rask::generate::{Format, Progress};
use rask::layout::Container;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;

/// Starts a forwarder whose own log goes to a file.
fn forward_logged(world: &World) -> (Forwarder, PathBuf) {
    let log = world.containers().with_file_name("forwarder.log");
    let mut command = world.command("api");
    command.stderr(OpenOptions::new().create(true).append(true).open(&log).expect("a file"));
    (Forwarder::start(command, &world.state()), log)
}

/// What it said that contains `text`.
fn said(log: &Path, text: &str) -> usize {
    fs::read_to_string(log).expect("text").lines().filter(|line| line.contains(text)).count()
}

/// Runs the forwarder to its own end: exit code and what it says.
fn run_out(mut command: std::process::Command) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = command.stderr(Stdio::piped()).output().expect("the binary starts");
    (status.code(), String::from_utf8_lossy(&stderr).into_owned())
}

/// Lines that are delivered, then some that wait in the spool, then SIGKILL.
fn lines_in_the_spool(world: &World, progress: &Progress, spooled: u64) -> Container {
    world.receiver.start_listening().expect("the port is still ours");
    let forwarder = world.forward("api");
    let container = play_into(&play(Format::Go, 2_000, 0), world.container("api"), progress);
    world.wait_for_play("api", progress);
    world.receiver.stop_listening();
    let container = play_into(&play(Format::Go, spooled, 0), container, progress);
    let all = 2_000.0 + spooled as f64;
    wait("all is read", || forwarder.metric("lines_read_total") >= all);
    let in_spool = || forwarder.metrics().get("lines_pending{stage=\"spool\"}").copied().unwrap_or(0.0);
    wait("all is in the spool", || in_spool() >= spooled as f64 * 0.9);
    forwarder.kill();
    container
}

#[test]
fn a_second_forwarder_is_told_whose_directory_it_is_and_what_to_do() {
    let world = World::new();
    let first = world.forward("app");
    let (code, text) = run_out(world.command("app"));
    let state = world.state();
    assert_eq!(code, Some(78), "{text}");
    assert!(text.contains(state.to_str().expect("text")) && text.contains("DISK_FALLBACK_PATH"), "{text}");
    assert!(text.contains("in use by another"), "{text}");
    let mut container = world.container("app");
    write_numbered(&mut container, "line", 0..10);
    world.wait_for_records(10);
    first.assert_conserved();
}

#[test]
fn a_directory_that_cannot_be_used_is_named() {
    let world = World::new();
    let dir = tempfile::tempdir().expect("a directory");
    fs::write(dir.path().join("file"), "").expect("written");
    let mut wheres = vec![dir.path().join("file/state")];
    let read_only = dir.path().join("read-only");
    fs::create_dir(&read_only).expect("a directory");
    let mount = Mount::tmpfs(&read_only, "size=1m,ro", true);
    wheres.extend(mount.is_some().then(|| read_only.join("state")));
    for state in wheres {
        let mut command = world.command("app");
        command.env("DISK_FALLBACK_PATH", &state);
        let (code, text) = run_out(command);
        assert_eq!(code, Some(78), "{text}");
        assert!(text.contains(state.to_str().expect("text")) && text.contains("DISK_FALLBACK_PATH"), "{text}");
    }
}

/// Every file of the state directory damaged at once, each in a way of its own; again and again on the same directory.
#[test]
fn damage_everywhere_at_once_costs_nothing_that_the_log_still_holds() {
    let world = World::new();
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let mut said_so = 0;
    for round in 0..6 {
        // Each round has a container of its own beside those of the rounds before.
        let _container = lines_in_the_spool(&world, &Progress::default(), 3_000);
        let hit = damage(&world.state(), &mut random);
        eprintln!("seed {seed}, round {round}: {hit:?}");
        world.receiver.start_listening().expect("the port is still ours");
        let (forwarder, log) = forward_logged(&world);
        let expected = (round + 1) * 5_000;
        world.wait_for_records(expected);
        forwarder.assert_conserved();
        world.receiver.ledger(|ledger| assert_eq!(ledger.violations(), [] as [String; 0]));
        assert_eq!(world.receiver.totals().records, expected, "nothing twice");
        assert_eq!(forwarder.terminate().code(), Some(0));
        let errors = said(&log, "ERROR");
        // Not in every round: all of the damage may be where nothing stands, or look as if a write had been cut short by a kill.
        said_so += usize::from(errors > 0);
        let (forwarder, log) = forward_logged(&world);
        assert_eq!(said(&log, "ERROR"), errors, "once: {}", fs::read_to_string(&log).expect("text"));
        assert_eq!(forwarder.terminate().code(), Some(0));
    }
    assert!(said_so >= 3, "it says so: in {said_so} of 6 rounds");
}

/// Damages the segments and what holds positions. Returns what was done.
fn damage(state: &Path, random: &mut fastrand::Rng) -> Vec<String> {
    let below = |dir: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
        entries.filter(|path| path.is_file()).collect()
    };
    let mut hit = Vec::new();
    fs::write(state.join("index/snap.00000000000001.generating"), b"half").expect("written");
    let mut files = [below(&state.join("spool")), below(&state.join("index"))].concat();
    files.extend(["cursor.a", "cursor.b"].map(|name| state.join(name)));
    for path in files {
        let len = fs::metadata(&path).expect("there").len();
        let file = OpenOptions::new().write(true).open(&path).expect("a file");
        let garbage: Vec<u8> = (0..random.usize(1..5_000)).map(|_| random.u8(..)).collect();
        let at = random.u64(..len.max(1));
        let what = match random.u8(..5) {
            0 => file.set_len(at).map(|()| "cut"),
            1 => file.write_all_at(&garbage, at).map(|()| "garbage in the middle"),
            2 => file.write_all_at(&garbage, 0).map(|()| "garbage at the start"),
            3 => fs::write(&path, &garbage).map(|()| "nothing but garbage"),
            _ => fs::remove_file(&path).map(|()| "deleted"),
        };
        let name = path.strip_prefix(state).expect("below").display().to_string();
        hit.push(format!("{name}: {} at {at} of {len}", what.expect("it can be damaged")));
    }
    hit
}

/// SIGKILL within the first milliseconds, with a full spool and index to be read: what sled leaves half-made is no obstacle.
#[test]
fn killed_while_it_opens_its_state() {
    let world = World::new();
    let progress = Progress::default();
    let _container = lines_in_the_spool(&world, &progress, 40_000);
    for _ in 0..40 {
        let mut child = world.command("api").stderr(Stdio::null()).spawn().expect("the binary starts");
        // Any moment of its opening is right; no condition is waited for.
        std::thread::sleep(Duration::from_micros(fastrand::u64(..60_000)));
        child.kill().expect("our child");
        child.wait().expect("our child");
    }
    world.receiver.start_listening().expect("the port is still ours");
    let (forwarder, log) = forward_logged(&world);
    world.assert_exact("api", &progress);
    forwarder.assert_conserved();
    assert_eq!(said(&log, "damaged"), 0, "a kill is not damage: {}", fs::read_to_string(&log).expect("text"));
    assert_eq!(forwarder.terminate().code(), Some(0));
}

#[test]
fn a_state_directory_that_is_taken_away_is_made_anew() {
    let world = World::new();
    let progress = Progress::default();
    let (forwarder, log) = forward_logged(&world);
    let container = play_into(&play(Format::Go, 2_000, 0), world.container("api"), &progress);
    world.wait_for_play("api", &progress);
    fs::remove_dir_all(world.state()).expect("removed");
    let container = play_into(&play(Format::Go, 2_000, 0), container, &progress);
    world.wait_for_play("api", &progress);
    wait("it is there again", || world.state().join("cursor.a").exists());
    wait("it answers there", || forwarder.get("/healthz").is_some_and(|(status, _)| status == 200));
    forwarder.assert_conserved();
    // It serves: an outage and a restart find everything in it.
    world.receiver.stop_listening();
    let container = play_into(&play(Format::Go, 2_000, 0), container, &progress);
    wait("the outage is in the spool", || fs::read_dir(world.state().join("spool")).is_ok_and(|dir| dir.count() > 0));
    forwarder.kill();
    assert_eq!(said(&log, "was taken away"), 1, "{}", fs::read_to_string(&log).expect("text"));
    world.receiver.start_listening().expect("the port is still ours");
    let (forwarder, log) = forward_logged(&world);
    world.assert_exact("api", &progress);
    forwarder.assert_conserved();
    let read = forwarder.metric("lines_read_total");
    assert!(read <= 2_000.0, "it remembers what was acknowledged: {read} lines are read");
    assert_eq!(said(&log, "ERROR"), 1);
    drop(container);
}

/// A file system of its own for a directory; `None`, and said, where none can be mounted (it needs root).
struct Mount(PathBuf);

impl Mount {
    fn tmpfs(at: &Path, options: &str, read_only: bool) -> Option<Self> {
        let flags = if read_only { rustix::mount::MountFlags::RDONLY } else { rustix::mount::MountFlags::empty() };
        let options = std::ffi::CString::new(options.trim_end_matches(",ro")).expect("text");
        match rustix::mount::mount("tmpfs", at, "tmpfs", flags, options.as_c_str()) {
            Ok(()) => Some(Self(at.to_owned())),
            Err(error) => {
                eprintln!("SKIPPED: no file system can be mounted here ({error}); run as root");
                None
            }
        }
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH);
    }
}

/// Fills a file system to its last byte.
fn fill(path: &Path) {
    let file = File::create(path).expect("a file");
    let mut end = 0;
    while let Ok(written) = file.write_at(&[7; 4096], end) {
        end += written as u64;
        if written == 0 {
            break;
        }
    }
}

/// The spool fills the disk, then somebody else takes what was reserved; the forwarder is killed and started on the full disk; then
/// there is room again.
#[test]
fn a_disk_that_fills_up_stops_reading_and_loses_nothing() {
    let world = World::new();
    let state = world.state();
    fs::create_dir(&state).expect("a directory");
    let Some(_mount) = Mount::tmpfs(&state, "size=12m", false) else { return };
    let progress = Progress::default();
    let (forwarder, log) = forward_logged(&world);
    world.receiver.stop_listening();
    // Does not compress to less than the disk.
    let lines = rask::generate::Play { size: 600, ..play(Format::Go, 60_000, 0) };
    let container = play_into(&lines, world.container("api"), &progress);
    let full = |forwarder: &Forwarder| {
        forwarder.get("/readyz").is_some_and(|(status, body)| status == 503 && body.contains("spool is full"))
    };
    wait("the spool is full", || full(&forwarder) || forwarder.metric("lines_pending") >= 60_000.0);
    let whole = forwarder.metric("lines_pending") >= 60_000.0;
    fill(&state.join("filler"));
    assert!(whole || forwarder.metric("lines_read_total") < 60_000.0, "reading has stopped");
    assert_eq!(forwarder.get("/healthz").map(|(status, _)| status), Some(200), "full is no illness");
    forwarder.kill();
    let (forwarder, _) = forward_logged(&world);
    let container = play_into(&play(Format::Go, 1_000, 0), container, &progress);
    wait("it notices", || forwarder.metric("retries_total") > 0.0);
    fs::remove_file(state.join("filler")).expect("removed");
    world.receiver.start_listening().expect("the port is still ours");
    world.assert_exact("api", &progress);
    forwarder.assert_conserved();
    wait("the spool takes lines again", || forwarder.get("/readyz").is_some_and(|(status, _)| status == 200));
    assert!(!whole, "the test fills the disk");
    assert_eq!(forwarder.terminate().code(), Some(0));
    let quarantine = fs::read_dir(state.join("quarantine")).map_or(0, Iterator::count);
    assert_eq!((said(&log, "damaged"), quarantine), (0, 0), "a full disk damages nothing");
    drop(container);
}

/// The cursor slots alone are enough.
#[test]
fn without_its_index_a_restart_reads_nothing_again() {
    let world = World::new();
    let mut container = world.container("app");
    let forwarder = world.forward("app");
    write_numbered(&mut container, "line", 0..500);
    world.wait_for_records(500);
    assert_eq!(forwarder.terminate().code(), Some(0));
    fs::remove_dir_all(world.state().join("index")).expect("removed");
    fs::write(world.state().join("index"), b"a file in its place").expect("written");
    let forwarder = world.forward("app");
    write_numbered(&mut container, "line", 500..600);
    world.wait_for_records(600);
    assert_eq!(forwarder.metric("lines_read_total"), 100.0);
    assert_eq!(messages(&world.receiver), numbered("line", 0..600));
    forwarder.assert_conserved();
}
