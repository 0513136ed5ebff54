//! The eviction hand: in which order node slots are looked at.
//!
//! It goes around all slots, but by steps of the golden section of their number (a Kronecker sequence; Knuth, TAOCP 3, 6.4): any
//! few slots in a row lie far from each other. Slots are numbered as files came, and what came together is used together: a
//! hand that went from neighbour to neighbour would find sixteen files of one scan, take one of them, and leave fifteen for a
//! lap (docs/design/scorer.md has the misses).

use crate::sync::{AtomicU32, Ordering::Relaxed};
use crossbeam_utils::CachePadded;

/// Where the hand stands, for all threads.
pub(crate) struct Hand(CachePadded<AtomicU32>);

impl Hand {
    pub(crate) fn new() -> Self {
        Self(CachePadded::new(AtomicU32::new(0)))
    }

    /// One lap around the slots below `bound`, from where the hand stands.
    // Relaxed, here and in `rest`: where a search begins is a matter of fairness, not of correctness.
    pub(crate) fn lap(&self, bound: u32) -> Lap {
        let turns = u64::from(bound).next_power_of_two();
        Lap {
            turn: self.0.load(Relaxed),
            left: turns,
            // The golden section of 2^32, cut to the width; odd, so that every slot has its turn.
            step: (0x9e37_79b9_u64 >> (32 - turns.trailing_zeros())) as u32 | 1,
            mask: (turns - 1) as u32,
            bound,
        }
    }

    /// The next search goes on where this one ended.
    pub(crate) fn rest(&self, lap: &Lap) {
        self.0.store(lap.turn, Relaxed);
    }
}

/// Slots in the hand's order, each once.
pub(crate) struct Lap {
    turn: u32,
    left: u64,
    step: u32,
    mask: u32,
    bound: u32,
}

impl Lap {
    fn slot(&self, turn: u32) -> u32 {
        turn.wrapping_mul(self.step) & self.mask
    }

    /// A slot that comes soon: near enough to be worth fetching, far enough to be there in time.
    pub(crate) fn soon(&self) -> u32 {
        self.slot(self.turn.wrapping_add(8)).min(self.bound - 1)
    }
}

impl Iterator for Lap {
    type Item = u32;

    fn next(&mut self) -> Option<u32> {
        while self.left > 0 {
            let slot = self.slot(self.turn);
            self.turn = self.turn.wrapping_add(1);
            self.left -= 1;
            if slot < self.bound {
                return Some(slot);
            }
        }
        None
    }
}

#[cfg(all(test, not(memfs_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_lap_comes_to_every_slot_once_wherever_it_begins() {
        let hand = Hand::new();
        for bound in (1..70).chain([1000, 1024, 4097]) {
            let mut lap = hand.lap(bound);
            let mut seen: Vec<u32> = lap.by_ref().take(bound as usize / 3).collect();
            hand.rest(&lap);
            seen.extend(lap);
            seen.sort_unstable();
            assert_eq!(seen, (0..bound).collect::<Vec<_>>());
        }
    }

    #[test]
    fn no_slots_are_an_empty_lap() {
        assert_eq!(Hand::new().lap(0).next(), None);
    }

    #[test]
    fn slots_in_a_row_are_far_from_each_other() {
        let hand = Hand::new();
        let bound = 1 << 16;
        let mut lap = hand.lap(bound);
        for _ in 0..1000 {
            let mut sample: Vec<u32> = lap.by_ref().take(16).collect();
            hand.rest(&lap);
            sample.sort_unstable();
            let nearest = sample.windows(2).map(|pair| pair[1] - pair[0]).min();
            // Three distances at most divide a golden sequence, the least of them above a third of an even share.
            assert!(nearest >= Some(bound / 16 / 3), "{sample:?}");
            lap = hand.lap(bound);
        }
    }

    #[test]
    fn what_soon_comes_comes_soon() {
        let mut lap = Hand::new().lap(1 << 10);
        let soon = lap.soon();
        assert_eq!(lap.nth(8), Some(soon));
    }
}
