//! What an answer means, and how long to wait: pure decisions. This module does no I/O and never sleeps.

use crate::limits;
use crate::position::Ranges;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

/// What to do now with a batch that was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// 2xx: durable at the receiver.
    Delivered,
    /// The receiver is away or busy: the same batch again, later.
    Retry {
        /// Why, for a person.
        why: String,
        /// For metrics: the status code, `connect`, `timeout` or `reset`.
        status: Status,
        /// What the receiver asked for.
        after: Option<Duration>,
    },
    /// 401, 403, 404 and the like: nothing changes until a person repairs it; said loudly, tried slowly.
    Held {
        /// The status code.
        status: u16,
    },
    /// 409: the receiver holds these ranges of the source already.
    Overlap(Ranges),
    /// 413: too large in one piece.
    TooLarge,
    /// 400, 422: something in it is refused.
    Refused {
        /// The status code.
        status: u16,
        /// Start of the answer, for the dead-letter store.
        answer: String,
    },
}

/// How an attempt ended, as a label of metrics: a closed set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// An HTTP status.
    Code(u16),
    /// No connection: refused, unreachable, unknown host, TLS failure.
    Connect,
    /// No answer in time.
    Timeout,
    /// The connection broke before the answer.
    Reset,
}

impl Status {
    /// The label's value.
    pub fn label(self) -> String {
        match self {
            Self::Code(code) if (100..600).contains(&code) => code.to_string(),
            Self::Code(_) => "other".into(),
            Self::Connect => "connect".into(),
            Self::Timeout => "timeout".into(),
            Self::Reset => "reset".into(),
        }
    }
}

/// Most bytes of an answer that are kept beside a refused record.
const ANSWER_KEPT: usize = 512;

/// What an HTTP answer means. `retry_after` is the header's text, `body` the start of the answer.
pub fn classify(status: u16, retry_after: Option<&str>, body: &[u8], now: SystemTime) -> Outcome {
    let retry = |why: String| Outcome::Retry {
        why,
        status: Status::Code(status),
        after: retry_after.and_then(|text| parse_retry_after(text, now)),
    };
    let refused = || Outcome::Refused {
        status,
        answer: String::from_utf8_lossy(&body[..body.len().min(ANSWER_KEPT)]).into_owned(),
    };
    match status {
        200..=299 => Outcome::Delivered,
        409 => committed_ranges(body).map_or_else(refused, Outcome::Overlap),
        // 431: the header that names the batch is too long for somebody on the way; a smaller batch has a shorter one.
        413 | 431 => Outcome::TooLarge,
        400 | 422 => refused(),
        408 | 429 | 500..=599 => retry(format!("it answers {status}")),
        _ => Outcome::Held { status },
    }
}

/// `Retry-After`: seconds or an HTTP date (RFC 9110, 10.2.3), bounded.
fn parse_retry_after(text: &str, now: SystemTime) -> Option<Duration> {
    let text = text.trim();
    let wait = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => httpdate::parse_http_date(text).ok()?.duration_since(now).unwrap_or_default(),
    };
    Some(wait.min(limits::RETRY_AFTER_MAX))
}

/// The `committed` ranges of a 409 (`docs/wire-format.md`).
fn committed_ranges(body: &[u8]) -> Option<Ranges> {
    #[derive(serde::Deserialize)]
    struct Answer {
        committed: String,
    }
    serde_json::from_slice::<Answer>(body).ok()?.committed.parse().ok()
}

/// Records set aside since the receiver last accepted anything, over all connections. A receiver that refuses everything is
/// broken or the wrong one: its refusals must not turn the whole log into dead letters.
///
/// Up to [`limits::REFUSALS_IN_A_ROW`] records are set aside at once. From then on each one is held first, like a 401, and set
/// aside when it is refused once more: slowly, so that records that are bad in truth do not stop the log for ever.
#[derive(Debug, Default)]
pub struct Refusals {
    in_a_row: AtomicU32,
    /// Set aside since that was last told.
    untold: AtomicU32,
}

impl Refusals {
    /// The receiver has accepted something.
    pub fn reset(&self) {
        self.in_a_row.store(0, Relaxed);
    }

    /// A record has been set aside: whether it is the first of a burst, to be told at once.
    pub fn begins_a_burst(&self) -> bool {
        self.untold.fetch_add(1, Relaxed) == 0
    }

    /// How many have been set aside in this burst.
    pub fn burst(&self) -> u32 {
        self.untold.load(Relaxed)
    }

    /// The burst has been told; the next record begins another.
    pub fn end_burst(&self) {
        self.untold.store(0, Relaxed);
    }

