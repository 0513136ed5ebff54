//! Durations counted into buckets that are linear within each doubling, so that a percentile is right to about 3 % over
//! the whole range, in a few kilobytes and without a division.

use std::time::Duration;

/// Buckets per doubling, as a power of two.
const FINE_BITS: u32 = 5;
const FINE: usize = 1 << FINE_BITS;
/// Durations from 2^40 ns (18 minutes) on share the last bucket.
const TOP_BITS: u32 = 40;
const BUCKETS: usize = FINE * (TOP_BITS - FINE_BITS + 1) as usize;

/// Counts of durations in nanoseconds.
#[derive(Clone)]
pub(crate) struct Histogram {
    counts: Vec<u64>,
    total: u64,
    max_ns: u64,
}

impl Histogram {
    pub(crate) fn new() -> Self {
        Histogram { counts: vec![0; BUCKETS], total: 0, max_ns: 0 }
    }

    pub(crate) fn add(&mut self, duration: Duration) {
        let ns = u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        self.counts[bucket(ns)] += 1;
        self.total += 1;
        self.max_ns = self.max_ns.max(ns);
    }

    pub(crate) fn merge(&mut self, other: &Histogram) {
        self.counts.iter_mut().zip(&other.counts).for_each(|(mine, theirs)| *mine += theirs);
        self.total += other.total;
        self.max_ns = self.max_ns.max(other.max_ns);
    }

    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    pub(crate) fn max_ns(&self) -> u64 {
        self.max_ns
    }

    /// The duration that a share of `fraction` of all stays at or below; 0 when nothing was counted.
    pub(crate) fn quantile_ns(&self, fraction: f64) -> u64 {
        let wanted = ((self.total as f64 * fraction).ceil() as u64).max(1);
        let mut seen = 0;
        for (index, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return upper_ns(index).min(self.max_ns);
            }
        }
        self.max_ns
    }
}

fn bucket(ns: u64) -> usize {
    let ns = ns.min((1 << TOP_BITS) - 1);
    if ns < FINE as u64 {
        return ns as usize;
    }
    let doubling = ns.ilog2() - FINE_BITS;
    FINE * (doubling as usize + 1) + (ns >> doubling) as usize - FINE
}

/// The largest duration that falls into the bucket.
fn upper_ns(index: usize) -> u64 {
    if index < FINE {
        return index as u64;
    }
    let doubling = index / FINE - 1;
    (((FINE + index % FINE + 1) as u64) << doubling) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_duration_lies_in_its_bucket_and_close_to_its_top() {
        let mut ns = 1u64;
        while ns < 1 << TOP_BITS {
            for near in [ns - 1, ns, ns + 1] {
                let top = upper_ns(bucket(near));
                assert!(top >= near, "{near} above its bucket's top {top}");
                assert!(top - near <= near / 32, "{near} too far below its bucket's top {top}");
                assert!(bucket(near) == 0 || upper_ns(bucket(near) - 1) < near);
            }
            ns = ns * 3 / 2 + 1;
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn percentiles_of_a_known_series() {
        let mut even = Histogram::new();
        let mut odd = Histogram::new();
        for ns in 1..=100_000u64 {
            if ns % 2 == 0 { &mut even } else { &mut odd }.add(Duration::from_nanos(ns));
        }
        even.merge(&odd);
        assert_eq!((even.total(), even.max_ns()), (100_000, 100_000));
        for (fraction, exact) in [(0.5, 50_000.0), (0.99, 99_000.0), (0.999, 99_900.0)] {
            let found = even.quantile_ns(fraction) as f64;
            assert!((exact..=exact * 1.04).contains(&found), "{fraction}: {found}");
        }
        assert_eq!(even.quantile_ns(1.0), 100_000);
        assert_eq!(Histogram::new().quantile_ns(0.5), 0);
    }
}
