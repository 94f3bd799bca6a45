//! Plays the faults and holds the calms.

use super::Args;
use super::book::{Book, Sums};
use super::faults::{Fault, Played};
use super::forwarder::Forwarder;
use super::report::{self, Outcome};
use super::writer::{Kind, Order, Writer};
use fastrand::Rng;
use rask::generate::Format;
use rask::receiver::{Detail, Fault as Answer, Keep, Options, Receiver, Watch};
use rustix::process::Signal;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

const SERVICES: [&str; 3] = ["api", "web", "db"];
/// The service whose state directory has a small file system of its own.
const SMALL_DISK: usize = 1;
/// Without a new record for so long, what has not come will not come.
const PATIENCE: Duration = Duration::from_secs(60);

/// Receiver's faults, with how often each is chosen.
const ANSWERS: [(Fault, u32); 16] = [
    (Fault::ReceiverDown, 6),
    (Fault::ReceiverRestarts, 4),
    (Fault::Status500, 3),
    (Fault::Status503RetryAfter, 3),
    (Fault::Status429RetryAfter, 3),
    (Fault::Status408, 2),
    (Fault::Status401, 1),
    (Fault::Hang, 4),
    (Fault::Slow, 4),
    (Fault::Trickle, 3),
    (Fault::Reset, 4),
    (Fault::ResetInBody, 4),
    (Fault::AnswerLost, 6),
    (Fault::EndlessAnswer, 3),
    (Fault::RefuseRecord, 5),
    (Fault::BodyTooLarge, 3),
];

/// What is done to forwarders and containers meanwhile.
const DEEDS: [(Fault, u32); 17] = [
    (Fault::Kill, 12),
    (Fault::KillInStart, 6),
    (Fault::Down, 8),
    (Fault::Terminate, 6),
    (Fault::KillInShutdown, 4),
    (Fault::Freeze, 5),
    (Fault::DiskFull, 3),
    (Fault::DiskFullKilled, 3),
    (Fault::CorruptIndex, 3),
    (Fault::LostIndex, 2),
    (Fault::CorruptCursor, 2),
    (Fault::CorruptIndexAndCursors, 2),
    (Fault::RotationBurst, 6),
    (Fault::Burst, 6),
    (Fault::ContainerRestarted, 4),
    (Fault::ContainerRecreated, 3),
    (Fault::DockerRmWhileLagging, 3),
];

/// One step, drawn before anything happens, so that it depends on the seed alone.
#[derive(Clone, Copy, Debug)]
struct Step {
    answer: Option<Fault>,
    deed: Option<Fault>,
    forwarder: usize,
    writer: usize,
    waits: [Duration; 4],
    seed: u64,
}

/// Everything that takes part.
pub(super) struct Stage {
    rng: Rng,
    dir: PathBuf,
    verbose: bool,
    begun: Instant,
    seed: u64,
    log: File,
    book: Book,
    played: Played,
    receiver: Receiver,
    writers: Vec<Writer>,
    forwarders: Vec<Forwarder>,
    small_disk: Option<SmallDisk>,
    before: Sums,
    calms: u64,
    complaints: Vec<String>,
}

impl Stage {
    /// Containers write and forwarders run when it returns.
    pub(super) fn build(program: &Path, dir: &Path, seed: u64, args: &Args) -> io::Result<Self> {
        let (book, played, verbose) = (Book::default(), Played::without(&args.without), args.verbose);
        let containers = dir.join("containers");
        fs::create_dir(&containers)?;
        let entered = book.clone();
        let receiver = Receiver::start(Options {
            detail: Detail::Full,
            keep: Keep::None,
            watch: Some(Watch(Arc::new(move |line| entered.enter(line)))),
            ..Options::default()
        })?;
        let mut rng = Rng::with_seed(seed);
        let small_disk = SmallDisk::mount(&dir.join("small")).ok();
        let mut writers = Vec::new();
        for (index, kind) in kinds().into_iter().enumerate() {
            writers.push(Writer::start(kind, index, rng.u64(..), &containers, &book, &played)?);
        }
        let mut forwarders = Vec::new();
        for (i, service) in SERVICES.into_iter().enumerate() {
            let state = match &small_disk {
                Some(disk) if i == SMALL_DISK => disk.0.join("state"),
                _ => dir.join(format!("state-{service}")),
            };
            let mut forwarder = Forwarder::new(service, program, dir, state, receiver.url());
            forwarder.start()?;
            forwarders.push(forwarder);
        }
        let log = File::create(dir.join("steps.log"))?;
        let (begun, before) = (Instant::now(), Sums::default());
        Ok(Self {
            rng,
            dir: dir.to_owned(),
            verbose,
            begun,
            seed,
            log,
            book,
            played,
            receiver,
            writers,
            forwarders,
            small_disk,
            before,
            calms: 0,
            complaints: Vec::new(),
        })
    }