    /// A single record is refused: whether to set it aside now, or to hold it.
    pub fn sets_aside(&self) -> bool {
        let count = self.in_a_row.load(Relaxed);
        let held_before = count > limits::REFUSALS_IN_A_ROW;
        let hold = count == limits::REFUSALS_IN_A_ROW;
        self.in_a_row.store(if held_before { limits::REFUSALS_IN_A_ROW } else { count + 1 }, Relaxed);
        !hold
    }
}

/// Exponential backoff with full jitter.
#[derive(Clone, Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Pause before the next attempt, after one more failure: anything up to the bound that doubles with each, so that many
    /// forwarders do not come back in step; never less than what the receiver asked for.
    pub fn next(&mut self, asked: Option<Duration>) -> Duration {
        let bound = limits::BACKOFF_FIRST.saturating_mul(1 << self.failures.min(16)).min(limits::BACKOFF_MAX);
        self.failures = self.failures.saturating_add(1);
        let jittered = bound.mul_f64(fastrand::f64());
        asked.map_or(jittered, |asked| asked.saturating_add(jittered.min(limits::BACKOFF_FIRST)))
    }

    /// After a success the next failure starts from the beginning.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_mean_what_the_wire_format_says() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
        let check = |status, retry_after, body: &str, expected: Outcome| {
            assert_eq!(
                classify(status, retry_after, body.as_bytes(), now),
                expected,
                "{status} {retry_after:?} {body}"
            );
        };
        let retry = |code, seconds: Option<u64>| Outcome::Retry {
            why: format!("it answers {code}"),
            status: Status::Code(code),
            after: seconds.map(Duration::from_secs),
        };
        check(200, None, "", Outcome::Delivered);
        check(204, None, "", Outcome::Delivered);
        check(429, Some("7"), "", retry(429, Some(7)));
        check(503, Some("Sun, 06 Nov 1994 08:49:47 GMT"), "", retry(503, Some(10)));
        check(503, Some("Sun, 06 Nov 1994 08:00:00 GMT"), "", retry(503, Some(0)));
        check(500, Some("soon"), "", retry(500, None));
        check(408, Some("99999999"), "", retry(408, Some(300)));
        check(413, None, "", Outcome::TooLarge);
        check(431, None, "", Outcome::TooLarge);
        check(422, None, "no", Outcome::Refused { status: 422, answer: "no".into() });
        check(409, None, r#"{"error":"overlap","committed":"0-5"}"#, Outcome::Overlap("0-5".parse().expect("valid")));
        check(409, None, "conflict", Outcome::Refused { status: 409, answer: "conflict".into() });
        check(
            409,
            None,
            r#"{"committed":"5-0"}"#,
            Outcome::Refused { status: 409, answer: r#"{"committed":"5-0"}"#.into() },
        );
        for status in [301, 401, 403, 404, 405] {
            check(status, None, "", Outcome::Held { status });
        }
        let Outcome::Refused { answer, .. } = classify(400, None, &[0xff; 5000], now) else { panic!("refused") };
        assert_eq!(answer.chars().count(), ANSWER_KEPT);
    }

    #[test]
    fn backoff_grows_to_its_bound_honours_the_receiver_and_starts_anew() {
        let mut backoff = Backoff::default();
        let mut longest = Duration::ZERO;
        for attempt in 0..200 {
            let pause = backoff.next(None);
            let bound = limits::BACKOFF_FIRST.saturating_mul(1 << attempt.min(16)).min(limits::BACKOFF_MAX);
            assert!(pause <= bound, "attempt {attempt}: {pause:?}");
            longest = longest.max(pause);
        }
        assert!(longest > limits::BACKOFF_MAX / 2, "it does grow: {longest:?}");
        let asked = Duration::from_secs(60);
        let pause = backoff.next(Some(asked));
        assert!(pause >= asked && pause <= asked + limits::BACKOFF_FIRST);
        backoff.reset();
        assert!(backoff.next(None) <= limits::BACKOFF_FIRST);
    }

    #[test]
    fn a_receiver_that_refuses_everything_is_held() {
        let refusals = Refusals::default();
        let run = |count: u32| (0..count).filter(|_| refusals.sets_aside()).count() as u32;
        assert_eq!(run(limits::REFUSALS_IN_A_ROW), limits::REFUSALS_IN_A_ROW);
        assert!(!refusals.sets_aside(), "held");
        assert_eq!(run(10), 5, "then every other time");
        refusals.reset();
        assert_eq!(run(limits::REFUSALS_IN_A_ROW + 1), limits::REFUSALS_IN_A_ROW, "an accepted record starts anew");
    }

    #[test]
    fn a_burst_of_refusals_is_told_at_its_beginning_and_counted() {
        let refusals = Refusals::default();
        assert_eq!((0..5).filter(|_| refusals.begins_a_burst()).count(), 1);
        assert_eq!(refusals.burst(), 5);
        refusals.end_burst();
        assert_eq!((refusals.burst(), refusals.begins_a_burst()), (0, true));
    }
}
