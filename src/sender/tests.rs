//! The sender over a real store against a receiver that hangs, a disk that is slow, and a state directory that goes away.

use super::*;
use crate::position::{Cover, Generation, Range, Ranges};
use crate::sender::spool::fault::faulty::{self, Disk};
use crate::sender::spool::{DeadLetter, Options};
use crate::source::{Container, SourceKey};
use rask::receiver::{Fault, Options as Receives, Receiver};
use std::fs;
use std::path::PathBuf;
use tempfile::TempDir;
use tokio::runtime::Runtime;

/// Long enough for a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn key(container: u8) -> SourceKey {
    SourceKey { container: format!("{container:02x}").repeat(32), generation: Generation(u64::from(container)) }
}

/// A record with `<number> <noise>` as its message, newline included.
fn record(container: u8, number: u64, bytes: usize) -> String {
    let mut random = fastrand::Rng::with_seed(number ^ u64::from(container) << 40);
    let noise: String = (0..bytes).map(|_| random.alphanumeric()).collect();
    let id = key(container).container;
    format!(
        "{{\"service_type\":\"plain\",\"log_type\":\"plain\",\"message\":\"{number} {noise}\",\
         \"timestamp\":\"2026-01-01T00:00:00Z\",\"stream\":\"stdout\",\"container_id\":\"{id}\",\
         \"service_name\":\"app\",\"fields\":{{}}}}\n"
    )
}

/// One line of a container, as a batch of its own.
pub(crate) fn batch(container: u8, number: u64, bytes: usize) -> Batch {
    let mut cover = Cover::default();
    cover.push(1, &[Range::new(number, number + 1)]);
    let body = record(container, number, bytes).into();
    Batch { key: key(container), body, cover, carried: Vec::new(), lines: 1, oldest_ms: 0, again: false }
}

/// The same, refused.
pub(crate) fn letter(container: u8, number: u64, bytes: usize) -> DeadLetter {
    let Batch { key, body, cover, lines, .. } = batch(container, number, bytes);
    DeadLetter {
        key,
        cover: cover.ranges(),
        carried: Vec::new(),
        lines,
        record: body,
        status: 400,
        answer: "no".into(),
    }
}

/// A fault for batches that hold this record.
fn refuses(number: u64) -> Fault {
    Fault::RefuseRecord(format!("\"message\":\"{number} "))
}

/// A sender that is driven by hand, and everything around it.
struct Bench {
    runtime: Runtime,
    sender: Sender,
    store: Store,
    metrics: Metrics,
    receiver: Receiver,
    disk: Arc<Disk>,
    config: Config,
    state: PathBuf,
    _dir: TempDir,
    /// Lines handed to the sender.
    read: u64,
}

fn begin(config: &Config, disk: &Arc<Disk>) -> (Store, Sender, Metrics) {
    let metrics = Metrics::new();
    faulty::adopt(Some(disk.clone()));
    let options = Options { dir: config.state_dir.clone(), max_bytes: config.max_disk_bytes, spooling: true };
    let (store, _) = Store::open(options, metrics.clone()).unwrap();
    faulty::adopt(None);
    let target = Target::new(config, metrics.clone()).unwrap();
    let sender = Sender::new(config, target, Some(store.clone()), metrics.clone(), Arc::new(Health::new()));
    (store, sender, metrics)
}

impl Bench {
    fn new(receives: Receives, connections: &str) -> Self {
        let dir =
            if PathBuf::from("/dev/shm").is_dir() { tempfile::tempdir_in("/dev/shm") } else { tempfile::tempdir() };
        let dir = dir.unwrap();
        let state = dir.path().join("state");
        let receiver = Receiver::start(receives).unwrap();
        let config = Config::from_vars(&[
            ("TARGET_SERVICE", "app"),
            ("RASK_ENDPOINT", &receiver.url()),
            ("DISK_FALLBACK_PATH", state.to_str().unwrap()),
            ("FLUSH_INTERVAL_MS", "100"),
            ("MAX_CONNECTIONS", connections),
        ])
        .unwrap();
        let disk = Disk::new(&state, 1);
        let (store, sender, metrics) = begin(&config, &disk);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        Self { runtime, sender, store, metrics, receiver, disk, config, state, _dir: dir, read: 0 }
    }

