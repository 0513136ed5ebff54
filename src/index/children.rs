//! A directory's body: its state, and the slots its entries are registered in.
//!
//! Slots come in chunks, each with a bitmap of the slots that are taken: the first chunk is one cache line, the others 512
//! bytes. Taking and freeing a slot costs one compare-and-swap each; listing visits each chunk once.
//!
//! ```text
//!   body: state │ head │ hint │ rover │ holds
//!                  │
//!                  └→ chunk: next │ bitmap │ slot 0 … slot 61      → chunk … → first chunk (6 slots)
//! ```
//!
//! # Invariants
//! 1. A slot holds a dentry's address from before the dentry enters the table until after it left; the bit is set for longer.
//! 2. The head takes no new chunk once it is marked; a chunk takes no new entry once its SEALED bit is set, and is retired by
//!    whoever leaves it both sealed and empty. An entry's slot outlives the body, if need be.
//! 3. The state word is OPEN, a descriptor, or CLOSED; CLOSED is final. A dentry is bound only by a thread that registered
//!    it (or found it registered), passed a full fence, and then read OPEN.

use super::{chaos::may_stop_here, dentry::DentryRef, error::Result, memory::Memory, word};
#[cfg(not(memfs_loom))]
use crate::map::prefetch;
use crate::{
    arena::Magazine,
    epoch::Guard,
    sync::{AtomicU32, AtomicU64, Ordering},
};
use std::ptr::NonNull;

const FIRST_SLOTS: u32 = if cfg!(memfs_loom) { 2 } else { 6 };
const CHUNK_SLOTS: u32 = if cfg!(memfs_loom) { 4 } else { 62 };
/// No new entries: the directory is gone.
const SEALED: u64 = 1 << 63;
/// The chunk is of the small kind.
const SMALL: u64 = 1 << 62;
/// Slots that the small kind does not have.
const ABSENT: u64 = ((1 << CHUNK_SLOTS) - 1) & !((1 << FIRST_SLOTS) - 1);
/// In `Body::head`: no new chunks.
const HEAD_MARK: u64 = 1;
/// How many chunks an insertion looks through for a free slot before it makes a new chunk.
const ROVER_STEPS: usize = 4;

#[repr(C)]
pub(super) struct Body {
    pub(super) state: AtomicU64,
    head: AtomicU64,
    /// The chunk that had room last.
    hint: AtomicU64,
    /// Where the search for room goes on.
    rover: AtomicU64,
    /// The node's one, and one for each descriptor that refers to the body.
    holds: AtomicU32,
}

#[repr(C)]
struct Chunk {
    next: AtomicU64,
    bitmap: AtomicU64,
}

const SLOTS_OFFSET: usize = size_of::<Chunk>();

/// The bits of a word that are set.
fn members(mut word: u64) -> impl Iterator<Item = u32> {
    std::iter::from_fn(move || {
        let member = (word != 0).then(|| word.trailing_zeros())?;
        word &= word - 1;
        Some(member)
    })
}

fn chunk_bytes(slots: u32) -> usize {
    SLOTS_OFFSET + slots as usize * size_of::<AtomicU64>()
}

#[cfg(not(memfs_loom))]
const _: () =
    assert!(SLOTS_OFFSET + CHUNK_SLOTS as usize * 8 == 512 && SLOTS_OFFSET + FIRST_SLOTS as usize * 8 == 64);

/// One slot: a chunk's address and the number in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SlotRef {
    chunk: u64,
    number: u32,
}

impl SlotRef {
    pub(super) fn new(chunk: u64, number: u32) -> Self {
        Self { chunk, number }
    }

    pub(super) fn chunk_address(self) -> u64 {
        self.chunk
    }

    pub(super) fn number(self) -> u32 {
        self.number
    }
}

/// Why no slot could be had.
pub(super) enum Refused {
    /// The directory was removed.
    Closed,
    /// No memory for a chunk.
    Memory(super::error::IndexError),
}

