//! Where bytes lie: the arena and the segments together, and what is held of them.
//!
//! # Invariants
//! 1. Deferred destructors touch the ground and nothing above it; it outlives the collector (`Core`).
//! 2. A block's `extent` word is taken by exchange only: who gets a value out of it kills that extent, or owns it on.
//! 3. A word whose block or extent is held cannot come back to mean something else: holding is what makes a
//!    compare-and-swap safe across a time without a guard.

use super::{
    limbo::Limbo,
    local::{Lease, Local},
    tree::{Piece, Tree},
    word::{Content, Word},
};
use crate::{
    arena::{Arena, BlockRef},
    epoch::Guard,
    error::{Error, Result},
    failpoint::pass,
    segment::{ExtentRef, SegmentHold, Segments},
    sync::{Arc, AtomicU64, Ordering::*},
};
use crossbeam_utils::CachePadded;

const STRIPES: usize = 16;

pub(crate) struct Ground {
    pub(crate) arena: Arc<Arena>,
    pub(crate) segments: Segments,
    /// Where extents wait until the change that freed them is durable, in a store that is to survive.
    pub(crate) limbo: Option<Limbo>,
    /// Bytes that were retired and are free now, striped: destructors run on whatever thread collects.
    reclaimed: [CachePadded<AtomicU64>; STRIPES],
}

impl Ground {
    pub(crate) fn new(arena: Arc<Arena>, segments: Segments, limbo: Option<Limbo>) -> Self {
        let reclaimed = std::array::from_fn(|_| CachePadded::new(AtomicU64::new(0)));
        Self { arena, segments, limbo, reclaimed }
    }

    /// Puts bytes into a segment.
    pub(crate) fn append(&self, bytes: &[u8]) -> Result<ExtentRef> {
        self.segments.append(OWNER, bytes)
    }

    /// Bytes of files in a word; `None` if the file is gone.
    #[inline]
    pub(crate) fn len_of(&self, word: Word, _guard: &Guard) -> Option<u64> {
        Some(match word.content() {
            Content::Empty => 0,
            Content::Gone | Content::Pending(_) => return None,
            Content::Ram(block) => self.arena.len(block) as u64,
            Content::Disk(extent) => self.segments.len(extent) as u64,
            // SAFETY: the word was loaded under the guard.
            Content::Tree(tree) => unsafe { Tree::deref(tree) }.len(),
        })
    }

    /// The extent that holds a copy of a block's bytes, if any.
    pub(crate) fn extent_of(&self, block: BlockRef) -> Option<ExtentRef> {
        // Acquire: pairs with the Release of compaction's exchange.
        match self.arena.header(block).extent.load(Acquire) {
            0 => None,
            bits => Some(ExtentRef::from_bits(bits)),
        }
    }

    /// Takes the extent out of a block's header; the caller owns it then (invariant 2).
    pub(crate) fn take_extent(&self, block: BlockRef) -> Option<ExtentRef> {
        match self.arena.header(block).extent.swap(0, AcqRel) {
            0 => None,
            bits => Some(ExtentRef::from_bits(bits)),
        }
    }

    /// Gives up what an unlinked word denotes, once no reader can be looking at it.
    ///
    /// # Safety
    /// The caller unlinked `word`, under `guard`; it is retired once.
    pub(crate) unsafe fn retire(&self, local: &Local, guard: &Guard, word: Word) {
        // SAFETY: the caller.
        unsafe { self.retire_as(local, guard, word, false) };
    }

    /// The same for a content that goes with its file: no change of it says so.
    ///
    /// # Safety
    /// As in `retire`.
    pub(crate) unsafe fn retire_last(&self, local: &Local, guard: &Guard, word: Word) {
        // SAFETY: the caller.
        unsafe { self.retire_as(local, guard, word, true) };
    }

