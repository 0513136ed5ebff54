//! Slots that one thread has claimed ahead, so that most allocations touch no shared word.
//!
//! Invariants:
//! 1. A magazine serves one arena until it is drained: the first refill binds it, another arena's slots never mix in.
//! 2. What it holds is bounded twice: per class by the batch (see `Reach`), in all by `Reach::total_bytes` and a batch.

use super::{bitmap::Claim, sizes::MAX_CLASSES};
use std::cell::Cell;

/// How far ahead magazines claim, given the budget's limit: with a small one, what idle threads hold must not matter.
#[derive(Clone, Copy)]
pub(super) struct Reach {
    class_bytes: usize,
    pub(super) total_bytes: usize,
}

impl Reach {
    /// Most slots of a batch.
    const SLOTS: usize = 16;

    pub(super) fn new(limit_bytes: u64) -> Self {
        let share = |part: u64| usize::try_from(limit_bytes / part).unwrap_or(usize::MAX);
        Self { class_bytes: share(512).min(64 << 10), total_bytes: share(256).clamp(16 << 10, 1 << 20) }
    }

    /// How many slots of a class to claim at once.
    pub(super) fn batch(self, slot_bytes: usize) -> u32 {
        (self.class_bytes / slot_bytes).clamp(1, Self::SLOTS) as u32
    }
}

/// One per thread and arena: claims of free slots this thread may use without atomics. Not `Sync`; what it holds when it
/// is dropped without [`drain`](super::Arena::drain) stays claimed for as long as the arena lives.
pub(crate) struct Magazine {
    /// Address of the arena's class table: which arena it serves; zero when drained.
    owner: Cell<usize>,
    held_bytes: Cell<usize>,
    claims: [Cell<Claim>; MAX_CLASSES],
}

impl Magazine {
    pub(crate) fn new() -> Self {
        Self {
            owner: Cell::new(0),
            held_bytes: Cell::new(0),
            claims: [const { Cell::new(Claim { word: 0, mask: 0 }) }; MAX_CLASSES],
        }
    }

    /// Takes a slot of `class` out.
    #[inline]
    pub(super) fn pop(&self, owner: usize, class: usize, slot_bytes: usize) -> Option<usize> {
        let mut claim = self.claims[class].get();
        let slot = claim.pop()?;
        assert!(self.owner.get() == owner, "a magazine of another arena");
        self.claims[class].set(claim);
        self.held_bytes.set(self.held_bytes.get() - slot_bytes);
        Some(slot)
    }

    /// The slot that the next [`pop`](Self::pop) takes, if there is one.
    #[inline(always)]
    pub(super) fn peek(&self, class: usize) -> Option<usize> {
        self.claims[class].get().pop()
    }

    /// Puts a claim of `class` in, whose last one is used up.
    pub(super) fn put(&self, owner: usize, class: usize, claim: Claim, slot_bytes: usize) {
        assert!(self.owner.get() == owner || self.owner.get() == 0, "a magazine of another arena");
        debug_assert_eq!(self.claims[class].get().mask, 0, "a claim would be lost");
        self.owner.set(owner);
        self.claims[class].set(claim);
        self.held_bytes.set(self.held_bytes.get() + claim.mask.count_ones() as usize * slot_bytes);
    }

    /// Whether `more_bytes` would pass what a magazine may hold in all.
    pub(super) fn would_pass(&self, reach: Reach, more_bytes: usize) -> bool {
        self.held_bytes.get() != 0 && self.held_bytes.get() + more_bytes > reach.total_bytes
    }

    /// Takes everything out.
    pub(super) fn empty(&self, owner: usize, mut take: impl FnMut(usize, Claim)) {
        if self.owner.get() == 0 {
            return;
        }
        assert!(self.owner.get() == owner, "a magazine of another arena");
        self.owner.set(0);
        for (class, claim) in self.claims.iter().enumerate() {
            let claim = claim.take();
            if claim.mask != 0 {
                take(class, claim);
            }
        }
        self.held_bytes.set(0);
    }
}