fn at<'g, T>(address: u64) -> &'g T {
    debug_assert!(address != 0 && address.is_multiple_of(16));
    #[cfg(memfs_loom)]
    crate::model::touch(address as usize);
    // SAFETY: every address in a body or a dentry's slot is that of a chunk that is not retired yet, or was not when the
    // caller pinned (invariant 2); chunks hold atomics only.
    unsafe { &*std::ptr::with_exposed_provenance(address as usize) }
}

impl Chunk {
    fn slot(&self, number: u32) -> &AtomicU64 {
        debug_assert!(number < CHUNK_SLOTS);
        let base = (std::ptr::from_ref(self)).expose_provenance() + SLOTS_OFFSET;
        let address = base + number as usize * size_of::<AtomicU64>();
        // SAFETY: a slot that the chunk has, by its bitmap (callers take the number from it).
        unsafe { &*std::ptr::with_exposed_provenance(address) }
    }

    /// Takes a free slot; `None` if there is none or the chunk is sealed.
    fn claim(&self) -> Option<u32> {
        let mut bitmap = self.bitmap.load(Ordering::Relaxed);
        loop {
            let free = !bitmap & ((1 << CHUNK_SLOTS) - 1);
            if bitmap & SEALED != 0 || free == 0 {
                return None;
            }
            let bit = free & free.wrapping_neg();
            // AcqRel: pairs with `release`, whose clearing of the slot comes before our filling it.
            match self.bitmap.compare_exchange_weak(bitmap, bitmap | bit, Ordering::AcqRel, Ordering::Relaxed)
            {
                Ok(_) => return Some(bit.trailing_zeros()),
                Err(now) => bitmap = now,
            }
        }
    }

    /// Retires the chunk if this left it sealed and empty.
    fn settle(&self, bitmap: u64, memory: &Memory, guard: &Guard) {
        let small = bitmap & SMALL != 0;
        if bitmap == SEALED | if small { SMALL | ABSENT } else { 0 } {
            let size_bytes = chunk_bytes(if small { FIRST_SLOTS } else { CHUNK_SLOTS });
            // SAFETY: sealed, so nobody enters; empty, so no entry leads here; the head is marked and read by its one
            // owner (`seal`). One transition leads to this value, so it is retired once.
            unsafe { memory.retire(NonNull::from(self).cast(), size_bytes, guard) };
        }
    }
}

/// Frees an entry's slot. The caller owns that: it is the one who took the dentry out of the table, or never put it in.
pub(super) fn free_slot(slot: SlotRef, memory: &Memory, guard: &Guard) {
    let chunk: &Chunk = at(slot.chunk);
    chunk.slot(slot.number).store(0, Ordering::Release);
    may_stop_here();
    let bit = 1 << slot.number;
    // AcqRel: pairs with the next `claim` of the slot.
    let before = chunk.bitmap.fetch_and(!bit, Ordering::AcqRel);
    debug_assert_ne!(before & bit, 0, "a slot was freed twice");
    chunk.settle(before & !bit, memory, guard);
}

impl Body {
    /// A body for a directory without entries.
    pub(super) fn alloc(memory: &Memory, magazine: &Magazine) -> Result<NonNull<Body>> {
        let ptr = memory.alloc(magazine, size_of::<Body>())?.cast::<Body>();
        let body = Body {
            state: AtomicU64::new(word::OPEN),
            head: AtomicU64::new(0),
            hint: AtomicU64::new(0),
            rover: AtomicU64::new(0),
            holds: AtomicU32::new(1),
        };
        // SAFETY: fresh memory of this size.
        unsafe { ptr.as_ptr().write(body) };
        Ok(ptr)
    }

    /// Registers `dentry`, which nobody else can reach yet.
    pub(super) fn register(
        &self,
        dentry: DentryRef<'_>,
        memory: &Memory,
        magazine: &Magazine,
    ) -> Result<(), Refused> {
        let slot = self.claim(memory, magazine)?;
        dentry.set_slot(slot);
        may_stop_here();
        // Release: who reads the slot sees the dentry whole.
        at::<Chunk>(slot.chunk).slot(slot.number).store(dentry.address(), Ordering::Release);
        Ok(())
    }

