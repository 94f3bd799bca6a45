//! One history: who is there, and what each action does to them.

use super::docker::{Docker, Rotation};
use super::judge::judge;
use super::machine::{Died, Machine};
use super::{Action, End, Receiver as Does};
use crate::config::Config;
use crate::sender::spool::fault::faulty::Disk;
use crate::source::SourceKey;
use rask::layout::Stream;
use rask::receiver::{Fault, Options, Receiver};
use std::sync::Arc;
use std::time::Duration;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Containers at the same time.
const CONTAINERS: usize = 3;

pub struct World {
    docker: Docker,
    receiver: Receiver,
    listening: bool,
    /// It takes whatever comes, sooner or later.
    well: bool,
    disk_well: bool,
    disk: Arc<Disk>,
    _state: tempfile::TempDir,
    config: Config,
    machine: Option<Machine>,
    /// How the process dies that is going to die by itself.
    end: End,
    /// A process has died or an answer was lost: what was refused may have been delivered, or refused before.
    doubtful: bool,
}

impl World {
    pub fn new(seed: u64) -> Self {
        if let Ok(filter) = std::env::var("TRIAL_LOG") {
            let filter: Targets = filter.parse().expect("a filter");
            let lines = tracing_subscriber::fmt::layer().with_ansi(false);
            let _ = tracing_subscriber::registry().with(filter).with(lines).try_init();
        }
        tracing::info!(seed, "the trial begins");
        let mut docker = Docker::new();
        docker.create(Rotation::Rename);
        let receiver = Receiver::start(Options::default()).unwrap();
        let state = super::scratch();
        let dir = state.path().join("state");
        let config = Config::from_vars(&[
            ("TARGET_SERVICE", "trial"),
            ("RASK_ENDPOINT", &receiver.url()),
            ("DOCKER_HOST", "none"),
            ("DOCKER_CONTAINERS_DIR", docker.dir().to_str().unwrap()),
            ("DISK_FALLBACK_PATH", dir.to_str().unwrap()),
            ("FLUSH_INTERVAL_MS", "100"),
            ("CONNECTION_TIMEOUT_SECS", "1"),
        ])
        .unwrap();
        let disk = Disk::new(&dir, seed);
        Self {
            docker,
            receiver,
            listening: true,
            well: true,
            disk_well: true,
            disk,
            _state: state,
            config,
            machine: None,
            end: End::Killed,
            doubtful: false,
        }
    }

    /// Changes of the disk so far.
    pub fn effects(&self) -> u64 {
        self.disk.effects()
    }

    pub fn play(&mut self, action: Action) {
        self.bury();
        if self.act(action).is_err() {
            self.bury();
        }
    }

    fn act(&mut self, action: Action) -> Result<(), Died> {
        tracing::info!(?action, "the trial goes on");
        match action {
            Action::Create(rotation) => {
                if self.docker.containers.iter().filter(|container| !container.removed).count() < CONTAINERS {
                    self.docker.create(rotation);
                }
            }
            Action::Receiver(does) => self.receiver_does(does),
            Action::DiskFull(full) => {
                self.disk.set_full(full);
                self.disk_well = !full;
            }
            Action::BadSyncs(count) => self.disk.fail_syncs(count),
            Action::Settle => self.settle()?,
            Action::Turns(turns) => self.run(|machine| machine.turns(turns)),
            Action::PassMs(millis) => self.run(|machine| machine.pass(Duration::from_millis(millis))),
            Action::Crash(end) => {
                self.end = end;
                self.disk.die();
                self.bury();
            }
            Action::CrashAfter(effects, end) => {
                self.end = end;
                self.disk.die_after(effects);
            }
            Action::Stop => {
                if self.can_settle()
                    && let Some(machine) = self.machine.take()
                {
                    machine.stop()?;
                }
            }
            Action::Start => self.start(),
            Action::StartAndDie(effects, end) => {
                if self.machine.is_none() {
                    self.end = end;
                    self.disk.die_after(effects);
                    self.start();
                }
            }
            action => {
                let (Action::Remove(choice)
                | Action::Lines(choice, ..)
                | Action::Torn(choice, _)
                | Action::Part(choice, _)
                | Action::Garbage(choice)
                | Action::Nul(choice, _)
                | Action::Rotate(choice, _)
                | Action::Gzip(choice)
                | Action::CatchUp(choice)) = action
                else {
                    unreachable!("{action:?}")
                };
                if let Some(at) = self.docker.pick(choice) {
                    self.act_on(at, &action)?;
                }
            }
        }
        Ok(())
    }

    fn act_on(&mut self, at: usize, action: &Action) -> Result<(), Died> {
        match *action {
            Action::Remove(_) => {
                self.docker.finish(at, false);
                let knowledge = self.machine.as_ref().map(Machine::knowledge);
                self.docker.remove(at, knowledge.as_ref());
            }
            Action::Lines(_, count, size, refused) => {
                for i in 0..count {
                    let stream = if i % 3 == 1 { Stream::Stderr } else { Stream::Stdout };
                    self.docker.line(at, stream, size * i % 400, i % 9 == refused);
                }
            }
            Action::Torn(_, stream) => self.docker.torn(at, stream),
            Action::Part(_, stream) => self.docker.part(at, stream),
            Action::Garbage(_) => self.docker.garbage(at),
            Action::Nul(_, ended) => self.docker.nul(at, ended),
            Action::Rotate(_, seen) => self.rotate(at, seen)?,
            Action::Gzip(_) => self.docker.gzip(at),
            Action::CatchUp(_) => self.catch_up(at)?,
            _ => {}
        }
        Ok(())
    }

