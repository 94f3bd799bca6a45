//! How the receiving end misbehaves, for tests of senders.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use tokio::sync::watch;

/// One way to misbehave.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// None: does as `docs/wire-format.md` says.
    #[default]
    None,
    /// Answers this status, with `retry-after` in seconds if given. Stores nothing.
    Status(u16, Option<u64>),
    /// Reads the request and does not answer; ends the connection when the fault is changed. Stores nothing.
    Hang,
    /// Resets the connection (RST) as soon as the request's head is there. Stores nothing.
    Reset,
    /// Resets the connection (RST) when the body has begun. Stores nothing.
    ResetInBody,
    /// Waits so many milliseconds, then does right.
    SlowMs(u64),
    /// Waits so many milliseconds after each piece of the body, then does right.
    TrickleMs(u64),
    /// Answers 400 to a batch whose decompressed body contains this text, and does right by others.
    RefuseRecord(String),
    /// Answers 413 to a decompressed body longer than this, and does right by others.
    MaxBody(usize),
    /// Stores the batch, then resets the connection: the answer is lost.
    AcceptThenReset,
    /// Stores the batch, answers 200, and its body never ends. Does right by what it would not answer with 200.
    NeverEndingAnswer,
}

/// The faults to come: first a script, one entry for each request, then a standing one.
#[derive(Debug)]
pub(super) struct Faults {
    plan: Mutex<(VecDeque<Fault>, Fault)>,
    changed: watch::Sender<u64>,
}

impl Faults {
    pub(super) fn new() -> Self {
        Self { plan: Mutex::default(), changed: watch::channel(0).0 }
    }

    /// From now on, after what is left of a script is dropped.
    pub(super) fn set(&self, fault: Fault) {
        let mut plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner);
        *plan = (VecDeque::new(), fault);
        // Under the lock: who takes the new fault must not hear of its own coming.
        self.changed.send_modify(|count| *count += 1);
    }

    /// One for each of the next requests; then the standing one again.
    pub(super) fn script(&self, faults: impl IntoIterator<Item = Fault>) {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner).0.extend(faults);
    }

    /// Takes the fault of a request, and what tells when faults are changed.
    pub(super) fn next(&self) -> (Fault, watch::Receiver<u64>) {
        let mut plan = self.plan.lock().unwrap_or_else(PoisonError::into_inner);
        let fault = plan.0.pop_front().unwrap_or_else(|| plan.1.clone());
        (fault, self.changed.subscribe())
    }
}