    fn claim(&self, memory: &Memory, magazine: &Magazine) -> Result<SlotRef, Refused> {
        loop {
            let hint = self.hint.load(Ordering::Acquire);
            if let Some(slot) = self.claim_in(hint).or_else(|| self.claim_roving()) {
                return Ok(slot);
            }
            let head = self.head.load(Ordering::Acquire);
            if head & HEAD_MARK != 0 {
                return Err(Refused::Closed);
            }
            if let Some(slot) = self.grow(head, memory, magazine).map_err(Refused::Memory)? {
                return Ok(slot);
            }
        }
    }

    fn claim_in(&self, chunk: u64) -> Option<SlotRef> {
        let number = if chunk == 0 { None } else { at::<Chunk>(chunk).claim() }?;
        Some(SlotRef { chunk, number })
    }

    /// Looks for room a few chunks further on than the last search. Freed slots are found again by and by; a full directory
    /// costs a constant per insertion.
    fn claim_roving(&self) -> Option<SlotRef> {
        let mut chunk = self.rover.load(Ordering::Acquire);
        let mut found = None;
        for _ in 0..ROVER_STEPS {
            if chunk == 0 {
                chunk = self.head.load(Ordering::Acquire) & !HEAD_MARK;
            }
            found = self.claim_in(chunk);
            if chunk == 0 || found.is_some() {
                self.hint.store(chunk, Ordering::Release);
                break;
            }
            chunk = at::<Chunk>(chunk).next.load(Ordering::Acquire);
        }
        self.rover.store(chunk, Ordering::Release);
        found
    }

    /// Puts a new chunk in front, with its first slot taken; `None` if another thread was faster.
    fn grow(&self, head: u64, memory: &Memory, magazine: &Magazine) -> Result<Option<SlotRef>> {
        let slots = if head == 0 { FIRST_SLOTS } else { CHUNK_SLOTS };
        let ptr = memory.alloc(magazine, chunk_bytes(slots))?;
        let absent = if slots == FIRST_SLOTS { SMALL | ABSENT } else { 0 };
        // SAFETY: fresh memory of this size.
        unsafe {
            let chunk = Chunk { next: AtomicU64::new(head), bitmap: AtomicU64::new(absent | 1) };
            ptr.cast::<Chunk>().as_ptr().write(chunk);
            let first = ptr.add(SLOTS_OFFSET).cast::<AtomicU64>().as_ptr();
            (0..slots as usize).for_each(|number| first.add(number).write(AtomicU64::new(0)));
        }
        let chunk = ptr.as_ptr().expose_provenance() as u64;
        // AcqRel: publishes the chunk; pairs with the Acquire of every reader of the head.
        if self.head.compare_exchange(head, chunk, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
            self.hint.store(chunk, Ordering::Release);
            return Ok(Some(SlotRef { chunk, number: 0 }));
        }
        // SAFETY: never published.
        unsafe { memory.free(ptr, chunk_bytes(slots)) };
        Ok(None)
    }

    /// Visits the registered dentries; each that is registered throughout, once.
    pub(super) fn for_each<'g>(
        &self,
        _guard: &'g Guard,
        mut visit: impl FnMut(DentryRef<'g>) -> bool,
    ) -> bool {
        let mut chunk = self.head.load(Ordering::Acquire) & !HEAD_MARK;
        while chunk != 0 {
            let this: &Chunk = at(chunk);
            let bitmap = this.bitmap.load(Ordering::Acquire);
            let absent = if bitmap & SMALL != 0 { ABSENT } else { 0 };
            let taken = bitmap & ((1 << CHUNK_SLOTS) - 1) & !absent;
            // Each entry is a cache miss: all of a chunk's at once.
            #[cfg(not(memfs_loom))]
            members(taken).for_each(|slot| prefetch(this.slot(slot).load(Ordering::Relaxed) as *const u8));
            for slot in members(taken) {
                let entry = this.slot(slot).load(Ordering::Acquire);
                // SAFETY: an address in a slot is that of a dentry not yet retired (invariant 1), and we are pinned.
                if entry != 0 && !visit(unsafe { DentryRef::from_address(entry) }) {
                    return false;
                }
            }
            chunk = this.next.load(Ordering::Acquire);
        }
        true
    }

