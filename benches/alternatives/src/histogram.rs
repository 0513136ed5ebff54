//! Latencies, in buckets narrow enough that a percentile is within 3 % of the truth.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

const SUB_BITS: u32 = 5;

/// Counts of nanoseconds by bucket; only buckets in use are kept, so that it travels well.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Histogram {
    buckets: BTreeMap<u32, u64>,
}

fn bucket_of(ns: u64) -> u32 {
    let top = ns.max(1).ilog2();
    if top < SUB_BITS {
        return ns as u32;
    }
    let below = (ns >> (top - SUB_BITS)) & ((1 << SUB_BITS) - 1);
    ((top - SUB_BITS + 1) << SUB_BITS) + below as u32
}

/// The middle of a bucket.
fn middle_of(bucket: u32) -> u64 {
    let (row, column) = (bucket >> SUB_BITS, u64::from(bucket & ((1 << SUB_BITS) - 1)));
    if row == 0 {
        return column;
    }
    let width = 1 << (row - 1);
    ((1 << SUB_BITS) + column) * width + width / 2
}

impl Histogram {
    pub(crate) fn record(&mut self, ns: u64) {
        *self.buckets.entry(bucket_of(ns)).or_default() += 1;
    }

    pub(crate) fn add(&mut self, other: &Histogram) {
        for (&bucket, &count) in &other.buckets {
            *self.buckets.entry(bucket).or_default() += count;
        }
    }

    fn count(&self) -> u64 {
        self.buckets.values().sum()
    }

    /// `None` where fewer than ten samples lie beyond it: that would be an anecdote.
    fn percentile(&self, share: f64) -> Option<u64> {
        let samples = self.count();
        if samples as f64 * (1.0 - share) < 10.0 {
            return None;
        }
        let rank = (samples as f64 * share).ceil().max(1.0) as u64;
        let mut seen = 0;
        for (&bucket, count) in &self.buckets {
            seen += count;
            if seen >= rank {
                return Some(middle_of(bucket));
            }
        }
        None
    }
}

/// What is kept of a histogram, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Percentiles {
    pub(crate) samples: u64,
    pub(crate) p50: Option<u64>,
    pub(crate) p99: Option<u64>,
    pub(crate) p999: Option<u64>,
}

impl From<&Histogram> for Percentiles {
    fn from(histogram: &Histogram) -> Self {
        Self {
            samples: histogram.count(),
            p50: histogram.percentile(0.5),
            p99: histogram.percentile(0.99),
            p999: histogram.percentile(0.999),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_within_their_bucket() {
        let mut histogram = Histogram::default();
        (1..=100_000).for_each(|ns| histogram.record(ns));
        for share in [0.5, 0.9, 0.99, 0.999] {
            let (got, want) = (histogram.percentile(share).unwrap() as f64, 100_000.0 * share);
            assert!((got / want - 1.0).abs() < 0.032, "{share}: {got}");
        }
        assert_eq!(histogram.percentile(0.99999), None);
    }
}
