//! One batch on its way: from the first attempt to the point where every record in it is settled, or where the receiver is
//! away and the rest must wait.
//!
//! A batch may have to be taken apart on the way (413 split, 400 bisect, 409 cut); its parts are flown one after the other, in
//! order, and the position of each is committed as soon as it is delivered. A flight never waits and never repeats an attempt:
//! pauses are the [`Sender`](super::Sender)'s business.
//!
//! The process may be stopped, or killed, in the middle of this, while the batch stands whole in the spool: it is safe, so nobody
//! waits for the flight. The positions then say how far it came, and the next process flies what is [left](Store::left_of). A
//! record that is to be a dead letter is given to the store in one go with its position: what the store has been asked it does
//! before it ends, whether or not anybody waits for the answer.

use super::batch::Batch;
use super::http::Connection;
use super::retry::{Outcome, Refusals, Status};
use super::spool::{DeadLetter, Store};
use crate::position::Ranges;
use crate::source::SourceKey;
use std::sync::Arc;
use std::time::Duration;

/// What became of the lines of a flight so far. Carried on when the rest is flown later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Lines whose records the receiver holds.
    pub delivered: u64,
    /// Records that the receiver acknowledged.
    pub records: u64,
    /// Lines of records that the receiver refused; they are in the dead-letter store.
    pub refused: u64,
    /// Lines of single records too large for the receiver; likewise.
    pub too_large: u64,
}

/// Why a flight ended with parts left.
#[derive(Debug)]
pub struct Failure {
    /// For a person.
    pub why: String,
    /// For metrics.
    pub status: Status,
    /// What the receiver asked for.
    pub after: Option<Duration>,
    /// Whether only a person can repair it (401, 403, 404, or every record is refused).
    pub held: bool,
}

/// The end of a flight.
#[derive(Debug)]
pub struct Landing {
    /// What became of the lines.
    pub tally: Tally,
    /// Parts not settled, in order, and why.
    pub rest: Option<(Vec<Arc<Batch>>, Failure)>,
}

/// Flies `parts` in order over `connection`.
pub async fn fly(
    connection: &mut Connection,
    store: Option<&Store>,
    parts: Vec<Arc<Batch>>,
    mut tally: Tally,
) -> Landing {
    // Next part last.
    let mut parts: Vec<_> = parts.into_iter().rev().collect();
    while let Some(part) = parts.pop() {
        let failure = match connection.exchange(&part).await {
            Outcome::Delivered => {
                connection.refusals().reset();
                tally.delivered += u64::from(part.lines);
                tally.records += part.records() as u64;
                commit(store, part.claims());
                continue;
            }
            Outcome::Overlap(committed) => match part.without(&committed, false) {
                Some(rest) if rest == *part => failure(Status::Code(409), "it reports an overlap where there is none"),
                rest => {
                    // The receiver holds these lines: they are delivered, by an earlier run of ours.
                    tally.delivered += u64::from(part.lines - rest.as_ref().map_or(0, |rest| rest.lines));
                    let mut settled = vec![(part.key.clone(), committed)];
                    if rest.as_ref().is_none_or(|rest| rest.carried.is_empty()) {
                        settled.extend(part.carried_claims());
                    }
                    commit(store, settled);
                    parts.extend(rest.map(Arc::new));
                    continue;
                }
            },
            outcome @ (Outcome::TooLarge | Outcome::Refused { .. }) => match part.split() {
                Some((first, second)) => {
                    parts.push(Arc::new(second));
                    parts.push(Arc::new(first));
                    continue;
                }
                None if !connection.refusals().sets_aside() => refuses_everything(&outcome),
                None => match give_up(store, &part, outcome, &mut tally, connection.refusals()).await {
                    Ok(()) => continue,
                    Err(failure) => failure,
                },
            },
            Outcome::Retry { why, status, after } => Failure { why, status, after, held: false },
            Outcome::Held { status } => Failure {
                why: format!("it answers {status}: check RASK_ENDPOINT and RASK_TOKEN"),
                status: Status::Code(status),
                after: None,
                held: true,
            },
        };
        parts.push(part);
        parts.reverse();
        return Landing { tally, rest: Some((parts, failure)) };
    }
    Landing { tally, rest: None }
}

/// A single record that the receiver will never take: to the dead-letter store, durably, and its position with it.
async fn give_up(
    store: Option<&Store>,
    part: &Batch,
    outcome: Outcome,
    tally: &mut Tally,
    refusals: &Refusals,
) -> Result<(), Failure> {
    let (status, answer, lines) = match outcome {
        Outcome::Refused { status, answer } => (status, answer, &mut tally.refused),
        _ => (413, "the record alone is too large for the receiver".to_owned(), &mut tally.too_large),
    };
    if let Some(store) = store {
        let letter = DeadLetter {
            key: part.key.clone(),
            cover: part.cover.ranges(),
            carried: part.carried.clone(),
            lines: part.lines,
            record: part.body.clone(),
            status,
            answer,
        };
        if let Err(error) = store.dead_letter(letter).await {
            return Err(failure(
                Status::Code(status),
                &format!("it refuses a record, which cannot be set aside: {error}"),
            ));
        }
        if refusals.begins_a_burst() {
            tracing::warn!(status, container = %part.key.container, "the receiver refuses a record; it is in the dead-letter store");
        }
    } else if refusals.begins_a_burst() {
        tracing::error!(status, container = %part.key.container, "the receiver refuses a record; without a state directory it is lost");
    }
    *lines += u64::from(part.lines);
    Ok(())
}

fn commit(store: Option<&Store>, settled: Vec<(SourceKey, Ranges)>) {
    if let Some(store) = store {
        store.commit(settled);
    }
}

/// Held like a 401: the fault is not in the record.
fn refuses_everything(outcome: &Outcome) -> Failure {
    let status = if let Outcome::Refused { status, .. } = outcome { *status } else { 413 };
    Failure {
        why: format!("it answers {status} to every single record: check RASK_ENDPOINT, and what the receiver expects"),
        status: Status::Code(status),
        after: None,
        held: true,
    }
}

fn failure(status: Status, why: &str) -> Failure {
    Failure { why: why.to_owned(), status, after: None, held: false }
}