    /// Whether some entry is bound, at some instant of the call. Changes nothing.
    pub(super) fn has_entry(&self, guard: &Guard) -> bool {
        !self.for_each(guard, |dentry| dentry.target().is_none())
    }

    /// The state, with a descriptor resolved.
    #[cfg(any(test, memfs_loom, debug_assertions, feature = "validate"))]
    pub(super) fn is_closed(&self) -> bool {
        let bits = self.state.load(Ordering::SeqCst);
        super::descriptor::resolve(&self.state, bits) == word::CLOSED
    }

    /// Takes no more entries; chunks go when their last entry does. Called once, by the one who retires the directory.
    pub(super) fn seal(&self, memory: &Memory, guard: &Guard) {
        let mut chunk = self.head.fetch_or(HEAD_MARK, Ordering::AcqRel);
        debug_assert_eq!(chunk & HEAD_MARK, 0, "a directory is sealed once");
        while chunk != 0 {
            let this: &Chunk = at(chunk);
            chunk = this.next.load(Ordering::Acquire);
            let before = this.bitmap.fetch_or(SEALED, Ordering::AcqRel);
            this.settle(before | SEALED, memory, guard);
        }
    }

    pub(super) fn hold(&self) -> bool {
        let mut holds = self.holds.load(Ordering::Relaxed);
        while holds != 0 {
            match self.holds.compare_exchange_weak(holds, holds + 1, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => holds = now,
            }
        }
        false
    }

    /// # Safety
    /// The caller owns a hold; if it is the node's, the node is retired by it.
    pub(super) unsafe fn unhold(&self, memory: &Memory, guard: &Guard) {
        // AcqRel: what every holder did comes before the retirement.
        if self.holds.fetch_sub(1, Ordering::AcqRel) == 1 {
            // SAFETY: neither a node nor a descriptor leads here any more.
            unsafe { memory.retire(NonNull::from(self).cast(), size_of::<Body>(), guard) };
        }
    }

    /// Frees body and chunks at once.
    ///
    /// # Safety
    /// Nobody else can reach them, and no entry's slot will be freed any more.
    pub(super) unsafe fn free(&self, memory: &Memory) {
        let mut chunk = self.head.load(Ordering::Relaxed) & !HEAD_MARK;
        while chunk != 0 {
            let this: &Chunk = at(chunk);
            chunk = this.next.load(Ordering::Relaxed);
            let small = this.bitmap.load(Ordering::Relaxed) & SMALL != 0;
            let slots = if small { FIRST_SLOTS } else { CHUNK_SLOTS };
            // SAFETY: allocated with this size; unreachable (caller).
            unsafe { memory.free(NonNull::from(this).cast(), chunk_bytes(slots)) };
        }
        // SAFETY: as above.
        unsafe { memory.free(NonNull::from(self).cast(), size_of::<Body>()) };
    }

    /// Entries by the bitmaps, and whether every slot taken is filled.
    #[cfg(any(test, debug_assertions, feature = "validate"))]
    pub(super) fn count(&self) -> usize {
        let mut chunk = self.head.load(Ordering::Relaxed) & !HEAD_MARK;
        let mut count = 0;
        while chunk != 0 {
            let this: &Chunk = at(chunk);
            let bitmap = this.bitmap.load(Ordering::Relaxed);
            let absent = if bitmap & SMALL != 0 { ABSENT } else { 0 };
            count += (bitmap & ((1 << CHUNK_SLOTS) - 1) & !absent).count_ones() as usize;
            chunk = this.next.load(Ordering::Relaxed);
        }
        count
    }
}
