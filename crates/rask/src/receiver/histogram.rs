//! Latencies in buckets of about 3 % width, from a nanosecond to centuries, in 15 KB.

use std::time::Duration;

/// Buckets in each power of two.
const STEPS: u64 = 32;

/// Counts of durations.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: Vec<u64>,
    count: u64,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: vec![0; 60 * STEPS as usize], count: 0, max: 0 }
    }
}

impl Histogram {
    /// Counts one duration in nanoseconds; less than none counts as none.
    pub fn add(&mut self, nanos: i64) {
        let nanos = u64::try_from(nanos).unwrap_or(0);
        self.counts[bucket(nanos)] += 1;
        self.count += 1;
        self.max = self.max.max(nanos);
    }

    /// Durations counted.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The longest, exactly.
    pub fn max(&self) -> Duration {
        Duration::from_nanos(self.max)
    }

    /// The upper bound of the bucket in which the share `quantile` (0 to 1) of all durations is reached; zero when empty.
    pub fn quantile(&self, quantile: f64) -> Duration {
        let rank = ((self.count as f64 * quantile).ceil() as u64).clamp(1, self.count.max(1));
        let mut below = 0;
        for (i, count) in self.counts.iter().enumerate() {
            below += count;
            if below >= rank {
                return Duration::from_nanos(upper(i).min(self.max));
            }
        }
        Duration::ZERO
    }

    /// What has been counted since `earlier`, a clone of this one taken before. Its maximum is only known to a bucket.
    pub fn since(&self, earlier: &Self) -> Self {
        let counts: Vec<u64> = self.counts.iter().zip(&earlier.counts).map(|(now, then)| now - then).collect();
        let max = counts.iter().rposition(|count| *count > 0).map_or(0, upper).min(self.max);
        Self { counts, count: self.count - earlier.count, max }
    }
}

fn bucket(nanos: u64) -> usize {
    if nanos < STEPS {
        return nanos as usize;
    }
    // The five bits below the leading one choose the step.
    let shift = 63 - u64::from(nanos.leading_zeros()) - 5;
    (shift * STEPS + (nanos >> shift)) as usize
}

/// The largest value in bucket `i`.
fn upper(i: usize) -> u64 {
    let i = i as u64;
    if i < STEPS * 2 {
        return i;
    }
    let shift = i / STEPS - 1;
    ((STEPS + i % STEPS + 1) << shift).wrapping_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn empty_and_extreme() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantile(0.5), Duration::ZERO);
        histogram.add(-5);
        histogram.add(i64::MAX);
        assert_eq!((histogram.count(), histogram.quantile(0.5)), (2, Duration::ZERO));
        assert_eq!(histogram.quantile(1.0), Duration::from_nanos(i64::MAX as u64));
    }

    proptest! {
        /// Against sorting: never below the true quantile, above it by at most a bucket.
        #[test]
        fn quantiles_are_close(mut values in prop::collection::vec(0i64..10_000_000_000, 1..300), quantile in 0.0f64..=1.0) {
            let mut histogram = Histogram::default();
            values.iter().for_each(|value| histogram.add(*value));
            values.sort_unstable();
            let rank = ((values.len() as f64 * quantile).ceil() as usize).clamp(1, values.len());
            let (want, got) = (values[rank - 1] as u64, histogram.quantile(quantile).as_nanos() as u64);
            prop_assert!(got >= want && got <= want + want / 32 + 1, "{} {}", got, want);
        }

        #[test]
        fn since_is_the_difference(first in prop::collection::vec(0i64..1_000_000, 0..50), second in prop::collection::vec(0i64..1_000_000, 1..50)) {
            let (mut all, mut only) = (Histogram::default(), Histogram::default());
            first.iter().for_each(|value| all.add(*value));
            let earlier = all.clone();
            second.iter().for_each(|value| { all.add(*value); only.add(*value); });
            let since = all.since(&earlier);
            prop_assert_eq!(since.count(), only.count());
            prop_assert_eq!(&since.counts, &only.counts);
        }
    }
}