    /// Steps and calms until `until`.
    pub(super) fn play(&mut self, until: Instant, fail_fast: bool) -> io::Result<()> {
        while Instant::now() < until {
            for _ in 0..self.rng.u32(1..6) {
                let step = self.draw();
                self.say(&format!("{step:?}"));
                self.step(step)?;
            }
            self.calm()?;
            if fail_fast && !(self.before.is_right() && self.complaints.is_empty()) {
                break;
            }
        }
        Ok(())
    }

    fn draw(&mut self) -> Step {
        let rng = &mut self.rng;
        let (answer, deed) = (chosen(&ANSWERS, rng), chosen(&DEEDS, rng));
        let (with_answer, with_deed) = (rng.u8(..) < 140, rng.u8(..) < 200);
        Step {
            answer: with_answer.then_some(answer),
            deed: with_deed.then_some(deed),
            forwarder: rng.usize(..SERVICES.len()),
            writer: rng.usize(..kinds().len()),
            waits: [(); 4].map(|()| Duration::from_millis(if rng.bool() { rng.u64(..300) } else { rng.u64(..2_500) })),
            seed: rng.u64(..),
        }
    }

    fn step(&mut self, step: Step) -> io::Result<()> {
        if let Some(fault) = step.answer.filter(|fault| self.played.begin(*fault)) {
            self.misbehave(fault, step)?;
        }
        std::thread::sleep(step.waits[0]);
        if let Some(fault) = step.deed.filter(|fault| self.played.begin(*fault)) {
            self.deed(fault, step)?;
        }
        std::thread::sleep(step.waits[1]);
        self.behave()
    }

    fn misbehave(&mut self, fault: Fault, step: Step) -> io::Result<()> {
        let soon = step.seed % 3;
        let fault = match fault {
            Fault::ReceiverDown => {
                self.receiver.stop_listening();
                return Ok(());
            }
            Fault::ReceiverRestarts => {
                for _ in 0..6 {
                    self.receiver.stop_listening();
                    std::thread::sleep(Duration::from_millis(step.seed % 70));
                    self.receiver.start_listening()?;
                    std::thread::sleep(Duration::from_millis(step.seed % 110));
                }
                return Ok(());
            }
            Fault::Status401 => {
                self.receiver.script([Answer::Status(401, None)]);
                return Ok(());
            }
            Fault::Status500 => Answer::Status(500, None),
            Fault::Status503RetryAfter => Answer::Status(503, Some(soon)),
            Fault::Status429RetryAfter => Answer::Status(429, Some(soon)),
            Fault::Status408 => Answer::Status(408, None),
            Fault::Hang => Answer::Hang,
            Fault::Slow => Answer::SlowMs(step.seed % 900),
            Fault::Trickle => Answer::TrickleMs(step.seed % 40),
            Fault::Reset => Answer::Reset,
            Fault::ResetInBody => Answer::ResetInBody,
            Fault::AnswerLost => Answer::AcceptThenReset,
            Fault::EndlessAnswer => Answer::NeverEndingAnswer,
            Fault::RefuseRecord => Answer::RefuseRecord("poison seq".into()),
            Fault::BodyTooLarge => Answer::MaxBody(150_000),
            _ => Answer::None,
        };
        self.receiver.set_fault(fault);
        Ok(())
    }