    /// A clean end, as the pipeline makes it, or none once everything is safe; and the next process.
    fn restart(&mut self, killed: bool) {
        if !killed {
            self.sender.close_input();
        }
        self.drive("everything is delivered or durable", |bench| bench.sender.is_drained());
        if killed {
            self.sync();
            self.disk.die();
        }
        // The connections go with their runtime.
        self.runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        if killed {
            self.store.clone().crash();
            self.disk.revive();
        } else {
            self.store.clone().close();
        }
        (self.store, self.sender, self.metrics) = begin(&self.config, &self.disk);
        self.read = 0;
    }

    /// One line has been parsed.
    fn read(&mut self, container: u8, bytes: usize) {
        let (text, number) = (record(container, self.read, bytes), self.read);
        let records = self.records_for(container);
        records.body.extend_from_slice(text.as_bytes());
        records.cover(&[Range::new(number, number + 1)], 1, Instant::now());
        self.read += 1;
    }

    /// A record that stands for no bytes.
    fn gap(&mut self, container: u8, number: u64) {
        let records = self.records_for(container);
        records.body.extend_from_slice(record(container, number, 10).as_bytes());
        records.cover(&[], 0, Instant::now());
    }

    fn records_for(&mut self, container: u8) -> &mut Records {
        let SourceKey { container: id, generation } = key(container);
        let source = Arc::new(Source { container: Container::new(&id, "app").into(), generation });
        self.sender.records_for(&source)
    }

    /// Waits for an event, not for long.
    fn turn(&mut self) {
        let turn = async { tokio::time::timeout(Duration::from_millis(1), self.sender.event()).await };
        let _ = self.runtime.block_on(turn);
    }

    /// What a pipeline does, until `reached` holds; looked at before anything that was launched can land, too.
    fn drive(&mut self, what: &str, mut reached: impl FnMut(&Self) -> bool) {
        let until = Instant::now() + PATIENCE;
        while !reached(self) {
            assert!(Instant::now() < until, "waited too long: {what}");
            self.sender.launch();
            if reached(self) {
                return;
            }
            self.turn();
        }
    }

    /// Numbers of the records that are dead letters.
    fn set_aside(&self) -> Vec<u64> {
        let mut numbers = Vec::new();
        let number = |record: String| serde_json::from_str::<serde_json::Value>(&record).unwrap();
        spool::dead_letters(&self.state, |letter| {
            let message = number(letter.record)["message"].as_str().unwrap().to_owned();
            numbers.push(message.split(' ').next().unwrap().parse().unwrap());
            Ok(())
        })
        .unwrap();
        numbers
    }

    fn sync(&self) {
        self.runtime.block_on(self.store.sync()).unwrap();
    }

    /// Numbers of the records of a container that have come, in order.
    fn came(&self, container: u8) -> Vec<u64> {
        let id = key(container).container;
        let records = self.receiver.records().into_iter().filter(|record| record.container_id == id);
        records.map(|record| record.message.split(' ').next().unwrap().parse().unwrap()).collect()
    }

    /// Everything that was read has become something, and nothing has become two things.
    fn assert_conserved(&self) {
        self.sync();
        let dropped = |reason| self.metrics.lines_dropped.with_label_values(&[reason]).get();
        let spooled = self.metrics.lines_pending.with_label_values(&["spool"]).get() as u64;
        let went =
            self.metrics.lines_delivered.get() + spooled + dropped("spool_corrupt") + self.sender.undelivered_lines();
        let recovered = self.metrics.lines_recovered.get();
        assert_eq!(self.read + recovered, went, "recovered {recovered}, dropped {}", dropped("spool_corrupt"));
    }
}

