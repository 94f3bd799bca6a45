//! How many records a container may have a second.
//!
//! Time is Docker's time of the lines, in whole seconds, so that reading the same lines again judges them in the same way.
//! A bucket is filled once a second and not drop by drop: lines that are over are over until the second ends, so there is
//! one record about them a second and not one behind every line that passes.

use super::rules::Rate;
use crate::parser::time::Stamp;
use crate::position::Ranges;
use crate::source::Source;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Seconds by which time may go back (streams that are written at the same time) without meaning another second.
const BACKWARD: u64 = 2;

/// Records that may still pass in this second.
#[derive(Debug)]
pub(super) struct Bucket {
    rate: Rate,
    tokens: u64,
    second: Option<u64>,
}

impl Bucket {
    /// A full one.
    pub(super) fn new(rate: Rate) -> Self {
        Self { rate, tokens: rate.burst, second: None }
    }

    /// Whether a record of this moment passes.
    pub(super) fn passes(&mut self, time: Duration) -> bool {
        let now = time.as_secs();
        let second = *self.second.get_or_insert(now);
        // A clock that was set back begins anew from where it is.
        let elapsed = if now + BACKWARD < second { 1 } else { now.saturating_sub(second) };
        if elapsed > 0 {
            self.second = Some(now);
            let fresh = elapsed.saturating_mul(self.rate.per_second);
            self.tokens = self.tokens.saturating_add(fresh).min(self.rate.burst);
        }
        let passes = self.tokens > 0;
        self.tokens -= u64::from(passes);
        passes
    }
}

/// Lines that were dropped for being too many, and are still to be told of.
#[derive(Debug)]
pub(super) struct Suppressed {
    /// Whose.
    pub(super) source: Arc<Source>,
    pub(super) lines: u64,
    /// Where they stand, and other dropped lines behind them.
    pub(super) ranges: Ranges,
    pub(super) first: Duration,
    /// When the last one was written.
    pub(super) last: Stamp,
    /// When the first one was read.
    pub(super) since: Instant,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rate(per_second: u64, burst: u64) -> Bucket {
        Bucket::new(Rate { per_second, burst })
    }

    fn passed(bucket: &mut Bucket, seconds: &[u64]) -> Vec<bool> {
        seconds.iter().map(|second| bucket.passes(Duration::from_millis(second * 1000 + 7))).collect()
    }

    #[test]
    fn a_second_has_its_share_and_a_pause_saves_up_to_the_burst() {
        let check = |bucket: &mut Bucket, seconds: &[u64], expected: &[u8]| {
            let passed: Vec<u8> = passed(bucket, seconds).into_iter().map(u8::from).collect();
            assert_eq!(passed, expected, "{seconds:?}");
        };
        check(&mut rate(2, 2), &[5, 5, 5, 5, 6, 6, 6, 9, 9, 9], &[1, 1, 0, 0, 1, 1, 0, 1, 1, 0]);
        check(
            &mut rate(1, 3),
            &[5, 5, 5, 5, 6, 6, 8, 8, 8, 100, 100, 100, 100],
            &[1, 1, 1, 0, 1, 0, 1, 1, 0, 1, 1, 1, 0],
        );
        // Back by a little is the same second; back by much begins anew.
        check(&mut rate(1, 1), &[10, 9, 8, 10, 7, 7, 8], &[1, 0, 0, 0, 1, 0, 1]);
    }

    proptest! {
        /// In any stretch of seconds no more pass than the burst and the rate allow, and no fewer than there is room for.
        #[test]
        fn never_more_than_the_rate_allows(
            per_second in 1u64..20,
            extra in 0u64..20,
            mut seconds in proptest::collection::vec(0u64..30, 1..400),
        ) {
            seconds.sort_unstable();
            let mut bucket = rate(per_second, per_second + extra);
            let passed = passed(&mut bucket, &seconds);
            for from in 0..30 {
                for to in from..30 {
                    let of = |second: &u64| (from..=to).contains(second);
                    let count = seconds.iter().zip(&passed).filter(|(second, passed)| of(second) && **passed).count();
                    let bound = per_second + extra + (to - from) * per_second;
                    prop_assert!(count as u64 <= bound, "{count} in {from}..={to}, bound {bound}");
                }
                let asked = seconds.iter().filter(|second| **second == from).count() as u64;
                let got = seconds.iter().zip(&passed).filter(|(second, passed)| **second == from && **passed).count();
                prop_assert!(got as u64 >= asked.min(per_second));
            }
        }
    }
}
