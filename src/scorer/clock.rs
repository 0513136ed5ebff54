//! Request epochs: the unit of age. Eight of them pass in as many requests as there are resident files.

use crate::sync::{AtomicU32, AtomicU64, Ordering::Relaxed};
use crossbeam_utils::CachePadded;

/// Counts requests, reported in batches, and turns them into epochs.
pub(crate) struct RequestClock {
    /// Requests in the current epoch. Written once a batch, kept off the line that every read looks at.
    pending: CachePadded<AtomicU64>,
    epoch: CachePadded<AtomicU32>,
}

/// Epochs per as many requests as there are resident files.
const EPOCHS_PER_TURN: u64 = 8;

/// So that a store of a few files does not spin its clock.
const MIN_EPOCH_REQUESTS: u64 = 64;

/// Epochs that pass at once while nothing has to leave: ages are wanted only then, and every new epoch has the next use of each
/// file write to its node, whose line other threads read.
const JUMP: u64 = 32;

/// A file that was used since the clock was looked at is by fewer than this ahead of it.
const AHEAD: u32 = 1 << 20;

/// Epochs from a use that was noted to `now`.
pub(crate) fn age(now: u32, noted: u32) -> u32 {
    let age = now.wrapping_sub(noted);
    if age > u32::MAX - AHEAD { 0 } else { age }
}

impl RequestClock {
    pub(crate) fn new() -> Self {
        Self { pending: CachePadded::new(AtomicU64::new(0)), epoch: CachePadded::new(AtomicU32::new(0)) }
    }

    /// The current epoch; wraps, so ages are differences.
    // Relaxed throughout: an epoch orders nothing, it is compared with what a node holds.
    #[inline]
    pub(crate) fn epoch(&self) -> u32 {
        self.epoch.load(Relaxed)
    }

    /// Takes note of `requests` more in a store of `files` resident files, which has much room (`is_roomy`) or may soon have to
    /// choose who leaves.
    pub(crate) fn advance(&self, requests: u64, files: u64, is_roomy: bool) {
        let per_epoch = (files / EPOCHS_PER_TURN).max(MIN_EPOCH_REQUESTS);
        let pending = self.pending.fetch_add(requests, Relaxed) + requests;
        let turns = pending / per_epoch;
        let least = if is_roomy { JUMP } else { 1 };
        // Lost the exchange: another batch came after, and turns the clock for both.
        if turns >= least
            && self.pending.compare_exchange(pending, pending % per_epoch, Relaxed, Relaxed).is_ok()
        {
            self.epoch.fetch_add(turns as u32, Relaxed);
        }
    }
}

#[cfg(all(test, not(memfs_loom)))]
mod tests {
    use super::*;

    #[test]
    fn eight_epochs_pass_in_a_turn_of_the_resident_files() {
        let clock = RequestClock::new();
        for _ in 0..10_000 / 50 {
            clock.advance(50, 10_000, false);
        }
        assert_eq!(clock.epoch(), 8);
    }

    #[test]
    fn a_use_after_the_clock_was_looked_at_is_no_age() {
        assert_eq!([age(7, 7), age(9, 7), age(7, 9), age(3, u32::MAX)], [0, 2, 0, 4]);
        assert_eq!(age(0, 1 << 31), 1 << 31);
    }

    #[test]
    fn a_batch_longer_than_an_epoch_counts_whole() {
        let clock = RequestClock::new();
        clock.advance(640, 10, false);
        assert_eq!(clock.epoch(), 10);
        assert_eq!(clock.pending.load(Relaxed), 0);
    }

    #[test]
    fn with_much_room_epochs_pass_many_at_once_and_none_is_lost() {
        let clock = RequestClock::new();
        let per_epoch = 10_000 / EPOCHS_PER_TURN;
        (1..JUMP).for_each(|_| clock.advance(per_epoch, 10_000, true));
        assert_eq!(clock.epoch(), 0);
        clock.advance(per_epoch, 10_000, true);
        assert_eq!(u64::from(clock.epoch()), JUMP);
        (1..JUMP).for_each(|_| clock.advance(per_epoch, 10_000, true));
        clock.advance(per_epoch, 10_000, false);
        assert_eq!(u64::from(clock.epoch()), 2 * JUMP, "what has gathered counts when room gets short");
    }
}
