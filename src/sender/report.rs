//! What the forwarder says of its receiver and its spool: once when it changes, again every minute while it lasts, never per
//! attempt; and what `/readyz` says of them.

use super::flight::Failure;
use super::retry::Refusals;
use super::spool::AppendError;
use crate::admin::{Health, Trouble};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A lasting trouble is said again this often.
const REMIND_EVERY: Duration = Duration::from_secs(60);

const NETWORK_GONE: &str = "the network namespace has lost its interface: the service's container was re-created or removed. \
                            Re-create this sidecar (docker compose up -d); until then";

/// What has been said so far.
pub(super) struct Report {
    endpoint: String,
    health: Arc<Health>,
    /// Whether this process ever had a network beside loopback.
    had_network: bool,
    away: Option<Lasting>,
    spool: Option<Lasting>,
    /// When the burst of refused records was noticed that is under way.
    burst: Option<Instant>,
}

/// A trouble that has been said.
struct Lasting {
    since: Instant,
    said: Instant,
    why: String,
}

impl Report {
    pub(super) fn new(endpoint: String, health: Arc<Health>) -> Self {
        Self { endpoint, health, had_network: has_network(), away: None, spool: None, burst: None }
    }

    /// A flight has been in the air for long. A connection that has lost its interface does not break, it is only silent.
    pub(super) fn flight_stalls(&mut self, spooling: bool) {
        if self.network_is_gone() && say_now(&mut self.away, NETWORK_GONE) {
            tracing::warn!("cannot deliver: {NETWORK_GONE} {}", refuge(spooling));
        }
    }

    fn network_is_gone(&self) -> bool {
        let gone = self.had_network && !has_network();
        self.health.set(Trouble::NetworkGone, gone);
        gone
    }

    /// An attempt failed.
    pub(super) fn receiver_fails(&mut self, failure: &Failure, spooling: bool) {
        self.health.set(Trouble::ReceiverRefuses, failure.held);
        let why = if self.network_is_gone() {
            NETWORK_GONE.to_owned()
        } else {
            format!("{}: {};", self.endpoint, failure.why)
        };
        if say_now(&mut self.away, &why) {
            let refuge = refuge(spooling);
            if failure.held {
                tracing::error!("cannot deliver: {why} {refuge}, and it is tried again slowly");
            } else {
                tracing::warn!("cannot deliver: {why} {refuge}, and it is tried again");
            }
        }
    }

    /// The receiver has acknowledged something.
    pub(super) fn receiver_is_well(&mut self) {
        if let Some(trouble) = self.away.take() {
            self.had_network |= has_network();
            self.health.set(Trouble::NetworkGone, false);
            self.health.set(Trouble::ReceiverRefuses, false);
            let seconds = trouble.since.elapsed().as_secs();
            tracing::info!("{} acknowledges again after {seconds} s", self.endpoint);
        }
    }

    /// Records may have been set aside. The first of a burst has been told; how many more there were is told when it has lasted a minute,
    /// or at the end.
    pub(super) fn records_are_refused(&mut self, refusals: &Refusals, now: Instant, closing: bool) {
        let count = refusals.burst();
        if count == 0 {
            return;
        }
        let since = *self.burst.get_or_insert(now);
        if closing || now.duration_since(since) >= REMIND_EVERY {
            self.burst = None;
            refusals.end_burst();
            if count > 1 {
                tracing::warn!(records = count - 1, "the receiver has refused more records; they are dead letters too");
            }
        }
    }

    /// When there is something to be told of refused records.
    pub(super) fn burst_ends(&self) -> Option<Instant> {
        self.burst.map(|since| since + REMIND_EVERY)
    }

    /// An append to the spool failed.
    pub(super) fn spool_refuses(&mut self, error: &AppendError) {
        self.health.set(Trouble::SpoolFull, true);
        if say_now(&mut self.spool, &error.to_string()) {
            tracing::error!("the spool takes nothing: {error}; reading stops, lines wait in the log files");
        }
    }

    /// An append succeeded. A full spool that is being drained takes a batch whenever there is room, and is full again: that is
    /// said once.
    pub(super) fn spool_takes(&mut self) {
        if self.spool.is_some() {
            self.health.set(Trouble::SpoolFull, false);
        }
    }

    /// Nothing needs the spool any more.
    pub(super) fn spool_is_not_needed(&mut self) {
        if self.spool.take().is_some() {
            self.health.set(Trouble::SpoolFull, false);
            tracing::info!("the spool is drained");
        }
    }
}

/// Where lines are meanwhile.
fn refuge(spooling: bool) -> &'static str {
    if spooling { "lines are kept in the spool" } else { "lines wait in the log files" }
}

/// Whether a trouble is new, different, or due to be said again.
fn say_now(trouble: &mut Option<Lasting>, why: &str) -> bool {
    let now = Instant::now();
    match trouble {
        Some(known) if known.why == why && now.duration_since(known.said) < REMIND_EVERY => false,
        Some(known) => {
            known.said = now;
            why.clone_into(&mut known.why);
            true
        }
        None => {
            *trouble = Some(Lasting { since: now, said: now, why: why.to_owned() });
            true
        }
    }
}

/// Whether this network namespace has an interface beside loopback (proc(5), `/proc/net/dev`: two lines of headings, then
/// `name: counters`). A sidecar shares its service's namespace, whose interface Docker takes away with the service.
fn has_network() -> bool {
    match std::fs::read_to_string("/proc/self/net/dev") {
        Ok(table) => names_an_interface(&table),
        Err(_) => true,
    }
}

fn names_an_interface(table: &str) -> bool {
    table.lines().skip(2).filter_map(|line| line.split_once(':')).any(|(name, _)| name.trim() != "lo")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_with_only_loopback_has_no_network() {
        let head = "Inter-|   Receive\n face |bytes\n";
        assert!(!names_an_interface(head));
        assert!(!names_an_interface(&format!("{head}    lo:  12 0\n")));
        assert!(names_an_interface(&format!("{head}    lo:  12 0\n  eth0: 99 1\n")));
    }

    #[test]
    fn refused_records_are_counted_for_a_minute() {
        let (refusals, start) = (Refusals::default(), Instant::now());
        let mut report = Report::new(String::new(), Arc::new(Health::new()));
        report.records_are_refused(&refusals, start, false);
        assert_eq!(report.burst_ends(), None);
        assert_eq!((0..3).filter(|_| refusals.begins_a_burst()).count(), 1);
        report.records_are_refused(&refusals, start, false);
        assert_eq!((refusals.burst(), report.burst_ends()), (3, Some(start + REMIND_EVERY)));
        report.records_are_refused(&refusals, start + REMIND_EVERY, false);
        assert_eq!((refusals.burst(), report.burst_ends()), (0, None));
        refusals.begins_a_burst();
        report.records_are_refused(&refusals, start, true);
        assert_eq!((refusals.burst(), report.burst_ends()), (0, None), "at the end nothing waits");
    }

    #[test]
    fn the_same_trouble_is_said_once() {
        let mut trouble = None;
        assert!(say_now(&mut trouble, "refused"));
        assert!(!say_now(&mut trouble, "refused"));
        assert!(say_now(&mut trouble, "it answers 503"));
        assert!(!say_now(&mut trouble, "it answers 503"));
    }
}
