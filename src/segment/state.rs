//! The life of one segment's space, in one atomic word.
//!
//! ```text
//!  63      62..42  41..21          20..0
//!  sealed  holds   live units      tail unit
//! ```
//!
//! Reservations, deaths, holds and the seal are all changes of this word, so they have one order. A record counts as live
//! from its reservation on, before a byte of it is written: a write in flight keeps the segment as a live extent does.
//!
//! # Invariants
//! 1. *Empty* means sealed, nothing live, nothing held. Only [`State::reopen`] leaves it: an empty segment refuses
//!    reservations (sealed) and holds (nothing is live, so whoever asks has a stale name).
//! 2. Of all calls that return "now empty", exactly one does so between two calls of `reopen`: the one whose change made
//!    the word empty. Its caller owns the segment's space.

use super::extent::{FIRST_UNIT, MAX_UNITS};
use crate::sync::{AtomicU64, Ordering};

const FIELD_BITS: u32 = 21;
const FIELD: u64 = (1 << FIELD_BITS) - 1;
const LIVE_ONE: u64 = 1 << FIELD_BITS;
const HOLD_ONE: u64 = 1 << (2 * FIELD_BITS);
const SEALED: u64 = 1 << 63;

const _: () = assert!(3 * FIELD_BITS == 63 && MAX_UNITS as u64 <= FIELD);

/// A value of the word, readable.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Snapshot(u64);

impl Snapshot {
    pub(super) fn tail_units(self) -> u32 {
        (self.0 & FIELD) as u32
    }

    pub(super) fn live_units(self) -> u32 {
        (self.0 >> FIELD_BITS & FIELD) as u32
    }

    pub(super) fn holds(self) -> u32 {
        (self.0 >> (2 * FIELD_BITS) & FIELD) as u32
    }

    pub(super) fn is_sealed(self) -> bool {
        self.0 & SEALED != 0
    }

    pub(super) fn is_empty(self) -> bool {
        self.is_sealed() && self.live_units() == 0 && self.holds() == 0
    }
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let seal = if self.is_sealed() { "sealed" } else { "open" };
        write!(f, "{seal}, tail {}, live {}, holds {}", self.tail_units(), self.live_units(), self.holds())
    }
}

pub(super) struct State(AtomicU64);

impl State {
    /// Open, with nothing in it.
    pub(super) fn new() -> Self {
        Self(AtomicU64::new(u64::from(FIRST_UNIT)))
    }

    /// Sealed with nothing live in it, held once: of a segment that was found, until all that is live in it was counted.
    pub(super) fn found(capacity_units: u32) -> Self {
        debug_assert!(capacity_units <= MAX_UNITS);
        Self(AtomicU64::new(SEALED | HOLD_ONE | u64::from(capacity_units)))
    }

    pub(super) fn load(&self) -> Snapshot {
        // Acquire: pairs with the Release of every change, so that who sees a segment empty sees what emptied it.
        Snapshot(self.0.load(Ordering::Acquire))
    }

    /// Takes `units` off the tail and counts them live; the first of them. `None` if sealed or too full.
    pub(super) fn reserve(&self, units: u32, capacity_units: u32) -> Option<u32> {
        debug_assert!(units > 0 && capacity_units <= MAX_UNITS);
        let mut now = self.load();
        loop {
            if now.is_sealed() || u64::from(now.tail_units()) + u64::from(units) > u64::from(capacity_units) {
                return None;
            }
            match self.change(now, now.0 + u64::from(units) + u64::from(units) * LIVE_ONE) {
                Ok(()) => return Some(now.tail_units()),
                Err(other) => now = other,
            }
        }
    }

    /// Counts `units` dead that were reserved once; whether the segment is now empty.
    pub(super) fn release_live(&self, units: u32) -> bool {
        self.subtract(u64::from(units) * LIVE_ONE, |before| before.live_units() >= units)
    }

    /// Counts `units` live in a segment that was found; `false` if that is more than it has. The caller knows that it is held.
    pub(super) fn adopt(&self, units: u32, capacity_units: u32) -> bool {
        let mut now = self.load();
        loop {
            debug_assert!(
                now.is_sealed() && now.holds() > 0,
                "adopted in a segment that was not found: {now:?}"
            );
            if u64::from(now.live_units()) + u64::from(units) > u64::from(capacity_units - FIRST_UNIT) {
                return false;
            }
            match self.change(now, now.0 + u64::from(units) * LIVE_ONE) {
                Ok(()) => return true,
                Err(other) => now = other,
            }
        }
    }

