//! A typed class of its own, enumerable: slots that may be read at any time, in use or not.
//!
//! Invariants:
//! 1. A slot that was never used, or whose span was given back since, reads as zero. A slot that is free but resident
//!    keeps what its last user left.
//! 2. Indices below [`bound`](Pool::bound) were handed out at some time; those above never.

use super::{
    bitmap::Claim,
    budget::Budget,
    class::{HUGE_GRANULE, is_shared_huge},
    ground::Ground,
    magazine::Reach,
    slab::Slab,
    span::Geometry,
};
use crate::{
    map::{PAGE_BYTES, Zeroable, Zeroed},
    sync::Arc,
};
use std::{cell::Cell, io};

/// Slots of `T`, charged by the page.
pub(crate) struct Pool<T> {
    slots: Zeroed<T>,
    /// Boxed: its address is what magazines know the pool by.
    slab: Box<Slab>,
    batch: u32,
    budget: Arc<Budget>,
}

/// One per thread and pool; what it holds when it is dropped without [`drain`](Pool::drain) stays claimed.
pub(crate) struct PoolMagazine {
    owner: Cell<usize>,
    claim: Cell<Claim>,
}

impl PoolMagazine {
    pub(crate) fn new() -> Self {
        Self { owner: Cell::new(0), claim: Cell::new(Claim { word: 0, mask: 0 }) }
    }
}

impl<T: Zeroable> Pool<T> {
    /// Under the model checker, whose atomics are larger: what a slot counts for.
    const SLOT_BYTES: usize = if cfg!(memfs_loom) { 64 } else { size_of::<T>() };
    const GRANULE_BYTES: usize = if cfg!(memfs_loom) { 256 } else { PAGE_BYTES };

    /// Room for `capacity` slots, rounded up to whole spans.
    pub(crate) fn new(budget: Arc<Budget>, capacity: u32, huge_pages: bool) -> io::Result<Self> {
        assert!(Self::SLOT_BYTES > 0);
        let bytes = capacity as usize * Self::SLOT_BYTES;
        let huge = huge_pages && is_shared_huge(Self::SLOT_BYTES, budget.limit());
        let granule_bytes = if huge { HUGE_GRANULE } else { Self::GRANULE_BYTES };
        let mut geometry = Geometry::new(Self::SLOT_BYTES, granule_bytes, bytes, 0);
        // Every index fits in a u32, u32::MAX itself excepted: a sentinel for those above.
        geometry.spans = geometry.spans.min(u32::MAX as usize >> geometry.span_shift);
        let slots = Zeroed::new(geometry.slots())?;
        if huge {
            slots.advise_huge()
        } else {
            slots.refuse_huge()
        }
        let batch = Reach::new(budget.limit()).batch(Self::SLOT_BYTES);
        Ok(Self { slots, slab: Box::new(Slab::new(geometry, Ground::untouched(&geometry)?)?), batch, budget })
    }

    fn id(&self) -> usize {
        (&raw const *self.slab).addr()
    }

    /// A slot of one's own. `None`: the budget has no room, or all slots are in use.
    pub(crate) fn alloc(&self, mag: &PoolMagazine) -> Option<u32> {
        let mut claim = mag.claim.get();
        if claim.mask == 0 {
            claim = self.slab.claim(&self.budget, self.batch)?;
            mag.owner.set(self.id());
        }
        assert!(mag.owner.get() == self.id(), "a magazine of another pool");
        let index = claim.pop();
        mag.claim.set(claim);
        index.map(|index| index as u32)
    }

    /// Makes the slot free for everybody.
    ///
    /// # Safety
    /// `index` came from `alloc`, and the caller is the last to use it as its own.
    pub(crate) unsafe fn free(&self, index: u32) {
        self.slab.give(Claim::one(index as usize));
    }

    /// Takes every free slot below `bound`, to be used or freed one by one; false, and nothing taken, if the budget has no room. For a pool
    /// that nobody else uses.
    pub(crate) fn claim_below(&self, bound: u32) -> bool {
        let mut taken = Vec::new();
        // Free slots come lowest first, then whole spans in their order: when one is past the bound, all below are taken.
        let done = loop {
            match self.slab.claim(&self.budget, u64::BITS) {
                Some(claim) if claim.first() >= bound as usize => {
                    self.slab.give(claim);
                    break true;
                }
                Some(claim) => taken.push(claim),
                None => break false,
            }
        };
        if !done {
            taken.into_iter().for_each(|claim| self.slab.give(claim));
            return false;
        }
        // What the last claims reach beyond the bound goes back.
        for mut claim in taken {
            while let Some(index) = claim.pop() {
                if index >= bound as usize {
                    self.slab.give(Claim::one(index));
                }
            }
        }
        true
    }

    /// The slot, whether it is in use or not. Panics past the capacity.
    #[inline]
    pub(crate) fn get(&self, index: u32) -> &T {
        self.slots.get(index as usize)
    }

    /// All slots ever used are below it.
    pub(crate) fn bound(&self) -> u32 {
        self.slab.geometry.slots_of(0..self.slab.used_spans()).end as u32
    }

    /// As [`Arena::trim`](super::Arena::trim).
    pub(crate) fn trim(&self, want_bytes: u64) -> u64 {
        self.slab.trim(&self.budget, want_bytes, |slots| self.slots.decommit(slots))
    }

    #[cfg(any(test, memfs_loom))]
    /// What the pool has charged to the budget.
    pub(crate) fn charged_bytes(&self) -> u64 {
        self.slab.charged_bytes()
    }

    /// Gives back what the magazine holds.
    pub(crate) fn drain(&self, mag: &PoolMagazine) {
        let claim = mag.claim.take();
        if claim.mask != 0 {
            assert!(mag.owner.get() == self.id(), "a magazine of another pool");
            self.slab.give(claim);
        }
    }

    /// Whether the structures agree; the caller knows that no operation is under way.
    #[cfg(any(test, debug_assertions, feature = "validate"))]
    pub(crate) fn validate(&self) -> Result<(), String> {
        self.slab.validate().map_err(|what| format!("pool: {what}"))
    }
}
