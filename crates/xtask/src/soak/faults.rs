//! What is done to the pipeline, and how often each was.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Everything that a soak plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Fault {
    /// SIGKILL of a forwarder, started again at once.
    Kill,
    /// The same in its first moments, while it reads its state.
    KillInStart,
    /// SIGKILL, and back after a while.
    Down,
    /// SIGTERM, and started again.
    Terminate,
    /// SIGTERM, then SIGKILL before it has ended.
    KillInShutdown,
    /// SIGSTOP, SIGCONT after a while.
    Freeze,
    /// The receiver's port is closed, its connections broken.
    ReceiverDown,
    ReceiverRestarts,
    Status500,
    Status503RetryAfter,
    Status429RetryAfter,
    Status408,
    Status401,
    Hang,
    Slow,
    Trickle,
    Reset,
    ResetInBody,
    AnswerLost,
    EndlessAnswer,
    RefuseRecord,
    BodyTooLarge,
    DiskFull,
    DiskFullKilled,
    CorruptIndex,
    LostIndex,
    CorruptCursor,
    CorruptIndexAndCursors,
    RotationUnlink,
    RotationRename,
    RotationGzip,
    RotationBurst,
    RotationInSplit,
    SplitMessage,
    NulRun,
    TornLine,
    Garbage,
    Burst,
    ContainerRestarted,
    ContainerRecreated,
    DockerRmWhileLagging,
}

impl Fault {
    /// As in `docs/reliability.md`.
    pub(super) fn text(self) -> &'static str {
        match self {
            Self::Kill => "SIGKILL of the forwarder",
            Self::KillInStart => "SIGKILL while it starts",
            Self::Down => "SIGKILL, away for seconds",
            Self::Terminate => "SIGTERM, clean restart",
            Self::KillInShutdown => "SIGKILL while it drains after SIGTERM",
            Self::Freeze => "SIGSTOP for seconds",
            Self::ReceiverDown => "receiver away: connection refused",
            Self::ReceiverRestarts => "receiver restarted several times in a second",
            Self::Status500 => "500",
            Self::Status503RetryAfter => "503 with `Retry-After`",
            Self::Status429RetryAfter => "429 with `Retry-After`",
            Self::Status408 => "408",
            Self::Status401 => "401, one request",
            Self::Hang => "receiver hangs",
            Self::Slow => "receiver slow to answer",
            Self::Trickle => "receiver slow to read",
            Self::Reset => "reset before the body",
            Self::ResetInBody => "reset in the middle of the body",
            Self::AnswerLost => "committed, answer lost",
            Self::EndlessAnswer => "committed, answer never ends",
            Self::RefuseRecord => "400 for single records",
            Self::BodyTooLarge => "413",
            Self::DiskFull => "state directory's disk full",
            Self::DiskFullKilled => "disk full, SIGKILL meanwhile",
            Self::CorruptIndex => "sled overwritten between two lives",
            Self::LostIndex => "sled deleted between two lives",
            Self::CorruptCursor => "one cursor slot overwritten between two lives",
            Self::CorruptIndexAndCursors => "sled and both cursor slots overwritten between two lives",
            Self::RotationUnlink => "rotation, max-file=1 (unlink and create)",
            Self::RotationRename => "rotation by renaming",
            Self::RotationGzip => "rotation with compress",
            Self::RotationBurst => "three rotations within moments",
            Self::RotationInSplit => "rotation in the middle of a split message",
            Self::SplitMessage => "message over 16 KiB",
            Self::NulRun => "run of NUL bytes",
            Self::TornLine => "torn line",
            Self::Garbage => "line that is no entry",
            Self::Burst => "burst of thousands of lines",
            Self::ContainerRestarted => "container restarted, same id",
            Self::ContainerRecreated => "container removed and created anew",
            Self::DockerRmWhileLagging => "`docker rm -f` while the forwarder lags",
        }
    }
}

/// Counts of one fault.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub(super) times: u64,
    /// Lines lost, announced as gone, and twice, in the rounds in which it was played.
    pub(super) lost: u64,
    pub(super) announced: u64,
    pub(super) twice: u64,
    /// Times at the last judgement.
    judged: u64,
}

/// Clones share the counts.
#[derive(Clone, Debug, Default)]
pub(super) struct Played {
    tallies: Arc<Mutex<BTreeMap<Fault, Tally>>>,
    without: Vec<String>,
}

impl Played {
    /// Nothing yet; faults named in `without` are not to be played.
    pub(super) fn without(without: &[String]) -> Self {
        Self { tallies: Arc::default(), without: without.to_vec() }
    }

    /// Whether the fault is to be played; counts it then.
    pub(super) fn begin(&self, fault: Fault) -> bool {
        let plays = !self.without.iter().any(|name| *name == format!("{fault:?}"));
        if plays {
            self.count(fault);
        }
        plays
    }

    fn count(&self, fault: Fault) {
        self.tallies.lock().unwrap_or_else(PoisonError::into_inner).entry(fault).or_default().times += 1;
    }

    /// Charges what was found wrong to every fault that was played since the last judgement.
    pub(super) fn charge(&self, lost: u64, announced: u64, twice: u64) {
        for tally in self.tallies.lock().unwrap_or_else(PoisonError::into_inner).values_mut() {
            if tally.times > tally.judged {
                tally.lost += lost;
                tally.announced += announced;
                tally.twice += twice;
            }
            tally.judged = tally.times;
        }
    }

    pub(super) fn all(&self) -> BTreeMap<Fault, Tally> {
        self.tallies.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