    fn behave(&mut self) -> io::Result<()> {
        self.receiver.set_fault(Answer::None);
        self.receiver.start_listening()
    }

    fn deed(&mut self, fault: Fault, step: Step) -> io::Result<()> {
        let forwarder = &mut self.forwarders[step.forwarder];
        match fault {
            Fault::Kill => {
                forwarder.kill()?;
                forwarder.start()
            }
            Fault::KillInStart => {
                forwarder.kill()?;
                for kill in 1..4 {
                    forwarder.spawn()?;
                    std::thread::sleep(Duration::from_millis(step.seed % 60 / kill));
                    forwarder.kill()?;
                }
                forwarder.start()
            }
            Fault::Down => {
                forwarder.kill()?;
                std::thread::sleep(step.waits[2] * 2);
                forwarder.start()
            }
            Fault::Terminate => {
                forwarder.terminate()?;
                forwarder.start()
            }
            Fault::KillInShutdown => {
                forwarder.signal(Signal::TERM);
                std::thread::sleep(Duration::from_millis(step.seed % 50));
                forwarder.end_and_kill()?;
                forwarder.start()
            }
            Fault::Freeze => {
                forwarder.signal(Signal::STOP);
                std::thread::sleep(step.waits[2]);
                forwarder.signal(Signal::CONT);
                Ok(())
            }
            Fault::DiskFull | Fault::DiskFullKilled => self.fill_disk(fault, step),
            Fault::RotationBurst => {
                for _ in 0..3 {
                    self.writers[step.writer].order(Order::Burst(step.seed % 200))?;
                    self.writers[step.writer].order(Order::Rotate)?;
                }
                Ok(())
            }
            Fault::Burst => self.writers[step.writer].order(Order::Burst(1_000 + step.seed % 9_000)).map(drop),
            Fault::ContainerRestarted => self.writers[step.writer].order(Order::Restart).map(drop),
            Fault::ContainerRecreated => {
                self.behave()?;
                self.drained(step.writer, Order::Pause)?;
                self.writers[step.writer].order(Order::Recreate)?;
                self.writers[step.writer].order(Order::Resume).map(drop)
            }
            Fault::DockerRmWhileLagging => self.remove_while_lagging(step),
            _ => {
                forwarder.kill()?;
                damage(fault, &forwarder.state, step.seed)?;
                forwarder.start()
            }
        }
    }

    /// The state directory's disk is full while the receiver is away: what cannot be kept must stay where it is.
    fn fill_disk(&mut self, fault: Fault, step: Step) -> io::Result<()> {
        let Some(disk) = &self.small_disk else { return Ok(()) };
        self.receiver.stop_listening();
        disk.fill()?;
        std::thread::sleep(step.waits[2]);
        let forwarder = &mut self.forwarders[SMALL_DISK];
        if fault == Fault::DiskFullKilled {
            forwarder.kill()?;
            forwarder.start()?;
            std::thread::sleep(step.waits[3]);
        }
        disk.free()
    }

