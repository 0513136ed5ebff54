//! The scoring rule, in quarter-bit logarithms (derivation and measurements: docs/design/scorer.md):
//!
//! `S = T[f] + P[priority] - lg4(size) - lg4(8 + age)`, the lowest of a sample leaves.

use crate::config::Priority;

/// How many resident candidates the hand examines before it takes the worst of them.
const SAMPLE: usize = 16;

/// `round(8 * log2(f + 1/2))` for the sketch's estimates 0..=15.
const FREQUENCY: [i32; 16] = [-8, 5, 11, 14, 17, 20, 22, 23, 25, 26, 27, 28, 29, 30, 31, 32];

/// `4 * log2(x)`, to a quarter of a bit: four times the position of the top bit, plus the two bits below it.
fn lg4(x: u64) -> i32 {
    debug_assert!(x > 0);
    let top = x.ilog2();
    let below = if top >= 2 { x >> (top - 2) } else { x << (2 - top) };
    (4 * top + (below & 3) as u32) as i32
}

/// The worth of keeping `size_bytes` in RAM: higher stays. `frequency` is the sketch's estimate (0..=15) and `age` the
/// request epochs since the last use.
pub(crate) fn score(frequency: u8, priority: Priority, size_bytes: u64, age: u32) -> i32 {
    debug_assert!(frequency <= 15);
    let weight = 2 * (i32::from(priority.get()) - 5);
    FREQUENCY[usize::from(frequency & 15)] + weight - lg4(size_bytes.max(1)) - lg4(8 + u64::from(age))
}

/// The four classes of the contract; a lower band leaves before a higher one, whatever the scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Band {
    /// 0 to 2: swapped out first.
    First,
    /// 3 to 5.
    Normal,
    /// 6 to 8: kept as long as possible.
    Kept,
    /// 9 and 10: only an explicit gc.
    Locked,
}

impl Band {
    /// The band is the user's word alone: reads lift a file's score (its effective priority), not its band.
    pub(crate) fn of(priority: Priority) -> Band {
        match priority.get() {
            0..=2 => Band::First,
            3..=5 => Band::Normal,
            6..=8 => Band::Kept,
            _ => Band::Locked,
        }
    }
}

/// The worst of the candidates seen so far.
pub(crate) struct Sample<T> {
    worst: Option<(Band, i32, T)>,
    seen: usize,
}

impl<T> Sample<T> {
    pub(crate) fn new() -> Self {
        Self { worst: None, seen: 0 }
    }

    pub(crate) fn consider(&mut self, band: Band, score: i32, candidate: T) {
        self.seen += 1;
        if self.worst.as_ref().is_none_or(|(b, s, _)| (band, score) < (*b, *s)) {
            self.worst = Some((band, score, candidate));
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.seen >= SAMPLE
    }

    /// The band of the worst so far.
    pub(crate) fn band(&self) -> Option<Band> {
        self.worst.as_ref().map(|(band, _, _)| *band)
    }

    pub(crate) fn into_worst(self) -> Option<T> {
        self.worst.map(|(_, _, candidate)| candidate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logarithms_err_by_a_quarter_bit_and_the_chord_at_most() {
        for x in (1..10_000u64).chain([u64::from(u32::MAX), 1 << 40, u64::MAX]) {
            let exact = 4.0 * (x as f64).log2();
            let error = f64::from(lg4(x)) - exact;
            assert!((-1.35..=0.001).contains(&error), "lg4({x}) = {}, exactly {exact}", lg4(x));
        }
    }

    #[test]
    fn the_frequency_table_is_its_formula() {
        for (f, value) in FREQUENCY.iter().enumerate() {
            assert_eq!(*value, (8.0 * (f as f64 + 0.5).log2()).round() as i32);
        }
    }

    #[test]
    fn more_use_higher_priority_smaller_size_and_youth_each_raise_the_score() {
        let base = score(4, Priority::NORMAL, 4096, 8);
        assert!(score(5, Priority::NORMAL, 4096, 8) > base);
        assert!(score(4, Priority::HIGH, 4096, 8) > base);
        assert!(score(4, Priority::NORMAL, 1024, 8) > base);
        assert!(score(4, Priority::NORMAL, 4096, 0) > base);
    }

    #[test]
    fn a_sample_gives_up_the_lower_band_before_the_lower_score() {
        let mut sample = Sample::new();
        sample.consider(Band::Normal, -100, "normal and bad");
        sample.consider(Band::First, 100, "first and good");
        sample.consider(Band::Kept, -200, "kept");
        assert_eq!(sample.into_worst(), Some("first and good"));
    }
}