    /// # Safety
    /// As in `retire`.
    unsafe fn retire_as(&self, local: &Local, guard: &Guard, word: Word, goes: bool) {
        pass("retire: unlinked");
        match word.content() {
            Content::Empty | Content::Gone | Content::Pending(_) => {}
            Content::Ram(block) => {
                let extent = self.take_extent(block);
                if let Some(limbo) = &self.limbo {
                    let bytes = self.arena.capacity(block) as i64;
                    if limbo.keeps(block, goes) {
                        local.counters.resident.add(-1);
                        if let Some(extent) = extent {
                            // Here it counts as not on disk, whether it was or not: that is what waits for the flusher.
                            limbo.note_unflushed(local, bytes);
                            limbo.push_extent(extent);
                        }
                        return;
                    }
                    if extent.is_none() {
                        limbo.note_unflushed(local, -bytes);
                    }
                }
                // SAFETY: the caller unlinked the word; the extent was just taken.
                unsafe { self.retire_block(local, guard, block, extent) };
            }
            // SAFETY: as above.
            Content::Disk(extent) => unsafe { self.retire_extent(guard, extent) },
            Content::Tree(tree) => {
                // SAFETY: unlinked by the caller under this guard.
                let (words, pieces) = unsafe { Tree::take_apart(tree) };
                for word in words {
                    // SAFETY: owned by the tree, which was unlinked; trees do not nest.
                    unsafe { self.retire_as(local, guard, word, goes) };
                }
                // SAFETY: unreachable to who pins from now on.
                unsafe { self.retire_pieces(local, guard, pieces) };
            }
        }
    }

    /// Drops the content's reference on a block, and kills `extent`, after the grace period.
    ///
    /// # Safety
    /// Both are unlinked, and retired once.
    pub(crate) unsafe fn retire_block(
        &self,
        local: &Local,
        guard: &Guard,
        block: BlockRef,
        extent: Option<ExtentRef>,
    ) {
        let bytes = self.arena.capacity(block) as u64;
        local.counters.resident.add(-1);
        let this: *const Ground = self;
        // SAFETY: the ground outlives the collector (invariant 1); block and extent are retired once (caller).
        unsafe {
            guard.defer_unchecked(move || {
                let this = &*this;
                this.arena.release(block);
                this.reclaimed_one(block.bits(), bytes);
            });
            if let Some(extent) = extent {
                self.retire_extent(guard, extent);
            }
        }
        if local.retire_bytes(bytes) {
            guard.flush();
        }
    }

    /// Gives an extent back to a block whose word could not be exchanged after all; `is_current` tells whether the word still
    /// denotes the block. Whoever replaces the word exchanges it first and takes the extent then, so one of both finds it.
    pub(crate) fn give_back_extent(
        &self,
        guard: &Guard,
        block: BlockRef,
        extent: ExtentRef,
        is_current: impl Fn() -> bool,
    ) {
        let header = self.arena.header(block);
        let given = header.extent.compare_exchange(0, extent.bits(), AcqRel, Relaxed).is_ok();
        if !given || !is_current() && self.take_extent(block) == Some(extent) {
            // SAFETY: taken by the caller, or just now, and in no word or header.
            unsafe { self.retire_extent(guard, extent) };
        }
    }

    /// Ends an extent; on disk, where changes are to be durable, only when the one that unlinked it is. That has its place in
    /// the order of changes by now, or is given it before the next batch is cut (`loose`).
    ///
    /// # Safety
    /// The extent is unlinked, and retired once.
    pub(crate) unsafe fn retire_extent(&self, guard: &Guard, extent: ExtentRef) {
        match &self.limbo {
            Some(limbo) => limbo.push_extent(extent),
            // SAFETY: the caller.
            None => unsafe { self.kill_after_grace(guard, extent) },
        }
    }

    /// Drops a content's reference on a block, after the grace period.
    ///
    /// # Safety
    /// It is unlinked, and released once.
    pub(crate) unsafe fn release_after_grace(&self, local: &Local, guard: &Guard, block: BlockRef) {
        if let Some(limbo) = &self.limbo {
            limbo.note_unflushed(local, -(self.arena.capacity(block) as i64));
        }
        let this: *const Ground = self;
        // SAFETY: as in `retire_block`.
        unsafe { guard.defer_unchecked(move || _ = (*this).arena.release(block)) };
    }

    /// # Safety
    /// The extent is unlinked, and killed once.
    pub(crate) unsafe fn kill_after_grace(&self, guard: &Guard, extent: ExtentRef) {
        let this: *const Ground = self;
        // SAFETY: as in `retire_block`.
        unsafe { guard.defer_unchecked(move || (*this).segments.kill(extent)) };
    }