    /// The forwarder holds the log open when `docker rm` takes it, and reads it to the end. It is not killed before that: then
    /// nobody could know what was in it.
    fn remove_while_lagging(&mut self, step: Step) -> io::Result<()> {
        let writer = &self.writers[step.writer];
        if writer.kind.ruthless {
            // What is rotated away at the end of a run has no line behind it that would close its hole.
            return Ok(());
        }
        let forwarder = &self.forwarders[service_of(&writer.kind)];
        self.receiver.set_fault(Answer::SlowMs(150));
        writer.order(Order::Pause)?;
        let state = writer.order(Order::Burst(4_000))?;
        let until = Instant::now() + PATIENCE;
        while !forwarder.has_open(&state.log) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(5));
        }
        writer.order(Order::Recreate)?;
        writer.order(Order::Resume)?;
        self.behave()?;
        self.wait_for(&state.run, state.counts);
        Ok(())
    }

    /// Gives the order and waits until all that the writer has written has come.
    fn drained(&mut self, writer: usize, order: Order) -> io::Result<()> {
        let state = self.writers[writer].order(order)?;
        self.wait_for(&state.run, state.counts);
        Ok(())
    }

    fn wait_for(&mut self, run: &str, counts: [u64; 2]) {
        let book = self.book.clone();
        self.wait(|| book.has(run, counts));
    }

    /// Waits until `reached` holds, or nothing has come for long, or it has been very long.
    fn wait(&mut self, reached: impl Fn() -> bool) -> bool {
        let (mut records, mut moved, begun) = (0, Instant::now(), Instant::now());
        while moved.elapsed() < PATIENCE && begun.elapsed() < PATIENCE * 5 {
            read_dead_letters(&self.forwarders, &self.book);
            if reached() {
                return true;
            }
            let now = self.book.sums().records;
            if now != records {
                (records, moved) = (now, Instant::now());
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        false
    }

    /// Everything is well for a while: then everything must have come, once, and the books must be even.
    fn calm(&mut self) -> io::Result<()> {
        self.behave()?;
        for writer in &self.writers {
            writer.order(Order::Pause)?;
        }
        let book = self.book.clone();
        self.wait(|| book.sums().lost == 0);
        self.judge_books();
        let sums = self.book.sums();
        let new = sums.since(self.before);
        self.played.charge(new.lost, new.announced, new.twice);
        self.before = sums;
        self.calms += 1;
        let violations = self.receiver.ledger(|ledger| ledger.violations().to_vec());
        self.complaints.extend(violations.into_iter().map(|text| format!("wire format: {text}")));
        for forwarder in &mut self.forwarders {
            forwarder.measure();
            self.complaints.append(&mut forwarder.complaints);
        }
        self.complaints.dedup();
        let peaks: Vec<u64> = self.forwarders.iter().map(|forwarder| forwarder.peak / 1024).collect();
        self.say(&format!("calm {}: {new:?} peaks {peaks:?} KiB", self.calms));
        for writer in &self.writers {
            writer.order(Order::Resume)?;
        }
        Ok(())
    }

    fn judge_books(&mut self) {
        for forwarder in &self.forwarders {
            let (mut before, mut last) = (None, None);
            let until = Instant::now() + PATIENCE;
            while Instant::now() < until {
                let now = forwarder.books();
                if now.is_some() && now == before {
                    break;
                }
                (before, last) = (now, now.or(last));
                std::thread::sleep(Duration::from_millis(50));
            }
            match before.or(last) {
                Some((came, went)) if came == went => {}
                books => {
                    let complaint = format!("calm {}: {}: came, went: {books:?}", self.calms + 1, forwarder.service);
                    self.complaints.push(complaint);
                }
            }
        }
    }

    /// The last calm has been; everything ends.
    pub(super) fn end(mut self, time: Duration) -> Outcome {
        self.writers.clear();
        for forwarder in &mut self.forwarders {
            if let Err(error) = forwarder.terminate() {
                self.complaints.push(error.to_string());
            }
            self.complaints.append(&mut forwarder.complaints);
        }
        self.complaints.extend(self.book.complaints());
        if let Some(disk) = self.small_disk.take() {
            disk.end(&self.dir);
        }
        Outcome {
            seed: self.seed,
            time,
            sums: self.book.sums(),
            tallies: self.played.all(),
            lives: self.forwarders.iter().map(|forwarder| forwarder.lives).sum(),
            peak: self.forwarders.iter().map(|forwarder| forwarder.peak).max().unwrap_or(0),
            calms: self.calms,
            complaints: self.complaints,
        }
    }

    fn say(&mut self, text: &str) {
        let text = format!("{:8.2} {text}", self.begun.elapsed().as_secs_f64());
        let _ = writeln!(self.log, "{text}");
        if self.verbose {
            report::say(&text);
        }
    }
}

fn kinds() -> Vec<Kind> {
    let kind = |service, format, max_file, compress, kib: u64, ruthless| Kind {
        service,
        format,
        max_file,
        compress,
        max_size: kib << 10,
        ruthless,
    };
    vec![
        kind("api", Format::Go, 3, false, 1500, false),
        kind("api", Format::Go, 5, true, 1000, false),
        kind("web", Format::Nginx, 2, false, 1000, false),
        kind("web", Format::Nginx, 1, false, 400, true),
        kind("db", Format::Postgres, 4, true, 700, false),
        kind("db", Format::Postgres, 3, false, 300, true),
        kind("db", Format::Plain, 1, false, 200, false),
    ]
}

fn service_of(kind: &Kind) -> usize {
    SERVICES.iter().position(|service| *service == kind.service).unwrap_or(0)
}

fn chosen(from: &[(Fault, u32)], rng: &mut Rng) -> Fault {
    let all: u32 = from.iter().map(|(_, weight)| weight).sum();
    let mut at = rng.u32(..all);
    let taken = from.iter().find(|(_, weight)| {
        let here = at < *weight;
        at = at.saturating_sub(*weight);
        here
    });
    taken.map_or(from[0].0, |(fault, _)| *fault)
}

fn read_dead_letters(forwarders: &[Forwarder], book: &Book) {
    for forwarder in forwarders {
        let text = fs::read_to_string(forwarder.state.join("dead/dead-letters.ndjson")).unwrap_or_default();
        for line in text.lines() {
            let letter: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
            book.set_aside(letter["record"].as_str().unwrap_or_default());
        }
    }
}

/// What becomes of the state directory between two lives.
fn damage(fault: Fault, state: &Path, seed: u64) -> io::Result<()> {
    let mut rng = Rng::with_seed(seed);
    let index = matches!(fault, Fault::CorruptIndex | Fault::CorruptIndexAndCursors);
    if fault == Fault::LostIndex {
        fs::remove_dir_all(state.join("index"))?;
    }
    if index {
        for entry in fs::read_dir(state.join("index"))?.flatten().filter(|entry| entry.path().is_file()) {
            overwrite(&entry.path(), &mut rng)?;
        }
    }
    let slots: &[&str] = match fault {
        Fault::CorruptCursor if rng.bool() => &["cursor.a"],
        Fault::CorruptCursor => &["cursor.b"],
        Fault::CorruptIndexAndCursors => &["cursor.a", "cursor.b"],
        _ => &[],
    };
    slots
        .iter()
        .map(|slot| state.join(slot))
        .filter(|slot| slot.exists())
        .try_for_each(|slot| overwrite(&slot, &mut rng))
}

/// Some bytes become others.
fn overwrite(path: &Path, rng: &mut Rng) -> io::Result<()> {
    use std::os::unix::fs::FileExt;
    let file = File::options().write(true).open(path)?;
    let length = file.metadata()?.len();
    for _ in 0..4 {
        let at = rng.u64(..length.clamp(1, 4096));
        file.write_all_at(&[rng.u8(..); 40], at)?;
    }
    Ok(())
}

/// A file system of its own for one state directory. Needs root.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path) -> io::Result<Self> {
        fs::create_dir(at)?;
        let size = c"size=48m";
        rustix::mount::mount("tmpfs", at, "tmpfs", rustix::mount::MountFlags::empty(), size)?;
        Ok(Self(at.to_owned()))
    }

    /// Takes all the space there is.
    fn fill(&self) -> io::Result<()> {
        let mut ballast = File::options().create(true).append(true).open(self.0.join("ballast"))?;
        while ballast.write(&[0; 4096]).is_ok_and(|written| written > 0) {}
        Ok(())
    }

    fn free(&self) -> io::Result<()> {
        fs::remove_file(self.0.join("ballast"))
    }

    /// Copies what is on it to where it can be looked at.
    fn end(self, dir: &Path) {
        let copied = std::process::Command::new("cp").arg("-r").arg(&self.0).arg(dir.join("small-copy")).status();
        if !copied.is_ok_and(|status| status.success()) {
            report::say("the small disk could not be copied");
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH);
    }
}
