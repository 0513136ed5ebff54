//! Repeatable randomness: a generator, bytes made from it, and skewed ranks. None of it is secret.

/// SplitMix64 (Steele, Lea and Flood 2014): one word of state, any seed is a good one.
#[derive(Clone)]
pub(crate) struct Random(u64);

impl Random {
    /// A stream of its own for every pair, so that no thread's choices depend on another's.
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        let mut mixer = Random(seed);
        let base = mixer.next();
        Random(base ^ stream.wrapping_mul(0xD6E8_FEB8_6659_FD93))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Uniform in `0..bound` (0 if `bound` is 0), by multiplication: the bias is below 2^-32 for what is asked here.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    /// Uniform in `[0, 1)`.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Fills `buf` with bytes that do not compress and tell one stream from another.
    pub(crate) fn fill(&mut self, buf: &mut [u8]) {
        for word in buf.chunks_mut(8) {
            word.copy_from_slice(&self.next().to_le_bytes()[..word.len()]);
        }
    }

    pub(crate) fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last as u64 + 1) as usize);
        }
    }
}

/// Ranks `0..n` with probability proportional to `1 / (rank + 1)`, in constant time and space: rejection-inversion
/// (Hörmann and Derflinger 1996) for the exponent 1, where the integral of the hat is a logarithm.
pub(crate) struct Zipf {
    ranks: f64,
    low: f64,
    high: f64,
    sure: f64,
}

impl Zipf {
    /// Over `ranks` ranks, at least one.
    pub(crate) fn new(ranks: u32) -> Self {
        debug_assert!(ranks > 0);
        let ranks = f64::from(ranks.max(1));
        Zipf {
            ranks,
            low: 1.5f64.ln() - 1.0,
            high: (ranks + 0.5).ln(),
            sure: 2.0 - (2.5f64.ln() - 0.5).exp(),
        }
    }

    pub(crate) fn rank(&self, random: &mut Random) -> u32 {
        loop {
            let u = self.high + random.unit() * (self.low - self.high);
            let x = u.exp();
            let k = (x + 0.5).floor().clamp(1.0, self.ranks);
            if k - x <= self.sure || u >= (k + 0.5).ln() - 1.0 / k {
                return k as u32 - 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_follow_the_harmonic_law() {
        let (zipf, mut random) = (Zipf::new(1000), Random::new(7, 0));
        let mut counts = [0u32; 1000];
        let draws = 400_000;
        (0..draws).for_each(|_| counts[zipf.rank(&mut random) as usize] += 1);
        let harmonic: f64 = (1..=1000).map(|k| 1.0 / f64::from(k)).sum();
        for rank in [0, 1, 2, 9, 99] {
            let expected = f64::from(draws) / (harmonic * f64::from(rank + 1));
            let found = f64::from(counts[rank as usize]);
            assert!((found - expected).abs() < 6.0 * expected.sqrt(), "rank {rank}: {found}, not {expected}");
        }
        assert_eq!(counts.iter().sum::<u32>(), draws);
    }

    #[test]
    fn a_single_rank_is_always_drawn() {
        let (zipf, mut random) = (Zipf::new(1), Random::new(1, 1));
        assert!((0..1000).all(|_| zipf.rank(&mut random) == 0));
    }

    #[test]
    fn streams_of_one_seed_differ_and_repeat() {
        let bytes = |seed, stream| {
            let mut buf = [0; 21];
            Random::new(seed, stream).fill(&mut buf);
            buf
        };
        assert_eq!(bytes(3, 4), bytes(3, 4));
        assert_ne!(bytes(3, 4), bytes(3, 5));
        assert_ne!(bytes(3, 4), bytes(4, 4));
    }

    #[test]
    fn a_shuffle_loses_nothing() {
        let mut items: Vec<u32> = (0..500).collect();
        Random::new(1, 2).shuffle(&mut items);
        assert!(!items.is_sorted());
        items.sort_unstable();
        assert!(items.into_iter().eq(0..500));
    }
}