    /// Opens a segment that was found, from `unit` on, which all that is live in it precedes; ends the hold that it came with.
    /// `false`, and nothing is changed, if it is empty but for that.
    pub(super) fn resume(&self, unit: u32) -> bool {
        let mut now = self.load();
        loop {
            debug_assert!(now.is_sealed() && now.holds() > 0 && unit <= now.tail_units(), "{unit}: {now:?}");
            if now.live_units() == 0 {
                return false;
            }
            match self.change(now, (now.0 & !SEALED & !FIELD | u64::from(unit)) - HOLD_ONE) {
                Ok(()) => return true,
                Err(other) => now = other,
            }
        }
    }

    /// Counts one holder; `false` if the segment is on its way to be reused, or has more holders than can be counted.
    pub(super) fn hold(&self) -> bool {
        let mut now = self.load();
        loop {
            if (now.live_units() == 0 && now.holds() == 0) || u64::from(now.holds()) == FIELD {
                return false;
            }
            match self.change(now, now.0 + HOLD_ONE) {
                Ok(()) => return true,
                Err(other) => now = other,
            }
        }
    }

    /// Counts one holder less; whether the segment is now empty.
    pub(super) fn release_hold(&self) -> bool {
        self.subtract(HOLD_ONE, |before| before.holds() > 0)
    }

    /// Takes no more reservations; whether the segment is now empty. Called once between two `reopen`s.
    pub(super) fn seal(&self) -> bool {
        // AcqRel: Acquire as in `load`; Release pairs with the Acquire of whoever empties the segment later.
        let before = Snapshot(self.0.fetch_or(SEALED, Ordering::AcqRel));
        debug_assert!(!before.is_sealed(), "sealed twice: {before:?}");
        Snapshot(before.0 | SEALED).is_empty()
    }

    /// Starts over at the front. The caller owns the segment: it was told "now empty", or took it from who was.
    pub(super) fn reopen(&self) {
        let before = self.load();
        debug_assert!(before.is_empty(), "reopened while in use: {before:?}");
        // Release: pairs with the Acquire of the first reservation. Nothing else changes an empty word (invariant 1).
        self.0.store(u64::from(FIRST_UNIT), Ordering::Release);
    }

    fn subtract(&self, amount: u64, enough: impl Fn(Snapshot) -> bool) -> bool {
        // AcqRel: Release orders the caller's last use of the space before the reuse; Acquire makes the one that
        // empties the segment see the last uses of all others.
        let before = Snapshot(self.0.fetch_sub(amount, Ordering::AcqRel));
        debug_assert!(enough(before), "released more than was taken: {before:?}");
        Snapshot(before.0.wrapping_sub(amount)).is_empty()
    }

    fn change(&self, from: Snapshot, to: u64) -> Result<(), Snapshot> {
        // AcqRel, and Acquire on failure: as in `subtract` and `load`.
        match self.0.compare_exchange_weak(from.0, to, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => Ok(()),
            Err(other) => Err(Snapshot(other)),
        }
    }
}

#[cfg(all(test, not(memfs_loom)))]
mod tests {
    use super::*;

    #[test]
    fn the_tail_stops_at_the_capacity() {
        let state = State::new();
        assert_eq!(state.reserve(6, 8), Some(1));
        assert_eq!(state.reserve(2, 8), None);
        assert_eq!(state.reserve(1, 8), Some(7));
        assert_eq!(state.reserve(1, 8), None);
        assert_eq!((state.load().tail_units(), state.load().live_units()), (8, 7));
    }

    #[test]
    fn emptiness_is_told_once_to_whoever_completes_it() {
        let state = State::new();
        state.reserve(3, 8).unwrap();
        assert!(state.hold());
        assert!(!state.release_live(3), "open and held");
        assert!(!state.seal(), "held");
        assert!(state.hold(), "while one holds, others may");
        assert!(!state.release_hold());
        assert!(state.release_hold());
        assert!(!state.hold(), "empty");
        assert_eq!(state.reserve(1, 8), None);
        state.reopen();
        assert_eq!(state.reserve(1, 8), Some(1));
        assert!(!state.release_live(1));
        assert!(state.seal(), "sealing completes it too");
    }

    #[test]
    fn holds_are_refused_when_they_cannot_be_counted() {
        let state = State::new();
        state.reserve(1, 8).unwrap();
        state.0.fetch_add(FIELD * HOLD_ONE, Ordering::Relaxed);
        assert!(!state.hold());
        assert_eq!((state.load().live_units(), state.load().is_sealed()), (1, false));
    }
}
