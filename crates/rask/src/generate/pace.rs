//! When the next lines are due. No clock of its own, no sleeping.

use std::time::Duration;

/// A steady rate in bursts.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Lines per second; 0 is as fast as can be.
    pub rate: u64,
    /// Lines written together, at least 1.
    pub burst: u64,
}

impl Pace {
    /// Below this nothing waits: a thousand wake-ups a second are smooth enough and cheap.
    const TICK: Duration = Duration::from_millis(1);

    /// Lines that should have been written after `elapsed`, in whole bursts. The first is due at once.
    pub fn due(self, elapsed: Duration) -> u64 {
        if self.rate == 0 {
            return u64::MAX;
        }
        let lines = elapsed.as_nanos() * u128::from(self.rate) / 1_000_000_000;
        let bursts = u64::try_from(lines).unwrap_or(u64::MAX) / self.burst.max(1);
        bursts.saturating_add(1).saturating_mul(self.burst.max(1))
    }

    /// How long to wait after `written` lines.
    pub fn wait(self, written: u64, elapsed: Duration) -> Duration {
        if self.rate == 0 {
            return Duration::ZERO;
        }
        let at = u128::from(written) * 1_000_000_000 / u128::from(self.rate);
        let at = Duration::from_nanos(u64::try_from(at).unwrap_or(u64::MAX));
        at.saturating_sub(elapsed).max(Self::TICK)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn due_counts_whole_bursts() {
        let check = |rate, burst, millis, want| {
            assert_eq!(Pace { rate, burst }.due(Duration::from_millis(millis)), want, "{rate} {burst} {millis}");
        };
        check(1000, 1, 0, 1);
        check(1000, 1, 10, 11);
        check(100_000, 1, 1000, 100_001);
        check(1000, 50, 0, 50);
        check(1000, 50, 49, 50);
        check(1000, 50, 50, 100);
        check(3, 1, 333, 1);
        check(3, 1, 334, 2);
        check(0, 1, 0, u64::MAX);
    }

    #[test]
    fn waits_until_the_next_is_due_but_never_less_than_a_tick() {
        let pace = Pace { rate: 10, burst: 1 };
        assert_eq!(pace.wait(1, Duration::ZERO), Duration::from_millis(100));
        assert_eq!(pace.wait(1, Duration::from_millis(60)), Duration::from_millis(40));
        assert_eq!(Pace { rate: 100_000, burst: 1 }.wait(1, Duration::ZERO), Duration::from_millis(1));
        assert_eq!(Pace { rate: 0, burst: 1 }.wait(1, Duration::ZERO), Duration::ZERO);
    }

    /// Played against a clock that is late by any amount, the count is never behind or ahead by more than a burst.
    #[test]
    fn keeps_the_rate() {
        for rate in [1, 7, 1000, 99_999] {
            let pace = Pace { rate, burst: 1 };
            let (mut elapsed, mut written) = (Duration::ZERO, 0);
            while elapsed < Duration::from_secs(3) {
                written = pace.due(elapsed).max(written);
                elapsed += pace.wait(written, elapsed) + Duration::from_micros(fastrand::u64(0..700));
            }
            let want = elapsed.as_secs_f64() * rate as f64;
            assert!((written as f64 - want).abs() <= rate as f64 * 0.0018 + 2.0, "{rate}: {written} of {want}");
        }
    }
}