/// The state directory is taken away while a batch from it is in the air, which arrives, or comes back and goes first.
#[test]
fn a_frame_in_the_air_outlives_its_directory() {
    for fails in [false, true] {
        let mut bench = Bench::new(Receives::default(), "1");
        bench.receiver.stop_listening();
        (0..3).for_each(|_| bench.read(1, 10));
        bench.drive("they are in the spool", |bench| bench.sender.is_drained());
        bench.receiver.set_fault(if fails { Fault::Hang } else { Fault::None });
        bench.receiver.start_listening().unwrap();
        let aloft = |bench: &Bench| bench.sender.aloft.iter().any(|aloft| aloft.frame.is_some());
        let asked = bench.receiver.totals().requests;
        bench.drive("the frame is in the air", |bench| {
            aloft(bench) && (!fails || bench.receiver.totals().requests > asked)
        });
        fs::remove_dir_all(&bench.state).unwrap();
        bench.sync();
        assert!(aloft(&bench), "its landing is not known yet");
        assert_eq!(bench.store.usage().frames, 0);
        bench.receiver.set_fault(Fault::None);
        // What is read now could fly at once.
        bench.sender.patience = PATIENCE;
        bench.drive("it has landed", |bench| bench.sender.aloft.is_empty());
        (0..2).for_each(|_| bench.read(1, 10));
        bench.drive("all have come", |bench| bench.receiver.totals().records == 5 && bench.sender.is_drained());
        assert_eq!(bench.came(1), [0, 1, 2, 3, 4], "fails: {fails}");
        bench.drive("nothing is in the air", |bench| bench.sender.aloft.is_empty());
        bench.assert_conserved();
        assert_eq!(bench.metrics.lines_recovered.get(), 3, "what was given up has come through");
    }
}

/// Bytes of batches in memory, each counted once.
fn held(sender: &Sender) -> usize {
    let ready = sender.ready_frames.values().flat_map(|load| load.parts.iter());
    let aloft = sender.aloft.iter().filter_map(|aloft| aloft.batch.as_ref());
    let appending = sender.appending.as_ref().map(|(outgoing, _)| outgoing);
    let closed = sender.outbox.iter().chain(appending).map(|outgoing| &outgoing.batch);
    let batches: BTreeMap<_, _> =
        ready.chain(aloft).chain(closed).map(|batch| (Arc::as_ptr(batch), batch.body.len())).collect();
    batches.values().sum::<usize>() + sender.open.iter().map(|records| records.body.len()).sum::<usize>()
}

/// Batches of several containers are in the air and in the spool while nobody answers, and then come back.
#[test]
fn many_containers_take_no_more_memory_than_few() {
    let mut bench = Bench::new(Receives::default(), "16");
    bench.receiver.set_fault(Fault::Hang);
    let mut container = 0;
    let mut fill = |bench: &mut Bench| {
        while bench.sender.has_room() {
            container += 1;
            bench.read(container, limits::BATCH_BYTES - 1000);
            bench.sender.launch();
        }
    };
    // However long that takes.
    let patience = std::mem::replace(&mut bench.sender.patience, PATIENCE);
    fill(&mut bench);
    assert!(bench.sender.aloft.len() >= 3);
    bench.sender.patience = patience;
    bench.drive("what is in the air is in the spool", |bench| bench.sender.is_drained());
    fill(&mut bench);
    assert!(held(&bench.sender) < limits::SENDER_BYTES, "{}", held(&bench.sender));
    bench.drive("the rest is in the spool", |bench| bench.sender.is_drained());
    bench.receiver.stop_listening();
    bench.drive("they have come back", |bench| bench.sender.aloft.is_empty() && bench.sender.is_drained());
    assert!(held(&bench.sender) < limits::BATCH_BYTES * 3 / 2, "{}", held(&bench.sender));
    bench.receiver.set_fault(Fault::None);
    bench.receiver.start_listening().unwrap();
    bench.drive("all have come", |bench| bench.receiver.totals().records == bench.read);
    bench.drive("nothing is in the air", |bench| bench.sender.aloft.is_empty());
    (1..=bench.read as u8).for_each(|container| assert_eq!(bench.came(container), [u64::from(container) - 1]));
    bench.assert_conserved();
}