    fn rotate(&mut self, at: usize, seen: bool) -> Result<(), Died> {
        let truncates = matches!(self.docker.containers[at].rotation, Rotation::Truncate);
        // The gap that a truncation may be ends every message.
        self.docker.finish(at, truncates);
        if !self.docker.holds_anything(at) {
            return Ok(());
        }
        if seen || truncates {
            self.catch_up(at)?;
        }
        // Who knew all of it from before need not have opened it yet, and would not notice.
        let unopened = |key: SourceKey| self.machine.as_ref().is_some_and(|machine| !machine.knowledge().is_open(&key));
        if truncates && self.docker.containers[at].end().is_some_and(|(key, _)| unopened(key)) {
            self.docker.line(at, Stream::Stdout, 1, false);
            self.catch_up(at)?;
        }
        let knowledge = self.machine.as_ref().map(Machine::knowledge);
        // A log that is nothing but NUL has no name yet: that it begins anew is no rotation.
        let named = self.docker.containers[at].end().is_some();
        let rotations = self.machine.as_ref().filter(|_| named).map(|machine| machine.metrics.rotations.get());
        self.docker.rotate(at, knowledge.as_ref());
        if let (true, Some(machine), Some(rotations)) = (truncates, &self.machine, rotations) {
            machine.drive("the truncation is noticed", |machine| machine.metrics.rotations.get() > rotations)?;
        }
        Ok(())
    }

    fn run(&self, what: impl FnOnce(&Machine)) {
        if let Some(machine) = &self.machine {
            what(machine);
        }
    }

    /// The forwarder reads everything that is whole.
    fn catch_up(&mut self, at: usize) -> Result<(), Died> {
        let Some(machine) = &self.machine else { return Ok(()) };
        let container = &self.docker.containers[at];
        let Some((key, end)) = container.end() else { return Ok(()) };
        machine
            .drive("the log is read", |machine| machine.knowledge().has_read(&key, crate::position::Range::new(0, end)))
    }

    /// Somebody takes what has been read.
    fn can_settle(&self) -> bool {
        self.disk_well || self.well && self.listening
    }

    fn settle(&mut self) -> Result<(), Died> {
        let Some(machine) = self.machine.as_ref().filter(|_| self.can_settle()) else { return Ok(()) };
        // What is read meanwhile may be on its way.
        let knowledge = machine.knowledge();
        machine.settle()?;
        self.docker.mark_safe(&knowledge);
        Ok(())
    }

    fn receiver_does(&mut self, does: Does) {
        let listens = !matches!(does, Does::Away);
        if listens && !self.listening {
            self.receiver.start_listening().unwrap();
        } else if !listens && self.listening {
            self.receiver.stop_listening();
        }
        self.listening = listens;
        match does {
            Does::Accepts => {
                self.well = true;
                self.receiver.set_fault(Fault::None);
            }
            Does::Away => {}
            Does::Faulty(fault) => {
                self.well = matches!(fault, Fault::SlowMs(_) | Fault::NeverEndingAnswer);
                self.receiver.set_fault(fault);
            }
            Does::RefusesAndHangs(count) => {
                self.well = false;
                self.receiver.set_fault(Fault::Hang);
                self.receiver.script(std::iter::repeat_n(Fault::RefuseRecord(super::docker::REFUSED.into()), count));
            }
            Does::LosesAnswers(count) => {
                self.doubtful = true;
                self.receiver.script(std::iter::repeat_n(Fault::AcceptThenReset, count));
            }
        }
    }

    fn start(&mut self) {
        if self.machine.is_some() {
            return;
        }
        match Machine::start(&self.config, &self.disk) {
            Ok((machine, recovered)) => {
                self.docker.forget_unsafe(&recovered);
                self.machine = Some(machine);
            }
            Err(Died) => {
                self.disk.die();
                self.bury();
            }
        }
    }

    /// Takes note of a death.
    fn bury(&mut self) {
        if !self.disk.is_dead() {
            return;
        }
        self.doubtful = true;
        if let Some(machine) = self.machine.take() {
            machine.crash();
        }
        if self.end == End::PowerLost {
            self.disk.lose_power();
        }
        self.end = End::Killed;
        self.disk.revive();
    }

    /// Everybody is well again: everything comes, and is judged.
    pub fn finish(mut self) {
        // Who is going to die by itself has died before this, or will not.
        self.disk.live();
        self.bury();
        self.receiver_does(Does::Accepts);
        self.disk.set_full(false);
        self.disk.fail_syncs(0);
        self.start();
        for at in 0..self.docker.containers.len() {
            if !self.docker.containers[at].removed {
                self.docker.finish(at, true);
                self.docker.line(at, Stream::Stdout, 5, false);
            }
        }
        for at in 0..self.docker.containers.len() {
            if !self.docker.containers[at].removed {
                self.catch_up(at).unwrap();
            }
        }
        let alive = self.docker.containers.iter().filter(|container| !container.removed).count() as i64;
        let machine = self.machine.as_ref().unwrap();
        machine.drive("removed containers are over", |machine| machine.metrics.containers.get() == alive).unwrap();
        machine.rest().unwrap();
        judge(&self.docker, &self.receiver, &self.config.state_dir, self.doubtful);
    }
}
