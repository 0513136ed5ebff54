//! What a block is called and what stands beside it: the packed reference and the out-of-line header.
//!
//! ```text
//! BlockRef   63     54 53                          7+len_bits            7 6     0
//!           |  zero   |   slot, as many bits as are left  |  length (bytes) | class |
//! Header    | extent u64 | tail u32 | refs u32 |        one per slot, in an array beside the class's slots
//!
//! Of contents longer than a page the class says which window of the region, the slot which page of it is the first (`pages`).
//! ```
//!
//! Invariants:
//! 1. A reference fits in 54 bits: `7 + len_bits + slot bits`, checked when a class is made (`Shape::new`).
//! 2. Reading a block needs its reference and its class's shape, nothing from the header.

use crate::{
    map::Zeroable,
    sync::{AtomicU32, AtomicU64},
};
use std::ptr::NonNull;

/// Bits of a reference that floors above may use for tags: none of these.
pub(crate) const BLOCK_REF_BITS: u32 = 54;
pub(super) const CLASS_BITS: u32 = 7;
/// As many shapes as there are values of the class field, so that looking one up needs no check.
pub(super) const SHAPES: usize = 1 << CLASS_BITS;

/// A block and the length of the bytes in it, in 54 bits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct BlockRef(u64);

impl BlockRef {
    /// The reference whose [`bits`](Self::bits) these were.
    #[inline]
    pub(crate) fn from_bits(bits: u64) -> Self {
        debug_assert!(bits >> BLOCK_REF_BITS == 0);
        Self(bits)
    }

    #[inline]
    pub(crate) fn bits(self) -> u64 {
        self.0
    }

    #[inline]
    pub(super) fn class(self) -> usize {
        (self.0 & ((1 << CLASS_BITS) - 1)) as usize
    }

    #[inline]
    pub(super) fn pack(class: usize, shape: &Shape, slot: usize, len_bytes: usize) -> Self {
        debug_assert!(class < SHAPES && len_bytes >> shape.len_bits == 0);
        let slot_and_len = (slot as u64) << shape.len_bits | len_bytes as u64;
        Self::from_bits(slot_and_len << CLASS_BITS | class as u64)
    }
}

/// Where a block or a piece of raw memory is, in half a word: for prefetching, which may miss. A slot that does not fit in reads
/// as the first of all.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Near(pub(crate) u32);

impl Near {
    pub(super) fn new(class: usize, slot: usize) -> Self {
        u32::try_from(slot << CLASS_BITS | class).map_or(Self(0), Self)
    }

    #[inline]
    pub(super) fn class(self) -> usize {
        self.0 as usize % SHAPES
    }

    #[inline]
    pub(super) fn slot(self) -> usize {
        (self.0 >> CLASS_BITS) as usize
    }
}

/// What turns the references of one class into addresses.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    base: NonNull<u8>,
    slot_bytes: u32,
    len_bits: u32,
}

impl Shape {
    /// Of no class: what stands in the table where there is none.
    pub(super) const NONE: Shape = Shape { base: NonNull::dangling(), slot_bytes: 0, len_bits: 0 };

    pub(super) fn new(base: NonNull<u8>, slot_bytes: usize, slots: usize) -> Self {
        let len_bits = slot_bytes.ilog2() + 1;
        let slot_bits = slots.next_power_of_two().ilog2();
        assert!(CLASS_BITS + len_bits + slot_bits <= BLOCK_REF_BITS, "{slots} slots of {slot_bytes} bytes");
        Self { base, slot_bytes: u32::try_from(slot_bytes).expect("a chunk is 64 MiB at most"), len_bits }
    }

    /// Of a window of runs: a slot is a page, and a content has several. Who makes it sees to it that the slots fit.
    pub(super) fn of_runs(base: NonNull<u8>, page_bytes: usize, len_bits: u32) -> Self {
        Self { base, slot_bytes: page_bytes as u32, len_bits }
    }

    #[inline]
    pub(super) fn slot_bytes(&self) -> usize {
        self.slot_bytes as usize
    }

    #[inline]
    pub(super) fn slot(&self, b: BlockRef) -> usize {
        (b.0 >> CLASS_BITS >> self.len_bits) as usize
    }

    #[inline]
    pub(super) fn len(&self, b: BlockRef) -> usize {
        (b.0 >> CLASS_BITS) as usize & ((1 << self.len_bits) - 1)
    }

    /// Where the slot's bytes begin. The caller knows that the class has that many slots.
    #[inline]
    pub(super) fn address(&self, slot: usize) -> *mut u8 {
        self.base.as_ptr().wrapping_add(slot * self.slot_bytes as usize)
    }

    /// The slot that begins at `address`. The caller knows that one does.
    #[inline]
    pub(super) fn slot_at(&self, address: NonNull<u8>) -> usize {
        let offset = address.addr().get() - self.base.addr().get();
        debug_assert_eq!(offset % self.slot_bytes as usize, 0, "not the beginning of a slot");
        offset / self.slot_bytes as usize
    }
}

/// What a block carries beside its bytes. `tail` and `extent` belong to the floors above; [`alloc`](super::Arena::alloc)
/// sets them to the length and to zero.
#[repr(C)]
pub(crate) struct Header {
    pub(crate) extent: AtomicU64,
    pub(crate) tail: AtomicU32,
    pub(super) refs: AtomicU32,
}

// SAFETY: three integer atomics; zeros are their zero values.
unsafe impl Zeroable for Header {
    #[cfg(memfs_loom)]
    fn zeroed() -> Self {
        Self { extent: AtomicU64::new(0), tail: AtomicU32::new(0), refs: AtomicU32::new(0) }
    }
}

/// Bytes of a header, also where atomics are handles of the model checker.
pub(super) const HEADER_BYTES: usize = 16;
#[cfg(not(memfs_loom))]
const _: () = assert!(size_of::<Header>() == HEADER_BYTES);

#[cfg(all(test, not(memfs_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_reference_gives_back_what_went_in() {
        for (size, slots) in [(64, 1_usize << 32), (80, 3435973837), (4096, 1 << 26), (64 << 20, 1 << 12)] {
            let shape = Shape::new(NonNull::dangling(), size, slots);
            for slot in [0, 1, slots / 3, slots - 1] {
                for len in [0, 1, size / 2, size] {
                    let b = BlockRef::pack(76, &shape, slot, len);
                    let b = BlockRef::from_bits(b.bits());
                    assert_eq!((b.class(), shape.slot(b), shape.len(b)), (76, slot, len));
                }
            }
        }
    }
}
