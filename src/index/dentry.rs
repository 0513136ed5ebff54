//! The dentry: one name in one directory, in raw memory with the name behind it.
//!
//! ```text
//!  0         8     12       16     24     32      33
//!  ┌─────────┬─────┬────────┬──────┬──────┬───────┬──────────┐
//!  │ next +M │ key │ parent │ word │ slot │ bytes │ name …   │    40 + name, at least
//!  └─────────┴─────┴────────┴──────┴──────┴───────┴──────────┘
//!   Link: shared with buckets      │      │
//!                                  │      └ holds (14) | slot number (6) | chunk address >> 4 (44)
//!                                  └ see `word`
//! ```
//!
//! # Invariants
//! 1. Key, parent and name never change; only `next`, `word` and `slot` do.
//! 2. A dentry in the table is registered in a slot of its parent's children, and stays so until it was taken out.
//! 3. Memory is retired when `holds` falls to 0: the table has one, each descriptor that refers to the dentry another.
//! 4. A dentry whose word is DEAD is referred to by no node's back pointer.

use super::{
    children::SlotRef,
    descriptor,
    error::Result,
    memory::Memory,
    node::NodeId,
    table::Key,
    word::{self, Target, Word},
};
use crate::{
    arena::{Magazine, Near},
    epoch::Guard,
    map::Zeroable,
    sync::{AtomicU8, AtomicU32, AtomicU64, Ordering},
};
use std::{cmp, marker::PhantomData, mem::offset_of, ops::Deref, ptr::NonNull};

/// The mark in `Link::next`: this element is on its way out, its `next` is frozen.
pub(super) const MARK: u64 = 1;

/// What dentries and buckets have in common: a place in the split-ordered list.
#[repr(C)]
pub(super) struct Link {
    /// Address of the next element, and [`MARK`].
    pub(super) next: AtomicU64,
    /// Odd for a dentry, even for a bucket.
    pub(super) key: AtomicU32,
    /// A dentry's parent; a bucket's state.
    pub(super) aux: AtomicU32,
}

// SAFETY: integer atomics only; zero is a bucket not yet in the list.
unsafe impl Zeroable for Link {
    #[cfg(memfs_loom)]
    fn zeroed() -> Self {
        Self { next: AtomicU64::new(0), key: AtomicU32::new(0), aux: AtomicU32::new(0) }
    }
}

#[repr(C)]
pub(super) struct Dentry {
    pub(super) link: Link,
    /// What the name stands for: see `word`.
    pub(super) word: AtomicU64,
    slot: AtomicU64,
    name_len: AtomicU8,
}

const NAME_OFFSET: usize = offset_of!(Dentry, name_len) + size_of::<AtomicU8>();

const CHUNK_BITS: u32 = 44;
const NUMBER_BITS: u32 = 6;
const HOLD_SHIFT: u32 = CHUNK_BITS + NUMBER_BITS;
const HOLD: u64 = 1 << HOLD_SHIFT;

fn size_bytes(name_len: usize) -> usize {
    (NAME_OFFSET + name_len).max(size_of::<Dentry>())
}

/// A dentry met under a guard: readable for as long as that.
#[derive(Clone, Copy)]
pub(super) struct DentryRef<'g> {
    ptr: NonNull<Dentry>,
    _guard: PhantomData<&'g Guard>,
}

impl Deref for DentryRef<'_> {
    type Target = Dentry;

    #[inline]
    fn deref(&self) -> &Dentry {
        #[cfg(memfs_loom)]
        crate::model::touch(self.ptr.addr().get());
        // SAFETY: whoever made the reference was pinned and found the dentry before it was retired (`from_address`).
        unsafe { self.ptr.as_ref() }
    }
}

impl PartialEq for DentryRef<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.ptr == other.ptr
    }
}

impl<'g> DentryRef<'g> {
    /// A new dentry, in nobody's reach yet, in state `word`.
    pub(super) fn alloc(memory: &Memory, magazine: &Magazine, key: Key<'_>, word: u64) -> Result<Self> {
        let name = key.name;
        let ptr = memory.alloc(magazine, size_bytes(name.len()))?.cast::<Dentry>();
        let name_len = u8::try_from(name.len()).expect("a component has 255 bytes at most");
        let dentry = Dentry {
            link: Link {
                next: AtomicU64::new(0),
                key: AtomicU32::new(key.list_key),
                aux: AtomicU32::new(key.parent.get()),
            },
            word: AtomicU64::new(word),
            slot: AtomicU64::new(HOLD),
            name_len: AtomicU8::new(name_len),
        };
        // SAFETY: fresh memory of `size_bytes`, 16-aligned; the name is written last, since it begins in the padding.
        unsafe {
            ptr.as_ptr().write(dentry);
            let bytes = ptr.cast::<u8>().add(NAME_OFFSET).as_ptr();
            bytes.copy_from_nonoverlapping(name.as_ptr(), name.len());
        }
        Ok(Self { ptr, _guard: PhantomData })
    }

    /// # Safety
    /// `address` is that of a dentry that was not retired when the guard of lifetime `'g` was pinned.
    #[inline]
    pub(super) unsafe fn from_address(address: u64) -> Self {
        debug_assert!(address != 0 && address.is_multiple_of(16));
        let ptr = std::ptr::with_exposed_provenance_mut(address as usize);
        // SAFETY: not null (caller).
        Self { ptr: unsafe { NonNull::new_unchecked(ptr) }, _guard: PhantomData }
    }