/// Rule 6, while no sync ever ends: what is sent after an acknowledgement that is not on disk was sent soon after it.
#[test]
fn a_slow_disk_bounds_what_a_forgetful_receiver_gets_twice() {
    let mut bench = Bench::new(Receives { forgetful: true, ..Receives::default() }, "1");
    bench.disk.slow_down(PATIENCE * 2);
    // A container that is new hurries a checkpoint, which must not take the first acknowledgement along.
    bench.receiver.set_fault(Fault::SlowMs(20));
    let (mut launches, mut first_ack) = (Vec::new(), None);
    let begun = Instant::now();
    while first_ack.is_none_or(|acked: Instant| acked.elapsed() < limits::UNSAVED_MAX * 6) {
        assert!(begun.elapsed() < Duration::from_secs(30), "nothing is acknowledged");
        bench.read(1, 10);
        let (before, flights) = (Instant::now(), bench.sender.last_flight);
        bench.sender.launch();
        if bench.sender.last_flight > flights {
            launches.push(before);
        }
        bench.turn();
        if bench.metrics.lines_delivered.get() > 0 && first_ack.is_none() {
            first_ack = Some(Instant::now());
            bench.receiver.set_fault(Fault::None);
        }
    }
    let first_ack = first_ack.unwrap();
    bench.disk.die();
    bench.store.crash();
    bench.disk.revive();
    bench.disk.slow_down(Duration::ZERO);
    faulty::adopt(Some(bench.disk.clone()));
    let options = Options { dir: bench.state.clone(), max_bytes: 10 << 20, spooling: true };
    let (_store, recovered) = Store::open(options, Metrics::new()).unwrap();
    faulty::adopt(None);
    let known = recovered.positions.get(&key(1)).is_some_and(|ranges| !ranges.as_slice().is_empty());
    assert!(!known, "no acknowledgement is on disk: all that came will come twice");
    let last = *launches.last().unwrap();
    assert!(last.saturating_duration_since(first_ack) <= limits::UNSAVED_MAX, "{:?}", last - first_ack);
    assert!(bench.sender.undelivered_lines() > 0, "it has held lines back");
}

/// The receiver takes one record, refuses another, and hangs. The process ends, or is killed, and the next one goes on from there.
#[test]
fn a_batch_that_was_taken_apart_in_part_is_not_taken_apart_again() {
    for (spooled, killed) in [(false, false), (true, false), (false, true), (true, true)] {
        let mut bench = Bench::new(Receives { forgetful: true, ..Receives::default() }, "1");
        (0..6).for_each(|_| bench.read(1, 10));
        if spooled {
            bench.receiver.stop_listening();
            bench.drive("they are in the spool", |bench| bench.sender.is_drained());
        }
        bench.receiver.set_fault(Fault::Hang);
        // 0-5, 0-2, 0, 1-2, 1; then 2 hangs.
        bench.receiver.script(std::iter::repeat_n(refuses(1), 5));
        bench.receiver.start_listening().unwrap();
        bench.drive("what is left hangs", |bench| bench.receiver.totals().requests >= 6);
        bench.restart(killed);
        assert_eq!((bench.came(1), bench.set_aside()), (vec![0], vec![1]), "spooled {spooled}, killed {killed}");
        bench.receiver.set_fault(Fault::None);
        bench.drive("the rest has come", |bench| bench.store.usage().frames == 0);
        assert_eq!(
            (bench.came(1), bench.set_aside()),
            (vec![0, 2, 3, 4, 5], vec![1]),
            "spooled {spooled}, killed {killed}"
        );
        bench.drive("nothing is in the air", |bench| bench.sender.aloft.is_empty());
        bench.assert_conserved();
    }
}

/// A batch from the spool is in the air at the end, and need not land; its record is on its way to the dead letters. The process ends,
/// without waiting for that, or is killed when the letter is there.
#[test]
fn a_record_is_set_aside_once_however_the_process_ends() {
    for killed in [false, true] {
        let mut bench = Bench::new(Receives::default(), "1");
        bench.receiver.stop_listening();
        (0..3).for_each(|_| bench.read(1, 10));
        bench.drive("they are in the spool", |bench| bench.sender.is_drained());
        bench.sync();
        let asked = bench.receiver.totals().requests;
        bench.disk.slow_down(Duration::from_millis(if killed { 10 } else { 100 }));
        bench.receiver.set_fault(Fault::Hang);
        bench.receiver.script(std::iter::repeat_n(refuses(1), 4));
        bench.receiver.start_listening().unwrap();
        let letter = bench.state.join("dead/dead-letters.ndjson");
        let written = |_: &Bench| fs::read_to_string(&letter).is_ok_and(|text| text.ends_with('\n'));
        bench.drive("the record is written", written);
        assert!(bench.receiver.totals().requests > asked && bench.sender.is_drained());
        if killed {
            bench.disk.die();
            bench.store.clone().crash();
            bench.disk.revive();
            bench.disk.slow_down(Duration::ZERO);
            (bench.store, bench.sender, bench.metrics) = begin(&bench.config, &bench.disk);
        } else {
            bench.restart(false);
            bench.disk.slow_down(Duration::ZERO);
        }
        bench.receiver.set_fault(Fault::None);
        bench.drive("the rest has come", |bench| bench.store.usage().frames == 0);
        assert_eq!((bench.came(1), bench.set_aside()), (vec![0, 2], vec![1]), "killed: {killed}");
    }
}

