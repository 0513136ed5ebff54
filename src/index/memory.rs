//! Where the index's own memory comes from, and how it goes back: through the epoch.
//!
//! # Invariants
//! 1. Every byte is charged to the budget before it is touched, and refunded when it is really free, not when it is retired.
//! 2. `Memory` is shared by `Arc`, so that its address is good for closures that the collector runs later; the collector is
//!    dropped before the index (`epoch`, invariant 3).

use super::error::{IndexError, Result};
use crate::{
    arena::{Arena, Budget, Charge, Magazine, Near},
    epoch::Guard,
    map::{Zeroable, Zeroed},
    order::Order,
    sync::{Arc, AtomicU64, Ordering},
};
use crossbeam_utils::CachePadded;
use std::{ops::Deref, ptr::NonNull};

/// An array of this size is charged whole, so it may as well be resident by huge pages: who looks up at random misses the
/// translation of nearly every page else.
const HUGE_BYTES: u64 = 2 << 20;

const STRIPES: usize = if cfg!(memfs_loom) { 1 } else { 8 };

/// Spreads counters over cache lines by an address of the caller's choosing.
pub(super) fn stripe_of(address: usize) -> usize {
    // Under the model checker addresses differ from run to run.
    if cfg!(memfs_loom) { 0 } else { (address >> 6 ^ address >> 11) % STRIPES }
}

/// One counter in several cache lines; what is counted up in one may be counted down in another.
pub(super) struct Striped([CachePadded<AtomicU64>; STRIPES]);

impl Striped {
    pub(super) fn new() -> Self {
        Self(std::array::from_fn(|_| CachePadded::new(AtomicU64::new(0))))
    }

    /// Relaxed: a count, nothing is published by it.
    pub(super) fn add(&self, stripe: usize, amount: u64) {
        self.0[stripe].fetch_add(amount, Ordering::Relaxed);
    }

    pub(super) fn sub(&self, stripe: usize, amount: u64) {
        self.0[stripe].fetch_sub(amount, Ordering::Relaxed);
    }

    /// Exact when nobody counts; never negative.
    pub(super) fn sum(&self) -> u64 {
        let sum = self.0.iter().fold(0_u64, |sum, part| sum.wrapping_add(part.load(Ordering::Relaxed)));
        if sum > i64::MAX as u64 { 0 } else { sum }
    }
}

/// The index's way to the arena.
pub(super) struct Memory {
    arena: Arc<Arena>,
    order: Option<Arc<Order>>,
    bytes: Striped,
    /// How many more allocations succeed.
    #[cfg(test)]
    pub(super) patience: AtomicU64,
}

impl Memory {
    pub(super) fn new(arena: Arc<Arena>, order: Option<Arc<Order>>) -> Self {
        Self {
            arena,
            order,
            bytes: Striped::new(),
            #[cfg(test)]
            patience: AtomicU64::new(u64::MAX),
        }
    }

    /// The order of changes, if one is kept.
    pub(super) fn order(&self) -> Option<&Order> {
        self.order.as_deref()
    }

    pub(super) fn has_huge_pages(&self) -> bool {
        self.arena.has_huge_pages()
    }

    pub(super) fn budget(&self) -> &Arc<Budget> {
        self.arena.budget()
    }

    pub(super) fn drain(&self, magazine: &Magazine) {
        self.arena.drain(magazine);
    }

    /// Bytes asked for and not freed, retired ones included.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes.sum()
    }

    pub(super) fn alloc(&self, magazine: &Magazine, size_bytes: usize) -> Result<NonNull<u8>> {
        self.admit(size_bytes)?;
        let ptr = self.arena.alloc_raw(magazine, size_bytes).ok_or(IndexError::Memory(size_bytes as u64))?;
        debug_assert_eq!(ptr.as_ptr() as usize % 16, 0);
        self.bytes.add(stripe_of(ptr.as_ptr() as usize), size_bytes as u64);
        Ok(ptr)
    }

    /// Where tests make an allocation fail.
    #[inline]
    pub(super) fn admit(&self, _size_bytes: usize) -> Result<()> {
        #[cfg(test)]
        if self.patience.load(Ordering::Relaxed) != u64::MAX
            && self
                .patience
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
                .is_err()
        {
            return Err(IndexError::Memory(_size_bytes as u64));
        }
        Ok(())
    }

    /// The place of what came from `alloc` with this size, in half a word.
    pub(super) fn near(&self, ptr: NonNull<u8>, size_bytes: usize) -> Near {
        self.arena.near_raw(ptr, size_bytes)
    }

    /// The address that was meant, or some other.
    #[inline]
    pub(super) fn far(&self, near: Near) -> *const u8 {
        self.arena.far(near)
    }

    /// As [`Arena::expect_release`].
    #[inline]
    pub(super) fn expect_release(&self, near: Near) {
        self.arena.expect_release(near);
    }

    /// # Safety
    /// `ptr` came from `alloc` with this size; nobody can reach it.
    pub(super) unsafe fn free(&self, ptr: NonNull<u8>, size_bytes: usize) {
        self.bytes.sub(stripe_of(ptr.as_ptr() as usize), size_bytes as u64);
        // SAFETY: ours until handed on (caller).
        unsafe {
            // Whoever still reads it trips over this rather than over nothing.
            #[cfg(all(debug_assertions, not(memfs_loom)))]
            ptr.as_ptr().write_bytes(0x5A, size_bytes);
            self.arena.free_raw(ptr, size_bytes);
        }
    }

    /// Frees when every thread that is pinned now has moved on.
    ///
    /// # Safety
    /// `ptr` came from `alloc` with this size; no thread that pins later can reach it; it is retired once.
    pub(super) unsafe fn retire(&self, ptr: NonNull<u8>, size_bytes: usize, guard: &Guard) {
        let this: *const Self = self;
        // SAFETY: `this` outlives the collector (invariant 2); `ptr` is unreachable then (caller). Three words: no box.
        unsafe { guard.defer_unchecked(move || (*this).free(ptr, size_bytes)) };
    }
}

/// A zeroed array, charged whole for as long as it lives.
pub(super) struct Charged<T> {
    items: Zeroed<T>,
    charge: Charge,
}

impl<T: Zeroable> Charged<T> {
    pub(super) fn new(memory: &Memory, len: usize) -> Result<Self> {
        let size_bytes = (len * size_of::<T>()) as u64;
        let budget = memory.budget();
        if !budget.try_charge(size_bytes) {
            return Err(IndexError::Memory(size_bytes));
        }
        match Zeroed::new(len) {
            Ok(items) => {
                if memory.has_huge_pages() && size_bytes >= HUGE_BYTES {
                    items.advise_huge();
                }
                Ok(Self { items, charge: Charge::of(budget, size_bytes) })
            }
            Err(_) => {
                budget.refund(size_bytes);
                Err(IndexError::Memory(size_bytes))
            }
        }
    }

    pub(super) fn size_bytes(&self) -> u64 {
        self.charge.bytes()
    }
}

impl<T> Deref for Charged<T> {
    type Target = Zeroed<T>;

    fn deref(&self) -> &Zeroed<T> {
        &self.items
    }
}