    #[inline]
    pub(super) fn address(self) -> u64 {
        self.ptr.as_ptr().expose_provenance() as u64
    }

    /// Where it is, for prefetching.
    pub(super) fn near(self, memory: &Memory) -> Near {
        memory.near(self.ptr.cast(), size_bytes(self.name().len()))
    }

    pub(super) fn as_ptr(self) -> *const Dentry {
        self.ptr.as_ptr()
    }

    #[inline]
    pub(super) fn parent(self) -> NodeId {
        NodeId::new(self.link.aux.load(Ordering::Relaxed))
    }

    /// The key in the list. Relaxed here and above: immutable, published with the dentry's address.
    pub(super) fn key(self) -> u32 {
        self.link.key.load(Ordering::Relaxed)
    }

    #[inline]
    pub(super) fn name(self) -> &'g [u8] {
        let len = usize::from(self.name_len.load(Ordering::Relaxed));
        // SAFETY: `alloc` wrote that many bytes there, which are never written again (invariant 1); readable for 'g.
        unsafe { std::slice::from_raw_parts(self.ptr.cast::<u8>().add(NAME_OFFSET).as_ptr(), len) }
    }

    pub(super) fn name_str(self) -> &'g str {
        // SAFETY: `alloc` copied a `str`.
        unsafe { std::str::from_utf8_unchecked(self.name()) }
    }

    /// The order among dentries of the same key.
    pub(super) fn order(self, parent: NodeId, name: &[u8]) -> cmp::Ordering {
        self.parent().cmp(&parent).then_with(|| self.name().cmp(name))
    }

    /// What the name stands for at some instant of the call: never waits, never helps.
    #[inline]
    pub(super) fn read(self) -> Word {
        // Acquire: pairs with the AcqRel of whatever bound the node, which was initialised before.
        let bits = self.word.load(Ordering::Acquire);
        if let Some(target) = word::plainly_bound(bits) {
            return Word::Bound(target);
        }
        Word::decode(descriptor::resolve(&self.word, bits))
    }

    /// What a look-up finds under the name.
    #[inline]
    pub(super) fn target(self) -> Option<Target> {
        self.read().target()
    }

    /// Whether a look-up finds `target` under the name; in one comparison if nothing is under way.
    #[inline]
    pub(super) fn is_bound_to(self, target: Target) -> bool {
        // Acquire: as in `read`.
        self.word.load(Ordering::Acquire) == word::bound(target) || self.target() == Some(target)
    }

    /// Notes where the dentry is registered; before anyone else can reach it.
    pub(super) fn set_slot(self, slot: SlotRef) {
        let chunk = slot.chunk_address();
        debug_assert!(chunk.is_multiple_of(16) && chunk >> 4 >> CHUNK_BITS == 0);
        self.slot.store(HOLD | u64::from(slot.number()) << CHUNK_BITS | chunk >> 4, Ordering::Release);
    }

    pub(super) fn slot(self) -> SlotRef {
        let bits = self.slot.load(Ordering::Acquire);
        let number = (bits >> CHUNK_BITS & ((1 << NUMBER_BITS) - 1)) as u32;
        SlotRef::new((bits & ((1 << CHUNK_BITS) - 1)) << 4, number)
    }

    /// Keeps the memory until `unhold`, beyond the epoch; fails if it is retired already.
    pub(super) fn hold(self) -> bool {
        let mut bits = self.slot.load(Ordering::Relaxed);
        while bits >> HOLD_SHIFT != 0 {
            debug_assert!(
                bits >> HOLD_SHIFT < (1 << (64 - HOLD_SHIFT)) - 1,
                "a hold for each thread at most"
            );
            match self.slot.compare_exchange_weak(bits, bits + HOLD, Ordering::AcqRel, Ordering::Relaxed) {
                Ok(_) => return true,
                Err(now) => bits = now,
            }
        }
        false
    }

    /// Gives a hold back; the last retires the dentry.
    ///
    /// # Safety
    /// The caller owns a hold, and if it is the table's, has taken the dentry out of table and slot.
    pub(super) unsafe fn unhold(self, memory: &Memory, guard: &Guard) {
        // AcqRel: what every holder did comes before the retirement.
        let before = self.slot.fetch_sub(HOLD, Ordering::AcqRel);
        debug_assert!(before >> HOLD_SHIFT > 0);
        if before >> HOLD_SHIFT == 1 {
            // SAFETY: nothing refers to it: not the table, not a slot, not a back pointer (invariant 4), no descriptor.
            unsafe { memory.retire(self.ptr.cast(), size_bytes(self.name().len()), guard) };
        }
    }

    /// Frees the dentry at once.
    ///
    /// # Safety
    /// Nobody else can reach it.
    pub(super) unsafe fn free(self, memory: &Memory) {
        // SAFETY: allocated with this size; unreachable (caller).
        unsafe { memory.free(self.ptr.cast(), size_bytes(self.name().len())) };
    }

    #[cfg(any(test, debug_assertions, feature = "validate"))]
    pub(super) fn holds(self) -> u64 {
        self.slot.load(Ordering::Relaxed) >> HOLD_SHIFT
    }
}
