//! Which file each request is for: drawn before anything is timed, so that drawing costs the timed loops one load.

use serde::{Deserialize, Serialize};

/// SplitMix64: small, and the same everywhere.
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In `0..n`. The bias of the multiplication is below 2^-32 for the sizes used here.
    pub(crate) fn below(&mut self, n: u32) -> u32 {
        (((self.next() >> 32) * u64::from(n)) >> 32) as u32
    }

    /// In `0.0..1.0`.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            items.swap(i, self.below(i as u32 + 1) as usize);
        }
    }
}

/// How requests spread over files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Spread {
    /// Zipf with exponent 0.99, as YCSB has it; the popular files lie anywhere.
    Zipf,
    Uniform,
    /// One file, always the same.
    One,
}

impl Spread {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Spread::Zipf => "Zipf 0.99",
            Spread::Uniform => "uniform",
            Spread::One => "one file",
        }
    }
}

const EXPONENT: f64 = 0.99;

/// Requests of a sequence; a power of two. Read in order, and started over, 4 MiB stream past the cache.
const LENGTH: usize = 1 << 20;

/// A sequence of requests for `files` files.
pub(crate) fn sequence(spread: Spread, files: u32, seed: u64) -> Vec<u32> {
    let mut rng = Rng::new(seed);
    match spread {
        Spread::Uniform => (0..LENGTH).map(|_| rng.below(files)).collect(),
        Spread::One => vec![files / 2; LENGTH],
        Spread::Zipf => {
            // The same for every thread: they share what is popular.
            let mut of_rank: Vec<u32> = (0..files).collect();
            Rng::new(0x7a69_7066).shuffle(&mut of_rank);
            let mut sum = 0.0;
            let cumulative: Vec<f64> = (1..=files)
                .map(|rank| {
                    sum += f64::from(rank).powf(-EXPONENT);
                    sum
                })
                .collect();
            let draw = |rng: &mut Rng| {
                let at = rng.unit() * sum;
                of_rank[cumulative.partition_point(|&c| c <= at).min(of_rank.len() - 1)]
            };
            (0..LENGTH).map(|_| draw(&mut rng)).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zipf_has_the_shares_of_zipf() {
        let drawn = sequence(Spread::Zipf, 1000, 1);
        let mut counts = vec![0u32; 1000];
        drawn.iter().for_each(|&id| counts[id as usize] += 1);
        counts.sort_unstable_by(|a, b| b.cmp(a));
        let sum: f64 = (1..=1000).map(|rank| f64::from(rank).powf(-EXPONENT)).sum();
        for rank in [1usize, 2, 10, 100] {
            let want = (rank as f64).powf(-EXPONENT) / sum;
            let got = f64::from(counts[rank - 1]) / LENGTH as f64;
            assert!((got / want - 1.0).abs() < 0.1, "rank {rank}: {got} of {want}");
        }
    }
}