/// Two batches of one source that cover nothing, each committed with its answer lost; then both once more, from the spool of a
/// process that was killed.
#[test]
fn batches_that_cover_nothing_all_come_and_none_twice() {
    let mut bench = Bench::new(Receives::default(), "1");
    for number in 0..2 {
        bench.receiver.script([Fault::AcceptThenReset, Fault::AcceptThenReset]);
        bench.gap(1, number);
        bench.drive("it has come", |bench| bench.receiver.totals().records == number + 1);
        bench.drive("it is settled", |bench| bench.sender.is_drained() && bench.store.usage().frames == 0);
    }
    assert!(bench.receiver.totals().duplicate_batches >= 2, "each was recognized");
    bench.receiver.stop_listening();
    for number in 2..4 {
        bench.gap(1, number);
        bench.drive("it is in the spool", |bench| bench.sender.is_drained());
    }
    // Nothing of their delivery reaches the disk.
    bench.sync();
    bench.disk.fail_syncs(u32::MAX);
    bench.receiver.start_listening().unwrap();
    bench.drive("they have come", |bench| bench.receiver.totals().records == 4);
    bench.drive("nothing is in the air", |bench| bench.sender.aloft.is_empty());
    bench.disk.die();
    bench.store.clone().crash();
    bench.disk.revive();
    bench.disk.fail_syncs(0);
    let before = bench.receiver.totals().duplicate_batches;
    (bench.store, bench.sender, bench.metrics) = begin(&bench.config, &bench.disk);
    assert_eq!(bench.store.usage().frames, 2, "the next process has them again");
    bench.drive("they are settled", |bench| bench.store.usage().frames == 0);
    assert_eq!((bench.came(1), bench.receiver.totals().duplicate_batches), (vec![0, 1, 2, 3], before + 2));
    bench.receiver.ledger(|ledger| assert_eq!(ledger.violations(), [] as [String; 0]));
}

/// The last thing that reached the disk before a kill was that the records of a frame are settled, not that the frame is done with.
#[test]
fn a_frame_that_is_settled_is_not_sent_again() {
    let mut bench = Bench::new(Receives { forgetful: true, ..Receives::default() }, "1");
    let carried = vec![(Generation(9), Ranges::from_iter([Range::new(3, 4)]))];
    let mut carrier = Batch { carried, ..batch(1, 3, 10) };
    carrier.cover = Cover::default();
    carrier.cover.push(1, &[]);
    let batches = [batch(1, 0, 10), batch(1, 1, 10), batch(2, 2, 10), carrier, batch(1, 4, 10)];
    for batch in &batches {
        bench.runtime.block_on(bench.store.append(batch)).unwrap();
    }
    [0, 2, 3].iter().for_each(|at: &usize| bench.store.commit(batches[*at].claims()));
    bench.runtime.block_on(bench.store.dead_letter(letter(1, 5, 10))).unwrap();
    bench.store.commit(vec![(key(1), Ranges::from_iter([Range::new(5, 6)]))]);
    assert_eq!(bench.runtime.block_on(bench.store.drain_dead_letters()).unwrap().letters, 1);
    bench.restart(true);
    bench.drive("the spool is empty", |bench| bench.store.usage().frames == 0);
    assert_eq!((bench.came(1), bench.came(2)), (vec![1, 4, 5], vec![]), "what is not settled, and the dead letter");
    bench.drive("nothing is in the air", |bench| bench.sender.aloft.is_empty());
    bench.assert_conserved();
}
