//! What of one lasting segment is on the disk: which writes a sync covers, and which bytes can be trusted after one failed.
//!
//! An append says that it is under way, in a slot of `flights`, before it reserves, and where once it knows; it clears the slot
//! after its write. So who looks at the tail first and at the slots then knows of every record below that tail whether it is
//! written: all records below the least unit in a slot are. That is what a sync makes last, and without it a slow write
//! below a fast one would be taken for synced.
//!
//! # Invariants
//! 1. `safe` names an incarnation of the segment's space and a unit: all records of it before that unit were written when a
//!    sync began that did not fail. It only grows, but starts over with the space.
//! 2. One sync of a segment runs at a time (the caller's lock): the system reports a failure once, and who hears of it has
//!    marked the segment before anybody else asks.
//! 3. A failed segment stays so: `safe` does not move, and its space is never reopened.

use super::{extent::FIRST_UNIT, state::State};
use crate::sync::{AtomicBool, AtomicU32, AtomicU64, Ordering};

/// Appends to one segment that are told apart; further ones keep `safe` where it is while they last.
const FLIGHTS: usize = if cfg!(memfs_loom) { 1 } else { 16 };

/// A slot's value before the place is known: no record is safe then.
const SOMEWHERE: u32 = FIRST_UNIT;

pub(super) struct Durable {
    /// 0, or the unit of a write under way.
    flights: [AtomicU32; FLIGHTS],
    /// Writes under way without a slot.
    uncounted: AtomicU32,
    /// Writes that are done, and how many of them were when the last good sync began.
    written: AtomicU64,
    synced: AtomicU64,
    /// Incarnation in the upper half, unit in the lower (invariant 1).
    safe: AtomicU64,
    is_failed: AtomicBool,
    /// The file's name lasts; without it no byte does.
    is_named: AtomicBool,
    /// Found by `open`, and `recovered` was not called yet: it is held once for that.
    pub(super) is_recovering: AtomicBool,
    /// End of the last extent that was adopted.
    pub(super) adopted_end: AtomicU32,
    /// Whether its space may be used once it is empty: the file has its length, and the largest record fits in.
    is_sound: bool,
}

/// What a sync that starts now will have made last.
pub(super) struct Point {
    written: u64,
    safe: u64,
    unit: u32,
}

#[cfg(memfs_loom)]
impl Point {
    /// The end of what the sync may call safe.
    pub(super) fn unit(&self) -> u32 {
        self.unit
    }

    /// Which use of the space it is of.
    pub(super) fn incarnation(&self) -> u64 {
        self.safe >> 32
    }
}

impl Durable {
    /// Of a file that was just made.
    pub(super) fn new() -> Self {
        Self::with(FIRST_UNIT, true, false)
    }

    /// Of a file that was found: nothing in it waits for a sync.
    pub(super) fn of_found(capacity_units: u32, is_sound: bool) -> Self {
        Self::with(capacity_units, is_sound, true)
    }

    fn with(safe_unit: u32, is_sound: bool, is_found: bool) -> Self {
        Self {
            flights: std::array::from_fn(|_| AtomicU32::new(0)),
            uncounted: AtomicU32::new(0),
            written: AtomicU64::new(0),
            synced: AtomicU64::new(0),
            safe: AtomicU64::new(safe_unit.into()),
            is_failed: AtomicBool::new(false),
            is_named: AtomicBool::new(false),
            is_recovering: AtomicBool::new(is_found),
            adopted_end: AtomicU32::new(FIRST_UNIT),
            is_sound,
        }
    }

    /// An append is under way; called before it reserves.
    pub(super) fn enter(&self) -> Flight<'_> {
        let slot = self.flights.iter().find(|slot| {
            // AcqRel: Acquire takes over what the slot's last user published; Release is that of the reservation that
            // follows: who sees the reservation sees this. Relaxed on failure: nothing is read.
            slot.compare_exchange(0, SOMEWHERE, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        });
        if slot.is_none() {
            // AcqRel: as above.
            self.uncounted.fetch_add(1, Ordering::AcqRel);
        }
        Flight { durable: self, slot }
    }

    /// What would be made last by a sync that starts now; `None` if nothing was written since the last, or all of it is dead.
    pub(super) fn begin(&self, state: &State) -> Option<Point> {
        // Acquire: pairs with the Release in `Flight::written`.
        let written = self.written.load(Ordering::Acquire);
        // Relaxed: syncs come one after the other, ordered by their lock.
        if written == self.synced.load(Ordering::Relaxed) {
            return None;
        }
        // Before the state: if the space starts over between the two, `finish` sees another incarnation.
        // Acquire: pairs with the Release in `restart`.
        let safe = self.safe.load(Ordering::Acquire);
        let now = state.load();
        // `restart` comes before the reopening of the space: an empty state may be that of the last incarnation.
        let unit = (!now.is_empty()).then(|| self.first_unwritten(now.tail_units()))?;
        Some(Point { written, safe, unit })
    }

    /// All records before this unit are written; `tail` was the segment's tail.
    fn first_unwritten(&self, tail: u32) -> u32 {
        // Acquire, both: who cleared its slot, or its count, has written.
        if self.uncounted.load(Ordering::Acquire) > 0 {
            return FIRST_UNIT;
        }
        let under_way = self.flights.iter().map(|slot| slot.load(Ordering::Acquire)).filter(|unit| *unit > 0);
        under_way.fold(tail, u32::min)
    }

