//! Whether the pipeline lives and whether it is well, in a few atomics: the pipeline writes, the admin thread reads.
//!
//! Nothing here waits, locks or logs, so that a stuck pipeline can still be asked about.

use crate::limits::STUCK_AFTER;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// State of the process, shared by reference.
#[derive(Debug)]
pub struct Health {
    started: Instant,
    /// A [`Phase`].
    phase: AtomicU8,
    /// A bit for each [`Trouble`].
    troubles: AtomicU8,
    /// Milliseconds from `started` to the last heartbeat.
    beat_ms: AtomicU64,
}

/// Where in its life the process is: Starting → Running → Draining.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// State is being recovered, containers are being looked for.
    Starting,
    /// Reading and sending.
    Running,
    /// A signal came: what was read is being delivered.
    Draining,
}

/// What keeps a running process from being ready. Each is set and cleared by the stage that sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Trouble {
    /// The spool has reached its bound or the disk is full: reading has stopped.
    SpoolFull,
    /// The receiver answers 401, 403 or 404, or refuses every record: only a person can repair that.
    ReceiverRefuses,
    /// The network namespace shared with the service is gone: the service was re-created under its sidecar.
    NetworkGone,
}

impl Trouble {
    const ALL: [Self; 3] = [Self::SpoolFull, Self::ReceiverRefuses, Self::NetworkGone];

    fn bit(self) -> u8 {
        1 << self as u8
    }

    fn reason(self) -> &'static str {
        match self {
            Self::SpoolFull => "the spool is full; reading has stopped until the receiver takes batches again",
            Self::ReceiverRefuses => {
                "the receiver refuses us (401, 403 or 404) or every record (400); see RASK_ENDPOINT and RASK_TOKEN_FILE"
            }
            Self::NetworkGone => "the service's network namespace is gone; re-create this container",
        }
    }
}

impl Health {
    /// Starting, untroubled, alive just now.
    pub fn new() -> Self {
        Self {
            started: Instant::now(),
            phase: AtomicU8::new(Phase::Starting as u8),
            troubles: AtomicU8::new(0),
            beat_ms: AtomicU64::new(0),
        }
    }

    /// Says that the pipeline makes progress. It costs a clock reading; call it when work is taken on and when it is done,
    /// and while lines are pending at least every few seconds from the loop that everything depends on. An idle pipeline
    /// need not.
    pub fn beat(&self) {
        self.beat_ms.store(millis(self.started.elapsed()), Ordering::Relaxed);
    }

    /// Enters a phase.
    pub fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
        self.beat();
    }

    /// The phase.
    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::Starting,
            1 => Phase::Running,
            _ => Phase::Draining,
        }
    }

    /// Sets or clears a trouble; true when that changes something, which is when it is worth a line in the log.
    pub fn set(&self, trouble: Trouble, is: bool) -> bool {
        let before = match is {
            true => self.troubles.fetch_or(trouble.bit(), Ordering::Relaxed),
            false => self.troubles.fetch_and(!trouble.bit(), Ordering::Relaxed),
        };
        (before & trouble.bit() != 0) != is
    }

    /// Why the process is not ready; empty when it is.
    pub fn unready(&self) -> Vec<&'static str> {
        let phase = match self.phase() {
            Phase::Starting => Some("starting"),
            Phase::Running => None,
            Phase::Draining => Some("draining"),
        };
        let troubles = self.troubles.load(Ordering::Relaxed);
        let troubles = Trouble::ALL.into_iter().filter(|trouble| troubles & trouble.bit() != 0);
        phase.into_iter().chain(troubles.map(Trouble::reason)).collect()
    }

    /// How long the pipeline has been stuck, if it is: lines are pending and no heartbeat came for [`STUCK_AFTER`].
    /// Recovery at the start may take long and is not judged.
    pub fn stuck(&self, pending: i64) -> Option<Duration> {
        self.stuck_at(pending, self.started.elapsed())
    }

    fn stuck_at(&self, pending: i64, since_start: Duration) -> Option<Duration> {
        let beat = Duration::from_millis(self.beat_ms.load(Ordering::Relaxed));
        let silent = since_start.saturating_sub(beat);
        (pending > 0 && silent > STUCK_AFTER && self.phase() != Phase::Starting).then_some(silent)
    }
}

impl Default for Health {
    fn default() -> Self {
        Self::new()
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stuck_is_silence_with_something_pending() {
        let health = Health::new();
        let late = STUCK_AFTER + Duration::from_secs(1);
        assert_eq!(health.stuck_at(5, late), None, "recovery is not judged");
        health.enter(Phase::Running);
        assert_eq!(health.stuck_at(5, STUCK_AFTER), None);
        assert!(health.stuck_at(5, late).is_some());
        assert_eq!(health.stuck_at(0, late), None, "an idle pipeline need not beat");
        health.enter(Phase::Draining);
        assert!(health.stuck_at(5, late).is_some());
        health.beat_ms.store(millis(late), Ordering::Relaxed);
        assert_eq!(health.stuck_at(5, late + STUCK_AFTER), None, "a beat counts from when it came");
    }

    #[test]
    fn ready_when_running_without_trouble() {
        let health = Health::new();
        assert_eq!(health.unready(), ["starting"]);
        health.enter(Phase::Running);
        assert!(health.unready().is_empty());
        for trouble in Trouble::ALL {
            assert!(health.set(trouble, true));
            assert!(!health.set(trouble, true), "said once");
            assert_eq!(health.unready(), [trouble.reason()]);
            assert!(health.set(trouble, false));
            assert!(!health.set(trouble, false));
        }
        health.set(Trouble::SpoolFull, true);
        health.set(Trouble::NetworkGone, true);
        health.enter(Phase::Draining);
        assert_eq!(health.unready().len(), 3);
    }
}