    /// # Safety
    /// The pieces are unreachable to who pins from now on, and retired once.
    pub(crate) unsafe fn retire_pieces(&self, local: &Local, guard: &Guard, pieces: Vec<Piece>) {
        let bytes: u64 = pieces.iter().map(|piece| piece.size_bytes()).sum();
        if bytes == 0 {
            return;
        }
        let this: *const Ground = self;
        let pieces = SendPieces(pieces);
        // SAFETY: as in `retire_block`.
        unsafe {
            guard.defer_unchecked(move || {
                let this = &*this;
                let pieces = pieces;
                for piece in &pieces.0 {
                    piece.free(&this.arena);
                }
                this.reclaimed_one(bytes, bytes);
            });
        }
        if local.retire_bytes(bytes) {
            guard.flush();
        }
    }

    fn reclaimed_one(&self, stripe: u64, bytes: u64) {
        let stripe = (stripe ^ stripe >> 7) as usize % STRIPES;
        // Relaxed: a figure, ordering nothing.
        self.reclaimed[stripe].fetch_add(bytes, Relaxed);
    }

    /// Bytes that were retired and are free by now.
    pub(crate) fn reclaimed(&self) -> u64 {
        self.reclaimed.iter().map(|stripe| stripe.load(Relaxed)).sum()
    }

    /// Holds what a word denotes, so that the guard can be let go (invariant 3).
    ///
    /// # Safety
    /// `word` was loaded from a node or slot under `_guard`.
    pub(crate) unsafe fn hold(&self, local: &Local, word: Word, _guard: &Guard) -> Result<Held> {
        Ok(match word.content() {
            Content::Ram(block) => {
                // SAFETY: the content's own reference cannot be dropped while the caller is pinned.
                unsafe { self.arena.retain(block) };
                Held::Block(HeldBlock { lease: local.lease(), block })
            }
            Content::Disk(extent) => {
                // The extent is live while the caller is pinned; what can be missing is room for another holder.
                let hold = self.segments.hold(extent).ok_or_else(|| {
                    Error::io(
                        "",
                        "holding a segment",
                        std::io::Error::other("too many holders of one segment"),
                    )
                })?;
                Held::Extent(hold)
            }
            _ => Held::Nothing,
        })
    }

    /// Copies an extent, verified, to `to`.
    pub(crate) fn read_extent(&self, hold: &SegmentHold, to: &mut [u8]) -> Result<()> {
        hold.read(OWNER, to).map_err(|error| self.segments.report(error))
    }
}

/// What extents are marked with in temp mode, where only one store writes a segment.
pub(crate) const OWNER: u64 = 0;

struct SendPieces(Vec<Piece>);
// SAFETY: pieces are memory of the arena, which any thread may free.
unsafe impl Send for SendPieces {}

/// What keeps a word's meaning while its holder is not pinned.
pub(crate) enum Held {
    Nothing,
    Block(HeldBlock),
    Extent(SegmentHold),
}

/// A counted reference to a block: its bytes stay as they are for as long as this lives, whatever becomes of the file, and
/// of the store.
pub(crate) struct HeldBlock {
    lease: std::sync::Arc<Lease>,
    block: BlockRef,
}

impl HeldBlock {
    /// Takes over the one reference of a fresh block.
    ///
    /// # Safety
    /// The caller owns a reference to `block`, and gives it up.
    pub(crate) unsafe fn adopt(local: &Local, block: BlockRef) -> Self {
        Self { lease: local.lease(), block }
    }

    /// Another reference to a block of a word loaded under a guard that is still held.
    ///
    /// # Safety
    /// `block` is referenced by somebody for the time of the call.
    pub(crate) unsafe fn share(local: &Local, block: BlockRef) -> Self {
        // SAFETY: the caller.
        unsafe { local.arena().retain(block) };
        Self { lease: local.lease(), block }
    }

    pub(super) fn block(&self) -> BlockRef {
        self.block
    }

    #[inline]
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: this reference keeps the block allocated, and published bytes are immutable.
        unsafe { self.lease.arena.bytes(self.block) }
    }
}

impl Clone for HeldBlock {
    fn clone(&self) -> Self {
        // SAFETY: `self` holds a reference.
        unsafe { self.lease.arena.retain(self.block) };
        Self { lease: self.lease.clone(), block: self.block }
    }
}

impl Drop for HeldBlock {
    fn drop(&mut self) {
        // SAFETY: gives back the reference that `self` was made with.
        unsafe { self.lease.arena.release(self.block) };
    }
}