    /// The sync that began at `point` was good.
    pub(super) fn finish(&self, point: &Point) {
        // Relaxed: as in `begin`.
        self.synced.store(point.written, Ordering::Relaxed);
        let advance = |safe: u64| {
            let is_same_space = safe >> 32 == point.safe >> 32;
            (is_same_space && point.unit > safe as u32).then(|| safe >> 32 << 32 | u64::from(point.unit))
        };
        // AcqRel: Release pairs with the Acquire in `is_safe`; the failure is "nothing to change".
        let _ = self.safe.fetch_update(Ordering::AcqRel, Ordering::Acquire, advance);
    }

    /// A record is put back from `unit` on, of space that was found: it waits for the next sync, and what is behind it as well.
    pub(super) fn put_back(&self, unit: u32) {
        // AcqRel: as in `finish`.
        let lower = |safe: u64| (unit < safe as u32).then_some(safe >> 32 << 32 | u64::from(unit));
        let _ = self.safe.fetch_update(Ordering::AcqRel, Ordering::Acquire, lower);
        // Release: as in `Flight::written`.
        self.written.fetch_add(1, Ordering::AcqRel);
    }

    /// Whether the file was synced in this process, and its name: a crash leaves the file as long as it is, and its header.
    pub(super) fn is_founded(&self) -> bool {
        // Acquire: pairs with the Release in `name`. Relaxed: set by a sync that was good, before the name; a late look errs
        // on the side of "no".
        self.is_named.load(Ordering::Acquire) && self.synced.load(Ordering::Relaxed) > 0 && !self.is_failed()
    }

    /// A sync failed: from now on nothing is added.
    pub(super) fn fail(&self) {
        // Release: pairs with the Acquire in `is_failed`.
        self.is_failed.store(true, Ordering::Release);
    }

    pub(super) fn is_failed(&self) -> bool {
        // Acquire: pairs with the Release in `fail`.
        self.is_failed.load(Ordering::Acquire)
    }

    /// Whether the space may be used again when it is empty.
    pub(super) fn is_reusable(&self) -> bool {
        self.is_sound && !self.is_failed()
    }

    /// Whether what ends at unit `end` is on the disk although the segment failed.
    pub(super) fn is_safe(&self, end: u32) -> bool {
        // Acquire, both: pair with the Release in `name` and `finish`.
        self.is_named.load(Ordering::Acquire) && end <= self.safe.load(Ordering::Acquire) as u32
    }

    /// The file's name lasts from now on.
    pub(super) fn name(&self) {
        // Release: pairs with the Acquire in `is_safe`.
        self.is_named.store(true, Ordering::Release);
    }

    /// Whether there are writes, and the file's name may not outlast a crash.
    pub(super) fn wants_name(&self) -> bool {
        // Acquire: as in `begin`. Relaxed: set under the lock of syncs, where this is asked.
        self.written.load(Ordering::Acquire) > 0 && !self.is_named.load(Ordering::Relaxed)
    }

    /// The space starts over. The caller owns it, and reopens it after this.
    pub(super) fn restart(&self) {
        // Relaxed: only its owner, and `finish`, which changes the lower half, write it.
        let incarnation = (self.safe.load(Ordering::Relaxed) >> 32).wrapping_add(1);
        // Release: pairs with `begin`. A swap and no store for the model checker's sake: loom would let a `finish` that has
        // read the value before come after a store.
        self.safe.swap(incarnation << 32 | u64::from(FIRST_UNIT), Ordering::AcqRel);
    }

    /// Records from `unit` on are new: the found segment is filled from there. Before anybody appends.
    pub(super) fn resume(&self, unit: u32) {
        // Relaxed: before anybody appends. Release: as in `restart`.
        let unit = u64::from(unit).min(self.safe.load(Ordering::Relaxed));
        self.safe.store(unit, Ordering::Release);
    }
}

/// An append between its reservation and the end of its write.
pub(super) struct Flight<'a> {
    durable: &'a Durable,
    slot: Option<&'a AtomicU32>,
}

impl Flight<'_> {
    /// Its place is reserved.
    pub(super) fn at(&self, unit: u32) {
        if let Some(slot) = self.slot {
            // Release: nothing is published by it; the slot's chain of releases goes on.
            slot.store(unit, Ordering::Release);
        }
    }

    /// The record is written whole.
    pub(super) fn written(self) {
        let durable = self.durable;
        // Clears the slot. Before it is counted: a sync that counts this append and still found its slot taken would not call
        // it safe, nor would a later one, which had nothing new to sync.
        drop(self);
        // Release: pairs with the Acquire in `begin`.
        durable.written.fetch_add(1, Ordering::AcqRel);
    }
}

impl Drop for Flight<'_> {
    fn drop(&mut self) {
        match self.slot {
            // Release, both: pair with the Acquire in `first_unwritten`.
            Some(slot) => slot.store(0, Ordering::Release),
            None => {
                self.durable.uncounted.fetch_sub(1, Ordering::AcqRel);
            }
        }
    }
}
